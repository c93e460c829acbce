//! Going through the keys: scans, and choices at random.

use alloc::vec::Vec;

use steadfast_types::Rng;

use crate::entry::Entry;
use crate::keyspace::Keyspace;
use crate::table::Hash;

/// A step of a scan looks at so many times more keys than it is to give: if they are hidden, it gives fewer.
const LOOKED: usize = 10;

/// How often a random place is tried before the next best key is taken.
const TRIES: usize = 100;

impl Keyspace {
    /// The next keys of a scan, and the cursor to go on with. A scan begins and ends with cursor zero. It gives about `count` keys at a time, and every key
    /// that is there throughout exactly once, whatever comes and goes: the cursor is a hash, and keys are given in the order of their hashes.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<&[u8]>) {
        let Ok(from) = Hash::try_from(cursor) else { return (0, Vec::new()) };
        let (mut keys, mut looked, mut last) = (Vec::new(), 0, None);
        for (hash, entry) in self.table.range(from, Hash::MAX) {
            // Keys with the same hash come together.
            if last.is_some_and(|last| last < hash) && (keys.len() >= count.max(1) || looked >= count.max(1).saturating_mul(LOOKED)) {
                return (u64::from(hash), keys);
            }
            if entry.is_shown(self.now) {
                keys.push(entry.key());
            }
            looked += 1;
            last = Some(hash);
        }
        (0, keys)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.table.range(0, Hash::MAX).map(|(_, entry)| entry).filter(|entry| entry.is_shown(self.now)).map(Entry::key)
    }

    /// A key chosen at random, each as likely as any other, nearly.
    pub fn random_key(&self, rng: &mut Rng) -> Option<&[u8]> {
        for _ in 0..TRIES {
            if let Some(entry) = self.table.choose(rng).filter(|entry| entry.is_shown(self.now)) {
                return Some(entry.key());
            }
        }
        let from = rng.u32(..);
        let mut keys = self.table.range(from, Hash::MAX).chain(self.table.range(0, from)).map(|(_, entry)| entry);
        keys.find(|entry| entry.is_shown(self.now)).map(Entry::key)
    }
}
