//! Leases: a grant and a revoke are commands; the time in between is the leader's ([`Expiry`]).

use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::LeaseId;
use steadfast_types::limits::{LEASE_MAX_TTL_S, LEASE_MIN_TTL_S};
use steadfast_types::tables::{Tables, TablesError, TablesReader};

use crate::command::{CommandError, Outcome};
use crate::rows::{self, LEASE_KEYS, LEASES, NEWEST};
use crate::state::LeaseChange;
use crate::transition::Transition;

mod expiry;
pub use expiry::{Expiry, RETRY_AFTER};

/// The keys of a lease are deleted in pieces of so many.
const REVOKE_CHUNK_KEYS: usize = 1024;

/// Up to `most` keys of a lease that are above `after`, ascending.
pub(crate) fn attached<R: TablesReader>(tables: &R, lease: LeaseId, after: Option<&[u8]>, most: usize) -> Result<Vec<Bytes>, TablesError> {
    let rows = tables.scan(LEASE_KEYS, rows::attached_range(lease, after), NEWEST);
    rows.take(most).map(|row| rows::decode_attached_key(&row?)).collect()
}

/// All leases by id, with their seconds.
pub(crate) fn all<R: TablesReader>(tables: &R) -> Result<Vec<(LeaseId, i64)>, TablesError> {
    let rows = tables.scan(LEASES, (Bound::Unbounded, Bound::Unbounded), NEWEST);
    let lease = |row: Result<_, _>| {
        let row: steadfast_types::tables::Row = row?;
        Ok((rows::decode_lease_key(&row.key)?, rows::decode_lease(row)?))
    };
    rows.map(lease).collect()
}

impl<T: Tables> Transition<'_, T> {
    pub(crate) fn lease_grant(&mut self, id: LeaseId, ttl_s: i64) -> Result<Outcome, CommandError> {
        if id.0 == 0 {
            return Err(CommandError::LeaseNotFound);
        }
        if self.lease_exists(id)? {
            return Err(CommandError::LeaseExists);
        }
        let ttl_s = ttl_s.clamp(LEASE_MIN_TTL_S, LEASE_MAX_TTL_S);
        self.insert_newest(LEASES, rows::lease_key(id), Some(rows::encode_lease(ttl_s)));
        self.leases.push(LeaseChange::Granted { id, ttl_s });
        Ok(Outcome::LeaseGranted { id, ttl_s })
    }

    /// Ends a lease; its keys go in one revision, in their order.
    pub(crate) fn lease_revoke(&mut self, id: LeaseId) -> Result<Outcome, CommandError> {
        if !self.lease_exists(id)? {
            return Err(CommandError::LeaseNotFound);
        }
        let mut after: Option<Bytes> = None;
        loop {
            let keys = attached(self.reader, id, after.as_deref(), REVOKE_CHUNK_KEYS)?;
            for key in &keys {
                let kv = self.view().get(key)?.ok_or_else(|| TablesError(format!("lease {id} has a key that is not there")))?;
                self.delete_key(&kv)?;
            }
            let Some(last) = keys.last().filter(|_| keys.len() == REVOKE_CHUNK_KEYS) else {
                break;
            };
            after = Some(last.clone());
        }
        self.insert_newest(LEASES, rows::lease_key(id), None);
        self.leases.push(LeaseChange::Revoked { id });
        Ok(Outcome::Done)
    }
}
