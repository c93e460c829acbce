//! Quotas that fill and empty, and replicas that go wrong, in clusters driven by hand.

use bytes::Bytes;
use steadfast_consensus::message::{Body, Message};
use steadfast_state::State;
use steadfast_state::alarm::Raised;
use steadfast_state::command::{Batch, CommandError, DeleteRange, KeySpan, Put};
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{LsmTables, TablesOptions};
use steadfast_types::tables::Tables;
use steadfast_types::{Entry, Payload};

use super::*;
use crate::hand::{Cluster, Up};
use crate::{Answer, Refusal, RequestBody};

const ONE: NodeId = NodeId(1);
const LAST: NodeId = NodeId(3);

/// Steps of ten milliseconds until a comparison is over, whatever was written before.
const COMPARED: usize = 1500;

fn formed(mut cluster: Cluster) -> Cluster {
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster
}

fn corrupt(member: NodeId) -> Alarm {
    Alarm { kind: AlarmKind::Corrupt, member }
}

fn no_space(member: NodeId) -> Alarm {
    Alarm { kind: AlarmKind::NoSpace, member }
}

/// The alarms as the first node that runs knows them.
fn alarms(cluster: &Cluster) -> Vec<(Alarm, Raised)> {
    let node = cluster.machines.values().find_map(|machine| if let Up::Running((node, _)) = &machine.up { Some(node) } else { None });
    node.expect("one that runs").state().alarms().all().collect()
}

fn names(cluster: &Cluster) -> Vec<Alarm> {
    alarms(cluster).into_iter().map(|(alarm, _)| alarm).collect()
}

/// Everything that nodes were told of alarms, once each.
fn told(cluster: &Cluster, node: NodeId) -> Vec<(Alarm, bool)> {
    let of_node = cluster.notices.iter().filter(|(id, _)| *id == node);
    of_node.filter_map(|(_, notice)| if let Notice::Alarm(alarm, is_raised) = notice { Some((*alarm, *is_raised)) } else { None }).collect()
}

fn until(cluster: &mut Cluster, steps: usize, what: &str, is_so: impl Fn(&Cluster) -> bool) {
    for _ in 0..steps {
        if is_so(cluster) {
            return;
        }
        cluster.run(1);
    }
    panic!("never: {what}; alarms: {:?}", alarms(cluster));
}

fn leader_other_than(cluster: &mut Cluster, id: NodeId) {
    if cluster.leader() == Some(id) {
        cluster.ask(id, RequestBody::MoveLeader(NodeId(id.0 % 3 + 1)));
        until(cluster, 500, "another leader", |cluster| cluster.leader().is_some_and(|leader| leader != id));
    }
}

fn ask(cluster: &mut Cluster, id: NodeId, command: Command) -> Answer {
    let slot = cluster.ask(id, RequestBody::Propose(command));
    until(cluster, 600, "an answer", |cluster| cluster.answers.iter().any(|(answered, _)| *answered == slot));
    cluster.answers.iter().find(|(answered, _)| *answered == slot).expect("it is there").1.clone()
}

fn error(answer: &Answer) -> Option<CommandError> {
    if let Answer::Applied(response) = answer { response.result.clone().err() } else { None }
}

fn put(number: usize) -> Command {
    Command::Put(Put { key: format!("key {number}").into(), value: vec![1; 500].into(), ..Put::default() })
}

fn delete_all() -> Command {
    Command::DeleteRange(DeleteRange { keys: KeySpan { key: vec![0].into(), range_end: vec![0].into() }, prev_kv: false })
}

/// Changes a value on the way to a node: its state is another one from there on. The value is that of no other put.
fn falsify(to: NodeId, who: NodeId, message: &mut PeerMessage) {
    let PeerMessage::Raft(Message { body: Body::Append { entries, .. }, .. }) = message else { return };
    for entry in entries.iter_mut().filter(|_| to == who) {
        let Payload::Batch(batch) = &mut entry.payload else { continue };
        let mut bytes = batch.to_vec();
        if let Some(at) = bytes.windows(8).position(|window| window == b"original") {
            bytes[at..][..8].copy_from_slice(b"falsifed");
            *batch = Bytes::from(bytes);
        }
    }
}

/// Gives a follower another state than the others'.
fn make_differ(cluster: &mut Cluster, who: NodeId, tamper: fn(NodeId, &mut PeerMessage)) {
    leader_other_than(cluster, who);
    let leader = cluster.leader().expect("a leader");
    cluster.tamper = tamper;
    let value = Put { key: "odd".into(), value: "original".into(), ..Put::default() };
    assert_eq!(error(&ask(cluster, leader, Command::Put(value))), None);
    until(cluster, 100, "applied", |cluster| cluster.node(who).status().applied == cluster.node(leader).status().applied);
    cluster.tamper = |_, _| ();
    assert_ne!(cluster.node(who).state().hash(), cluster.node(leader).state().hash());
}

#[test]
fn a_replica_with_another_state_is_repaired_while_the_others_serve() {
    let mut cluster = formed(Cluster::new(3));
    cluster.write(ONE, 30, 100);
    make_differ(&mut cluster, LAST, |to, message| falsify(to, LAST, message));
    let mut written = 0;
    // The others take writes all the time.
    for _ in 0..COMPARED {
        if told(&cluster, ONE).contains(&(corrupt(LAST), false)) {
            break;
        }
        let answer = ask(&mut cluster, ONE, put(written));
        assert_eq!(error(&answer), None);
        written += 1;
    }
    assert_eq!(told(&cluster, ONE), [(corrupt(LAST), true), (corrupt(LAST), false)]);
    assert!(written > 100);
    assert!(cluster.converges(500, &mut |_, _, _| 1), "{}", cluster.machines[&LAST].up);
    let lost = cluster.notices.iter().filter(|(_, notice)| matches!(notice, Notice::TablesDamaged(_)));
    assert_eq!(lost.map(|(id, _)| *id).collect::<Vec<_>>(), [LAST], "once");
    // And it stays well.
    cluster.run(2 * COMPARED);
    assert!(names(&cluster).is_empty());
    cluster.write(LAST, 3, 10);
}

#[test]
fn a_leader_with_another_state_is_found_by_itself_and_replaced() {
    let mut cluster = formed(Cluster::new(3));
    cluster.write(ONE, 5, 100);
    make_differ(&mut cluster, LAST, |to, message| falsify(to, LAST, message));
    let leader = cluster.leader().expect("a leader");
    cluster.ask(leader, RequestBody::MoveLeader(LAST));
    until(&mut cluster, 300, "it leads", |cluster| cluster.leader() == Some(LAST));
    until(&mut cluster, COMPARED, "found", |cluster| matches!(cluster.machines[&LAST].up, Up::Repairing(_)));
    until(&mut cluster, COMPARED, "cleared", |cluster| told(cluster, ONE).contains(&(corrupt(LAST), false)));
    assert!(cluster.converges(500, &mut |_, _, _| 1));
}

#[test]
fn what_is_found_after_a_restart_is_found_soon() {
    let mut cluster = formed(Cluster::new(3));
    cluster.write(ONE, 5, 100);
    cluster.run(COMPARED);
    make_differ(&mut cluster, LAST, |to, message| falsify(to, LAST, message));
    // Down before anything is compared. An idle cluster compares once more, and then has nothing to do.
    let disk = cluster.stop(LAST);
    cluster.run(3 * COMPARED);
    cluster.start(LAST, disk);
    until(&mut cluster, 300, "found", |cluster| names(cluster) == [corrupt(LAST)]);
    until(&mut cluster, COMPARED, "cleared", |cluster| names(cluster).is_empty());
    assert!(cluster.converges(500, &mut |_, _, _| 1));
}

/// The verdict is on the disk, and the process dies before anything is fetched.
#[test]
fn a_condemned_state_is_not_used_after_a_crash() {
    let mut cluster = formed(Cluster::new(3));
    cluster.write(ONE, 20, 150);
    let disk = cluster.stop(LAST);
    let mut state = State::open(LsmTables::open(&disk, TablesOptions::default()).expect("whole")).expect("a state");
    let answer = steadfast_state::Answer { node: LAST, incarnation: 0, events: steadfast_state::Gather::Nothing };
    let raise = Command::Alarm(AlarmChange::Raise { alarm: corrupt(LAST), by_hand: false });
    let batch = Batch { proposals: vec![Proposal { origin: Origin::default(), command: raise }] };
    let entry = Entry { term: state.applied().term, index: state.applied().index.next(), payload: Payload::Batch(batch.to_wire().into()) };
    state.apply(&entry, answer).expect("applied");
    state.tables_mut().flush_now();
    while let Some(job) = state.tables_mut().next_job() {
        state.tables_mut().finish_job(job.run()).expect("done");
    }
    assert_eq!(state.tables().durable(), entry.position());
    drop(state);
    cluster.write(ONE, 5, 150);
    assert!(matches!(cluster.start(LAST, disk), Up::Repairing(_)));
    assert!(cluster.converges(1000, &mut |_, _, _| 1), "{}", cluster.machines[&LAST].up);
    assert!(cluster.node(LAST).state().applied().index >= entry.index);
}

/// Two that differ: nobody knows who is right.
#[test]
fn without_a_majority_nobody_writes_until_a_hand_decides() {
    let mut cluster = formed(Cluster::new(2));
    let two = NodeId(2);
    if cluster.leader() == Some(two) {
        cluster.ask(two, RequestBody::MoveLeader(ONE));
        until(&mut cluster, 500, "another leader", |cluster| cluster.leader() == Some(ONE));
    }
    cluster.write(ONE, 5, 100);
    make_differ(&mut cluster, two, |to, message| falsify(to, NodeId(2), message));
    until(&mut cluster, COMPARED, "found", |cluster| names(cluster) == [corrupt(ONE), corrupt(two)]);
    for refused in [put(1), delete_all()] {
        assert_eq!(error(&ask(&mut cluster, two, refused)), Some(CommandError::Corrupt));
    }
    cluster.run(COMPARED);
    assert_eq!(names(&cluster), [corrupt(ONE), corrupt(two)], "it does not go away by itself");
    assert!(cluster.machines.values().all(|machine| matches!(machine.up, Up::Running(_))), "nobody drops what may be right");
    let gone = crate::MembershipChange::Remove(two);
    cluster.ask(ONE, RequestBody::ChangeMembership(gone));
    until(&mut cluster, 300, "removed", |cluster| names(cluster) == [corrupt(ONE)]);
    let disarm = Command::Alarm(AlarmChange::Clear { alarm: corrupt(ONE), raised_at: None });
    assert_eq!(error(&ask(&mut cluster, ONE, disarm)), None);
    assert_eq!(error(&ask(&mut cluster, ONE, put(1))), None);
}

#[test]
fn a_member_that_a_client_says_is_corrupt_is_repaired() {
    let mut cluster = formed(Cluster::new(3));
    cluster.write(ONE, 20, 150);
    let raise = Command::Alarm(AlarmChange::Raise { alarm: corrupt(LAST), by_hand: true });
    assert_eq!(error(&ask(&mut cluster, ONE, raise)), None);
    until(&mut cluster, 100, "repairing", |cluster| matches!(cluster.machines[&LAST].up, Up::Repairing(_)));
    until(&mut cluster, COMPARED, "cleared", |cluster| told(cluster, ONE) == [(corrupt(LAST), true), (corrupt(LAST), false)]);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
}

/// Puts until one is refused for want of space; how many there were.
fn fill(cluster: &mut Cluster, id: NodeId, key: impl Fn(usize) -> usize) -> usize {
    for number in 0..5000 {
        match ask(cluster, id, put(key(number))) {
            Answer::Refused(Refusal::NoSpace) => return number,
            answer if error(&answer) == Some(CommandError::NoSpace) => return number,
            answer => assert_eq!(error(&answer), None),
        }
    }
    panic!("there was always room");
}

const QUOTA: u64 = 1 << 20;

fn disk_bytes(cluster: &Cluster, id: NodeId) -> u64 {
    let status = cluster.node(id).status();
    status.tables.disk_bytes + status.tables.memtable_bytes as u64
}

#[test]
fn a_quota_that_is_full_is_told_and_deletes_make_room_again_without_a_hand() {
    let mut cluster = formed(Cluster::with_quota(3, QUOTA));
    let filled = fill(&mut cluster, ONE, |number| number);
    assert!(filled as u64 * 500 > QUOTA / 4, "{filled}");
    until(&mut cluster, 300, "raised", |cluster| !names(cluster).is_empty());
    assert!(disk_bytes(&cluster, ONE) < QUOTA + QUOTA / 4, "{}", disk_bytes(&cluster, ONE));
    // It is said everywhere, and history alone is not what fills it.
    cluster.run(1000);
    let raised = names(&cluster);
    assert!(raised.iter().all(|alarm| alarm.kind == AlarmKind::NoSpace) && !raised.is_empty());
    for id in [1, 2, 3].map(NodeId) {
        let answer = ask(&mut cluster, id, put(1));
        assert!(matches!(answer, Answer::Refused(Refusal::NoSpace)) || error(&answer) == Some(CommandError::NoSpace), "{answer:?}");
    }
    // A client that clears the alarm is wrong, and it comes again.
    for alarm in raised {
        assert_eq!(error(&ask(&mut cluster, ONE, Command::Alarm(AlarmChange::Clear { alarm, raised_at: None }))), None);
    }
    until(&mut cluster, 300, "raised again", |cluster| !names(cluster).is_empty());
    assert_eq!(error(&ask(&mut cluster, ONE, delete_all())), None);
    until(&mut cluster, 2000, "cleared", |cluster| names(cluster).is_empty());
    for id in [1, 2, 3].map(NodeId) {
        assert_eq!(error(&ask(&mut cluster, id, put(1))), None);
        assert!(disk_bytes(&cluster, id) < QUOTA - QUOTA / 10, "{}", disk_bytes(&cluster, id));
    }
}

#[test]
fn history_alone_never_keeps_a_quota_full() {
    let mut cluster = formed(Cluster::with_quota(3, QUOTA));
    // A thousand revisions are to be kept, but there is no room for so many: again and again they are forgotten sooner.
    let mut refused = 0;
    for number in 0..4000 {
        let value = Put { key: format!("key {}", number % 4).into(), value: vec![1; 2000].into(), ..Put::default() };
        let answer = ask(&mut cluster, ONE, Command::Put(value));
        match answer {
            Answer::Refused(Refusal::NoSpace) => refused += 1,
            answer if error(&answer) == Some(CommandError::NoSpace) => refused += 1,
            answer => assert_eq!(error(&answer), None),
        }
        assert!(disk_bytes(&cluster, ONE) < QUOTA + QUOTA / 4, "{}", disk_bytes(&cluster, ONE));
    }
    until(&mut cluster, 2000, "cleared", |cluster| names(cluster).is_empty());
    let raised = told(&cluster, ONE).iter().filter(|(_, is_raised)| *is_raised).count();
    assert!(raised > 1 && refused > 0, "{raised} alarms, {refused} puts refused");
}

#[test]
fn a_member_that_is_gone_does_not_keep_the_others_from_writing() {
    let mut cluster = formed(Cluster::with_quota(3, QUOTA));
    leader_other_than(&mut cluster, LAST);
    // Only this one has a quota that is too small.
    let disk = cluster.stop(LAST);
    cluster.quota_bytes = 1000;
    cluster.start(LAST, disk);
    until(&mut cluster, 300, "raised", |cluster| names(cluster) == [no_space(LAST)]);
    assert_eq!(error(&ask(&mut cluster, ONE, put(1))), Some(CommandError::NoSpace));
    cluster.stop(LAST);
    until(&mut cluster, 2000, "cleared", |cluster| names(cluster).is_empty());
    assert_eq!(error(&ask(&mut cluster, ONE, put(1))), None);
}

#[test]
fn what_a_client_raised_stays_until_a_client_clears_it() {
    let mut cluster = formed(Cluster::with_quota(3, QUOTA));
    assert_eq!(error(&ask(&mut cluster, ONE, put(1))), None);
    let raise = Command::Alarm(AlarmChange::Raise { alarm: no_space(ONE), by_hand: true });
    assert_eq!(error(&ask(&mut cluster, LAST, raise)), None);
    cluster.run(3000);
    assert_eq!(error(&ask(&mut cluster, ONE, put(1))), Some(CommandError::NoSpace));
    assert_eq!(cluster.node(ONE).state().compact_revision().0, -1, "no history is forgotten for it");
    let clear = Command::Alarm(AlarmChange::Clear { alarm: no_space(ONE), raised_at: None });
    assert_eq!(error(&ask(&mut cluster, LAST, clear)), None);
    assert_eq!(error(&ask(&mut cluster, ONE, put(1))), None);
}

/// Frames that were held up on their way, or make no sense.
#[test]
fn what_was_said_earlier_does_not_count_any_more() {
    let mut cluster = formed(Cluster::new(3));
    cluster.write(ONE, 5, 100);
    cluster.run(COMPARED);
    leader_other_than(&mut cluster, LAST);
    cluster.run(300);
    let leader = cluster.leader().expect("a leader");
    let term = cluster.node(leader).raft.term();
    let marks = cluster.node(LAST).state().remembered_hashes();
    let wrong = |marks: &Marks| marks.iter().map(|(index, hash)| (*index, hash ^ 1)).collect::<Marks>();
    let earlier = PeerMessage::Standing { term, marks: wrong(&marks[..marks.len() - 1].to_vec()), is_short: true };
    let other_term = PeerMessage::Standing { term: Term(term.0 - 1), marks: wrong(&marks), is_short: true };
    let endless = PeerMessage::Standing { term, marks: vec![marks[0]; REMEMBERED + 1], is_short: true };
    for message in [earlier, other_term, endless] {
        cluster.send(LAST, leader, &message);
        cluster.run(1);
    }
    cluster.run(300);
    assert!(told(&cluster, leader).is_empty());
    let _: &MemoryDisk = &cluster.machines[&LAST].disk;
}
