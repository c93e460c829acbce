//! What is remembered of the keys of a part in few bits: which were used since the clock's hand passed, and which were changed since when.
//!
//! Keys whose hashes end in the same seven bits share them: then one is taken for used or changed because the other is, which does no harm.

use core::cell::Cell;

use crate::table::Hash;

/// A bit for each of 128 ends of hashes.
#[derive(Clone, Debug, Default)]
struct Bits([Cell<u64>; 2]);

impl Bits {
    fn place(hash: Hash) -> (usize, u64) {
        (hash as usize >> 6 & 1, 1 << (hash & 63))
    }

    fn has(&self, hash: Hash) -> bool {
        let (word, bit) = Self::place(hash);
        self.0[word].get() & bit != 0
    }

    fn set(&self, hash: Hash) {
        let (word, bit) = Self::place(hash);
        let bits = self.0[word].get();
        if bits & bit == 0 {
            self.0[word].set(bits | bit);
        }
    }

    fn add(&self, other: &Self) {
        self.0.iter().zip(&other.0).for_each(|(word, other)| word.set(word.get() | other.get()));
    }

    fn clear(&self) {
        self.0.iter().for_each(|word| word.set(0));
    }
}

/// Counts of checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoints {
    /// So many have begun.
    pub(super) begun: u32,
    /// What was changed before so many had begun is durable in rows.
    pub(super) durable: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    used: Bits,
    /// Changed when so many checkpoints had begun.
    newer: Bits,
    newer_at: u32,
    /// Changed before, and last when so many had begun.
    older: Bits,
    older_at: u32,
}

impl Marks {
    /// A key of this hash is used.
    pub(super) fn use_now(&self, hash: Hash) {
        self.used.set(hash);
    }

    pub(super) fn is_used(&self, hash: Hash) -> bool {
        self.used.has(hash)
    }

    /// The clock's hand passes.
    pub(super) fn pass(&self) {
        self.used.clear();
    }

    /// A key of this hash changes.
    pub(super) fn change(&mut self, hash: Hash, checkpoints: Checkpoints) {
        if self.newer_at != checkpoints.begun {
            if self.older_at < checkpoints.durable {
                self.older.clear();
            }
            self.older.add(&self.newer);
            self.newer.clear();
            (self.older_at, self.newer_at) = (self.newer_at, checkpoints.begun);
        }
        self.newer.set(hash);
    }

    /// Whether the rows of all keys of this hash are durable as the keys are now.
    pub(super) fn is_clean(&self, hash: Hash, checkpoints: Checkpoints) -> bool {
        let is_durable = |bits: &Bits, at| at < checkpoints.durable || !bits.has(hash);
        is_durable(&self.newer, self.newer_at) && is_durable(&self.older, self.older_at)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Change(Hash),
        Begin,
        Durable,
    }

    proptest! {
        #[test]
        fn what_is_not_durable_is_not_clean(steps in proptest::collection::vec(
            prop_oneof![4 => (0..128_u32).prop_map(Step::Change), 1 => Just(Step::Begin), 1 => Just(Step::Durable)], 0..60,
        )) {
            let (mut marks, mut checkpoints, mut changed) = (Marks::default(), Checkpoints::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Change(hash) => {
                        marks.change(hash, checkpoints);
                        changed.insert(hash, checkpoints.begun);
                    }
                    Step::Begin => checkpoints.begun += 1,
                    Step::Durable => checkpoints.durable = checkpoints.begun,
                }
                for hash in 0..128 {
                    let must_wait = changed.get(&hash).is_some_and(|begun| *begun >= checkpoints.durable);
                    prop_assert!(!(must_wait && marks.is_clean(hash, checkpoints)));
                    if checkpoints.durable == checkpoints.begun {
                        prop_assert_eq!(!must_wait, marks.is_clean(hash, checkpoints));
                    }
                }
            }
        }
    }
}
