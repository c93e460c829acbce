//! The administrator: makes users and roles, enables authentication, and then changes rights at random while clients with those rights go on.

use std::collections::VecDeque;

use steadfast_proof::auth::{Access, Change, ROOT, Rights};
use steadfast_proof::history::{Request, Span};
use steadfast_state::auth::{self, Auth, AuthChange, AuthError, Permission};
use steadfast_types::Rng;
use steadfast_types::time::Duration;

use super::Cluster;
use super::event::Event;
use crate::network::between;
use crate::workload::{key, keys};
use steadfast_proof::history::Answer;

/// The administrator is a client of this number.
pub(super) const ADMINISTRATOR: usize = 20_000;

/// Users whose rights change.
pub(super) const USERS: [&str; 3] = ["ann", "bob", "eve"];

/// Roles that change.
const ROLES: [&str; 3] = ["all", "some", "few"];

/// The user, and the role, of those who wait in lines: theirs stay.
pub(super) const KEEPER: &str = "keeper";

/// The administrator waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest time between two changes.
const PAUSE: Duration = Duration::from_millis(300);

/// What is still to be done before changes come at random.
#[derive(Default)]
pub(super) struct Administrator {
    plan: VecDeque<Change>,
}

/// What is done first.
pub(crate) fn beginning(keys: usize) -> Vec<Change> {
    let user = |name: &str| Change::AddUser(name.into());
    let role = |name: &str| Change::AddRole(name.into());
    let has = |user: &str, role: &str| Change::GrantRole { user: user.into(), role: role.into() };
    let grant = |role: &str, keys, read, write| Change::Grant { role: role.into(), keys, access: Access { read, write } };
    let line = Span { first: "line-".into(), end: Some("line.".into()) };
    let mut plan = vec![user(ROOT), has(ROOT, ROOT)];
    plan.extend(USERS.map(user));
    plan.extend(ROLES.map(role));
    plan.extend([user(KEEPER), role(KEEPER), has(KEEPER, KEEPER), grant(KEEPER, line, true, true)]);
    plan.extend([grant("all", everything(), true, true), grant("some", everything(), true, false)]);
    plan.push(grant("few", Span { first: key(0), end: Some(key(keys.div_ceil(2))) }, true, true));
    plan.extend([has("ann", "all"), has("bob", "some"), has("bob", "few"), has("eve", "few"), Change::Enable]);
    plan
}

fn everything() -> Span {
    Span { first: "".into(), end: Some("z".into()) }
}

impl Administrator {
    /// Begins with what is not there yet.
    pub(super) fn new(keys: usize, there: &Rights) -> Self {
        let plan = if there.users.is_empty() { beginning(keys) } else { Vec::new() };
        Administrator { plan: plan.into() }
    }

    fn next(&self, rng: &mut Rng, keys: usize) -> Change {
        if let Some(change) = self.plan.front() {
            return change.clone();
        }
        let user = USERS[rng.usize(0..USERS.len())].to_owned();
        let role = ROLES[rng.usize(0..ROLES.len())].to_owned();
        match rng.u8(0..40) {
            0..12 => {
                let access = [(true, true), (true, true), (true, false), (false, true)][rng.usize(0..4)];
                Change::Grant { role, keys: span(rng, keys), access: Access { read: access.0, write: access.1 } }
            }
            12..18 => Change::Revoke { role, keys: span(rng, keys) },
            18..24 => Change::GrantRole { user, role },
            24..28 => Change::RevokeRole { user, role },
            28..30 => Change::DeleteUser(user),
            30..32 => Change::AddUser(user),
            32..33 => Change::DeleteRole(role),
            33..34 => Change::AddRole(role),
            34..36 => Change::ChangePassword(user),
            36..37 => Change::Disable,
            _ => Change::Enable,
        }
    }
}

/// Few, so that what was granted is also revoked.
fn span(rng: &mut Rng, keys: usize) -> Span {
    let half = keys.div_ceil(2);
    match rng.u8(0..6) {
        0 => Span::one(key(rng.usize(0..keys))),
        1 => Span { first: key(0), end: Some(key(half)) },
        2 => Span { first: key(half), end: Some(key(keys)) },
        3 => Span { first: "leased-".into(), end: Some("leased.".into()) },
        _ => everything(),
    }
}

/// A change as a command.
pub(crate) fn command(change: &Change) -> AuthChange {
    match change.clone() {
        Change::Enable => AuthChange::Enable,
        Change::Disable => AuthChange::Disable,
        Change::AddUser(name) => AuthChange::UserAdd { name, password: Some("hash".into()) },
        Change::DeleteUser(name) => AuthChange::UserDelete { name },
        Change::ChangePassword(name) => AuthChange::UserChangePassword { name, password: "other".into() },
        Change::GrantRole { user, role } => AuthChange::UserGrantRole { name: user, role },
        Change::RevokeRole { user, role } => AuthChange::UserRevokeRole { name: user, role },
        Change::AddRole(name) => AuthChange::RoleAdd { name },
        Change::DeleteRole(name) => AuthChange::RoleDelete { name },
        Change::Grant { role, keys: span, access } => {
            AuthChange::RoleGrantPermission { name: role, permission: Some(permission(&span, access)) }
        }
        Change::Revoke { role, keys: span } => AuthChange::RoleRevokePermission { name: role, keys: keys(&span) },
    }
}

pub(crate) fn permission(span: &Span, Access { read, write }: Access) -> Permission {
    let access = match (read, write) {
        (true, true) => auth::Access::ReadWrite,
        (true, false) => auth::Access::Read,
        (false, _) => auth::Access::Write,
    };
    Permission { access, keys: keys(span) }
}

/// Users and roles as a node has them, in the form of the checker.
pub(super) fn rights(auth: &Auth) -> Rights {
    let span = |Permission { keys, access }: &Permission| {
        // The reverse of `keys`.
        let first = if keys.key[..] == [0] { "".into() } else { keys.key.clone() };
        let end = (!keys.range_end.is_empty()).then(|| keys.range_end.clone());
        let access = Access { read: *access != auth::Access::Write, write: *access != auth::Access::Read };
        (Span { first, end }, access)
    };
    let users = auth.users().filter_map(|name| auth.user(name));
    let roles = auth.roles().filter_map(|name| auth.role(name));
    Rights {
        enabled: auth.is_enabled(),
        revision: auth.revision(),
        users: users.map(|user| (user.name.clone(), user.roles.iter().cloned().collect())).collect(),
        roles: roles.map(|role| (role.name.clone(), role.permissions.iter().map(span).collect())).collect(),
    }
}

impl Cluster {
    pub(super) fn schedule_administrator(&mut self) {
        if self.swarm.auth {
            self.queue.after(self.swarm.think, Event::Administer);
        }
    }

    pub(super) fn on_administer(&mut self) {
        if self.healed {
            return;
        }
        let change = self.administrator.next(&mut self.clients_rng, self.swarm.keys);
        let number = self.workload.begin(ADMINISTRATOR, Request::Administer(change), self.queue.now());
        let nodes = self.node_ids();
        let node = nodes[self.clients_rng.usize(0..nodes.len())];
        self.begin(number, node, PATIENCE);
    }

    /// The administrator has its answer, or gives up. What is planned is tried until it is so.
    pub(super) fn administered(&mut self, answer: Option<&Answer>, refused: Option<AuthError>) {
        if matches!(answer, Some(Answer::Accepted { .. })) || refused.is_some() {
            self.counts.rights_changes += u64::from(refused.is_none());
            self.administrator.plan.pop_front();
        }
        let pause = if self.administrator.plan.is_empty() { PAUSE } else { self.swarm.think };
        let pause = between(Duration::ZERO, pause, &mut self.clients_rng);
        self.queue.after(pause, Event::Administer);
    }
}
