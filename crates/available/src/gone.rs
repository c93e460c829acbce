//! How often keys went away: by it one notices that a key which is not there was there in between.

use alloc::boxed::Box;

use crate::table::Hash;

/// Hashes are counted together that are equal in so many bits: who watches a key that is not there may be told once too often.
const BITS: u32 = 12;

/// Counts by hash.
#[derive(Clone, Debug)]
pub(crate) struct Gone(Box<[u32]>);

impl Default for Gone {
    fn default() -> Self {
        Gone(core::iter::repeat_n(0, 1 << BITS).collect())
    }
}

impl Gone {
    /// How often keys of this hash, or one like it, went away.
    pub(crate) fn count(&self, hash: Hash) -> u32 {
        self.0[Self::place(hash)]
    }

    /// A key of this hash went away.
    pub(crate) fn add(&mut self, hash: Hash) {
        let count = &mut self.0[Self::place(hash)];
        *count = count.wrapping_add(1);
    }

    /// All keys went away.
    pub(crate) fn add_all(&mut self) {
        self.0.iter_mut().for_each(|count| *count = count.wrapping_add(1));
    }

    fn place(hash: Hash) -> usize {
        (hash >> (Hash::BITS - BITS)) as usize
    }
}
