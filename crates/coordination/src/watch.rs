//! What a watch tells.

use std::future::Future;

use steadfast_types::Revision;

use crate::keys::Key;
use crate::read::Record;

/// A watch of some keys. Dropping it ends it.
pub trait Watch: Send + 'static {
    /// What happened next; waits for it. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// The watch is over; it says so again each time it is asked.
    fn next(&mut self) -> impl Future<Output = Result<Changes, WatchError>> + Send;
}

/// All that one revision changed of the watched keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Everything up to this revision has been told, this one included.
    pub revision: Revision,
    /// Of each key at most one, in no stated order; none: nothing has happened up to this revision.
    pub changes: Vec<Change>,
}

/// What happened to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written, and is so now.
    Put(Record),
    /// It was deleted, by a batch or with its lease.
    Delete(Key),
}

impl Change {
    /// Of which record.
    pub fn key(&self) -> &Key {
        match self {
            Change::Put(record) => &record.key,
            Change::Delete(key) => key,
        }
    }
}

/// Why a watch can't go on. After each of them: read the keys, and watch from the revision after the read's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// What it had still to tell is no longer kept.
    #[error("what is to be told is compacted, up to revision {oldest}")]
    Compacted {
        /// The oldest revision that is kept.
        oldest: Revision,
    },
    /// One revision changed more of the watched keys than is told at once ([`crate::limits::CHANGES_BYTES`]).
    #[error("one revision changed more than a watch can tell")]
    TooLarge,
    /// The store will not tell, in its words, and waiting won't mend it: the keys may not be watched, or not any more; or the store is closed.
    #[error("the watch has ended: {0}")]
    Ended(String),
}
