//! What a replica holds of the registers, and what it promised.

use alloc::collections::BTreeMap;
use core::cmp::Ordering;
use core::ops::Bound;

use bytes::Bytes;

use crate::message::{Accepted, Answered, Asked, Ballot, Epoch, Record, Reply, Request};

/// A replica's registers.
#[derive(Clone, Debug, Default)]
pub struct Acceptor {
    epoch: Epoch,
    registers: BTreeMap<Bytes, Held>,
    /// What is promised for all keys of which nothing is held: their registers may have been removed.
    floor: Option<Ballot>,
}

/// A register at one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// It takes part in nothing below this ballot.
    pub promised: Ballot,
    /// The ballot and the value that were accepted last.
    pub accepted: Option<Accepted>,
}

impl Held {
    /// The records that say this of a key.
    pub fn records(&self, key: &Bytes) -> impl Iterator<Item = Record> {
        let accepted = self.accepted.clone().map(|(ballot, value)| Record::Accepted { key: key.clone(), ballot, value });
        let promises = self.accepted.as_ref().is_none_or(|(ballot, _)| *ballot < self.promised);
        accepted.into_iter().chain(promises.then(|| Record::Promised { key: key.clone(), ballot: self.promised }))
    }
}

impl Acceptor {
    /// The acceptor that wrote these records down, in their order.
    pub fn restore(records: impl IntoIterator<Item = Record>) -> Self {
        let mut acceptor = Self::default();
        records.into_iter().for_each(|record| acceptor.replay(record));
        acceptor
    }

    /// Records that stand in for all that is held: for a log that is cut.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.common().chain(self.registers.iter().flat_map(|(key, held)| held.records(key)))
    }

    /// Records of what does not concern a single key: the epoch and what is promised for all keys of which nothing is held.
    pub fn common(&self) -> impl Iterator<Item = Record> {
        let floor = self.floor.map(|ballot| Record::Floor { ballot });
        core::iter::once(Record::Entered { epoch: self.epoch }).chain(floor)
    }

    /// What an earlier life wrote down. What is already known may come again, if all that came after it does too.
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::Promised { key, ballot } => {
                let held = self.registers.entry(key).or_insert(Held { promised: ballot, accepted: None });
                held.promised = held.promised.max(ballot);
            }
            Record::Accepted { key, ballot, value } => {
                let held = self.registers.entry(key).or_insert(Held { promised: ballot, accepted: None });
                held.promised = held.promised.max(ballot);
                held.accepted = Some((ballot, value));
            }
            Record::Entered { epoch } => self.epoch = self.epoch.max(epoch),
            Record::Floor { ballot } => self.floor = self.floor.max(Some(ballot)),
            Record::Left { key } => drop(self.registers.remove(&key)),
            Record::Cleared { epoch } => {
                self.epoch = self.epoch.max(epoch);
                self.registers.clear();
            }
            Record::Removed { key, ballot } => {
                self.floor = self.floor.max(Some(ballot));
                self.registers.remove(&key);
            }
        }
    }

    /// Answers in this epoch alone from now on. `None` if it is in this one, or a later one, already.
    ///
    /// An epoch in which it is not a replica of some key may not be skipped, unless nothing of the key is held: once there it has to leave the key, see
    /// [`Acceptor::leave`].
    pub fn enter(&mut self, epoch: Epoch) -> Option<Record> {
        (epoch > self.epoch).then(|| self.write(Record::Entered { epoch }))
    }

    /// Drops what it holds of a key that is not its own in the epoch that it is in; only there, and before it enters an epoch in which the key is its own
    /// again: others may remove the register meanwhile. `None` if it holds nothing.
    pub fn leave(&mut self, key: &Bytes) -> Option<Record> {
        self.registers.contains_key(key).then(|| self.write(Record::Left { key: key.clone() }))
    }

    /// Enters an epoch and drops all it holds of any key, in one step. To be done instead of [`Acceptor::enter`] and [`Acceptor::leave`] where all keys have
    /// the same replicas, and it was none of them in the new epoch or in one that it has not been in; and allowed, whatever it was, if it passes over an
    /// epoch of two sets that was over: who carried the keys then did without it. `None` if it is in this epoch, or a later one, already.
    pub fn clear(&mut self, epoch: Epoch) -> Option<Record> {
        (epoch > self.epoch).then(|| self.write(Record::Cleared { epoch }))
    }

    /// The epoch that it is in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes what a record says for true, and hands it out to be written down.
    fn write(&mut self, record: Record) -> Record {
        self.replay(record.clone());
        record
    }

    /// A proposer asks. The answer may go out when all records that were handed out until then are durable, also if there is none with this one: it may
    /// tell what an earlier one says. `None` if the request is of an epoch that has to be entered first; the proposer asks again.
    pub fn receive(&mut self, asked: Asked) -> Option<(Option<Record>, Answered)> {
        let Asked { epoch, key, round, request } = asked;
        let (record, reply) = match epoch.cmp(&self.epoch) {
            Ordering::Less => (None, Reply::OldEpoch { epoch: self.epoch }),
            Ordering::Equal => self.answer(&key, request),
            Ordering::Greater => return None,
        };
        Some((record, Answered { key, round, reply }))
    }

    fn answer(&mut self, key: &Bytes, request: Request) -> (Option<Record>, Reply) {
        let held = self.registers.get(key);
        let accepted = || held.and_then(|held| held.accepted.clone());
        match request {
            Request::Read {} => (None, Reply::Holds { accepted: accepted() }),
            Request::Prepare { ballot } => match self.refusal(held, ballot) {
                Some(promised) => (None, Reply::Refused { ballot, promised }),
                None => {
                    let reply = Reply::Promised { ballot, accepted: accepted(), floor: self.floor };
                    let is_new = held.is_none_or(|held| held.promised < ballot);
                    (is_new.then(|| self.write(Record::Promised { key: key.clone(), ballot })), reply)
                }
            },
            Request::Accept { ballot, value } => match self.refusal(held, ballot) {
                Some(promised) => (None, Reply::Refused { ballot, promised }),
                None => {
                    let before = held.and_then(|held| held.accepted.as_ref()).filter(|(before, _)| *before == ballot);
                    // Invariant 2 of the crate.
                    assert!(before.is_none_or(|(_, before)| *before == value), "two values at ballot {ballot:?} of {key:?}");
                    let is_new = before.is_none();
                    (is_new.then(|| self.write(Record::Accepted { key: key.clone(), ballot, value })), Reply::Accepted { ballot })
                }
            },
        }
    }

    /// The ballot that stands against this one. One that is equal to what was promised is the same proposer's, who asks again.
    fn refusal(&self, held: Option<&Held>, ballot: Ballot) -> Option<Ballot> {
        match held {
            Some(held) => (ballot < held.promised).then_some(held.promised),
            None => self.floor.filter(|floor| ballot <= *floor),
        }
    }

    /// What is held of a key: the ballot and the value that were accepted last.
    pub fn held(&self, key: &Bytes) -> Option<&Accepted> {
        self.registers.get(key)?.accepted.as_ref()
    }

    /// How many registers there is anything of.
    pub fn len(&self) -> usize {
        self.registers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty()
    }

    /// All that is there of a key.
    pub fn register(&self, key: &Bytes) -> Option<&Held> {
        self.registers.get(key)
    }

    /// All registers after a key, or from the first on, in order.
    pub fn registers_after(&self, key: Option<&Bytes>) -> impl Iterator<Item = (&Bytes, &Held)> {
        let from = key.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        self.registers.range((from, Bound::Unbounded))
    }

    /// Forgets a register that holds nothing since this very ballot, if all its replicas hold that deletion. What it promised since stays promised: for all
    /// keys of which nothing is held. `None` if it holds anything else.
    pub fn remove(&mut self, key: &Bytes, ballot: Ballot) -> Option<Record> {
        let held = self.registers.get(key)?;
        let is_deleted = held.accepted.as_ref().is_some_and(|(at, value)| *at == ballot && value.bytes.is_none());
        let promised = held.promised;
        is_deleted.then(|| self.write(Record::Removed { key: key.clone(), ballot: promised }))
    }

    /// Forgets a promise of a time before this ballot for a key that never held anything: promising more than was asked is always allowed, and the proposer
    /// it was given to has ended long ago, or begins again. `None` if there is no such promise.
    pub fn forget_promise(&mut self, key: &Bytes, before: Ballot) -> Option<Record> {
        let idle = self.registers.get(key).filter(|held| held.accepted.is_none() && held.promised < before)?;
        let ballot = idle.promised;
        Some(self.write(Record::Removed { key: key.clone(), ballot }))
    }
}
