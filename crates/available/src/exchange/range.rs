//! Ranges of the hashes of keys.

use alloc::vec::Vec;

use steadfast_types::wire::{Reader, Wire, WireError};

use super::limits::FAN_OUT;
use crate::table::Hash;

/// The hashes from a first to a last one, both included; so it is never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashRange {
    first: Hash,
    last: Hash,
}

impl HashRange {
    /// All hashes.
    pub const ALL: Self = Self { first: 0, last: Hash::MAX };

    /// The hashes from a first to a last one, if they are in that order.
    pub const fn new(first: Hash, last: Hash) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// The first hash.
    pub const fn first(self) -> Hash {
        self.first
    }

    /// The last hash.
    pub const fn last(self) -> Hash {
        self.last
    }

    /// Whether it has this hash.
    pub const fn contains(self, hash: Hash) -> bool {
        self.first <= hash && hash <= self.last
    }

    /// Whether it has one hash only.
    pub(crate) const fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Its parts, which are as equal as can be.
    pub(crate) fn split(self) -> impl DoubleEndedIterator<Item = Self> {
        let width = u64::from(self.last - self.first) + 1;
        let parts = width.min(FAN_OUT);
        let start = move |part: u64| self.first + (width * part / parts) as Hash;
        (0..parts).map(move |part| Self { first: start(part), last: if part + 1 == parts { self.last } else { start(part + 1) - 1 } })
    }

    /// The pieces that end at these hashes; `None` unless they make up the range.
    pub(crate) fn pieces(self, lasts: impl Iterator<Item = Hash>) -> Option<Vec<Self>> {
        let (mut pieces, mut next) = (Vec::new(), Some(self.first));
        for last in lasts {
            pieces.push(Self::new(next?, last)?);
            next = last.checked_add(1);
        }
        (pieces.last()?.last == self.last).then_some(pieces)
    }
}

impl Wire for HashRange {
    fn encode(&self, out: &mut Vec<u8>) {
        self.first.encode(out);
        (self.last - self.first).encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (first, width) = <(Hash, Hash)>::decode(reader)?;
        Ok(Self { first, last: first.checked_add(width).ok_or(WireError::Invalid("range of hashes"))? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_a_range_make_it_up(first: Hash, width in prop_oneof![0..40_u32, any::<Hash>()]) {
            let range = HashRange::new(first, first.saturating_add(width)).unwrap();
            let parts = range.split().collect::<Vec<_>>();
            prop_assert_eq!(range.pieces(parts.iter().map(|part| part.last())), Some(parts.clone()));
            let widths = parts.iter().map(|part| part.last() - part.first());
            prop_assert!(widths.clone().max().unwrap() - widths.min().unwrap() <= 1);
            prop_assert!(range.is_single() == (parts.len() == 1));
            prop_assert_eq!(HashRange::from_wire(range.to_wire().into()), Ok(range));
        }
    }

    #[test]
    fn pieces_that_overlap_or_leave_something_out_are_none() {
        let range = HashRange::new(10, 20).unwrap();
        for lasts in [&[][..], &[15], &[15, 15, 20], &[15, 12, 20], &[9, 20], &[15, 21], &[20, 20]] {
            assert_eq!(range.pieces(lasts.iter().copied()), None, "{lasts:?}");
        }
        assert_eq!(HashRange::ALL.pieces([Hash::MAX, 3].into_iter()), None);
    }
}
