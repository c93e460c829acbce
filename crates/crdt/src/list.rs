//! A list: elements in the order of places that never change.
//!
//! Merge rule: the elements of both in the order of their places, which all replicas agree on; each element merged by its own rule. All inserts are kept,
//! and since a place lies where its writer saw it, each side's order is kept too. A removal removes the dots it observed: an
//! element that somebody wrote to at the same time stays (update wins). Two sides may pop the same element.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::lattice::Lattice;
use crate::map::{Element, MapDelta};
use crate::name::Name;
use crate::place;
use crate::ranked::Ranked;
use crate::vector::Covers;
use crate::version::Version;

/// See the module.
#[derive(Clone, Debug)]
pub struct List<S> {
    /// What is there, with its places, in their order.
    row: Ranked<(Name, S)>,
    /// Elements that are not there, of which something is remembered.
    hidden: BTreeMap<Name, S>,
    /// Bytes that places and states hold outside of themselves.
    held: usize,
}

impl<S> Default for List<S> {
    fn default() -> Self {
        Self { row: Ranked::default(), hidden: BTreeMap::new(), held: 0 }
    }
}

impl<S: Element> List<S> {
    /// How many elements are there. (Whether the list may be dropped says [`Lattice::is_empty`].)
    #[expect(clippy::len_without_is_empty, reason = "a list of length zero may still remember something")]
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<&S> {
        self.row.get(index).map(|(_, state)| state)
    }

    /// The elements of these indexes in order, and from either end.
    pub fn range(&self, indexes: Range<usize>) -> impl DoubleEndedIterator<Item = &S> + ExactSizeIterator {
        self.row.range(indexes).map(|(_, state)| state)
    }

    /// Inserts elements in the order given, the first of which has this index then (or that of the list's end), and adds to the delta of the command,
    /// whose version this is. Each comes to be by a write.
    pub fn insert<W, D>(&mut self, delta: &mut MapDelta<S::Delta>, version: Version, index: usize, writes: impl IntoIterator<Item = W>)
    where
        W: FnOnce(&mut S) -> D,
        D: Into<Option<S::Delta>>,
    {
        let mut index = index.min(self.len());
        for (number, write) in (0..).zip(writes) {
            let place = |index: usize| self.row.get(index).map(|(place, _)| &**place);
            let before = index.checked_sub(1).and_then(place).unwrap_or_default();
            let place = place::between(before, place(index), version, number);
            let length = self.len();
            delta.add(&place, self.change(&place, write));
            index += self.len() - length;
        }
    }

    /// Writes to the element at an index, if there is one, and adds to the command's delta. One that is removed by it is not there any more.
    pub fn write<D: Into<Option<S::Delta>>>(&mut self, delta: &mut MapDelta<S::Delta>, index: usize, write: impl FnOnce(&mut S) -> D) {
        if let Some((place, _)) = self.row.get(index) {
            let place = place.clone();
            delta.add(&place, self.change_at(index, write));
        }
    }

    /// Writes to all elements of these indexes, from the last to the first.
    pub fn write_each<D: Into<Option<S::Delta>>>(
        &mut self,
        delta: &mut MapDelta<S::Delta>,
        indexes: Range<usize>,
        mut write: impl FnMut(&mut S) -> D,
    ) {
        for index in (indexes.start..indexes.end.min(self.len())).rev() {
            self.write(delta, index, &mut write);
        }
    }

    /// Changes every state in a way that is no write: to forget what is stable.
    pub fn tidy(&mut self, mut tidy: impl FnMut(&mut S)) {
        for (place, state) in mem::take(&mut self.hidden) {
            self.held = self.held.saturating_sub(place.heap_bytes() + state.heap_bytes());
            let index = self.find(&place).unwrap_or_else(|index| index);
            self.put(index, place, state, &mut tidy);
        }
        (0..self.len()).rev().for_each(|index| self.change_at(index, &mut tidy));
    }

    /// Bytes held outside of itself, approximately.
    pub fn heap_bytes(&self) -> usize {
        self.held + self.row.heap_bytes() + self.hidden.len() * size_of::<(Name, S)>()
    }

    /// The index of a place, or the one it would have.
    fn find(&self, place: &[u8]) -> Result<usize, usize> {
        let index = self.row.partition_point(|(held, _)| **held < *place);
        match self.row.get(index) {
            Some((held, _)) if **held == *place => Ok(index),
            _ => Err(index),
        }
    }

    /// Every element of which anything is known.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], &S)> {
        let shown = self.row.range(0..self.len()).map(|(place, state)| (&**place, state));
        shown.chain(self.hidden.iter().map(|(place, state)| (&**place, state)))
    }

    /// The state at a place of which anything is known, be the element there or not.
    pub fn remembered(&self, place: &[u8]) -> Option<&S> {
        self.find(place).ok().and_then(|index| self.get(index)).or_else(|| self.hidden.get(place))
    }

    /// Changes the state at a place, there or not.
    fn change<R>(&mut self, place: &[u8], change: impl FnOnce(&mut S) -> R) -> R {
        let index = match self.find(place) {
            Ok(index) => return self.change_at(index, change),
            Err(index) => index,
        };
        let Some((place, state)) = self.hidden.remove_entry(place) else {
            return self.put(index, Name::from(place), S::default(), change);
        };
        self.held = self.held.saturating_sub(place.heap_bytes() + state.heap_bytes());
        self.put(index, place, state, change)
    }

    fn put<R>(&mut self, index: usize, place: Name, mut state: S, change: impl FnOnce(&mut S) -> R) -> R {
        let result = change(&mut state);
        let bytes = place.heap_bytes() + state.heap_bytes();
        if state.is_shown() {
            self.row.insert(index, (place, state));
        } else if !state.is_empty() {
            self.hidden.insert(place, state);
        } else {
            return result;
        }
        self.held += bytes;
        result
    }

    fn change_at<R>(&mut self, index: usize, change: impl FnOnce(&mut S) -> R) -> R {
        let (_, state) = self.row.get_mut(index).expect("the index was found");
        let bytes = state.heap_bytes();
        let result = change(state);
        self.held = (self.held + state.heap_bytes()).saturating_sub(bytes);
        if !state.is_shown() {
            let (place, state) = self.row.remove(index);
            if state.is_empty() {
                self.held = self.held.saturating_sub(place.heap_bytes() + state.heap_bytes());
            } else {
                self.hidden.insert(place, state);
            }
        }
        result
    }
}

impl<S: Element> Lattice for List<S> {
    /// By places.
    type Delta = MapDelta<S::Delta>;

    fn apply(&mut self, delta: &Self::Delta) {
        delta.0.iter().for_each(|(place, delta)| self.change(place, |state| state.apply(delta)));
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        let nothing = S::default();
        let hidden: Vec<Name> = self.hidden.keys().cloned().collect();
        for index in (0..self.len()).rev() {
            let state = self.row.get(index).and_then(|(place, _)| other.remembered(place)).unwrap_or(&nothing);
            self.change_at(index, |held| held.join(state, mine, theirs));
        }
        for place in hidden {
            let state = other.remembered(&place).unwrap_or(&nothing);
            self.change(&place, |held| held.join(state, mine, theirs));
        }
        for (place, state) in other.all() {
            if self.remembered(place).is_none() {
                self.change(place, |held| held.join(state, mine, theirs));
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.row.len() + self.hidden.len() == 0
    }

    fn versions(&self, out: &mut Vec<Version>) {
        self.all().for_each(|(_, state)| state.versions(out));
    }
}

impl<S: Element + PartialEq> PartialEq for List<S> {
    fn eq(&self, other: &Self) -> bool {
        self.hidden == other.hidden && self.row.range(0..self.len()).eq(other.row.range(0..other.len()))
    }
}

impl<S: Element + Wire> Wire for List<S> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, (self.row.len() + self.hidden.len()) as u64);
        for (place, state) in self.all() {
            put_varint(out, place.len() as u64);
            out.extend_from_slice(place);
            state.encode(out);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut list = Self::default();
        for _ in 0..reader.varint()? {
            let (place, state) = <(Name, S)>::decode(reader)?;
            list.change(&place, |held| *held = state);
        }
        Ok(list)
    }
}
