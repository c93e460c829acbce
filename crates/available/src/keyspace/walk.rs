//! Going through the keys: scans, and choices at random.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use steadfast_types::Rng;

use crate::keyspace::Keyspace;
use crate::table::Hash;

/// A step of a scan looks at so many times more keys than it is to give: if they are hidden, it gives fewer.
const LOOKED: usize = 10;

/// How often a random place is tried before the next best key is taken.
const TRIES: usize = 100;

/// So many keys are named at a time when all are.
const STEP: usize = 256;

impl Keyspace {
    /// The next keys of a scan, and the cursor to go on with. A scan begins and ends with cursor zero. It gives about `count` keys at a time, and every key
    /// that is there throughout exactly once, whatever comes and goes: the cursor is a hash, and keys are given in the order of their hashes.
    /// Keys that are not in memory stay where they are: their names are read.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<Cow<'_, [u8]>>) {
        let Ok(from) = Hash::try_from(cursor) else { return (0, Vec::new()) };
        let (mut keys, mut cold, mut looked, mut last, mut next) = (Vec::new(), 0, 0, from, None);
        let (count, most) = (count.max(1), count.max(1).saturating_mul(LOOKED));
        for (hash, entry) in self.table.places(from, Hash::MAX) {
            // Keys with the same hash come together.
            if looked > 0 && last < hash && (keys.len() + cold >= count || looked >= most) {
                next = Some(hash);
                break;
            }
            match entry {
                Some(entry) => keys.extend(entry.is_shown(self.now).then(|| Cow::Borrowed(entry.key()))),
                None => cold += 1,
            }
            looked += 1;
            last = hash;
        }
        if cold > 0 {
            keys.extend(self.table.cold_names(from, last, self.now).into_iter().map(|name| Cow::Owned(name.into_vec())));
        }
        (next.map_or(0, u64::from), keys)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let mut cursor = Some(0);
        let steps = core::iter::from_fn(move || {
            let (next, keys) = self.scan(cursor?, STEP);
            cursor = (next > 0).then_some(next);
            Some(keys)
        });
        steps.flatten()
    }

    /// A key chosen at random, each as likely as any other, nearly.
    pub fn random_key(&self, rng: &mut Rng) -> Option<Cow<'_, [u8]>> {
        for _ in 0..TRIES {
            if let Some(entry) = self.table.choose(rng).filter(|entry| entry.is_shown(self.now)) {
                return Some(Cow::Borrowed(entry.key()));
            }
        }
        let mut cursor = Some(u64::from(rng.u32(..)));
        let mut rounds = 0;
        while let Some(from) = cursor {
            let (next, keys) = self.scan(from, 1);
            if let Some(key) = keys.into_iter().next() {
                return Some(key);
            }
            rounds += usize::from(next == 0);
            cursor = (rounds < 2).then_some(next);
        }
        None
    }
}
