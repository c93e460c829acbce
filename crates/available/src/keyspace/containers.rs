//! Writing sets, hashes, sorted sets, lists and sketches: the keyspace opens the key, and the command uses the type's own operations.
//!
//! A command is given the container, empty if the key is not there, and the delta that the operations add to. What it leaves empty is no key any more.

use steadfast_crdt::{Set, SetDelta};

use crate::container::{Container, Kind};
use crate::delta::Change;
use crate::keyspace::{Keyspace, Refused};

impl Keyspace {
    /// Runs a command on the set of a key.
    ///
    /// # Errors
    /// If the key is of another kind; the command did not run.
    pub fn write_set<R>(&mut self, key: &[u8], command: impl FnOnce(&mut Set, &mut SetDelta) -> R) -> Result<R, Refused> {
        self.write(key, Kind::Set, |rich, version, changes| {
            let mut delta = SetDelta::new(version);
            let Container::Set(set) = rich.container_mut(Container::Set(Set::default())) else { return Err(Refused::WrongKind) };
            let result = command(set, &mut delta);
            if !delta.changes.is_empty() {
                changes.push(Change::Set(delta));
            }
            Ok(result)
        })
    }
}
