//! The state after one log entry, held still for as long as it takes to read all of it: for snapshots and hashes.
//!
//! etcd keeps a row for each write, in the order of revisions. Here what compaction left of old writes stands in KEYS, by key, and everything
//! since in HISTORY, by revision; so there are two parts: [`Pinned::kept`], to be sorted by whoever wants it sorted, and [`Pinned::since`],
//! which comes sorted.

use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::tables::{KeyRange, TablesError, TablesReader};
use steadfast_types::wire::Wire;
use steadfast_types::{LeaseId, LogIndex, Revision};

use super::StateReader;
use crate::auth::{self, Auth};
use crate::command::{KeyValue, Member};
use crate::members;
use crate::rows::{
    HISTORY, HistoryKey, HistoryKind, KEYS, LEASES, META, META_SUMMARY, NEWEST, ReplacedPut, Summary, damaged, decode_key_row,
    decode_lease, decode_lease_key, decode_meta, version_of,
};

/// One write of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its revision.
    pub revision: Revision,
    /// Which write of that revision, from 0.
    pub sub: u32,
    /// What it did.
    pub change: Change,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key is this from then on.
    Put(KeyValue),
    /// The key is gone.
    Delete(Bytes),
}

/// The state after one log entry.
#[derive(Clone)]
pub struct Pinned<R> {
    tables: R,
    revision: Revision,
    compact: Revision,
    index: LogIndex,
}

const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);

impl<R: TablesReader> StateReader<R> {
    /// Holds the present state still. It takes disk space that compaction would free, until it is dropped.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn pin(&self) -> Result<Pinned<R>, TablesError> {
        let tables = self.tables.pinned();
        // The summary is an entry's last row: with it all its rows are there, and rows of later entries have later versions.
        let row = tables.get(META, &META_SUMMARY, NEWEST)?;
        let index = LogIndex(row.as_ref().map_or(0, |row| row.version));
        let summary: Option<Summary> = row.map(decode_meta).transpose()?;
        let Summary { revision, compact, .. } = summary.unwrap_or(crate::state::EMPTY);
        Ok(Pinned { tables, revision, compact, index })
    }
}

impl<R: TablesReader> Pinned<R> {
    /// The revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The compact revision; -1 before the first compaction.
    pub fn compact_revision(&self) -> Revision {
        self.compact
    }

    /// The entry.
    pub fn index(&self) -> LogIndex {
        self.index
    }

    /// The writes up to the compact revision that compaction left: of each key the newest, if that was no delete. Ascending by key.
    pub fn kept(&self) -> impl Iterator<Item = Result<Write, TablesError>> + Send + use<R> {
        self.puts_at(self.compact)
    }

    /// Those of [`Pinned::kept`] that a compaction at `revision` would leave, too.
    pub fn kept_until(&self, revision: Revision) -> impl Iterator<Item = Result<Write, TablesError>> + Send + use<R> {
        let compact = self.compact;
        self.puts_at(revision).filter(move |write| write.as_ref().map_or(true, |write| write.revision <= compact))
    }

    /// Whether there was any key at this revision, which is not compacted.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn has_keys_at(&self, revision: Revision) -> Result<bool, TablesError> {
        Ok(self.tables.scan(KEYS, ALL, version_of(revision)).next().transpose()?.is_some())
    }

    /// All writes above the compact revision and up to `last`, in order.
    pub fn since(&self, last: Revision) -> impl Iterator<Item = Result<Write, TablesError>> + Send + use<'_, R> {
        let (start, _) = HistoryKey::from(Revision(self.compact.0 + 1));
        let end = HistoryKey::trim(Revision(last.0.saturating_add(1)));
        let rows = self.tables.scan(HISTORY, (start, Bound::Excluded(end)), version_of(last));
        rows.map(|row| {
            let row = row?;
            let HistoryKey { revision, sub, kind } = HistoryKey::decode(&row.key)?;
            let change = match kind {
                HistoryKind::Delete => Change::Delete(row.value),
                HistoryKind::Put => Change::Put(self.put_at(&row.value, revision)?),
                HistoryKind::ReplacedPut => {
                    let put = ReplacedPut::from_wire(row.value).map_err(|why| damaged("HISTORY", &row.key, &why))?;
                    Change::Put(super::history::restored(put, revision))
                }
            };
            Ok(Write { revision, sub, change })
        })
    }

    /// All leases, by id, with the seconds they were granted for.
    pub fn leases(&self) -> impl Iterator<Item = Result<(LeaseId, i64), TablesError>> + Send + use<R> {
        let rows = self.tables.scan(LEASES, ALL, self.index.0);
        rows.map(|row| {
            let row = row?;
            Ok((decode_lease_key(&row.key)?, decode_lease(row)?))
        })
    }

    /// All members, by id. They may be those of a later entry.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn members(&self) -> Result<Vec<Member>, TablesError> {
        members::all(&self.tables)
    }

    /// Users and roles, as they are now: they have no revisions.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn auth(&self) -> Result<Auth, TablesError> {
        auth::load(&self.tables)
    }

    fn puts_at(&self, revision: Revision) -> impl Iterator<Item = Result<Write, TablesError>> + Send + use<R> {
        self.tables.scan(KEYS, ALL, version_of(revision)).map(|row| {
            let (kv, sub) = decode_key_row(row?)?;
            Ok(Write { revision: kv.mod_revision, sub, change: Change::Put(kv) })
        })
    }

    fn put_at(&self, key: &[u8], revision: Revision) -> Result<KeyValue, TablesError> {
        let row = self.tables.get(KEYS, key, version_of(revision))?.filter(|row| row.version == version_of(revision));
        let row = row.ok_or_else(|| TablesError(format!("history has key {key:02x?} at revision {revision}, but KEYS has not")))?;
        Ok(decode_key_row(row)?.0)
    }
}
