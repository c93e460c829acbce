//! What comes with time: replicas compare their hashes, and new voters begin to count.

use bytes::Bytes;
use steadfast_consensus::message::{Body, Message};
use steadfast_types::{NodeId, Payload};

use crate::hand::{Cluster, KEPT_REVISIONS};
use crate::{Answer, MembershipChange, Notice, PeerMessage, RequestBody};

const LAST: NodeId = NodeId(3);

/// Steps of ten milliseconds until hashes were compared twice.
const COMPARED_TWICE: usize = 2500;

fn diverged(cluster: &Cluster) -> Vec<NodeId> {
    cluster.notices.iter().filter(|(_, notice)| matches!(notice, Notice::TablesDamaged(_))).map(|(id, _)| *id).collect()
}

/// Another value than the leader's for the last node.
fn falsify(to: NodeId, message: &mut PeerMessage) {
    let PeerMessage::Raft(Message { body: Body::Append { entries, .. }, .. }) = message else { return };
    for entry in entries.iter_mut().filter(|_| to == LAST) {
        let Payload::Batch(batch) = &mut entry.payload else { continue };
        let mut bytes = batch.to_vec();
        if let Some(at) = bytes.windows(8).position(|window| window == [7; 8]) {
            bytes[at] = 8;
            *batch = Bytes::from(bytes);
        }
    }
}

#[test]
fn a_replica_with_another_state_is_found_though_little_is_written() {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), 5, 20);
    cluster.run(COMPARED_TWICE);
    assert_eq!(diverged(&cluster), []);
    cluster.tamper = falsify;
    // The eighth value consists of sevens. The last node must not be the one that says what is true.
    let leader = cluster.leader().expect("a leader");
    if leader == LAST {
        cluster.ask(leader, RequestBody::MoveLeader(NodeId(1)));
        cluster.run(100);
    }
    cluster.write(NodeId(1), 10, 20);
    cluster.run(COMPARED_TWICE);
    assert_eq!(diverged(&cluster), [LAST]);
}

#[test]
fn an_idle_cluster_stops_comparing() {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), 5, 20);
    cluster.run(3 * COMPARED_TWICE);
    let applied = cluster.node(LAST).status().applied;
    cluster.run(3 * COMPARED_TWICE);
    assert_eq!(cluster.node(LAST).status().applied, applied);
}

#[test]
fn a_cluster_of_one_grows_by_voters_and_serves_all_the_time() {
    let mut cluster = Cluster::new(1);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    for id in [2, 3] {
        let change = MembershipChange::Add { id: NodeId(id), peer_urls: vec![format!("http://{id}")], learner: false };
        let slot = cluster.ask(NodeId(1), RequestBody::ChangeMembership(change));
        cluster.run(50);
        assert!(cluster.answers.iter().any(|(answered, answer)| *answered == slot && matches!(answer, Answer::Applied(_))));
        // It has not started.
        cluster.write(NodeId(1), 3, 20);
        cluster.run(300);
        assert!(!cluster.node(NodeId(1)).state().configuration().is_voter(NodeId(id)));
        cluster.join(NodeId(id));
        cluster.run(300);
        assert!(cluster.node(NodeId(1)).state().configuration().is_voter(NodeId(id)), "{}", cluster.machines[&NodeId(id)].up);
        cluster.write(NodeId(id), 3, 20);
    }
    cluster.stop(NodeId(1));
    cluster.run(300);
    cluster.write(NodeId(2), 3, 20);
}

#[test]
fn old_history_is_forgotten_and_its_space_comes_back() {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    for _ in 0..40 {
        cluster.write(NodeId(1), 50, 200);
    }
    cluster.run(COMPARED_TWICE);
    for id in [1, 2, 3].map(NodeId) {
        let state = cluster.node(id).state();
        let kept = state.revision().0 - state.compact_revision().0;
        assert_eq!(kept, i64::try_from(KEPT_REVISIONS).expect("small"), "{id}");
    }
    // Half of it was forgotten: with a little more written, at most that much is left.
    let before = cluster.node(NodeId(1)).status().tables.disk_bytes;
    cluster.write(NodeId(1), 50, 200);
    cluster.run(100);
    let after = cluster.node(NodeId(1)).status().tables.disk_bytes;
    assert!(after < before * 3 / 4, "{before} bytes before, {after} after");
}

#[test]
fn space_is_reclaimed_before_the_memtable_is_full() {
    let mut cluster = Cluster::with_memtable(1, 1 << 20);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), 5, 20);
    let is_durable = |cluster: &Cluster| {
        let status = cluster.node(NodeId(1)).status();
        status.durable == status.applied
    };
    cluster.run(100);
    assert!(!is_durable(&cluster), "nobody asked");
    let slot = cluster.ask(NodeId(1), RequestBody::Reclaim);
    cluster.run(100);
    assert!(cluster.answers.iter().any(|(answered, answer)| *answered == slot && matches!(answer, Answer::Done)));
    assert!(is_durable(&cluster));
}
