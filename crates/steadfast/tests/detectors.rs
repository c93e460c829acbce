//! What servers notice of each other by their connections, logs and stores, on real processes: it is in the cause that `steadfast health` shows and in
//! the records, with who noticed it, and it condemns nobody who lives.
//!
//! These tests start clusters of processes: `cargo test -p steadfast --test detectors -- --ignored --test-threads=1`.

mod support;

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use support::load::Load;
use support::{Cluster, Environment, LONG, eventually, http, steadfast, within};

const FAULTS: Environment = &[("STEADFAST_FAULTS", "true")];

fn set_faults(admin: &str, table: &str) {
    let (head, text) = http::ask(admin, "PUT", "/faults", &[], table, None);
    assert_eq!(head.status, 200, "{text}");
}

/// What the leader shows of a node: a follower whose disk is stuck hears of what was decided when that is over.
fn shown(cluster: &Cluster, name: &str) -> Option<Value> {
    let leader = &cluster.nodes[cluster.leader()].etcd;
    let output = steadfast(&["health", "--json", "--endpoints", leader]).output().expect("it runs");
    let shown: Value = serde_json::from_slice(&output.stdout).ok()?;
    shown["nodes"].as_array()?.iter().find(|node| node["name"] == name).cloned()
}

/// Waits until a node is in this state, for a cause with all these words.
fn await_cause(cluster: &Cluster, name: &str, state: &str, words: &[&str]) -> String {
    let mut last = Value::Null;
    eventually(&format!("{name} being {state} for {words:?}"), || {
        last = shown(cluster, name)?;
        let cause = last["cause"].as_str()?;
        (last["state"] == state && words.iter().all(|word| cause.contains(word))).then(|| cause.to_owned())
    })
}

fn await_all_healthy(cluster: &Cluster) {
    eventually("all healthy", || {
        let health = cluster.health();
        let nodes = health["nodes"].as_array()?;
        (nodes.len() == cluster.nodes.len() && nodes.iter().all(|node| node["state"] == "healthy")).then_some(())
    });
}

/// Every change of every node, as `NODE FROM TO`, oldest first.
fn changes(cluster: &Cluster) -> Vec<String> {
    let servers = cluster.endpoints().join(",");
    let arguments = ["kv", "get", "--prefix", "steadfast/health/events/", "--json", "--endpoints", &servers];
    let output = steadfast(&arguments).output().expect("it runs");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let change = |kv: &Value| {
        let event: Value = serde_json::from_str(kv["value"].as_str().expect("text")).expect("JSON");
        ["node", "from", "to"].map(|field| event[field].as_str().expect("text").to_owned()).join(" ")
    };
    read["kvs"].as_array().into_iter().flatten().map(change).collect()
}

/// The two that do not lead.
fn followers(cluster: &Cluster) -> [usize; 2] {
    let leader = cluster.leader();
    [(leader + 1) % 3, (leader + 2) % 3]
}

#[test]
#[ignore = "starts a cluster of processes and cuts a line between two of them; takes a minute"]
fn a_line_that_is_cut_one_way_is_told_by_who_hears_nothing_and_condemns_nobody() {
    let cluster = Cluster::start_with(3, FAULTS);
    await_all_healthy(&cluster);
    let [deaf, unheard] = followers(&cluster).map(|at| &cluster.nodes[at]);
    set_faults(&deaf.admin, &format!(r#"{{"drop_from":["{}"]}}"#, unheard.name));
    let silent = format!("silent for {}", deaf.name);
    let phi = format!("{} has heartbeat: silent for ", deaf.name);
    let cause = await_cause(&cluster, &unheard.name, "degraded", &[&silent, &phi, "phi "]);
    assert!(cause.starts_with("impaired: "), "{cause}");
    // Whose greetings are not taken up sees it too, by another way.
    await_cause(&cluster, &deaf.name, "degraded", &[&format!("{} has timeout: ", unheard.name)]);
    set_faults(&deaf.admin, "{}");
    await_all_healthy(&cluster);
    let changes = changes(&cluster);
    assert!(changes.iter().all(|change| !change.ends_with("failed")) && changes.len() == 4, "{changes:?}");
}

#[test]
#[ignore = "starts a cluster of processes and stops one; takes a minute"]
fn a_server_that_stood_still_has_failed_and_accuses_nobody_when_it_goes_on() {
    let cluster = Cluster::start(3);
    await_all_healthy(&cluster);
    let still = &cluster.nodes[followers(&cluster)[0]];
    still.signal(Signal::STOP);
    let others: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).filter(|name| *name != still.name).collect();
    // What the connections show is in it too, if they were sooner than gossip.
    await_cause(&cluster, &still.name, "failed", &["found dead: silent for ", others[0], others[1]]);
    still.signal(Signal::CONT);
    await_all_healthy(&cluster);
    let changes = changes(&cluster);
    assert!(changes[0].ends_with("healthy failed") && changes.iter().all(|change| change.starts_with(&still.name)), "{changes:?}");
}

#[test]
#[ignore = "starts a cluster of processes and blocks the disk of one; takes a minute"]
fn a_follower_whose_disk_is_stuck_answers_and_is_found_out_by_itself_and_by_its_leader() {
    let cluster = Cluster::start_with(3, FAULTS);
    await_all_healthy(&cluster);
    let load = Load::start("stuck", &cluster.endpoints(), 4, 128);
    load.await_progress(100);
    let (leader, [stuck, _]) = (cluster.leader(), followers(&cluster));
    let (leader, stuck) = (&cluster.nodes[leader].name, &cluster.nodes[stuck]);
    set_faults(&stuck.admin, r#"{"slow_sync_ms":45000}"#);
    let probe = format!("{} has probe: a probe waits ", stuck.name);
    let checkpoint = format!("{leader} has checkpoint: work stands still at ");
    let cause = await_cause(&cluster, &stuck.name, "degraded", &[&probe, "for its sync", &checkpoint]);
    assert!(cause.starts_with("impaired: "), "{cause}");
    set_faults(&stuck.admin, "{}");
    load.stop();
    await_all_healthy(&cluster);
    assert!(
        changes(&cluster).iter().all(|change| change.starts_with(&stuck.name) && !change.ends_with("failed")),
        "{:?}",
        changes(&cluster)
    );
}

/// Debian's `libfaketime`, where `.ci/run` has installed it: the wall clock of a process is another, its monotonic clock is not.
fn libfaketime() -> Option<String> {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"].map(|place| format!("{place}/faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|path| Path::new(path).exists())
}

#[test]
#[ignore = "starts a cluster of processes, one with a clock an hour off; takes two minutes; needs libfaketime"]
fn a_server_whose_clock_is_an_hour_off_works_and_is_reported_and_judges_nobody_wrongly() {
    let library = libfaketime().expect("libfaketime, as .ci/run installs it");
    let environment: Environment = Box::leak(Box::new([
        ("LD_PRELOAD", &*Box::leak(library.into_boxed_str())),
        ("FAKETIME", "+1h"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]));
    let mut cluster = Cluster::start(3);
    await_all_healthy(&cluster);
    let wrong = cluster.leader();
    cluster.nodes[wrong].kill();
    cluster.nodes[wrong].start_again_with(environment);
    let name = cluster.nodes[wrong].name.clone();
    let load = Load::start("wrong", &cluster.endpoints(), 2, 64);
    // It has failed, returned and been well before the minute is over after which its clock is told of.
    let is_off = |node: &Value| node["cause"].as_str().is_some_and(|cause| cause.contains("clock off its peers', ms"));
    let seen = within(LONG * 2, "the clock being told of", || shown(&cluster, &name).filter(&is_off));
    assert_eq!(seen["state"], "degraded", "{seen}");
    load.await_progress(100);
    let acknowledged = load.stop();
    acknowledged.verify(&[cluster.nodes[wrong].etcd.clone()]);
    assert!(changes(&cluster).iter().all(|change| change.starts_with(&name)), "{:?}", changes(&cluster));
}
