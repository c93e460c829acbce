//! The keyspace as rows: what was written to, what a row holds now, and how a keyspace comes back from rows.
//!
//! Rows may be taken one by one while writes go on. Say all rows that were written to up to some moment are taken afterwards, each at a moment of its own:
//! then these rows, with what [`Keyspace::seen_row`] gave at the first moment, and all that was written since, again and in the same order, make the keyspace
//! as it is now. For what a write or a join does to one dot does not depend on what else is there, and the last that concerns a dot decides.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Lattice, Time, Version};
use steadfast_types::wire::{Reader, Wire, WireError};

use crate::assembly::Assembly;
use crate::cold::ColdRows;
use crate::context::Context;
use crate::delta::Change;
use crate::entry::Entry;
use crate::keyspace::Keyspace;
use crate::keyspace::write::Account;
use crate::rich::Rich;
use crate::rows::{PLAIN, RICH, RowName, TEXT, Touched, kind_of, part_of};
use crate::table::{Hash, hash_of};

impl Keyspace {
    /// From now on it is noted which rows are written to.
    pub fn note_rows(&mut self) {
        if self.touched.is_none() {
            self.touched = Some(Touched::since(self.seen()));
        }
    }

    /// Bytes that the names of the rows take that were written to.
    pub fn touched_bytes(&self) -> usize {
        self.touched.as_ref().map_or(0, Touched::bytes)
    }

    /// Whether a row was written to since they were taken.
    pub fn has_touched(&self) -> bool {
        self.touched.as_ref().is_some_and(|touched| !touched.is_empty())
    }

    /// The rows that were written to since this was asked last, or since [`Keyspace::note_rows`]. When they are durable, that is to be said
    /// ([`Keyspace::rows_are_durable`]).
    pub fn take_touched(&mut self) -> Touched {
        self.table.checkpoint_begins();
        let next = Touched::since(self.seen());
        let mut touched = self.touched.as_mut().map(|touched| mem::replace(touched, next)).unwrap_or_default();
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
        Ok(Loading { keys, assembly: Assembly::default(), limit: None, next: usize::MAX, last: None })
    }

    /// A command wrote this to a key.
    pub(super) fn wrote(&mut self, key: &[u8], version: Version, changes: impl IntoIterator<Item = Change>) {
        let Some(touched) = &mut self.touched else { return self.body.write(key, version, changes) };
        let hash = hash_of(key);
        self.body.write(key, version, changes.into_iter().inspect(|change| touched.note_own_change(hash, key, change)));
    }

    /// The row of a key's string was written to, where it held this, if anything.
    pub(super) fn touched_text(&mut self, hash: Hash, key: &[u8], held: Option<Version>) {
        if let Some(touched) = &mut self.touched
            && !touched.has(held.as_slice())
        {
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
    assembly: Assembly,
    /// Bytes of memory that may be used.
    limit: Option<usize>,
    /// When more is used, keys go out of memory.
    next: usize,
    /// The hash of the last key.
    last: Option<Hash>,
}

/// So many keys are looked at at a time, about, if some are to go out of memory.
const LOOKS: usize = 1 << 16;

impl Loading {
    /// No more memory is used than that, about: keys beyond it are cold. The rows are the ones that are given.
    #[must_use]
    pub fn within(mut self, limit: usize, rows: Arc<dyn ColdRows>) -> Self {
        self.keys.set_cold_rows(rows);
        self.keys.note_rows();
        Loading { limit: Some(limit), next: limit, ..self }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// If it is none, or not the next one.
    pub fn row(&mut self, name: &[u8], value: Bytes) -> Result<(), WireError> {
        match self.assembly.row(name, value)? {
            Some((hash, entry)) => self.put(hash, entry),
            None => Ok(()),
        }
    }

    /// All rows were given.
    ///
    /// # Errors
    /// If one of the last was none.
    pub fn finish(mut self) -> Result<Keyspace, WireError> {
        if let Some((hash, entry)) = self.assembly.end()? {
            self.put(hash, entry)?;
        }
        Ok(self.keys)
    }

    fn put(&mut self, hash: Hash, entry: Entry) -> Result<(), WireError> {
        // All keys of a hash go out of memory together.
        if let Some(limit) = self.limit.filter(|_| self.last != Some(hash) && self.keys.used_bytes() > self.next) {
            self.keys.evict(limit, LOOKS);
            self.next = limit.max(self.keys.used_bytes()) + limit / 64;
        }
        self.last = Some(hash);
        let Err(at) = self.keys.table.find(hash, entry.key()) else { return Err(WireError::Invalid("rows: a key comes twice")) };
        let account = Account::of(&entry);
        self.keys.table.insert_as_in_rows(at, hash, entry);
        self.keys.account(hash, Account::default(), account);
        Ok(())
    }
}
