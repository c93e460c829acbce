//! Batches: writes that happen together, if comparisons hold.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_types::{LeaseId, Revision};

use crate::error::OutOfBounds;
use crate::keys::{Key, Keys};
use crate::limits::{BATCH_BYTES, BATCH_OPERATIONS, VALUE_BYTES};
use crate::read::Record;

/// What must hold for a batch to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// There is such a record.
    Exists(Key),
    /// There is none.
    Absent(Key),
    /// There is one, last written at this revision.
    ModRevision(Key, Revision),
    /// There is one, with this value.
    Value(Key, Bytes),
}

impl Compare {
    /// The record is as it was read: still absent, or not written since. A batch that also writes the record is committed at most once, however
    /// often it is asked for: its own write breaks the comparison.
    pub fn unchanged(key: Key, read: Option<&Record>) -> Self {
        match read {
            Some(record) => Compare::ModRevision(key, record.mod_revision),
            None => Compare::Absent(key),
        }
    }

    /// The key that is compared.
    pub fn key(&self) -> &Key {
        match self {
            Compare::Exists(key) | Compare::Absent(key) | Compare::ModRevision(key, _) | Compare::Value(key, _) => key,
        }
    }

    /// Whether it holds for this record of its key, or for none.
    pub fn holds(&self, record: Option<&Record>) -> bool {
        match self {
            Compare::Exists(_) => record.is_some(),
            Compare::Absent(_) => record.is_none(),
            Compare::ModRevision(_, revision) => record.is_some_and(|record| record.mod_revision == *revision),
            Compare::Value(_, value) => record.is_some_and(|record| record.value == *value),
        }
    }

    fn bytes(&self) -> usize {
        let value = match self {
            Compare::Value(_, value) => value.len(),
            Compare::Exists(_) | Compare::Absent(_) | Compare::ModRevision(..) => 0,
        };
        self.key().bytes().len() + value
    }
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates a record, or writes it anew.
    Put {
        /// Its key.
        key: Key,
        /// Its value.
        value: Bytes,
        /// The lease that it lives under from now on; `None`: none, whatever it lived under before.
        lease: Option<LeaseId>,
    },
    /// Deletes those of these records that are there.
    Delete(Keys),
}

impl Write {
    /// Writes a record that stays until it is deleted.
    pub fn put(key: Key, value: impl Into<Bytes>) -> Self {
        Write::Put { key, value: value.into(), lease: None }
    }

    /// Writes a record that goes with its lease.
    pub fn put_under(lease: LeaseId, key: Key, value: impl Into<Bytes>) -> Self {
        Write::Put { key, value: value.into(), lease: Some(lease) }
    }

    fn bytes(&self) -> usize {
        match self {
            Write::Put { key, value, .. } => key.bytes().len() + value.len(),
            Write::Delete(keys) => keys.bounds().0.len(),
        }
    }
}

/// Writes that happen together, at one moment and in one revision, if all comparisons hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// All must hold; none always do.
    pub compares: Vec<Compare>,
    /// At least one; of a key at most one.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Adds a comparison.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn then(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Whether it keeps the bounds.
    ///
    /// # Errors
    /// The first that it breaks.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let operations = self.compares.len().max(self.writes.len());
        if operations > BATCH_OPERATIONS {
            return Err(OutOfBounds::BatchOperations(operations));
        }
        if self.writes.is_empty() {
            return Err(OutOfBounds::NothingToWrite);
        }
        if self.compares.iter().any(|compare| matches!(compare, Compare::ModRevision(_, revision) if revision.0 < 1)) {
            return Err(OutOfBounds::Revision);
        }
        self.check_bytes()?;
        self.check_keys()
    }

    fn check_bytes(&self) -> Result<(), OutOfBounds> {
        let values = self.writes.iter().filter_map(|write| match write {
            Write::Put { value, .. } => Some(value.len()),
            Write::Delete(_) => None,
        });
        if let Some(large) = values.into_iter().find(|bytes| *bytes > VALUE_BYTES) {
            return Err(OutOfBounds::ValueBytes(large));
        }
        let bytes = self.compares.iter().map(Compare::bytes).chain(self.writes.iter().map(Write::bytes)).sum();
        if bytes > BATCH_BYTES { Err(OutOfBounds::BatchBytes(bytes)) } else { Ok(()) }
    }

    fn check_keys(&self) -> Result<(), OutOfBounds> {
        let mut put = BTreeSet::new();
        let mut deleted = Vec::new();
        for write in &self.writes {
            match write {
                Write::Put { key, .. } if !put.insert(key) => return Err(OutOfBounds::KeyTwice),
                Write::Put { .. } => {}
                Write::Delete(keys) => deleted.push(keys),
            }
        }
        let twice = put.iter().any(|key| deleted.iter().any(|keys| keys.contains(key)));
        if twice { Err(OutOfBounds::KeyTwice) } else { Ok(()) }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it happened. The revision is that of its writes; of a batch that deleted nothing and put nothing, the store's.
    Applied(Revision),
    /// A comparison did not hold; nothing changed.
    Conflict(Conflict),
}

/// What the comparisons found when not all of them held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The moment.
    pub revision: Revision,
    /// The record of each comparison, in their order, if there was one.
    pub found: Vec<Option<Record>>,
}
