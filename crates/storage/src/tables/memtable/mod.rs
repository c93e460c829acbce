//! The rows since the last flush, in memory: one writer, any number of readers.
//!
//! A plain lock guards them. It is held for one insert, one lookup or one short piece of a scan, never longer, so that no scan keeps the
//! writer waiting. A frozen memtable is no longer written and may be read at leisure.
//!
//! Of a table of which only the newest row of each key matters, a newer row takes the place of the older one at once.

mod arena;
mod tree;

use bytes::Bytes;
use core::ops::{Bound, Range};
use parking_lot::RwLock;
use steadfast_types::tables::TableId;

use self::arena::Arena;
use self::tree::{Position, Tree};
use super::block::RowRef;
use super::error::ReadError;
use super::merging::RowSource;

/// Rows looked at under one lock by a scan.
const SCAN_ROWS: usize = 512;
/// Bytes copied under one lock by a scan, beyond the first row.
const SCAN_BYTES: usize = 32 << 10;

#[derive(Default)]
pub(super) struct Memtable {
    rows: RwLock<Rows>,
}

/// The rows of all tables.
#[derive(Default)]
pub(super) struct Rows {
    arena: Arena,
    tables: Vec<(TableId, Tree)>,
    count: usize,
}

/// A row copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) version: u64,
    /// `None`: a tombstone.
    pub(super) value: Option<Bytes>,
}

impl Memtable {
    pub(super) fn insert(&self, table: TableId, row: RowRef<'_>, newest_only: bool) {
        self.rows.write().insert(table, row, newest_only);
    }

    /// The newest row of `key` at or below version `at`.
    pub(super) fn get(&self, table: TableId, key: &[u8], at: u64) -> Option<Found> {
        let rows = self.rows.read();
        let tree = rows.tree(table)?;
        let row = tree.row(&rows.arena, tree.seek(&rows.arena, (key, at)))?;
        (row.key == key).then(|| Found { version: row.version, value: row.value.map(Bytes::copy_from_slice) })
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let rows = self.rows.read();
        rows.arena.bytes() + rows.tables.iter().map(|(_, tree)| tree.bytes()).sum::<usize>()
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.rows.read().count
    }

    /// Lets a flush read the rows of a frozen memtable.
    pub(super) fn read<T>(&self, body: impl FnOnce(&Rows) -> T) -> T {
        body(&self.rows.read())
    }

    /// A piece of a scan: from `from` on, of each key the newest row at or below version `at`, tombstones included.
    pub(super) fn piece(&self, table: TableId, from: (&[u8], u64), end: &Bound<Bytes>, at: u64, wanted: usize) -> Piece {
        let rows = self.rows.read();
        rows.piece(table, from, end, at, wanted)
    }
}

impl Rows {
    fn tree(&self, table: TableId) -> Option<&Tree> {
        self.tables.iter().find(|(id, _)| *id == table).map(|(_, tree)| tree)
    }

    fn insert(&mut self, table: TableId, row: RowRef<'_>, newest_only: bool) {
        let index = match self.tables.binary_search_by_key(&table, |(id, _)| *id) {
            Ok(index) => index,
            Err(index) => {
                self.tables.insert(index, (table, Tree::default()));
                index
            }
        };
        let tree = &mut self.tables[index].1;
        tree.make_common(&self.arena, row.key);
        let target = (row.key, if newest_only { u64::MAX } else { row.version });
        let (position, old) = tree.find(&self.arena, target);
        let replaced = old.filter(|&old| {
            let old = self.arena.row(old);
            old.key == row.key && (newest_only || old.version == row.version)
        });
        match replaced {
            None => {
                let address = self.arena.push(row);
                tree.insert(position, row.key, address);
                self.count += 1;
            }
            Some(address) if self.arena.overwrite(address, row) => {}
            Some(_) => {
                let address = self.arena.push(row);
                tree.replace(position, address);
            }
        }
    }

    /// The tables that have rows here.
    pub(super) fn tables(&self) -> impl Iterator<Item = TableId> {
        self.tables.iter().map(|(id, _)| *id)
    }

    /// All rows of a table, in order.
    pub(super) fn source(&self, table: TableId) -> Option<MemorySource<'_>> {
        let tree = self.tree(table)?;
        Some(MemorySource { rows: self, tree, position: tree.first() })
    }

    fn piece(&self, table: TableId, from: (&[u8], u64), end: &Bound<Bytes>, at: u64, wanted: usize) -> Piece {
        let mut piece = PieceBuilder::default();
        let Some(tree) = self.tree(table) else { return piece.finish(None) };
        let mut position = tree.seek(&self.arena, from);
        for _ in 0..SCAN_ROWS {
            let Some(row) = tree.row(&self.arena, position) else { return piece.finish(None) };
            if is_beyond(row.key, end) {
                return piece.finish(None);
            }
            if row.version <= at && !piece.ends_with(row.key) {
                if piece.rows.len() >= wanted
                    || piece.bytes.len() + row.key.len() + row.value.map_or(0, <[u8]>::len) > SCAN_BYTES && !piece.rows.is_empty()
                {
                    return piece.finish(Some((row.key.to_vec(), row.version)));
                }
                piece.add(row);
            }
            position = tree.next(position);
        }
        let next = tree.row(&self.arena, position).map(|row| (row.key.to_vec(), row.version));
        match next {
            // Older rows of a key that was already found.
            Some((mut key, _)) if piece.ends_with(&key) => {
                key.push(0);
                piece.finish(Some((key, u64::MAX)))
            }
            next => piece.finish(next),
        }
    }
}

/// Whether `key` lies behind the end of a range.
pub(super) fn is_beyond(key: &[u8], end: &Bound<Bytes>) -> bool {
    match end {
        Bound::Included(end) => key > &end[..],
        Bound::Excluded(end) => key >= &end[..],
        Bound::Unbounded => false,
    }
}

/// All rows of one table of a frozen memtable.
pub(super) struct MemorySource<'a> {
    rows: &'a Rows,
    tree: &'a Tree,
    position: Position,
}

impl RowSource for MemorySource<'_> {
    fn row(&self) -> Option<RowRef<'_>> {
        self.tree.row(&self.rows.arena, self.position)
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        self.position = self.tree.next(self.position);
        Ok(())
    }
}

/// Some rows of a scan, copied out.
pub(super) struct Piece {
    bytes: Bytes,
    rows: Vec<PieceRow>,
    /// Where the next piece begins; `None`: there is none.
    pub(super) resume: Option<(Vec<u8>, u64)>,
}

struct PieceRow {
    key: Range<usize>,
    version: u64,
    value: Option<Range<usize>>,
}

impl Piece {
    pub(super) fn row(&self, number: usize) -> Option<RowRef<'_>> {
        let row = self.rows.get(number)?;
        let value = row.value.clone().map(|value| &self.bytes[value]);
        Some(RowRef { key: &self.bytes[row.key.clone()], version: row.version, value })
    }

    pub(super) fn length(&self) -> usize {
        self.rows.len()
    }
}

#[derive(Default)]
struct PieceBuilder {
    bytes: Vec<u8>,
    rows: Vec<PieceRow>,
}

impl PieceBuilder {
    fn ends_with(&self, key: &[u8]) -> bool {
        self.rows.last().is_some_and(|last| &self.bytes[last.key.clone()] == key)
    }

    fn add(&mut self, row: RowRef<'_>) {
        let key = self.put(row.key);
        let value = row.value.map(|value| self.put(value));
        self.rows.push(PieceRow { key, version: row.version, value });
    }

    fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn finish(self, resume: Option<(Vec<u8>, u64)>) -> Piece {
        Piece { bytes: self.bytes.into(), rows: self.rows, resume }
    }
}
