//! Batches whose answers get lost: asking again until it is known what became of them.
//!
//! A batch is *fenced* if it compares a record's revision and writes the same record. Then it is committed at most once, however often it is
//! asked for: its own write, or anybody's, breaks the comparison for good. So after a lost answer it is simply asked for again. If the
//! comparison does not hold then, somebody has written the record since it was read. Who, is in the store's history: a fenced batch is applied
//! only as the *first* change of the record after the read, and the value that it writes is like no other. (A deletion is like
//! any other: whoever deleted the record, it is gone.)
//!
//! Left out: a batch that creates a record, and was lost, may be applied late, after somebody else has created and deleted the record
//! meanwhile; no comparison tells the two absences apart. Records that come and go under one name are better kept, and marked as gone.

use bytes::Bytes;
use steadfast_types::Revision;

use crate::Coordination;
use crate::batch::{Batch, Compare, Conflict, Outcome, Write};
use crate::error::{Effect, Error};
use crate::keys::{Key, Keys};
use crate::limits::ATTEMPTS;
use crate::read::Record;
use crate::watch::{Change, Watch, WatchError};

/// A record as it was read, which a batch both compares and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Its key.
    pub key: Key,
    /// What was read, if it was there.
    pub record: Option<Record>,
    /// The moment of the read.
    pub read_at: Revision,
}

impl Fence {
    /// The batch that writes this value to the record, if nobody has since it was read. To be told from others' writes after a lost answer, it
    /// must be a value that nobody else writes: give it a random number, as [`crate::Records`] do.
    pub fn put(&self, value: impl Into<Bytes>) -> Batch {
        self.batch(Write::put(self.key.clone(), value))
    }

    /// The batch that deletes the record, if nobody has changed it since it was read.
    pub fn delete(&self) -> Batch {
        self.batch(Write::Delete(Keys::One(self.key.clone())))
    }

    /// The batch that does this to the record; to be added to.
    pub fn batch(&self, write: Write) -> Batch {
        Batch::default().when(Compare::unchanged(self.key.clone(), self.record.as_ref())).then(write)
    }
}

/// Commits a batch that began as one of `fence`'s; answers are lost, and the outcome is told all the same. Once an answer is lost this waits for
/// as long as the store is away.
///
/// # Errors
/// As [`Coordination::commit`]. [`Error::Unknown`] only if the answer was lost, and then history is compacted, or the store refuses to answer.
pub async fn settle<C: Coordination>(store: &C, fence: &Fence, batch: &Batch) -> Result<Outcome, Error> {
    let mut lost = None;
    for _ in 0..ATTEMPTS {
        match (store.commit(batch.clone()).await, &lost) {
            (Ok(Outcome::Applied(revision)), _) => return Ok(Outcome::Applied(revision)),
            (Ok(Outcome::Conflict(conflict)), None) => return Ok(Outcome::Conflict(conflict)),
            (Ok(Outcome::Conflict(conflict)), Some(_)) => return look_back(store, fence, batch, conflict).await,
            (Err(error), _) if error.effect() == Effect::Unknown => lost = Some(error),
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) if error.is_transient() => {}
            (Err(error), Some(_)) => return Err(Error::Unknown(format!("the answer was lost, and then: {error}"))),
        }
    }
    Err(lost.unwrap_or(Error::Contended))
}

/// Whether one of the lost ones was applied, now that the comparisons do not hold.
async fn look_back<C: Coordination>(store: &C, fence: &Fence, batch: &Batch, conflict: Conflict) -> Result<Outcome, Error> {
    let place = batch.compares.iter().position(|compare| *compare.key() == fence.key);
    let found = place.and_then(|place| conflict.found.get(place)).and_then(Option::as_ref);
    let is_unchanged = Compare::unchanged(fence.key.clone(), fence.record.as_ref()).holds(found);
    if is_unchanged && fence.record.is_some() {
        // Another comparison failed. Ours was never applied.
        return Ok(Outcome::Conflict(conflict));
    }
    if is_unchanged {
        return Err(Error::Unknown("the answer was lost, and the record may have come and gone since".into()));
    }
    // There was a change: it will be told.
    let mut watch = store.watch(Keys::One(fence.key.clone()), Revision(fence.read_at.0 + 1));
    loop {
        let changes = watch.next().await.map_err(unknown)?;
        let Some(change) = changes.changes.first() else { continue };
        if is_ours(batch, change) {
            return Ok(Outcome::Applied(changes.revision));
        }
        // A record that was absent may have come and gone before ours came; one that was there is written by ours first or never.
        let created = found.map_or(conflict.revision, |record| record.create_revision);
        if fence.record.is_some() || changes.revision >= created {
            return Ok(Outcome::Conflict(conflict));
        }
    }
}

fn is_ours(batch: &Batch, change: &Change) -> bool {
    batch.writes.iter().any(|write| match (write, change) {
        (Write::Put { key, value, .. }, Change::Put(record)) => *key == record.key && *value == record.value,
        (Write::Delete(keys), Change::Delete(key)) => keys.contains(key),
        (Write::Put { .. }, Change::Delete(_)) | (Write::Delete(_), Change::Put(_)) => false,
    })
}

fn unknown(error: WatchError) -> Error {
    Error::Unknown(format!("the answer was lost, and its traces: {error}"))
}

#[cfg(test)]
mod tests;
