//! When an acknowledged write is on the disk.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a crash of the machine may take along. A crash of the process alone takes nothing in any mode: what was acknowledged was written to the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing: a write is answered when it is on the disk.
    Always,
    /// The last second's writes (Redis's `appendfsync everysec`, and its default).
    #[default]
    EverySecond,
    /// What the system had not brought to the disk yet, half a minute's writes on most.
    Never,
}

impl Durability {
    const ALL: [Durability; 3] = [Durability::Always, Durability::EverySecond, Durability::Never];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Always => "always",
            Durability::EverySecond => "every-second",
            Durability::Never => "never",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is none of the modes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no durability: write always, every-second or never")]
pub struct UnknownDurability(String);

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, UnknownDurability> {
        Durability::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| UnknownDurability(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_written() {
        assert!(Durability::ALL.into_iter().all(|mode| mode.to_string().parse() == Ok(mode)));
        let error = "everysec".parse::<Durability>().unwrap_err();
        assert_eq!(error.to_string(), "\"everysec\" is no durability: write always, every-second or never");
    }
}
