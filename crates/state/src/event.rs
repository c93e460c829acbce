//! What a watcher is told: one key was put or deleted.

use alloc::vec::Vec;

use steadfast_types::Revision;

use crate::command::KeyValue;

/// What to gather while an entry is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// No events.
    Nothing,
    /// Events that do not say what was before: it need not be looked up then.
    Events,
    /// Events with [`Event::prev_kv`].
    EventsWithPrevious,
}

/// What an entry changed, for the watch hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The revision after it.
    pub revision: Revision,
    /// Whole revisions, in order; none if they were too many to hold.
    pub events: Vec<Event>,
    /// Whether they say what was before.
    pub with_previous: bool,
}

/// What happened to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted, by a request or with its lease.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as it is now; of a deleted one only the key and `mod_revision`, the revision that deleted it.
    pub kv: KeyValue,
    /// The key as it was at the revision before, if that was to be gathered and it was there (and, when read from history, if that revision is not
    /// compacted). None for the put that made the key, be it that the same revision deleted one of its name before.
    pub prev_kv: Option<KeyValue>,
}

impl Event {
    /// The memory it takes, bytes: about.
    pub fn bytes(&self) -> usize {
        let kv = |kv: &KeyValue| kv.key.len() + kv.value.len() + 32;
        kv(&self.kv) + self.prev_kv.as_ref().map_or(0, kv)
    }
}
