//! Reading the state from any thread, while entries are applied.
//!
//! 1. A reader sees whole entries: its newest revision is published after the last row of the entry.
//! 2. What a compaction may have taken away while a read was under way is never left out silently: after the read the compact revision is
//!    looked at again, and the read is refused if it has passed the revision read.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use spin::RwLock;
use steadfast_types::tables::{TablesError, TablesReader};
use steadfast_types::{LeaseId, Level, NodeId, Revision};
use xxhash_rust::xxh3::Xxh3;

use crate::alarm::{self, Alarms};
use crate::auth::Auth;
use crate::command::{CommandError, KeySpan, Member, Range, RangeResult, Txn, TxnResult};
use crate::kv::pieces::{RangePiece, RangePieces};
use crate::kv::view::View;
use crate::rows::{self, LEASES, META, META_LEVEL, NEWEST, decode_meta};
use crate::{lease, members};

mod history;
mod pinned;
#[cfg(test)]
mod tests;
pub use history::{History, HistoryError, HistoryRequest};
pub use pinned::{Change, Pinned, Write};

/// A read is begun anew when a compaction overtakes it, at most so many times: after that, compactions come faster than it can ever finish.
const READ_ATTEMPTS: usize = 16;

/// How many keys of a lease are read at once.
const LEASE_KEYS_CHUNK: usize = 1024;

/// What readers are told about the present.
#[derive(Debug)]
pub(crate) struct Visible {
    revision: AtomicI64,
    compact: AtomicI64,
    auth_enabled: AtomicBool,
    auth: RwLock<Arc<Auth>>,
}

impl Visible {
    pub(crate) fn new(revision: Revision, compact: Revision, auth: Arc<Auth>) -> Self {
        Visible {
            revision: AtomicI64::new(revision.0),
            compact: AtomicI64::new(compact.0),
            auth_enabled: AtomicBool::new(auth.is_enabled()),
            auth: RwLock::new(auth),
        }
    }

    /// From now on these users and roles count.
    pub(crate) fn set_auth(&self, auth: Arc<Auth>) {
        let enabled = auth.is_enabled();
        *self.auth.write() = auth;
        self.auth_enabled.store(enabled, Ordering::SeqCst);
    }

    /// Everything up to `revision` is in place.
    pub(crate) fn revision(&self, revision: Revision) {
        self.revision.store(revision.0, Ordering::SeqCst);
    }

    /// Rows below `revision` may go from now on.
    pub(crate) fn compact(&self, revision: Revision) {
        self.compact.store(revision.0, Ordering::SeqCst);
    }
}

/// Reads the state; cheap to clone, for any thread.
#[derive(Clone)]
pub struct StateReader<R> {
    tables: R,
    visible: Arc<Visible>,
}

/// The oldest revision that a read looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oldest {
    /// The current one.
    Current,
    /// The one that the request names.
    Named(Revision),
    /// It depends on what is read.
    Unknown,
}

impl Oldest {
    pub(crate) fn named(revision: Revision) -> Self {
        if revision.0 <= 0 { Oldest::Current } else { Oldest::Named(revision) }
    }
}

/// A range's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRead {
    /// The current revision when it was read, for the header.
    pub revision: Revision,
    /// The keys.
    pub result: RangeResult,
}

/// A read-only transaction's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRead {
    /// The current revision when it was read, for the header.
    pub revision: Revision,
    /// The responses.
    pub result: TxnResult,
}

/// The hash of all keys, for comparing replicas at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysHash {
    /// The current revision when it was read, for the header.
    pub revision: Revision,
    /// The revision hashed.
    pub hashed: Revision,
    /// The compact revision.
    pub compact_revision: Revision,
    /// Over every key with its value and history numbers.
    pub hash: u64,
}

impl<R: TablesReader> StateReader<R> {
    pub(crate) fn new(tables: R, visible: Arc<Visible>) -> Self {
        StateReader { tables, visible }
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        Revision(self.visible.revision.load(Ordering::SeqCst))
    }

    /// The compact revision: nothing below can be read. -1 before the first compaction.
    pub fn compact_revision(&self) -> Revision {
        Revision(self.visible.compact.load(Ordering::SeqCst))
    }

    /// Whether requests are checked; one atomic load. A read that began before it was enabled, and sees nothing later, may say no still.
    pub fn is_auth_enabled(&self) -> bool {
        self.visible.auth_enabled.load(Ordering::SeqCst)
    }

    /// Users and roles. Published before the entry that changed them is visible: if it is the same one after a read as before it, the read
    /// saw nothing that these rights do not hold for.
    pub fn auth(&self) -> Arc<Auth> {
        self.visible.auth.read().clone()
    }

    /// Answers a range.
    ///
    /// # Errors
    /// The revision is compacted, also while it is being read, or yet to come; or the tables are damaged.
    pub fn range(&self, range: &Range) -> Result<RangeRead, CommandError> {
        self.read(Oldest::named(range.revision), |view| Ok(RangeRead { revision: view.revision, result: view.range(range)? }))
    }

    /// The next piece of a range.
    ///
    /// # Errors
    /// As [`StateReader::range`].
    pub fn range_piece(&self, pieces: &RangePieces) -> Result<RangePiece, CommandError> {
        self.read(Oldest::named(pieces.revision()), |view| view.next_piece(pieces))
    }

    /// Answers a transaction that only reads (see [`Txn::is_read_only`]), all of it as of one state.
    ///
    /// # Errors
    /// As [`StateReader::range`].
    ///
    /// # Panics
    /// If the transaction writes.
    pub fn read_txn(&self, txn: &Txn) -> Result<TxnRead, CommandError> {
        self.read(Oldest::Unknown, |view| Ok(TxnRead { revision: view.revision, result: view.read_txn(txn)? }))
    }

    /// Hashes every key as of `revision` (0 or less: the newest).
    ///
    /// # Errors
    /// As [`StateReader::range`].
    pub fn hash_keys(&self, revision: Revision) -> Result<KeysHash, CommandError> {
        let range = Range { revision, ..Range::default() };
        let all = KeySpan { key: Bytes::from_static(&[0]), range_end: Bytes::from_static(&[0]) };
        self.read(Oldest::named(revision), |view| {
            let hashed = view.revision_of(&range)?;
            let mut hash = Xxh3::new();
            for row in view.rows(&all, hashed) {
                let row = row?;
                hash.update(&(row.key.len() as u64).to_le_bytes());
                hash.update(&row.key);
                hash.update(&row.version.to_le_bytes());
                hash.update(&(row.value.len() as u64).to_le_bytes());
                hash.update(&row.value);
            }
            Ok(KeysHash { revision: view.revision, hashed, compact_revision: view.compact, hash: hash.digest() })
        })
    }

    /// Reads, and makes sure that no compaction has passed the oldest revision read meanwhile. If one has, reads anew: from a newer state, or
    /// to find that what the request names is compacted.
    pub(crate) fn read<V>(&self, oldest: Oldest, read: impl Fn(&View<'_, R>) -> Result<V, CommandError>) -> Result<V, CommandError> {
        for _ in 0..READ_ATTEMPTS {
            let compact = self.compact_revision();
            // The compact revision may be published before the revision of its entry; all rows up to it are in place.
            let revision = self.revision().max(compact);
            let answer = read(&View { tables: &self.tables, revision, compact });
            let still_there = match oldest {
                Oldest::Current => self.compact_revision() <= revision,
                Oldest::Named(oldest) => self.compact_revision() <= oldest,
                Oldest::Unknown => self.compact_revision() == compact,
            };
            // A refusal stands: what is compacted or damaged stays so.
            if still_there || answer.is_err() {
                return answer;
            }
        }
        Err(CommandError::Compacted)
    }

    /// The seconds a lease was granted for; `None` if there is no such lease.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn lease(&self, id: LeaseId) -> Result<Option<i64>, TablesError> {
        self.tables.get(LEASES, &rows::lease_key(id), NEWEST)?.map(rows::decode_lease).transpose()
    }

    /// The keys of a lease, in order.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, TablesError> {
        let mut keys: Vec<Bytes> = Vec::new();
        loop {
            let piece = lease::attached(&self.tables, id, keys.last().map(|key| key.as_ref()), LEASE_KEYS_CHUNK)?;
            let last = piece.len() < LEASE_KEYS_CHUNK;
            keys.extend(piece);
            if last {
                return Ok(keys);
            }
        }
    }

    /// All leases with the seconds they were granted for.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn leases(&self) -> Result<Vec<(LeaseId, i64)>, TablesError> {
        lease::all(&self.tables)
    }

    /// All alarms.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn alarms(&self) -> Result<Alarms, TablesError> {
        alarm::load(&self.tables)
    }

    /// All members, by id.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn members(&self) -> Result<Vec<Member>, TablesError> {
        members::all(&self.tables)
    }

    /// What all members know.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn level(&self) -> Result<Level, TablesError> {
        let row = self.tables.get(META, &META_LEVEL, NEWEST)?;
        row.map_or(Ok(Level::FIRST), decode_meta)
    }

    /// The members that were removed, oldest first; the last [`steadfast_types::limits::REMOVED_MEMBERS`] of them.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn removed_members(&self) -> Result<Vec<NodeId>, TablesError> {
        members::removed(&self.tables)
    }
}
