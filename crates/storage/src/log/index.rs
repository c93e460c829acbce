//! Where each entry of the log stands on disk.
//!
//! 1. There is one slot for each index after `start` up to the last entry, without gaps; an entry that is lost has a *missing* slot.
//! 2. The last slot's term is known even if its entry is missing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use steadfast_types::{LogIndex, LogPosition, Term};

use super::format::SegmentNumber;

/// One entry's place. 24 bytes, so that a million small entries cost 24 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The entry's term; of a missing one, the term if it is known, else 0.
    pub(super) term: Term,
    pub(super) segment: SegmentNumber,
    /// Where in the segment the record begins.
    pub(super) offset: u32,
    /// The record's length.
    pub(super) bytes: u32,
}

impl Slot {
    /// The slot of an entry that is lost.
    pub(super) fn missing(term: Term) -> Self {
        Slot { term, segment: SegmentNumber(0), offset: 0, bytes: 0 }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.segment == SegmentNumber(0)
    }
}

/// The slots of all entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    start: LogPosition,
    slots: VecDeque<Slot>,
}

impl Slots {
    /// No entries; the log begins after `start`.
    pub(super) fn after(start: LogPosition) -> Self {
        Slots { start, slots: VecDeque::new() }
    }

    pub(super) fn start(&self) -> LogPosition {
        self.start
    }

    pub(super) fn last_index(&self) -> LogIndex {
        LogIndex(self.start.index.0 + self.slots.len() as u64)
    }

    pub(super) fn last(&self) -> LogPosition {
        let term = self.slots.back().map_or(self.start.term, |slot| slot.term);
        LogPosition { term, index: self.last_index() }
    }

    /// The position of entry `index`, if the log holds it (or begins after it) and its term is known.
    pub(super) fn position(&self, index: LogIndex) -> Option<LogPosition> {
        let term = if index == self.start.index { self.start.term } else { self.get(index)?.term };
        let known = index == self.start.index || term > Term(0) || self.get(index).is_some_and(|slot| !slot.is_missing());
        known.then_some(LogPosition { term, index })
    }

    pub(super) fn get(&self, index: LogIndex) -> Option<Slot> {
        self.offset_of(index).map(|at| self.slots[at])
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.slots.push_back(slot);
    }

    /// Replaces the slot of an entry that the log holds; says whether it does.
    pub(super) fn set(&mut self, index: LogIndex, slot: Slot) -> bool {
        let at = self.offset_of(index);
        if let Some(at) = at {
            self.slots[at] = slot;
        }
        at.is_some()
    }

    /// Drops all entries after `index`.
    pub(super) fn truncate_after(&mut self, index: LogIndex) {
        let keep = index.0.saturating_sub(self.start.index.0);
        self.slots.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Drops all entries up to `start`.
    pub(super) fn advance_start(&mut self, start: LogPosition) {
        let gone = usize::try_from(start.index.0.saturating_sub(self.start.index.0)).unwrap_or(usize::MAX);
        self.slots.drain(..gone.min(self.slots.len()));
        self.start = start;
    }

    /// Marks all entries after `index` as lost.
    pub(super) fn forget_after(&mut self, index: LogIndex) {
        let from = usize::try_from(index.0.saturating_sub(self.start.index.0)).unwrap_or(usize::MAX);
        self.slots.iter_mut().skip(from).for_each(|slot| *slot = Slot::missing(Term(0)));
    }

    /// Makes `last` the last entry: drops what is after it, or adds lost ones up to it. A kept entry that contradicts it discredits all.
    pub(super) fn end_at(&mut self, last: LogPosition) {
        self.truncate_after(last.index);
        let lost = last.index.0.saturating_sub(self.last_index().0);
        self.slots.extend((0..lost).map(|_| Slot::missing(Term(0))));
        if self.slots.back().is_some_and(|slot| !slot.is_missing() && slot.term != last.term) {
            self.forget_after(self.start.index);
        }
        if let Some(slot) = self.slots.back_mut().filter(|slot| slot.is_missing()) {
            slot.term = last.term;
        }
    }

    /// The first index of each run of entries of one term, with the term. A lost entry whose term is unknown counts with its predecessor.
    pub(super) fn terms(&self) -> Vec<(LogIndex, Term)> {
        let mut runs: Vec<(LogIndex, Term)> = Vec::new();
        for (index, slot) in self.iter() {
            let term = if slot.is_missing() { slot.term.max(runs.last().map_or(self.start.term, |run| run.1)) } else { slot.term };
            if runs.last().is_none_or(|run| run.1 != term) {
                runs.push((index, term));
            }
        }
        runs
    }

    /// The ranges of lost entries.
    pub(super) fn holes(&self) -> Vec<Range<LogIndex>> {
        let mut holes: Vec<Range<LogIndex>> = Vec::new();
        for (index, _) in self.iter().filter(|(_, slot)| slot.is_missing()) {
            match holes.last_mut() {
                Some(hole) if hole.end == index => hole.end = index.next(),
                Some(_) | None => holes.push(index..index.next()),
            }
        }
        holes
    }

    /// The bytes of all records after `index`.
    pub(super) fn bytes_after(&self, index: LogIndex) -> u64 {
        let from = usize::try_from(index.0.saturating_sub(self.start.index.0)).unwrap_or(usize::MAX);
        self.slots.iter().skip(from).map(|slot| u64::from(slot.bytes)).sum()
    }

    /// The last index whose later records hold at least `bytes`; `start` if all do not.
    pub(super) fn index_with_bytes_after(&self, bytes: u64) -> LogIndex {
        let mut found = 0;
        for (index, slot) in self.iter().rev() {
            if found >= bytes {
                return index;
            }
            found += u64::from(slot.bytes);
        }
        self.start.index
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (LogIndex, Slot)> {
        let first = self.start.index.0 + 1;
        self.slots.iter().enumerate().map(move |(at, &slot)| (LogIndex(first + at as u64), slot))
    }

    fn offset_of(&self, index: LogIndex) -> Option<usize> {
        let at = index.0.checked_sub(self.start.index.0 + 1)?;
        usize::try_from(at).ok().filter(|&at| at < self.slots.len())
    }
}

/// What the writer and the readers of a log share.
#[derive(Debug)]
pub(super) struct Index<F> {
    pub(super) slots: Slots,
    pub(super) files: BTreeMap<SegmentNumber, Arc<F>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(term: u64) -> Slot {
        Slot { term: Term(term), segment: SegmentNumber(1), offset: 0, bytes: 100 }
    }

    fn slots(start: u64, terms: &[u64]) -> Slots {
        let mut slots = Slots::after(LogPosition::new(Term(1), LogIndex(start)));
        terms.iter().for_each(|&term| slots.push(slot(term)));
        slots
    }

    #[test]
    fn losses_become_holes_and_terms_run_through_them() {
        let mut slots = slots(10, &[1, 2, 2]);
        slots.forget_after(LogIndex(12));
        slots.end_at(LogPosition::new(Term(4), LogIndex(15)));
        slots.push(slot(4));
        assert_eq!(slots.holes(), [LogIndex(13)..LogIndex(16)]);
        assert_eq!(slots.terms(), [(LogIndex(11), Term(1)), (LogIndex(12), Term(2)), (LogIndex(15), Term(4))]);
        assert_eq!(slots.position(LogIndex(15)), Some(LogPosition::new(Term(4), LogIndex(15))));
        assert_eq!(slots.position(LogIndex(14)), None);
        assert_eq!(slots.position(LogIndex(10)), Some(LogPosition::new(Term(1), LogIndex(10))));
        assert!(slots.set(LogIndex(14), slot(3)) && !slots.set(LogIndex(10), slot(3)) && !slots.set(LogIndex(17), slot(3)));
        assert_eq!(slots.holes(), [LogIndex(13)..LogIndex(14), LogIndex(15)..LogIndex(16)]);
    }

    #[test]
    fn a_contradiction_discredits_all() {
        let mut slots = slots(0, &[1, 1, 1]);
        slots.end_at(LogPosition::new(Term(2), LogIndex(2)));
        assert_eq!(slots.holes(), [LogIndex(1)..LogIndex(3)]);
        assert_eq!(slots.last(), LogPosition::new(Term(2), LogIndex(2)));
    }

    #[test]
    fn both_ends_move() {
        let mut slots = slots(10, &[1, 2, 3]);
        slots.truncate_after(LogIndex(12));
        slots.advance_start(LogPosition::new(Term(1), LogIndex(11)));
        assert_eq!((slots.start().index, slots.last()), (LogIndex(11), LogPosition::new(Term(2), LogIndex(12))));
        slots.advance_start(LogPosition::new(Term(5), LogIndex(20)));
        assert_eq!(slots.last(), LogPosition::new(Term(5), LogIndex(20)));
        slots.truncate_after(LogIndex(3));
        assert_eq!(slots.last_index(), LogIndex(20));
    }

    #[test]
    fn a_compaction_point_keeps_at_least_the_bytes_asked_for() {
        let slots = slots(0, &[1; 10]);
        assert_eq!(slots.index_with_bytes_after(0), LogIndex(10));
        assert_eq!(slots.index_with_bytes_after(250), LogIndex(7));
        assert_eq!(slots.bytes_after(LogIndex(7)), 300);
        assert_eq!(slots.index_with_bytes_after(1000), LogIndex(0));
        assert_eq!(slots.index_with_bytes_after(5000), LogIndex(0));
    }
}
