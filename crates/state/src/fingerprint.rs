//! The running hash over all rows ever written: replicas compare it, to find that one of them went its own way.
//!
//! 1. The hash after an entry depends on every row that this entry and all before it wrote, in order, and on nothing else.
//! 2. At every entry whose index is a multiple of [`HASH_INTERVAL`], and at every entry that asks for a comparison, it is remembered, the latest
//!    [`REMEMBERED`] times, so that replicas that are not equally far can still be compared.
//!
//! It proves that replicas *computed* the same; it does not re-read rows, so decay on the disk is for storage's checksums to find.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use steadfast_types::{LogIndex, tables::TableId};
use xxhash_rust::xxh3::xxh3_64;

/// The hash is remembered at every so manieth entry.
pub const HASH_INTERVAL: u64 = 1024;

/// How many remembered hashes are kept: replicas that are further apart than so many intervals can't be compared.
pub const REMEMBERED: usize = 16;

/// The running hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) u64);

impl Chain {
    /// Takes in a row.
    pub(crate) fn row(&mut self, table: TableId, key: &[u8], version: u64, value: Option<&[u8]>) {
        const TOMBSTONE: u8 = 0x80;
        let mut link = [0u8; 33];
        link[..8].copy_from_slice(&self.0.to_le_bytes());
        link[8..16].copy_from_slice(&version.to_le_bytes());
        link[16..24].copy_from_slice(&xxh3_64(key).to_le_bytes());
        link[24..32].copy_from_slice(&value.map_or(0, xxh3_64).to_le_bytes());
        link[32] = table.0 | if value.is_none() { TOMBSTONE } else { 0 };
        self.0 = xxh3_64(&link);
    }
}

/// The remembered hashes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    marks: VecDeque<(LogIndex, u64)>,
}

impl Remembered {
    /// From the stored form.
    pub(crate) fn from_marks(marks: Vec<(LogIndex, u64)>) -> Self {
        Remembered { marks: marks.into() }
    }

    /// The stored form.
    pub(crate) fn marks(&self) -> Vec<(LogIndex, u64)> {
        self.marks.iter().copied().collect()
    }

    /// Keeps the hash after entry `index`.
    pub(crate) fn remember(&mut self, index: LogIndex, hash: u64) {
        if self.marks.len() == REMEMBERED {
            self.marks.pop_front();
        }
        self.marks.push_back((index, hash));
    }

    /// The newest.
    pub(crate) fn newest(&self) -> Option<(LogIndex, u64)> {
        self.marks.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_part_of_a_row_and_on_the_order() {
        let of = |rows: &[(u8, &str, u64, Option<&str>)]| {
            let mut chain = Chain::default();
            for (table, key, version, value) in rows {
                chain.row(TableId(*table), key.as_bytes(), *version, value.map(str::as_bytes));
            }
            chain.0
        };
        let base = of(&[(1, "k", 2, Some("v")), (1, "l", 2, Some("v"))]);
        assert_ne!(base, of(&[(1, "l", 2, Some("v")), (1, "k", 2, Some("v"))]), "order");
        assert_ne!(base, of(&[(2, "k", 2, Some("v")), (1, "l", 2, Some("v"))]), "table");
        assert_ne!(base, of(&[(1, "k", 3, Some("v")), (1, "l", 2, Some("v"))]), "version");
        assert_ne!(base, of(&[(1, "k", 2, Some("")), (1, "l", 2, Some("v"))]), "value");
        assert_ne!(of(&[(1, "k", 2, Some(""))]), of(&[(1, "k", 2, None)]), "tombstone");
    }

    #[test]
    fn only_the_latest_hashes_are_kept() {
        let mut remembered = Remembered::default();
        (1..=100).for_each(|n| remembered.remember(LogIndex(n), n * 7));
        assert_eq!(remembered.marks.len(), REMEMBERED);
        assert_eq!(remembered.marks()[0], (LogIndex(85), 595));
        assert_eq!(remembered.newest(), Some((LogIndex(100), 700)));
        assert_eq!(Remembered::from_marks(remembered.marks()), remembered);
    }
}
