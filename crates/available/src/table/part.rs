//! One part of the table: the keys of one prefix of hashes, in the order of (hash, key).

use alloc::vec::Vec;
use core::ops::Range;

use crate::entry::Entry;
use crate::table::marks::{Checkpoints, Marks};
use crate::table::stubs::Stub;
use crate::table::{FULL, Hash};

/// Room for so many keys more is made at a time, at least.
const ROOM: usize = 8;

/// Keys side by side, and their hashes, which are searched without touching the keys; and what is kept of those that are not in memory.
///
/// A hash of which keys are in memory is not among those of the cold ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(super) hashes: Vec<Hash>,
    pub(super) entries: Vec<Entry>,
    /// In the order of hashes.
    pub(super) cold: Vec<Stub>,
    pub(super) marks: Marks,
    /// The sum of the keys' digests, if `known`.
    sum: u64,
    /// The sum of what may be collected of the keys, if `known`.
    remains: u64,
    /// How many leading bits all hashes in it have in common.
    depth: u32,
    known: bool,
}

impl Part {
    /// How many leading bits all hashes in it have in common.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// How many keys there are, cold ones among them.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len() + self.cold.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<Hash>() + self.entries.capacity() * size_of::<Entry>() + self.cold.capacity() * size_of::<Stub>()
    }

    /// A key of this hash is used.
    pub(crate) fn use_now(&self, hash: Hash) {
        self.marks.use_now(hash);
    }

    /// A key of this hash changes.
    pub(super) fn change(&mut self, hash: Hash, checkpoints: Checkpoints) {
        self.marks.change(hash, checkpoints);
    }

    /// The hash at an index.
    pub(super) fn hash(&self, index: usize) -> Hash {
        self.hashes[index]
    }

    pub(crate) fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// An entry, to be changed: its hash stays, and what that does to the digest is for the caller to say.
    pub(crate) fn entry_mut(&mut self, index: usize) -> &mut Entry {
        &mut self.entries[index]
    }

    /// Sums the keys' digests, and what may be collected of them, and keeps both sums.
    pub(crate) fn sum_up(&mut self) -> (u64, u64) {
        if !self.known {
            // What is cold has nothing that may be collected.
            (self.sum, self.remains) = (self.cold.iter().fold(0_u64, |sum, stub| sum.wrapping_add(stub.digest())), 0);
            for (hash, entry) in self.hashes.iter().zip(&mut self.entries) {
                let (digest, remains) = entry.digests_mut(*hash);
                (self.sum, self.remains) = (self.sum.wrapping_add(digest), self.remains.wrapping_add(remains));
            }
            self.known = true;
        }
        (self.sum, self.remains)
    }

    /// A key's digest was `old`, and is `new`.
    pub(crate) fn adjust(&mut self, old: u64, new: u64) {
        self.sum = self.sum.wrapping_sub(old).wrapping_add(new);
    }

    /// A key came (or went), if nothing else changed.
    fn count(&mut self, hash: Hash, entry: &Entry, comes: bool) {
        match entry.plain_digest(hash) {
            Some(digest) if comes => self.adjust(0, digest),
            Some(digest) => self.adjust(digest, 0),
            None => self.lose_digest(),
        }
    }

    /// A key changed, and nobody says what that does to the sum.
    pub(crate) fn lose_digest(&mut self) {
        self.known = false;
    }

    /// The first index whose hash is not below `hash`.
    fn lower_bound(&self, hash: Hash) -> usize {
        let len = self.hashes.len();
        if len > 2 * FULL {
            return self.hashes.partition_point(|held| *held < hash);
        }
        let bits = Hash::BITS - self.depth;
        let offset = u64::from(hash) & ((1 << bits) - 1);
        let mut index = ((offset * len as u64) >> bits) as usize;
        while index > 0 && self.hashes[index - 1] >= hash {
            index -= 1;
        }
        while index < len && self.hashes[index] < hash {
            index += 1;
        }
        index
    }

    /// The index of a key, or the one it would have.
    pub(crate) fn find(&self, hash: Hash, key: &[u8]) -> Result<usize, usize> {
        let first = self.lower_bound(hash);
        let same = self.hashes[first..].iter().take_while(|held| **held == hash).count();
        let found = self.entries[first..first + same].binary_search_by(|entry| entry.key().cmp(key));
        found.map(|index| first + index).map_err(|index| first + index)
    }

    /// Makes room for so many keys more.
    pub(super) fn make_room(&mut self, count: usize) {
        if self.hashes.len() + count > self.hashes.capacity() {
            let room = (self.hashes.len() / 4).min(FULL.saturating_sub(self.hashes.len())).max(ROOM).max(count);
            self.hashes.reserve_exact(room);
            self.entries.reserve_exact(room);
        }
    }

    pub(crate) fn insert(&mut self, index: usize, hash: Hash, entry: Entry) {
        self.make_room(1);
        self.count(hash, &entry, true);
        self.hashes.insert(index, hash);
        self.entries.insert(index, entry);
    }

    pub(crate) fn remove(&mut self, index: usize) -> Entry {
        let hash = self.hashes.remove(index);
        let entry = self.entries.remove(index);
        self.count(hash, &entry, false);
        if self.hashes.len() < self.hashes.capacity() / 2 {
            self.hashes.shrink_to(self.hashes.len() + ROOM);
            self.entries.shrink_to(self.entries.len() + ROOM);
        }
        entry
    }

    /// Goes one bit deeper: hashes from `middle` on go to the new part.
    pub(crate) fn split(&mut self, middle: Hash) -> Self {
        let index = self.hashes.partition_point(|hash| *hash < middle);
        let (hashes, entries) = (self.hashes.split_off(index), self.entries.split_off(index));
        self.hashes.shrink_to(index + ROOM);
        self.entries.shrink_to(index + ROOM);
        let cold = self.cold.split_off(self.cold.partition_point(|stub| stub.hash < middle));
        self.cold.shrink_to_fit();
        self.depth += 1;
        self.known = false;
        Part { hashes, entries, cold, marks: self.marks.clone(), sum: 0, remains: 0, depth: self.depth, known: false }
    }

    fn indexes(&self, from: Hash, to: Hash) -> Range<usize> {
        self.hashes.partition_point(|hash| *hash < from)..self.hashes.partition_point(|hash| *hash <= to)
    }

    /// The keys of a range of hashes that are in memory, with their hashes.
    pub(crate) fn hot(&self, from: Hash, to: Hash) -> impl Iterator<Item = (Hash, &Entry)> {
        let indexes = self.indexes(from, to);
        self.hashes[indexes.clone()].iter().copied().zip(&self.entries[indexes])
    }

    /// All keys of a range of hashes, in the order of hashes; of those that are cold the hash alone.
    pub(crate) fn places(&self, from: Hash, to: Hash) -> impl Iterator<Item = (Hash, Option<&Entry>)> {
        let (mut hot, mut cold) = (self.hot(from, to).peekable(), self.stubs(from, to).iter().peekable());
        core::iter::from_fn(move || match (hot.peek(), cold.peek()) {
            (Some((hash, _)), Some(stub)) if stub.hash < *hash => cold.next().map(|stub| (stub.hash, None)),
            (None, Some(_)) => cold.next().map(|stub| (stub.hash, None)),
            _ => hot.next().map(|(hash, entry)| (hash, Some(entry))),
        })
    }

    /// The same of those in memory, to make digests of them.
    pub(crate) fn range_mut(&mut self, from: Hash, to: Hash) -> impl Iterator<Item = (Hash, &mut Entry)> {
        let indexes = self.indexes(from, to);
        self.hashes[indexes.clone()].iter().copied().zip(&mut self.entries[indexes])
    }

    /// The entries of a range of hashes that are in memory.
    pub(crate) fn entries_of(&self, from: Hash, to: Hash) -> &[Entry] {
        &self.entries[self.indexes(from, to)]
    }

    /// The keys that are in memory.
    pub(crate) fn into_hot(self) -> impl Iterator<Item = (Hash, Entry)> {
        self.hashes.into_iter().zip(self.entries)
    }
}
