//! The heads of keys that are written again and again: what a put needs to know of the key before, but for its value. A memory of what KEYS says,
//! so that most puts look nothing up.
//!
//! 1. A key that is remembered is there, and its head is that of its newest row.
//! 2. At most [`BYTES`]: keys are in two generations; when the young one is full, it becomes the old one, and what was not used since is forgotten.

use alloc::boxed::Box;
use hashbrown::HashMap;
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
    young: HashMap<Box<[u8]>, Head>,
    old: HashMap<Box<[u8]>, Head>,
    /// Of the young ones.
    bytes: usize,
}

impl Heads {
    /// The key's head, if it is remembered.
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<Head> {
        if let Some(head) = self.young.get(key) {
            return Some(*head);
        }
        let head = *self.old.get(key)?;
        self.put(key, head);
        Some(head)
    }

    /// The key was written.
    pub(crate) fn put(&mut self, key: &[u8], head: Head) {
        if let Some(young) = self.young.get_mut(key) {
            *young = head;
            return;
        }
        self.old.remove(key);
        self.bytes += key.len() + HEAD_BYTES;
        if self.bytes > BYTES / 2 {
            self.old = core::mem::take(&mut self.young);
            self.bytes = key.len() + HEAD_BYTES;
        }
        self.young.insert(key.into(), head);
    }

    /// The key was deleted.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        if is_planted(Bug::HeadOutlivesKey) {
            return;
        }
        self.old.remove(key);
        if self.young.remove(key).is_some() {
            self.bytes -= key.len() + HEAD_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

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
                let remembered: Vec<_> = heads.young.iter().chain(&heads.old).collect();
                prop_assert!(remembered.iter().all(|(key, head)| keys.get(&***key) == Some(*head)));
                prop_assert!(remembered.iter().map(|(key, _)| key.len() + HEAD_BYTES).sum::<usize>() <= BYTES);
            }
        }
    }
}
