//! Rows: what is kept of the keys in tables, an element a row, and the names of those that changed.
//!
//! A row's name is the key's hash (four bytes, the leading ones first), the key, with its length before it, the part of the key, and the element: so the
//! rows of a key are side by side, in the order of the keyspace. Its value is the state of the part, or of its element.
//!
//! | part | element | value |
//! | --- | --- | --- |
//! | 0 | none | a string and nothing else: 0, its version, its bytes; or, if it has a row: 1, the string's state, the deadline |
//! | 1 to 5 | member, field, member, place, none | the state of one element of a sorted set, set, hash, list; of a sketch |

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Covers, Version, VersionVector, cell};
use steadfast_types::wire::{Reader, WireError, put_varint};

use crate::container::Kind;
use crate::delta::Change;
use crate::table::{Hash, hash_of};

/// The part that the string and the deadline are.
pub(crate) const TEXT: u8 = 0;

/// The value of that part is a string and nothing else.
pub(crate) const PLAIN: u8 = 0;

/// The value of that part is the state of a string, and the deadline.
pub(crate) const RICH: u8 = 1;

/// The part that a container is: the number of its wire form too.
pub(crate) fn part_of(kind: Kind) -> u8 {
    match kind {
        Kind::Text => TEXT,
        Kind::Sorted => 1,
        Kind::Set => 2,
        Kind::Hash => 3,
        Kind::List => 4,
        Kind::Sketch => 5,
    }
}

/// The kind of a part that is a container.
pub(crate) fn kind_of(part: u8) -> Option<Kind> {
    [Kind::Sorted, Kind::Set, Kind::Hash, Kind::List, Kind::Sketch].into_iter().find(|kind| part_of(*kind) == part)
}

/// The name of a row, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowName<'a> {
    pub(crate) hash: Hash,
    pub(crate) key: &'a [u8],
    pub(crate) part: u8,
    pub(crate) element: &'a [u8],
}

impl<'a> RowName<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_be_bytes());
        put_varint(out, self.key.len() as u64);
        out.extend_from_slice(self.key);
        out.push(self.part);
        out.extend_from_slice(self.element);
    }

    /// Takes a name apart.
    pub(crate) fn parse(name: &'a [u8]) -> Result<Self, WireError> {
        let (hash, rest) = name.split_first_chunk().ok_or(WireError::Truncated)?;
        let (length, rest) = take_length(rest).ok_or(WireError::Truncated)?;
        let (key, rest) = rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        let (part, element) = rest.split_first().ok_or(WireError::Truncated)?;
        let hash = Hash::from_be_bytes(*hash);
        if hash != hash_of(key) || !(*part == TEXT || kind_of(*part).is_some()) {
            return Err(WireError::Invalid("row: its name"));
        }
        Ok(RowName { hash, key, part: *part, element })
    }
}

/// The hash that a row's name begins with.
pub(crate) fn hash_in(name: &[u8]) -> Option<Hash> {
    name.first_chunk().copied().map(Hash::from_be_bytes)
}

/// The name of the row that a key's string is.
pub(crate) fn text_row(hash: Hash, key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(size_of::<Hash>() + key.len() + 6);
    RowName { hash, key, part: TEXT, element: &[] }.put(&mut name);
    name
}

/// What comes after the names of all rows of a key, and before those of the next.
pub(crate) fn after_key(hash: Hash, key: &[u8]) -> Vec<u8> {
    let mut name = text_row(hash, key);
    name.pop();
    name.push(u8::MAX);
    name
}

/// A length at the front of bytes, and what follows it.
fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (length, rest) = bytes.split_at(end);
    let length = Reader::new(Bytes::copy_from_slice(length)).varint().ok()?;
    Some((usize::try_from(length).ok()?, rest))
}

/// So many names are remembered, at most: more would not stay near the processor.
const REMEMBERED: usize = 1 << 15;

/// No name.
const NOTHING: Remembered = Remembered { hash: 0, start: u32::MAX };

/// A name that was noted: the upper half of its hash, and where in the log it stands.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    hash: u32,
    start: u32,
}

/// The lower and the upper half of a hash.
fn split(hash: u64) -> (u32, u32) {
    (hash as u32, (hash >> u32::BITS) as u32)
}

/// The names of rows that were written to, in the order of the writes; names that come again soon are there once.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Names, each with its length (four bytes) before it.
    log: Vec<u8>,
    /// By the lower half of the hash, the last name of such a hash.
    last: Box<[Remembered]>,
    count: usize,
    /// What was given out.
    at: usize,
    /// What had been seen as this began.
    seen: VersionVector,
}

impl Touched {
    /// Begins, where that much was seen.
    pub(crate) fn since(seen: VersionVector) -> Self {
        Touched { seen, ..Touched::default() }
    }

    /// Whether a row is among them that holds one of these: whatever was not seen at the beginning was noted when it came.
    pub(crate) fn has(&self, held: &[Version]) -> bool {
        held.iter().any(|version| !self.seen.covers(*version))
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.log.len() + self.last.len() * size_of::<Remembered>()
    }

    /// Whether there is no name that was not given out.
    pub fn is_empty(&self) -> bool {
        self.at == self.log.len()
    }

    /// The next name.
    pub fn next_name(&mut self) -> Option<&[u8]> {
        let (length, _) = self.log.get(self.at..)?.split_first_chunk()?;
        let start = self.at + size_of::<u32>();
        self.at = start + u32::from_le_bytes(*length) as usize;
        self.log.get(start..self.at)
    }

    /// No more names are to come.
    pub(crate) fn close(&mut self) {
        self.last = Box::default();
    }

    /// This row was written to.
    pub(crate) fn note(&mut self, row: &RowName<'_>) {
        if self.count >= self.last.len() && self.last.len() < REMEMBERED {
            self.last = vec![NOTHING; (self.last.len() * 4).max(64)].into_boxed_slice();
        }
        let start = self.log.len();
        self.log.extend_from_slice(&[0; size_of::<u32>()]);
        row.put(&mut self.log);
        let length = u32::try_from(self.log.len() - start - size_of::<u32>()).expect("names are shorter than four gigabytes");
        self.log[start..start + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
        let (before, name) = self.log.split_at(start);
        let (low, hash) = match row.element {
            [] => (row.hash, row.hash),
            _ => split(xxhash_rust::xxh3::xxh3_64(&name[size_of::<u32>()..])),
        };
        let slot = &mut self.last[low as usize & (self.last.len() - 1)];
        let is_there = slot.hash == hash && before.get(slot.start as usize..).is_some_and(|earlier| earlier.starts_with(name));
        if is_there {
            self.log.truncate(start);
            return;
        }
        *slot = u32::try_from(start).map_or(NOTHING, |start| Remembered { hash, start });
        self.count += 1;
    }

    /// The rows of a key that a change by this replica writes to. What such a change replaced is what the row held, so of most rows that are written to
    /// again and again it tells that they are there already, whatever else was written between.
    pub(crate) fn note_own_change(&mut self, hash: Hash, key: &[u8], change: &Change) {
        let replaced: &[Version] = match change {
            Change::Over { observed, .. } | Change::Gone(observed) => core::slice::from_ref(observed),
            Change::Text(cell::Delta::Write { removed, .. }) => &removed.gone,
            Change::Set(delta) => {
                for change in &delta.changes {
                    if !self.has(change.gone.as_slice()) {
                        self.note(&RowName { hash, key, part: part_of(Kind::Set), element: &change.member });
                    }
                }
                return;
            }
            Change::Hash(delta) => {
                for (field, change) in &delta.0 {
                    if !matches!(change, cell::Delta::Write { removed, .. } if self.has(&removed.gone)) {
                        self.note(&RowName { hash, key, part: part_of(Kind::Hash), element: field });
                    }
                }
                return;
            }
            _ => &[],
        };
        if !self.has(replaced) {
            self.note_change(hash, key, change);
        }
    }

    /// The rows of a key that a change writes to.
    pub(crate) fn note_change(&mut self, hash: Hash, key: &[u8], change: &Change) {
        let mut note = |kind, element: &[u8]| self.note(&RowName { hash, key, part: part_of(kind), element });
        match change {
            Change::New(_) | Change::Over { .. } | Change::Gone(_) | Change::Text(_) | Change::Deadline(_) => note(Kind::Text, &[]),
            Change::Set(delta) => delta.changes.iter().for_each(|change| note(Kind::Set, &change.member)),
            Change::Hash(delta) => delta.0.iter().for_each(|(field, _)| note(Kind::Hash, field)),
            Change::Sorted(delta) => delta.0.iter().for_each(|(member, _)| note(Kind::Sorted, member)),
            Change::List(delta) => delta.0.iter().for_each(|(place, _)| note(Kind::List, place)),
            Change::Sketch(_) => note(Kind::Sketch, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_names_come_out_and_can_be_read(rows in proptest::collection::vec((".{0,3}", 0..6_u8, "[ab]{0,2}", 0..300_usize), 0..200)) {
            let (mut touched, mut expected) = (Touched::default(), BTreeSet::new());
            for (key, part, element, more) in &rows {
                let key = [key.as_bytes(), &vec![b'k'; more / 30 * 30]].concat();
                let row = RowName { hash: hash_of(&key), key: &key, part: *part, element: element.as_bytes() };
                touched.note(&row);
                let mut name = Vec::new();
                row.put(&mut name);
                prop_assert_eq!(RowName::parse(&name), Ok(row));
                expected.insert(name);
            }
            let (mut found, mut count) = (BTreeSet::new(), 0);
            while let Some(name) = touched.next_name() {
                found.insert(name.to_vec());
                count += 1;
            }
            prop_assert!(touched.is_empty() && count <= rows.len());
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_name_that_is_none_is_refused(name in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = RowName::parse(&name);
        }
    }

    #[test]
    fn a_row_that_is_written_to_again_and_again_is_noted_once() {
        let mut touched = Touched::default();
        let row = |element| RowName { hash: hash_of(b"key"), key: b"key", part: 2, element };
        (0..10_000).for_each(|number| touched.note(&row(if number % 2 == 0 { b"one" } else { b"other" })));
        assert!(touched.log.len() < 100, "{} bytes", touched.log.len());
    }
}
