//! Tables in memory: the plainest thing that keeps the contract. The model that real tables are tested against, and what the state
//! machine's own tests run on. It never drops a row and is never durable.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;

use super::{KeyRange, Row, TableId, Tables, TablesError, TablesReader};
use crate::ids::LogPosition;

type Rows = BTreeMap<(TableId, Bytes, u64), Option<Bytes>>;

/// Tables in memory, for one thread at a time.
#[derive(Clone, Default)]
pub struct MemoryTables {
    rows: Shared,
    applied: LogPosition,
}

/// The rows, shared between tables and readers. Tests use both from one thread; a lock would need `std`.
#[derive(Clone, Default)]
struct Shared(Arc<spin::Mutex<Rows>>);

impl Tables for MemoryTables {
    type Reader = MemoryReader;

    fn reader(&self) -> MemoryReader {
        MemoryReader(self.rows.clone())
    }

    fn insert(&mut self, table: TableId, key: Bytes, version: u64, value: Option<Bytes>) {
        self.rows.0.lock().insert((table, key, version), value);
    }

    fn commit(&mut self, applied: LogPosition) {
        self.applied = applied;
    }

    fn applied(&self) -> LogPosition {
        self.applied
    }

    fn durable(&self) -> LogPosition {
        LogPosition::default()
    }

    fn set_horizon(&mut self, _table: TableId, _version: u64) {}

    fn trim(&mut self, _table: TableId, _key: Bytes) {}
}

/// A reader of [`MemoryTables`].
#[derive(Clone)]
pub struct MemoryReader(Shared);

impl TablesReader for MemoryReader {
    type Scan = alloc::vec::IntoIter<Result<Row, TablesError>>;

    fn get(&self, table: TableId, key: &[u8], at: u64) -> Result<Option<Row>, TablesError> {
        let key = Bytes::copy_from_slice(key);
        let range = (Bound::Included(key.clone()), Bound::Included(key));
        self.scan(table, range, at).next().transpose()
    }

    fn scan(&self, table: TableId, (start, end): KeyRange, at: u64) -> Self::Scan {
        let rows = self.0.0.lock();
        let mut found: Vec<(Bytes, u64, Option<Bytes>)> = Vec::new();
        let within = |key: &Bytes| {
            let after_start = match &start {
                Bound::Included(start) => key >= start,
                Bound::Excluded(start) => key > start,
                Bound::Unbounded => true,
            };
            let before_end = match &end {
                Bound::Included(end) => key <= end,
                Bound::Excluded(end) => key < end,
                Bound::Unbounded => true,
            };
            after_start && before_end
        };
        for ((_, key, version), value) in rows.range((table, Bytes::new(), 0)..).take_while(|((t, _, _), _)| *t == table) {
            if *version > at || !within(key) {
                continue;
            }
            if found.last().is_some_and(|(last, _, _)| last == key) {
                found.pop();
            }
            found.push((key.clone(), *version, value.clone()));
        }
        let rows: Vec<_> = found.into_iter().filter_map(|(key, version, value)| Some(Ok(Row { key, version, value: value? }))).collect();
        rows.into_iter()
    }

    fn pinned(&self) -> Self {
        self.clone()
    }
}
