//! A register for tests of containers: a write replaces what it observed; shown is the value of the greatest version. A removal may leave a mark.

use std::collections::BTreeMap;

use steadfast_crdt::{Covers, Dots, Element, Lattice, Scored, Version};
use steadfast_types::wire::{Reader, Wire, WireError};

/// Values by version; `None` is the mark of a removal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Register(BTreeMap<Version, Option<u64>>);

/// A write: what it observed, and what it left.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    gone: Dots,
    new: Option<(Version, Option<u64>)>,
}

impl Wire for Write {
    fn encode(&self, out: &mut Vec<u8>) {
        self.gone.encode(out);
        self.new.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { gone: Wire::decode(reader)?, new: Wire::decode(reader)? })
    }
}

impl Wire for Register {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Wire::decode(reader).map(Self)
    }
}

impl Register {
    /// Writes.
    pub fn set(&mut self, version: Version, value: u64) -> Write {
        self.write(Some((version, Some(value))))
    }

    /// Removes, and leaves a mark or nothing.
    pub fn remove(&mut self, version: Version, leaves_mark: bool) -> Option<Write> {
        self.is_shown().then(|| self.write(leaves_mark.then_some((version, None))))
    }

    fn write(&mut self, new: Option<(Version, Option<u64>)>) -> Write {
        let gone = std::mem::take(&mut self.0).into_keys().collect();
        self.0.extend(new);
        Write { gone, new }
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<u64> {
        self.0.values().rev().find_map(|value| *value)
    }
}

impl Lattice for Register {
    type Delta = Write;

    fn apply(&mut self, delta: &Write) {
        self.0.retain(|version, _| !delta.gone.as_slice().contains(version));
        self.0.extend(delta.new);
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        self.0.retain(|version, _| other.0.contains_key(version) || !theirs.covers(*version));
        self.0.extend(other.0.iter().filter(|(version, _)| !mine.covers(**version)).map(|(version, value)| (*version, *value)));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn versions(&self, out: &mut Vec<Version>) {
        out.extend(self.0.keys());
    }
}

impl Element for Register {
    fn is_shown(&self) -> bool {
        self.value().is_some()
    }

    fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<(Version, Option<u64>)>()
    }
}

impl Scored for Register {
    fn score(&self) -> f64 {
        score(self.value().unwrap_or_default())
    }
}

/// The score that a value stands for: few, and one that is not a number among them.
pub fn score(value: u64) -> f64 {
    [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1.0, 2.5, f64::NAN][value as usize % 7]
}
