//! The keyspace as rows: what was written to, what a row holds now, and how a keyspace comes back from rows.
//!
//! Rows may be taken one by one while writes go on. Say all rows that were written to up to some moment are taken afterwards, each at a moment of its own:
//! then these rows, with what [`Keyspace::seen_row`] gave at the first moment, and all that was written since, again and in the same order, make the keyspace
//! as it is now. For what a write or a join does to one dot does not depend on what else is there, and the last that concerns a dot decides.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Lattice, Time, Version};
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::container::{Container, Kind};
use crate::context::Context;
use crate::delta::Change;
use crate::entry::Entry;
use crate::keyspace::Keyspace;
use crate::keyspace::write::Account;
use crate::plain::Plain;
use crate::rich::Rich;
use crate::rows::{RowName, TEXT, Touched, kind_of, part_of};
use crate::table::{Hash, hash_of};

/// A string and nothing else.
const PLAIN: u8 = 0;

/// The state of a string, and the deadline.
const RICH: u8 = 1;

impl Keyspace {
    /// From now on it is noted which rows are written to.
    pub fn note_rows(&mut self) {
        self.touched.get_or_insert_default();
    }

    /// Bytes that the names of the rows take that were written to.
    pub fn touched_bytes(&self) -> usize {
        self.touched.as_ref().map_or(0, Touched::bytes)
    }

    /// The rows that were written to since this was asked last, or since [`Keyspace::note_rows`].
    pub fn take_touched(&mut self) -> Touched {
        let mut touched = self.touched.as_mut().map(mem::take).unwrap_or_default();
        touched.close();
        touched
    }

    /// What was seen, and what time it was, in the form that [`Keyspace::load`] reads. To be asked when no delta is left to be taken.
    pub fn seen_row(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.context.encode(&mut out);
        self.clock.last().encode(&mut out);
        out
    }

    /// Appends what the row of this name holds. `false` if there is no such row.
    pub fn put_row(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(RowName { hash, key, part, element }) = RowName::parse(name) else { return false };
        match (self.table.get(hash, key), kind_of(part)) {
            (None, _) => false,
            (Some(Entry::Plain(plain)), None) => {
                out.push(PLAIN);
                plain.version().encode(out);
                out.extend_from_slice(plain.value());
                true
            }
            (Some(Entry::Plain(_)), Some(_)) => false,
            (Some(Entry::Rich(rich)), None) => {
                let is_there = !rich.text.is_empty() || !rich.deadline.is_empty();
                if is_there {
                    out.push(RICH);
                    rich.text.encode(out);
                    rich.deadline.encode(out);
                }
                is_there
            }
            (Some(Entry::Rich(rich)), Some(kind)) => rich.container(kind).is_some_and(|container| container.put_element(element, out)),
        }
    }

    /// Begins to bring a keyspace back from its rows, given what was [`Keyspace::seen_row`].
    ///
    /// # Errors
    /// If that can't be read.
    pub fn load(actor: Actor, seen: Bytes) -> Result<Loading, WireError> {
        let mut keys = Keyspace::new(actor);
        let mut reader = Reader::new(seen);
        keys.context = Context::decode(&mut reader)?;
        let mut clock = HybridClock::default();
        clock.heard(Time::decode(&mut reader)?);
        keys.clock = clock;
        if reader.remaining() > 0 {
            return Err(WireError::Invalid("rows: what was seen"));
        }
        Ok(Loading { keys, key: None })
    }

    /// A command wrote this to a key.
    pub(super) fn wrote(&mut self, key: &[u8], version: Version, changes: impl IntoIterator<Item = Change>) {
        let Some(touched) = &mut self.touched else { return self.body.write(key, version, changes) };
        let hash = hash_of(key);
        self.body.write(key, version, changes.into_iter().inspect(|change| touched.note_change(hash, key, change)));
    }

    /// The row of a key's string was written to.
    pub(super) fn touched_text(&mut self, hash: Hash, key: &[u8]) {
        if let Some(touched) = &mut self.touched {
            touched.note(&RowName { hash, key, part: TEXT, element: &[] });
        }
    }

    /// Notes all rows of a key's state.
    pub(super) fn touched_all(&mut self, hash: Hash, rich: &Rich) {
        let Some(touched) = &mut self.touched else { return };
        let key = rich.key();
        touched.note(&RowName { hash, key, part: TEXT, element: &[] });
        for container in rich.containers() {
            let part = part_of(container.kind());
            container.for_each_element(|element, _| touched.note(&RowName { hash, key, part, element }));
        }
    }

    /// Forgets of a key what is stable, and notes the rows of which something was forgotten.
    pub(super) fn collect_key(&mut self, hash: Hash, rich: &mut Rich, stable: &impl steadfast_crdt::Covers) {
        let Some(touched) = &mut self.touched else { return rich.collect(stable) };
        let mut waiting = Vec::new();
        for container in rich.containers() {
            let kind = container.kind();
            container.for_each_element(|element, has_cuts| {
                if has_cuts {
                    waiting.push((kind, Box::<[u8]>::from(element)));
                }
            });
        }
        let (had_cuts, deadline) = (rich.text.has_cuts(), rich.deadline.clone());
        rich.collect(stable);
        let key = rich.key();
        if (had_cuts && !rich.text.has_cuts()) || rich.deadline != deadline {
            touched.note(&RowName { hash, key, part: TEXT, element: &[] });
        }
        for (kind, element) in waiting {
            if !rich.container(kind).is_some_and(|container| container.has_cuts(&element)) {
                touched.note(&RowName { hash, key, part: part_of(kind), element: &element });
            }
        }
    }
}

/// A keyspace that comes back from its rows, which are given in the order of their names.
#[derive(Debug)]
pub struct Loading {
    keys: Keyspace,
    key: Option<Key>,
}

/// The key whose rows come.
#[derive(Debug)]
struct Key {
    hash: Hash,
    rich: Rich,
    /// If it is the only row so far.
    plain: Option<Plain>,
    /// The elements of the container whose rows come: its part, how many there are, their wire forms.
    part: u8,
    count: u64,
    elements: Vec<u8>,
}

impl Loading {
    /// Takes a row.
    ///
    /// # Errors
    /// If it is none, or not the next one.
    pub fn row(&mut self, name: &[u8], value: Bytes) -> Result<(), WireError> {
        let RowName { hash, key, part, element } = RowName::parse(name)?;
        if self.key.as_ref().is_none_or(|current| current.rich.key() != key) {
            self.end_key()?;
            let rich = Rich::new(key);
            self.key = Some(Key { hash, rich, plain: None, part: TEXT, count: 0, elements: Vec::new() });
        }
        let current = self.key.as_mut().ok_or(WireError::Invalid("rows"))?;
        if part != TEXT {
            return current.element(part, element, &value);
        }
        let mut reader = Reader::new(value);
        match u8::decode(&mut reader)? {
            PLAIN => {
                let version = Version::decode(&mut reader)?;
                let value = reader.take(reader.remaining())?;
                current.plain = Some(Plain::new(version, key, &value));
            }
            RICH => {
                current.rich.text = Wire::decode(&mut reader)?;
                current.rich.deadline = Wire::decode(&mut reader)?;
            }
            _ => return Err(WireError::Invalid("row: a string")),
        }
        if reader.remaining() > 0 || !element.is_empty() { Err(WireError::Invalid("row: a string")) } else { Ok(()) }
    }

    /// All rows were given.
    ///
    /// # Errors
    /// If one of the last was none.
    pub fn finish(mut self) -> Result<Keyspace, WireError> {
        self.end_key()?;
        Ok(self.keys)
    }

    fn end_key(&mut self) -> Result<(), WireError> {
        let Some(mut key) = self.key.take() else { return Ok(()) };
        key.end_part()?;
        let entry = match key.plain.take() {
            Some(plain) => Entry::Plain(plain),
            None => Entry::from(Box::new(key.rich)),
        };
        if matches!(&entry, Entry::Rich(rich) if rich.is_empty()) {
            return Ok(());
        }
        let Err(at) = self.keys.table.find(key.hash, entry.key()) else { return Err(WireError::Invalid("rows: a key comes twice")) };
        let account = Account::of(&entry);
        self.keys.table.insert(at, key.hash, entry);
        self.keys.account(key.hash, Account::default(), account);
        Ok(())
    }
}

impl Key {
    fn element(&mut self, part: u8, element: &[u8], state: &[u8]) -> Result<(), WireError> {
        if let Some(plain) = self.plain.take() {
            self.rich = Rich::of_plain(&plain);
        }
        if part != self.part {
            self.end_part()?;
            self.part = part;
        }
        if kind_of(part) != Some(Kind::Sketch) {
            put_varint(&mut self.elements, element.len() as u64);
            self.elements.extend_from_slice(element);
        }
        self.elements.extend_from_slice(state);
        self.count += 1;
        Ok(())
    }

    /// All rows of a container came.
    fn end_part(&mut self) -> Result<(), WireError> {
        let (count, elements) = (mem::take(&mut self.count), mem::take(&mut self.elements));
        let Some(kind) = kind_of(self.part).filter(|_| count > 0) else { return Ok(()) };
        let mut bytes = Vec::from([self.part]);
        if kind != Kind::Sketch {
            put_varint(&mut bytes, count);
        }
        bytes.extend_from_slice(&elements);
        let mut reader = Reader::new(bytes.into());
        let container = Container::decode(&mut reader)?;
        if reader.remaining() > 0 || self.rich.container(kind).is_some() {
            return Err(WireError::Invalid("rows: a container"));
        }
        if let (false, Some(empty)) = (container.is_empty(), self.rich.container_mut(kind)) {
            *empty = container;
        }
        Ok(())
    }
}
