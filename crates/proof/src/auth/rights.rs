//! The model: users and roles, what a change makes of them, and what they allow.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::history::Span;

/// The user who manages the others, and the role that may do everything.
pub const ROOT: &str = "root";

/// What a permission permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// To read.
    pub read: bool,
    /// To write.
    pub write: bool,
}

/// All users and roles at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Whether requests are checked.
    pub enabled: bool,
    /// The auth revision: grows by one with every change but [`Change::Enable`].
    pub revision: u64,
    /// Each user's roles.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Each role's permissions.
    pub roles: BTreeMap<String, BTreeMap<Span, Access>>,
}

/// A change of users or roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on requests are checked.
    Enable,
    /// From now on they are not.
    Disable,
    /// A new user.
    AddUser(String),
    /// A user goes.
    DeleteUser(String),
    /// A user's password is another one: no right changes, but the auth revision.
    ChangePassword(String),
    /// A user gets a role.
    GrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// A user loses a role.
    RevokeRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// A new role.
    AddRole(String),
    /// A role goes, from its users too.
    DeleteRole(String),
    /// A role gets a permission, or another one for the same keys.
    Grant {
        /// The role.
        role: String,
        /// The keys.
        keys: Span,
        /// What for.
        access: Access,
    },
    /// A role loses the permission for exactly these keys.
    Revoke {
        /// The role.
        role: String,
        /// The keys.
        keys: Span,
    },
}

impl Rights {
    /// Users and roles after a change; `None` if it is refused or changes nothing.
    pub fn after(&self, change: &Change) -> Option<Rights> {
        let mut after = Rights { revision: self.revision + 1, ..self.clone() };
        match change {
            Change::Enable => {
                let is_root = self.users.get(ROOT).is_some_and(|roles| roles.contains(ROOT));
                (after.enabled, after.revision) = (true, self.revision);
                return (is_root && !self.enabled).then_some(after);
            }
            Change::Disable => after.enabled = false,
            Change::AddUser(user) => {
                let is_new = !self.users.contains_key(user);
                return is_new.then(|| after.with_user(user));
            }
            Change::DeleteUser(user) if self.enabled && user == ROOT => return None,
            Change::DeleteUser(user) => drop(after.users.remove(user)?),
            Change::ChangePassword(user) => return self.users.contains_key(user).then_some(after),
            Change::GrantRole { user, role } => {
                let is_known = role == ROOT || self.roles.contains_key(role);
                return (after.users.get_mut(user)?.insert(role.clone()) && is_known).then_some(after);
            }
            Change::RevokeRole { user, role } if self.enabled && user == ROOT && role == ROOT => return None,
            Change::RevokeRole { user, role } => return after.users.get_mut(user)?.remove(role).then_some(after),
            Change::AddRole(role) => return after.roles.insert(role.clone(), BTreeMap::new()).is_none().then_some(after),
            Change::DeleteRole(role) if self.enabled && role == ROOT => return None,
            Change::DeleteRole(role) => {
                after.roles.remove(role)?;
                after.users.values_mut().for_each(|roles| roles.retain(|has| has != role));
            }
            Change::Grant { role, keys, access } => drop(after.roles.get_mut(role)?.insert(keys.clone(), *access)),
            Change::Revoke { role, keys } => drop(after.roles.get_mut(role)?.remove(keys)?),
        }
        // All others but these two change something whenever they are not refused.
        let changes = *change != Change::Disable || self.enabled;
        changes.then_some(after)
    }

    fn with_user(mut self, user: &str) -> Self {
        self.users.insert(user.to_owned(), BTreeSet::new());
        self
    }

    /// Whether a user may do everything.
    pub fn is_root(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|roles| roles.contains(ROOT))
    }

    /// Whether a user may read, or write, all of these keys.
    pub fn allow(&self, user: &str, span: &Span, wanted: fn(&Access) -> bool) -> bool {
        let Some(roles) = self.users.get(user) else { return false };
        if roles.contains(ROOT) {
            return true;
        }
        let of_roles = roles.iter().filter_map(|role| self.roles.get(role)).flatten();
        let granted: Vec<&Span> = of_roles.filter(|(_, access)| wanted(access)).map(|(keys, _)| keys).collect();
        let Some(end) = &span.end else { return granted.iter().any(|keys| keys.contains(&span.first)) };
        // From key to key: whoever covers the first one that is left covers all up to its own end.
        let mut next = span.first.clone();
        while next < *end {
            let Some(further) = granted.iter().filter(|keys| keys.contains(&next)).map(|keys| behind(keys)).max() else { return false };
            next = further;
        }
        true
    }
}

/// The first key behind a span.
fn behind(span: &Span) -> Bytes {
    span.end.clone().unwrap_or_else(|| [&span.first[..], &[0]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: &'static str, end: &'static str) -> Span {
        Span { first: first.into(), end: (!end.is_empty()).then(|| end.into()) }
    }

    fn grant(first: &'static str, end: &'static str, write: bool) -> Change {
        Change::Grant { role: "r".into(), keys: span(first, end), access: Access { read: !write, write } }
    }

    fn after(changes: &[Change]) -> Rights {
        changes.iter().fold(Rights::default(), |rights, change| rights.after(change).unwrap_or_else(|| panic!("{change:?}: {rights:?}")))
    }

    #[test]
    fn spans_that_meet_cover_what_is_in_both() {
        let (user, role) = ("u".to_owned(), "r".to_owned());
        let begin = [Change::AddUser(user.clone()), Change::AddRole(role.clone()), Change::GrantRole { user, role }];
        let grants = [grant("a", "c", false), grant("c", "", false), grant("c\0", "e", false), grant("f", "", true)];
        let rights = after(&[&begin[..], &grants[..]].concat());
        let reads = |first, end| rights.allow("u", &span(first, end), |access| access.read);
        assert!(reads("a", "e") && reads("b", "") && reads("b", "d"));
        assert!(!reads("a", "f") && !reads("e", "") && !reads("f", "") && !reads("", "b"));
        assert!(rights.allow("u", &span("f", ""), |access| access.write) && !rights.allow("v", &span("a", ""), |access| access.read));
        assert_eq!(rights.revision, 7);
    }

    #[test]
    fn what_changes_nothing_makes_no_state() {
        let rights = Rights::default();
        for change in
            [Change::Enable, Change::Disable, Change::DeleteUser("u".into()), Change::DeleteRole("r".into()), grant("a", "", true)]
        {
            assert_eq!(rights.after(&change), None, "{change:?}");
        }
        let root = |change: fn(String, String) -> Change| change(ROOT.into(), ROOT.into());
        let begin = [Change::AddUser(ROOT.into()), root(|user, role| Change::GrantRole { user, role }), Change::Enable];
        let rights = after(&begin);
        assert!(rights.enabled && rights.revision == 2 && rights.is_root(ROOT));
        for change in
            [root(|user, role| Change::RevokeRole { user, role }), Change::DeleteUser(ROOT.into()), Change::Enable, begin[1].clone()]
        {
            assert_eq!(rights.after(&change), None, "{change:?}");
        }
        assert_eq!(rights.after(&Change::Disable).map(|rights| rights.revision), Some(3));
    }
}
