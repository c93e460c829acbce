//! What an administrator wants of the users, as a value: so that it can be made where all nodes see it.

use super::users::Users;
use crate::protocol::errors::Failure;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A user is made or changed by rules.
    Set {
        /// Its name.
        name: String,
        /// The rules, in order.
        rules: Vec<Vec<u8>>,
    },
    /// Users go, as far as they are there.
    Remove {
        /// Their names.
        names: Vec<String>,
    },
}

impl Change {
    /// Makes it: the names of users who are gone now.
    ///
    /// # Errors
    /// As [`Users::set`] and [`Users::remove`]; nothing is changed then.
    pub fn apply(&self, users: &mut Users) -> Result<Vec<String>, Failure> {
        match self {
            Change::Set { name, rules } => users.set(name, rules.iter().map(Vec::as_slice)).map(|()| Vec::new()),
            Change::Remove { names } => {
                let mut changed = users.clone();
                let mut gone = Vec::new();
                for name in names {
                    if changed.remove(name)? {
                        gone.push(name.clone());
                    }
                }
                *users = changed;
                Ok(gone)
            }
        }
    }
}
