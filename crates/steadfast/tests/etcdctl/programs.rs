//! The commands of `etcdctl` that do more than ask once: locks, elections, mirrors, snapshots, checks; and those that ask no server.

use serde_json::Value;

use crate::support::etcdctl::{Running, Table};
use crate::support::{Cluster, eventually};

/// What one server can answer, etcd's too.
pub(crate) fn one_server(table: &mut Table) {
    asks_nobody(table);
    locks(table);
    elections(table);
    mirrors(table);
    renewals(table);
    snapshots(table);
    member_changes(table);
    table.run("alarm list").prints("");
    table.run("alarm disarm").prints("");
    table.run("defrag --endpoints=$server").prints("Finished defragmenting etcd member[$server]\n");
    table.run("endpoint hashkv --endpoints=$server").has(&["$server, "]);
    table.run("check datascale --load=s --endpoints=$server").has(&["PASS: Approximate system memory used : "]);
}

fn asks_nobody(table: &mut Table) {
    let version = if table.is_3_5() { "3.5" } else { "3.4" };
    table.run("version").has(&[&format!("API version: {version}\n")]);
    table.run("help").has(&["COMMANDS:\n\talarm disarm\t\tDisarms all alarms\n"]);
    if table.is_3_5() {
        table.run("downgrade enable 3.4").fails("Error: unknown command \"downgrade\" for \"etcdctl\"");
        return;
    }
    for shell in ["bash", "fish", "powershell", "zsh"] {
        table.run(&format!("completion {shell}")).has(&["etcdctl"]);
    }
    let directory = tempfile::tempdir().expect("a scratch directory");
    table.set("dir", directory.path().to_str().expect("UTF-8"));
    table.run("migrate --data-dir=$dir").fails("Error: open $dir/member/snap: no such file or directory");
}

/// Waits until there are so many keys with a prefix.
fn await_keys(table: &mut Table, prefix: &str, count: i64) {
    let get = format!("get --prefix {prefix} -w json");
    eventually(&format!("{count} keys with the prefix {prefix}"), || {
        (table.json(&get)["count"].as_i64().unwrap_or(0) == count).then_some(())
    });
}

fn locks(table: &mut Table) {
    table.run("lock $p-lock echo it has the lock").prints("it has the lock\n");
    let first = table.watch("lock $p-lock --ttl=2", "");
    await_keys(table, "$p-lock/", 1);
    table.run("get --prefix $p-lock/ --keys-only").captures("held", "", "\n").has(&["$held"]);
    let second = table.watch("lock $p-lock echo it has the lock", "");
    await_keys(table, "$p-lock/", 2);
    table.note("lock: the second one", "waits", if second.is_silent() { "waits" } else { "does not wait" });
    // It is killed, and its lease has to run out.
    table.events(first, "$held\n\n");
    table.events(second, "it has the lock\n");
    await_keys(table, "$p-lock/", 0);
}

fn elections(table: &mut Table) {
    let first = table.watch("elect $p-elect one", "");
    await_keys(table, "$p-elect/", 1);
    table.run("get --prefix $p-elect/ --keys-only").captures("elected", "", "\n").has(&["$elected"]);
    let observer = table.watch("elect --listen $p-elect", "");
    table.events(observer, "$elected\none\n");
    table.events(first, "$elected\none\n");
    // Nobody has given up the leadership of one that was killed.
    table.run("del --prefix $p-elect/").prints("1\n");
}

fn mirrors(table: &mut Table) {
    table.run("put $p-from/a 1").prints("OK\n");
    let mirror = table.watch("make-mirror $server --prefix=$p-from/ --dest-prefix=$p-to/", "");
    await_keys(table, "$p-to/", 1);
    table.run("put $p-from/b 2").prints("OK\n");
    await_keys(table, "$p-to/", 2);
    table.run("get --prefix $p-to/").prints("$p-to/a\n1\n$p-to/b\n2\n");
    table.run("del $p-from/a").prints("1\n");
    await_keys(table, "$p-to/", 1);
    table.stop(mirror);
}

fn renewals(table: &mut Table) {
    table.run("lease grant 60").captures("renewed", "lease ", " granted").has(&["granted with TTL(60s)\n"]);
    let renewing = table.watch("lease keep-alive $renewed", "");
    table.events(renewing, "lease $renewed keepalived with TTL(60)\n");
    table.run("lease revoke $renewed").prints("lease $renewed revoked\n");
}

fn snapshots(table: &mut Table) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    table.set("dir", directory.path().to_str().expect("UTF-8"));
    table.run("snapshot save $dir/saved.db --endpoints=$server").has(&["Snapshot saved at $dir/saved.db\n"]);
    table.run("snapshot status $dir/saved.db -w json").has(&["{\"hash\":", "\"revision\":", "\"totalKey\":", "\"totalSize\":"]);
    table.run("snapshot restore $dir/saved.db --data-dir=$dir/restored").says(&["restored snapshot"]);
    let there = directory.path().join("restored/member/snap/db").exists();
    table.note("snapshot restore: $dir/restored/member/snap/db", "is there", if there { "is there" } else { "is not there" });
}

fn member_changes(table: &mut Table) {
    table
        .run("member add $p-new --learner --peer-urls=http://127.0.0.1:1")
        .captures("new", "Member ", " added to")
        .has(&["$new added to cluster "]);
    table.run("member update $new --peer-urls=http://127.0.0.1:2").has(&["$new updated in cluster "]);
    table.run("member list").has(&["$new, unstarted, , http://127.0.0.1:2, , "]);
    table.run("member remove $new").has(&["$new removed from cluster "]);
}

/// What asks all nodes.
pub(crate) fn whole_cluster(table: &mut Table, cluster: &Cluster) {
    let ends: Vec<String> = cluster.nodes.iter().map(|node| format!("Finished defragmenting etcd member[{}]\n", node.etcd)).collect();
    table.run("defrag").has(&ends.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.settle();
    let told = table.json("endpoint hashkv -w json");
    let hashes: Vec<&Value> = told.as_array().expect("a list").iter().map(|each| &each["HashKV"]["hash"]).collect();
    let same = hashes.windows(2).all(|pair| pair[0] == pair[1] && pair[0].is_u64());
    table.note(
        "endpoint hashkv -w json",
        "3 equal hashes",
        &format!("{} {} hashes", hashes.len(), if same { "equal" } else { "different" }),
    );
}

/// A minute's load on a cluster of its own, for whose while other rows are carried out.
pub(crate) fn begin_check_perf(table: &mut Table, cluster: &Cluster) -> Running {
    table.begin(&format!("check perf --load=s --prefix=/check/$p/ --endpoints={}", cluster.endpoints().join(",")))
}

/// How slow the slowest request was is for a quiet machine to say.
pub(crate) fn end_check_perf(table: &mut Table, running: Running) {
    table.end(running).reports(&["PASS: Throughput is ", "Slowest request", "Stddev"]);
}
