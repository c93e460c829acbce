//! Sets, hashes, sorted sets, lists and sketches: the keyspace finds and opens the key, and the command uses the type's own operations.
//!
//! A command is given the container, empty if the key is not there, its version, and the delta that the operations add to. What it leaves empty is no key
//! any more.

use steadfast_crdt::cell::{Delta, Sketched};
use steadfast_crdt::{Cell, MapDelta, Set, SetDelta, Version};

use crate::container::{Container, Fields, Items, Kind, Scores, ScoresDelta, TextsDelta};
use crate::delta::Change;
use crate::keyspace::{Keyspace, Refused};

/// What a command does to a container, as it comes about.
trait Written: Sized {
    /// What goes into the turn's delta.
    type Delta;

    /// Nothing yet, of a command of this version.
    fn nothing(version: Version) -> Self;

    /// What was done, if anything was.
    fn delta(self) -> Option<Self::Delta>;
}

impl Written for SetDelta {
    type Delta = Self;

    fn nothing(version: Version) -> Self {
        SetDelta::new(version)
    }

    fn delta(self) -> Option<Self> {
        (!self.changes.is_empty()).then_some(self)
    }
}

impl<D> Written for MapDelta<D> {
    type Delta = Self;

    fn nothing(_: Version) -> Self {
        MapDelta::default()
    }

    fn delta(self) -> Option<Self> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl Written for Option<Delta<Sketched>> {
    type Delta = Delta<Sketched>;

    fn nothing(_: Version) -> Self {
        None
    }

    fn delta(self) -> Self {
        self
    }
}

/// A reader and a writer of one kind.
macro_rules! container {
    ($kind:ident: $name:literal, $read:ident, $write:ident, $state:ty, $delta:ty) => {
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
                    let mut delta = <$delta>::nothing(version);
                    let result = command(state, &mut delta, version);
                    changes.extend(delta.delta().map(Change::$kind));
                    Ok(result)
                })
            }
        }
    };
}

container!(Set: "set", members, write_members, Set, SetDelta);
container!(Hash: "hash", fields, write_fields, Fields, TextsDelta);
container!(Sorted: "sorted set", scores, write_scores, Scores, ScoresDelta);
container!(List: "list", items, write_items, Items, TextsDelta);
container!(Sketch: "sketch", sketch, write_sketch, Cell<Sketched>, Option<Delta<Sketched>>);
