//! What each change does to users and roles, and when it is refused.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{Auth, AuthChange, AuthError, AuthEvent, Permission, ROOT, Role, User};
use crate::command::KeySpan;

/// A row that a change writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    User(Arc<User>),
    NoUser(String),
    Role(Arc<Role>),
    NoRole(String),
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Whether anything is different at all.
    pub(super) changed: bool,
    pub(super) writes: Vec<Write>,
    /// Tokens that end.
    pub(super) event: Option<AuthEvent>,
}

impl Done {
    fn wrote(write: Write) -> Self {
        Done { changed: true, writes: Vec::from([write]), event: None }
    }

    fn ending(self, event: AuthEvent) -> Self {
        Done { event: Some(event), ..self }
    }
}

impl Auth {
    /// Carries out a change. If it is refused, nothing has changed.
    pub(super) fn change(&mut self, change: &AuthChange) -> Result<Done, AuthError> {
        let done = match change {
            AuthChange::Enable => return self.enable(),
            AuthChange::Disable => self.disable(),
            AuthChange::UserAdd { name, password } => self.user_add(name, password.as_ref())?,
            AuthChange::UserDelete { name } => self.user_delete(name)?,
            AuthChange::UserChangePassword { name, password } => self.user_change_password(name, password)?,
            AuthChange::UserGrantRole { name, role } => self.user_grant_role(name, role)?,
            AuthChange::UserRevokeRole { name, role } => self.user_revoke_role(name, role)?,
            AuthChange::RoleAdd { name } => self.role_add(name)?,
            AuthChange::RoleDelete { name } => self.role_delete(name)?,
            AuthChange::RoleGrantPermission { name, permission } => self.role_grant(name, permission.as_ref())?,
            AuthChange::RoleRevokePermission { name, keys } => self.role_revoke(name, keys)?,
        };
        self.revision += u64::from(done.changed);
        Ok(done)
    }

    /// Enabling raises no revision, as in etcd: it changes nobody's rights but nobody's own.
    fn enable(&mut self) -> Result<Done, AuthError> {
        if self.enabled {
            return Ok(Done::default());
        }
        let root = self.user(ROOT).ok_or(AuthError::RootUserMissing)?;
        if !root.roles.iter().any(|role| role == ROOT) {
            return Err(AuthError::RootRoleMissing);
        }
        self.enabled = true;
        Ok(Done { changed: true, ..Done::default() })
    }

    fn disable(&mut self) -> Done {
        let changed = core::mem::replace(&mut self.enabled, false);
        Done { changed, event: changed.then_some(AuthEvent::AllTokensEnded), ..Done::default() }
    }

    fn existing(&self, name: &str) -> Result<User, AuthError> {
        self.user(name).cloned().ok_or(AuthError::UserNotFound)
    }

    fn existing_role(&self, name: &str) -> Result<Role, AuthError> {
        self.role(name).cloned().ok_or(AuthError::RoleNotFound)
    }

    /// While requests are checked, somebody must be able to manage users.
    fn spare_root(&self, is_root: bool) -> Result<(), AuthError> {
        if self.enabled && is_root { Err(AuthError::InvalidManagement) } else { Ok(()) }
    }

    fn user_add(&mut self, name: &str, password: Option<&Bytes>) -> Result<Done, AuthError> {
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(AuthError::UserExists);
        }
        let (password, no_password) = (password.cloned().unwrap_or_default(), password.is_none());
        Ok(self.write_user(User { name: name.into(), password, no_password, roles: Vec::new() }))
    }

    fn write_user(&mut self, user: User) -> Done {
        Done::wrote(Write::User(self.set_user(user)))
    }

    fn user_delete(&mut self, name: &str) -> Result<Done, AuthError> {
        self.spare_root(name == ROOT)?;
        self.users.remove(name).ok_or(AuthError::UserNotFound)?;
        Ok(Done::wrote(Write::NoUser(name.into())).ending(AuthEvent::TokensEnded { user: name.into() }))
    }

    fn user_change_password(&mut self, name: &str, password: &Bytes) -> Result<Done, AuthError> {
        let mut user = self.existing(name)?;
        user.password = if user.no_password { Bytes::new() } else { password.clone() };
        Ok(self.write_user(user).ending(AuthEvent::TokensEnded { user: name.into() }))
    }

    /// The role `root` may be granted though it was never added.
    fn user_grant_role(&mut self, name: &str, role: &str) -> Result<Done, AuthError> {
        let mut user = self.existing(name)?;
        if role != ROOT {
            self.existing_role(role)?;
        }
        match user.roles.binary_search_by(|has| has.as_str().cmp(role)) {
            Ok(_) => Ok(Done::default()),
            Err(place) => {
                user.roles.insert(place, role.into());
                Ok(self.write_user(user))
            }
        }
    }

    fn user_revoke_role(&mut self, name: &str, role: &str) -> Result<Done, AuthError> {
        self.spare_root(name == ROOT && role == ROOT)?;
        let mut user = self.existing(name)?;
        let place = user.roles.iter().position(|has| has == role).ok_or(AuthError::RoleNotGranted)?;
        user.roles.remove(place);
        Ok(self.write_user(user))
    }

    fn write_role(&mut self, role: Role) -> Done {
        let role = Arc::new(role);
        self.set_role(&role.name, Some(role.clone()));
        Done::wrote(Write::Role(role))
    }

    fn role_add(&mut self, name: &str) -> Result<Done, AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthError::RoleExists);
        }
        Ok(self.write_role(Role { name: name.into(), permissions: Vec::new() }))
    }

    fn role_delete(&mut self, name: &str) -> Result<Done, AuthError> {
        self.spare_root(name == ROOT)?;
        self.existing_role(name)?;
        self.set_role(name, None);
        let mut done = Done::wrote(Write::NoRole(name.into()));
        let having = |user: &User| user.roles.iter().any(|role| role == name);
        let losing: Vec<User> = self.users.values().map(|known| &*known.user).filter(|user| having(user)).cloned().collect();
        for mut user in losing {
            user.roles.retain(|role| role != name);
            done.writes.push(Write::User(self.set_user(user)));
        }
        Ok(done)
    }

    fn role_grant(&mut self, name: &str, permission: Option<&Permission>) -> Result<Done, AuthError> {
        let permission = permission.ok_or(AuthError::PermissionNotGiven)?;
        let mut role = self.existing_role(name)?;
        match role.permissions.iter_mut().find(|has| has.keys == permission.keys) {
            Some(has) => has.access = permission.access,
            None => {
                let place = role.permissions.partition_point(|has| has.keys.key <= permission.keys.key);
                role.permissions.insert(place, permission.clone());
            }
        }
        Ok(self.write_role(role))
    }

    fn role_revoke(&mut self, name: &str, keys: &KeySpan) -> Result<Done, AuthError> {
        let mut role = self.existing_role(name)?;
        let place = role.permissions.iter().position(|has| has.keys == *keys).ok_or(AuthError::PermissionNotGranted)?;
        role.permissions.remove(place);
        Ok(self.write_role(role))
    }
}
