//! Cold keys that were read while the table could not be changed: they stay where they are, beside the table, until it can take them in.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::OnceCell;

use crate::entry::Entry;
use crate::table::Hash;

/// By hash: a tree in which the bits of a hash, from the last one on, say where it is. Reading adds to it and moves nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetched(OnceCell<Box<Node>>);

#[derive(Clone, Debug)]
struct Node {
    hash: Hash,
    entries: Box<[Entry]>,
    below: [OnceCell<Box<Node>>; 2],
}

impl Fetched {
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// The keys of a hash, which are read now if they were not before.
    pub(super) fn get_or_read(&self, hash: Hash, read: impl FnOnce() -> Vec<Entry>) -> &[Entry] {
        let (mut place, mut bits) = (&self.0, hash);
        while let Some(node) = place.get() {
            if node.hash == hash {
                return &node.entries;
            }
            place = &node.below[(bits & 1) as usize];
            bits >>= 1;
        }
        let node = || Box::new(Node { hash, entries: read().into(), below: Default::default() });
        &place.get_or_init(node).entries
    }

    /// Everything; from now on there is nothing.
    pub(super) fn take(&mut self) -> Vec<(Hash, Box<[Entry]>)> {
        let (mut all, mut nodes) = (Vec::new(), Vec::from_iter(self.0.take()));
        while let Some(mut node) = nodes.pop() {
            nodes.extend(node.below.iter_mut().filter_map(OnceCell::take));
            all.push((node.hash, node.entries));
        }
        all
    }
}
