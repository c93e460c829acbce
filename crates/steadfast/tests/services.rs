//! Checks of services as people declare them, run by real nodes: `steadfast service check`, `/v1/services`, heartbeats.
//!
//! These tests start processes: `cargo test -p steadfast --test services -- --ignored --test-threads=2`.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use support::{Cluster, Node, eventually, http, steadfast};

/// A service that answers every request with a status that is changed by hand.
struct Service {
    address: String,
    status: Arc<AtomicU16>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, status) = (listener.local_addr().expect("bound").to_string(), Arc::new(AtomicU16::new(200)));
        let says = status.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut head, mut piece) = (Vec::new(), [0; 1024]);
                while !head.windows(4).any(|end| end == b"\r\n\r\n") && stream.read(&mut piece).is_ok_and(|read| read > 0) {
                    head.extend_from_slice(&piece);
                }
                let status = says.load(Ordering::Relaxed);
                let _ = write!(stream, "HTTP/1.1 {status} So\r\ncontent-length: 8\r\nconnection: close\r\n\r\nso it is");
            }
        });
        Service { address, status }
    }
}

/// Runs a command that goes well.
fn run(cluster: &Cluster, words: &[&str]) -> String {
    let (endpoints, split) = (cluster.endpoints().join(","), words.iter().position(|word| *word == "--").unwrap_or(words.len()));
    let words = [&words[..split], &["--endpoints", &endpoints], &words[split..]].concat();
    let output = steadfast(&words).output().expect("it runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn check(cluster: &Cluster, words: &[&str]) -> String {
    run(cluster, &[&["service", "check"], words].concat())
}

/// The service as the node's admin port shows it, once it is in this state.
fn await_state(node: &Node, service: &str, state: &str) -> Value {
    eventually(&format!("{service} being {state}"), || {
        let (head, text) = http::ask(&node.admin, "GET", &format!("/v1/services/{service}"), &[], "", None);
        let shown: Value = (head.status == 200).then(|| serde_json::from_str(&text).expect("JSON"))?;
        (shown["state"] == state).then_some(shown)
    })
}

fn beat(node: &Node, service: &str, body: &str) -> (u16, String) {
    let (head, text) = http::ask(&node.admin, "POST", &format!("/v1/services/{service}/heartbeat"), &[], body, None);
    (head.status, text)
}

#[test]
#[ignore = "starts a node's process and checks a service for some seconds"]
fn a_service_is_as_its_checks_say() {
    let mut cluster = Cluster::alone();
    let service = Service::start();
    let url = format!("http://{}/health", service.address);
    let added =
        check(&cluster, &["add", "--node", "n1", "--service", "orders", "--http", &url, "--interval", "500ms", "--timeout", "500ms"]);
    assert_eq!(added, "Check orders-http of service orders is declared for n1.\n");
    await_state(&cluster.nodes[0], "orders", "healthy");
    service.status.store(503, Ordering::Relaxed);
    let failed = await_state(&cluster.nodes[0], "orders", "failed");
    assert_eq!(failed["checks"][0]["words"], "status 503: so it is");
    assert!(failed["evidence"][0].as_str().is_some_and(|text| text.contains("3 of 3 checks failed in a row: status 503")), "{failed}");

    // What is no check, and what may not be run, stops nothing.
    run(&cluster, &["kv", "put", "steadfast/health/checks/n1/broken", "{"]);
    check(
        &cluster,
        &["add", "--all-nodes", "--service", "disk", "--script", "--interval", "100ms", "--timeout", "100ms", "--", "touch", "never"],
    );
    let disk = await_state(&cluster.nodes[0], "disk", "degraded");
    assert!(disk["checks"][0]["words"].as_str().is_some_and(|words| words.contains("--enable-script-checks")), "{disk}");
    service.status.store(200, Ordering::Relaxed);
    await_state(&cluster.nodes[0], "orders", "healthy");
    let log = cluster.log_of(0);
    assert_eq!(log.matches("steadfast/health/checks/n1/broken").count(), 1, "one complaint\n{log}");
    let listed: Value = serde_json::from_str(&check(&cluster, &["list", "--json"])).expect("JSON");
    assert_eq!((listed["checks"].as_array().map(Vec::len), listed["malformed"].as_array().map(Vec::len)), (Some(2), Some(1)), "{listed}");
    let (_, metrics) = http::ask(&cluster.nodes[0].admin, "GET", "/metrics", &[], "", None);
    assert!(metrics.contains("\nsteadfast_services 2\n") && metrics.contains("\nsteadfast_watchers 0\n"), "{metrics}");

    // After a restart the node runs them again; removed, they are gone.
    cluster.nodes[0].kill();
    cluster.nodes[0].start_again();
    cluster.leader();
    await_state(&cluster.nodes[0], "orders", "healthy");
    check(&cluster, &["remove", "orders-http", "--node", "n1"]);
    eventually("nothing known of it", || {
        let (head, _) = http::ask(&cluster.nodes[0].admin, "GET", "/v1/services/orders", &[], "", None);
        (head.status == 404).then_some(())
    });
}

#[test]
#[ignore = "starts a node's process"]
fn services_say_by_themselves_that_they_live() {
    let cluster = Cluster::alone();
    let node = &cluster.nodes[0];
    let (status, text) = beat(node, "nightly", "");
    assert!(status == 404 && text.contains("steadfast service check list"), "{text}");
    check(&cluster, &["add", "--node", "n1", "--service", "nightly", "--heartbeat", "--interval", "23h", "--rise", "1", "--fall", "1"]);
    await_state(node, "nightly", "recovering");
    assert_eq!(beat(node, "nightly", ""), (200, "ok\n".to_owned()));
    await_state(node, "nightly", "healthy");
    assert_eq!(beat(node, "nightly", r#"{"state":"failed","words":"no space, token=abc"}"#).0, 200);
    let failed = await_state(node, "nightly", "failed");
    assert_eq!(failed["checks"][0]["words"], "no space, token=[secret]");
    assert_eq!(beat(node, "nightly", r#"{"state":"passed"}"#).0, 200);
    await_state(node, "nightly", "healthy");
    let (status, text) = beat(node, "nightly", r#"{"state":"fine"}"#);
    assert!(status == 400 && text.contains("one of passed, warned and failed"), "{text}");
    assert_eq!(beat(node, "nightly", &"x".repeat(5_000)).0, 413);
}
