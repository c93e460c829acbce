//! What clients asked and were told, and what the store says it did: the input of the checkers.
//!
//! Every request on keys is a [`Transaction`]: a plain read, write or delete is one without conditions and with one step.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_types::Revision;
use steadfast_types::time::Duration;

use crate::auth::Change as RightsChange;
use crate::time::Time;

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; a client has one request under way at a time.
    pub client: usize,
    /// What.
    pub request: Request,
    /// When it was sent.
    pub invoked: Time,
    /// When the answer came and what it said; `None`: no answer, and the request may still take effect at any later time.
    pub answer: Option<(Time, Answer)>,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reads and writes keys, linearizably.
    Transaction(Transaction),
    /// A new lease under an id that no other request grants.
    Grant {
        /// Its id.
        lease: Lease,
        /// How long it lives at least.
        ttl: Duration,
    },
    /// The lease's time begins again.
    KeepAlive {
        /// Which.
        lease: Lease,
    },
    /// The lease ends, and its keys are deleted.
    Revoke {
        /// Which.
        lease: Lease,
    },
    /// Users or roles change.
    Administer(RightsChange),
    /// A token for whoever asks.
    Authenticate,
}

/// The id of a lease; 0: none.
pub type Lease = i64;

/// If all conditions hold, does `then`, step by step, and otherwise `otherwise`; at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Keys, and the revision that must have written each last (0: it is not there).
    pub conditions: Vec<(Bytes, Revision)>,
    /// If all hold.
    pub then: Vec<Step>,
    /// If one does not.
    pub otherwise: Vec<Step>,
}

impl Transaction {
    /// Without conditions.
    pub fn of(step: Step) -> Self {
        Transaction { then: vec![step], ..Transaction::default() }
    }

    /// A write if the key was last written at `expected` (0: if it is not there); reads the key otherwise.
    pub fn compare_and_put(key: Bytes, expected: Revision, value: Bytes) -> Self {
        let otherwise = vec![Step::Read(Span::one(key.clone()))];
        Transaction { conditions: vec![(key.clone(), expected)], then: vec![Step::Put { key, value, lease: 0, asks: true }], otherwise }
    }

    /// All steps of both branches.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.then.iter().chain(&self.otherwise)
    }
}

/// One step of a transaction. Every written value is unique in its history, so that it names its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads keys.
    Read(Span),
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// A value that no other step writes.
        value: Bytes,
        /// The lease that it belongs to from then on.
        lease: Lease,
        /// Whether it answers what was there.
        asks: bool,
    },
    /// Deletes keys; answers what was there.
    Delete(Span),
}

/// Keys from `first` on, before `end`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first key.
    pub first: Bytes,
    /// The key after the last; `None`: `first` alone.
    pub end: Option<Bytes>,
}

impl Span {
    /// One key.
    pub fn one(key: Bytes) -> Self {
        Span { first: key, end: None }
    }

    /// Whether a key is one of them.
    pub fn contains(&self, key: &Bytes) -> bool {
        self.end.as_ref().map_or(*key == self.first, |end| (&self.first..end).contains(&key))
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request had no effect and never will.
    Refused,
    /// The same, because its lease does not exist.
    LeaseNotFound,
    /// The lease was granted or kept alive, for so long.
    Alive(Duration),
    /// The lease was revoked.
    Revoked {
        /// The store's revision after it.
        revision: Revision,
    },
    /// Users and roles are as was asked.
    Accepted {
        /// The store's revision then.
        revision: Revision,
    },
    /// A token was given out.
    Token {
        /// The auth revision that it is good for.
        revision: u64,
    },
    /// A transaction was done.
    Done {
        /// The store's revision: of what changed something, its own; else the one that it was decided at.
        revision: Revision,
        /// Whether it changed anything.
        changed: bool,
        /// Whether all conditions held.
        succeeded: bool,
        /// For each step what it read, or what was there before it; `None`: the answer does not say.
        seen: Vec<Option<Seen>>,
    },
}

/// Keys as a client saw them.
pub type Seen = BTreeMap<Bytes, Version>;

/// A key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The revision that wrote it.
    pub revision: Revision,
    /// What it wrote.
    pub value: Bytes,
}

/// One key's change, as the store's own change feed reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The new value; `None`: deleted.
    pub value: Option<Bytes>,
    /// The lease that it belongs to.
    pub lease: Lease,
}

/// All changes of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revised {
    /// When it was seen first, by anyone: it happened before.
    pub seen: Time,
    /// The changes; no key twice.
    pub changes: Vec<Change>,
}

/// Everything that is known about a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All requests, by time of invocation.
    pub operations: Vec<Operation>,
    /// All changes by revision, from the first to the last.
    pub changes: BTreeMap<Revision, Revised>,
}
