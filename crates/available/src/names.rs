//! The names of keys that are not in memory, read from their rows without bringing the keys there.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::Lattice;
use steadfast_types::wire::{Reader, Wire, WireError};

use crate::assembly::read_keys;
use crate::cold::{ColdRows, Unreadable};
use crate::entry::Entry;
use crate::rich::Rich;
use crate::rows::{RICH, RowName, TEXT, after_key};
use crate::table::Hash;

/// So many rows of one key are passed over before it is cheaper to begin anew after the last one.
const PASSED: usize = 32;

/// A key of which a row has come.
struct Current {
    hash: Hash,
    key: Box<[u8]>,
    /// If it may have a deadline: whether a reader sees it, if it is a string and nothing else.
    is_shown: Option<bool>,
    /// Whether it has more than a string.
    has_more: bool,
    passed: usize,
}

/// Reads the names of the keys whose hashes are in a range (both ends included) and of which `wanted` says so, and that a reader sees now. The keys have
/// something to show: they are hidden by their deadlines alone.
pub(crate) fn read_names(
    rows: &dyn ColdRows,
    (from, to): (Hash, Hash),
    now: u64,
    wanted: impl Fn(Hash) -> bool,
) -> Result<Vec<Box<[u8]>>, Unreadable> {
    let (mut names, mut doubtful) = (Vec::new(), Vec::new());
    let mut end = |current: Current| match current.is_shown {
        Some(_) if current.has_more => doubtful.push((current.hash, current.key)),
        Some(false) => {}
        Some(true) | None => names.push(current.key),
    };
    let mut from = Some(Vec::from(from.to_be_bytes()));
    while let Some(start) = from.take() {
        let (mut current, mut failed) = (None::<Current>, None);
        rows.rows(&start, to, &mut |name, value| {
            let row = match RowName::parse(name) {
                Ok(row) if !wanted(row.hash) => return true,
                Ok(row) => row,
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            if let Some(current) = current.as_mut().filter(|current| *current.key == *row.key) {
                (current.has_more, current.passed) = (true, current.passed + 1);
                if current.passed == PASSED {
                    from = Some(after_key(current.hash, &current.key));
                }
                return current.passed < PASSED;
            }
            current.take().into_iter().for_each(&mut end);
            match is_shown(&row, value, now) {
                Ok(is_shown) => {
                    current = Some(Current { hash: row.hash, key: row.key.into(), is_shown, has_more: false, passed: 0 });
                    true
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        current.take().into_iter().for_each(&mut end);
    }
    for (hash, key) in doubtful {
        read_keys(
            rows,
            hash,
            hash,
            |_| true,
            |_, entry| {
                if *entry.key() == *key && entry.is_shown(now) {
                    names.push(entry.key().into());
                }
                true
            },
        )?;
    }
    Ok(names)
}

/// Whether a reader sees a key at this time, if it may have a deadline and is a string and nothing else. The row is its first one.
fn is_shown(row: &RowName<'_>, value: Bytes, now: u64) -> Result<Option<bool>, WireError> {
    let mut reader = Reader::new(value);
    if row.part != TEXT || u8::decode(&mut reader)? != RICH {
        return Ok(None);
    }
    let mut rich = Rich::new(row.key);
    (rich.text, rich.deadline) = (Wire::decode(&mut reader)?, Wire::decode(&mut reader)?);
    Ok((!rich.deadline.is_empty()).then(|| Entry::from(Box::new(rich)).is_shown(now)))
}
