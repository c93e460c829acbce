//! Reads that a compaction overtakes.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::sync::atomic::{AtomicI64, Ordering};
use steadfast_types::Revision;
use steadfast_types::tables::memory::{MemoryReader, MemoryTables};
use steadfast_types::tables::{KeyRange, Row, TableId, TablesError, TablesReader};

use super::*;
use crate::command::{Command, KeySpan, Operation, Put};
use crate::rows::{HISTORY, KEYS};
use crate::state::State;
use crate::state::tests::{ANSWER, apply_all};

/// Rows that are compacted while they are read: up to `compact_to` as soon as somebody looks at `KEYS` or `HISTORY`, if that is not 0.
#[derive(Clone)]
struct Overtaken {
    rows: MemoryReader,
    visible: Arc<Visible>,
    compact_to: Arc<AtomicI64>,
}

impl Overtaken {
    fn overtake(&self, table: TableId) {
        if [KEYS, HISTORY].contains(&table) {
            match self.compact_to.swap(0, Ordering::SeqCst) {
                0 => {}
                revision => self.visible.compact(Revision(revision)),
            }
        }
    }
}

impl TablesReader for Overtaken {
    type Scan = vec::IntoIter<Result<Row, TablesError>>;
    fn get(&self, table: TableId, key: &[u8], at: u64) -> Result<Option<Row>, TablesError> {
        self.overtake(table);
        self.rows.get(table, key, at)
    }
    fn scan(&self, table: TableId, range: KeyRange, at: u64) -> Self::Scan {
        self.overtake(table);
        let rows: Vec<_> = self.rows.scan(table, range, at).collect();
        rows.into_iter()
    }
    fn pinned(&self) -> Self {
        unreachable!("nobody pins it")
    }
}

/// A state at revision 5, and a reader during whose next read of keys the revision given is compacted.
fn overtaken_at(revision: i64) -> StateReader<Overtaken> {
    let mut state = State::open(MemoryTables::default()).unwrap();
    let put = || Command::Put(Put { key: "k".into(), ..Put::default() });
    apply_all(&mut state, vec![put(), put(), put(), put()], ANSWER);
    let StateReader { tables, visible } = state.reader();
    let compact_to = Arc::new(AtomicI64::new(revision));
    StateReader::new(Overtaken { rows: tables, visible: visible.clone(), compact_to }, visible)
}

fn range(revision: i64) -> Range {
    let keys = KeySpan { key: Bytes::from_static(b"a"), range_end: Bytes::from_static(b"z") };
    Range { keys, revision: Revision(revision), ..Range::default() }
}

#[test]
fn a_read_of_an_old_revision_is_refused_when_it_is_compacted_meanwhile() {
    assert_eq!(overtaken_at(4).range(&range(3)), Err(CommandError::Compacted));
    assert!(overtaken_at(3).range(&range(3)).is_ok());
    let single = Range { keys: KeySpan::single("k".into()), ..range(3) };
    assert_eq!(overtaken_at(4).range(&single), Err(CommandError::Compacted));
    assert_eq!(overtaken_at(4).hash_keys(Revision(3)), Err(CommandError::Compacted));
}

#[test]
fn a_transaction_that_reads_an_old_revision_is_refused_when_it_is_compacted_meanwhile() {
    let txn = Txn { success: vec![Operation::Range(range(3))], ..Txn::default() };
    assert_eq!(overtaken_at(4).read_txn(&txn), Err(CommandError::Compacted));
    assert!(overtaken_at(3).read_txn(&txn).is_ok());
}

#[test]
fn a_read_of_the_newest_revision_goes_on() {
    let read = overtaken_at(5).range(&range(0)).unwrap();
    assert_eq!((read.revision, read.result.count), (Revision(5), 1));
}

#[test]
fn history_is_refused_when_its_start_is_compacted_meanwhile() {
    let request = HistoryRequest { from: Revision(3), to: Revision(5), max_events: 9, max_bytes: 999, prev_kv: true };
    assert_eq!(overtaken_at(4).history(&request, &mut |_| true), Err(HistoryError::Compacted));
    let history = overtaken_at(3).history(&request, &mut |_| true).unwrap();
    let before: Vec<bool> = history.events.iter().map(|event| event.prev_kv.is_some()).collect();
    assert_eq!(before, [false, true, true]);
}
