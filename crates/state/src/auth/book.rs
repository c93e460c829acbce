//! All users and roles, and what follows from them: each user's rights.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use steadfast_types::planted::{Bug, is_planted};

use super::{Access, Caller, FIRST_AUTH_REVISION, Intervals, Permission, ROOT, Role, User};

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// Everything.
    pub(super) root: bool,
    pub(super) read: Intervals,
    pub(super) write: Intervals,
}

impl Rights {
    fn of(user: &User, roles: &BTreeMap<String, Arc<Role>>) -> Self {
        let permissions = || user.roles.iter().filter_map(|name| roles.get(name)).flat_map(|role| &role.permissions);
        let those = |is: fn(Access) -> bool| {
            permissions().filter(move |permission| is(permission.access)).map(|Permission { keys, .. }| keys).collect()
        };
        Rights {
            root: user.roles.iter().any(|role| role == ROOT),
            read: those(|access| matches!(access, Access::Read | Access::ReadWrite)),
            write: those(|access| matches!(access, Access::Write | Access::ReadWrite)),
        }
    }
}

/// A user with its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) user: Arc<User>,
    pub(super) rights: Arc<Rights>,
}

/// Everything about users and roles at one moment. Changed as a whole: a copy shares all that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub(super) enabled: bool,
    pub(super) revision: u64,
    pub(super) users: BTreeMap<String, Known>,
    pub(super) roles: BTreeMap<String, Arc<Role>>,
}

impl Default for Auth {
    fn default() -> Self {
        Auth { enabled: false, revision: FIRST_AUTH_REVISION, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

impl Auth {
    /// These users and roles.
    pub fn new(enabled: bool, revision: u64, users: impl IntoIterator<Item = User>, roles: impl IntoIterator<Item = Role>) -> Self {
        let roles = roles.into_iter().map(|role| (role.name.clone(), Arc::new(role))).collect();
        let mut auth = Auth { enabled, revision, users: BTreeMap::new(), roles };
        users.into_iter().for_each(|user| drop(auth.set_user(user)));
        auth
    }

    /// Whether requests are checked.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The auth revision; 1 at first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A user.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|known| &*known.user)
    }

    /// The names of all users, in order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// A role.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(|role| &**role)
    }

    /// The names of all roles, in order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// Somebody who is found out now to be this user.
    pub fn caller(&self, user: &str) -> Caller {
        Caller { user: user.into(), auth_revision: self.revision }
    }

    pub(super) fn set_user(&mut self, user: User) -> Arc<User> {
        let user = Arc::new(user);
        let known = Known { rights: Arc::new(Rights::of(&user, &self.roles)), user: user.clone() };
        self.users.insert(user.name.clone(), known);
        user
    }

    /// Sets a role, or takes it away. The rights of its users follow.
    pub(super) fn set_role(&mut self, name: &str, role: Option<Arc<Role>>) {
        match role {
            Some(role) => drop(self.roles.insert(name.into(), role)),
            None => drop(self.roles.remove(name)),
        }
        if is_planted(Bug::RightsSurviveChange) {
            return;
        }
        for known in self.users.values_mut().filter(|known| known.user.roles.iter().any(|role| role == name)) {
            known.rights = Arc::new(Rights::of(&known.user, &self.roles));
        }
    }
}
