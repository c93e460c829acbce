//! Typed records: values in the wire codec, changed by functions, with retries on conflicts and lost answers.
//!
//! What is stored is one byte that names this form, a random number that makes each write like no other (so that [`settle`](crate::settle) can
//! tell it from others'), and the value. Something else that lies under the prefix is an error to read, and is never written over.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{LeaseId, Revision, Rng};

use crate::Coordination;
use crate::batch::{Batch, Conflict, Outcome, Write};
use crate::error::Error;
use crate::keys::{Key, Prefix};
use crate::limits::ATTEMPTS;
use crate::read::{Read, Record};
use crate::settle::{Fence, settle};

/// The form of the envelope. Another form gets another number.
const FORM: u8 = 1;

/// The records of type `T` under one prefix. Clones share the generator.
pub struct Records<C, T> {
    store: C,
    prefix: Prefix,
    stamps: Arc<Mutex<Rng>>,
    of: PhantomData<fn() -> T>,
}

impl<C: Clone, T> Clone for Records<C, T> {
    fn clone(&self) -> Self {
        Records { store: self.store.clone(), prefix: self.prefix.clone(), stamps: self.stamps.clone(), of: PhantomData }
    }
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// Where it lies, and the revisions to fence with.
    pub record: Record,
}

/// What is to become of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<T> {
    /// It has this value.
    Put(T),
    /// It has this value, and goes with this lease.
    PutUnder(LeaseId, T),
    /// It goes.
    Delete,
    /// It stays as it is.
    Keep,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated<T> {
    /// It was written, or deleted, at this revision; this was its value before.
    Changed {
        /// The revision of the change.
        revision: Revision,
        /// The value that was changed.
        before: Option<T>,
    },
    /// It was to stay as it is.
    Kept(Option<T>),
}

impl<C: Coordination, T: Wire> Records<C, T> {
    /// The records under `prefix`. The seed must be another one in each process life.
    pub fn new(store: C, prefix: Prefix, seed: u64) -> Self {
        Records { store, prefix, stamps: Arc::new(Mutex::new(Rng::with_seed(seed))), of: PhantomData }
    }

    /// Where they lie.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Reads a record: with what it takes to fence a batch with it.
    ///
    /// # Errors
    /// As [`Coordination::read`]; [`Error::NotARecord`]: something else lies there.
    pub async fn read(&self, name: &str) -> Result<(Option<T>, Fence), Error> {
        let key = self.prefix.key(name)?;
        let page = self.store.read(Read::key(key.clone())).await?;
        let record = page.records.into_iter().next();
        let value = record.as_ref().map(decode).transpose()?;
        Ok((value, Fence { key, record, read_at: page.revision }))
    }

    /// Reads all records, as of one moment, which is told; in the order of their keys.
    ///
    /// # Errors
    /// As [`Records::read`]; [`Error::Compacted`]: it took so long that the moment is gone.
    pub async fn read_all(&self) -> Result<(Revision, Vec<Stored<T>>), Error> {
        let (mut all, mut next) = (Vec::new(), Read::prefix(self.prefix.clone()));
        loop {
            let page = self.store.read(next).await?;
            for record in page.records {
                all.push(Stored { value: decode(&record)?, record });
            }
            match page.next {
                Some(read) => next = read,
                None => return Ok((page.revision, all)),
            }
        }
    }

    /// Changes a record by a function of what it is, which is called again when somebody else was quicker: it happens exactly once.
    ///
    /// # Errors
    /// As [`Records::read`] and [`settle`](crate::settle); [`Error::Contended`]: others are always quicker.
    pub async fn update(&self, name: &str, mut change: impl FnMut(Option<&T>) -> Update<T> + Send) -> Result<Updated<T>, Error> {
        let (mut value, mut fence) = self.read(name).await?;
        for _ in 0..ATTEMPTS {
            let batch = match change(value.as_ref()) {
                Update::Keep => return Ok(Updated::Kept(value)),
                Update::Delete if fence.record.is_none() => return Ok(Updated::Kept(None)),
                Update::Delete => fence.delete(),
                Update::Put(new) => fence.put(self.encode(&new)),
                Update::PutUnder(lease, new) => fence.batch(Write::put_under(lease, fence.key.clone(), self.encode(&new))),
            };
            match settle(&self.store, &fence, &batch).await? {
                Outcome::Applied(revision) => return Ok(Updated::Changed { revision, before: value }),
                Outcome::Conflict(conflict) => fence = found(fence.key, conflict),
            }
            value = fence.record.as_ref().map(decode).transpose()?;
        }
        Err(Error::Contended)
    }

    /// The batch that writes `value` to the record if it is still as it was read; to add other writes to, and to [`settle`](crate::settle).
    pub fn put(&self, fence: &Fence, value: &T) -> Batch {
        fence.put(self.encode(value))
    }

    /// The value's stored form: never the same twice.
    pub fn encode(&self, value: &T) -> Bytes {
        // A generator can't be left half changed.
        let stamp = self.stamps.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
        let mut out = vec![FORM];
        stamp.encode(&mut out);
        value.encode(&mut out);
        out.into()
    }
}

/// The fence as the conflict found it.
fn found(key: Key, conflict: Conflict) -> Fence {
    let record = conflict.found.into_iter().flatten().find(|record| record.key == key);
    Fence { key, record, read_at: conflict.revision }
}

/// The value of a record, for those that a watch tells too.
fn decode<T: Wire>(record: &Record) -> Result<T, Error> {
    let not_a_record = |reason| Error::NotARecord { key: record.key.to_string(), reason };
    let mut reader = Reader::new(record.value.clone());
    match u8::decode(&mut reader) {
        Ok(FORM) => {}
        Ok(_) => return Err(not_a_record(WireError::Invalid("form"))),
        Err(reason) => return Err(not_a_record(reason)),
    }
    <(u64, T)>::from_wire(reader.take_rest()).map(|(_, value)| value).map_err(not_a_record)
}

impl<T: Wire> Stored<T> {
    /// Reads the value of a record, which a watch told.
    ///
    /// # Errors
    /// [`Error::NotARecord`].
    pub fn of(record: Record) -> Result<Self, Error> {
        Ok(Stored { value: decode(&record)?, record })
    }
}

#[cfg(test)]
mod tests;
