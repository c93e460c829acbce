//! A row of items, each reached, added and removed by its place in the row in O(log n): an order-statistics tree.
//!
//! A B+ tree whose branches know how many items are below them. Items have no keys of their own: whoever keeps them in an order finds a place by
//! [`Ranked::partition_point`].
//!
//! Invariants: all leaves are equally deep; only the root may be empty; no leaf has more than [`LEAF`] items, no branch more than [`BRANCH`] children.

use alloc::vec::Vec;
use core::{mem, ops::Range, slice};

/// Most items of a leaf.
const LEAF: usize = 64;

/// Most children of a branch.
const BRANCH: usize = 32;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Ranked<T> {
    root: Node<T>,
}

#[derive(Clone, Debug)]
enum Node<T> {
    Leaf(Vec<T>),
    Branch { len: usize, children: Vec<Node<T>> },
}

/// Where an item is added to the whole row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// At one of its ends: full nodes are left full.
    End,
    Within,
}

impl<T> Default for Ranked<T> {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()) }
    }
}

impl<T> Ranked<T> {
    pub(crate) fn len(&self) -> usize {
        self.root.len()
    }

    pub(crate) fn get(&self, rank: usize) -> Option<&T> {
        self.root.leaf(rank).map(|(leaf, at)| &leaf[at])
    }

    pub(crate) fn get_mut(&mut self, rank: usize) -> Option<&mut T> {
        if rank < self.len() { Some(self.root.item_mut(rank)) } else { None }
    }

    /// How many items at the beginning this is true of, if it is true of none after the first of which it is not.
    pub(crate) fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        let (mut node, mut passed) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => return passed + items.partition_point(is_before),
                Node::Branch { children, .. } => {
                    let after = children.partition_point(|child| child.first().is_some_and(&mut is_before));
                    let Some(child) = after.checked_sub(1) else { return passed };
                    passed += children[..child].iter().map(Node::len).sum::<usize>();
                    node = &children[child];
                }
            }
        }
    }

    /// The items from one place up to another.
    pub(crate) fn range(&self, ranks: Range<usize>) -> Iter<'_, T> {
        let end = ranks.end.min(self.len());
        Iter { root: &self.root, ranks: ranks.start.min(end)..end, front: [].iter(), back: [].iter() }
    }

    /// Adds an item, which has this place then; those from there on are one further.
    ///
    /// # Panics
    /// If the row is shorter.
    pub(crate) fn insert(&mut self, rank: usize, item: T) {
        assert!(rank <= self.len(), "insert at {rank} of {}", self.len());
        let spot = if rank == 0 || rank == self.len() { Spot::End } else { Spot::Within };
        if let Some(right) = self.root.insert(rank, item, spot) {
            let left = mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            self.root = Node::Branch { len: left.len() + right.len(), children: Vec::from([left, right]) };
        }
    }

    /// Removes the item at a place; those after it are one nearer.
    ///
    /// # Panics
    /// If the row is not longer.
    pub(crate) fn remove(&mut self, rank: usize) -> T {
        assert!(rank < self.len(), "remove at {rank} of {}", self.len());
        let item = self.root.remove(rank);
        while let Node::Branch { children, .. } = &mut self.root {
            match children.len() {
                0 | 1 => self.root = children.pop().unwrap_or_else(|| Node::Leaf(Vec::new())),
                _ => break,
            }
        }
        item
    }

    /// Bytes held, about.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Leaves are three quarters full; branches hardly count.
        match &self.root {
            Node::Leaf(items) => items.capacity() * size_of::<T>(),
            Node::Branch { len, .. } => len * size_of::<T>() * 4 / 3,
        }
    }
}

impl<T> Node<T> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Branch { len, .. } => *len,
        }
    }

    fn first(&self) -> Option<&T> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(items) => return items.first(),
                Self::Branch { children, .. } => node = children.first()?,
            }
        }
    }

    /// The leaf that has the item of this rank, and where.
    fn leaf(&self, mut rank: usize) -> Option<(&[T], usize)> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(items) => return (rank < items.len()).then_some((items, rank)),
                Self::Branch { children, .. } => {
                    node = children.iter().find(|child| {
                        let is_here = rank < child.len();
                        rank -= if is_here { 0 } else { child.len() };
                        is_here
                    })?;
                }
            }
        }
    }

    /// Which child of a branch has the item, and its rank there. With `may_end`, also the place after a child's last item.
    fn locate(children: &[Self], mut rank: usize, may_end: bool) -> (usize, usize) {
        for (at, child) in children.iter().enumerate() {
            if rank < child.len() + usize::from(may_end) {
                return (at, rank);
            }
            rank -= child.len();
        }
        unreachable!("the rank is within the branch")
    }

    fn item_mut(&mut self, rank: usize) -> &mut T {
        match self {
            Self::Leaf(items) => &mut items[rank],
            Self::Branch { children, .. } => {
                let (at, rank) = Self::locate(children, rank, false);
                children[at].item_mut(rank)
            }
        }
    }

    /// Adds an item. What does not fit any more is returned as the node's next sibling.
    fn insert(&mut self, rank: usize, item: T, spot: Spot) -> Option<Self> {
        match self {
            Self::Leaf(items) => insert_within(items, rank, item, LEAF, spot).map(Self::Leaf),
            Self::Branch { len, children } => {
                *len += 1;
                let (at, rank) = Self::locate(children, rank, true);
                let sibling = children[at].insert(rank, item, spot)?;
                let children = insert_within(children, at + 1, sibling, BRANCH, spot)?;
                let moved = children.iter().map(Self::len).sum();
                *len -= moved;
                Some(Self::Branch { len: moved, children })
            }
        }
    }

    fn remove(&mut self, rank: usize) -> T {
        match self {
            Self::Leaf(items) => {
                let item = items.remove(rank);
                if items.len() < items.capacity() / 4 {
                    items.shrink_to(2 * items.len());
                }
                item
            }
            Self::Branch { len, children } => {
                *len -= 1;
                let (at, rank) = Self::locate(children, rank, false);
                let item = children[at].remove(rank);
                Self::mend(children, at);
                item
            }
        }
    }

    /// Merges a child that has become small with a sibling, if they fit into one with room to spare; drops it if it is empty.
    fn mend(children: &mut Vec<Self>, at: usize) {
        let fits = |left: usize| match (children.get(left), children.get(left + 1)) {
            (Some(Self::Leaf(one)), Some(Self::Leaf(two))) => one.len() + two.len() <= LEAF / 2,
            (Some(Self::Branch { children: one, .. }), Some(Self::Branch { children: two, .. })) => one.len() + two.len() <= BRANCH / 2,
            _ => false,
        };
        if children[at].len() == 0 {
            children.remove(at);
        } else if let Some(left) = [Some(at), at.checked_sub(1)].into_iter().flatten().find(|left| fits(*left)) {
            let right = children.remove(left + 1);
            children[left].append(right);
        }
    }

    fn append(&mut self, right: Self) {
        match (self, right) {
            (Self::Leaf(items), Self::Leaf(mut more)) => items.append(&mut more),
            (Self::Branch { len, children }, Self::Branch { len: more, children: mut others }) => {
                *len += more;
                children.append(&mut others);
            }
            _ => unreachable!("siblings are equally deep"),
        }
    }
}

/// Inserts, and if there are too many then, splits off the second part.
fn insert_within<T>(items: &mut Vec<T>, at: usize, item: T, most: usize, spot: Spot) -> Option<Vec<T>> {
    if items.len() < most {
        items.insert(at, item);
        return None;
    }
    let split = if spot == Spot::End { at } else { most / 2 };
    let mut right = items.split_off(split);
    // Neither part may be empty.
    if at < split || split == 0 {
        items.insert(at, item);
    } else {
        right.insert(at - split, item);
    }
    Some(right)
}

/// The items from one place up to another, from either end.
#[derive(Clone, Debug)]
pub(crate) struct Iter<'a, T> {
    root: &'a Node<T>,
    ranks: Range<usize>,
    /// What is left of the leaves at the two ends. They may reach past the other end.
    front: slice::Iter<'a, T>,
    back: slice::Iter<'a, T>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        let rank = self.ranks.next()?;
        if self.front.len() == 0 {
            let (leaf, at) = self.root.leaf(rank)?;
            self.front = leaf[at..].iter();
        }
        self.front.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next_back()?;
        if self.back.len() == 0 {
            let (leaf, at) = self.root.leaf(rank)?;
            self.back = leaf[..=at].iter();
        }
        self.back.next_back()
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks the invariants, and returns the depth.
    fn check<T>(node: &Node<T>, is_root: bool) -> usize {
        match node {
            Node::Leaf(items) => {
                assert!(items.len() <= LEAF && (is_root || !items.is_empty()));
                0
            }
            Node::Branch { len, children } => {
                assert_eq!(*len, children.iter().map(Node::len).sum::<usize>());
                assert!(children.len() <= BRANCH && !children.is_empty() && (!is_root || children.len() > 1));
                let depths: Vec<usize> = children.iter().map(|child| check(child, false)).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    /// `count` times at a place that is `from` of 100 parts into the row, and `step` further each time.
    #[derive(Clone, Debug)]
    enum Step {
        Insert { from: usize, count: usize, step: usize },
        Remove { from: usize, count: usize },
        Range(usize, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..=100_usize, 1..900_usize, 0..2_usize).prop_map(|(from, count, step)| Step::Insert { from, count, step }),
            2 => (0..=100_usize, 1..900_usize).prop_map(|(from, count)| Step::Remove { from, count }),
            1 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Step::Range(from, to)),
        ];
        proptest::collection::vec(step, 0..16)
    }

    proptest! {
        #[test]
        fn it_is_a_row(steps in steps()) {
            let (mut ranked, mut model, mut number) = (Ranked::default(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Insert { from, count, step } => {
                        let mut at = model.len() * from / 100;
                        for _ in 0..count {
                            ranked.insert(at, number);
                            model.insert(at, number);
                            number += 1;
                            at += step;
                        }
                    }
                    Step::Remove { from, count } => for _ in 0..count.min(model.len()) {
                        let at = (model.len() - 1) * from / 100;
                        prop_assert_eq!(ranked.remove(at), model.remove(at));
                    },
                    Step::Range(from, to) => {
                        let (from, to) = (from % (model.len() + 1), to % (model.len() + 1));
                        let (from, to) = (from.min(to), from.max(to));
                        prop_assert!(ranked.range(from..to).eq(&model[from..to]));
                        prop_assert!(ranked.range(from..to).rev().eq(model[from..to].iter().rev()));
                        let (mut both, mut expected) = (ranked.range(from..to), model[from..to].iter());
                        for turn in 0..=to - from {
                            prop_assert_eq!(both.len(), expected.len());
                            match turn % 3 {
                                0 => prop_assert_eq!(both.next(), expected.next()),
                                _ => prop_assert_eq!(both.next_back(), expected.next_back()),
                            }
                        }
                    }
                }
                check(&ranked.root, true);
                prop_assert_eq!(ranked.len(), model.len());
                prop_assert!(ranked.range(0..usize::MAX).eq(&model));
                let at = number / 2 % (model.len() + 1);
                prop_assert_eq!(ranked.get(at), model.get(at));
                prop_assert_eq!(ranked.get_mut(at), model.get_mut(at));
            }
        }

        #[test]
        fn places_in_an_order_are_found(numbers in proptest::collection::vec(0..2000_u32, 0..3000), probe in 0..2000_u32) {
            let (mut ranked, mut model) = (Ranked::default(), Vec::new());
            for number in numbers {
                let at = model.partition_point(|held| *held < number);
                prop_assert_eq!(ranked.partition_point(|held| *held < number), at);
                ranked.insert(at, number);
                model.insert(at, number);
            }
            prop_assert_eq!(ranked.partition_point(|held| *held <= probe), model.partition_point(|held| *held <= probe));
        }
    }

    #[test]
    fn a_million_items_are_three_branches_deep_at_most() {
        let mut ranked = Ranked::default();
        (0..1_000_000_u32).for_each(|number| ranked.insert(ranked.len() * (number as usize % 2), number));
        assert!(check(&ranked.root, true) <= 3);
        assert!((0..1_000_000).all(|_| ranked.remove(ranked.len() / 3) < 1_000_000));
        assert_eq!((ranked.len(), check(&ranked.root, true)), (0, 0));
    }
}
