//! Users and roles as rows, and changes of them as a step of the state machine.

use alloc::string::String;
use alloc::sync::Arc;
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::tables::{Row, TableId, Tables, TablesError, TablesReader};
use steadfast_types::wire::Wire;
use steadfast_types::wire_struct;

use super::change::Write;
use super::{Auth, AuthChange, AuthError, AuthEvent, FIRST_AUTH_REVISION, Token};
use crate::command::{CommandError, Outcome};
use crate::rows::{META, META_AUTH, NEWEST, ROLES, USERS, damaged, decode_meta};
use crate::transition::Transition;

/// What META says of users and roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) enabled: bool,
    pub(super) revision: u64,
}
wire_struct!(Summary { enabled, revision });

/// Everything about users and roles in some tables.
pub(crate) fn load<R: TablesReader>(tables: &R) -> Result<Auth, TablesError> {
    let summary = tables.get(META, &META_AUTH, NEWEST)?.map(decode_meta).transpose()?;
    let Summary { enabled, revision } = summary.unwrap_or(Summary { enabled: false, revision: FIRST_AUTH_REVISION });
    let mut users = alloc::vec::Vec::new();
    for row in tables.scan(USERS, (Bound::Unbounded, Bound::Unbounded), NEWEST) {
        users.push(decode("USERS", row?)?);
    }
    let mut roles = alloc::vec::Vec::new();
    for row in tables.scan(ROLES, (Bound::Unbounded, Bound::Unbounded), NEWEST) {
        roles.push(decode("ROLES", row?)?);
    }
    Ok(Auth::new(enabled, revision, users, roles))
}

fn decode<V: Wire>(table: &str, row: Row) -> Result<V, TablesError> {
    V::from_wire(row.value).map_err(|why| damaged(table, &row.key, &why))
}

fn key(name: String) -> Bytes {
    Bytes::from(name.into_bytes())
}

/// The rows that [`load`] finds all this in.
pub(crate) fn rows(auth: &Auth) -> impl Iterator<Item = (TableId, Bytes, Bytes)> {
    let users = auth.users.values().map(|known| (USERS, key(known.user.name.clone()), known.user.to_wire().into()));
    let roles = auth.roles.values().map(|role| (ROLES, key(role.name.clone()), role.to_wire().into()));
    let summary = Summary { enabled: auth.enabled, revision: auth.revision };
    users.chain(roles).chain([(META, META_AUTH, summary.to_wire().into())])
}

impl<T: Tables> Transition<'_, T> {
    /// A change of users or roles that somebody may make.
    pub(crate) fn change_auth(&mut self, change: &AuthChange) -> Result<Outcome, CommandError> {
        let mut auth = Auth::clone(self.auth);
        let done = auth.change(change)?;
        if !done.changed {
            return Ok(Outcome::Done);
        }
        for write in done.writes {
            let (table, name, row): (TableId, String, Option<Bytes>) = match write {
                Write::User(user) => (USERS, user.name.clone(), Some(user.to_wire().into())),
                Write::NoUser(name) => (USERS, name, None),
                Write::Role(role) => (ROLES, role.name.clone(), Some(role.to_wire().into())),
                Write::NoRole(name) => (ROLES, name, None),
            };
            self.insert_newest(table, key(name), row);
        }
        let summary = Summary { enabled: auth.enabled, revision: auth.revision };
        self.insert_newest(META, META_AUTH, Some(summary.to_wire().into()));
        self.auth_events.extend(done.event);
        *self.auth = Arc::new(auth);
        self.auth_events.push(AuthEvent::RightsChanged { revision: self.revision, auth: self.auth.clone() });
        Ok(Outcome::Done)
    }

    /// Makes a token known to every node, if the password that it was given for still is the user's.
    pub(crate) fn issue_token(&mut self, token: Token) -> Result<Outcome, CommandError> {
        let Token { user, digest, auth_revision } = token;
        if !self.auth.enabled {
            return Err(AuthError::NotEnabled.into());
        }
        if auth_revision != self.auth.revision {
            return Err(AuthError::OldRevision.into());
        }
        if self.auth.user(&user).is_none_or(|user| user.no_password) {
            return Err(AuthError::Failed.into());
        }
        self.auth_events.push(AuthEvent::TokenIssued { user, digest });
        Ok(Outcome::Done)
    }
}
