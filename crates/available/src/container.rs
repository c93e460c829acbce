//! What a key can be besides a string, and the order in which kinds are shown.

use alloc::vec::Vec;

use steadfast_crdt::{Covers, Lattice, Set, SetDelta, Version};
use steadfast_types::wire_enum;

use crate::delta::Change;
use crate::digest::mix;

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

/// The state of one kind of a key.
#[derive(Clone, Debug)]
pub(crate) enum Container {
    Set(Set),
}

wire_enum!(Container { 2 => Set(set) });

impl Container {
    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Container::Set(_) => Kind::Set,
        }
    }

    /// An empty one, of the kind that a change is made to; `None` if it is to no container.
    pub(crate) fn of_change(change: &Change) -> Option<Self> {
        match change {
            Change::New(_) | Change::Over { .. } | Change::Gone(_) | Change::Text(_) | Change::Deadline(_) => None,
            Change::Set(_) => Some(Container::Set(Set::default())),
        }
    }

    /// An empty one of the same kind.
    pub(crate) fn empty(&self) -> Self {
        match self {
            Container::Set(_) => Container::Set(Set::default()),
        }
    }

    /// Whether a reader sees anything.
    pub(crate) fn is_shown(&self) -> bool {
        match self {
            Container::Set(set) => set.len() > 0,
        }
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Container::Set(set) => set.is_empty(),
        }
    }

    /// Removes everything that is there.
    pub(crate) fn clear(&mut self, version: Version) -> Option<Change> {
        if !self.is_shown() {
            return None;
        }
        Some(match self {
            Container::Set(set) => {
                let mut delta = SetDelta::new(version);
                set.clear(&mut delta);
                Change::Set(delta)
            }
        })
    }

    /// Adds what a reader sees of another one of the same kind.
    pub(crate) fn recreate(&mut self, source: &Self, version: Version) -> Option<Change> {
        match (self, source) {
            (Container::Set(set), Container::Set(source)) => {
                let mut delta = SetDelta::new(version);
                source.iter().for_each(|member| _ = set.add(&mut delta, member));
                Some(Change::Set(delta))
            }
        }
    }

    /// Does what another replica did to one of the same kind.
    pub(crate) fn apply(&mut self, change: &Change) {
        match (self, change) {
            (Container::Set(set), Change::Set(delta)) => set.apply(delta),
            _ => {}
        }
    }

    /// Takes in another replica's state of the same kind.
    pub(crate) fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        match (self, other) {
            (Container::Set(set), Container::Set(other)) => set.join(other, mine, theirs),
        }
    }

    /// Forgets what is stable and needed no more.
    pub(crate) fn collect(&mut self, _stable: &impl Covers) {
        match self {
            Container::Set(_) => {}
        }
    }

    /// Calls with each dot, and a number for the element that bears it.
    pub(crate) fn for_each_dot(&self, mut call: impl FnMut(u64, Version)) {
        let mut versions = Vec::new();
        match self {
            Container::Set(set) => set.versions(&mut versions),
        }
        versions.into_iter().for_each(|version| call(mix(1), version));
    }

    /// Bytes held outside of itself, approximately.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Container::Set(set) => set.bytes(),
        }
    }

    /// The set, if it is one.
    pub(crate) fn as_set(&self) -> Option<&Set> {
        match self {
            Container::Set(set) => Some(set),
        }
    }
}
