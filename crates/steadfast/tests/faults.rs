//! Real processes are killed, paused and started again under load, and nothing acknowledged is lost.
//!
//! These tests start many processes and take minutes together; `.ci/run` runs them: `cargo test -p steadfast --test faults -- --ignored
//! --test-threads=2`.

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::load::{Acknowledged, Load};
use support::{Cluster, Environment, eventually, serve, steadfast};

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
#[ignore = "starts a cluster of processes and pauses them; takes half a minute"]
fn a_paused_follower_does_no_harm() {
    let cluster = Cluster::start(3);
    let load = Load::start("paused", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    for _ in 0..3 {
        let follower = cluster.follower();
        cluster.nodes[follower].signal(Signal::STOP);
        load.await_progress(500);
        cluster.nodes[follower].signal(Signal::CONT);
        load.await_progress(200);
        cluster.await_catch_up(follower);
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

/// What the log keeps is so little that a node which was away for [`FILLING`] needs a snapshot.
const SHORT_LOG: Environment = &[("STEADFAST_LOG_RETENTION_BYTES", "1048576"), ("STEADFAST_MEMTABLE_BYTES", "4194304")];

/// Writes of [`FILLING_BYTES`] each that make a snapshot large enough to be interrupted.
const FILLING: u64 = 8_000;
const FILLING_BYTES: usize = 16 * 1024;

/// Kills a follower, and writes until the logs of the others no longer have what it misses.
fn leave_behind(cluster: &mut Cluster) -> (usize, Acknowledged) {
    let away = cluster.follower();
    let missed = cluster.status_of(&cluster.nodes[away].name).expect("its status")["revision"].as_u64().expect("a number");
    cluster.nodes[away].kill();
    let filling = Load::start("fill", &cluster.endpoints(), 64, FILLING_BYTES);
    filling.await_progress(FILLING);
    let filled = filling.stop();
    eventually("logs cut behind the node that is away", || {
        let status = cluster.status();
        let others = status["nodes"].as_array()?.iter().filter(|node| node["reachable"] == true);
        let is_cut = |node: &Value| Some(node["revision"].as_u64()? >= missed + FILLING && node["log_bytes"].as_u64()? < MOST_LOG_BYTES);
        others.map(is_cut).collect::<Option<Vec<bool>>>().is_some_and(|cut| cut.len() == 2 && cut.iter().all(|cut| *cut)).then_some(())
    });
    (away, filled)
}

/// A log of this size, preallocated space included, does not hold the filling.
const MOST_LOG_BYTES: u64 = FILLING * FILLING_BYTES as u64;

/// Starts a node that was left behind, and waits until another sends it a new snapshot, and it has begun to write that.
fn start_receiving(cluster: &mut Cluster, at: usize) {
    let sendings = |cluster: &Cluster| (0..cluster.nodes.len()).map(|at| cluster.log_of(at).matches(SENDING).count()).sum::<usize>();
    let before = sendings(cluster);
    cluster.nodes[at].start_again();
    let begun = || (sendings(cluster) > before && cluster.nodes[at].receives_snapshot()).then_some(());
    eventually("the snapshot's beginning", begun);
}

const SENDING: &str = "snapshot: sending";
const INSTALLED: &str = "snapshot: installed";

#[test]
#[ignore = "starts a cluster of processes, fills it and kills nodes; takes a minute"]
fn a_node_killed_while_it_receives_a_snapshot_catches_up() {
    let mut cluster = Cluster::start_with(3, SHORT_LOG);
    let (away, filled) = leave_behind(&mut cluster);
    let load = Load::start("receiver", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(200);
    for _ in 0..2 {
        start_receiving(&mut cluster, away);
        cluster.nodes[away].kill();
        assert!(!cluster.log_of(away).contains(INSTALLED), "it was killed too late");
    }
    cluster.nodes[away].start_again();
    cluster.await_catch_up(away);
    assert!(cluster.log_of(away).contains(INSTALLED), "it did not come by snapshot");
    load.await_progress(200);
    let acknowledged = load.stop();
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
    filled.verify(&cluster.endpoints());
}

#[test]
#[ignore = "starts a cluster of processes, fills it and kills nodes; takes a minute"]
fn a_leader_killed_while_it_sends_a_snapshot_loses_nothing() {
    let mut cluster = Cluster::start_with(3, SHORT_LOG);
    let (away, filled) = leave_behind(&mut cluster);
    let load = Load::start("sender", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(200);
    start_receiving(&mut cluster, away);
    let count = |at: usize, what: &str| cluster.log_of(at).matches(what).count();
    let is_sending = |at: &usize| count(*at, SENDING) > count(*at, "snapshot: sent");
    let sender = eventually("a sender", || (0..cluster.nodes.len()).find(is_sending));
    cluster.nodes[sender].kill();
    assert!(!cluster.log_of(away).contains(INSTALLED), "the sender was killed too late");
    // The two that are left are a majority only together.
    cluster.await_catch_up(away);
    assert!(cluster.log_of(away).contains(INSTALLED), "it did not come by snapshot");
    assert_ne!(cluster.leader(), sender);
    load.await_progress(200);
    cluster.nodes[sender].start_again();
    let acknowledged = load.stop();
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
    filled.verify(&cluster.endpoints());
}

/// The node that joins is killed in the middle of its snapshot.
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
    let ports = cluster.spare_addresses();
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
