//! What one turn of a writer changed, key by key: built as the commands run, so that a command's share of it is a few bytes more in a row.
//!
//! The changes of a command have its version. A change of the same command to the same key follows without repeating either.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::Version;
use steadfast_crdt::cell::{self, Sketched, Text};
use steadfast_crdt::set::SetDelta;
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};
use steadfast_types::wire_enum;

use crate::container::{ScoresDelta, TextsDelta};
use crate::deadline;
use crate::exchange::Delta;

/// What a command did to a part of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// The string was written, and nothing was there before.
    New(Bytes),
    /// The string was written, and what was there was one of this version, and nothing else.
    Over {
        /// The version of what was there.
        observed: Version,
        /// The string.
        value: Bytes,
    },
    /// The key was removed: it was a string of this version, and nothing else.
    Gone(Version),
    /// The string, in general.
    Text(cell::Delta<Text>),
    /// The deadline.
    Deadline(deadline::Change),
    /// The set.
    Set(SetDelta),
    /// The hash.
    Hash(TextsDelta),
    /// The sorted set.
    Sorted(ScoresDelta),
    /// The list.
    List(TextsDelta),
    /// The sketch.
    Sketch(cell::Delta<Sketched>),
}

/// Numbers of the two changes that are written without making a [`Change`] first.
const NEW: u8 = 1;
const OVER: u8 = 2;

wire_enum!(Change {
    1 => New(value),
    2 => Over { observed, value },
    3 => Gone(observed),
    4 => Text(delta),
    5 => Deadline(change),
    6 => Set(delta),
    7 => Hash(delta),
    8 => Sorted(delta),
    9 => List(delta),
    10 => Sketch(delta),
});

/// A change, of which key, and by which write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) key: Bytes,
    pub(crate) version: Version,
    pub(crate) change: Change,
}

/// So much room for the changes of the next turn is kept.
const KEPT: usize = 64 << 10;

/// The changes of a turn that is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    last: Option<Version>,
}

impl Body {
    /// Whether nothing was written yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The version of the last one.
    pub(crate) fn last(&self) -> Option<Version> {
        self.last
    }

    /// All of them, and the version of the last one; from now on there are none.
    pub(crate) fn take(&mut self) -> Option<(Version, Bytes)> {
        let last = self.last.take()?;
        let bytes = Bytes::copy_from_slice(&self.bytes);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        Some((last, bytes))
    }

    /// Begins a write to a key.
    fn begin(&mut self, key: &[u8], version: Version) {
        put_varint(&mut self.bytes, key.len() as u64 + 1);
        self.bytes.extend_from_slice(key);
        put_varint(&mut self.bytes, version.number() - self.last.map_or(0, Version::number));
        self.last = Some(version);
    }

    /// A command did this to a key.
    pub(crate) fn write(&mut self, key: &[u8], version: Version, changes: impl IntoIterator<Item = Change>) {
        let mut first = true;
        for change in changes {
            if core::mem::take(&mut first) {
                self.begin(key, version);
            } else {
                self.bytes.push(0);
            }
            change.encode(&mut self.bytes);
        }
    }

    /// A string was written where nothing, or a plain string of the version given, was before.
    pub(crate) fn write_plain(&mut self, key: &[u8], version: Version, observed: Option<Version>, value: &[u8]) {
        self.begin(key, version);
        match observed {
            None => self.bytes.push(NEW),
            Some(observed) => {
                self.bytes.push(OVER);
                observed.encode(&mut self.bytes);
            }
        }
        put_varint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }
}

/// Reads the changes of a delta.
pub(crate) fn writes_of(delta: &Delta) -> Result<Vec<Write>, WireError> {
    let (mut reader, mut writes) = (Reader::new(delta.body.clone()), Vec::<Write>::new());
    let mut last = 0_u64;
    while reader.remaining() > 0 {
        let (key, version) = match (reader.varint()?, writes.last()) {
            (0, None) => return Err(WireError::Invalid("delta: a change of no key")),
            (0, Some(before)) => (before.key.clone(), before.version),
            (length, _) => {
                let key = reader.take(usize::try_from(length - 1).map_err(|_| WireError::Truncated)?)?;
                last = last.checked_add(reader.varint()?).ok_or(WireError::Invalid("version"))?;
                let version = Version::from_number(last);
                if version.actor() != delta.writer || version > delta.version() {
                    return Err(WireError::Invalid("delta: a version"));
                }
                (key, version)
            }
        };
        writes.push(Write { key, version, change: Change::decode(&mut reader)? });
    }
    Ok(writes)
}
