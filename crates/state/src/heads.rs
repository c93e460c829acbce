//! The heads of keys that are written again and again: what a put needs to know of the key before, but for its value. A memory of what KEYS says,
//! so that most puts look nothing up.
//!
//! 1. A key that is remembered is there, and its head is that of its newest row.
//! 2. At most [`BYTES`]: when it is full, a hand goes round, as in a clock, and what was not used since it last came by is forgotten.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{LeaseId, Revision};

/// What the heads may take, bytes. Few in tests, so that they forget.
const BYTES: usize = if cfg!(test) { 1000 } else { 16 << 20 };

/// What one takes beside its key, bytes: about.
const HEAD_BYTES: usize = 96;

/// A key as it is now, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    /// How often it was written since it was created.
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
}

/// The heads of some keys.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    places: Vec<Place>,
    /// Where in `places` a key is.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Place {
    key: Box<[u8]>,
    head: Head,
    /// Since the hand last came by.
    used: bool,
}

impl Heads {
    /// The key's head, if it is remembered.
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<Head> {
        let place = self.find(key)?;
        place.used = true;
        Some(place.head)
    }

    /// The key was written.
    pub(crate) fn put(&mut self, key: &[u8], head: Head) {
        if let Some(place) = self.find(key) {
            (place.head, place.used) = (head, true);
            return;
        }
        self.bytes += key.len() + HEAD_BYTES;
        while self.bytes > BYTES && !self.places.is_empty() {
            self.forget_one();
        }
        let at = u32::try_from(self.places.len()).expect("they are bounded");
        let Heads { places, index, hasher, .. } = self;
        places.push(Place { key: key.into(), head, used: false });
        index.insert_unique(hasher.hash_one(key), at, |at| hasher.hash_one(&*places[*at as usize].key));
    }

    /// The key was deleted.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        if is_planted(Bug::HeadOutlivesKey) {
            return;
        }
        let Heads { places, index, hasher, .. } = self;
        if let Some(at) = index.find(hasher.hash_one(key), |at| *places[*at as usize].key == *key).copied() {
            self.remove(at);
        }
    }

    fn find(&mut self, key: &[u8]) -> Option<&mut Place> {
        let Heads { places, index, hasher, .. } = self;
        let at = *index.find(hasher.hash_one(key), |at| *places[*at as usize].key == *key)?;
        places.get_mut(at as usize)
    }

    /// The hand goes on until it comes to one that was not used.
    fn forget_one(&mut self) {
        loop {
            self.hand = if self.hand < self.places.len() { self.hand } else { 0 };
            if !core::mem::take(&mut self.places[self.hand].used) {
                self.remove(u32::try_from(self.hand).expect("they are bounded"));
                // The one that moved here has its turn when the hand comes by again.
                self.hand += 1;
                return;
            }
            self.hand += 1;
        }
    }

    /// Takes one out; the last one moves to its place.
    fn remove(&mut self, at: u32) {
        let last = u32::try_from(self.places.len() - 1).expect("they are bounded");
        let Heads { places, index, hasher, .. } = self;
        let hash = |place: u32| hasher.hash_one(&*places[place as usize].key);
        if let Ok(entry) = index.find_entry(hash(at), |place| *place == at) {
            entry.remove();
        }
        if let Some(moved) = index.find_mut(hash(last), |place| *place == last) {
            *moved = at;
        }
        let gone = places.swap_remove(at as usize);
        self.bytes -= gone.key.len() + HEAD_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn head(version: i64) -> Head {
        Head { create_revision: Revision(1), mod_revision: Revision(version), version, lease: LeaseId(0) }
    }

    proptest! {
        /// What is remembered is right; the key used last is; and it is never too much.
        #[test]
        fn heads_are_those_of_the_last_writes(steps in proptest::collection::vec((0u8..4, 0usize..40), 0..400)) {
            let (mut heads, mut keys) = (Heads::default(), BTreeMap::new());
            for (number, (step, key)) in steps.into_iter().enumerate() {
                let key = alloc::vec![b'k'; key];
                match step {
                    0 => {
                        heads.delete(&key);
                        keys.remove(&key);
                    }
                    1 | 2 => {
                        heads.put(&key, head(number as i64));
                        keys.insert(key.clone(), head(number as i64));
                        prop_assert_eq!(heads.get(&key), keys.get(&key).copied());
                    }
                    _ => {
                        let found = heads.get(&key);
                        prop_assert!(found.is_none() || found == keys.get(&key).copied());
                    }
                }
                prop_assert!(heads.places.iter().all(|place| keys.get(&*place.key) == Some(&place.head)));
                prop_assert_eq!(heads.index.len(), heads.places.len());
                let bytes = heads.places.iter().map(|place| place.key.len() + HEAD_BYTES).sum::<usize>();
                prop_assert!(bytes == heads.bytes && bytes <= BYTES);
            }
        }
    }
}
