//! The order of a memtable's rows: a sorted list of sorted leaves, each of up to 128 rows.
//!
//! A leaf holds, for each row, its address and the eight bytes of its key that follow what all keys of the tree have in common. Nearly
//! every comparison is decided by those, without touching the row. Two levels are enough: a memtable of 16 MiB has about a thousand
//! leaves, and the list of leaves is moved only when one splits.

use core::cmp::Ordering;

use super::super::block::{RowRef, compare, prefix, shared_length};
use super::arena::{Address, Arena};

const LEAF_ROWS: usize = 128;

/// How often the common start of all keys is cut exactly to what fits; each cut visits every row, so later ones halve it.
const EXACT_CUTS: u32 = 16;

struct Leaf {
    length: usize,
    prefixes: [u64; LEAF_ROWS],
    rows: [Address; LEAF_ROWS],
}

/// A place in the tree: before the row of this leaf and slot. Never behind a leaf's last row, except at the end of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    leaf: usize,
    slot: usize,
}

#[derive(Default)]
pub(super) struct Tree {
    /// What all keys begin with.
    common: Vec<u8>,
    cuts: u32,
    #[allow(clippy::vec_box, reason = "a leaf is large, and inserting one must move pointers only")]
    leaves: Vec<Box<Leaf>>,
    /// For each leaf the prefix of its first row.
    firsts: Vec<u64>,
}

impl Leaf {
    fn new() -> Box<Leaf> {
        Box::new(Leaf { length: 0, prefixes: [0; LEAF_ROWS], rows: [Address::default(); LEAF_ROWS] })
    }

    fn insert(&mut self, slot: usize, prefix: u64, row: Address) {
        self.prefixes.copy_within(slot..self.length, slot + 1);
        self.rows.copy_within(slot..self.length, slot + 1);
        self.prefixes[slot] = prefix;
        self.rows[slot] = row;
        self.length += 1;
    }

    /// Moves the upper half to a new leaf.
    fn split(&mut self) -> Box<Leaf> {
        let mut upper = Leaf::new();
        let half = self.length / 2;
        upper.length = self.length - half;
        upper.prefixes[..upper.length].copy_from_slice(&self.prefixes[half..self.length]);
        upper.rows[..upper.length].copy_from_slice(&self.rows[half..self.length]);
        self.length = half;
        upper
    }
}

/// What is looked for.
struct Wanted<'a> {
    arena: &'a Arena,
    target: (&'a [u8], u64),
    prefix: u64,
}

impl Wanted<'_> {
    /// Whether it comes after the row of this prefix. The row itself is touched only if the prefixes tie.
    fn is_after(&self, prefix: u64, row: impl Fn() -> Address) -> bool {
        match prefix.cmp(&self.prefix) {
            Ordering::Equal => {
                let row = self.arena.row(row());
                compare((row.key, row.version), self.target) == Ordering::Less
            }
            Ordering::Less => true,
            Ordering::Greater => false,
        }
    }
}

impl Tree {
    /// The memory of the tree itself, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.leaves.len() * (size_of::<Leaf>() + 16)
    }

    /// The first row that is not before the target.
    pub(super) fn seek(&self, arena: &Arena, target: (&[u8], u64)) -> Position {
        if !target.0.starts_with(&self.common) {
            // All keys of the tree lie on the same side of the target.
            let before = target.0 < self.common.as_slice();
            return Position { leaf: if before { 0 } else { self.leaves.len() }, slot: 0 };
        }
        self.normal(self.find(arena, target).0)
    }

    /// As `seek`, but the position may be behind a leaf's last row, where a new row of the target's key belongs; with the row that follows
    /// it. The target begins with `common`.
    pub(super) fn find(&self, arena: &Arena, target: (&[u8], u64)) -> (Position, Option<Address>) {
        let wanted = Wanted { arena, target, prefix: prefix(target.0, self.common.len()) };
        if let Some((number, leaf)) = self.leaves.iter().enumerate().next_back()
            && wanted.is_after(leaf.prefixes[leaf.length - 1], || leaf.rows[leaf.length - 1])
        {
            // Where ascending keys go.
            return (Position { leaf: number, slot: leaf.length }, None);
        }
        let following = lower_bound(self.leaves.len(), |i| wanted.is_after(self.firsts[i], || self.leaves[i].rows[0]));
        let leaf = following.saturating_sub(1);
        let slot = self.leaves.get(leaf).map_or(0, |leaf| lower_bound(leaf.length, |i| wanted.is_after(leaf.prefixes[i], || leaf.rows[i])));
        let position = Position { leaf, slot };
        (position, self.address(self.normal(position)))
    }

    fn normal(&self, position: Position) -> Position {
        match self.leaves.get(position.leaf) {
            Some(leaf) if position.slot >= leaf.length => Position { leaf: position.leaf + 1, slot: 0 },
            Some(_) | None => position,
        }
    }

    /// The row at a position; `None` at the end.
    pub(super) fn row<'a>(&self, arena: &'a Arena, position: Position) -> Option<RowRef<'a>> {
        Some(arena.row(self.address(position)?))
    }

    fn address(&self, position: Position) -> Option<Address> {
        Some(self.leaves.get(position.leaf)?.rows[position.slot])
    }

    pub(super) fn first(&self) -> Position {
        Position { leaf: 0, slot: 0 }
    }

    /// The position after this one, which is not the end.
    pub(super) fn next(&self, position: Position) -> Position {
        self.normal(Position { leaf: position.leaf, slot: position.slot + 1 })
    }

    /// Lets the row that follows `position` be another of the same key, which keeps its place in the order.
    pub(super) fn replace(&mut self, position: Position, row: Address) {
        let position = self.normal(position);
        self.leaves[position.leaf].rows[position.slot] = row;
    }

    /// Adds a row at the position that `find` gave for it. No row of this key and version is in the tree, and `common` fits the key.
    pub(super) fn insert(&mut self, Position { leaf, slot }: Position, key: &[u8], row: Address) {
        let prefix = prefix(key, self.common.len());
        match self.leaves.get_mut(leaf) {
            None => self.add_leaf(0, prefix, row),
            Some(full) if full.length == LEAF_ROWS => self.insert_into_full(leaf, slot, prefix, row),
            Some(there) => {
                there.insert(slot, prefix, row);
                self.firsts[leaf] = there.prefixes[0];
            }
        }
    }

    fn add_leaf(&mut self, at: usize, prefix: u64, row: Address) {
        let mut leaf = Leaf::new();
        leaf.insert(0, prefix, row);
        self.firsts.insert(at, prefix);
        self.leaves.insert(at, leaf);
    }

    fn insert_into_full(&mut self, leaf: usize, slot: usize, prefix: u64, row: Address) {
        // Ascending keys leave full leaves behind.
        if leaf + 1 == self.leaves.len() && slot == LEAF_ROWS {
            return self.add_leaf(leaf + 1, prefix, row);
        }
        let mut upper = self.leaves[leaf].split();
        let half = self.leaves[leaf].length;
        if slot <= half {
            self.leaves[leaf].insert(slot, prefix, row);
        } else {
            upper.insert(slot - half, prefix, row);
        }
        self.firsts[leaf] = self.leaves[leaf].prefixes[0];
        self.firsts.insert(leaf + 1, upper.prefixes[0]);
        self.leaves.insert(leaf + 1, upper);
    }

    /// Shortens `common` so that `key` begins with it too.
    pub(super) fn make_common(&mut self, arena: &Arena, key: &[u8]) {
        if self.leaves.is_empty() {
            self.common = key.to_vec();
            return;
        }
        let shared = shared_length(&self.common, key);
        if shared == self.common.len() {
            return;
        }
        self.cuts += 1;
        self.common.truncate(if self.cuts <= EXACT_CUTS { shared } else { shared / 2 });
        for (leaf, first) in self.leaves.iter_mut().zip(&mut self.firsts) {
            for slot in 0..leaf.length {
                leaf.prefixes[slot] = prefix(arena.row(leaf.rows[slot]).key, self.common.len());
            }
            *first = leaf.prefixes[0];
        }
    }
}

/// The first of `length` sorted places that is not before what is looked for.
fn lower_bound(length: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Keys that share starts of changing length, so that `common` is cut and prefixes tie.
    fn key(random: &mut fastrand::Rng) -> Vec<u8> {
        let mut key = b"/registry/objects/default/"[..random.usize(20..26)].to_vec();
        key.extend((0..random.usize(0..12)).map(|_| random.u8(0..3)));
        key
    }

    #[test]
    fn the_tree_keeps_the_order_of_a_map() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut arena, mut tree, mut model) = (Arena::default(), Tree::default(), BTreeMap::new());
            for _ in 0..2000 {
                let (key, version) = (key(&mut random), random.u64(0..4));
                if model.insert((key.clone(), u64::MAX - version), ()).is_none() {
                    tree.make_common(&arena, &key);
                    let (position, _) = tree.find(&arena, (&key, version));
                    tree.insert(position, &key, arena.push(RowRef { key: &key, version, value: None }));
                }
            }
            let mut position = tree.first();
            for (key, version) in model.keys() {
                let row = tree.row(&arena, position).unwrap();
                assert_eq!((row.key, u64::MAX - row.version), (&key[..], *version));
                position = tree.next(position);
            }
            assert_eq!(tree.row(&arena, position), None);
            for _ in 0..500 {
                let target = (key(&mut random), random.u64(0..5));
                let wanted = model
                    .range((target.0.clone(), u64::MAX - target.1)..)
                    .next()
                    .map(|((key, version), ())| (&key[..], u64::MAX - version));
                let found = tree.row(&arena, tree.seek(&arena, (&target.0, target.1)));
                assert_eq!(found.map(|row| (row.key, row.version)), wanted);
            }
        }
    }
}
