//! What clients asked and were told, and what the store says it did: the input of the checkers, whether simulated or real.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_types::Revision;

use crate::world::Time;

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; a client has one request under way at a time.
    pub client: usize,
    /// What.
    pub action: Action,
    /// When it was sent.
    pub invoked: Time,
    /// When the answer came and what it said; `None`: no answer, and the request may still take effect at any later time.
    pub answer: Option<(Time, Answer)>,
}

/// What a client asks. Every written value is unique in its history, so that it names its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A linearizable read of one key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// A write that also asks for what was there.
    Put {
        /// The key.
        key: Bytes,
        /// A value that no other request writes.
        value: Bytes,
    },
    /// A delete that also asks for what was there.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// A write if the key was last written at `expected` (0: if it is not there); reads the key otherwise.
    CompareAndPut {
        /// The key.
        key: Bytes,
        /// The revision that must have written it last.
        expected: Revision,
        /// A value that no other request writes.
        value: Bytes,
    },
}

impl Action {
    /// The key that it is about.
    pub fn key(&self) -> &Bytes {
        match self {
            Action::Get { key } | Action::Put { key, .. } | Action::Delete { key } | Action::CompareAndPut { key, .. } => key,
        }
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request had no effect and never will.
    Refused,
    /// The request was done.
    Done {
        /// The store's revision: of a write that took effect, its own; else the one that it was decided at.
        revision: Revision,
        /// Whether it changed anything.
        changed: bool,
        /// A write that changed something: the key as it was before, if the request asked for that. Else: the key as it is.
        seen: Seen,
    },
}

/// How a key was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The answer does not say.
    Unknown,
    /// It was not there.
    Absent,
    /// It had this value, written at this revision.
    Present(Revision, Bytes),
}

/// One key's change, as the store's own change feed reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The new value; `None`: deleted.
    pub value: Option<Bytes>,
}

/// Everything that is known about a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All requests, by time of invocation.
    pub operations: Vec<Operation>,
    /// All changes by revision, from the first to the last; no revision twice.
    pub changes: BTreeMap<Revision, Vec<Change>>,
}
