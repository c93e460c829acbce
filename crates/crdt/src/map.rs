//! A map from fields to states of a type that has its own merge rule.
//!
//! Merge rule: the fields of both, each merged by its own rule. A removal of a field removes the dots it observed, so update wins: a concurrent write
//! to the field has a dot that the removal did not observe, and stays.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::cell::{Cell, Value};
use crate::elements::Elements;
use crate::lattice::Lattice;
use crate::name::Name;
use crate::vector::Covers;
use crate::version::Version;

/// A state that can be an element of a container.
pub trait Element: Lattice {
    /// Whether the element is there for those who look. If it is not, and is not empty either, then something of it is remembered.
    fn is_shown(&self) -> bool;

    /// Bytes that it holds outside of itself, approximately; equal states give equal numbers.
    fn heap_bytes(&self) -> usize;
}

impl<V: Value> Element for Cell<V> {
    fn is_shown(&self) -> bool {
        Cell::is_shown(self)
    }

    fn heap_bytes(&self) -> usize {
        Cell::heap_bytes(self)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Map<S> {
    shown: Elements<S>,
    /// Fields that are not there, of which something is remembered.
    hidden: BTreeMap<Name, S>,
    /// Bytes that the names and states hold outside of themselves.
    held: usize,
}

/// What one command did to a map: to each field that it wrote, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDelta<D>(pub Vec<(Name, D)>);

/// What follows the elements of a map, under a key that it makes of each.
pub(crate) trait Index<S> {
    /// What it needs to know of an element besides its name.
    type Key: PartialEq;

    fn key(&self, state: &S) -> Self::Key;

    /// The element at the position has come, or has this key now.
    fn insert(&mut self, elements: &Elements<S>, position: usize, key: &Self::Key);

    /// The element at the position, which had this key, goes or has another one now.
    fn remove(&mut self, elements: &Elements<S>, position: usize, key: &Self::Key);

    /// The element goes from one position to another, which nothing is at any more.
    fn moves(&mut self, elements: &Elements<S>, from: usize, to: usize);
}

/// No index.
impl<S> Index<S> for () {
    type Key = ();

    fn key(&self, _: &S) {}
    fn insert(&mut self, _: &Elements<S>, _: usize, (): &()) {}
    fn remove(&mut self, _: &Elements<S>, _: usize, (): &()) {}
    fn moves(&mut self, _: &Elements<S>, _: usize, _: usize) {}
}

impl<S> Default for Map<S> {
    fn default() -> Self {
        Self { shown: Elements::default(), hidden: BTreeMap::new(), held: 0 }
    }
}

impl<S: Element> Map<S> {
    /// How many fields are there. (Whether the map may be dropped says [`Lattice::is_empty`].)
    #[expect(clippy::len_without_is_empty, reason = "a map of length zero may still remember something")]
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// The state of a field, if it is there.
    pub fn get(&self, field: &[u8]) -> Option<&S> {
        self.shown.get(field)
    }

    /// The field at a position, of which there are [`Map::len`], and its state: for a choice at random.
    pub fn at(&self, position: usize) -> Option<(&[u8], &S)> {
        self.shown.at(position)
    }

    /// The fields that are there, with their states, in order of their positions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &S)> + ExactSizeIterator {
        self.shown.iter()
    }

    /// The next `count` fields of a scan, and the cursor to go on with. A scan begins and ends with cursor zero, and gives every field that is there
    /// throughout at least once.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, impl Iterator<Item = (&[u8], &S)>) {
        let end = match cursor {
            0 => self.len(),
            _ => self.len().min(usize::try_from(cursor).unwrap_or(usize::MAX)),
        };
        let next = end.saturating_sub(count.max(1));
        (next as u64, (next..end).rev().filter_map(|position| self.at(position)))
    }

    /// Writes to the state of a field, there or not, and adds to the command's delta, if anything happened.
    pub fn write<D: Into<Option<S::Delta>>>(&mut self, delta: &mut MapDelta<S::Delta>, field: &[u8], write: impl FnOnce(&mut S) -> D) {
        self.write_with(delta, field, &mut (), write);
    }

    /// Writes to every field that is there.
    pub fn write_each<D: Into<Option<S::Delta>>>(&mut self, delta: &mut MapDelta<S::Delta>, write: impl FnMut(&mut S) -> D) {
        self.write_each_with(delta, &mut (), write);
    }

    /// Changes every state in a way that is no write: to forget what is stable.
    pub fn tidy(&mut self, tidy: impl FnMut(&mut S)) {
        self.tidy_with(&mut (), tidy);
    }

    /// Bytes held outside of itself, approximately.
    pub fn heap_bytes(&self) -> usize {
        self.held + self.shown.heap_bytes() + self.hidden.len() * size_of::<(Name, S)>()
    }
}

// The same with an index that is kept up to date.
impl<S: Element> Map<S> {
    pub(crate) fn elements(&self) -> &Elements<S> {
        &self.shown
    }

    pub(crate) fn write_with<D: Into<Option<S::Delta>>>(
        &mut self,
        delta: &mut MapDelta<S::Delta>,
        field: &[u8],
        index: &mut impl Index<S>,
        write: impl FnOnce(&mut S) -> D,
    ) {
        delta.add(field, self.change(field, index, write));
    }

    pub(crate) fn write_each_with<D: Into<Option<S::Delta>>>(
        &mut self,
        delta: &mut MapDelta<S::Delta>,
        index: &mut impl Index<S>,
        mut write: impl FnMut(&mut S) -> D,
    ) {
        for position in (0..self.len()).rev() {
            let name = self.shown.name(position).clone();
            delta.add(&name, self.change_at(position, index, &mut write));
        }
    }

    pub(crate) fn tidy_with(&mut self, index: &mut impl Index<S>, mut tidy: impl FnMut(&mut S)) {
        for (name, state) in mem::take(&mut self.hidden) {
            self.held = self.held.saturating_sub(name.heap_bytes() + state.heap_bytes());
            self.put(name, state, index, &mut tidy);
        }
        (0..self.len()).rev().for_each(|position| self.change_at(position, index, &mut tidy));
    }

    pub(crate) fn apply_with(&mut self, delta: &MapDelta<S::Delta>, index: &mut impl Index<S>) {
        delta.0.iter().for_each(|(field, delta)| self.change(field, index, |state| state.apply(delta)));
    }

    pub(crate) fn join_with(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers, index: &mut impl Index<S>) {
        let nothing = S::default();
        let hidden: Vec<Name> = self.hidden.keys().cloned().collect();
        for position in (0..self.len()).rev() {
            let state = other.remembered(self.shown.name(position)).unwrap_or(&nothing);
            self.change_at(position, index, |held| held.join(state, mine, theirs));
        }
        for field in hidden {
            let state = other.remembered(&field).unwrap_or(&nothing);
            self.change(&field, index, |held| held.join(state, mine, theirs));
        }
        for (field, state) in other.all().filter(|(_, state)| !state.is_empty()) {
            if self.remembered(field).is_none() {
                self.change(field, index, |held| held.join(state, mine, theirs));
            }
        }
    }

    /// Every field of which anything is known.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], &S)> {
        self.iter().chain(self.hidden.iter().map(|(field, state)| (&**field, state)))
    }

    /// The state of a field of which anything is known, be it there or not.
    pub fn remembered(&self, field: &[u8]) -> Option<&S> {
        self.get(field).or_else(|| self.hidden.get(field))
    }

    /// Changes the state of a field, there or not.
    pub(crate) fn change<R>(&mut self, field: &[u8], index: &mut impl Index<S>, change: impl FnOnce(&mut S) -> R) -> R {
        if let Some(position) = self.shown.find(field) {
            return self.change_at(position, index, change);
        }
        let Some((name, state)) = self.hidden.remove_entry(field) else {
            return self.put(Name::from(field), S::default(), index, change);
        };
        self.held = self.held.saturating_sub(name.heap_bytes() + state.heap_bytes());
        self.put(name, state, index, change)
    }

    fn put<R>(&mut self, name: Name, mut state: S, index: &mut impl Index<S>, change: impl FnOnce(&mut S) -> R) -> R {
        let result = change(&mut state);
        let bytes = name.heap_bytes() + state.heap_bytes();
        if state.is_shown() {
            let key = index.key(&state);
            let position = self.shown.push(name, state);
            index.insert(&self.shown, position, &key);
        } else if !state.is_empty() {
            self.hidden.insert(name, state);
        } else {
            return result;
        }
        self.held += bytes;
        result
    }

    fn change_at<R>(&mut self, position: usize, index: &mut impl Index<S>, change: impl FnOnce(&mut S) -> R) -> R {
        let state = self.shown.value_mut(position);
        let (bytes, before) = (state.heap_bytes(), index.key(state));
        let result = change(state);
        self.held = (self.held + state.heap_bytes()).saturating_sub(bytes);
        if state.is_shown() {
            let after = index.key(state);
            if before != after {
                index.remove(&self.shown, position, &before);
                index.insert(&self.shown, position, &after);
            }
            return result;
        }
        index.remove(&self.shown, position, &before);
        let last = self.len() - 1;
        if position != last {
            index.moves(&self.shown, last, position);
        }
        let (name, state) = self.shown.swap_remove(position);
        if state.is_empty() {
            self.held = self.held.saturating_sub(name.heap_bytes() + state.heap_bytes());
        } else {
            self.hidden.insert(name, state);
        }
        result
    }

    pub(crate) fn decode_with(reader: &mut Reader, index: &mut impl Index<S>) -> Result<Self, WireError>
    where
        S: Wire,
    {
        let mut map = Self::default();
        for _ in 0..reader.varint()? {
            let (field, state) = <(Name, S)>::decode(reader)?;
            map.change(&field, index, |held| *held = state);
        }
        Ok(map)
    }
}

impl<S: Element> Lattice for Map<S> {
    type Delta = MapDelta<S::Delta>;

    fn apply(&mut self, delta: &Self::Delta) {
        self.apply_with(delta, &mut ());
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        self.join_with(other, mine, theirs, &mut ());
    }

    fn is_empty(&self) -> bool {
        self.shown.len() + self.hidden.len() == 0
    }

    fn versions(&self, out: &mut Vec<Version>) {
        self.all().for_each(|(_, state)| state.versions(out));
    }
}

/// Whatever the positions of the fields.
impl<S: Element + PartialEq> PartialEq for Map<S> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.hidden == other.hidden && self.iter().all(|(field, state)| other.get(field) == Some(state))
    }
}

impl<S: Element + Wire> Wire for Map<S> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, (self.shown.len() + self.hidden.len()) as u64);
        for (field, state) in self.all() {
            put_varint(out, field.len() as u64);
            out.extend_from_slice(field);
            state.encode(out);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Self::decode_with(reader, &mut ())
    }
}

impl<D> Default for MapDelta<D> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<D> MapDelta<D> {
    pub(crate) fn add(&mut self, field: &[u8], delta: impl Into<Option<D>>) {
        self.0.extend(delta.into().map(|delta| (Name::from(field), delta)));
    }
}

impl<D: Wire> Wire for MapDelta<D> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(Vec::decode(reader)?))
    }
}
