//! The writing commands on keys: put, delete, compact.

use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::tables::{KeyRange, Tables, TablesError, TablesReader};
use steadfast_types::{LeaseId, Revision};

use super::view::View;
use crate::command::{CommandError, DeleteRange, KeySpan, KeyValue, Outcome, Put};
use crate::rows::{HISTORY, HistoryKey, KEYS, META, META_SUMMARY, decode_key_row, version_of};
use crate::transition::{Previous, Transition};

/// Keys are deleted in pieces of so many, so that a delete of everything does not hold everything in memory.
const DELETE_CHUNK_KEYS: usize = 1024;

/// Whether a put asks for the value of the key before.
fn needs_all(put: &Put) -> bool {
    put.prev_kv || put.ignore_value
}

impl<T: Tables> Transition<'_, T> {
    /// A put that is a command of its own.
    pub(crate) fn put(&mut self, put: Put) -> Result<Outcome, CommandError> {
        if put.lease.0 != 0 && !self.lease_exists(put.lease)? {
            return Err(CommandError::LeaseNotFound);
        }
        let previous = self.previous(&put.key, needs_all(&put))?;
        if (put.ignore_value || put.ignore_lease) && previous.is_none() {
            return Err(CommandError::KeyNotFound);
        }
        Ok(self.put_over(put, previous)?)
    }

    /// A put inside a transaction that was checked. What it was checked against may have been deleted by the same transaction since: then
    /// there is nothing to keep, and value and lease are none.
    pub(crate) fn put_checked(&mut self, put: &Put) -> Result<Outcome, CommandError> {
        let previous = self.previous(&put.key, needs_all(put))?;
        Ok(self.put_over(put.clone(), previous)?)
    }

    fn put_over(&mut self, put: Put, previous: Option<Previous>) -> Result<Outcome, TablesError> {
        let Put { key, value, lease, prev_kv, ignore_value, ignore_lease } = put;
        let kept = |previous: &Previous| previous.kv.as_ref().map_or(Bytes::new(), |kv| kv.value.clone());
        let value = if ignore_value { previous.as_ref().map_or(Bytes::new(), kept) } else { value };
        let lease = if ignore_lease { previous.as_ref().map_or(LeaseId(0), |previous| previous.head.lease) } else { lease };
        self.put_key(key, value, lease, previous.as_ref())?;
        Ok(Outcome::Put { prev_kv: previous.and_then(|previous| previous.kv).filter(|_| prev_kv) })
    }

    /// A delete, alone or inside a transaction.
    pub(crate) fn delete_range(&mut self, delete: &DeleteRange, wanted: bool) -> Result<Outcome, CommandError> {
        let mut deleted = 0i64;
        let mut prev_kvs = Vec::new();
        let mut rest = delete.keys.bounds();
        // Each piece is read as of the state before it, so that the tombstones of earlier pieces do not come up again.
        while let Some(bounds) = rest {
            let piece = self.piece(&delete.keys, bounds.clone())?;
            rest = piece.last().filter(|_| piece.len() == DELETE_CHUNK_KEYS).map(|last| (Bound::Excluded(last.key.clone()), bounds.1));
            for kv in piece {
                self.delete_key(&kv)?;
                deleted += 1;
                if delete.prev_kv && wanted {
                    prev_kvs.push(kv);
                }
            }
        }
        Ok(Outcome::Deleted { deleted, prev_kvs })
    }

    /// The next keys to delete.
    fn piece(&self, keys: &KeySpan, bounds: KeyRange) -> Result<Vec<KeyValue>, TablesError> {
        let view: View<'_, T::Reader> = self.view();
        if keys.is_single() {
            return Ok(view.get(&keys.key)?.into_iter().collect());
        }
        let rows = self.reader.scan(KEYS, bounds, version_of(view.revision));
        rows.take(DELETE_CHUNK_KEYS).map(|row| Ok(decode_key_row(row?)?.0)).collect()
    }

    /// Forgets what was before `revision`. Reads at `revision` itself stay possible.
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<Outcome, CommandError> {
        if revision <= self.compact {
            return Err(CommandError::Compacted);
        }
        if revision > self.revision {
            return Err(CommandError::FutureRevision);
        }
        self.compact = revision;
        self.chain.row(META, &META_SUMMARY, version_of(revision), None);
        // From here on the tables may drop rows, so readers must know first.
        self.visible.compact(revision);
        self.tables.set_horizon(KEYS, version_of(revision));
        self.tables.trim(HISTORY, HistoryKey::trim(revision));
        Ok(Outcome::Done)
    }
}
