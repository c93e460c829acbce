//! Sets, hashes, sorted sets, lists and sketches: the keyspace finds and opens the key, and the command uses the type's own operations.
//!
//! A command is given the container, empty if the key is not there, its version, and the delta that the operations add to. What it leaves empty is no key
//! any more.

use steadfast_crdt::cell::{Delta, Sketched};
use steadfast_crdt::{Cell, Set, SetDelta, Version};

use crate::container::{Container, Fields, Items, Kind, Scores, ScoresDelta, TextsDelta};
use crate::delta::Change;
use crate::keyspace::{Keyspace, Refused};

/// A reader and a writer of one kind.
macro_rules! container {
    ($kind:ident: $name:literal, $state:ty, $delta:ty, $read:ident, $write:ident, $new:expr, $changes:expr) => {
        impl Keyspace {
            #[doc = concat!("The ", $name, " of a key.")]
            ///
            /// # Errors
            /// If the key is of another kind.
            pub fn $read(&self, key: &[u8]) -> Result<Option<&$state>, Refused> {
                match self.container(key, Kind::$kind)? {
                    Some(Container::$kind(state)) => Ok(Some(state)),
                    _ => Ok(None),
                }
            }

            #[doc = concat!("Runs a command on the ", $name, " of a key.")]
            ///
            /// # Errors
            /// If the key is of another kind, or there are no more times; the command did not run.
            pub fn $write<R>(&mut self, key: &[u8], command: impl FnOnce(&mut $state, &mut $delta, Version) -> R) -> Result<R, Refused> {
                self.write(key, Kind::$kind, |rich, version, changes| {
                    let Some(Container::$kind(state)) = rich.container_mut(Kind::$kind) else { return Err(Refused::WrongKind) };
                    let mut delta = ($new)(version);
                    let result = command(state, &mut delta, version);
                    changes.extend(($changes)(delta));
                    Ok(result)
                })
            }
        }
    };
}

fn texts_of(delta: TextsDelta) -> Option<TextsDelta> {
    (!delta.0.is_empty()).then_some(delta)
}

container!(Set: "set", Set, SetDelta, members, write_members, SetDelta::new, |delta: SetDelta| {
    (!delta.changes.is_empty()).then_some(Change::Set(delta))
});
container!(Hash: "hash", Fields, TextsDelta, fields, write_fields, |_| TextsDelta::default(), |delta| texts_of(delta).map(Change::Hash));
container!(Sorted: "sorted set", Scores, ScoresDelta, scores, write_scores, |_| ScoresDelta::default(), |delta: ScoresDelta| {
    (!delta.0.is_empty()).then_some(Change::Sorted(delta))
});
container!(List: "list", Items, TextsDelta, items, write_items, |_| TextsDelta::default(), |delta| texts_of(delta).map(Change::List));
container!(
    Sketch: "sketch",
    Cell<Sketched>,
    Option<Delta<Sketched>>,
    sketch,
    write_sketch,
    |_| None,
    |delta: Option<Delta<Sketched>>| delta.map(Change::Sketch)
);
