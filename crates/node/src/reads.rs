//! Requests that wait for a confirmed read index: linearizable reads, and answers that only a true leader may give.
//!
//! All that arrive in one turn share one number, and so one quorum round.

use std::collections::VecDeque;

use steadfast_consensus::{ReadNumber, ReadReady};
use steadfast_types::{Instant, LogIndex};

/// Who waits, in order of arrival.
#[derive(Debug)]
pub(crate) struct Reads<W> {
    /// The number that this turn's arrivals get.
    next: ReadNumber,
    /// Whether `next` has been given out and not asked for yet.
    fresh: bool,
    unconfirmed: VecDeque<(ReadNumber, Instant, W)>,
    /// Confirmed: waits for this index to be applied.
    unapplied: VecDeque<(LogIndex, W)>,
}

impl<W> Reads<W> {
    pub(crate) fn new() -> Self {
        Reads { next: ReadNumber(1), fresh: false, unconfirmed: VecDeque::new(), unapplied: VecDeque::new() }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.unconfirmed.len() + self.unapplied.len()
    }

    pub(crate) fn add(&mut self, waiter: W, deadline: Instant) {
        self.fresh = true;
        self.unconfirmed.push_back((self.next, deadline, waiter));
    }

    /// At a turn's end: the number to ask consensus for, if anything arrived.
    pub(crate) fn take_request(&mut self) -> Option<ReadNumber> {
        let number = self.fresh.then_some(self.next)?;
        self.fresh = false;
        self.next.0 += 1;
        Some(number)
    }

    pub(crate) fn confirmed(&mut self, ready: ReadReady) {
        while let Some((_, _, waiter)) = self.unconfirmed.pop_front_if(|(number, _, _)| *number <= ready.number) {
            self.unapplied.push_back((ready.index, waiter));
        }
    }

    /// Those whose index is applied.
    pub(crate) fn applied(&mut self, applied: LogIndex) -> Vec<W> {
        let mut ready = Vec::new();
        while let Some((_, waiter)) = self.unapplied.pop_front_if(|(index, _)| *index <= applied) {
            ready.push(waiter);
        }
        ready
    }

    /// Those whose deadline has passed. (A confirmed one is answered as soon as this node has applied what it knows to be committed.)
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<W> {
        let mut expired = Vec::new();
        while let Some((_, _, waiter)) = self.unconfirmed.pop_front_if(|(_, deadline, _)| *deadline <= now) {
            expired.push(waiter);
        }
        expired
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.unconfirmed.front().map_or(Instant::NEVER, |(_, deadline, _)| *deadline)
    }
}
