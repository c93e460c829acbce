//! A real `etcdctl`, versions 3.4 and 3.5, against a real cluster: what it prints, word for word.
//!
//! The rows that one server can answer are carried out against etcd 3.5.1 itself too, so that the table says what etcd does.

#[path = "etcdctl/programs.rs"]
mod programs;
mod support;

use std::process::{Child, Command, Stdio};

use support::etcdctl::Table;
use support::oracle::Etcd;
use support::{Cluster, eventually, steadfast};

const VERSIONS: [&str; 2] = ["3.5", "3.4"];

#[test]
#[ignore = "needs ETCDCTL_3_5 and ETCDCTL_3_4 (see `.ci/run`); starts a cluster of processes"]
fn etcdctl_finds_what_etcd_would_give() {
    let (cluster, measured) = (Cluster::start(3), Cluster::start(3));
    let mut tables: Vec<Table> = VERSIONS.iter().map(|version| Table::new(version, &cluster.endpoints())).collect();
    let measurements: Vec<_> = tables.iter_mut().map(|table| programs::begin_check_perf(table, &measured)).collect();
    for table in &mut tables {
        one_server(table);
        endpoints(table, &cluster);
        leader(table, &cluster);
        members(table, &cluster);
        programs::whole_cluster(table, &cluster);
    }
    for (table, measurement) in tables.iter_mut().zip(measurements) {
        programs::end_check_perf(table, measurement);
        table.covers_all_commands();
    }
    tables.into_iter().for_each(Table::finish);
}

#[test]
#[ignore = "needs ETCDCTL_3_5, ETCDCTL_3_4 and ETCD_3_5 (see `.ci/run`)"]
fn etcd_itself_gives_the_same() {
    let etcd = Etcd::start();
    let mut tables: Vec<Table> = VERSIONS.iter().map(|version| Table::new(version, std::slice::from_ref(&etcd.endpoint))).collect();
    tables.iter_mut().for_each(one_server);
    tables.into_iter().for_each(Table::finish);
}

fn one_server(table: &mut Table) {
    puts_and_gets(table);
    sorted(table);
    deletes(table);
    transactions(table);
    watches(table);
    leases(table);
    compactions(table);
    refusals(table);
    users_and_roles(table);
    programs::one_server(table);
}

fn puts_and_gets(table: &mut Table) {
    table.mark_revision();
    table.run("put $p/a 1").prints("OK\n");
    table.run("put $p/b 2").prints("OK\n");
    table.run("put $p/b 3 --prev-kv").prints("OK\n$p/b\n2\n");
    table.run_with_input("put $p/c", "from standard input").prints("OK\n");
    table.run("put $p/b --ignore-value").prints("OK\n");
    table.run("get $p/a").prints("$p/a\n1\n");
    table.run("get $p/none").prints("");
    table.run("get --prefix $p/").prints("$p/a\n1\n$p/b\n3\n$p/c\nfrom standard input\n");
    table.run("get $p/a $p/c").prints("$p/a\n1\n$p/b\n3\n");
    table.run("get $p/c $p/a").prints("");
    table.run("get --from-key $p/b --limit=1").prints("$p/b\n3\n");
    table.run("get --prefix $p/ --limit=2").prints("$p/a\n1\n$p/b\n3\n");
    table.run("get $p/b --rev=$r2").prints("$p/b\n2\n");
    table.run("get --prefix $p/ --rev=$r2").prints("$p/a\n1\n$p/b\n2\n");
    table.run("get --prefix $p/ --keys-only").prints("$p/a\n\n$p/b\n\n$p/c\n\n");
    table.run("get $p/a --print-value-only").prints("1\n");
    table.run("get $p/a --consistency=s").prints("$p/a\n1\n");
    table.run("get $p/a --hex").has(&["\\x31"]);
    table.run("get $p/b -w fields").has(&["\"CreateRevision\" : $r2\n", "\"ModRevision\" : $r5\n", "\"Version\" : 3\n", "\"Lease\" : 0\n"]);
    table.run("get --prefix $p/ --limit=2 -w fields").has(&["\"More\" : true\n", "\"Count\" : 3\n"]);
    let json = [
        "\"revision\":$r5",
        "\"create_revision\":$r1,\"mod_revision\":$r1,\"version\":1,\"value\":\"MQ==\"}",
        "\"create_revision\":$r2,\"mod_revision\":$r5,\"version\":3,\"value\":\"Mw==\"}",
        "\"count\":3}",
    ];
    table.run("get --prefix $p/ -w json").has(&json);
    if table.is_3_5() {
        table.run("get --prefix $p/ --count-only -w fields").has(&["\"Revision\" : $r5\n", "\"More\" : false\n", "\"Count\" : 3\n"]);
    }
}

fn sorted(table: &mut Table) {
    // In order of creation c, a, b; of version c, b, a; of value b, c, a; of last change c, b, a.
    for (key, value) in [("c", 2), ("a", 3), ("b", 1), ("b", 1), ("a", 3), ("a", 3)] {
        table.run(&format!("put $p-s/{key} {value}")).prints("OK\n");
    }
    let orders = [("KEY", "abc"), ("CREATE", "cab"), ("MODIFY", "cba"), ("VERSION", "cba"), ("VALUE", "bca")];
    for (target, ascending) in orders {
        let keys = |order: &mut dyn Iterator<Item = char>| order.map(|key| format!("$p-s/{key}\n\n")).collect::<String>();
        let get = format!("get --prefix $p-s/ --keys-only --sort-by={target}");
        table.run(&get).prints(&keys(&mut ascending.chars()));
        table.run(&format!("{get} --order=ASCEND")).prints(&keys(&mut ascending.chars()));
        table.run(&format!("{get} --order=DESCEND")).prints(&keys(&mut ascending.chars().rev()));
        table.run(&format!("{get} --order=DESCEND --limit=1")).prints(&keys(&mut ascending.chars().rev().take(1)));
    }
}

fn deletes(table: &mut Table) {
    for key in ["a", "b", "c", "d", "e", "f"] {
        table.run(&format!("put $p-d/{key} {key}")).prints("OK\n");
    }
    table.run("del $p-d/none").prints("0\n");
    table.run("del $p-d/a").prints("1\n");
    table.run("del $p-d/b --prev-kv").prints("1\n$p-d/b\nb\n");
    table.run("del $p-d/c $p-d/e").prints("2\n");
    table.run("del $p-d/z $p-d/a").prints("0\n");
    table.run("del $p-d/ --prefix --prev-kv").prints("2\n$p-d/e\ne\n$p-d/f\nf\n");
    table.run("get --prefix $p-d/").prints("");
    table.run("put ~$p/last 1").prints("OK\n");
    table.run("del ~$p --from-key").prints("1\n");
}

/// Comparisons, then the lists for success and failure, as standard input gives them.
fn txn(compares: &[&str], success: &[&str], failure: &[&str]) -> String {
    [compares, success, failure].map(|lines| lines.iter().map(|line| format!("{line}\n")).collect::<String>() + "\n").concat()
}

fn transactions(table: &mut Table) {
    table.mark_revision();
    let run = |table: &mut Table, compares: &[&str], success: &[&str], failure: &[&str], expected: &str| {
        table.run_with_input("txn", &txn(compares, success, failure)).prints(expected);
    };
    run(table, &[], &["put $p-t/a 1", "put $p-t/b 2"], &[], "SUCCESS\n\nOK\n\nOK\n");
    run(table, &["value(\"$p-t/a\") = \"1\""], &["get $p-t/a"], &["put $p-t/a x"], "SUCCESS\n\n$p-t/a\n1\n");
    run(table, &["value(\"$p-t/a\") = \"2\""], &["put $p-t/a x"], &["get --prefix $p-t/"], "FAILURE\n\n$p-t/a\n1\n$p-t/b\n2\n");
    run(table, &["value(\"$p-t/a\") < \"2\"", "value(\"$p-t/b\") > \"1\""], &["put $p-t/c 3"], &[], "SUCCESS\n\nOK\n");
    run(table, &["mod(\"$p-t/a\") = \"$r1\"", "create(\"$p-t/b\") = \"$r1\""], &["del $p-t/c"], &[], "SUCCESS\n\n1\n");
    run(table, &["version(\"$p-t/a\") > \"1\""], &[], &["del --prefix $p-t/none"], "FAILURE\n\n0\n");
    run(table, &["version(\"$p-t/new\") = \"0\"", "create(\"$p-t/new\") = \"0\""], &["put $p-t/new 1"], &[], "SUCCESS\n\nOK\n");
    run(table, &["version(\"$p-t/new\") = \"0\""], &["put $p-t/new 2"], &["get $p-t/new"], "FAILURE\n\n$p-t/new\n1\n");
    run(table, &["mod(\"$p-t/a\") != \"1\"", "mod(\"$p-t/new\") < \"2\""], &["put $p-t/x 1"], &[], "FAILURE\n");
    // One revision for a transaction, and later operations see earlier ones.
    table.mark_revision();
    let all = ["put $p-t/o 9", "get $p-t/o", "del $p-t/b", "get --prefix $p-t/b"];
    run(table, &[], &all, &[], "SUCCESS\n\nOK\n\n$p-t/o\n9\n\n1\n\n");
    table.run("get $p-t/o -w fields").has(&["\"Revision\" : $r1\n", "\"ModRevision\" : $r1\n"]);
    let prompts = "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\n";
    let input = txn(&["value(\"$p-t/o\") = \"9\""], &["get $p-t/o"], &[]);
    table.run_with_input("txn -i", &input).prints(&format!("{prompts}SUCCESS\n\n$p-t/o\n9\n"));
}

fn watches(table: &mut Table) {
    table.mark_revision();
    let one = table.watch("watch $p-w/a --rev=$r1", "");
    let prefix = table.watch("watch $p-w/ --prefix --rev=$r1 --prev-kv", "");
    let interactive = table.watch("watch -i", "watch $p-w/a --rev=$r1\n");
    let range = table.watch("watch $p-w/b $p-w/d --rev=$r1", "");
    for command in ["put $p-w/a 1", "put $p-w/a 2", "put $p-w/c 3"] {
        table.run(command).prints("OK\n");
    }
    table.run("del $p-w/ --prefix").prints("2\n");
    table.events(one, "PUT\n$p-w/a\n1\nPUT\n$p-w/a\n2\nDELETE\n$p-w/a\n\n");
    let changes = "PUT\n$p-w/a\n1\nPUT\n$p-w/a\n1\n$p-w/a\n2\nPUT\n$p-w/c\n3\n";
    table.events(prefix, &format!("{changes}DELETE\n$p-w/a\n2\n$p-w/a\n\nDELETE\n$p-w/c\n3\n$p-w/c\n\n"));
    table.events(interactive, "PUT\n$p-w/a\n1\nPUT\n$p-w/a\n2\nDELETE\n$p-w/a\n\n");
    table.events(range, "PUT\n$p-w/c\n3\nDELETE\n$p-w/c\n\n");
    // From history alone, in two watches of one stream.
    let history = table.watch("watch $p-w/ --prefix --rev=$r2", "");
    table.events(history, "PUT\n$p-w/a\n2\nPUT\n$p-w/c\n3\nDELETE\n$p-w/a\n\nDELETE\n$p-w/c\n\n");
    let several = table.watch("watch -i", "watch $p-w/a --rev=$r2\nwatch $p-w2 --rev=$r5\n");
    table.run("put $p-w2 4").prints("OK\n");
    let both = ["PUT\n$p-w/a\n2\nDELETE\n$p-w/a\n\n", "PUT\n$p-w2\n4\n"];
    table.events_of_each(several, &both);
}

fn leases(table: &mut Table) {
    table.run("lease grant 60").captures("lease", "lease ", " granted").has(&["lease $lease granted with TTL(60s)\n"]);
    table.run("put $p-l/a 1 --lease=$lease").prints("OK\n");
    table.run("put $p-l/b 1 --lease=$lease").prints("OK\n");
    table.run("put $p-l/b 2 --ignore-lease").prints("OK\n");
    table.run("lease timetolive $lease").has(&["lease $lease granted with TTL(60s), remaining("]);
    table.run("lease timetolive $lease --keys").has(&["attached keys([$p-l/", "$p-l/a", "$p-l/b", "])\n"]);
    table.run("lease list").has(&["found ", "$lease\n"]);
    table.run("lease keep-alive $lease --once").prints("lease $lease keepalived with TTL(60)\n");
    table.mark_revision();
    let watch = table.watch("watch $p-l/ --prefix --rev=$r1", "");
    table.run("lease revoke $lease").prints("lease $lease revoked\n");
    table.events(watch, "DELETE\n$p-l/a\n\nDELETE\n$p-l/b\n\n");
    table.run("get --prefix $p-l/").prints("");
    table.run("lease list").lacks(&["$lease"]);
    table.run("lease timetolive $lease").prints("lease $lease already expired\n");
    // Another one runs out by itself; one that keys left before takes nothing with it.
    table.run("lease grant 2").captures("short", "lease ", " granted").has(&["lease $short granted with TTL(2s)\n"]);
    table.run("put $p-l/short 1 --lease=$short").prints("OK\n");
    table.run("put $p-l/left 1 --lease=$short").prints("OK\n");
    table.run("put $p-l/left 2").prints("OK\n");
    table.mark_revision();
    let watch = table.watch("watch $p-l/ --prefix --rev=$r1", "");
    table.events(watch, "DELETE\n$p-l/short\n\n");
    table.run("get --prefix $p-l/").prints("$p-l/left\n2\n");
    table.run("lease grant 1").has(&[" granted with TTL(2s)\n"]);
}

fn compactions(table: &mut Table) {
    table.mark_revision();
    for value in 1..=3 {
        table.run(&format!("put $p-c {value}")).prints("OK\n");
    }
    table.run("compaction $r2").prints("compacted revision $r2\n");
    table.run("get $p-c --rev=$r1").fails("Error: etcdserver: mvcc: required revision has been compacted");
    table.run("get $p-c --rev=$r2").prints("$p-c\n2\n");
    table.run("compaction $r2").fails("Error: etcdserver: mvcc: required revision has been compacted");
    table.run("compaction $r9").fails("Error: etcdserver: mvcc: required revision is a future revision");
    table.run("get $p-c --rev=$r9").fails("Error: etcdserver: mvcc: required revision is a future revision");
    table.run("watch $p-c --rev=$r1").fails("Error: watch is canceled by the server");
    table.run("compaction $r3 --physical").prints("compacted revision $r3\n");
    table.run("get $p-c").prints("$p-c\n3\n");
}

fn users_and_roles(table: &mut Table) {
    table.run("user add root:secret").prints("User root created\n");
    table.run("user add root:secret").fails("Error: etcdserver: user name already exists");
    table.run("auth enable --user root:secret").has(&["Authentication Enabled\n"]);
    table.run("auth disable --user root:secret").prints("Authentication Disabled\n");
    table.run("user add $p-ann:pw").prints("User $p-ann created\n");
    table.run("user add $p-cert --no-password").prints("User $p-cert created\n");
    table.run("role add $p-r").prints("Role $p-r created\n");
    table.run("role add $p-r").fails("Error: etcdserver: role name already exists");
    table.run("role grant-permission $p-r readwrite $p-a/ --prefix").prints("Role $p-r updated\n");
    table.run("role grant-permission $p-r read $p-x $p-z").prints("Role $p-r updated\n");
    table.run("role grant-permission $p-r write $p-w").prints("Role $p-r updated\n");
    table.run("role get $p-r").prints(
        "Role $p-r\nKV Read:\n\t[$p-a/, $p-a0) (prefix $p-a/)\n\t[$p-x, $p-z)\nKV Write:\n\t[$p-a/, $p-a0) (prefix $p-a/)\n\t$p-w\n",
    );
    table.run("role get $p-none").fails("Error: etcdserver: role name not found");
    table.run("user grant-role $p-ann $p-r").prints("Role $p-r is granted to user $p-ann\n");
    table.run("user get $p-ann").prints("User: $p-ann\nRoles: $p-r\n");
    table.run("user list").has(&["root\n$p-ann\n$p-cert\n"]);
    table.run("role list").has(&["$p-r\n"]);
    table.run("auth enable").prints("Authentication Enabled\n");
    table.run("put $p-a/k 1").fails("Error: etcdserver: user name is empty");
    table.run("get $p-a/k").fails("Error: etcdserver: user name is empty");
    table.run("put $p-a/k 1 --user $p-ann:pw").prints("OK\n");
    table.run("get $p-a/k --user $p-ann:pw").prints("$p-a/k\n1\n");
    table.run("put $p-w 1 --user $p-ann:pw").prints("OK\n");
    table.run("get $p-w --user $p-ann:pw").fails("Error: etcdserver: permission denied");
    table.run("get --prefix $p-a/ --user $p-ann:pw").prints("$p-a/k\n1\n");
    table.run("get --from-key $p-a/ --user $p-ann:pw").fails("Error: etcdserver: permission denied");
    table.run("get --from-key $p-w --limit=1 --user root:secret").prints("$p-w\n1\n");
    table.run("user list --user $p-ann:pw").fails("Error: etcdserver: permission denied");
    table.run("user get $p-ann --user $p-ann:pw").prints("User: $p-ann\nRoles: $p-r\n");
    table.run("user delete root --user root:secret").fails("Error: etcdserver: invalid auth management");
    table.run_with_input("user passwd $p-ann --interactive=false --user root:secret", "other\n").prints("Password updated\n");
    table.run("get $p-a/k --user $p-ann:other").prints("$p-a/k\n1\n");
    table.run("role revoke-permission $p-r $p-w --user root:secret").has(&["Permission of key $p-w is revoked from role $p-r\n"]);
    table.run("user revoke-role $p-ann $p-r --user root:secret").prints("Role $p-r is revoked from user $p-ann\n");
    table.run("get $p-a/k --user $p-ann:other").fails("Error: etcdserver: permission denied");
    if table.is_3_5() {
        table.run("auth status --user root:secret").has(&["Authentication Status: true\nAuthRevision: "]);
    }
    table.run("auth disable --user root:secret").prints("Authentication Disabled\n");
    // `auth enable` has added the other one by itself.
    for role in ["root", "$p-r"] {
        table.run(&format!("role delete {role}")).prints(&format!("Role {role} deleted\n"));
    }
    for user in ["root", "$p-ann", "$p-cert"] {
        table.run(&format!("user delete {user}")).prints(&format!("User {user} deleted\n"));
    }
    table.run("del --prefix $p-").has(&[""]);
}

fn refusals(table: &mut Table) {
    table.run("put '' x").fails("Error: etcdserver: key is not provided");
    table.run("del ''").fails("Error: etcdserver: key is not provided");
    table.run("put $p/x 1 --lease=12345").fails("Error: etcdserver: requested lease not found");
    table.run("put $p/none --ignore-value").fails("Error: etcdserver: key not found");
    table.run("lease revoke 12345").fails("Error: failed to revoke lease (etcdserver: requested lease not found)");
    table.run("lease keep-alive 12345 --once").fails("Error: etcdserver: requested lease not found");
    table.run("lease timetolive 12345").prints("lease 0000000000012345 already expired\n");
    table.run("lease grant 9000000001").fails("Error: failed to grant lease (etcdserver: too large lease TTL)");
    table.run("member remove 1234").fails("Error: etcdserver: member not found");
    table.run("member promote 1234").fails("Error: etcdserver: member not found");
    table.run("member update 1234 --peer-urls=http://127.0.0.1:1").fails("Error: etcdserver: member not found");
    table.run("move-leader 1234").fails("Error: etcdserver: bad leader transferee");
    let large = "v".repeat(1_700_000);
    table.run_with_input("put $p/large", &large).fails("Error: etcdserver: request is too large");
    let fits = "v".repeat(1_500_000);
    table.run_with_input("put $p/large", &fits).prints("OK\n");
    table.run("del $p/large").prints("1\n");
    // etcdctl itself sends no more than 2 MiB.
    let too_large = "v".repeat(2 * 1024 * 1024);
    let length = too_large.len() + table.word("p").len() + "/large".len() + 7;
    let refused = format!("rpc error: code = ResourceExhausted desc = trying to send message larger than max ({length} vs. 2097152)");
    table.run_with_input("put $p/large", &too_large).fails(&format!("Error: {refused}"));
    let puts: Vec<String> = (0..129).map(|n| format!("put $p-many/{n} x")).collect();
    let puts: Vec<&str> = puts.iter().map(String::as_str).collect();
    table.run_with_input("txn", &txn(&[], &puts, &[])).fails("Error: etcdserver: too many operations in txn request");
    table.run_with_input("txn", &txn(&[], &puts[1..], &[])).has(&["SUCCESS\n"]);
    table
        .run_with_input("txn", &txn(&[], &["put $p/k 1", "put $p/k 2"], &[]))
        .fails("Error: etcdserver: duplicate key given in txn request");
    table.run("get --prefix $p-many/ --limit=1 -w json").has(&["\"count\":128}"]);
}

fn endpoints(table: &mut Table, cluster: &Cluster) {
    let healthy: Vec<String> =
        cluster.nodes.iter().map(|node| format!("{} is healthy: successfully committed proposal: took = ", node.etcd)).collect();
    let healthy: Vec<&str> = healthy.iter().map(String::as_str).collect();
    table.run("endpoint health").says(&healthy);
    table.run("endpoint health --cluster").says(&healthy);
    let one = format!("endpoint health --cluster --endpoints={}", cluster.nodes[1].etcd);
    table.run(&one).says(&healthy);
    let parts: Vec<String> = cluster.nodes.iter().map(|node| format!("{}, ", node.etcd)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    table.run("endpoint status").has(&parts);
    let status = table.json("endpoint status -w json");
    let statuses: Vec<&serde_json::Value> = status.as_array().expect("a list").iter().map(|each| &each["Status"]).collect();
    let same = |field: &str| statuses.iter().all(|status| status[field] == statuses[0][field] && !status[field].is_null());
    let told = format!("{} nodes, one leader {}, one term {}", statuses.len(), same("leader"), same("raftTerm"));
    table.note("endpoint status -w json", "3 nodes, one leader true, one term true", &told);
    let started: Vec<String> =
        cluster.nodes.iter().map(|node| format!(", started, {}, http://{}, http://{}, false\n", node.name, node.peer, node.etcd)).collect();
    let started: Vec<&str> = started.iter().map(String::as_str).collect();
    table.run("member list").has(&started);
    table.run("member list -w table").has(&[" | STATUS  | NAME |", "| started |   n1 |", "| started |   n3 |", "IS LEARNER |\n"]);
    let members = table.json("member list -w json");
    let names: Vec<&str> = members["members"].as_array().expect("a list").iter().filter_map(|member| member["name"].as_str()).collect();
    table.note("member list -w json", "3 members", &format!("{} members", names.len()));
}

/// Sets `$leader`, `$follower` to their ids and `$at-leader`, `$at-follower` to their endpoints.
fn find_leader(table: &mut Table) {
    let status = table.json("endpoint status -w json");
    for each in status.as_array().expect("a list") {
        let (member, leader) = (&each["Status"]["header"]["member_id"], &each["Status"]["leader"]);
        let role = if member == leader { "leader" } else { "follower" };
        table.set(role, &format!("{:x}", member.as_u64().expect("an id")));
        table.set(&format!("at-{role}"), each["Endpoint"].as_str().expect("text"));
    }
}

fn leader(table: &mut Table, cluster: &Cluster) {
    cluster.leader();
    find_leader(table);
    let refused = "Error: no leader endpoint given at [$at-follower]";
    table.run("move-leader $leader --endpoints=$at-follower").fails(refused);
    table.run("move-leader $follower").prints("Leadership transferred from $leader to $follower\n");
    table.run("move-leader $follower --endpoints=$at-follower").prints("Leadership transferred from $follower to $follower\n");
    table.run("endpoint status --endpoints=$at-follower").has(&[", true, false, "]);
    table.run("put $p/after-move 1").prints("OK\n");
}

fn members(table: &mut Table, cluster: &Cluster) {
    let [client, peer, admin] = cluster.spare_addresses();
    table.set("peer", &peer);
    table.set("client", &client);
    let add = table.run("member add n4 --learner --peer-urls=http://$peer");
    add.captures("id", "Member ", " added to").has(&[
        "$id added to cluster ",
        "\n\nETCD_NAME=\"n4\"\n",
        "ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
    ]);
    table.run("member list").has(&["$id, unstarted, , http://$peer, , true\n"]);
    table.run("member promote $id").fails("Error: etcdserver: can only promote a learner member which is in sync with leader");
    table.run("member add n5 --peer-urls=http://$peer").fails("Error: etcdserver: Peer URLs already exists");
    let directory = cluster.directory.path().join(format!("n4-{}", table.word("p")));
    let join = cluster.nodes.iter().map(|node| node.peer.clone()).collect::<Vec<_>>().join(",");
    let arguments =
        ["serve", "--name", "n4", "--listen-client", &client, "--listen-peer", &peer, "--listen-admin", &admin, "--join", &join];
    let mut command = steadfast(&arguments);
    command.arg("--data-dir").arg(&directory);
    let node = Learner { process: quiet(command) };
    learner(table, node);
    // Once more, as `steadfast member add` says.
    let endpoints = cluster.endpoints().join(",");
    let output = steadfast(&["member", "add", "n4", "--peer", &peer, "--learner", "--endpoints", &endpoints]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let printed = text.lines().find(|line| line.contains(" serve ")).unwrap_or_else(|| panic!("no command: {text}")).trim();
    let id = text.split([' ', ',']).nth(2).expect("an id");
    table.set("id", id);
    let mut command = Command::new("sh");
    let place = cluster.directory.path().join(format!("printed-{}", table.word("p")));
    std::fs::create_dir(&place).expect("a directory");
    command.args(["-c", &format!("exec {printed}")]).current_dir(place);
    let node = Learner { process: quiet(command) };
    learner(table, node);
}

/// A node that was added; it ends with the value.
struct Learner {
    process: Child,
}

fn quiet(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

impl Drop for Learner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// From its start as a learner to its removal.
fn learner(table: &mut Table, mut node: Learner) {
    eventually("the learner's start", || {
        let list = table.json("member list -w json");
        list["members"].as_array()?.iter().any(|member| member["isLearner"] == true && member["name"] == "n4").then_some(())
    });
    table.run("member list").has(&["$id, started, n4, http://$peer, http://$client, true\n"]);
    eventually("the learner's keys", || (table.json("get $p/a --consistency=s -w json --endpoints=$client")["count"] == 1).then_some(()));
    table.run("get $p/a --consistency=s --endpoints=$client").prints("$p/a\n1\n");
    table.run("get $p/a --endpoints=$client --command-timeout=60s").fails("Error: etcdserver: rpc not supported for learner");
    table.run("endpoint status --endpoints=$client").has(&[", false, true, "]);
    eventually("the learner in step", || table.run("member promote $id").succeeded().then_some(()));
    table.run("member promote $id").fails("Error: etcdserver: can only promote a learner member");
    table.run("member list").has(&["$id, started, n4, http://$peer, http://$client, false\n"]);
    table.run("get $p/a --endpoints=$client").prints("$p/a\n1\n");
    table.run("put $p/via-n4 1 --endpoints=$client").prints("OK\n");
    table.run("member remove $id").has(&["$id removed from cluster "]);
    table.run("member list").lacks(&["$id"]);
    let ended = eventually("the end of the removed node", || node.process.try_wait().expect("a child"));
    table.note("the removed node ends", "1", &ended.code().unwrap_or(-1).to_string());
}
