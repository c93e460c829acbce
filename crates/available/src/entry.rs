//! What the table holds of a key.

use crate::digest::digest_of;
use crate::plain::Plain;
use crate::table::Hash;

/// A key: in 16 bytes, and what it points to.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A string and nothing else.
    Plain(Plain),
}

impl Entry {
    /// The key itself.
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Entry::Plain(plain) => plain.key(),
        }
    }

    /// Its digest.
    pub(crate) fn digest_mut(&mut self, hash: Hash) -> u64 {
        match self {
            Entry::Plain(plain) => digest_of(u64::from(hash), plain.version()),
        }
    }
}
