//! Frees the room of registers that are deleted, and of promises that nobody needs any more.
//!
//! Every replica looks through its registers, some at a time. Deletions that are old enough are named to the lowest replica, which removes them
//! ([`steadfast_register::removal`]) a batch at a time, as long as it is connected to all replicas: without all of them nothing can be removed. Two that
//! take themselves for the lowest do no harm. What one round did not get done the next one finds again.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Actor, Time, Version};
use steadfast_register::acceptor::Acceptor;
use steadfast_register::message::Ballot;
use steadfast_register::removal::{Progress, Removal, Said};
use steadfast_types::{Instant, NodeId};

use super::assignment::Assignment;
use super::limits::{BATCH, CANDIDATES, DELETED_MS, LOOKED_AT, PROMISED_MS, SAY_AGAIN, SWEEP};
use super::message::Message;

#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The last key that was looked at, if it is under way.
    at: Option<Option<Bytes>>,
    begins: Instant,
    /// Deleted keys that wait to be removed, or to be named to the one who removes.
    candidates: BTreeSet<Bytes>,
    removal: Option<(u64, Removal)>,
    asked: Instant,
    number: u64,
}

/// What came of a step.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// To be said.
    pub(super) said: Vec<(NodeId, Message)>,
    /// Promises that are to be forgotten, if they are of a time before the ballot.
    pub(super) idle: Vec<Bytes>,
    /// Deletions that are to be written to all replicas first.
    pub(super) spread: Vec<Bytes>,
}

/// The least ballot that is not older than so many milliseconds.
pub(super) fn before(wall: Time, ms: u64) -> Ballot {
    Version::new(Time::at_unix_ms(wall.unix_ms().saturating_sub(ms)), Actor::default())
}

impl Sweep {
    /// The replicas are others: what is under way is of no use.
    pub(super) fn moved(&mut self) {
        *self = Self { number: self.number, ..Self::default() };
    }

    /// Another replica, or this one, has found these deleted.
    pub(super) fn found(&mut self, keys: impl IntoIterator<Item = Bytes>) {
        let room = CANDIDATES.saturating_sub(self.candidates.len());
        self.candidates.extend(keys.into_iter().take(room).map(|key| Bytes::copy_from_slice(&key)));
    }

    /// Time passed.
    pub(super) fn tick(
        &mut self,
        (now, wall): (Instant, Time),
        node: NodeId,
        assignment: &Assignment,
        connected: &BTreeSet<NodeId>,
        acceptor: &Acceptor,
    ) -> Swept {
        let mut swept = Swept { idle: self.look(now, wall, acceptor), ..Swept::default() };
        let replicas = assignment.replicas();
        let all = replicas.all();
        let is_there = |other: &NodeId| *other == node || connected.contains(other);
        if !assignment.includes(node) || !all.iter().all(is_there) {
            self.removal = None;
            self.candidates.clear();
            return swept;
        }
        match all.into_iter().min() {
            Some(lowest) if lowest != node => {
                let keys: Vec<Bytes> = core::iter::from_fn(|| self.candidates.pop_first()).take(BATCH).collect();
                if !keys.is_empty() {
                    swept.said.push((lowest, Message::Deleted { keys }));
                }
            }
            _ if self.removal.is_none() && !self.candidates.is_empty() => {
                let keys: Vec<Bytes> = core::iter::from_fn(|| self.candidates.pop_first()).take(BATCH).collect();
                self.number += 1;
                let removal = Removal::new(keys, &replicas);
                let progress = removal.progress();
                self.removal = Some((self.number, removal));
                self.go_on(now, progress, &mut swept);
            }
            _ if self.asked + SAY_AGAIN <= now => {
                if let Some(progress) = self.removal.as_ref().map(|(_, removal)| removal.progress()) {
                    self.go_on(now, progress, &mut swept);
                }
            }
            _ => {}
        }
        swept
    }

    /// Looks at some more registers. Gives those that hold nothing, and are not asked for any more.
    fn look(&mut self, now: Instant, wall: Time, acceptor: &Acceptor) -> Vec<Bytes> {
        let mut idle = Vec::new();
        if self.at.is_none() && self.begins <= now {
            self.at = Some(None);
        }
        let Some(at) = self.at.clone() else { return idle };
        let (deleted, promised) = (before(wall, DELETED_MS), before(wall, PROMISED_MS));
        let mut looked = 0;
        for (key, held) in acceptor.registers_after(at.as_ref()).take(LOOKED_AT) {
            if self.candidates.len() == CANDIDATES || idle.len() == BATCH {
                return idle;
            }
            (looked, self.at) = (looked + 1, Some(Some(key.clone())));
            match &held.accepted {
                Some((ballot, value)) if value.bytes.is_none() && *ballot < deleted => drop(self.candidates.insert(key.clone())),
                None if held.promised < promised => idle.push(key.clone()),
                _ => {}
            }
        }
        if looked < LOOKED_AT {
            (self.at, self.begins) = (None, now + SWEEP);
        }
        idle
    }

    /// A replica answered.
    pub(super) fn receive(&mut self, now: Instant, from: NodeId, number: u64, said: Said) -> Swept {
        let mut swept = Swept::default();
        if let Some((_, removal)) = self.removal.as_mut().filter(|(own, _)| *own == number) {
            let before = removal.progress();
            let progress = removal.receive(from, said);
            // Those that are missing were asked already, if it is the same question.
            if !is_same_question(&before, &progress) {
                self.go_on(now, progress, &mut swept);
            }
        }
        swept
    }

    fn go_on(&mut self, now: Instant, progress: Progress, swept: &mut Swept) {
        match progress {
            Progress::Ask(nodes, ask) => {
                self.asked = now;
                let number = self.number;
                swept.said.extend(nodes.into_iter().map(|to| (to, Message::Remove { number, ask: ask.clone() })));
            }
            Progress::Over { spread } => {
                self.removal = None;
                swept.spread = spread;
            }
        }
    }

    /// When there is something to do.
    pub(super) fn is_busy(&self) -> bool {
        self.at.is_some() || self.removal.is_some() || !self.candidates.is_empty()
    }

    pub(super) fn begins(&self) -> Instant {
        self.begins
    }
}

fn is_same_question(before: &Progress, now: &Progress) -> bool {
    matches!((before, now), (Progress::Ask(_, one), Progress::Ask(_, other)) if one == other)
}
