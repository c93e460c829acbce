//! Requests that wait for a confirmed read index: linearizable reads, and answers that only a true leader may give.
//!
//! All that arrive in one turn share one number, and so one quorum round. Everyone waits at most until their deadline, confirmed or not: an
//! index that the leader confirmed may be one that this node learns of only much later.

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
    unapplied: VecDeque<(LogIndex, Instant, W)>,
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
        while let Some((_, deadline, waiter)) = self.unconfirmed.pop_front_if(|(number, _, _)| *number <= ready.number) {
            self.unapplied.push_back((ready.index, deadline, waiter));
        }
    }

    /// Those whose index is applied.
    pub(crate) fn applied(&mut self, applied: LogIndex) -> Vec<W> {
        let mut ready = Vec::new();
        while let Some((_, _, waiter)) = self.unapplied.pop_front_if(|(index, _, _)| *index <= applied) {
            ready.push(waiter);
        }
        ready
    }

    /// Those whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<W> {
        let mut expired = expire(&mut self.unconfirmed, now);
        expired.extend(expire(&mut self.unapplied, now));
        expired
    }
}

/// Deadlines come in any order: requests bring their own.
fn expire<N, W>(waiting: &mut VecDeque<(N, Instant, W)>, now: Instant) -> Vec<W> {
    if waiting.iter().all(|(_, deadline, _)| *deadline > now) {
        return Vec::new();
    }
    let (late, rest): (VecDeque<_>, VecDeque<_>) = waiting.drain(..).partition(|(_, deadline, _)| *deadline <= now);
    *waiting = rest;
    late.into_iter().map(|(_, _, waiter)| waiter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(number: u64, index: u64) -> ReadReady {
        ReadReady { number: ReadNumber(number), index: LogIndex(index) }
    }

    #[test]
    fn one_number_for_all_of_a_turn_and_an_answer_only_once_applied() {
        let mut reads = Reads::new();
        reads.add('a', Instant(10));
        reads.add('b', Instant(10));
        assert_eq!((reads.take_request(), reads.take_request()), (Some(ReadNumber(1)), None));
        reads.add('c', Instant(10));
        assert_eq!(reads.take_request(), Some(ReadNumber(2)));
        reads.confirmed(ready(1, 5));
        assert!(reads.applied(LogIndex(4)).is_empty());
        assert_eq!(reads.applied(LogIndex(5)), ['a', 'b'], "a later read needs its own confirmation");
        reads.confirmed(ready(2, 5));
        assert_eq!((reads.applied(LogIndex(5)), reads.len()), (vec!['c'], 0));
    }

    #[test]
    fn whoever_waits_is_answered_by_the_deadline() {
        let mut reads = Reads::new();
        reads.add("long", Instant(90));
        reads.add("confirmed, never applied", Instant(20));
        reads.take_request();
        reads.confirmed(ready(1, 100));
        reads.add("longer", Instant(99));
        reads.add("behind it", Instant(20));
        assert!(reads.expire(Instant(19)).is_empty());
        assert_eq!(reads.expire(Instant(20)), ["behind it", "confirmed, never applied"]);
        assert_eq!(reads.expire(Instant(99)), ["longer", "long"]);
    }
}
