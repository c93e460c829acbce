//! The table of keys: in the order of their hashes, in parts by the hashes' leading bits (extendible hashing).
//!
//! Invariants:
//! 1. A part holds all keys whose hashes begin with its prefix, in the order of (hash, key). So whatever the parts are, the order of all keys is the
//!    same on every replica, a range of hashes is one stretch of it, and a hash says where a walk goes on.
//! 2. `directory` has an entry for each prefix of `depth` bits: the part that holds it. A part of fewer bits has several entries, side by side.
//! 3. Hashes spread evenly, so a key's place in its part is guessed from its hash and found a few steps away. Keys chosen to share a hash make a part
//!    that is larger than others and is searched by halves; they can't make the directory grow beyond a multiple of the parts.
//! 4. A key is in memory, or it is *cold*: a stub of it is here, and all of it in rows. To find a key brings it back, or reads it to look at; only what is
//!    asked of all keys (how many there are, their digests, their names) is answered from stubs and rows. So nobody takes a cold key for one that
//!    is not there. Keys go out of memory by the clock (second chance): the hand passes over one part after the other ([`Part::sweep`]).

use alloc::vec;
use alloc::vec::Vec;

use steadfast_types::Rng;

use crate::entry::Entry;

mod eviction;
mod fetched;
mod marks;
mod part;
mod stubs;
mod tier;

pub use eviction::Eviction;
pub(crate) use eviction::Rounds;
pub(crate) use part::Part;
use tier::Tier;

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
    /// How many keys there are, cold ones among them.
    len: usize,
    /// Bytes that the parts hold, beside the keys' own allocations.
    held: usize,
    /// Bytes of the own allocations of keys in memory, approximately.
    own: usize,
    tier: Tier,
}

impl Default for Table {
    fn default() -> Self {
        Table { directory: vec![0], depth: 0, parts: vec![Part::default()], len: 0, held: 0, own: 0, tier: Tier::default() }
    }
}

impl Table {
    /// How many keys there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What the table holds, and the keys' own allocations.
    pub(crate) fn bytes(&self) -> usize {
        self.directory.capacity() * size_of::<u32>() + self.parts.capacity() * size_of::<Part>() + self.held + self.own
    }

    /// A key's own allocations took so much, and take so much now.
    pub(crate) fn account(&mut self, before: usize, after: usize) {
        self.own = self.own + after - before;
    }

    fn slot(&self, hash: Hash) -> usize {
        (u64::from(hash) >> (Hash::BITS - self.depth)) as usize
    }

    fn part_of(&self, hash: Hash) -> usize {
        self.directory[self.slot(hash)] as usize
    }

    /// Does something to a part that may change what it holds.
    fn in_part<R>(&mut self, number: usize, change: impl FnOnce(&mut Part) -> R) -> R {
        let part = &mut self.parts[number];
        let before = part.bytes();
        let result = change(part);
        self.held = self.held + part.bytes() - before;
        result
    }

    /// The place of a key, or the place where it would be. It is in memory from then on, and so are all keys of the hash.
    pub(crate) fn find(&mut self, hash: Hash, key: &[u8]) -> Result<At, At> {
        let number = self.part_of(hash);
        let part = &self.parts[number];
        match part.find(hash, key) {
            Ok(index) => {
                part.use_now(hash);
                return Ok(At { part: number, index });
            }
            Err(index) if !part.is_cold(hash) => return Err(At { part: number, index }),
            Err(_) => {}
        }
        self.warm(hash, Some(key));
        let at = |index| At { part: number, index };
        self.parts[number].find(hash, key).map(at).map_err(at)
    }

    /// The key that is there, if it is.
    pub(crate) fn get(&self, hash: Hash, key: &[u8]) -> Option<&Entry> {
        let part = &self.parts[self.part_of(hash)];
        if let Ok(index) = part.find(hash, key) {
            part.use_now(hash);
            return Some(part.entry(index));
        }
        if !part.is_cold(hash) {
            return None;
        }
        let entries = self.fetched(hash, Some(key));
        entries.binary_search_by(|entry| entry.key().cmp(key)).ok().map(|index| &entries[index])
    }

    /// The entry at a place.
    pub(crate) fn entry(&self, at: At) -> &Entry {
        self.parts[at.part].entry(at.index)
    }

    /// The part of a place, and the index in it: for a change.
    pub(crate) fn change(&mut self, at: At) -> (&mut Part, usize) {
        let part = &mut self.parts[at.part];
        part.change(part.hash(at.index), self.tier.checkpoints);
        (part, at.index)
    }

    /// The digest of a key.
    pub(crate) fn digest_at(&mut self, at: At, hash: Hash) -> u64 {
        self.parts[at.part].entry_mut(at.index).digest_mut(hash)
    }

    /// A key of the part of this place changed, and nobody says what that does to the part's digest.
    pub(crate) fn lose_digest(&mut self, at: At) {
        self.parts[at.part].lose_digest();
    }

    /// Puts a key at the place where it was not found.
    pub(crate) fn insert(&mut self, at: At, hash: Hash, entry: Entry) {
        self.parts[at.part].change(hash, self.tier.checkpoints);
        self.insert_as_in_rows(at, hash, entry);
    }

    /// The same, if the key's rows are durable and say so.
    pub(crate) fn insert_as_in_rows(&mut self, at: At, hash: Hash, entry: Entry) {
        self.in_part(at.part, |part| part.insert(at.index, hash, entry));
        self.len += 1;
        if self.parts[at.part].len() >= FULL {
            self.split(at.part, hash);
        }
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, at: At) -> Entry {
        self.len -= 1;
        self.change(at);
        self.in_part(at.part, |part| part.remove(at.index))
    }

    /// Takes all keys out: what is returned is the table as it was.
    pub(crate) fn take_all(&mut self) -> Self {
        let tier = self.tier.emptied();
        core::mem::replace(self, Table { tier, ..Table::default() })
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
        let middle = first_hash(first + slots / 2, self.depth);
        let part = self.in_part(number, |part| part.split(middle));
        self.held += part.bytes();
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

    /// The keys of a range of hashes that are in memory, in order, with their hashes.
    pub(crate) fn hot(&self, from: Hash, to: Hash) -> impl Iterator<Item = (Hash, &Entry)> {
        self.parts_of(from, to).flat_map(move |(part, _)| self.parts[part].hot(from, to))
    }

    /// All keys of a range of hashes, in the order of hashes; of those that are cold the hash alone.
    pub(crate) fn places(&self, from: Hash, to: Hash) -> impl Iterator<Item = (Hash, Option<&Entry>)> {
        self.parts_of(from, to).flat_map(move |(part, _)| self.parts[part].places(from, to))
    }

    /// An entry at a random place, if one is there: each entry with the same chance (unless very many have nearly the same hash), which is not small.
    pub(crate) fn choose(&self, rng: &mut Rng) -> Option<&Entry> {
        let slot = rng.usize(..self.directory.len());
        let first = first_hash(slot, self.depth);
        let last = if slot + 1 == self.directory.len() { Hash::MAX } else { first_hash(slot + 1, self.depth) - 1 };
        let part = &self.parts[self.directory[slot] as usize];
        let (hot, cold) = (part.entries_of(first, last), part.stubs(first, last));
        let count = hot.len() + cold.len();
        let places = if self.directory.len() == 1 { count } else { FULL.max(count) };
        let place = rng.usize(..places.max(1));
        hot.get(place).or_else(|| {
            let place = place - hot.len();
            let hash = cold.get(place)?.hash;
            self.fetched(hash, None).get(cold[..place].iter().rev().take_while(|stub| stub.hash == hash).count())
        })
    }
}

/// The first hash of a prefix of `depth` bits.
fn first_hash(slot: usize, depth: u32) -> Hash {
    ((slot as u64) << (Hash::BITS - depth)) as Hash
}

#[cfg(test)]
mod tests;
