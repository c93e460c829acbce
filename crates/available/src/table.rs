//! The table of keys: in the order of their hashes, in parts by the hashes' leading bits (extendible hashing).
//!
//! Invariants:
//! 1. A part holds all keys whose hashes begin with its prefix, in the order of (hash, key). So whatever the parts are, the order of all keys is the
//!    same on every replica, a range of hashes is one stretch of it, and a hash says where a walk goes on.
//! 2. `directory` has an entry for each prefix of `depth` bits: the part that holds it. A part of fewer bits has several entries, side by side.
//! 3. Hashes spread evenly, so a key's place in its part is guessed from its hash and found a few steps away. Keys chosen to share a hash make a part
//!    that is larger than others and is searched by halves; they can't make the directory grow beyond a multiple of the parts.

use alloc::vec;
use alloc::vec::Vec;

use steadfast_types::Rng;

use crate::entry::Entry;

mod part;

pub(crate) use part::Part;

/// Keys in a part at which it is split.
const FULL: usize = 128;

/// Leading bits of a hash that may choose the part.
const MAX_DEPTH: u32 = 28;

/// Directory entries for each part, at most.
const SPREAD: usize = 32;

/// Where the keys of a hash are in the order of keys: the hash itself.
pub type Hash = u32;

/// The hash of a key: the same on every replica.
pub fn hash_of(key: &[u8]) -> Hash {
    (xxhash_rust::xxh3::xxh3_64(key) >> 32) as Hash
}

/// The place of a key in the table, until the table changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    part: usize,
    index: usize,
}

/// All keys.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    directory: Vec<u32>,
    depth: u32,
    parts: Vec<Part>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        Table { directory: vec![0], depth: 0, parts: vec![Part::default()], len: 0 }
    }
}

impl Table {
    /// How many keys there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What the table holds beside the keys' own allocations.
    pub(crate) fn bytes(&self) -> usize {
        self.directory.capacity() * size_of::<u32>() + self.parts.capacity() * size_of::<Part>() + self.parts.iter().map(Part::bytes).sum::<usize>()
    }

    fn slot(&self, hash: Hash) -> usize {
        (u64::from(hash) >> (Hash::BITS - self.depth)) as usize
    }

    /// The place of a key, or the place where it would be.
    pub(crate) fn find(&self, hash: Hash, key: &[u8]) -> Result<At, At> {
        let part = self.directory[self.slot(hash)] as usize;
        let at = |index| At { part, index };
        self.parts[part].find(hash, key).map(at).map_err(at)
    }

    /// The key that is there, if it is.
    pub(crate) fn get(&self, hash: Hash, key: &[u8]) -> Option<&Entry> {
        self.find(hash, key).ok().map(|at| self.entry(at))
    }

    /// The entry at a place.
    pub(crate) fn entry(&self, at: At) -> &Entry {
        self.parts[at.part].entry(at.index)
    }

    /// The part of a place, and the index in it.
    pub(crate) fn part_mut(&mut self, at: At) -> (&mut Part, usize) {
        (&mut self.parts[at.part], at.index)
    }

    /// Puts a key at the place where it was not found.
    pub(crate) fn insert(&mut self, at: At, hash: Hash, entry: Entry) {
        let part = &mut self.parts[at.part];
        part.insert(at.index, hash, entry);
        self.len += 1;
        if part.len() >= FULL {
            self.split(at.part, hash);
        }
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, at: At) -> Entry {
        self.len -= 1;
        self.parts[at.part].remove(at.index)
    }

    /// Splits a part, in which `hash` is, into two of one bit more.
    fn split(&mut self, number: usize, hash: Hash) {
        let depth = self.parts[number].depth();
        if depth == self.depth {
            if depth >= MAX_DEPTH || self.directory.len() >= SPREAD * self.parts.len() {
                return;
            }
            self.directory = self.directory.iter().flat_map(|part| [*part, *part]).collect();
            self.depth += 1;
        }
        let slots = 1 << (self.depth - depth);
        let first = self.slot(hash) / slots * slots;
        let upper = u32::try_from(self.parts.len()).expect("fewer than four billion parts");
        let part = self.parts[number].split(first_hash(first + slots / 2, self.depth));
        self.parts.push(part);
        self.directory[first + slots / 2..first + slots].fill(upper);
    }

    /// The part that holds a hash, and the first hash after it.
    fn part_from(&self, hash: Hash) -> (usize, Option<Hash>) {
        let slot = self.slot(hash);
        let part = self.directory[slot] as usize;
        let slots = 1 << (self.depth - self.parts[part].depth());
        let next = slot / slots * slots + slots;
        (part, (next < self.directory.len()).then(|| first_hash(next, self.depth)))
    }

    /// The parts that hold a range of hashes: each one's number, and whether all of it is in the range.
    pub(crate) fn parts_of(&self, from: Hash, to: Hash) -> impl Iterator<Item = (usize, bool)> {
        let mut next = Some(from);
        core::iter::from_fn(move || {
            let hash = next.filter(|hash| *hash <= to)?;
            let (part, after) = self.part_from(hash);
            next = after;
            let depth = self.parts[part].depth();
            let first = (u64::from(hash) >> (Hash::BITS - depth)) << (Hash::BITS - depth);
            let last = after.map_or(Hash::MAX, |after| after - 1);
            Some((part, first >= u64::from(from) && last <= to))
        })
    }

    /// A part by its number.
    pub(crate) fn part_number_mut(&mut self, number: usize) -> &mut Part {
        &mut self.parts[number]
    }

    /// The keys of a range of hashes, in order, with their hashes.
    pub(crate) fn range(&self, from: Hash, to: Hash) -> impl Iterator<Item = (Hash, &Entry)> {
        self.parts_of(from, to).flat_map(move |(part, _)| self.parts[part].range(from, to))
    }

    /// An entry at a random place, if one is there: each entry with the same chance (unless very many have nearly the same hash), which is not small.
    pub(crate) fn choose(&self, rng: &mut Rng) -> Option<&Entry> {
        let slot = rng.usize(..self.directory.len());
        let last = if slot + 1 == self.directory.len() { Hash::MAX } else { first_hash(slot + 1, self.depth) - 1 };
        let entries = self.parts[self.directory[slot] as usize].entries_of(first_hash(slot, self.depth), last);
        let places = if self.directory.len() == 1 { entries.len() } else { FULL.max(entries.len()) };
        entries.get(rng.usize(..places.max(1)))
    }

    /// All entries, in order.
    pub(crate) fn into_entries(mut self) -> impl Iterator<Item = (Hash, Entry)> {
        let parts = self.parts_of(0, Hash::MAX).map(|(part, _)| part).collect::<Vec<_>>();
        parts.into_iter().flat_map(move |part| core::mem::take(&mut self.parts[part]).into_entries())
    }
}

/// The first hash of a prefix of `depth` bits.
fn first_hash(slot: usize, depth: u32) -> Hash {
    ((slot as u64) << (Hash::BITS - depth)) as Hash
}

#[cfg(test)]
mod tests;
