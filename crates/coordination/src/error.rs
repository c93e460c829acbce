//! Errors, and what each means for the state.

use steadfast_types::limits::LEASE_MAX_TTL_S;
use steadfast_types::wire::WireError;

use crate::limits::{BATCH_BYTES, BATCH_OPERATIONS, KEY_BYTES, PAGE_RECORDS, VALUE_BYTES};

/// What an error means for the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing has changed, and nothing will.
    Unchanged,
    /// It may have happened, may happen still, or never.
    Unknown,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It breaks a bound: it fails the same way each time.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// There is no such lease, or not any more.
    #[error("there is no such lease")]
    LeaseNotFound,
    /// The revision asked for is no longer kept: read the present.
    #[error("the revision is compacted")]
    Compacted,
    /// The revision asked for is yet to come.
    #[error("the revision is yet to come")]
    FutureRevision,
    /// The store will not do that, in its words: mostly because whoever this handle is may not.
    #[error("refused: {0}")]
    Refused(String),
    /// The store takes nothing more until there is room again.
    #[error("the store is full: {0}")]
    NoSpace(String),
    /// The store did not take it up: it is away, has no leader, or too much to do. It may do so later.
    #[error("the store is away: {0}")]
    Unavailable(String),
    /// The answer is lost: it may have happened, may happen still, or never.
    #[error("whether it happened is unknown: {0}")]
    Unknown(String),
    /// What was read is not what is kept there: something else has written it. Nobody should write over it.
    #[error("{key} holds something else: {reason}")]
    NotARecord {
        /// Where.
        key: String,
        /// What is wrong with it.
        reason: WireError,
    },
    /// Others were quicker, each time of very many.
    #[error("others change the record without pause")]
    Contended,
}

impl Error {
    /// What it means for the state.
    pub fn effect(&self) -> Effect {
        match self {
            Error::Unknown(_) => Effect::Unknown,
            Error::OutOfBounds(_)
            | Error::LeaseNotFound
            | Error::Compacted
            | Error::FutureRevision
            | Error::Refused(_)
            | Error::NoSpace(_)
            | Error::Unavailable(_)
            | Error::NotARecord { .. }
            | Error::Contended => Effect::Unchanged,
        }
    }

    /// Whether the same request may go well later, without anybody's hand.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unavailable(_) | Error::Unknown(_) | Error::NoSpace(_) | Error::Contended => true,
            Error::OutOfBounds(_)
            | Error::LeaseNotFound
            | Error::Compacted
            | Error::FutureRevision
            | Error::Refused(_)
            | Error::NotARecord { .. } => false,
        }
    }
}

/// A bound that a request breaks. Nothing was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// A key without bytes.
    #[error("a key is empty")]
    EmptyKey,
    /// A key that is too long.
    #[error("a key has {0} bytes, at most {KEY_BYTES} are taken")]
    KeyBytes(usize),
    /// A value that is too large.
    #[error("a value has {0} bytes, at most {VALUE_BYTES} are taken")]
    ValueBytes(usize),
    /// A batch that is too large.
    #[error("a batch has {0} bytes, at most {BATCH_BYTES} are taken")]
    BatchBytes(usize),
    /// Too many comparisons or writes in a batch.
    #[error("a batch has {0} comparisons or writes, at most {BATCH_OPERATIONS} are taken")]
    BatchOperations(usize),
    /// A batch that writes nothing.
    #[error("a batch writes nothing")]
    NothingToWrite,
    /// A batch that puts a key twice, or puts and deletes it.
    #[error("a batch writes a key twice")]
    KeyTwice,
    /// A page of no records, or of too many.
    #[error("a page of {0} records is asked for; it holds 1 to {PAGE_RECORDS}")]
    PageRecords(usize),
    /// A revision that never was.
    #[error("revisions begin at 1")]
    Revision,
    /// A lease that is too short or too long.
    #[error("a lease of {0} s is asked for; it lasts 1 to {LEASE_MAX_TTL_S} s")]
    LeaseTtl(i64),
}
