//! What proposers and acceptors say to each other about a key, and what an acceptor writes down.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Version, VersionVector};
use steadfast_types::{wire_enum, wire_struct};

use crate::limits::WRITERS;

/// When who proposed: the order of proposals.
pub type Ballot = Version;

/// Which set of replicas is meant; strong state counts them.
pub type Epoch = u64;

/// What a register holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// The value; `None` if it was never written, or was deleted.
    pub bytes: Option<Bytes>,
    /// The ballot of each proposer's last change: by it a proposer finds out whether what it tried took effect.
    pub writers: VersionVector,
    /// `writers` says nothing of changes up to this ballot: the register may have been removed after it, and begun anew, or there were too many.
    pub forgotten: Option<Ballot>,
    /// Nor does it say anything of changes that were tried in epochs before this one: in it the register began, perhaps after it had been removed.
    pub began: Epoch,
}

wire_struct!(Value { bytes, writers, forgotten, began });

impl Value {
    /// A value that goes on from nothing, in this epoch; `floor` is the greatest among the promises.
    pub(crate) fn new(floor: Option<Ballot>, began: Epoch) -> Self {
        Self { forgotten: floor, began, ..Self::default() }
    }

    /// Whether it says nothing of what was tried at this ballot in this epoch.
    pub(crate) fn forgets(&self, epoch: Epoch, ballot: Ballot) -> bool {
        epoch < self.began || Some(ballot) <= self.forgotten
    }

    /// It follows a change at this ballot. Of too many writers those whose changes are the oldest are forgotten.
    pub(crate) fn follows(&mut self, ballot: Ballot) {
        self.writers.saw(ballot);
        if self.writers.iter().nth(WRITERS).is_some() {
            let mut changes: Vec<Version> = self.writers.iter().collect();
            changes.sort_unstable();
            for oldest in &changes[..changes.len() - WRITERS / 2] {
                self.writers.forget(oldest.actor());
                self.forgotten = self.forgotten.max(Some(*oldest));
            }
        }
    }
}

/// A value and the ballot at which it was accepted.
pub type Accepted = (Ballot, Value);

/// From a proposer to an acceptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// "What do you hold?" Changes nothing.
    Read {},
    /// "Take part in nothing below this ballot, and tell me what you hold" (phase 1).
    Prepare {
        /// The proposer's ballot.
        ballot: Ballot,
    },
    /// "Hold this from now on" (phase 2).
    Accept {
        /// The proposer's ballot.
        ballot: Ballot,
        /// The value.
        value: Value,
    },
}

wire_enum!(Request { 1 => Read {}, 2 => Prepare { ballot }, 3 => Accept { ballot, value } });

/// An acceptor's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a read: what it holds.
    Holds {
        /// The value and its ballot, if any was ever accepted.
        accepted: Option<Accepted>,
    },
    /// To a prepare: it promises.
    Promised {
        /// The ballot that was prepared.
        ballot: Ballot,
        /// What it holds.
        accepted: Option<Accepted>,
        /// It may have forgotten registers that were deleted up to this ballot.
        floor: Option<Ballot>,
    },
    /// To an accept: it holds it.
    Accepted {
        /// The ballot.
        ballot: Ballot,
    },
    /// To a prepare or accept: it promised otherwise.
    Refused {
        /// The ballot that was asked.
        ballot: Ballot,
        /// The least that it would take part in is greater than this.
        promised: Ballot,
    },
    /// The proposer's idea of the replicas is out of date.
    OldEpoch {
        /// The epoch that the acceptor is in.
        epoch: Epoch,
    },
}

wire_enum!(Reply {
    1 => Holds { accepted },
    2 => Promised { ballot, accepted, floor },
    3 => Accepted { ballot },
    4 => Refused { ballot, promised },
    5 => OldEpoch { epoch },
});

/// A request about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The replicas that the proposer means.
    pub epoch: Epoch,
    /// The key.
    pub key: Bytes,
    /// A version of the proposer's clock, as ballots are, which comes back with the answer: whatever was answered to something else is recognised by it, also
    /// what was asked by an earlier life of the proposer.
    pub round: Version,
    /// What it asks.
    pub request: Request,
}

wire_struct!(Asked { epoch, key, round, request });

/// The answer to a request about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The key.
    pub key: Bytes,
    /// The request's.
    pub round: Version,
    /// The answer.
    pub reply: Reply,
}

wire_struct!(Answered { key, round, reply });

/// What an acceptor must not forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing below this ballot, for this key.
    Promised {
        /// The key.
        key: Bytes,
        /// The ballot.
        ballot: Ballot,
    },
    /// This is what the key holds.
    Accepted {
        /// The key.
        key: Bytes,
        /// The ballot, which is promised with it.
        ballot: Ballot,
        /// The value.
        value: Value,
    },
    /// Nothing of any other epoch.
    Entered {
        /// The epoch.
        epoch: Epoch,
    },
    /// Nothing up to this ballot, for all keys of which nothing is held.
    Floor {
        /// The ballot.
        ballot: Ballot,
    },
    /// The key is not this replica's in the epoch that it is in: nothing of it is held any more.
    Left {
        /// The key.
        key: Bytes,
    },
    /// Nothing of any other epoch, and nothing is held any more of any key.
    Cleared {
        /// The epoch.
        epoch: Epoch,
    },
    /// The key's register is gone, and with it what was promised up to this ballot, which is the floor from now on.
    Removed {
        /// The key.
        key: Bytes,
        /// The ballot.
        ballot: Ballot,
    },
}

wire_enum!(Record {
    1 => Promised { key, ballot },
    2 => Accepted { key, ballot, value },
    3 => Entered { epoch },
    4 => Floor { ballot },
    5 => Removed { key, ballot },
    6 => Left { key },
    7 => Cleared { epoch },
});

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;
    use steadfast_crdt::{Actor, Time};

    use super::*;

    proptest! {
        #[test]
        fn a_value_names_the_change_of_a_writer_or_says_that_it_forgot_it(writers in proptest::collection::vec(0..100_u16, 0..200)) {
            let (mut value, mut last) = (Value::default(), BTreeMap::new());
            for (number, place) in writers.into_iter().enumerate() {
                let actor = Actor::new(place).unwrap();
                let ballot = Version::new(Time::at_unix_ms(Time::EPOCH_MS + number as u64), actor);
                value.follows(ballot);
                last.insert(actor, ballot);
                prop_assert_eq!(value.writers.of(actor), Some(ballot.time()));
                prop_assert!(value.writers.iter().count() <= WRITERS);
                for (actor, ballot) in &last {
                    prop_assert!(value.writers.of(*actor) == Some(ballot.time()) || value.forgets(0, *ballot));
                }
            }
        }
    }
}
