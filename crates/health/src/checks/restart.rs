//! How a service is started anew, as its user declares it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use steadfast_types::wire_struct;

use super::definition::{is_command, is_name};
use crate::limits::cut;

/// The time that a restart has if none is named, ms.
pub const TIMEOUT_MS: u64 = 60_000;

const MOST_TIMEOUT_MS: u64 = 600_000;

/// The command that starts a service anew on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The service.
    pub service: String,
    /// A program and its arguments; no shell is between.
    pub command: Vec<String>,
    /// How long it may run, ms.
    pub timeout_ms: u64,
}
wire_struct!(Restart { service, command, timeout_ms });

/// What is wrong with a declared restart, and what to do. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("restart of service {service:?}: {field} is {value:?}: {remedy}")]
pub struct RestartError {
    /// Of which service.
    pub service: String,
    /// Which field.
    pub field: &'static str,
    /// What it says.
    pub value: String,
    /// What to write instead.
    pub remedy: &'static str,
}

impl Restart {
    /// How long the command may run.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The same, if it can be carried out.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn validate(self) -> Result<Self, RestartError> {
        self.demand("service", &self.service, is_name(&self.service), "choose 1 to 128 of a-z, A-Z, 0-9, '.', '-', '_'")?;
        let (words, command) = (self.command.join(" "), is_command(&self.command));
        self.demand("command", &words, command, "write a program and its arguments as a list of up to 64 words")?;
        let timeout = (1..=MOST_TIMEOUT_MS).contains(&self.timeout_ms);
        self.demand("timeout", &format!("{} ms", self.timeout_ms), timeout, "choose between 1 ms and 10 minutes")?;
        Ok(self)
    }

    fn demand(&self, field: &'static str, value: &str, holds: bool, remedy: &'static str) -> Result<(), RestartError> {
        let shown = |text: &str| cut(text, 128).to_string();
        if holds { Ok(()) } else { Err(RestartError { service: shown(&self.service), field, value: shown(value), remedy }) }
    }
}
