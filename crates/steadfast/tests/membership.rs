//! Real clusters grow by voters that have not started yet, under load, without a pause, and nothing acknowledged is lost.
//!
//! These tests start many processes: `cargo test -p steadfast --test membership -- --ignored --test-threads=2`.

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

#[test]
#[ignore = "starts a cluster of processes and kills one; takes half a minute"]
fn a_member_that_was_removed_while_it_was_away_learns_it_and_stops() {
    let mut cluster = Cluster::start(3);
    let gone = cluster.follower();
    cluster.nodes[gone].kill();
    let (name, endpoints) = (cluster.nodes[gone].name.clone(), cluster.endpoints().join(","));
    let removed = support::steadfast(&["member", "remove", &name, "--endpoints", &endpoints]).output().expect("it runs");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    // The others know it from their state, not from having been there.
    for at in (0..3).filter(|at| *at != gone) {
        cluster.nodes[at].kill();
        cluster.nodes[at].start_again();
        cluster.await_catch_up(at);
    }
    cluster.nodes[gone].start_again();
    cluster.nodes[gone].await_end();
    let log = cluster.log_of(gone);
    assert!(log.contains("this member was removed from the cluster; to bring the machine back, empty"), "{log}");
}

/// Node 4 learns; a voter dies for good; then another may.
#[test]
#[ignore = "starts a cluster of processes and kills two; takes half a minute"]
fn a_dead_voter_is_replaced_by_a_learner_if_the_policy_says_so() {
    let mut cluster = Cluster::start_with(3, &[("STEADFAST_REPLACE_DEAD_VOTERS_AFTER", "3s")]);
    let load = Load::start("replace", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    let follower = cluster.follower();
    cluster.add_learner(4);
    cluster.join(4);
    cluster.await_catch_up(3);
    cluster.nodes[follower].kill();
    cluster.await_vote(3);
    load.await_progress(500);
    let leader = cluster.leader();
    let other = (0..3).find(|at| *at != follower && *at != leader).expect("one of three");
    cluster.nodes[other].kill();
    load.await_progress(500);
    let acknowledged = load.stop();
    cluster.nodes[other].start_again();
    cluster.await_catch_up(other);
    let live: Vec<String> = (0..4).filter(|at| *at != follower).map(|at| cluster.nodes[at].etcd.clone()).collect();
    acknowledged.verify(&live);
}

#[tokio::test]
#[ignore = "starts a cluster of processes and stops one for a while"]
async fn a_session_reads_its_own_writes_on_a_member_that_is_behind() {
    use steadfast_etcd_api::MINIMUM_REVISION;
    use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
    use steadfast_etcd_api::proto::etcdserverpb::{PutRequest, RangeRequest};
    let cluster = Cluster::start(3);
    let (leader, behind) = (cluster.leader(), cluster.follower());
    let mut near = KvClient::connect(format!("http://{}", cluster.nodes[leader].etcd)).await.expect("the leader is there");
    let mut far = KvClient::connect(format!("http://{}", cluster.nodes[behind].etcd)).await.expect("the follower is there");
    let put = |value: String| PutRequest { key: "k".into(), value: value.into(), ..PutRequest::default() };
    near.put(put("old".into())).await.expect("a majority is there");
    cluster.nodes[behind].signal(Signal::STOP);
    let mut revision = 0;
    for at in 0..100 {
        revision = near.put(put(format!("new {at}"))).await.expect("a majority is there").into_inner().header.expect("a header").revision;
    }
    let mut read = tonic::Request::new(RangeRequest { key: "k".into(), serializable: true, ..RangeRequest::default() });
    read.metadata_mut().insert(MINIMUM_REVISION, revision.to_string().parse().expect("a number"));
    let answer = tokio::spawn(async move { far.range(read).await });
    cluster.nodes[behind].signal(Signal::CONT);
    let answer = answer.await.expect("no panic").expect("it catches up").into_inner();
    assert!(answer.header.expect("a header").revision >= revision);
    assert_eq!(answer.kvs[0].value, "new 99");
}
