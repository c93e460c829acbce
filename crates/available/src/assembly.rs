//! Keys made of their rows again, which come in the order of their names.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use steadfast_crdt::Version;
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::cold::{ColdRows, Unreadable};
use crate::container::{Container, Kind};
use crate::entry::Entry;
use crate::plain::Plain;
use crate::rich::Rich;
use crate::rows::{PLAIN, RICH, RowName, TEXT, hash_in, kind_of};
use crate::table::Hash;

/// The key whose rows come.
#[derive(Debug, Default)]
pub(crate) struct Assembly(Option<Key>);

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

impl Assembly {
    /// Takes a row. If it is the first one of a key, the key before it is whole.
    pub(crate) fn row(&mut self, name: &[u8], value: Bytes) -> Result<Option<(Hash, Entry)>, WireError> {
        let RowName { hash, key, part, element } = RowName::parse(name)?;
        let mut whole = None;
        if self.0.as_ref().is_none_or(|current| current.rich.key() != key) {
            whole = self.end()?;
            self.0 = Some(Key { hash, rich: Rich::new(key), plain: None, part: TEXT, count: 0, elements: Vec::new() });
        }
        let current = self.0.as_mut().ok_or(WireError::Invalid("rows"))?;
        if part != TEXT {
            current.element(part, element, &value)?;
            return Ok(whole);
        }
        if value.first() == Some(&PLAIN) {
            current.plain = Some(plain_of(key, value)?);
        } else {
            let mut reader = Reader::new(value);
            if u8::decode(&mut reader)? != RICH {
                return Err(WireError::Invalid("row: a string"));
            }
            current.rich.text = Wire::decode(&mut reader)?;
            current.rich.deadline = Wire::decode(&mut reader)?;
            if reader.remaining() > 0 {
                return Err(WireError::Invalid("row: a string"));
            }
        }
        if element.is_empty() { Ok(whole) } else { Err(WireError::Invalid("row: a string")) }
    }

    /// All rows came: the last key is whole.
    pub(crate) fn end(&mut self) -> Result<Option<(Hash, Entry)>, WireError> {
        let Some(mut key) = self.0.take() else { return Ok(None) };
        key.end_part()?;
        let entry = match key.plain.take() {
            Some(plain) => Entry::Plain(plain),
            None => Entry::from(Box::new(key.rich)),
        };
        let is_empty = matches!(&entry, Entry::Rich(rich) if rich.is_empty());
        Ok((!is_empty).then_some((key.hash, entry)))
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

/// A plain string's key, of the value of its row.
pub(crate) fn plain_of(key: &[u8], value: Bytes) -> Result<Plain, WireError> {
    let mut reader = Reader::new(value);
    if u8::decode(&mut reader)? != PLAIN {
        return Err(WireError::Invalid("row: a string"));
    }
    let version = Version::decode(&mut reader)?;
    let value = reader.take(reader.remaining())?;
    Ok(Plain::new(version, key, &value))
}

/// Reads the keys whose hashes are in a range (both ends included), and of which `wanted` says so, one after the other, until the call says `false`.
pub(crate) fn read_keys(
    rows: &dyn ColdRows,
    from: Hash,
    to: Hash,
    wanted: impl Fn(Hash) -> bool,
    mut each: impl FnMut(Hash, Entry) -> bool,
) -> Result<(), Unreadable> {
    let (mut assembly, mut goes_on, mut failed) = (Assembly::default(), true, None);
    rows.rows(&from.to_be_bytes(), to, &mut |name, value| {
        if !hash_in(name).is_none_or(&wanted) {
            return true;
        }
        match assembly.row(name, value) {
            Ok(None) => {}
            Ok(Some((hash, entry))) => goes_on = each(hash, entry),
            Err(error) => (goes_on, failed) = (false, Some(error)),
        }
        goes_on
    })?;
    if goes_on {
        match assembly.end() {
            Ok(whole) => _ = whole.map(|(hash, entry)| each(hash, entry)),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
