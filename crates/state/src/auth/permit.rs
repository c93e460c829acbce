//! Who may do what. Nothing is refused while authentication is not enabled.

use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::LeaseId;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::{Tables, TablesError};

use super::book::Rights;
use super::{Auth, AuthError, Caller};
use crate::command::{Command, CommandError, DeleteRange, KeySpan, Operation, Put, Txn};
use crate::lease;
use crate::transition::Transition;

/// The keys of a lease are looked at in pieces of so many.
const LEASE_CHUNK_KEYS: usize = 1024;

impl Auth {
    /// What the caller may do with keys.
    fn rights(&self, caller: Option<&Caller>) -> Result<&Rights, AuthError> {
        let caller = caller.filter(|caller| caller.auth_revision > 0).ok_or(AuthError::UserEmpty)?;
        if caller.auth_revision < self.revision && !is_planted(Bug::OldTokensGood) {
            return Err(AuthError::OldRevision);
        }
        let known = self.users.get(&caller.user).ok_or(AuthError::PermissionDenied)?;
        Ok(&known.rights)
    }

    fn permit(&self, caller: Option<&Caller>, may: impl FnOnce(&Rights) -> bool) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        let rights = self.rights(caller)?;
        if rights.root || may(rights) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Whether these keys may be read.
    ///
    /// # Errors
    /// They may not, or it is not known who asks, or not any more.
    pub fn permit_read(&self, caller: Option<&Caller>, keys: &KeySpan) -> Result<(), AuthError> {
        self.permit(caller, |rights| rights.read.cover(keys))
    }

    /// Whether these keys may be written.
    ///
    /// # Errors
    /// As [`Auth::permit_read`].
    pub fn permit_write(&self, caller: Option<&Caller>, keys: &KeySpan) -> Result<(), AuthError> {
        self.permit(caller, |rights| rights.write.cover(keys))
    }

    /// Whether users, members and the nodes themselves may be managed. Of an older auth revision too, as in etcd.
    ///
    /// # Errors
    /// They may not, or it is not known who asks.
    pub fn permit_admin(&self, caller: Option<&Caller>) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        let caller = caller.filter(|caller| !caller.user.is_empty()).ok_or(AuthError::UserEmpty)?;
        let known = self.users.get(&caller.user).ok_or(AuthError::UserNotFound)?;
        if known.rights.root { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Whether something may be done that anybody may who is known.
    ///
    /// # Errors
    /// It is not known who asks.
    pub fn permit_known(&self, caller: Option<&Caller>) -> Result<(), AuthError> {
        if self.enabled && caller.is_none() { Err(AuthError::UserEmpty) } else { Ok(()) }
    }

    /// Whether a transaction that writes nothing may be read.
    ///
    /// # Errors
    /// As [`Auth::permit_read`].
    pub fn permit_read_txn(&self, caller: Option<&Caller>, txn: &Txn) -> Result<(), AuthError> {
        self.permit_txn(caller, txn, &mut |_| Ok(()))
    }

    /// Everything that the transaction could do, in whichever branch. `on_put` checks what only the tables can tell.
    fn permit_txn<E: From<AuthError>>(
        &self,
        caller: Option<&Caller>,
        txn: &Txn,
        on_put: &mut dyn FnMut(&Put) -> Result<(), E>,
    ) -> Result<(), E> {
        for compare in &txn.compare {
            self.permit_read(caller, &compare.keys)?;
        }
        for operation in txn.success.iter().chain(&txn.failure) {
            match operation {
                Operation::Range(range) => self.permit_read(caller, &range.keys)?,
                Operation::Put(put) => {
                    self.permit_put(caller, put)?;
                    on_put(put)?;
                }
                Operation::DeleteRange(delete) => self.permit_delete(caller, delete)?,
                Operation::Txn(inner) => self.permit_txn(caller, inner, on_put)?,
            }
        }
        Ok(())
    }

    fn permit_put(&self, caller: Option<&Caller>, put: &Put) -> Result<(), AuthError> {
        let key = KeySpan::single(put.key.clone());
        self.permit_write(caller, &key)?;
        if put.prev_kv { self.permit_read(caller, &key) } else { Ok(()) }
    }

    fn permit_delete(&self, caller: Option<&Caller>, delete: &DeleteRange) -> Result<(), AuthError> {
        self.permit_write(caller, &delete.keys)?;
        if delete.prev_kv { self.permit_read(caller, &delete.keys) } else { Ok(()) }
    }
}

impl<T: Tables> Transition<'_, T> {
    /// Whether a client's command may be applied.
    pub(crate) fn permit(&self, caller: Option<&Caller>, command: &Command) -> Result<(), CommandError> {
        if !self.auth.enabled {
            return Ok(());
        }
        match command {
            Command::Put(_) if caller.is_some() && is_planted(Bug::RightsCheckedOnArrival) => Ok(()),
            Command::Put(put) => {
                self.auth.permit_put(caller, put)?;
                self.permit_lease(caller, put.lease)
            }
            Command::DeleteRange(delete) => Ok(self.auth.permit_delete(caller, delete)?),
            Command::Txn(txn) => self.auth.permit_txn(caller, txn, &mut |put| self.permit_lease(caller, put.lease)),
            Command::LeaseRevoke { id } => self.permit_lease(caller, *id),
            Command::Auth(_) | Command::Alarm(_) => Ok(self.auth.permit_admin(caller)?),
            // As in etcd, whoever reaches the cluster may compact and be granted leases. Membership is checked where it is asked for, and
            // what nodes propose themselves has no caller.
            Command::Compact { .. }
            | Command::LeaseGrant { .. }
            | Command::IssueToken(_)
            | Command::Noop
            | Command::MemberAdd(_)
            | Command::MemberRemove { .. }
            | Command::MemberPromote { .. }
            | Command::MemberUpdate { .. }
            | Command::MemberPublish { .. }
            | Command::MemberClaim { .. }
            | Command::CompareHash { .. }
            | Command::RaiseLevel(_)
            | Command::Authorized(_) => Ok(()),
        }
    }

    /// Whoever ends a lease deletes its keys; whoever attaches a key to it makes others lose theirs. So all its keys must be the caller's to
    /// write. Of a lease that is not there, somebody else will say so.
    fn permit_lease(&self, caller: Option<&Caller>, id: LeaseId) -> Result<(), CommandError> {
        if id.0 == 0 || self.auth.permit_admin(caller).is_ok() {
            return Ok(());
        }
        let mut after: Option<Bytes> = None;
        loop {
            let keys = self.lease_piece(id, after.as_deref())?;
            keys.iter().try_for_each(|key| self.auth.permit_write(caller, &KeySpan::single(key.clone())))?;
            match keys.last() {
                Some(last) if keys.len() == LEASE_CHUNK_KEYS => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn lease_piece(&self, id: LeaseId, after: Option<&[u8]>) -> Result<Vec<Bytes>, TablesError> {
        lease::attached(self.reader, id, after, LEASE_CHUNK_KEYS)
    }
}
