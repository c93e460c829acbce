//! The JSON gateway and the plain paths of the client port: beside etcd's, and on connections that end early. Python's `etcd3gw` is in `tests/clients`.
//!
//! Needs etcd 3.5.1, which `ETCD_3_5` names: `cargo test -p steadfast --test gateway -- --ignored`; `.ci/run` installs it.

mod rows;
#[path = "../support/mod.rs"]
mod support;

use rows::{Equal, Row, rows};
use support::http::{self, Exchange};
use support::oracle::Etcd;
use support::{Cluster, eventually};

/// Values that each server chooses for itself.
const OWN: &[&str] = &[
    "cluster_id",
    "member_id",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "etcdserver",
    "etcdcluster",
];

/// Replaces the value of `name` wherever it stands in `text`; a text in quotes or a list of such.
fn mask(text: &str, name: &str) -> String {
    let opening = format!("\"{name}\":");
    let mut parts = text.split(&opening);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = if part.starts_with('[') { part.find(']').map(|at| at + 1) } else { quoted(part) };
        masked += &format!("{opening}~{}", &part[end.unwrap_or_else(|| panic!("{name} is no text in {text}"))..]);
    }
    masked
}

/// The length of the quoted text that `text` begins with.
fn quoted(text: &str) -> Option<usize> {
    let mut escaped = true;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What a server says to a row, without what it chooses for itself.
fn said(address: &str, row: &Row) -> String {
    let (head, body) = http::ask(address, row.method, row.path, row.headers, &row.body, row.lines);
    let mut names = OWN.to_vec();
    match row.path {
        "/v3/maintenance/status" => names.extend(["version", "leader"]),
        "/v3/cluster/member/list" => names.extend(["ID", "name", "peerURLs", "clientURLs"]),
        "/v3/lease/timetolive" | "/v3/kv/lease/timetolive" if body.contains("grantedTTL") => names.push("TTL"),
        _ => {}
    }
    match row.equal {
        Equal::Body => {}
        Equal::ButTheWords => names.extend(["error", "message"]),
        Equal::Head => return format!("{} {}", head.status, head.content_type),
    }
    let body = names.iter().fold(body, |body, name| mask(&body, name));
    // A node that has flushed nothing yet has no size.
    let body = body.replace("\"dbSize\":~,", "").replace(",\"dbSizeInUse\":~", "");
    // In etcd the gateway notices that the time is over, or the server behind it, whichever is first; they do not agree on the code.
    let body = body.replace("\"error\":\"context deadline exceeded\",\"code\":2,", "\"error\":\"context deadline exceeded\",\"code\":4,");
    let status = if body.contains("\"error\":\"context deadline exceeded\"") { 504 } else { head.status };
    format!("{status} {} {}", head.content_type, body.trim_end().replace('\n', " ⏎ "))
}

fn shown(text: &str) -> String {
    if text.chars().count() > 300 { text.chars().take(300).chain("…".chars()).collect() } else { text.to_owned() }
}

#[test]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts a node; takes some seconds"]
fn every_request_is_answered_as_etcd_answers_it() {
    let (etcd, cluster) = (Etcd::start(), Cluster::alone());
    eventually("etcd serves", || (http::ask(&etcd.endpoint, "GET", "/health", &[], "", None).0.status == 200).then_some(()));
    let mut different = 0;
    let rows = rows();
    for row in &rows {
        let (theirs, ours) = (said(&etcd.endpoint, row), said(&cluster.nodes[0].etcd, row));
        let mark = if ours == theirs { "  " } else { "!!" };
        println!("{mark} {} {} {}\n      {}", row.method, row.path, shown(&row.body), shown(&ours));
        if ours != theirs {
            println!("etcd: {}", shown(&theirs));
            different += 1;
        }
    }
    println!("{} rows", rows.len());
    assert_eq!(different, 0, "rows that differ are marked with !!");
}

/// Watchers that the node has, by its own metrics.
fn watchers(cluster: &Cluster) -> u64 {
    let (_, metrics) = http::ask(&cluster.nodes[0].etcd, "GET", "/metrics", &[], "", None);
    let line = metrics.lines().find(|line| line.starts_with("steadfast_watchers ")).expect("the metric");
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
#[ignore = "starts a node; takes some seconds"]
fn a_watch_goes_on_over_an_open_body_and_ends_with_its_client() {
    let cluster = Cluster::alone();
    let address = &cluster.nodes[0].etcd;
    let mut watch = Exchange::begin_chunked(address, "POST", "/v3/watch");
    watch.chunk("{\"create_request\":{\"key\":\"YQ==\"}}");
    assert_eq!(watch.head().status, 200);
    let next = |watch: &mut Exchange, expected: &str| {
        let line = watch.piece().expect("it goes on");
        assert!(line.contains(expected) && line.ends_with("}\n"), "{expected} in {line}");
    };
    next(&mut watch, "\"created\":true");
    assert_eq!(http::ask(address, "POST", "/v3/kv/put", &[], "{\"key\":\"YQ==\"}", None).0.status, 200);
    next(&mut watch, "\"events\":[{\"kv\":{\"key\":\"YQ==\"");
    watch.chunk("{\"progress_request\"");
    watch.chunk(":{}}");
    next(&mut watch, "\"watch_id\":\"-1\"");
    watch.chunk("{\"create_request\":{\"key\":\"Yg==\",\"watch_id\":5}}");
    next(&mut watch, "\"watch_id\":\"5\",\"created\":true");
    eventually("two watchers", || (watchers(&cluster) == 2).then_some(()));
    watch.chunk("{\"cancel_request\":{\"watch_id\":5}}");
    next(&mut watch, "\"watch_id\":\"5\",\"canceled\":true");
    eventually("one watcher", || (watchers(&cluster) == 1).then_some(()));
    watch.hang_up();
    eventually("no watchers", || (watchers(&cluster) == 0).then_some(()));

    // A body that has come to its end says nothing about the client.
    let lock = "{\"name\":\"bA==\"}";
    assert_eq!(http::ask(address, "POST", "/v3/lock/lock", &[], lock, None).0.status, 200);
    let length = lock.len().to_string();
    let mut waiting = Exchange::begin(address, "POST", "/v3/lock/lock", &[("content-length", &length)]);
    waiting.send(lock);
    eventually("watchers of the one who waits", || (watchers(&cluster) > 0).then_some(()));
    waiting.hang_up();
    eventually("nobody waits", || (watchers(&cluster) == 0).then_some(()));
}

#[test]
#[ignore = "starts a node; takes some seconds"]
fn a_connection_serves_one_request_after_the_other() {
    let cluster = Cluster::alone();
    let mut exchange = Exchange::begin(&cluster.nodes[0].etcd, "GET", "/livez", &[]);
    let head = exchange.head();
    assert_eq!((head.status, exchange.body(&head, None).as_str()), (200, "ok\n"));
    let table = [
        ("/v3/kv/range", "{\"key\":\"YQ==\"} ", 200),
        ("/v3/kv/range", "{", 400),
        ("/v3/kv/range", "{\"key\":\"YQ==\"} and more", 200),
        ("/v3/lease/keepalive", "{\"ID\":1}", 200),
        ("/v3/lease/leases", " ", 200),
    ];
    for (path, body, status) in table {
        exchange.send(&format!("POST {path} HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n"));
        exchange.chunk(body);
        exchange.send("0\r\n\r\n");
        let head = exchange.head();
        assert_eq!(head.status, status, "{path} {body}");
        exchange.body(&head, None);
    }
    exchange.send("GET /v3/kv/nothing HTTP/1.1\r\nhost: node\r\n\r\n");
    let head = exchange.head();
    assert_eq!((head.status, exchange.body(&head, None).as_str()), (404, "Not Found\n"));
    exchange.send("GET /readyz?verbose&exclude=non_learner HTTP/1.1\r\nhost: node\r\n\r\n");
    let head = exchange.head();
    assert_eq!((head.status, exchange.body(&head, None).as_str()), (200, "[+]serializable_read ok\n[+]linearizable_read ok\nok\n"));
}
