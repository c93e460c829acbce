//! What the table holds of a key.

use alloc::boxed::Box;
use core::mem;

use steadfast_crdt::Version;

use crate::container::Kind;
use crate::deadline::Until;
use crate::digest::digest_of;
use crate::plain::Plain;
use crate::rich::Rich;
use crate::table::Hash;

/// A key: in 16 bytes, and what it points to.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A string and nothing else.
    Plain(Plain),
    /// Anything else.
    Rich(Box<Rich>),
}

impl Entry {
    /// The key itself.
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Entry::Plain(plain) => plain.key(),
            Entry::Rich(rich) => rich.key(),
        }
    }

    /// The kind that is shown.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Entry::Plain(_) => Some(Kind::Text),
            Entry::Rich(rich) => rich.kind(),
        }
    }

    /// Until when it is there.
    pub(crate) fn until(&self) -> Until {
        match self {
            Entry::Plain(_) => Until::Ever,
            Entry::Rich(rich) => rich.until(),
        }
    }

    /// Whether a reader sees the key at this time, in milliseconds of Unix time.
    pub(crate) fn is_shown(&self, now: u64) -> bool {
        match self {
            Entry::Plain(_) => true,
            Entry::Rich(rich) => rich.kind().is_some() && Until::At(now) < rich.until(),
        }
    }

    /// Its digest.
    pub(crate) fn digest_mut(&mut self, hash: Hash) -> u64 {
        self.digests_mut(hash).0
    }

    /// Its digest, and that of what may be collected of it.
    pub(crate) fn digests_mut(&mut self, hash: Hash) -> (u64, u64) {
        match self {
            Entry::Plain(plain) => (plain_digest(hash, plain.version()), 0),
            Entry::Rich(rich) => rich.digests(hash),
        }
    }

    /// Its digest, if it is a plain string.
    pub(crate) fn plain_digest(&self, hash: Hash) -> Option<u64> {
        match self {
            Entry::Plain(plain) => Some(plain_digest(hash, plain.version())),
            Entry::Rich(_) => None,
        }
    }

    /// Bytes that it takes outside of the table, approximately.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Entry::Plain(plain) => plain.bytes(),
            Entry::Rich(rich) => rich.bytes(),
        }
    }

    /// Takes it out for a change; the place holds nothing sensible until something is put back.
    pub(crate) fn take(&mut self) -> Box<Rich> {
        match mem::replace(self, Entry::Plain(Plain::default())) {
            Entry::Plain(plain) => Box::new(Rich::of_plain(&plain)),
            Entry::Rich(rich) => rich,
        }
    }
}

impl From<Box<Rich>> for Entry {
    fn from(rich: Box<Rich>) -> Self {
        rich.plain().map_or_else(|| Entry::Rich(rich), Entry::Plain)
    }
}

/// The digest of a plain string's key.
pub(crate) fn plain_digest(hash: Hash, version: Version) -> u64 {
    digest_of(u64::from(hash), version)
}
