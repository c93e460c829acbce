//! Users and roles done simply, to compare with: sets of names, and permissions asked key by key.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use bytes::Bytes;

use super::{Access, AuthChange, AuthError, Caller, Permission, ROOT};
use crate::command::KeySpan;

#[derive(Clone, Debug, Default)]
pub(super) struct ModelUser {
    /// `None`: none, for ever.
    pub(super) password: Option<Bytes>,
    pub(super) roles: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) enabled: bool,
    pub(super) revision: u64,
    pub(super) users: BTreeMap<String, ModelUser>,
    /// By role, then by span.
    pub(super) roles: BTreeMap<String, BTreeMap<(Bytes, Bytes), Access>>,
}

impl Model {
    pub(super) fn new() -> Self {
        Model { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }

    pub(super) fn change(&mut self, change: &AuthChange) -> Result<(), AuthError> {
        let raised = match change {
            AuthChange::Enable => {
                let root = self.users.get(ROOT).ok_or(AuthError::RootUserMissing);
                if !self.enabled && !root?.roles.contains(ROOT) {
                    return Err(AuthError::RootRoleMissing);
                }
                self.enabled = true;
                false
            }
            AuthChange::Disable => core::mem::take(&mut self.enabled),
            AuthChange::UserAdd { name, .. } if name.is_empty() => return Err(AuthError::UserEmpty),
            AuthChange::UserAdd { name, .. } if self.users.contains_key(name) => return Err(AuthError::UserExists),
            AuthChange::UserAdd { name, password } => {
                self.users.insert(name.clone(), ModelUser { password: password.clone(), roles: BTreeSet::new() });
                true
            }
            AuthChange::UserDelete { name } if self.enabled && name == ROOT => return Err(AuthError::InvalidManagement),
            AuthChange::UserDelete { name } => self.users.remove(name).map(|_| true).ok_or(AuthError::UserNotFound)?,
            AuthChange::UserChangePassword { name, password } => {
                let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
                user.password = user.password.as_ref().map(|_| password.clone());
                true
            }
            AuthChange::UserGrantRole { name, role } => {
                let there = role == ROOT || self.roles.contains_key(role);
                let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
                if !there {
                    return Err(AuthError::RoleNotFound);
                }
                user.roles.insert(role.clone())
            }
            AuthChange::UserRevokeRole { name, role } if self.enabled && name == ROOT && role == ROOT => {
                return Err(AuthError::InvalidManagement);
            }
            AuthChange::UserRevokeRole { name, role } => {
                let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
                user.roles.remove(role).then_some(true).ok_or(AuthError::RoleNotGranted)?
            }
            AuthChange::RoleAdd { name } if name.is_empty() => return Err(AuthError::RoleEmpty),
            AuthChange::RoleAdd { name } if self.roles.contains_key(name) => return Err(AuthError::RoleExists),
            AuthChange::RoleAdd { name } => {
                self.roles.insert(name.clone(), BTreeMap::new());
                true
            }
            AuthChange::RoleDelete { name } if self.enabled && name == ROOT => return Err(AuthError::InvalidManagement),
            AuthChange::RoleDelete { name } => {
                self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
                self.users.values_mut().for_each(|user| {
                    user.roles.remove(name);
                });
                true
            }
            AuthChange::RoleGrantPermission { permission: None, .. } => return Err(AuthError::PermissionNotGiven),
            AuthChange::RoleGrantPermission { name, permission: Some(Permission { access, keys }) } => {
                let role = self.roles.get_mut(name).ok_or(AuthError::RoleNotFound)?;
                role.insert((keys.key.clone(), keys.range_end.clone()), *access);
                true
            }
            AuthChange::RoleRevokePermission { name, keys } => {
                let role = self.roles.get_mut(name).ok_or(AuthError::RoleNotFound)?;
                let key = (keys.key.clone(), keys.range_end.clone());
                role.remove(&key).map(|_| true).ok_or(AuthError::PermissionNotGranted)?
            }
        };
        self.revision += u64::from(raised);
        Ok(())
    }

    /// Whether the caller may read, or write, this one key.
    pub(super) fn may(&self, caller: Option<&Caller>, write: bool, key: &'static str) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        let caller = caller.ok_or(AuthError::UserEmpty)?;
        if caller.auth_revision < self.revision {
            return Err(AuthError::OldRevision);
        }
        let user = self.users.get(&caller.user).ok_or(AuthError::PermissionDenied)?;
        let fits = |access: Access| access == Access::ReadWrite || (access == Access::Write) == write;
        let grants = |role: &String| {
            self.roles.get(role).is_some_and(|spans| {
                spans.iter().any(|((start, end), access)| {
                    let span = KeySpan { key: start.clone(), range_end: end.clone() };
                    !start.is_empty() && fits(*access) && span.contains(key.as_bytes())
                })
            })
        };
        let may = user.roles.contains(ROOT) || user.roles.iter().any(grants);
        may.then_some(()).ok_or(AuthError::PermissionDenied)
    }
}
