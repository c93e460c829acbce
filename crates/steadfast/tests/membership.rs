//! Real clusters grow by voters that have not started yet, under load, without a pause, and nothing acknowledged is lost.
//!
//! These tests start many processes: `cargo test -p steadfast --test membership -- --ignored --test-threads=1`.

mod support;

use rustix::process::Signal;
use support::Cluster;
use support::load::{Load, put_promptly};

const WRITERS: usize = 12;
const VALUE_BYTES: usize = 128;

/// Every node in turn is killed and started again; the others serve meanwhile, so each of them has a vote.
fn kill_each_in_turn(cluster: &mut Cluster, load: &Load) {
    for at in 0..cluster.nodes.len() {
        cluster.nodes[at].kill();
        load.await_progress(500);
        cluster.nodes[at].start_again();
        cluster.await_catch_up(at);
    }
}

#[test]
#[ignore = "starts processes and kills them; takes half a minute"]
fn one_node_grows_to_three_by_voters() {
    let mut cluster = Cluster::alone();
    let load = Load::start("grow", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    for k in 2..=3 {
        cluster.add_voter(k);
        put_promptly(&cluster.nodes[0].etcd, &format!("added/{k}"));
        load.await_progress(500);
        cluster.join(k);
        cluster.await_vote(cluster.nodes.len() - 1);
        load.await_progress(500);
    }
    let grown = load.stop();
    let load = Load::start("killed", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    kill_each_in_turn(&mut cluster, &load);
    let acknowledged = load.stop();
    cluster.settle();
    grown.verify(&cluster.endpoints());
    acknowledged.verify(&cluster.endpoints());
}

#[test]
#[ignore = "starts a cluster of processes and kills one; takes half a minute"]
fn a_voter_added_just_after_a_follower_died_does_no_harm() {
    let mut cluster = Cluster::start(3);
    let load = Load::start("add", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    // The leader can't have noticed when it is asked.
    cluster.nodes[follower].signal(Signal::KILL);
    cluster.add_voter(4);
    put_promptly(&cluster.nodes[leader].etcd, "added");
    load.await_progress(500);
    cluster.nodes[follower].await_end();
    cluster.nodes[follower].start_again();
    cluster.join(4);
    cluster.await_vote(3);
    kill_each_in_turn(&mut cluster, &load);
    let acknowledged = load.stop();
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
}
