//! A state that comes from elsewhere: written row by row, as the beginning of a new cluster.
//!
//! 1. The writes come in the order of their revisions. What they leave is what the state machine would hold if it had made them itself, but for
//!    what was compacted where they come from.
//! 2. The same writes, leases and arguments give the same rows and the same running hash, which so names the state: founders compare it.
//! 3. A seeded state is at [`SEEDED`] and belongs to nobody: it has no members. [`State::bootstrap`](crate::State::bootstrap) makes it the
//!    first state of a cluster, at [`FOUNDED`]. The cluster's log begins after that, so that nobody can replay its way around the seed.

use alloc::format;
use alloc::string::String;
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::limits::{LEASE_MAX_TTL_S, LEASE_MIN_TTL_S};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::{Row, TableId, Tables, TablesError, TablesReader};
use steadfast_types::wire::Wire;
use steadfast_types::{LeaseId, LogIndex, LogPosition, Revision, Term};

use crate::auth::{self, Auth};
use crate::command::KeyValue;
use crate::fingerprint::Chain;
use crate::reader::{Change, Write};
use crate::rows::{
    self, FORMAT, HISTORY, HistoryKey, HistoryKind, KEYS, LEASE_KEYS, LEASES, META, META_SUMMARY, NEWEST, ReplacedPut, Summary,
    decode_key_row, version_of,
};
use crate::state::{EMPTY, prepare};

/// Where a seeded state is in the log of the cluster to come.
pub const SEEDED: LogPosition = LogPosition { term: Term(1), index: LogIndex(1) };

/// Where it is once it has members.
pub const FOUNDED: LogPosition = LogPosition { term: Term(1), index: LogIndex(2) };

/// Rows and bytes after which the tables get a chance to flush.
const COMMIT_ROWS: usize = 1024;
const COMMIT_BYTES: usize = 1024 * 1024;

/// Why a state can't be seeded. The tables are to be thrown away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// A write that no state machine makes.
    #[error("the write of revision {revision} (number {sub}) is impossible: {what}")]
    Write {
        /// Its revision.
        revision: Revision,
        /// Its number in it.
        sub: u32,
        /// Why.
        what: &'static str,
    },
    /// The revision can't be raised so far.
    #[error("revision {revision} can't be raised by {bump}: that is beyond the last revision")]
    Bump {
        /// The revision.
        revision: Revision,
        /// By how much.
        bump: i64,
    },
    /// The tables, or what they are written to.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// What is written to has failed.
    #[error("{0}")]
    Disk(String),
}

/// How the seeded state differs from what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedOptions {
    /// The compact revision of the writes; -1: there was none.
    pub compact: Revision,
    /// Raise the revision by this much, and compact everything below; 0: leave both as they are.
    pub bump: i64,
}

/// What was seeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// The running hash, which names the state.
    pub hash: u64,
    /// The revision.
    pub revision: Revision,
    /// The compact revision.
    pub compact: Revision,
}

/// Writes a state into empty tables. `settle` is called after each commit, so that the tables' jobs can be done.
pub struct Seed<T: Tables, F> {
    tables: T,
    reader: T::Reader,
    settle: F,
    options: SeedOptions,
    chain: Chain,
    last: (Revision, u32),
    waiting: (usize, usize),
}

/// The highest revision: far more than can be used, and far from what overflows.
const LAST_REVISION: i64 = 1 << 62;

impl<T: Tables, F: FnMut(&mut T) -> Result<(), SeedError>> Seed<T, F> {
    /// Begins.
    ///
    /// # Panics
    /// If the tables are not empty.
    pub fn new(mut tables: T, options: SeedOptions, settle: F) -> Self {
        assert_eq!(tables.applied(), LogPosition::default(), "only empty tables can be seeded");
        prepare(&mut tables);
        let reader = tables.reader();
        Seed { tables, reader, settle, options, chain: Chain(EMPTY.hash), last: (Revision(0), 0), waiting: (0, 0) }
    }

    /// Adds the next write.
    ///
    /// # Errors
    /// It is not above the one before it, or impossible; or the tables.
    pub fn write(&mut self, write: Write) -> Result<(), SeedError> {
        let Write { revision, sub, change } = write;
        let impossible = |what| SeedError::Write { revision, sub, what };
        if revision.0 < 1 || revision.0 >= LAST_REVISION {
            return Err(impossible("there is no such revision"));
        }
        if (revision, sub) <= self.last && self.last.0 > Revision(0) {
            return Err(impossible("it is not above the one before it"));
        }
        self.last = (revision, sub);
        match change {
            Change::Put(kv) => {
                check(&kv, revision).map_err(impossible)?;
                self.put(sub, kv)?;
            }
            Change::Delete(key) if key.is_empty() => return Err(impossible("it has no key")),
            Change::Delete(key) => {
                self.keep_replaced(&key, revision, sub)?;
                self.insert(KEYS, key.clone(), version_of(revision), None);
                self.record(revision, sub, HistoryKind::Delete, Some(key));
            }
        }
        self.commit_if_due()
    }

    /// Sets users and roles.
    ///
    /// # Errors
    /// The tables.
    pub fn auth(&mut self, auth: &Auth) -> Result<(), SeedError> {
        for (table, key, row) in auth::rows(auth) {
            self.insert(table, key, SEEDED.index.0, Some(row));
            self.commit_if_due()?;
        }
        Ok(())
    }

    /// Ends the writes, and adds the leases, each once.
    ///
    /// # Errors
    /// The revision is too high, a lease can't be, or the tables.
    pub fn finish(mut self, leases: impl Iterator<Item = Result<(LeaseId, i64), SeedError>>) -> Result<(T, Seeded), SeedError> {
        for lease in leases {
            let (id, ttl_s) = lease?;
            let ttl_s = ttl_s.clamp(LEASE_MIN_TTL_S, LEASE_MAX_TTL_S);
            self.insert(LEASES, rows::lease_key(id), SEEDED.index.0, Some(rows::encode_lease(ttl_s)));
            self.commit_if_due()?;
        }
        self.attach()?;
        let SeedOptions { compact, bump } = self.options;
        let bump = if is_planted(Bug::RevisionsComeAgain) { 0 } else { bump };
        let newest = self.last.0.max(compact).max(EMPTY.revision);
        let raised = newest.0.checked_add(bump).filter(|raised| bump >= 0 && *raised < LAST_REVISION);
        let revision = Revision(raised.ok_or(SeedError::Bump { revision: newest, bump })?);
        let compact = if bump > 0 { revision } else { compact };
        self.chain.row(META, &META_SUMMARY, version_of(revision), Some(&compact.to_wire()));
        let summary = Summary { format: FORMAT, revision, compact, hash: self.chain.0 };
        self.tables.set_horizon(KEYS, version_of(compact));
        self.tables.set_horizon(LEASES, SEEDED.index.0);
        self.tables.trim(HISTORY, HistoryKey::trim(compact));
        self.tables.insert(META, META_SUMMARY, SEEDED.index.0, Some(summary.to_wire().into()));
        self.tables.commit(SEEDED);
        (self.settle)(&mut self.tables)?;
        Ok((self.tables, Seeded { hash: summary.hash, revision, compact }))
    }

    fn put(&mut self, sub: u32, kv: KeyValue) -> Result<(), SeedError> {
        let revision = kv.mod_revision;
        self.keep_replaced(&kv.key, revision, sub)?;
        let mut row = alloc::vec::Vec::with_capacity(kv.value.len() + 32);
        rows::encode_key_header(kv.create_revision, kv.version, kv.lease, sub, &mut row);
        row.extend_from_slice(&kv.value);
        self.insert(KEYS, kv.key.clone(), version_of(revision), Some(row.into()));
        self.record(revision, sub, HistoryKind::Put, Some(kv.key));
        Ok(())
    }

    /// As the state machine does it: what a revision writes twice, HISTORY remembers.
    fn keep_replaced(&mut self, key: &Bytes, revision: Revision, sub: u32) -> Result<(), SeedError> {
        if sub == 0 {
            return Ok(());
        }
        let Some(row) = self.reader.get(KEYS, key, NEWEST)?.filter(|row| row.version == version_of(revision)) else { return Ok(()) };
        let (kv, before) = decode_key_row(row)?;
        let KeyValue { key, create_revision, version, lease, value, .. } = kv;
        let replaced = ReplacedPut { key, create_revision, version, lease, value };
        self.record(revision, before, HistoryKind::Put, None);
        self.record(revision, before, HistoryKind::ReplacedPut, Some(replaced.to_wire().into()));
        Ok(())
    }

    /// HISTORY begins at the compact revision.
    fn record(&mut self, revision: Revision, sub: u32, kind: HistoryKind, value: Option<Bytes>) {
        if self.options.bump == 0 && revision >= self.options.compact {
            let key = HistoryKey { revision, sub, kind };
            self.tables.insert(HISTORY, key.encode(), version_of(revision), value);
        }
    }

    /// Hangs the keys that are there now on their leases; a lease that is not there has none, as in etcd.
    fn attach(&mut self) -> Result<(), SeedError> {
        let now = self.last.0;
        for row in self.reader.scan(KEYS, (Bound::Unbounded, Bound::Unbounded), version_of(now)) {
            let row: Row = row?;
            let (kv, _) = decode_key_row(row)?;
            if kv.lease.0 != 0 && self.reader.get(LEASES, &rows::lease_key(kv.lease), NEWEST)?.is_some() {
                self.insert(LEASE_KEYS, rows::attached_key(kv.lease, &kv.key), SEEDED.index.0, Some(Bytes::new()));
                self.commit_if_due()?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, table: TableId, key: Bytes, version: u64, value: Option<Bytes>) {
        self.chain.row(table, &key, version, value.as_deref());
        self.waiting.0 += 1;
        self.waiting.1 += key.len() + value.as_ref().map_or(0, Bytes::len);
        self.tables.insert(table, key, version, value);
    }

    /// A commit on the way: after a crash these tables are at no position, and not used.
    fn commit_if_due(&mut self) -> Result<(), SeedError> {
        let (rows, bytes) = self.waiting;
        if rows < COMMIT_ROWS && bytes < COMMIT_BYTES {
            return Ok(());
        }
        self.waiting = (0, 0);
        self.tables.commit(LogPosition::default());
        (self.settle)(&mut self.tables)
    }
}

fn check(kv: &KeyValue, revision: Revision) -> Result<(), &'static str> {
    if kv.key.is_empty() {
        return Err("it has no key");
    }
    if kv.mod_revision != revision {
        return Err("it says that it is of another revision");
    }
    if kv.create_revision.0 < 1 || kv.create_revision > revision || kv.version < 1 {
        return Err("its key was never created");
    }
    Ok(())
}

impl SeedError {
    /// A failure of what the tables are written to.
    pub fn disk(error: impl core::fmt::Display) -> Self {
        SeedError::Disk(format!("{error}"))
    }
}

#[cfg(test)]
mod tests;
