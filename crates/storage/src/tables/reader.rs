//! Lookups and scans, from any thread.

use bytes::Bytes;
use core::cmp::Ordering;
use core::ops::Bound;
use std::sync::Arc;
use steadfast_types::disk::Disk;
use steadfast_types::tables::{KeyRange, Row, TableId, TablesError, TablesReader};

use super::block::{RowRef, compare};
use super::error::ReadError;
use super::file::Access;
use super::filter;
use super::memtable::{Memtable, Piece, is_beyond};
use super::merging::{Merging, RowSource};
use super::shared::{Shared, View};
use super::store::Store;
use super::version::RunCursor;

/// Rows of one key stepped over before seeking is cheaper.
const STEPS_BEFORE_SEEK: usize = 16;
/// Rows copied from memory at once by a scan: first few, as most scans are short, then more.
const FIRST_PIECE_ROWS: usize = 16;
const PIECE_ROWS: usize = 256;

/// A reader of [`super::LsmTables`].
pub struct LsmReader<D: Disk> {
    shared: Arc<Shared<D>>,
    /// What it looks at, if it is pinned; else at what is newest.
    pinned: Option<Arc<View>>,
}

impl<D: Disk> Clone for LsmReader<D> {
    fn clone(&self) -> Self {
        LsmReader { shared: self.shared.clone(), pinned: self.pinned.clone() }
    }
}

impl<D: Disk> LsmReader<D> {
    pub(super) fn new(shared: Arc<Shared<D>>) -> Self {
        LsmReader { shared, pinned: None }
    }

    fn view(&self) -> Arc<View> {
        self.pinned.clone().unwrap_or_else(|| self.shared.view())
    }
}

impl<D: Disk> TablesReader for LsmReader<D> {
    type Scan = LsmScan<D>;

    fn get(&self, table: TableId, key: &[u8], at: u64) -> Result<Option<Row>, TablesError> {
        let view = self.view();
        let in_memory = view.active.get(table, key, at).or_else(|| view.frozen.as_ref()?.get(table, key, at));
        let found = match in_memory {
            Some(found) => Some(found),
            None => {
                let store = &self.shared.store;
                view.version.get(store, table, key, filter::hash(key), at).map_err(|error| store.damaged(&error))?
            }
        };
        let row = |value| Row { key: Bytes::copy_from_slice(key), version: found.as_ref().map_or(0, |found| found.version), value };
        Ok(found.as_ref().and_then(|found| found.value.clone()).map(row))
    }

    fn scan(&self, table: TableId, range: KeyRange, at: u64) -> LsmScan<D> {
        LsmScan::new(&self.shared.store, &self.view(), table, range, at)
    }

    fn pinned(&self) -> Self {
        LsmReader { shared: self.shared.clone(), pinned: Some(self.view()) }
    }
}

/// A scan of [`LsmReader`]. It holds on to what it reads: files that are merged meanwhile stay until it is dropped.
pub struct LsmScan<D: Disk> {
    store: Arc<Store<D>>,
    rows: Option<Merging<Source<D>>>,
    failed: Option<ReadError>,
    end: Bound<Bytes>,
    at: u64,
    /// The key last decided, if any.
    key: Option<Vec<u8>>,
    steps: usize,
}

impl<D: Disk> LsmScan<D> {
    fn new(store: &Arc<Store<D>>, view: &View, table: TableId, (start, end): KeyRange, at: u64) -> Self {
        let start = match start {
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => following(&key),
            Bound::Unbounded => Vec::new(),
        };
        let (rows, failed) = match sources(store, view, table, &start, &end, at) {
            Ok(sources) => (Some(Merging::new(sources)), None),
            Err(error) => (None, Some(error)),
        };
        LsmScan { store: store.clone(), rows, failed, end, at, key: None, steps: 0 }
    }

    /// The next row, if there is one.
    fn find(&mut self) -> Result<Option<Row>, ReadError> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        while let Some(row) = rows.row() {
            if is_beyond(row.key, &self.end) {
                return Ok(None);
            }
            let decided = self.key.as_deref() == Some(row.key);
            if decided || row.version > self.at {
                let target = if decided { (following(row.key), u64::MAX) } else { (row.key.to_vec(), self.at) };
                step(rows, &mut self.steps, target)?;
                continue;
            }
            self.steps = 0;
            let key = self.key.get_or_insert_default();
            key.clear();
            key.extend_from_slice(row.key);
            let (version, value) = (row.version, rows.head().and_then(Source::value));
            rows.advance()?;
            if let Some(value) = value {
                return Ok(Some(Row { key: Bytes::copy_from_slice(key), version, value }));
            }
        }
        Ok(None)
    }
}

/// Moves over a row that is not wanted; after some of them, straight to the target.
fn step<D: Disk>(rows: &mut Merging<Source<D>>, steps: &mut usize, (key, version): (Vec<u8>, u64)) -> Result<(), ReadError> {
    *steps += 1;
    if *steps < STEPS_BEFORE_SEEK {
        return rows.advance();
    }
    *steps = 0;
    rows.reposition(|source| source.skip_to((&key, version)))
}

/// The least key greater than this one.
fn following(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn sources<D: Disk>(
    store: &Arc<Store<D>>,
    view: &View,
    table: TableId,
    start: &[u8],
    end: &Bound<Bytes>,
    at: u64,
) -> Result<Vec<Source<D>>, ReadError> {
    let memory = [Some(&view.active), view.frozen.as_ref()].into_iter().flatten();
    let mut sources: Vec<_> =
        memory.map(|memtable| Source::Memory(MemoryScan::new(memtable.clone(), table, start, end.clone(), at))).collect();
    for run in view.version.runs(table) {
        let parts = run.overlap((start, u64::MAX), end);
        if !parts.is_empty() {
            sources.push(Source::Run(RunCursor::seek(store, parts, Access::Cached, (start, u64::MAX))?));
        }
    }
    Ok(sources)
}

impl<D: Disk> Iterator for LsmScan<D> {
    type Item = Result<Row, TablesError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(self.store.damaged(&error)));
        }
        match self.find() {
            Ok(Some(row)) => Some(Ok(row)),
            Ok(None) => {
                self.rows = None;
                None
            }
            Err(error) => {
                self.rows = None;
                Some(Err(self.store.damaged(&error)))
            }
        }
    }
}

#[allow(clippy::large_enum_variant, reason = "a handful for each scan, on its own heap allocation")]
enum Source<D: Disk> {
    Memory(MemoryScan),
    Run(RunCursor<D>),
}

impl<D: Disk> Source<D> {
    fn value(&self) -> Option<Bytes> {
        match self {
            Source::Memory(scan) => scan.row()?.value.map(Bytes::copy_from_slice),
            Source::Run(run) => run.value(),
        }
    }

    fn skip_to(&mut self, target: (&[u8], u64)) -> Result<(), ReadError> {
        match self {
            Source::Memory(scan) => {
                scan.skip_to(target);
                Ok(())
            }
            Source::Run(run) => run.skip_to(target),
        }
    }
}

impl<D: Disk> RowSource for Source<D> {
    fn row(&self) -> Option<RowRef<'_>> {
        match self {
            Source::Memory(scan) => scan.row(),
            Source::Run(run) => run.row(),
        }
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        match self {
            Source::Memory(scan) => {
                scan.advance();
                Ok(())
            }
            Source::Run(run) => run.advance(),
        }
    }
}

/// A scan of a memtable, piece by piece.
struct MemoryScan {
    memtable: Arc<Memtable>,
    table: TableId,
    end: Bound<Bytes>,
    at: u64,
    piece: Piece,
    number: usize,
}

impl MemoryScan {
    fn new(memtable: Arc<Memtable>, table: TableId, start: &[u8], end: Bound<Bytes>, at: u64) -> Self {
        let piece = memtable.piece(table, (start, u64::MAX), &end, at, FIRST_PIECE_ROWS);
        let mut scan = MemoryScan { memtable, table, end, at, piece, number: 0 };
        scan.settle();
        scan
    }

    fn row(&self) -> Option<RowRef<'_>> {
        self.piece.row(self.number)
    }

    fn advance(&mut self) {
        self.number += 1;
        self.settle();
    }

    /// Fetches pieces until there is a row here, or none is left.
    fn settle(&mut self) {
        while self.number >= self.piece.length() {
            let Some((key, version)) = self.piece.resume.take() else { return };
            self.piece = self.memtable.piece(self.table, (&key, version), &self.end, self.at, PIECE_ROWS);
            self.number = 0;
        }
    }

    fn skip_to(&mut self, target: (&[u8], u64)) {
        while self.row().is_some_and(|row| compare((row.key, row.version), target) == Ordering::Less) {
            self.advance();
        }
    }
}
