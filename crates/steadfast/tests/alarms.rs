//! Quotas and alarms with real processes: beside etcd's own, and by `etcdctl`.
//!
//! Needs etcd 3.5.1, which `ETCD_3_5` names, and its etcdctl, `ETCDCTL_3_5`: `cargo test -p steadfast --test alarms -- --ignored`; `.ci/run`
//! installs both.

mod support;

use serde_json::Value;
use support::etcdctl::Table;
use support::oracle::Etcd;
use support::{Cluster, eventually, http, steadfast};

/// Asks a server by JSON; status, content type and body.
fn ask(address: &str, path: &str, body: &str) -> (u16, String) {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let (head, body) = http::ask(address, method, path, &[], body, None);
    (head.status, body)
}

fn alarms(address: &str) -> Vec<Value> {
    let (status, body) = ask(address, "/v3/maintenance/alarm", "{\"action\":\"GET\"}");
    let answer: Value = if status == 200 { serde_json::from_str(&body).expect("JSON") } else { Value::Null };
    answer["alarms"].as_array().cloned().unwrap_or_default()
}

/// What a single server says to all of this, without what it chooses for itself. `$m` is its member id.
fn said(address: &str) -> Vec<String> {
    let header = |name: &str| {
        let (_, body) = ask(address, "/v3/maintenance/alarm", "{}");
        serde_json::from_str::<Value>(&body).expect("JSON")["header"][name].as_str().expect("a text").to_owned()
    };
    let (member, cluster, term) = (header("member_id"), header("cluster_id"), header("raft_term"));
    let alarm = "/v3/maintenance/alarm";
    let (put, txn, delete, range, compact) = ("/v3/kv/put", "/v3/kv/txn", "/v3/kv/deleterange", "/v3/kv/range", "/v3/kv/compaction");
    let (grant, revoke, user) = ("/v3/lease/grant", "/v3/lease/revoke", "/v3/auth/user/add");
    let a = "{\"key\":\"YQ==\",\"value\":\"YQ==\"}";
    let puts = "{\"success\":[{\"requestPut\":{\"key\":\"YQ==\"}}]}";
    let puts_else = "{\"failure\":[{\"requestPut\":{\"key\":\"YQ==\"}}],\"success\":[{\"requestDeleteRange\":{\"key\":\"YQ==\"}}]}";
    let deletes = "{\"success\":[{\"requestDeleteRange\":{\"key\":\"YQ==\"}}]}";
    let reads = "{\"success\":[{\"requestRange\":{\"key\":\"YQ==\"}}]}";
    let writes = |user_body: &'static str| {
        [
            (put, a),
            (txn, puts),
            (txn, puts_else),
            (txn, deletes),
            (txn, reads),
            (range, a),
            (delete, a),
            (grant, "{\"TTL\":100,\"ID\":\"5\"}"),
            (revoke, "{\"ID\":\"5\"}"),
            (user, user_body),
        ]
    };
    let health = [
        "/health",
        "/health?exclude=NOSPACE",
        "/health?exclude=CORRUPT",
        "/health?exclude=CORRUPT&exclude=NOSPACE",
        "/health?exclude=CORRUPT,NOSPACE",
        "/health?serializable=true",
    ];
    let mut script: Vec<(&str, String)> = Vec::new();
    let mut row = |path: &'static str, body: &str| script.push((path, body.to_owned()));
    row(put, a);
    row(alarm, "{}");
    for action in ["ACTIVATE", "DEACTIVATE"] {
        row(alarm, &format!("{{\"action\":\"{action}\"}}"));
        row(alarm, &format!("{{\"action\":\"{action}\",\"memberID\":\"$m\"}}"));
    }
    row(alarm, "{\"action\":\"DEACTIVATE\",\"alarm\":\"NOSPACE\",\"memberID\":\"77\"}");
    for (kind, user_body) in [("NOSPACE", "{\"name\":\"a\",\"password\":\"b\"}"), ("CORRUPT", "{\"name\":\"b\",\"password\":\"b\"}")] {
        for _ in 0..2 {
            row(alarm, &format!("{{\"action\":\"ACTIVATE\",\"alarm\":\"{kind}\",\"memberID\":\"$m\"}}"));
        }
        row(alarm, "{\"action\":\"GET\"}");
        row(alarm, "{\"action\":\"GET\",\"memberID\":\"77\"}");
        row(alarm, "{\"action\":\"GET\",\"alarm\":\"NOSPACE\"}");
        row(alarm, "{\"action\":\"GET\",\"alarm\":\"CORRUPT\"}");
        row("/v3/maintenance/status", "{}");
        writes(user_body).iter().for_each(|(path, body)| row(path, body));
        health.iter().for_each(|path| row(path, ""));
        if kind == "CORRUPT" {
            row(compact, "{\"revision\":2}");
        }
        for _ in 0..2 {
            row(alarm, &format!("{{\"action\":\"DEACTIVATE\",\"alarm\":\"{kind}\",\"memberID\":\"$m\"}}"));
        }
        row(put, a);
        row("/health", "");
    }
    row(compact, "{\"revision\":2}");
    let own = [(member.as_str(), "$m"), (&cluster, "$c"), (&format!("\"raft_term\":\"{term}\""), "\"raft_term\":\"$t\"")];
    script
        .into_iter()
        .map(|(path, body)| {
            let (status, answer) = ask(address, path, &body.replace("$m", &member));
            let answer = own.iter().fold(answer, |text, (word, name)| text.replace(word, name));
            // Of the status only what concerns alarms.
            let answer = match serde_json::from_str::<Value>(&answer) {
                Ok(value) if path.ends_with("/status") => value["errors"].to_string(),
                Ok(_) | Err(_) => answer,
            };
            format!("{path} {body}: {status} {}", answer.trim_end())
        })
        .collect()
}

#[test]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts a node; takes some seconds"]
fn alarms_act_as_in_etcd() {
    let (etcd, cluster) = (Etcd::start(), Cluster::alone());
    eventually("etcd serves", || (ask(&etcd.endpoint, "/health", "").0 == 200).then_some(()));
    let (theirs, ours) = (said(&etcd.endpoint), said(&cluster.nodes[0].etcd));
    let mut different = 0;
    for (theirs, ours) in theirs.iter().zip(&ours) {
        println!("{} {ours}", if ours == theirs { "  " } else { "!!" });
        if ours != theirs {
            println!("   etcd: {theirs}");
            different += 1;
        }
    }
    println!("{} rows", ours.len());
    assert_eq!((different, theirs.len()), (0, ours.len()), "rows that differ are marked with !!");
}

#[test]
#[ignore = "starts a node; takes some seconds"]
fn what_etcd_dies_of_is_refused() {
    let cluster = Cluster::alone();
    let address = &cluster.nodes[0].etcd;
    let unknown = "{\"action\":\"ACTIVATE\",\"alarm\":\"NOSPACE\",\"memberID\":\"77\"}";
    let rows = [
        ("{\"action\":7}", 400, "there is no action 7"),
        ("{\"alarm\":7}", 400, "there is no alarm 7"),
        (unknown, 404, "etcdserver: member not found"),
    ];
    for (body, status, text) in rows {
        let answer = ask(address, "/v3/maintenance/alarm", body);
        assert!(answer.0 == status && answer.1.contains(text), "{body}: {answer:?}");
    }
    assert!(alarms(address).is_empty());
}

/// The quota of each node, bytes: little, so that it is soon full.
const QUOTA: &str = "3000000";

#[test]
#[ignore = "needs etcdctl 3.5.1 (ETCDCTL_3_5) and starts a cluster; takes some seconds"]
fn a_full_quota_empties_without_a_hand() {
    let cluster = Cluster::start_with(3, &[("STEADFAST_QUOTA_BACKEND_BYTES", QUOTA)]);
    let mut table = Table::new("3.5", &cluster.endpoints());
    let value = "v".repeat(100_000);
    table.run("alarm list").prints("");
    // Different keys: there is no history to forget.
    let mut keys = 0;
    while table.run_with_input(&format!("put $p/fill/{keys}"), &value).succeeded() {
        keys += 1;
        assert!(keys < 200, "there is always room");
    }
    let refused = "Error: etcdserver: mvcc: database space exceeded";
    table.run("put $p/more v").fails(refused);
    eventually("the alarm", || (!alarms(&cluster.nodes[0].etcd).is_empty()).then_some(()));
    table.run("alarm list").has(&["memberID:", " alarm:NOSPACE \n"]);
    table.run("endpoint status -w json").has(&["\"errors\":[\"memberID:", " alarm:NOSPACE \""]);
    for node in &cluster.nodes {
        let endpoint = format!("--endpoints={}", node.etcd);
        table.run(&format!("put $p/more v {endpoint}")).fails(refused);
        table.run(&format!("lease grant 60 {endpoint}")).fails("Error: failed to grant lease (etcdserver: mvcc: database space exceeded)");
        table.run(&format!("get $p/fill/0 --count-only --write-out=fields {endpoint}")).has(&["\"Count\" : 1"]);
        let health = ask(&node.etcd, "/health", "");
        assert_eq!(health, (503, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n".to_owned()));
        assert_eq!(ask(&node.etcd, "/health?exclude=NOSPACE", "").0, 200);
    }
    // Whoever disarms is told which, and while nothing is gone it comes again.
    table.run("alarm disarm").has(&[" alarm:NOSPACE \n"]);
    eventually("the alarm again", || (!alarms(&cluster.nodes[0].etcd).is_empty()).then_some(()));
    table.run("del --prefix $p/fill/").prints(&format!("{keys}\n"));
    eventually("no alarm", || alarms(&cluster.nodes[0].etcd).is_empty().then_some(()));
    table.run("alarm list").prints("");
    for node in &cluster.nodes {
        table.run_with_input(&format!("put $p/again --endpoints={}", node.etcd), &value).prints("OK\n");
        eventually("healthy", || (ask(&node.etcd, "/health", "").0 == 200).then_some(()));
    }
    table.finish();
}

#[test]
#[ignore = "starts a cluster; takes some seconds"]
fn history_does_not_keep_a_quota_full() {
    let environment = &[("STEADFAST_QUOTA_BACKEND_BYTES", QUOTA), ("STEADFAST_AUTO_COMPACTION_RETENTION", "1h")];
    let cluster = Cluster::start_with(3, environment);
    let value = "dmRm".repeat(25_000);
    let body = format!("{{\"key\":\"YQ==\",\"value\":\"{value}\"}}");
    // Ten times what fits, all of it history but for one value; whoever is refused tries again, as clients do.
    let mut refused = 0;
    for at in 0..400 {
        eventually("room", || {
            let (status, answer) = ask(&cluster.nodes[at % 3].etcd, "/v3/kv/put", &body);
            assert!(status == 200 || answer.contains("mvcc: database space exceeded"), "{answer}");
            refused += usize::from(status != 200);
            (status == 200).then_some(())
        });
    }
    println!("{refused} refused");
    assert!(refused > 0, "the quota was never full");
}

#[test]
#[ignore = "starts a cluster; takes some seconds"]
fn a_member_that_is_said_to_be_corrupt_is_repaired_by_the_others() {
    let cluster = Cluster::start(3);
    let endpoints = cluster.endpoints().join(",");
    let check = |arguments: &[&str]| {
        let output = steadfast(&[&["check", "--endpoints", &endpoints][..], arguments].concat()).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    for at in 0..20 {
        let put = steadfast(&["kv", "put", &format!("key{at}"), "value", "--endpoints", &endpoints]).output().expect("it runs");
        assert!(put.status.success());
    }
    let (agree, text) = check(&[]);
    assert!(agree && text.lines().count() == 4, "{text}");
    let at = cluster.follower();
    let id = cluster.status_of(&cluster.nodes[at].name).expect("it answers")["id"].as_str().expect("a text").to_owned();
    let id = u64::from_str_radix(&id, 16).expect("hexadecimal");
    let other = &cluster.nodes[(at + 1) % 3].etcd;
    let raise = format!("{{\"action\":\"ACTIVATE\",\"alarm\":\"CORRUPT\",\"memberID\":\"{id}\"}}");
    let (status, answer) = ask(other, "/v3/maintenance/alarm", &raise);
    assert!(status == 200 && answer.contains("\"alarm\":\"CORRUPT\""), "{answer}");
    let mut written = 0;
    eventually("no alarm", || {
        let (status, answer) = ask(other, "/v3/kv/put", "{\"key\":\"YQ==\",\"value\":\"YQ==\"}");
        assert_eq!(status, 200, "the others serve: {answer}");
        assert_eq!(ask(other, "/health", "").0, 200);
        written += 1;
        alarms(other).is_empty().then_some(())
    });
    assert!(cluster.log_of(at).contains("everything lost is back"), "it was repaired");
    cluster.settle();
    let (agree, text) = check(&["--repair"]);
    assert!(agree, "{text}");
}
