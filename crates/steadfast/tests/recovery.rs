//! Real clusters that lost more than they can spare come back by the documented steps.
//!
//! These tests start many processes: `cargo test -p steadfast --test recovery -- --ignored --test-threads=2`.

mod support;

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::load::Load;
use support::{Cluster, steadfast};

const WRITERS: usize = 12;
const VALUE_BYTES: usize = 128;

fn force(data_dir: &Path, more: &[&str]) -> Output {
    let data_dir = data_dir.display().to_string();
    let arguments: Vec<&str> = ["recovery", "force", "--data-dir", &data_dir].iter().chain(more).copied().collect();
    steadfast(&arguments).output().expect("it runs")
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What is on a disk: its last entry, term first, and the word that accepts the loss.
fn examined(data_dir: &Path) -> ((u64, u64), String) {
    let output = force(data_dir, &["--json"]);
    assert!(output.status.success(), "{}", shown(&output));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&plan["voters"].as_array().expect("a list").len(), &plan["disks_that_hold_everything"]), (&3, &Value::from(2)), "{plan}");
    let number = |name: &str| plan["last_entry"][name].as_u64().expect("a number");
    ((number("term"), number("index")), plan["accept_loss"].as_str().expect("a word").to_owned())
}

/// One of three is away while the others go on; then these two die, one with its disk. Two disks of three are at hand, and the newer one
/// has everything.
#[test]
#[ignore = "starts a cluster of processes and kills all of it"]
fn a_cluster_that_lost_its_quorum_begins_anew_from_the_best_disk() {
    let mut cluster = Cluster::start(3);
    let load = Load::start("lost", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    let stale = cluster.follower();
    cluster.nodes[stale].kill();
    load.await_progress(500);
    let best = cluster.leader();
    let lost = (0..3).find(|at| ![stale, best].contains(at)).expect("one of three");
    let directories: Vec<_> = cluster.nodes.iter().map(|node| node.data_dir.clone()).collect();
    let in_use = force(&directories[best], &[]);
    assert!(!in_use.status.success() && shown(&in_use).contains("is in use by another process; stop that one"), "{}", shown(&in_use));
    let still_runs = force(&directories[stale], &[]);
    assert!(shown(&still_runs).contains("Nothing has been changed. First stop"), "{}", shown(&still_runs));
    // What is acknowledged until here is on the two disks that live.
    for at in [lost, best] {
        cluster.nodes[at].kill();
    }
    let acknowledged = load.stop();
    std::fs::remove_dir_all(&directories[lost]).expect("removed");

    let (newest, word) = examined(&directories[best]);
    let (older, stale_word) = examined(&directories[stale]);
    assert!(newest > older, "{newest:?} {older:?}");
    let wrong = force(&directories[best], &["--accept-loss", &stale_word]);
    assert!(wrong.status.code() == Some(2) && shown(&wrong).contains("is not the word for this disk"), "{}", shown(&wrong));
    let text = shown(&force(&directories[best], &[]));
    assert!(text.contains("LOST") && text.contains(&format!("--accept-loss {word}")), "{text}");
    let done = force(&directories[best], &["--accept-loss", &word]);
    assert!(done.status.success(), "{}", shown(&done));

    cluster.nodes[best].start_again();
    let alone = [cluster.nodes[best].etcd.clone()];
    assert_eq!(cluster.leader(), best);
    acknowledged.verify(&alone);
    // The old members know another cluster, whose quorum is gone.
    cluster.nodes[stale].start_again();
    let load = Load::start("anew", &alone, WRITERS, VALUE_BYTES);
    load.await_progress(500);
    cluster.nodes[stale].kill();
    for k in 4..=5 {
        cluster.add_voter(k);
        cluster.join(k);
        cluster.await_vote(cluster.nodes.len() - 1);
        load.await_progress(500);
    }
    let anew = load.stop();
    for at in [3, 4] {
        cluster.await_catch_up(at);
    }
    let live: Vec<String> = [best, 3, 4].map(|at| cluster.nodes[at].etcd.clone()).into();
    anew.verify(&live);
    acknowledged.verify(&live);
    let check = steadfast(&["check", "--endpoints", &live.join(",")]).output().expect("it runs");
    assert!(check.status.success(), "{}", shown(&check));
}
