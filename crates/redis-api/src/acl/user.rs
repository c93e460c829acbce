//! One user: its passwords, and what it may do.

use sha2::{Digest, Sha256};

use super::commands::Commands;
use super::patterns::Pattern;
use crate::commands::introspection::keys_of;
use crate::commands::table::{Flags, Found};
use crate::engine::level::Level;
use crate::protocol::errors::{self, Failure};
use crate::protocol::request::Arguments;

/// The SHA-256 of a password: what is kept of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password([u8; 32]);

impl Password {
    pub(super) fn of(text: &[u8]) -> Self {
        Password(Sha256::digest(text).into())
    }

    /// The one of this hash: 64 hexadecimal digits in lower case.
    pub(super) fn of_hash(digits: &[u8]) -> Option<Self> {
        if digits.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).ok()?;
        Some(Password(hash))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// In a time that does not depend on where they differ.
    fn is(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// What a user may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Run this command.
    Command(String),
    /// Do to this key what the command does.
    Key(Vec<u8>),
}

impl Denied {
    /// The error.
    pub fn failure(&self) -> Failure {
        match self {
            Denied::Command(name) => errors::command_not_permitted(name),
            Denied::Key(_) => errors::KEY_NOT_PERMITTED,
        }
    }

    /// What is told to who asks whether it may be done.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Denied::Command(name) => format!("This user has no permissions to run the '{name}' command").into_bytes(),
            Denied::Key(key) => [b"This user has no permissions to access the '", key.as_slice(), b"' key"].concat(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(super) name: String,
    pub(super) is_on: bool,
    pub(super) needs_no_password: bool,
    /// Whether payloads of `RESTORE` are looked at: kept because it is shown, if it was said.
    pub(super) sanitizes: Option<bool>,
    pub(super) passwords: Vec<Password>,
    pub(super) keys: Vec<Pattern>,
    /// Patterns of channels, of which there are none: kept because they are shown.
    pub(super) channels: Vec<Vec<u8>>,
    pub(super) commands: Commands,
    pub(super) level: Option<Level>,
}

impl User {
    /// A user who may do nothing, and can't come in.
    pub fn new(name: &str) -> Self {
        User {
            name: name.to_owned(),
            is_on: false,
            needs_no_password: false,
            sanitizes: None,
            passwords: Vec::new(),
            keys: Vec::new(),
            channels: Vec::new(),
            commands: Commands::default(),
            level: None,
        }
    }

    /// A user who may do all, and needs no password.
    pub fn unbounded(name: &str) -> Self {
        User {
            is_on: true,
            needs_no_password: true,
            keys: vec![Pattern::all()],
            channels: vec![b"*".to_vec()],
            commands: Commands::all(true),
            ..User::new(name)
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its connections rely on at first.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// Whether anybody is this user who says so.
    pub fn needs_no_password(&self) -> bool {
        self.is_on && self.needs_no_password
    }

    /// Whether this password lets one in.
    pub fn takes(&self, password: &[u8]) -> bool {
        let given = Password::of(password);
        let is_right = self.passwords.iter().fold(false, |right, held| right | held.is(&given));
        self.is_on && (self.needs_no_password || is_right)
    }

    /// Whether it may do all.
    pub fn is_unbounded(&self) -> bool {
        self.commands.is_all() && self.has_all_keys()
    }

    pub(super) fn has_all_keys(&self) -> bool {
        self.keys.iter().any(Pattern::is_all)
    }

    /// Whether it may run a command on the keys that the request names.
    ///
    /// # Errors
    /// What it may not do.
    pub fn check(&self, found: Found, arguments: Arguments<'_>) -> Result<(), Denied> {
        if !found.command.flags.has(Flags::NO_AUTH) && !self.commands.allow(found) {
            return Err(Denied::Command(found.full_name().to_owned()));
        }
        if self.has_all_keys() || found.command.keys.is_empty() {
            return Ok(());
        }
        // Where the keys are not to be found, the command refuses the request.
        let keys = keys_of(arguments).unwrap_or_default();
        let denied = keys.into_iter().find(|(key, uses)| !self.keys.iter().any(|pattern| pattern.allows(key, *uses)));
        denied.map_or(Ok(()), |(key, _)| Err(Denied::Key(key.to_vec())))
    }
}
