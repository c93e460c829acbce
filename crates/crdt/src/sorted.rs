//! A sorted set: a map from members to scores, and the members in the order of their scores.
//!
//! Merge rule: that of a map, each score merged by its own rule. The order follows from the scores and has no say: members of equal scores are in the
//! order of their bytes, and a score that is not a number (infinities of both signs added on two sides) counts as zero.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::{Bound, Range};

use steadfast_types::wire::{Reader, Wire, WireError};

use crate::cell::{Cell, Score};
use crate::elements::Elements;
use crate::lattice::Lattice;
use crate::map::{Element, Index, Map, MapDelta};
use crate::ranked::Ranked;
use crate::vector::Covers;
use crate::version::Version;

/// A state that shows a score.
pub trait Scored: Element {
    /// The score, if it is there.
    fn score(&self) -> f64;
}

impl Scored for Cell<Score> {
    fn score(&self) -> f64 {
        self.shown().map_or(0.0, Score::get)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Sorted<S> {
    members: Map<S>,
    order: Order,
}

/// A member's score and its position among the elements.
#[derive(Clone, Copy, Debug)]
struct Ranking {
    score: f64,
    position: u32,
}

/// The members in order of score and name.
#[derive(Clone, Debug, Default)]
struct Order(Ranked<Ranking>);

impl Order {
    /// The rank of an element of this name and score, there or not.
    fn rank<S>(&self, elements: &Elements<S>, score: f64, name: &[u8]) -> usize {
        self.0.partition_point(|held| match compare(held.score, score) {
            Ordering::Equal => **elements.name(held.position as usize) < *name,
            order => order == Ordering::Less,
        })
    }
}

/// Neither is not a number.
fn compare(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other).unwrap_or(Ordering::Equal)
}

impl<S: Scored> Index<S> for Order {
    type Key = f64;

    fn key(&self, state: &S) -> f64 {
        let score = state.score();
        if score.is_nan() { 0.0 } else { score }
    }

    fn insert(&mut self, elements: &Elements<S>, position: usize, score: &f64) {
        let rank = self.rank(elements, *score, elements.name(position));
        // Positions are 32 bits in the elements too.
        self.0.insert(rank, Ranking { score: *score, position: position as u32 });
    }

    fn remove(&mut self, elements: &Elements<S>, position: usize, score: &f64) {
        self.0.remove(self.rank(elements, *score, elements.name(position)));
    }

    fn moves(&mut self, elements: &Elements<S>, from: usize, to: usize) {
        let Some((name, state)) = elements.at(from) else { return };
        let rank = self.rank(elements, self.key(state), name);
        if let Some(ranking) = self.0.get_mut(rank) {
            ranking.position = to as u32;
        }
    }
}

impl<S> Default for Sorted<S> {
    fn default() -> Self {
        Self { members: Map::default(), order: Order::default() }
    }
}

impl<S: Scored> Sorted<S> {
    /// How many members are there. (Whether the sorted set may be dropped says [`Lattice::is_empty`].)
    #[expect(clippy::len_without_is_empty, reason = "a sorted set of length zero may still remember something")]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The state of a member, if it is there.
    pub fn get(&self, member: &[u8]) -> Option<&S> {
        self.members.get(member)
    }

    /// The members by position, for a choice at random and for scans.
    pub fn members(&self) -> &Map<S> {
        &self.members
    }

    /// How many members come before this one, if it is there.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let state = self.get(member)?;
        Some(self.order.rank(self.members.elements(), self.order.key(state), member))
    }

    /// The members of these ranks in order, and from either end.
    pub fn range(&self, ranks: Range<usize>) -> impl DoubleEndedIterator<Item = (&[u8], &S)> + ExactSizeIterator {
        let elements = self.members.elements();
        self.order.0.range(ranks).map(|ranking| elements.at(ranking.position as usize).expect("whoever has a rank is there"))
    }

    /// The ranks of the members whose scores are within bounds.
    pub fn ranks_by_score(&self, low: Bound<f64>, high: Bound<f64>) -> Range<usize> {
        let before = |score: f64, and_equal: bool| {
            self.order.0.partition_point(|held| held.score < score || (and_equal && held.score == score))
        };
        self.ranks(low, high, before)
    }

    /// The ranks of the members within bounds, if all have the same score.
    pub fn ranks_by_member(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Range<usize> {
        let before = |member: &[u8], and_equal: bool| {
            self.order.0.partition_point(|held| {
                let name = &**self.members.elements().name(held.position as usize);
                name < member || (and_equal && name == member)
            })
        };
        self.ranks(low, high, before)
    }

    fn ranks<B>(&self, low: Bound<B>, high: Bound<B>, before: impl Fn(B, bool) -> usize) -> Range<usize> {
        let start = match low {
            Bound::Unbounded => 0,
            Bound::Included(low) => before(low, false),
            Bound::Excluded(low) => before(low, true),
        };
        let end = match high {
            Bound::Unbounded => self.len(),
            Bound::Included(high) => before(high, true),
            Bound::Excluded(high) => before(high, false),
        };
        start..end.max(start)
    }

    /// Writes to the state of a member, there or not, and adds to the command's delta, if anything happened.
    pub fn write<D: Into<Option<S::Delta>>>(&mut self, delta: &mut MapDelta<S::Delta>, member: &[u8], write: impl FnOnce(&mut S) -> D) {
        self.members.write_with(delta, member, &mut self.order, write);
    }

    /// Writes to every member that is there.
    pub fn write_each<D: Into<Option<S::Delta>>>(&mut self, delta: &mut MapDelta<S::Delta>, write: impl FnMut(&mut S) -> D) {
        self.members.write_each_with(delta, &mut self.order, write);
    }

    /// Changes every state in a way that is no write: to forget what is stable.
    pub fn tidy(&mut self, tidy: impl FnMut(&mut S)) {
        self.members.tidy_with(&mut self.order, tidy);
    }

    /// Bytes held outside of itself, approximately.
    pub fn heap_bytes(&self) -> usize {
        self.members.heap_bytes() + self.order.0.heap_bytes()
    }
}

impl<S: Scored> Lattice for Sorted<S> {
    type Delta = MapDelta<S::Delta>;

    fn apply(&mut self, delta: &Self::Delta) {
        self.members.apply_with(delta, &mut self.order);
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        self.members.join_with(&other.members, mine, theirs, &mut self.order);
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn versions(&self, out: &mut Vec<Version>) {
        self.members.versions(out);
    }
}

impl<S: Scored + PartialEq> PartialEq for Sorted<S> {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

impl<S: Scored + Wire> Wire for Sorted<S> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.members.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut order = Order::default();
        Ok(Self { members: Map::decode_with(reader, &mut order)?, order })
    }
}
