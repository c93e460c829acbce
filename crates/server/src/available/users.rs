//! Users of available state, which are the same on all nodes: they lie in strong state, and each node keeps them in its directory.
//!
//! A change is made in strong state, and answered when it is there and in force on this node; the others follow at once, or when they are back. A node
//! without a quorum goes on with the users that it knows.

mod keeper;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use steadfast_redis_api::acl::change::Change;
use steadfast_redis_api::acl::users::Users;
use steadfast_redis_api::engine::host::Host as _;
use steadfast_redis_api::protocol::errors::Failure;
use steadfast_types::wire_struct;
use tokio::sync::{mpsc, watch};

pub(crate) use keeper::keep;

use super::process::Process;
use super::record::Recorded;
use crate::redis::{ConnectionId, Others};

/// The users as strong state has them: by name, the rules that make each of a new user. Nobody: as it is at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Definitions {
    users: BTreeMap<String, Bytes>,
}
wire_struct!(Definitions { users });

impl Recorded for Definitions {
    const NAME: &str = "users";
}

impl Definitions {
    /// Puts them in force. The names of those who are there no more.
    fn define(&self, users: &mut Users) -> Result<Vec<String>, Failure> {
        users.define(&self.users.iter().map(|(name, rules)| (name.clone(), rules.to_vec())).collect())
    }

    /// Makes a change of them. How many users are gone by it.
    fn change(&mut self, change: &Change) -> Result<usize, Failure> {
        let mut users = Users::new();
        self.define(&mut users)?;
        let gone = change.apply(&mut users)?;
        self.users = users.definitions().into_iter().map(|(name, rules)| (name, rules.into())).collect();
        Ok(gone.len())
    }
}

/// A change that somebody waits for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Whose connection.
    pub(crate) connection: u64,
    pub(crate) change: Change,
}

/// What came of a change: how many users are gone by it.
pub(crate) type Changed = Result<usize, Failure>;

/// Where the loop learns of the users, and says what is wanted of them.
#[derive(Debug)]
pub struct UsersSource {
    pub(crate) users: watch::Receiver<Arc<Definitions>>,
    pub(crate) wanted: mpsc::Sender<Wanted>,
    pub(crate) changed: mpsc::Receiver<(u64, Changed)>,
}

/// The loop's part of it.
#[derive(Debug, Default)]
pub(super) struct SharedUsers {
    source: Option<UsersSource>,
    /// What is to be answered, by connection.
    pub(super) answers: BTreeMap<u64, Changed>,
}

impl SharedUsers {
    pub(super) fn new(source: Option<UsersSource>) -> Self {
        SharedUsers { source, answers: BTreeMap::new() }
    }

    /// Whether there are others who have the same users.
    pub(super) fn are_shared(&self) -> bool {
        self.source.is_some()
    }

    /// Takes what strong state says, if that has changed, and closes the connections of users who are gone.
    pub(super) fn learn(&mut self, process: &mut Process) {
        let Some(source) = &mut self.source else { return };
        if !source.users.has_changed().unwrap_or(false) {
            return;
        }
        let users = source.users.borrow_and_update().clone();
        match users.define(process.users_mut()) {
            Ok(gone) => process.hang_up(&gone),
            Err(failure) => {
                let why = String::from_utf8_lossy(failure.text()).into_owned();
                tracing::error!(
                    why,
                    "a newer version has made users that this one can't read: those from before stay in force on this node"
                );
            }
        }
    }

    /// Those whose changes were made, or not, go on.
    pub(super) fn answer(&mut self, others: &mut Others) {
        let Some(source) = &mut self.source else { return };
        while let Ok((connection, changed)) = source.changed.try_recv() {
            self.answers.insert(connection, changed);
            others.resume(ConnectionId(connection));
        }
    }

    /// Has a change made; whether there was room to ask for it.
    pub(super) fn want(&self, connection: u64, change: Change) -> bool {
        self.source.as_ref().is_some_and(|source| source.wanted.try_send(Wanted { connection, change }).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, rules: &[&str]) -> Change {
        Change::Set { name: name.to_owned(), rules: rules.iter().map(|rule| rule.as_bytes().to_vec()).collect() }
    }

    #[test]
    fn changes_add_up_and_whoever_takes_them_knows_who_is_gone() {
        let (mut definitions, mut users) = (Definitions::default(), Users::new());
        assert_eq!(definitions.define(&mut users), Ok(vec![]));
        assert!(users.trust_strangers(), "nobody has changed anything");
        assert_eq!(definitions.change(&set("ann", &["on", ">secret", "~a:*", "+get"])), Ok(0));
        assert_eq!(definitions.change(&set("ann", &["+set"])), Ok(0));
        assert_eq!(definitions.change(&set("default", &[">closed"])), Ok(0));
        assert!(definitions.change(&set("ann", &["+nonsense"])).is_err());
        assert_eq!(definitions.define(&mut users), Ok(vec![]));
        assert!(!users.trust_strangers());
        assert!(users.authenticate("ann", b"secret", None, 0).is_ok());
        assert_eq!(users.get("ann").unwrap().command_rules(), "-@all +get +set");
        assert_eq!(definitions.change(&Change::Remove { names: vec!["ann".to_owned(), "bob".to_owned()] }), Ok(1));
        assert!(definitions.change(&Change::Remove { names: vec!["default".to_owned()] }).is_err());
        assert_eq!(definitions.define(&mut users), Ok(vec!["ann".to_owned()]));
    }
}
