//! Records, and reading them page by page.

use bytes::Bytes;
use steadfast_types::{LeaseId, Revision};

use crate::error::OutOfBounds;
use crate::keys::{Key, Keys, Prefix};
use crate::limits::PAGE_RECORDS;

/// A key with its value and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// The revision that created it.
    pub create_revision: Revision,
    /// The revision that last wrote it: what fences are made of.
    pub mod_revision: Revision,
    /// Writes since it was created; 1 after the first.
    pub version: i64,
    /// The lease that it lives under.
    pub lease: Option<LeaseId>,
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which keys.
    pub keys: Keys,
    /// As of which revision; `None`: now.
    pub at: Option<Revision>,
    /// Only keys after this one.
    pub after: Option<Key>,
    /// At most so many records, 1 to [`PAGE_RECORDS`].
    pub limit: usize,
}

impl Read {
    /// One record, now.
    pub fn key(key: Key) -> Self {
        Read { keys: Keys::One(key), at: None, after: None, limit: 1 }
    }

    /// The first page of records under a prefix, now, in the order of their keys.
    pub fn prefix(prefix: Prefix) -> Self {
        Read { keys: Keys::Under(prefix), at: None, after: None, limit: PAGE_RECORDS }
    }

    /// The same as of a revision.
    #[must_use]
    pub fn at(self, revision: Revision) -> Self {
        Read { at: Some(revision), ..self }
    }

    /// Whether it keeps the bounds.
    ///
    /// # Errors
    /// The first that it breaks.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        if !(1..=PAGE_RECORDS).contains(&self.limit) {
            return Err(OutOfBounds::PageRecords(self.limit));
        }
        if self.at.is_some_and(|revision| revision.0 < 1) {
            return Err(OutOfBounds::Revision);
        }
        Ok(())
    }

    /// The keys that are left to it, in etcd's notation, see [`Keys::bounds`].
    pub fn bounds(&self) -> (Bytes, Bytes) {
        let (first, end) = self.keys.bounds();
        match (&self.after, &self.keys) {
            // After the only key there is none.
            (Some(after), Keys::One(key)) if after >= key => (first.clone(), first),
            (Some(after), Keys::Under(_)) if after.bytes() >= &first => {
                let next: Bytes = [after.bytes(), [0].as_slice()].concat().into();
                // A last key at the very end leaves nothing; turned around, the bounds would mean something else.
                if end.as_ref() != [0] && next >= end { (end.clone(), end) } else { (next, end) }
            }
            (Some(_) | None, Keys::One(_) | Keys::Under(_)) => (first, end),
        }
    }

    /// The page of these records, which are all that there are, or `more` of them.
    pub fn page(&self, revision: Revision, records: Vec<Record>, more: bool) -> Page {
        let of = self.at.unwrap_or(revision);
        let last = records.last().map(|record| record.key.clone()).filter(|_| more);
        Page { revision: of, next: last.map(|last| Read { at: Some(of), after: Some(last), ..self.clone() }), records }
    }
}

/// Some records, all of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The moment. A watch of the same keys from the revision after it on tells all that comes later.
    pub revision: Revision,
    /// In the order of their keys.
    pub records: Vec<Record>,
    /// How to read the next page, of the same moment; `None`: this is the last.
    pub next: Option<Read>,
}
