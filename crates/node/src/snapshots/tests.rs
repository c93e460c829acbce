//! Snapshots over a bad network, and snapshots that nobody needs any more.

use steadfast_state::command::{Command, KeySpan, Range};
use steadfast_types::{LogPosition, Rng, Term};

use super::*;
use crate::RequestBody;
use crate::hand::Cluster;

const LAST: NodeId = NodeId(3);

/// Three nodes; node 3 was away so long that the log no longer reaches back to it. Some chunks of snapshot.
fn left_behind() -> Cluster {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    let disk = cluster.stop(LAST);
    // Until its leader no longer counts on it, and begins no snapshot before it is back.
    cluster.run(120);
    cluster.write(NodeId(1), 24, 100_000);
    cluster.run(120);
    let start = cluster.node(cluster.leader().expect("a leader")).status().log_start;
    assert!(start.index > LogIndex(10), "{start}");
    cluster.start(LAST, disk);
    cluster
}

#[test]
fn a_snapshot_arrives_though_chunks_and_answers_are_lost_and_doubled() {
    for seed in 0..6 {
        let (mut cluster, mut rng, mut lost) = (left_behind(), Rng::with_seed(seed), 0);
        let network = &mut |_: NodeId, _: NodeId, message: &PeerMessage| match message {
            PeerMessage::SnapshotChunk { .. } | PeerMessage::SnapshotProgress { .. } => {
                let copies = [0, 1, 1, 2][rng.usize(..4)];
                lost += usize::from(copies == 0);
                copies
            }
            _ => 1,
        };
        assert!(cluster.converges(6000, network), "seed {seed}: {}", cluster.machines[&LAST].up);
        assert!(lost > 0);
        let installed = cluster.notices.iter().filter(|(id, notice)| *id == LAST && matches!(notice, Notice::SnapshotInstalled(_)));
        assert_eq!(installed.count(), 1, "seed {seed}");
        assert_eq!(cluster.node(LAST).sending.len(), 0);
    }
}

#[test]
fn a_receiver_that_restarts_gets_the_snapshot_from_its_beginning() {
    let mut cluster = left_behind();
    let mut chunks = 0;
    let network = &mut |_: NodeId, _: NodeId, message: &PeerMessage| {
        chunks += usize::from(matches!(message, PeerMessage::SnapshotChunk { .. }));
        usize::from(chunks < 3 || !matches!(message, PeerMessage::SnapshotChunk { .. }))
    };
    assert!(!cluster.converges(100, network));
    let disk = cluster.stop(LAST);
    cluster.start(LAST, disk);
    assert!(cluster.converges(600, &mut |_, _, _| 1), "long before the sender gives up by itself");
}

#[test]
fn a_snapshot_that_the_log_overtakes_is_dropped() {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    let before = cluster.node(LAST).status().applied;
    let position = LogPosition::new(Term(before.term.0), LogIndex(before.index.0 + 3));
    let chunk = |offset| PeerMessage::SnapshotChunk { transfer: 7, position, total: 10, offset, bytes: Bytes::from_static(b"12345") };
    cluster.send(NodeId(2), LAST, &chunk(0));
    cluster.run(2);
    assert!(cluster.node(LAST).receiving.is_some());
    cluster.write(LAST, 5, 10);
    cluster.send(NodeId(2), LAST, &chunk(5));
    cluster.run(20);
    assert!(cluster.node(LAST).receiving.is_none());
    assert!(cluster.node(LAST).status().applied.index > position.index);
    cluster.write(LAST, 5, 10);
}

#[test]
fn a_sender_that_begins_anew_need_not_wait_for_its_former_hand_over() {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    let position = LogPosition::new(Term(9), LogIndex(1000));
    let chunk = |transfer| PeerMessage::SnapshotChunk { transfer, position, total: 10, offset: 0, bytes: Bytes::from_static(b"12345") };
    let is_received = |cluster: &Cluster| cluster.node(LAST).receiving.as_ref().map(|receiving| (receiving.from, receiving.transfer));
    cluster.send(NodeId(2), LAST, &chunk(7));
    cluster.run(2);
    assert_eq!(is_received(&cluster), Some((NodeId(2), 7)));
    cluster.send(NodeId(1), LAST, &chunk(8));
    cluster.run(2);
    assert_eq!(is_received(&cluster), Some((NodeId(2), 7)), "others wait until it is idle");
    cluster.send(NodeId(2), LAST, &chunk(9));
    cluster.run(2);
    assert_eq!(is_received(&cluster), Some((NodeId(2), 9)));
}

#[test]
fn a_member_that_joins_late_is_not_taken_for_removed() {
    use crate::MembershipChange;
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    let leader = cluster.leader().expect("a leader");
    for id in [4, 5] {
        let change = MembershipChange::Add { id: NodeId(id), peer_urls: vec![format!("http://{id}")], learner: true };
        let slot = cluster.ask(leader, RequestBody::ChangeMembership(change));
        cluster.run(50);
        assert!(cluster.answers.iter().any(|(answered, answer)| *answered == slot && matches!(answer, crate::Answer::Applied(_))));
    }
    cluster.join(NodeId(5));
    cluster.run(200);
    assert!(cluster.node(NodeId(5)).state().configuration().contains(NodeId(5)));
    assert!(cluster.notices.iter().all(|(_, notice)| *notice != Notice::Removed), "{:?}", cluster.notices);
    cluster.ask(leader, RequestBody::ChangeMembership(MembershipChange::Remove(NodeId(5))));
    cluster.ask(leader, RequestBody::Propose(Command::Noop));
    cluster.run(120);
    assert!(!cluster.node(leader).state().configuration().contains(NodeId(5)));
}

/// Damages the table files of a node while it runs.
fn rot(cluster: &Cluster, id: NodeId) {
    let disk = &cluster.machines[&id].disk;
    for name in disk.list().expect("a list").iter().filter(|name| name.starts_with("table-")) {
        disk.edit(name, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a));
    }
}

fn lost_tables(cluster: &Cluster) -> Vec<NodeId> {
    let damaged = cluster.notices.iter().filter(|(_, notice)| matches!(notice, Notice::TablesDamaged(_)));
    damaged.map(|(id, _)| *id).collect()
}

#[test]
fn tables_that_a_reader_finds_damaged_come_back_from_the_peers() {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), 40, 150);
    cluster.run(20);
    rot(&cluster, LAST);
    let everything = Range { keys: KeySpan { key: vec![0].into(), range_end: vec![0].into() }, ..Range::default() };
    let before = cluster.node(NodeId(1)).reader().range(&everything).expect("a sound node").result.kvs;
    cluster.node(LAST).reader().range(&everything).expect_err("damaged");
    assert!(cluster.converges(1000, &mut |_, _, _| 1), "{}", cluster.machines[&LAST].up);
    assert_eq!(lost_tables(&cluster), [LAST]);
    assert_eq!(cluster.node(LAST).reader().range(&everything).expect("a repaired node").result.kvs, before);
}

#[test]
fn a_leader_whose_snapshot_is_damaged_gets_its_state_from_the_others() {
    let mut cluster = left_behind();
    let leader = cluster.leader().expect("a leader");
    rot(&cluster, leader);
    assert!(cluster.converges(2000, &mut |_, _, _| 1), "{}", cluster.machines[&LAST].up);
    assert_eq!(lost_tables(&cluster), [leader]);
}

#[test]
fn a_hand_over_ends_when_its_receiver_is_removed() {
    use crate::MembershipChange;
    let mut cluster = left_behind();
    let leader = cluster.leader().expect("a leader");
    let no_chunks = &mut |_: NodeId, _: NodeId, message: &PeerMessage| usize::from(!matches!(message, PeerMessage::SnapshotChunk { .. }));
    (0..100).for_each(|_| cluster.step(no_chunks));
    assert_eq!(cluster.node(leader).sending.len(), 1);
    cluster.ask(leader, RequestBody::ChangeMembership(MembershipChange::Remove(LAST)));
    (0..100).for_each(|_| cluster.step(no_chunks));
    assert!(!cluster.node(leader).state().configuration().contains(LAST));
    assert_eq!(cluster.node(leader).sending.len(), 0);
}

/// The follower has more than the leader's last checkpoint; what it needs next is damaged in the leader's log.
#[test]
fn a_snapshot_is_not_older_than_its_follower() {
    let mut cluster = Cluster::with_memtable(3, 64 << 20);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), 4, 100_000);
    cluster.run(50);
    let disk = cluster.stop(LAST);
    cluster.run(120);
    // More than a leader keeps in memory.
    cluster.write(NodeId(1), 24, 100_000);
    cluster.run(50);
    let leader = cluster.leader().expect("a leader");
    let (checkpoint, log_start) = (cluster.node(leader).state().tables().checkpoint().applied(), cluster.node(leader).status().log_start);
    assert_eq!((checkpoint.index, log_start.index), (LogIndex(0), LogIndex(0)), "all is in the log");
    let log = &cluster.machines[&leader].disk;
    for name in log.list().expect("a list").iter().filter(|name| name.starts_with("log-")) {
        log.edit(name, |bytes| bytes.iter_mut().skip(512).for_each(|byte| *byte ^= 0x5a));
    }
    cluster.start(LAST, disk);
    assert!(cluster.converges(2000, &mut |_, _, _| 1), "{}", cluster.machines[&LAST].up);
    let installed = cluster.notices.iter().filter(|(id, notice)| *id == LAST && matches!(notice, Notice::SnapshotInstalled(_)));
    assert_eq!(installed.count(), 1);
}
