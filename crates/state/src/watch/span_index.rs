//! Which of many ranges contain a key: a treap ordered by the ranges' starts, in which each node knows the greatest end below it.
//!
//! Expected cost: inserting and removing O(log n), finding O(log n) for each range found. The priorities come from a generator handed in,
//! so that nobody outside can choose an order of insertion that makes the tree deep.

use alloc::vec::Vec;
use bytes::Bytes;
use core::cmp::Ordering;
use steadfast_types::Rng;

use super::slab::Slab;
use crate::command::KeySpan;

/// No node.
const NIL: u32 = u32::MAX;

/// Ranges of keys, each with an id.
#[derive(Debug)]
pub(super) struct SpanIndex {
    nodes: Slab<Node>,
    root: u32,
    rng: Rng,
}

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: End,
    id: u32,
    priority: u32,
    left: u32,
    right: u32,
    /// The node with the greatest end in this subtree.
    reaches: u32,
}

/// Where a range ends; ordered by how far it reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Before this key.
    Before(Bytes),
    /// Nowhere.
    Never,
}

impl End {
    fn of(keys: &KeySpan) -> Self {
        if keys.is_unbounded() { End::Never } else { End::Before(keys.range_end.clone()) }
    }

    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => end.as_ref() > key,
            End::Never => true,
        }
    }
}

impl SpanIndex {
    pub(super) fn new(rng: Rng) -> Self {
        SpanIndex { nodes: Slab::new(), root: NIL, rng }
    }

    /// Adds a range under an id that is not in use.
    pub(super) fn insert(&mut self, keys: &KeySpan, id: u32) {
        let priority = self.rng.u32(..);
        let node =
            self.nodes.insert(Node { start: keys.key.clone(), end: End::of(keys), id, priority, left: NIL, right: NIL, reaches: NIL });
        self.update(node);
        let (left, right) = self.split(self.root, &keys.key, id);
        let left = self.merge(left, node);
        self.root = self.merge(left, right);
    }

    /// Removes the range that was added under an id.
    pub(super) fn remove(&mut self, keys: &KeySpan, id: u32) {
        self.root = self.remove_below(self.root, &keys.key, id);
    }

    /// The ids of the ranges that contain a key, by their starts.
    pub(super) fn containing(&self, key: &[u8], on: &mut dyn FnMut(u32)) {
        self.containing_below(self.root, key, on);
    }

    fn containing_below(&self, at: u32, key: &[u8], on: &mut dyn FnMut(u32)) {
        if at == NIL {
            return;
        }
        let node = self.nodes.get(at);
        if !self.nodes.get(node.reaches).end.is_after(key) {
            return;
        }
        self.containing_below(node.left, key, on);
        if node.start.as_ref() > key {
            return;
        }
        if node.end.is_after(key) {
            on(node.id);
        }
        self.containing_below(node.right, key, on);
    }

    fn compare(&self, at: u32, start: &Bytes, id: u32) -> Ordering {
        let node = self.nodes.get(at);
        node.start.cmp(start).then(node.id.cmp(&id))
    }

    /// Splits into what is before (start, id) and what is not.
    fn split(&mut self, at: u32, start: &Bytes, id: u32) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        if self.compare(at, start, id).is_lt() {
            let (left, right) = self.split(self.nodes.get(at).right, start, id);
            self.nodes.get_mut(at).right = left;
            self.update(at);
            (at, right)
        } else {
            let (left, right) = self.split(self.nodes.get(at).left, start, id);
            self.nodes.get_mut(at).left = right;
            self.update(at);
            (left, at)
        }
    }

    /// Joins two trees, all of `left` before all of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL || right == NIL {
            return left.min(right);
        }
        if self.nodes.get(left).priority > self.nodes.get(right).priority {
            let joined = self.merge(self.nodes.get(left).right, right);
            self.nodes.get_mut(left).right = joined;
            self.update(left);
            left
        } else {
            let joined = self.merge(left, self.nodes.get(right).left);
            self.nodes.get_mut(right).left = joined;
            self.update(right);
            right
        }
    }

    fn remove_below(&mut self, at: u32, start: &Bytes, id: u32) -> u32 {
        assert_ne!(at, NIL, "only ranges that were added are removed");
        match self.compare(at, start, id) {
            Ordering::Equal => {
                let node = self.nodes.remove(at);
                self.merge(node.left, node.right)
            }
            Ordering::Less => {
                let right = self.remove_below(self.nodes.get(at).right, start, id);
                self.nodes.get_mut(at).right = right;
                self.update(at);
                at
            }
            Ordering::Greater => {
                let left = self.remove_below(self.nodes.get(at).left, start, id);
                self.nodes.get_mut(at).left = left;
                self.update(at);
                at
            }
        }
    }

    fn update(&mut self, at: u32) {
        let node = self.nodes.get(at);
        let below: Vec<u32> = [node.left, node.right].into_iter().filter(|child| *child != NIL).collect();
        let reaching = below.into_iter().map(|child| self.nodes.get(child).reaches);
        let reaches = reaching.fold(at, |best, other| if self.nodes.get(other).end > self.nodes.get(best).end { other } else { best });
        self.nodes.get_mut(at).reaches = reaches;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::format;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};
    use steadfast_types::Rng;

    fn keys(start: u8, end: u8) -> KeySpan {
        let end = if end == 0 { Bytes::from_static(&[0]) } else { Bytes::copy_from_slice(&[end]) };
        KeySpan { key: Bytes::copy_from_slice(&[start]), range_end: end }
    }

    proptest! {
        #[test]
        fn finds_what_a_search_of_all_ranges_finds(steps in prop::collection::vec((any::<bool>(), 0u32..40, 1u8..30, 0u8..30), 1..150)) {
            let mut index = SpanIndex::new(Rng::with_seed(7));
            let mut model: BTreeMap<u32, KeySpan> = BTreeMap::new();
            for (add, id, start, end) in steps {
                if let Some(span) = model.remove(&id) {
                    index.remove(&span, id);
                }
                if add {
                    index.insert(&keys(start, end), id);
                    model.insert(id, keys(start, end));
                }
                for key in 0u8..32 {
                    let mut found = Vec::new();
                    index.containing(&[key], &mut |id| found.push(id));
                    found.sort_unstable();
                    let expected: Vec<u32> = model.iter().filter(|(_, span)| span.contains(&[key])).map(|(id, _)| *id).collect();
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert_eq!(index.nodes.len(), model.len());
        }
    }

    #[test]
    fn ranges_inserted_in_order_make_no_deep_tree() {
        let mut index = SpanIndex::new(Rng::with_seed(1));
        for n in 0..20_000u32 {
            let key = format!("key{n:08}");
            index.insert(&KeySpan { key: key.clone().into(), range_end: format!("{key}~").into() }, n);
        }
        fn depth(index: &SpanIndex, at: u32) -> usize {
            if at == NIL { 0 } else { 1 + depth(index, index.nodes.get(at).left).max(depth(index, index.nodes.get(at).right)) }
        }
        assert!(depth(&index, index.root) < 60);
    }
}
