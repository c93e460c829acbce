//! Batches of commands, as the state machine finds them in log entries: entry after entry, each with its length before it.

use bytes::Bytes;
use steadfast_state::command::{Batch, KeySpan, KeyValue, Member, Range};
use steadfast_state::reader::HistoryRequest;
use steadfast_state::{Answer, Applied, Gather, State, StateFault};
use steadfast_types::tables::memory::MemoryTables;
use steadfast_types::wire::{Reader, Wire};
use steadfast_types::{Configuration, Entry, Level, NodeId, Payload, Revision, Term};

use super::wire::decode;

/// Answers and events are made here and not there.
const ASKED: Answer = Answer { node: NodeId(1), incarnation: 1, events: Gather::EventsWithPrevious };
const UNASKED: Answer = Answer { node: NodeId(2), incarnation: 2, events: Gather::Nothing };

fn replica(tables: MemoryTables) -> State<MemoryTables> {
    State::open(tables).expect("the tables are intact")
}

/// Applies the entries on two replicas. They agree with each other, with decoding the batch beforehand, and with what a restart finds; and
/// everything written can be read.
pub fn check(input: &[u8]) {
    let tables = MemoryTables::default();
    let (mut asked, mut unasked) = (replica(tables.clone()), replica(MemoryTables::default()));
    for state in [&mut asked, &mut unasked] {
        state.bootstrap(Configuration::of_voters([NodeId(1)]), vec![Member { id: NodeId(1), ..Member::default() }], Level::NEWEST);
    }
    let mut reader = Reader::new(Bytes::copy_from_slice(input));
    while let Ok(batch) = Bytes::decode(&mut reader) {
        let decodes = batch.is_empty() || decode::<Batch>(batch.clone()).is_some();
        let index = asked.applied().index.next();
        let entry = Entry { term: Term(1), index, payload: Payload::Batch(batch) };
        let applied = asked.apply(&entry, ASKED);
        let also = unasked.apply(&entry, UNASKED);
        assert_eq!(decodes, !matches!(applied, Err(StateFault::Entry { .. })), "{applied:?}");
        match (applied, also) {
            (Ok(applied), Ok(also)) => compare(&asked, &unasked, &applied, &also),
            (Err(fault), also) => {
                assert_eq!(Err(&fault), also.as_ref());
                assert!(matches!(fault, StateFault::Entry { .. }), "{fault}");
                return;
            }
            (Ok(applied), Err(fault)) => panic!("{applied:?} here, {fault} there"),
        }
    }
    read(&asked);
    let restarted = replica(tables);
    assert_eq!((restarted.revision(), restarted.hash()), (asked.revision(), asked.hash()));
}

fn compare(asked: &State<MemoryTables>, unasked: &State<MemoryTables>, applied: &Applied, also: &Applied) {
    assert_eq!(asked.hash(), unasked.hash());
    assert_eq!(asked.revision(), unasked.revision());
    assert_eq!(applied.leases, also.leases);
    assert_eq!(applied.revision, asked.revision());
    assert!(also.events.is_empty());
    assert!(applied.events.iter().all(|event| event.kv.mod_revision <= applied.revision));
}

/// Everything there is, as it is now.
pub(super) fn all_keys(state: &State<MemoryTables>) -> Vec<KeyValue> {
    let all = KeySpan { key: Bytes::from_static(&[0]), range_end: Bytes::from_static(&[0]) };
    let found = state.reader().range(&Range { keys: all, ..Range::default() }).expect("the newest revision can be read").result;
    assert_eq!(found.count, i64::try_from(found.kvs.len()).expect("fits"));
    found.kvs
}

/// Everything in it can be read.
pub(super) fn read(state: &State<MemoryTables>) {
    all_keys(state);
    let reader = state.reader();
    reader.hash_keys(Revision(0)).expect("the newest revision can be read");
    reader.members().expect("members can be read");
    for (lease, _) in reader.leases().expect("leases can be read") {
        reader.lease_keys(lease).expect("a lease's keys can be read");
    }
    let from = Revision(reader.compact_revision().0.max(1));
    let request = HistoryRequest { from, to: reader.revision(), max_events: 1000, max_bytes: 1 << 20, prev_kv: true };
    reader.history(&request, &mut |_| true).expect("history from the compact revision on can be read");
}
