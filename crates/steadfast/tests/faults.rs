//! Real processes are killed, paused and started again under load, and nothing acknowledged is lost.
//!
//! These tests start many processes and take minutes together; `.ci/run` runs them: `cargo test -p steadfast --test faults -- --ignored
//! --test-threads=1`.

mod support;

use rustix::process::Signal;
use support::load::Load;
use support::{Cluster, eventually, serve, steadfast};

const WRITERS: usize = 12;
const VALUE_BYTES: usize = 128;

#[test]
#[ignore = "starts a cluster of processes and kills them; takes half a minute"]
fn a_killed_leader_loses_nothing() {
    let mut cluster = Cluster::start(3);
    let load = Load::start("leader", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    for _ in 0..3 {
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        load.await_progress(500);
        cluster.nodes[leader].start_again();
        load.await_progress(500);
    }
    let acknowledged = load.stop();
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
}

#[test]
#[ignore = "starts a cluster of processes and kills them; takes half a minute"]
fn a_killed_follower_loses_nothing() {
    let mut cluster = Cluster::start(3);
    let load = Load::start("follower", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    for _ in 0..3 {
        let follower = cluster.follower();
        cluster.nodes[follower].kill();
        load.await_progress(500);
        cluster.nodes[follower].start_again();
        load.await_progress(500);
    }
    let acknowledged = load.stop();
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
}

#[test]
#[ignore = "starts a cluster of processes and kills them; takes half a minute"]
fn all_killed_at_once_lose_nothing() {
    let mut cluster = Cluster::start(3);
    for round in 0..3 {
        let load = Load::start(&format!("all-{round}"), &cluster.endpoints(), WRITERS, VALUE_BYTES);
        load.await_progress(1000);
        cluster.power_failure();
        load.await_progress(100);
        let acknowledged = load.stop();
        cluster.settle();
        acknowledged.verify(&cluster.endpoints());
    }
}

#[test]
#[ignore = "starts a cluster of processes and pauses them; takes half a minute"]
fn a_paused_leader_does_no_harm() {
    let cluster = Cluster::start(3);
    let load = Load::start("paused", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    for _ in 0..2 {
        let leader = cluster.leader();
        cluster.nodes[leader].signal(Signal::STOP);
        load.await_progress(200);
        cluster.nodes[leader].signal(Signal::CONT);
        load.await_progress(200);
    }
    let acknowledged = load.stop();
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
}

#[test]
#[ignore = "starts a cluster of processes and restarts them; takes half a minute"]
fn restarts_in_any_order_lose_nothing() {
    let mut cluster = Cluster::start(3);
    let load = Load::start("restarts", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    // Each pair (first, second): both down at once for a while, so that nothing is served, and back in either order.
    for (first, second) in [(0, 1), (2, 1), (1, 0)] {
        load.await_progress(300);
        cluster.nodes[first].signal(Signal::TERM);
        cluster.nodes[first].await_end();
        load.await_progress(100);
        cluster.nodes[second].kill();
        cluster.nodes[second].start_again();
        cluster.nodes[first].start_again();
    }
    load.await_progress(300);
    let acknowledged = load.stop();
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
}

/// The log is kept short, so that a node which was away, and one that is new, need a snapshot; both are killed in the middle of it.
#[test]
#[ignore = "starts a cluster of processes, fills it, and adds a node; takes a minute"]
fn a_fourth_node_joins_by_snapshot_under_load() {
    let cluster = Cluster::start(3);
    let filling = Load::start("fill", &cluster.endpoints(), 64, 16 * 1024);
    filling.await_progress(12_000);
    let filled = filling.stop();
    let load = Load::start("join", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(200);
    let endpoints = cluster.endpoints().join(",");
    let ports: Vec<String> = [2379, 2380, 7070].map(|base| format!("127.0.0.1:{}", base + 40 + cluster_offset(&cluster))).to_vec();
    let added = steadfast(&["member", "add", "n4", "--peer", &ports[1], "--learner", "--endpoints", &endpoints]).output().expect("it runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let directory = cluster.directory.path().join("n4");
    let log = cluster.directory.path().join("n4.log");
    let arguments = [
        "--name",
        "n4",
        "--data-dir",
        directory.to_str().expect("UTF-8"),
        "--listen-client",
        &ports[0],
        "--listen-peer",
        &ports[1],
        "--listen-admin",
        &ports[2],
        "--join",
        &cluster.nodes[0].peer,
    ];
    let mut node = serve(&arguments, &log);
    eventually("the snapshot's beginning", || std::fs::read_dir(directory.join("store")).ok()?.count().gt(&2).then_some(()));
    node.kill().expect("it runs");
    node.wait().expect("a child");
    let mut node = serve(&arguments, &log);
    let caught_up = || {
        let status = cluster.status();
        let nodes = status["nodes"].as_array()?;
        let applied = |name: &str| nodes.iter().find(|node| node["name"] == name)?["applied"].as_u64();
        (applied("n4")? > 0 && applied("n4")? + 1000 > applied("n1")?).then_some(())
    };
    eventually("the fourth node catching up", caught_up);
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains("snapshot: installed"), "it did not come by snapshot:\n{text}");
    load.await_progress(200);
    let acknowledged = load.stop();
    let promoted = eventually("the promotion", || {
        let status = cluster.status();
        let id = status["nodes"].as_array()?.iter().find(|node| node["name"] == "n4")?["id"].as_str()?.to_owned();
        let output = steadfast(&["member", "promote", &id, "--endpoints", &endpoints]).output().expect("it runs");
        output.status.success().then_some(id)
    });
    assert!(!promoted.is_empty());
    acknowledged.verify(std::slice::from_ref(&ports[0]));
    filled.verify(std::slice::from_ref(&ports[0]));
    node.kill().expect("it runs");
    node.wait().expect("a child");
}

fn cluster_offset(cluster: &Cluster) -> u16 {
    let port: u16 = cluster.nodes[0].etcd.rsplit(':').next().expect("a port").parse().expect("a number");
    port - 2379
}
