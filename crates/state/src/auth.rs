//! Users, roles and permissions: who may read and write which keys, once authentication is enabled.
//!
//! The rules are etcd 3.5.1's, and where etcd 3.5 closed a hole since, the later rule: inner transactions are checked as outer ones, and puts
//! in a transaction as puts outside.
//!
//! # How it works
//!
//! 1. [`Auth`] is everything there is about users and roles, in memory and in rows. An [`AuthChange`] is applied like any command: it is in the
//!    log, in the running hash and in snapshots.
//! 2. The *auth revision* grows with every change of users, roles and permissions. A [`Caller`] carries the one that its name was established
//!    at. A command of a caller from before the newest change is refused when it is applied ([`AuthError::OldRevision`]), so that a
//!    permission taken away before it in the log holds; whoever proposed it looks again, and asks again.
//! 3. A command is checked when it is applied, a read when it is read: [`Auth`] is published to readers before the entry that changed it is
//!    visible, and whoever finds another one after a read than before it reads again.
//!
//! Left out: passwords and tokens themselves. Here are only a password's hash, which is opaque, and the digest of a token that was given out.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{Revision, wire_enum, wire_struct};

use crate::command::{Command, KeySpan};

mod book;
mod change;
mod intervals;
#[cfg(test)]
mod model;
mod permit;
mod rows;
#[cfg(test)]
mod tests;

pub use book::Auth;
pub use intervals::Intervals;
pub(crate) use rows::{load, rows};

/// The user who manages users, and the role that may do everything.
pub const ROOT: &str = "root";

/// The auth revision of a cluster that never had a user.
pub(crate) const FIRST_AUTH_REVISION: u64 = 1;

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password's hash; empty: no password fits.
    pub password: Bytes,
    /// Whether the user was added without a password: it is known by a certificate only, and never gets one.
    pub no_password: bool,
    /// The roles, in order.
    pub roles: Vec<String>,
}
wire_struct!(User { name, password, no_password, roles });

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The name.
    pub name: String,
    /// What it permits: by key, and of one key in the order of the grants.
    pub permissions: Vec<Permission>,
}
wire_struct!(Role { name, permissions });

/// What may be done with which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What.
    pub access: Access,
    /// With which. A span that holds no key, or that begins with the empty key, permits nothing.
    pub keys: KeySpan,
}
wire_struct!(Permission { access, keys });

/// What a permission permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To write.
    Write,
    /// Both.
    ReadWrite,
}
wire_enum!(Access { 0 => Read {}, 1 => Write {}, 2 => ReadWrite {} });

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The name.
    pub user: String,
    /// The auth revision at which it was found out that it is this user.
    pub auth_revision: u64,
}
wire_struct!(Caller { user, auth_revision });

/// A command, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized {
    /// Who.
    pub caller: Caller,
    /// What.
    pub command: Command,
}

impl Authorized {
    /// A command of this caller.
    pub fn command(caller: Caller, command: Command) -> Command {
        Command::Authorized(Box::new(Authorized { caller, command }))
    }
}

impl Wire for Authorized {
    fn encode(&self, out: &mut Vec<u8>) {
        self.caller.encode(out);
        self.command.encode(out);
    }

    /// One inside another would nest without bound.
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let caller = Caller::decode(reader)?;
        if reader.peek() == Some(Command::AUTHORIZED) {
            return Err(WireError::Invalid("command: of two callers"));
        }
        Ok(Authorized { caller, command: Command::decode(reader)? })
    }
}

/// A change of users, roles or permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthChange {
    /// From now on every request is checked.
    Enable,
    /// From now on none is.
    Disable,
    /// A new user.
    UserAdd {
        /// The name; not empty.
        name: String,
        /// The password's hash; `None`: a user without password.
        password: Option<Bytes>,
    },
    /// A user goes.
    UserDelete {
        /// Which.
        name: String,
    },
    /// Another password.
    UserChangePassword {
        /// Whose.
        name: String,
        /// Its hash; not kept if the user has none.
        password: Bytes,
    },
    /// A user gets a role.
    UserGrantRole {
        /// The user.
        name: String,
        /// The role.
        role: String,
    },
    /// A user loses a role.
    UserRevokeRole {
        /// The user.
        name: String,
        /// The role.
        role: String,
    },
    /// A new role.
    RoleAdd {
        /// The name; not empty.
        name: String,
    },
    /// A role goes, from its users too.
    RoleDelete {
        /// Which.
        name: String,
    },
    /// A role gets a permission, or the one that it has on the same span becomes this one.
    RoleGrantPermission {
        /// The role.
        name: String,
        /// Without one it is refused.
        permission: Option<Permission>,
    },
    /// A role loses its permission on a span.
    RoleRevokePermission {
        /// The role.
        name: String,
        /// The span, exactly.
        keys: KeySpan,
    },
}
wire_enum!(AuthChange {
    0 => Enable {},
    1 => Disable {},
    2 => UserAdd { name, password },
    3 => UserDelete { name },
    4 => UserChangePassword { name, password },
    5 => UserGrantRole { name, role },
    6 => UserRevokeRole { name, role },
    7 => RoleAdd { name },
    8 => RoleDelete { name },
    9 => RoleGrantPermission { name, permission },
    10 => RoleRevokePermission { name, keys },
});

/// A token that was given out, for every node to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose.
    pub user: String,
    /// Of the token, which is nowhere written down itself.
    pub digest: Bytes,
    /// The auth revision at which the password was compared.
    pub auth_revision: u64,
}
wire_struct!(Token { user, digest, auth_revision });

/// What an entry did that the shell must know to keep its tokens and watchers right, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthEvent {
    /// Whoever has the token of this digest is this user.
    TokenIssued {
        /// The user.
        user: String,
        /// The digest.
        digest: Bytes,
    },
    /// The tokens of a user end: the user is gone, or has another password.
    TokensEnded {
        /// Whose.
        user: String,
    },
    /// All tokens end: authentication is disabled.
    AllTokensEnded,
    /// Somebody may do more or less than before.
    RightsChanged {
        /// The store's revision then: whatever has a later one was done with the new rights.
        revision: Revision,
        /// The new rights.
        auth: Arc<Auth>,
    },
    /// The state was replaced by another: no token is known, and anybody may do more or less than before.
    Replaced,
}

impl AuthEvent {
    /// Whether somebody may do more or less than before.
    pub fn changes_rights(&self) -> bool {
        matches!(self, AuthEvent::RightsChanged { .. } | AuthEvent::Replaced)
    }
}

/// Why a request is refused, in etcd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nobody could manage users afterwards.
    #[error("root user does not exist")]
    RootUserMissing,
    /// The same.
    #[error("root user does not have root role")]
    RootRoleMissing,
    /// There is such a user already.
    #[error("user name already exists")]
    UserExists,
    /// A name is missing, or a request says not who asks.
    #[error("user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("user name not found")]
    UserNotFound,
    /// There is such a role already.
    #[error("role name already exists")]
    RoleExists,
    /// There is no such role.
    #[error("role name not found")]
    RoleNotFound,
    /// A name is missing.
    #[error("role name is empty")]
    RoleEmpty,
    /// There is no such user, or it has another password.
    #[error("authentication failed, invalid user ID or password")]
    Failed,
    /// The user was added without a password. (etcd has no code for it.)
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// A grant of nothing.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The user may not.
    #[error("permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role has no permission on exactly this span.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// There is nothing to authenticate for.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// Users or roles have changed since it was found out who asks.
    #[error("revision of auth store is old")]
    OldRevision,
    /// Nobody could manage users afterwards.
    #[error("invalid auth management")]
    InvalidManagement,
}
