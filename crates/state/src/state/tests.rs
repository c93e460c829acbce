//! The state machine command by command, and many at random against the model.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;
use steadfast_types::tables::memory::MemoryTables;
use steadfast_types::tables::{Tables, TablesReader};
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{Configuration, Entry, LeaseId, LogIndex, NodeId, Payload, Revision, Term, limits};

use super::model::Model;
use super::*;
use crate::command::*;
use crate::event::{EventKind, Gather};
use crate::reader::HistoryRequest;
use crate::rows::{HISTORY, LEASE_KEYS, MEMBERS};

pub(crate) const ANSWER: Answer = Answer { node: NodeId(1), incarnation: 7, events: Gather::EventsWithPrevious };

/// The answer of a node that no client waits at.
const BYSTANDER: Answer = Answer { node: NodeId(2), incarnation: 7, events: Gather::Events };

type TestState = State<MemoryTables>;

fn open() -> TestState {
    State::open(MemoryTables::default()).unwrap()
}

fn batch(commands: Vec<Command>) -> Bytes {
    let proposal = |(n, command)| Proposal { origin: Origin { node: NodeId(1), incarnation: 7, request: n }, command };
    Batch { proposals: (0..).zip(commands).map(proposal).collect() }.to_wire().into()
}

fn entry<T: Tables>(state: &State<T>, payload: Payload) -> Entry {
    Entry { term: Term(1), index: state.applied().index.next(), payload }
}

/// Applies commands as one entry.
pub(crate) fn apply_all<T: Tables>(state: &mut State<T>, commands: Vec<Command>, answer: Answer) -> Applied {
    let entry = entry(state, Payload::Batch(batch(commands)));
    state.apply(&entry, answer).unwrap()
}

/// Applies one command, and gives its answer.
fn apply(state: &mut TestState, command: Command) -> Response {
    let mut applied = apply_all(state, vec![command], ANSWER);
    applied.outcomes.pop().unwrap().1
}

fn put(key: &'static str, value: &'static str) -> Put {
    Put { key: key.into(), value: value.into(), ..Put::default() }
}

fn span(key: &'static str, end: &'static str) -> KeySpan {
    KeySpan { key: key.into(), range_end: end.into() }
}

fn all() -> Range {
    Range { keys: span("\0", "\0"), ..Range::default() }
}

fn keys(state: &TestState) -> Vec<Bytes> {
    state.reader().range(&all()).unwrap().result.kvs.into_iter().map(|kv| kv.key).collect()
}

#[test]
fn a_put_takes_a_revision_and_answers_what_was_there() {
    let mut state = open();
    assert_eq!(apply(&mut state, Command::Put(put("k", "1"))).revision, Revision(2));
    let again = apply(&mut state, Command::Put(Put { prev_kv: true, ..put("k", "2") }));
    let before = KeyValue {
        key: "k".into(),
        create_revision: Revision(2),
        mod_revision: Revision(2),
        version: 1,
        value: "1".into(),
        lease: LeaseId(0),
    };
    assert_eq!(again, Response { revision: Revision(3), result: Ok(Outcome::Put { prev_kv: Some(before.clone()) }) });
    let read = state.reader().range(&Range { keys: span("k", ""), ..Range::default() }).unwrap();
    let now = KeyValue { mod_revision: Revision(3), version: 2, value: "2".into(), ..before };
    assert_eq!((read.revision, read.result.kvs), (Revision(3), vec![now]));
}

#[test]
fn refused_commands_change_nothing() {
    let mut state = open();
    apply(&mut state, Command::Put(put("k", "v")));
    let hash = state.hash();
    let refused = |state: &mut TestState, command| apply(state, command).result.unwrap_err();
    let s = &mut state;
    assert_eq!(refused(s, Command::Put(Put { ignore_value: true, ..put("x", "") })), CommandError::KeyNotFound);
    assert_eq!(refused(s, Command::Put(Put { ignore_lease: true, ..put("x", "") })), CommandError::KeyNotFound);
    assert_eq!(refused(s, Command::Put(Put { lease: LeaseId(9), ignore_value: true, ..put("x", "") })), CommandError::LeaseNotFound);
    assert_eq!(refused(s, Command::Compact { revision: Revision(3) }), CommandError::FutureRevision);
    assert_eq!(refused(s, Command::Compact { revision: Revision(-1) }), CommandError::Compacted);
    assert_eq!(refused(s, Command::LeaseRevoke { id: LeaseId(9) }), CommandError::LeaseNotFound);
    assert_eq!(refused(s, Command::LeaseGrant { id: LeaseId(0), ttl_s: 9 }), CommandError::LeaseNotFound);
    assert_eq!(refused(s, Command::MemberRemove { id: NodeId(9) }), CommandError::MemberNotFound);
    let success = vec![Operation::Put(put("y", "1")), Operation::Put(Put { ignore_value: true, ..put("x", "") })];
    assert_eq!(refused(s, Command::Txn(Txn { success, ..Txn::default() })), CommandError::KeyNotFound);
    assert_eq!((state.hash(), state.revision(), keys(&state)), (hash, Revision(2), vec![Bytes::from("k")]));
}

#[test]
fn a_transaction_that_changes_nothing_takes_no_revision() {
    let mut state = open();
    let success = vec![Operation::DeleteRange(DeleteRange { keys: span("a", "z"), prev_kv: true }), Operation::Range(all())];
    let answer = apply(&mut state, Command::Txn(Txn { success, ..Txn::default() }));
    let responses = vec![Outcome::Deleted { deleted: 0, prev_kvs: vec![] }, Outcome::Range(RangeResult::default())];
    assert_eq!(answer, Response { revision: Revision(1), result: Ok(Outcome::Txn(TxnResult { succeeded: true, responses })) });
}

#[test]
fn a_transaction_decides_first_and_then_reads_its_own_writes() {
    let mut state = open();
    let missing = |key| Compare { keys: span(key, ""), relation: Relation::Equal, operand: Operand::Version(0) };
    // The inner comparison holds before the transaction, no more after the outer put.
    let inner = Txn { compare: vec![missing("k")], success: vec![Operation::Put(put("inner", "1"))], failure: vec![] };
    let txn = Txn {
        compare: vec![missing("k")],
        success: vec![Operation::Put(put("k", "v")), Operation::Txn(inner), Operation::Range(Range { count_only: true, ..all() })],
        failure: vec![],
    };
    let Ok(Outcome::Txn(result)) = apply(&mut state, Command::Txn(txn)).result else { panic!("a transaction answers as one") };
    let counted = Outcome::Range(RangeResult { count: 2, ..RangeResult::default() });
    assert_eq!(result.responses[2], counted);
    assert_eq!((state.revision(), keys(&state)), (Revision(2), vec![Bytes::from("inner"), Bytes::from("k")]));
}

#[test]
fn comparisons_with_missing_keys_are_etcds() {
    let mut state = open();
    apply(&mut state, Command::Put(put("k", "v")));
    let reader = state.reader();
    let holds = |keys: KeySpan, relation, operand| {
        let compare = vec![Compare { keys, relation, operand }];
        reader.read_txn(&Txn { compare, ..Txn::default() }).unwrap().result.succeeded
    };
    assert!(holds(span("x", ""), Relation::Equal, Operand::Version(0)));
    assert!(holds(span("x", "z"), Relation::Equal, Operand::ModRevision(Revision(0))));
    assert!(!holds(span("x", "z"), Relation::Greater, Operand::CreateRevision(Revision(0))));
    assert!(!holds(span("x", ""), Relation::NotEqual, Operand::Value("q".into())));
    assert!(!holds(span("x", "z"), Relation::NotEqual, Operand::Value("q".into())));
    assert!(holds(span("a", "z"), Relation::Less, Operand::Value("w".into())));
    assert!(holds(span("k", ""), Relation::Equal, Operand::Lease(LeaseId(0))));
}

#[test]
fn a_compacted_revision_is_refused_and_its_history_is_gone() {
    let mut state = open();
    for value in ["1", "2", "3"] {
        apply(&mut state, Command::Put(put("k", value)));
    }
    assert_eq!(apply(&mut state, Command::Compact { revision: Revision(3) }).result, Ok(Outcome::Done));
    assert_eq!(apply(&mut state, Command::Compact { revision: Revision(3) }).result, Err(CommandError::Compacted));
    let reader = state.reader();
    let at = |revision| reader.range(&Range { revision: Revision(revision), ..all() }).map(|read| read.result.kvs[0].value.clone());
    assert_eq!(
        [at(2), at(3), at(4), at(5)],
        [Err(CommandError::Compacted), Ok("2".into()), Ok("3".into()), Err(CommandError::FutureRevision)]
    );
    assert_eq!((at(0), at(-5)), (Ok("3".into()), Ok("3".into())));
    // Inside a transaction a negative revision is compacted, as in etcd.
    let inner = Txn { success: vec![Operation::Range(Range { revision: Revision(-1), ..all() })], ..Txn::default() };
    assert_eq!(reader.read_txn(&inner), Err(CommandError::Compacted));
}

#[test]
fn ranges_are_limited_sorted_and_filtered_as_in_etcd() {
    let mut state = open();
    for (key, value) in [("c", "9"), ("a", "8"), ("b", "7"), ("d", "6"), ("a", "z")] {
        apply(&mut state, Command::Put(put(key, value)));
    }
    let reader = state.reader();
    let read = |range: Range| {
        let result = reader.range(&range).unwrap().result;
        let keys: Vec<u8> = result.kvs.iter().map(|kv| kv.key[0]).collect();
        (String::from_utf8(keys).unwrap(), result.more, result.count)
    };
    let by = |sort_target, sort_order, limit| Range { sort_target, sort_order, limit, ..all() };
    assert_eq!(read(by(SortTarget::Key, SortOrder::None, 2)), ("ab".into(), true, 4));
    assert_eq!(read(by(SortTarget::Key, SortOrder::Descend, 3)), ("dcb".into(), true, 4));
    assert_eq!(read(by(SortTarget::Key, SortOrder::Descend, 4)), ("dcba".into(), false, 4));
    assert_eq!(read(by(SortTarget::Value, SortOrder::Ascend, 1)), ("d".into(), true, 4));
    // Without an order, only what the limit let through is sorted: etcd's answers.
    assert_eq!(read(by(SortTarget::Value, SortOrder::None, 1)), ("b".into(), true, 4));
    assert_eq!(read(by(SortTarget::Version, SortOrder::None, 2)), ("bc".into(), true, 4));
    assert_eq!(read(by(SortTarget::Version, SortOrder::Descend, 0)), ("abcd".into(), false, 4));
    assert_eq!(read(by(SortTarget::CreateRevision, SortOrder::Descend, 0)), ("dbac".into(), false, 4));
    assert_eq!(read(Range { min_mod_revision: Revision(4), limit: 1, ..all() }), ("a".into(), true, 4));
    assert_eq!(read(Range { max_create_revision: Revision(3), ..all() }), ("ac".into(), false, 4));
    assert_eq!(read(Range { min_mod_revision: Revision(4), sort_order: SortOrder::Descend, limit: 2, ..all() }), ("db".into(), true, 4));
    assert_eq!(read(Range { count_only: true, limit: 1, ..all() }), ("".into(), false, 4));
    assert_eq!(read(Range { limit: -7, ..all() }), ("abcd".into(), false, 4));
    assert_eq!(read(Range { keys: span("z", "a"), ..Range::default() }), ("".into(), false, 0));
    assert!(reader.range(&Range { keys_only: true, ..all() }).unwrap().result.kvs.iter().all(|kv| kv.value.is_empty()));
}

#[test]
fn a_lease_takes_its_keys_along_in_one_revision() {
    let mut state = open();
    let lease = LeaseId(5);
    assert_eq!(apply(&mut state, Command::LeaseGrant { id: lease, ttl_s: 60 }).result, Ok(Outcome::LeaseGranted { id: lease, ttl_s: 60 }));
    assert_eq!(apply(&mut state, Command::LeaseGrant { id: lease, ttl_s: 60 }).result, Err(CommandError::LeaseExists));
    for key in ["a", "b", "c", "d"] {
        apply(&mut state, Command::Put(Put { lease, ..put(key, "v") }));
    }
    apply(&mut state, Command::Put(put("b", "detached")));
    apply(&mut state, Command::Put(Put { ignore_lease: true, ..put("c", "stays") }));
    apply(&mut state, Command::DeleteRange(DeleteRange { keys: span("d", ""), prev_kv: false }));
    let reader = state.reader();
    assert_eq!(reader.lease_keys(lease).unwrap(), vec![Bytes::from("a"), Bytes::from("c")]);
    assert_eq!((reader.lease(lease).unwrap(), reader.leases().unwrap()), (Some(60), vec![(lease, 60)]));
    let revision = state.revision();
    let applied = apply_all(&mut state, vec![Command::LeaseRevoke { id: lease }], ANSWER);
    assert_eq!(applied.revision, Revision(revision.0 + 1));
    let events: Vec<_> = applied.events.iter().map(|event| (event.kind, event.kv.key.clone())).collect();
    assert_eq!(events, vec![(EventKind::Delete, "a".into()), (EventKind::Delete, "c".into())]);
    assert_eq!(applied.leases, vec![LeaseChange::Revoked { id: lease }]);
    assert_eq!(keys(&state), vec![Bytes::from("b")]);
    assert_eq!((reader.lease(lease).unwrap(), reader.lease_keys(lease).unwrap()), (None, vec![]));
}

#[test]
fn large_deletes_and_revokes_go_in_pieces_and_miss_nothing() {
    let mut state = open();
    let lease = LeaseId(-1);
    let key = |n: usize| Bytes::from(alloc::format!("key{n:05}"));
    let mut commands = vec![Command::LeaseGrant { id: lease, ttl_s: 60 }];
    commands.extend((0..2500).map(|n| Command::Put(Put { key: key(n), lease, ..Put::default() })));
    apply_all(&mut state, commands, BYSTANDER);
    let delete = DeleteRange { keys: KeySpan { key: key(100), range_end: key(2300) }, prev_kv: true };
    let mut inner = Txn { success: vec![Operation::Put(put("key00200x", "")), Operation::DeleteRange(delete)], ..Txn::default() };
    let Ok(Outcome::Txn(mut result)) = apply(&mut state, Command::Txn(inner.clone())).result else {
        panic!("a transaction answers as one")
    };
    let Some(Outcome::Deleted { deleted, prev_kvs }) = result.responses.pop() else { panic!("a delete answers how many") };
    assert_eq!((deleted, prev_kvs.len(), keys(&state).len()), (2201, 2201, 300));
    inner.success.remove(0);
    assert_eq!(state.reader().lease_keys(lease).unwrap().len(), 300);
    apply(&mut state, Command::LeaseRevoke { id: lease });
    assert_eq!(keys(&state), Vec::<Bytes>::new());
    assert_eq!(state.tables().reader().scan(LEASE_KEYS, (core::ops::Bound::Unbounded, core::ops::Bound::Unbounded), u64::MAX).count(), 0);
}

#[test]
fn members_are_added_claimed_promoted_and_removed() {
    let mut state = open();
    let member = |id, url: &str| Member { id: NodeId(id), peer_urls: vec![url.into()], learner: true, ..Member::default() };
    let founder = Member { name: "one".into(), learner: false, ..member(1, "http://one") };
    state.bootstrap(Configuration::of_voters([NodeId(1)]), vec![founder.clone()], Level::NEWEST);
    let mut apply = |command| apply(&mut state, command).result;
    let url = |url: &str| String::from(url);
    assert_eq!(apply(Command::MemberAdd(member(1, "http://x"))), Err(CommandError::MemberExists));
    assert_eq!(apply(Command::MemberAdd(member(2, "http://one"))), Err(CommandError::PeerUrlExists));
    assert_eq!(apply(Command::MemberAdd(member(2, "http://two"))), Ok(Outcome::Done));
    // A founder has a name, so nobody can take its place, not even its own machine with an emptied disk.
    assert_eq!(apply(Command::MemberClaim { peer_url: url("http://one"), nonce: 5 }), Err(CommandError::MemberClaimed));
    assert_eq!(apply(Command::MemberClaim { peer_url: url("http://nowhere"), nonce: 5 }), Err(CommandError::MemberNotFound));
    assert_eq!(apply(Command::MemberClaim { peer_url: url("http://two"), nonce: 0 }), Err(CommandError::MemberClaimed));
    let claimed = Member { claimed_by: 5, ..member(2, "http://two") };
    for _ in 0..2 {
        assert_eq!(apply(Command::MemberClaim { peer_url: url("http://two"), nonce: 5 }), Ok(Outcome::Claimed(claimed.clone())));
    }
    assert_eq!(apply(Command::MemberClaim { peer_url: url("http://two"), nonce: 6 }), Err(CommandError::MemberClaimed));
    assert_eq!(apply(Command::MemberPromote { id: NodeId(2) }), Ok(Outcome::Done));
    assert_eq!(apply(Command::MemberPromote { id: NodeId(2) }), Err(CommandError::MemberNotLearner));
    let publish = Command::MemberPublish { id: NodeId(2), name: "two".into(), client_urls: vec![url("http://c")] };
    assert_eq!(apply(publish), Ok(Outcome::Done));
    assert_eq!(apply(Command::MemberUpdate { id: NodeId(2), peer_urls: vec![url("http://one")] }), Err(CommandError::PeerUrlExists));
    assert_eq!(apply(Command::MemberUpdate { id: NodeId(2), peer_urls: vec![url("http://2")] }), Ok(Outcome::Done));
    assert_eq!(apply(Command::MemberRemove { id: NodeId(1) }), Ok(Outcome::Done));
    let two = Member {
        id: NodeId(2),
        name: "two".into(),
        peer_urls: vec![url("http://2")],
        client_urls: vec![url("http://c")],
        learner: false,
        claimed_by: 5,
    };
    assert_eq!(state.reader().members().unwrap(), vec![two]);
    assert!(state.tables().reader().get(MEMBERS, &[0; 8], u64::MAX).unwrap().is_none());
}

#[test]
fn events_that_would_fill_the_memory_are_left_to_history() {
    let mut state = open();
    let value = Bytes::from(vec![0; limits::ENTRY_EVENT_BYTES / 4]);
    for key in ["a", "b", "c", "d", "e"] {
        apply(&mut state, Command::Put(Put { value: value.clone(), ..put(key, "") }));
    }
    let delete = |end: &'static str| Command::DeleteRange(DeleteRange { keys: span("a", end), prev_kv: false });
    let few = apply_all(&mut state, vec![delete("c")], ANSWER);
    assert_eq!((few.events.len(), few.are_events_too_many), (2, false));
    let puts = ["a", "b"].map(|key| Command::Put(Put { value: value.clone(), ..put(key, "") }));
    apply_all(&mut state, puts.into(), ANSWER);
    let many = apply_all(&mut state, vec![delete("z"), Command::Put(put("f", "g"))], ANSWER);
    assert_eq!((many.events.len(), many.are_events_too_many), (0, true));
    let request =
        HistoryRequest { from: Revision(many.revision.0 - 1), to: many.revision, max_events: 9, max_bytes: usize::MAX, prev_kv: false };
    assert_eq!(state.reader().history(&request, &mut |_| true).unwrap().events.len(), 6);
}

#[test]
fn a_state_is_opened_again_where_it_was() {
    let mut state = open();
    state.bootstrap(Configuration::of_voters([NodeId(1), NodeId(2)]), vec![], Level::NEWEST);
    for _ in 0..HASH_INTERVAL {
        apply_all(&mut state, vec![Command::Put(put("k", "v"))], BYSTANDER);
    }
    let configuration = Configuration::of_voters([NodeId(1)]);
    let change = Payload::Change { configuration: configuration.clone(), batch: Bytes::new() };
    let entry = entry(&state, change);
    state.apply(&entry, ANSWER).unwrap();
    apply(&mut state, Command::Compact { revision: Revision(5) });
    apply(&mut state, Command::CompareHash { index: LogIndex(HASH_INTERVAL), hash: 1 });
    let again = State::open(state.tables().clone()).unwrap();
    assert_eq!((again.hash(), again.revision(), again.applied()), (state.hash(), state.revision(), state.applied()));
    assert_eq!(again.configuration(), &configuration);
    assert_eq!((again.remembered_hash(), again.reader().compact_revision()), (state.remembered_hash(), Revision(5)));
    let old = state.reader();
    *state.tables_mut() = open().tables().clone();
    state.reload().unwrap();
    assert_eq!((state.revision(), old.revision()), (Revision(1), Revision(1)));
}

#[test]
fn hashes_are_remembered_at_intervals_and_when_asked_for() {
    let mut state = open();
    for _ in 0..HASH_INTERVAL {
        apply_all(&mut state, vec![Command::Noop, Command::Put(put("k", "v"))], BYSTANDER);
    }
    let first = (LogIndex(HASH_INTERVAL), state.hash());
    assert_eq!(state.remembered_hashes(), [first]);
    apply(&mut state, Command::Put(put("k", "v")));
    let before = state.hash();
    apply(&mut state, Command::CompareHash { index: first.0, hash: first.1 ^ 1 });
    assert_eq!(state.hash(), before, "a comparison is nothing to compare");
    assert_eq!(state.remembered_hashes(), [first, (state.applied().index, before)]);
    assert_eq!(state.remembered_hash(), state.remembered_hashes().last().copied());
}

#[test]
fn entries_that_cannot_be_applied_are_faults_of_this_node() {
    let mut state = open();
    let mut first = entry(&state, Payload::Batch(Bytes::from_static(&[1, 9, 9])));
    assert_eq!(state.apply(&first, ANSWER), Err(StateFault::Entry { index: LogIndex(1), why: WireError::Truncated }));
    let longer = [batch(vec![]), Bytes::from_static(&[7])].concat();
    first.payload = Payload::Batch(longer.into());
    assert_eq!(open().apply(&first, ANSWER), Err(StateFault::Entry { index: LogIndex(1), why: WireError::LeftOver(1) }));
    first.index = LogIndex(2);
    assert_eq!(open().apply(&first, ANSWER), Err(StateFault::OutOfOrder { index: LogIndex(2), applied: LogIndex(0) }));
    let mut tables = MemoryTables::default();
    tables.insert(KEYS, "k".into(), 1, Some(Bytes::from_static(&[0xff])));
    let mut damaged = State::open(tables).unwrap();
    let put = entry(&damaged, Payload::Batch(batch(vec![Command::Put(put("k", "v"))])));
    assert!(matches!(damaged.apply(&put, BYSTANDER), Err(StateFault::Tables(_))));
    let mut tables = MemoryTables::default();
    tables.insert(META, META_SUMMARY, 1, Some(Summary { format: 99, ..EMPTY }.to_wire().into()));
    assert!(matches!(State::open(tables), Err(OpenStateError::Format(99))));
}

/// The rows of a small state, byte for byte, and its hash. If this fails, replicas of two releases would differ: raise `FORMAT`.
#[test]
fn a_small_state_has_the_rows_and_the_hash_it_always_had() {
    let mut state = open();
    apply(&mut state, Command::LeaseGrant { id: LeaseId(1), ttl_s: 60 });
    apply(&mut state, Command::Put(Put { lease: LeaseId(1), ..put("k", "v") }));
    apply(&mut state, Command::DeleteRange(DeleteRange { keys: span("k", ""), prev_kv: false }));
    let tables = state.tables().reader();
    let row = |table, key: &[u8], at| tables.get(table, key, at).unwrap().map(|row| (row.version, row.value.to_vec()));
    assert_eq!(row(KEYS, b"k", 2), Some((2, vec![4, 2, 2, 0, b'v'])));
    assert_eq!(row(KEYS, b"k", 3), None);
    assert_eq!(row(HISTORY, &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0], u64::MAX), Some((2, vec![b'k'])));
    assert_eq!(row(HISTORY, &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1], u64::MAX), Some((3, vec![b'k'])));
    assert_eq!(row(LEASE_KEYS, &[0, 0, 0, 0, 0, 0, 0, 1, b'k'], 2), Some((2, vec![])));
    assert_eq!(row(LEASE_KEYS, &[0, 0, 0, 0, 0, 0, 0, 1, b'k'], 3), None);
    assert_eq!(state.hash(), 8_030_785_275_470_056_453);
}

#[test]
fn history_is_read_in_whole_revisions_within_its_limits() {
    let mut state = open();
    let two = |a, b| Txn { success: vec![Operation::Put(put(a, "1")), Operation::Put(put(b, "2"))], ..Txn::default() };
    apply_all(&mut state, vec![Command::Txn(two("a", "b")), Command::Txn(two("a", "c")), Command::Txn(two("a", "d"))], BYSTANDER);
    let reader = state.reader();
    let request = HistoryRequest { from: Revision(2), to: Revision(99), max_events: 3, max_bytes: 1000, prev_kv: true };
    let read = |request: &HistoryRequest| {
        let history = reader.history(request, &mut |key| key != "b").unwrap();
        let events: Vec<_> = history.events.iter().map(|e| (e.kv.key[0], e.kv.mod_revision.0, e.prev_kv.is_some())).collect();
        (events, history.next.0)
    };
    assert_eq!(read(&request), (vec![(b'a', 2, false), (b'a', 3, true), (b'c', 3, false)], 4));
    assert_eq!(read(&HistoryRequest { max_bytes: 1, ..request }), (vec![(b'a', 2, false)], 3));
    assert_eq!(read(&HistoryRequest { from: Revision(4), ..request }), (vec![(b'a', 4, true), (b'd', 4, false)], 5));
    assert_eq!(read(&HistoryRequest { from: Revision(5), to: Revision(4), ..request }), (vec![], 5));
}

fn span_of() -> impl Strategy<Value = KeySpan> {
    let letter = |n: u8| Bytes::copy_from_slice(&[b'a' + n]);
    (0u8..5, 0u8..9).prop_map(move |(key, end)| {
        let range_end = match end {
            0..4 => Bytes::new(),
            4 => Bytes::from_static(&[0]),
            _ => letter(end - 4),
        };
        KeySpan { key: letter(key), range_end }
    })
}

fn put_of() -> impl Strategy<Value = Put> {
    (span_of(), 0u8..3, 0i64..4, any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
        |(keys, value, lease, prev_kv, ignore_value, ignore_lease)| Put {
            key: keys.key,
            value: if ignore_value { Bytes::new() } else { Bytes::copy_from_slice(&[value]) },
            lease: LeaseId(if lease < 3 || ignore_lease { 0 } else { lease - 2 }),
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete_of() -> impl Strategy<Value = DeleteRange> {
    (span_of(), any::<bool>()).prop_map(|(keys, prev_kv)| DeleteRange { keys, prev_kv })
}

fn range_of() -> impl Strategy<Value = Range> {
    let order = prop_oneof![Just(SortOrder::None), Just(SortOrder::Ascend), Just(SortOrder::Descend)];
    let target = prop_oneof![
        Just(SortTarget::Key),
        Just(SortTarget::Version),
        Just(SortTarget::CreateRevision),
        Just(SortTarget::ModRevision),
        Just(SortTarget::Value)
    ];
    let bound = || prop_oneof![4 => Just(0i64), 1 => 1i64..20].prop_map(Revision);
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let revision = prop_oneof![3 => Just(0i64), 2 => -2i64..30].prop_map(Revision);
    (span_of(), -1i64..4, revision, order, target, flags, [bound(), bound(), bound(), bound()]).prop_map(
        |(keys, limit, revision, sort_order, sort_target, (keys_only, count_only), bounds)| Range {
            keys,
            limit,
            revision,
            sort_order,
            sort_target,
            keys_only,
            count_only,
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
        },
    )
}

fn compare_of() -> impl Strategy<Value = Compare> {
    let relation = prop_oneof![Just(Relation::Equal), Just(Relation::Greater), Just(Relation::Less), Just(Relation::NotEqual)];
    let operand = prop_oneof![
        (0i64..4).prop_map(Operand::Version),
        (0i64..12).prop_map(|n| Operand::CreateRevision(Revision(n))),
        (0i64..12).prop_map(|n| Operand::ModRevision(Revision(n))),
        (0u8..3).prop_map(|n| Operand::Value(Bytes::copy_from_slice(&[n]))),
        (0i64..3).prop_map(|n| Operand::Lease(LeaseId(n))),
    ];
    (span_of(), relation, operand).prop_map(|(keys, relation, operand)| Compare { keys, relation, operand })
}

fn txn_of() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        range_of().prop_map(Operation::Range),
        put_of().prop_map(Operation::Put),
        delete_of().prop_map(Operation::DeleteRange),
        put_of().prop_map(Operation::Put),
    ];
    let operation = leaf.prop_recursive(2, 12, 4, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..4);
        (prop::collection::vec(compare_of(), 0..2), list(), list())
            .prop_map(|(compare, success, failure)| Operation::Txn(Txn { compare, success, failure }))
    });
    let list = prop::collection::vec(operation, 0..4).boxed();
    (prop::collection::vec(compare_of(), 0..3), list.clone(), list).prop_map(|(compare, success, failure)| Txn {
        compare,
        success,
        failure,
    })
}

pub(crate) fn command_of() -> impl Strategy<Value = Command> {
    prop_oneof![
        5 => put_of().prop_map(Command::Put),
        2 => delete_of().prop_map(Command::DeleteRange),
        5 => txn_of().prop_map(Command::Txn),
        1 => (-1i64..30).prop_map(|revision| Command::Compact { revision: Revision(revision) }),
        2 => (0i64..4, 1i64..100).prop_map(|(id, ttl_s)| Command::LeaseGrant { id: LeaseId(id), ttl_s }),
        1 => (1i64..4).prop_map(|id| Command::LeaseRevoke { id: LeaseId(id) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn everything_is_as_in_the_model(entries in prop::collection::vec(prop::collection::vec(command_of(), 1..4), 1..20), reads in prop::collection::vec((range_of(), txn_of()), 4)) {
        let (mut state, mut bystander, mut model) = (open(), open(), Model::default());
        for commands in entries {
            let entry = entry(&state, Payload::Batch(batch(commands.clone())));
            let applied = state.apply(&entry, ANSWER).unwrap();
            let seen_elsewhere = bystander.apply(&entry, BYSTANDER).unwrap();
            prop_assert!(seen_elsewhere.outcomes.is_empty());
            prop_assert_eq!((state.hash(), state.revision()), (bystander.hash(), bystander.revision()));
            let mut events = Vec::new();
            for (command, (_, response)) in commands.into_iter().zip(applied.outcomes) {
                let expected = model.apply(&command, &mut events);
                prop_assert_eq!(&response.result, &expected, "{:?}", command);
                prop_assert_eq!(response.revision, model.revision());
            }
            prop_assert_eq!(&applied.events, &events);
            events.iter_mut().for_each(|event| event.prev_kv = None);
            prop_assert_eq!(&seen_elsewhere.events, &events);
            let reader = bystander.reader();
            for (range, txn) in &reads {
                prop_assert_eq!(reader.range(range).map(|read| read.result), model.range(range));
                if txn.is_read_only() {
                    prop_assert_eq!(reader.read_txn(txn).map(|read| Outcome::Txn(read.result)), model.read_txn(txn));
                }
            }
            for id in 0..4 {
                prop_assert_eq!(reader.lease_keys(LeaseId(id)).unwrap(), model.lease_keys(LeaseId(id)));
            }
        }
        let reader = bystander.reader();
        let from = model.compact().max(Revision(0));
        let request = HistoryRequest { from, to: Revision(i64::MAX - 1), max_events: usize::MAX, max_bytes: usize::MAX, prev_kv: true };
        prop_assert_eq!(reader.history(&request, &mut |_| true).unwrap().events, model.events_from(from));
    }

    #[test]
    fn damaged_batches_are_refused_without_panic(commands in prop::collection::vec(command_of(), 1..4), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = batch(commands).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let mut state = open();
        let entry = entry(&state, Payload::Batch(bytes.into()));
        if let Err(fault) = state.apply(&entry, ANSWER) {
            prop_assert!(matches!(fault, StateFault::Entry { .. }), "{}", fault);
        }
    }
}
