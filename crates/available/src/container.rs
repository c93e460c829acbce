//! What a key can be besides a string, and the order in which kinds are shown.

use steadfast_crdt::set::SetDelta;
use steadfast_crdt::{Covers, Lattice, Set, Version};
use steadfast_types::{wire_enum};

use crate::delta::Change;

/// The kinds of keys, in the order in which one is shown if concurrent creations left several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A sorted set.
    Sorted,
    /// A set.
    Set,
    /// A hash.
    Hash,
    /// A list.
    List,
    /// A sketch of how many different things were counted (HyperLogLog).
    Sketch,
    /// A string, or a counter.
    Text,
}

impl Kind {
    /// All but strings.
    pub(crate) const CONTAINERS: [Self; 1] = [Kind::Set];
}

/// The state of one kind of a key.
#[derive(Clone, Debug)]
pub(crate) enum Container {
    Set(Set),
}

wire_enum!(Container { 2 => Set(set) });

impl Container {
    /// An empty one.
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            _ => Container::Set(Set::default()),
        }
    }
}
