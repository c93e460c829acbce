//! Deltas that are kept for replicas which lack them, in the order in which they were applied here; what all have seen is forgotten.
//!
//! Invariants:
//! 1. `by_previous` has each entry, by its writer and the end of the writer's delta before it.
//! 2. The entries take at most `limit` bytes: the oldest go first.

use alloc::collections::{BTreeMap, VecDeque};

use steadfast_crdt::{Actor, Time, Version};
use steadfast_types::Instant;

use super::delta::Delta;

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) delta: Delta,
    /// When it was applied.
    pub(crate) at: Instant,
}

/// Each has a number, one more than that of the one before it.
#[derive(Debug)]
pub(crate) struct Kept {
    entries: VecDeque<Entry>,
    first: u64,
    by_previous: BTreeMap<(Actor, Option<Time>), u64>,
    bytes: usize,
    limit: usize,
}

impl Kept {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), first: 0, by_previous: BTreeMap::new(), bytes: 0, limit }
    }

    pub(crate) fn push(&mut self, delta: Delta, at: Instant) {
        if self.follows(delta.writer, delta.previous()) {
            return;
        }
        self.by_previous.insert((delta.writer, delta.previous()), self.first + self.entries.len() as u64);
        self.bytes += delta.bytes();
        self.entries.push_back(Entry { delta, at });
        while self.bytes > self.limit {
            self.drop_first();
        }
        assert_eq!(self.by_previous.len(), self.entries.len(), "each delta is kept once");
    }

    /// Forgets the oldest as long as nobody lacks them.
    pub(crate) fn drop_while(&mut self, is_seen: impl Fn(Version) -> bool) {
        while self.entries.front().is_some_and(|entry| is_seen(entry.delta.version())) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(Entry { delta, .. }) = self.entries.pop_front() {
            self.by_previous.remove(&(delta.writer, delta.previous()));
            self.bytes -= delta.bytes();
            self.first += 1;
        }
    }

    /// The number of the oldest one.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Whether a writer's delta that follows the one with this end is there.
    pub(crate) fn follows(&self, writer: Actor, previous: Option<Time>) -> bool {
        self.by_previous.contains_key(&(writer, previous))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
