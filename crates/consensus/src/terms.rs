//! The term of every entry of the log, as runs: so that a log's terms are known at any index though its entries are on disk.
//!
//! Invariants: terms never fall along the log; the runs cover exactly the indexes after `start` up to `last`.

use alloc::collections::VecDeque;
use steadfast_types::{LogIndex, LogPosition, Term};

/// The terms of a log that begins after `start`.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The position before the first entry; its term is known, its entry is not needed.
    start: LogPosition,
    /// (first index, term), ascending in both.
    runs: VecDeque<(LogIndex, Term)>,
    last: LogIndex,
}

impl Terms {
    /// An empty log that begins after `start`.
    pub(crate) fn new(start: LogPosition) -> Self {
        Terms { start, runs: VecDeque::new(), last: start.index }
    }

    pub(crate) fn start(&self) -> LogPosition {
        self.start
    }

    pub(crate) fn last(&self) -> LogPosition {
        let term = self.runs.back().map_or(self.start.term, |&(_, term)| term);
        LogPosition::new(term, self.last)
    }

    /// The term at `index`; `None` before the start and after the end.
    pub(crate) fn at(&self, index: LogIndex) -> Option<Term> {
        if index < self.start.index || index > self.last {
            return None;
        }
        // Nearly every question is about the newest run.
        match self.runs.back() {
            Some(&(first, term)) if first <= index => Some(term),
            _ => {
                let after = self.runs.partition_point(|&(first, _)| first <= index);
                Some(after.checked_sub(1).map_or(self.start.term, |run| self.runs[run].1))
            }
        }
    }

    /// Whether the log has this very entry (or begins right after it).
    pub(crate) fn holds(&self, position: LogPosition) -> bool {
        self.at(position.index) == Some(position.term)
    }

    /// Adds entries of `term` up to `last`.
    pub(crate) fn extend(&mut self, last: LogIndex, term: Term) {
        let end = self.last();
        assert!(last > end.index && term >= end.term, "an entry {last}@{term} can't follow {end}");
        if term > end.term || self.runs.is_empty() {
            self.runs.push_back((end.index.next(), term));
        }
        self.last = last;
    }

    /// Removes everything from `index` on.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        assert!(index > self.start.index, "the log begins after {} and can't be cut at {index}", self.start);
        while self.runs.back().is_some_and(|&(first, _)| first >= index) {
            self.runs.pop_back();
        }
        self.last = self.last.min(index.previous());
    }

    /// Forgets everything up to and including `through`, which must be in the log.
    pub(crate) fn compact(&mut self, through: LogPosition) {
        assert!(self.holds(through), "compacted through {through}, which the log does not hold");
        while self.runs.get(1).is_some_and(|&(first, _)| first <= through.index.next()) {
            self.runs.pop_front();
        }
        self.start = through;
        if through.index == self.last {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.0 = run.0.max(through.index.next());
        }
    }

    /// The greatest index up to `index` whose term is at most `term`, or the start (or `index` itself, if before the start).
    pub(crate) fn last_not_after(&self, index: LogIndex, term: Term) -> LogIndex {
        let mut end = index.min(self.last);
        for &(first, run) in self.runs.iter().rev() {
            if first <= end {
                if run <= term {
                    return end;
                }
                end = first.previous();
            }
        }
        end.min(self.start.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition::new(Term(term), LogIndex(index))
    }

    /// The terms `text` gives, one digit an entry, in a log that begins after entry 2 of term 1.
    fn terms(text: &str) -> Terms {
        let mut terms = Terms::new(at(1, 2));
        for (digit, index) in text.bytes().zip(3..) {
            terms.extend(LogIndex(index), Term(u64::from(digit - b'0')));
        }
        terms
    }

    fn read(terms: &Terms) -> Vec<Option<u64>> {
        (0..=terms.last().index.0 + 1).map(|index| terms.at(LogIndex(index)).map(|term| term.0)).collect()
    }

    #[test]
    fn every_index_has_its_term() {
        let terms = terms("1144466");
        let expected = [None, None, Some(1), Some(1), Some(1), Some(4), Some(4), Some(4), Some(6), Some(6), None];
        assert_eq!(read(&terms), expected);
        assert_eq!(terms.last(), at(6, 9));
        assert!(terms.holds(at(1, 2)) && terms.holds(at(4, 7)) && !terms.holds(at(4, 8)));
    }

    #[test]
    fn cutting_and_compacting_keep_the_rest() {
        let mut terms = terms("1144466");
        terms.truncate_from(LogIndex(8));
        assert_eq!(terms.last(), at(4, 7));
        terms.extend(LogIndex(8), Term(9));
        terms.compact(at(4, 5));
        assert_eq!(read(&terms), [None, None, None, None, None, Some(4), Some(4), Some(4), Some(9), None]);
        terms.compact(at(4, 7));
        assert_eq!(read(&terms)[6..], [None, Some(4), Some(9), None]);
        terms.compact(at(9, 8));
        assert_eq!((terms.start(), terms.last()), (at(9, 8), at(9, 8)));
        terms.extend(LogIndex(9), Term(9));
        assert_eq!(read(&terms)[7..], [None, Some(9), Some(9), None]);
    }

    #[test]
    fn whole_terms_are_skipped() {
        let terms = terms("1144466");
        let find = |index, term| terms.last_not_after(LogIndex(index), Term(term)).0;
        assert_eq!(find(20, 9), 9);
        assert_eq!(find(9, 5), 7);
        assert_eq!(find(6, 4), 6);
        assert_eq!(find(9, 3), 4);
        assert_eq!(find(9, 0), 2, "the start");
        assert_eq!(find(1, 9), 1, "before the start");
    }

    #[test]
    #[should_panic(expected = "can't follow")]
    fn terms_never_fall() {
        terms("44").extend(LogIndex(5), Term(3));
    }
}
