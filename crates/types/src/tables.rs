//! The tables as the state machine sees them: ordered, multi-version rows, whose writes become durable in batches, later.
//!
//! The contract:
//! 1. A row is (table, key, version) and a value, or a tombstone. Versions of one key only grow. Reading *at* version `v` finds the newest
//!    row of the key with version at most `v`.
//! 2. [`Tables::insert`] is visible at once to every reader that asks for that version or a later one. [`Tables::commit`] marks that all
//!    inserts up to here belong to log entries up to `applied`.
//! 3. After a crash the tables hold exactly the inserts of *some* earlier commit, never a part of one, and [`Tables::applied`] says which;
//!    the log replays the rest. [`Tables::durable`] says how far they are already safe, so that the log may be cut.
//! 4. Rows that no read can need are dropped in the background: of each key, all versions but the newest at or below the table's
//!    *horizon*, and that one too if it is a tombstone; and all keys below the table's *trim* key.

use alloc::string::String;
use bytes::Bytes;
use core::ops::Bound;

use crate::ids::LogPosition;

pub mod memory;

/// One of the ordered tables; the state machine numbers them. Numbers from 240 are storage's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u8);

/// A horizon for tables of which only the newest row of each key matters.
pub const NEWEST_ONLY: u64 = u64::MAX;

/// Why the tables could not be read. The rows in reach are suspect: the node must not answer from them, and needs a snapshot from a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tables: {0}")]
pub struct TablesError(pub String);

/// A row found at some version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Bytes,
    /// The version that wrote it.
    pub version: u64,
    /// The value; shares memory with the tables.
    pub value: Bytes,
}

/// A half-open or unbounded range of keys.
pub type KeyRange = (Bound<Bytes>, Bound<Bytes>);

/// The writing side, held by the one thread that applies the log.
pub trait Tables: Send + 'static {
    /// The reading side.
    type Reader: TablesReader;

    /// A reader that sees every insert as it comes; cheap to clone, usable from any thread.
    fn reader(&self) -> Self::Reader;

    /// Adds a row; `None` is a tombstone. `version` is at least that of every earlier row of this key. A row of an equal version replaces.
    fn insert(&mut self, table: TableId, key: Bytes, version: u64, value: Option<Bytes>);

    /// Everything inserted so far belongs to entries up to `applied`. One atomic batch since the last commit.
    fn commit(&mut self, applied: LogPosition);

    /// The position of the last commit.
    fn applied(&self) -> LogPosition;

    /// The position up to which a crash loses nothing.
    fn durable(&self) -> LogPosition;

    /// Raises a table's horizon, see rule 4; takes part in the current batch. Tables start with [`NEWEST_ONLY`] unless told otherwise
    /// before their first insert.
    fn set_horizon(&mut self, table: TableId, version: u64);

    /// Drops all keys of `table` below `key`, in time; takes part in the current batch.
    fn trim(&mut self, table: TableId, key: Bytes);
}

/// The reading side. Each call reads one consistent state: rows inserted later than the call's start may or may not be seen unless their
/// version is above `at`, when they never are.
pub trait TablesReader: Clone + Send + Sync + 'static {
    /// An ascending scan.
    type Scan: Iterator<Item = Result<Row, TablesError>> + Send;

    /// The newest row of `key` at or below version `at`; `None` if there is none or it is a tombstone.
    ///
    /// # Errors
    /// The tables are damaged.
    fn get(&self, table: TableId, key: &[u8], at: u64) -> Result<Option<Row>, TablesError>;

    /// For each key in `range`, ascending, its newest row at or below version `at`, without tombstones.
    fn scan(&self, table: TableId, range: KeyRange, at: u64) -> Self::Scan;

    /// A reader for which nothing is dropped that is there now: rule 4 is suspended for it. It may see rows that are inserted later. Holds on
    /// to disk space for as long as it lives.
    #[must_use]
    fn pinned(&self) -> Self;
}
