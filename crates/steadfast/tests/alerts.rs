//! A failed node is told to a webhook, a command and an Alertmanager, by whoever leads.
//!
//! These tests start many processes: `cargo test -p steadfast --test alerts -- --ignored --test-threads=1`.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use support::{Cluster, LONG, eventually, steadfast};

/// Takes everything; what was sent, with its path.
fn receiver() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let (heard, hearing) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut reader = BufReader::new(socket.expect("a connection"));
            let (mut path, mut length) = (String::new(), 0);
            for line in reader.by_ref().lines().map(|line| line.expect("a head")).take_while(|line| !line.is_empty()) {
                match line.split_once(": ") {
                    None => path = line.split(' ').nth(1).expect("a path").to_owned(),
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().expect("a number"),
                    Some(_) => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("answered");
            if heard.send((path, serde_json::from_slice(&body).expect("JSON"))).is_err() {
                return;
            }
        }
    });
    (address, hearing)
}

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[test]
#[ignore = "starts a cluster of processes and kills one; takes half a minute"]
fn a_failed_node_is_told_to_all_receivers_and_its_return_too() {
    let (address, heard) = receiver();
    let file = tempfile::tempdir().expect("a scratch directory");
    let told = file.path().join("told");
    let environment = vec![
        ("STEADFAST_ALERT_WEBHOOK", leaked(format!("http://{address}/hook"))),
        ("STEADFAST_ALERTMANAGER", leaked(format!("http://{address}/am"))),
        ("STEADFAST_ALERT_COMMAND", leaked(format!("echo $STEADFAST_ALERT_NAME $STEADFAST_ALERT_SUMMARY >> {}", told.display()))),
    ];
    let mut cluster = Cluster::start_with(3, Box::leak(environment.into_boxed_slice()));
    let test = steadfast(&["alert", "test", "--endpoints", &cluster.nodes[0].etcd]).output().expect("it runs");
    let shown = String::from_utf8(test.stdout).expect("text");
    assert!(test.status.success() && shown.matches("taken").count() == 3, "{shown}{}", String::from_utf8_lossy(&test.stderr));
    assert!(fs::read_to_string(&told).expect("a file").starts_with("SteadfastTest a test"));

    let gone = cluster.follower();
    let name = cluster.nodes[gone].name.clone();
    cluster.nodes[gone].kill();
    let (mut hook, mut pushed) = (None, None);
    while hook.is_none() || pushed.is_none() {
        let (path, body) = heard.recv_timeout(LONG).expect("told");
        let is_of_it = |alert: &Value| alert["labels"]["alertname"] == "NodeFailed" && alert["labels"]["node"] == *name;
        match path.as_str() {
            "/hook" => hook = hook.or_else(|| body["alerts"].as_array()?.iter().find(|alert| is_of_it(alert)).cloned()),
            "/am/api/v2/alerts" => pushed = pushed.or_else(|| body.as_array()?.iter().find(|alert| is_of_it(alert)).cloned()),
            other => panic!("{other}"),
        }
    }
    let (hook, pushed) = (hook.expect("it came"), pushed.expect("it came"));
    assert_eq!((&hook["status"], &hook["startsAt"]), (&"firing".into(), &pushed["startsAt"]));
    assert!(hook["annotations"]["description"].as_str().expect("text").contains("found dead: silent for"), "{hook}");
    eventually("the command having run", || {
        fs::read_to_string(&told).ok()?.contains(&format!("NodeFailed node {name} is failed")).then_some(())
    });

    cluster.nodes[gone].start_again();
    let began = pushed["endsAt"].as_str().expect("a time").to_owned();
    loop {
        let (path, body) = heard.recv_timeout(LONG).expect("told");
        let ended = path.starts_with("/am").then(|| body.as_array().cloned()).flatten().unwrap_or_default();
        let is_ended = |alert: &Value| alert["labels"] == pushed["labels"] && alert["endsAt"].as_str().is_some_and(|end| *end < *began);
        if ended.iter().any(is_ended) {
            break;
        }
    }
}
