//! The log as consensus sees it: every entry's term, the recent entries themselves, and how far it is durable, committed and applied.
//!
//! Invariants:
//! 1. What is committed is never cut off.
//! 2. Entries stay in memory until they are applied *and* durable; beyond that, about `recent_entry_bytes` of them for followers.
//! 3. How many bytes are not yet both committed and durable is always known, so that a leader can bound them.
//! 4. `emitted <= commit <= last`, `applied <= emitted`, `durable <= last`; commit only grows.
//!
//! Left out: what is on disk (the log writer's business), and which configuration the entries carry (`membership`).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use steadfast_types::{Entry, LogIndex, LogPosition, Term};

use crate::raft::Recovered;
use crate::terms::Terms;

/// See the file's documentation.
#[derive(Debug)]
pub(crate) struct Log {
    terms: Terms,
    /// The newest entries, without gaps up to the last.
    entries: VecDeque<Entry>,
    /// The sizes of `entries`, summed.
    bytes: usize,
    recent_bytes: usize,
    commit: LogIndex,
    durable: LogIndex,
    /// Handed over as committed.
    emitted: LogIndex,
    applied: LogIndex,
    /// Committed and durable up to here.
    settled: LogIndex,
    /// The sizes of all entries after `settled`, summed.
    unsettled_bytes: usize,
}

impl Log {
    /// The log that storage found. All of it is durable, and committed as far as the state machine has it.
    pub(crate) fn recovered(recovered: &Recovered, recent_bytes: usize) -> Self {
        let snapshot = recovered.snapshot;
        let mut log = Log {
            terms: recovered_terms(recovered),
            entries: VecDeque::new(),
            bytes: 0,
            recent_bytes,
            commit: snapshot.index,
            durable: snapshot.index,
            emitted: snapshot.index,
            applied: snapshot.index,
            settled: snapshot.index,
            unsettled_bytes: 0,
        };
        for entry in &recovered.entries {
            log.append(entry.clone());
        }
        log.durable = log.last().index;
        log
    }

    pub(crate) fn start(&self) -> LogPosition {
        self.terms.start()
    }
    pub(crate) fn last(&self) -> LogPosition {
        self.terms.last()
    }
    pub(crate) fn commit(&self) -> LogIndex {
        self.commit
    }
    pub(crate) fn durable(&self) -> LogIndex {
        self.durable
    }
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.terms.at(index)
    }
    pub(crate) fn holds(&self, position: LogPosition) -> bool {
        self.terms.holds(position)
    }

    /// See [`Terms::last_not_after`].
    pub(crate) fn last_not_after(&self, index: LogIndex, term: Term) -> LogIndex {
        self.terms.last_not_after(index, term)
    }

    /// The position of an entry that must be there.
    pub(crate) fn position(&self, index: LogIndex) -> LogPosition {
        let term = self.term_at(index);
        let held = (self.start().index, self.last().index);
        LogPosition::new(term.unwrap_or_else(|| panic!("asked for entry {index} of a log that spans {held:?}")), index)
    }

    /// The term of the last committed entry.
    pub(crate) fn committed_term(&self) -> Term {
        self.position(self.commit).term
    }

    /// The term of the last durable entry.
    pub(crate) fn durable_term(&self) -> Term {
        self.position(self.durable).term
    }

    /// Adds the next entry.
    pub(crate) fn append(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last().index.next(), "an entry that does not follow {}", self.last());
        self.terms.extend(entry.index, entry.term);
        self.bytes += entry.size();
        self.unsettled_bytes += entry.size();
        self.entries.push_back(entry);
    }

    /// Removes everything from `index` on.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        assert!(index > self.commit, "entry {index} conflicts with a leader's, and entries up to {} are committed", self.commit);
        self.terms.truncate_from(index);
        self.unsettled_bytes -= self.bytes_after(index.previous());
        while self.entries.back().is_some_and(|entry| entry.index >= index) {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| entry.size());
        }
        self.durable = self.durable.min(index.previous());
    }

    /// The log is durable up to `index`.
    pub(crate) fn synced(&mut self, index: LogIndex) {
        assert!(index <= self.last().index, "entry {index} is durable and the log ends at {}", self.last());
        self.durable = self.durable.max(index);
        self.settle();
    }

    /// Entries up to `index` are committed.
    pub(crate) fn commit_to(&mut self, index: LogIndex) {
        assert!(index <= self.last().index, "entry {index} is committed and the log ends at {}", self.last());
        self.commit = self.commit.max(index);
        self.settle();
    }

    /// The state machine has entries up to `index`.
    pub(crate) fn applied(&mut self, index: LogIndex) {
        assert!(index <= self.emitted, "entry {index} is applied, and only those up to {} were handed out", self.emitted);
        self.applied = self.applied.max(index);
        self.evict();
    }

    /// The committed entries that were not handed out yet.
    pub(crate) fn take_committed(&mut self) -> Vec<Entry> {
        if self.emitted == self.commit {
            return Vec::new();
        }
        let from = self.memory_offset(self.emitted.next()).expect("entries not handed out are in memory");
        let count = (self.commit.0 - self.emitted.0) as usize;
        self.emitted = self.commit;
        self.entries.range(from..from + count).cloned().collect()
    }

    /// Where in `entries` an index is, if it is there.
    fn memory_offset(&self, index: LogIndex) -> Option<usize> {
        let first = self.entries.front()?.index;
        let offset = usize::try_from(index.0.checked_sub(first.0)?).ok()?;
        (offset < self.entries.len()).then_some(offset)
    }

    /// Entries from `from` on that are in memory, about `max_bytes` of them and at least one; empty if `from` is not in memory.
    pub(crate) fn read(&self, from: LogIndex, max_bytes: usize) -> Vec<Entry> {
        let Some(offset) = self.memory_offset(from) else { return Vec::new() };
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.size();
            bytes <= max_bytes || entry.index == from
        };
        self.entries.range(offset..).take_while(fits).cloned().collect()
    }

    /// The bytes of all entries after `index` that are in memory.
    fn bytes_after(&self, index: LogIndex) -> usize {
        let offset = self.memory_offset(index.next()).unwrap_or(self.entries.len());
        self.entries.range(offset..).map(Entry::size).sum()
    }

    /// The bytes of all entries that are not both committed and durable.
    pub(crate) fn unsettled_bytes(&self) -> usize {
        self.unsettled_bytes
    }

    /// Counts down what is now committed and durable, and lets go of what nobody needs in memory.
    fn settle(&mut self) {
        let settled = self.commit.min(self.durable);
        if settled > self.settled {
            let offset = self.memory_offset(self.settled.next()).expect("what is not committed and durable is in memory");
            let count = (settled.0 - self.settled.0) as usize;
            self.unsettled_bytes -= self.entries.range(offset..offset + count).map(Entry::size).sum::<usize>();
            self.settled = settled;
        }
        self.evict();
    }

    /// The log on disk begins after `through`.
    pub(crate) fn compact(&mut self, through: LogPosition) {
        assert!(through.index <= self.applied, "compacted through {through}, and only entries up to {} are applied", self.applied);
        if through.index <= self.start().index {
            return;
        }
        self.terms.compact(through);
        while self.entries.front().is_some_and(|entry| entry.index <= through.index) {
            self.pop_front();
        }
    }

    /// A snapshot has taken the place of everything up to `position`; the rest is dropped.
    pub(crate) fn reset(&mut self, position: LogPosition) {
        assert!(position.index > self.commit, "a snapshot at {position} would undo entries up to {}", self.commit);
        self.terms = Terms::new(position);
        self.entries.clear();
        self.bytes = 0;
        self.durable = position.index;
        self.settled = position.index;
        self.unsettled_bytes = 0;
        self.skip_to(position.index);
    }

    /// The state machine holds a snapshot of an entry that the log has: all up to it is committed, and need not be handed out.
    pub(crate) fn skip_to(&mut self, index: LogIndex) {
        self.commit = self.commit.max(index);
        self.emitted = self.emitted.max(index);
        self.applied = self.applied.max(index);
        self.settle();
    }

    fn evict(&mut self) {
        let kept_from = self.applied.min(self.durable);
        while self.bytes > self.recent_bytes && self.entries.front().is_some_and(|entry| entry.index <= kept_from) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.size());
    }
}

/// The terms of the part of the log that lies before what is replayed.
fn recovered_terms(recovered: &Recovered) -> Terms {
    let snapshot = recovered.snapshot;
    let Some(&(first, term)) = recovered.terms.first() else { return Terms::new(snapshot) };
    assert!(first <= snapshot.index, "the log's terms begin at {first}, after the snapshot at {snapshot}");
    // The term before the first entry is not known unless the log is whole; so the view begins after the first entry.
    let start = if first == LogIndex(1) { LogPosition::default() } else { LogPosition::new(term, first) };
    let mut terms = Terms::new(start);
    for (position, &(_, term)) in recovered.terms.iter().enumerate() {
        let end = recovered.terms.get(position + 1).map_or(snapshot.index, |next| next.0.previous());
        if end > terms.last().index {
            terms.extend(end, term);
        }
    }
    assert_eq!(terms.last(), snapshot, "the log's terms do not lead up to the snapshot");
    terms
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bytes::Bytes;
    use steadfast_types::Payload;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { term: Term(term), index: LogIndex(index), payload: Payload::Batch(Bytes::from_static(&[0; 68])) }
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.index.0).collect()
    }

    /// Entries 1 to 6 of 100 bytes each, of which the state machine has two.
    fn log() -> Log {
        let recovered = Recovered {
            snapshot: LogPosition::new(Term(1), LogIndex(2)),
            terms: vec![(LogIndex(1), Term(1))],
            entries: (3..=6).map(|index| entry(index, 2)).collect(),
            ..Recovered::default()
        };
        Log::recovered(&recovered, 200)
    }

    #[test]
    fn recovered_terms_reach_back_to_what_the_disk_holds() {
        let mut recovered = Recovered {
            snapshot: LogPosition::new(Term(4), LogIndex(9)),
            terms: vec![(LogIndex(5), Term(2)), (LogIndex(7), Term(4))],
            ..Recovered::default()
        };
        let log = Log::recovered(&recovered, 0);
        assert_eq!(log.start(), LogPosition::new(Term(2), LogIndex(5)));
        assert_eq!((log.term_at(LogIndex(6)), log.term_at(LogIndex(7))), (Some(Term(2)), Some(Term(4))));
        recovered.terms = vec![(LogIndex(9), Term(4))];
        assert_eq!(Log::recovered(&recovered, 0).start(), recovered.snapshot);
        recovered.terms.clear();
        assert_eq!(Log::recovered(&recovered, 0).last(), recovered.snapshot);
    }

    #[test]
    fn entries_leave_memory_once_applied_and_durable() {
        let mut log = log();
        assert!(log.read(LogIndex(2), 1000).is_empty());
        assert_eq!(indexes(&log.read(LogIndex(3), 250)), [3, 4]);
        assert_eq!(indexes(&log.read(LogIndex(3), 1)), [3], "at least one");
        log.commit_to(LogIndex(5));
        assert_eq!(indexes(&log.take_committed()), [3, 4, 5]);
        assert!(log.take_committed().is_empty());
        log.applied(LogIndex(5));
        assert_eq!(indexes(&log.read(LogIndex(5), 1000)), [5, 6], "the 200 newest bytes stay");
        assert!(log.read(LogIndex(4), 1000).is_empty());
        assert_eq!(log.bytes_after(LogIndex(5)), 100);
    }

    #[test]
    fn unsettled_bytes_are_those_not_both_committed_and_durable() {
        let mut log = log();
        assert_eq!(log.unsettled_bytes(), 400);
        log.commit_to(LogIndex(4));
        assert_eq!(log.unsettled_bytes(), 200);
        log.append(entry(7, 2));
        assert_eq!(log.unsettled_bytes(), 300);
        log.commit_to(LogIndex(7));
        assert_eq!(log.unsettled_bytes(), 100, "committed by the others, not yet durable here");
        log.synced(LogIndex(7));
        assert_eq!(log.unsettled_bytes(), 0);
        log.append(entry(8, 2));
        log.truncate_from(LogIndex(8));
        assert_eq!(log.unsettled_bytes(), 0);
    }

    #[test]
    fn a_cut_takes_durability_back() {
        let mut log = log();
        log.truncate_from(LogIndex(5));
        log.append(entry(5, 3));
        assert_eq!((log.durable(), log.last().index), (LogIndex(4), LogIndex(5)));
    }

    #[test]
    #[should_panic(expected = "are committed")]
    fn committed_entries_are_never_cut_off() {
        let mut log = log();
        log.commit_to(LogIndex(4));
        log.truncate_from(LogIndex(4));
    }
}
