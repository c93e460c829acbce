//! All users, and who comes in as one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::attempts::Attempts;
use super::log::Log;
use super::user::User;
use crate::engine::session::DEFAULT_USER;
use crate::protocol::errors::{self, Failure};

/// See the module. One of them is always the default user, who connections are that do not say who they are.
#[derive(Clone, Debug)]
pub struct Users {
    users: BTreeMap<String, Arc<User>>,
    generation: u64,
    attempts: Attempts,
    /// What was denied.
    pub log: Log,
}

impl Default for Users {
    fn default() -> Self {
        let default = Arc::new(User::unbounded(DEFAULT_USER));
        Users {
            users: BTreeMap::from([(DEFAULT_USER.to_owned(), default)]),
            generation: 0,
            attempts: Attempts::default(),
            log: Log::default(),
        }
    }
}

impl Users {
    /// The default user alone, who may do all and needs no password.
    pub fn new() -> Self {
        Self::default()
    }

    /// The default user alone, who may do all with this password.
    pub fn with_password(password: &[u8]) -> Self {
        let mut users = Self::default();
        // A password is always taken.
        let _ = users.set(DEFAULT_USER, [[b">", password].concat().as_slice()]);
        users
    }

    /// A number that every change of a user changes.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The user of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// All users in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &User> {
        self.users.values().map(|user| &**user)
    }

    /// Whether a connection is the default user without saying so.
    pub fn trust_strangers(&self) -> bool {
        self.get(DEFAULT_USER).is_some_and(|user| user.needs_no_password())
    }

    /// Makes or changes a user by rules: all of them, or none.
    ///
    /// # Errors
    /// Which of them is none, and why.
    pub fn set<'a>(&mut self, name: &str, rules: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Failure> {
        if name.bytes().any(|byte| byte == b' ' || byte == 0) {
            return Err(errors::USER_NAME);
        }
        let mut user = self.users.get(name).map_or_else(|| User::new(name), |user| User::clone(user));
        for rule in rules {
            user.apply(rule).map_err(|why| errors::not_a_rule(rule, why))?;
        }
        self.users.insert(name.to_owned(), Arc::new(user));
        self.generation += 1;
        Ok(())
    }

    /// Removes a user. Whether it was there.
    ///
    /// # Errors
    /// If it is the default user.
    pub fn remove(&mut self, name: &str) -> Result<bool, Failure> {
        if name == DEFAULT_USER {
            return Err(errors::DEFAULT_STAYS);
        }
        let was_there = self.users.remove(name).is_some();
        self.generation += u64::from(was_there);
        Ok(was_there)
    }

    /// Whom this name and password let in.
    ///
    /// # Errors
    /// They let nobody in, or too many wrong ones came from the address.
    pub fn authenticate(&mut self, name: &str, password: &[u8], address: Option<IpAddr>, now_us: u64) -> Result<Arc<User>, Failure> {
        let user = self.users.get(name).cloned();
        if let Some(user) = user.as_ref().filter(|user| user.needs_no_password()) {
            return Ok(user.clone());
        }
        self.attempts.check(address, now_us).map_err(errors::too_many_passwords)?;
        user.filter(|user| user.takes(password)).ok_or_else(|| {
            self.attempts.failed(address, now_us);
            errors::WRONG_PASSWORD
        })
    }

    /// How many passwords were wrong, and how many were not looked at because too many were.
    pub fn attempts(&self) -> (u64, u64) {
        self.attempts.counts()
    }

    /// The users by their names: the rules that make each of a new user.
    pub fn definitions(&self) -> BTreeMap<String, Vec<u8>> {
        self.iter().map(|user| (user.name().to_owned(), user.rules())).collect()
    }

    /// Makes these the users; without a definition the default user may do all and needs no password. The names of those who are there no more.
    ///
    /// # Errors
    /// Which rule is none, and why; nothing is changed then.
    pub fn define(&mut self, definitions: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>, Failure> {
        let mut defined = Users::default();
        for (name, rules) in definitions {
            defined.set(name, std::iter::once(&b"reset"[..]).chain(rules.split(|byte| *byte == b' ')))?;
        }
        let before = std::mem::replace(&mut self.users, defined.users);
        self.generation += 1;
        Ok(before.into_keys().filter(|name| !self.users.contains_key(name)).collect())
    }

    /// The users as lines of a configuration: `user NAME rules`.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = Vec<u8>> {
        self.iter().map(|user| [b"user ", user.name().as_bytes(), b" ", &user.rules()].concat())
    }
}
