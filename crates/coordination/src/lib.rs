//! The one small interface through which everything above strong state keeps its records: [`Coordination`].
//!
//! Planners and executors (recovery, jobs, transactions) are its users. They see a linearizable read, a batch of writes that happens only if
//! comparisons hold, a watch from a revision on, and leases; never consensus. Behind it is this node's own cluster, or any etcd v3 cluster
//! (`steadfast-client`), or a [model](memory) for tests. Each must pass [`conformance`].
//!
//! # Contract
//!
//! **State.** A store holds *records*: a key, a value, the revisions that created and last wrote it, how often it was written since, and the
//! lease that it lives under, if any. The store has one *revision*. Each batch that changes anything adds one to it, and all that the batch
//! changed carries it; so does the end of a lease. Others may write to the same store: a revision may be anybody's.
//!
//! **Read** ([`Coordination::read`]). The present is read linearizably: the answer has everything whose write was answered before the read was
//! asked, through whichever handle. A page says the revision that it is of; the pages after it are read *at* that revision, so all of them
//! together are one moment.
//!
//! **Commit** ([`Coordination::commit`]). All comparisons hold and all writes happen, at one moment and in one revision; or nothing changes, and
//! the answer says what was found ([`Outcome::Conflict`]). A batch is committed at most once each time it is asked for; an implementation never
//! repeats one whose outcome it does not know.
//!
//! **Errors** say what they mean for the state ([`Error::effect`]): unchanged, or *unknown*: the request may have happened, may happen still, or
//! never. Reads have no effect, so theirs is always unchanged. Whoever fences a batch by the [revision](Compare::unchanged) of a record that it
//! writes can ask again without harm, and [`settle`] finds out what became of the first one; [`Records`] does all that for typed records.
//!
//! **Watch** ([`Coordination::watch`]). Every change of the watched keys from the revision on, each once, in order, all changes of one revision
//! together. It outlives lost connections by itself, waiting for as long as the store is away. It ends only with a [`WatchError`]: if what it
//! had still to tell is compacted (it never leaves anything out in silence), or can't be told for another reason that waiting won't mend. Now
//! and then it tells that nothing happened up to a revision: how often is the implementation's choice. Until the first [`Watch::next`] nothing
//! is asked; a watch that is not read holds up nothing else and takes bounded memory.
//!
//! **Leases.** A lease lives for its time to live after it was granted or last renewed, at least; a change of leaders may give it its full time
//! again. When it ends, by lapse or by [`Coordination::revoke`], its records are deleted in one revision. A record written anew belongs to the
//! lease of the newest write alone. Who acts on the strength of a lease counts its time from before the request was sent: [`Held`] does.
//!
//! **Waiting.** A call may wait inside for a store that is away, for a bounded time that its implementation states; so whoever repeats calls
//! needs no clock. A future that is dropped leaves the state as an unknown error does.
//!
//! **Bounds** are in [`limits`]; what exceeds them is refused before anything is asked ([`OutOfBounds`]), alike by all implementations.
//!
//! # Left out
//!
//! Users and rights (whoever makes an implementation gives it its identity), compaction (the store's operator says what is forgotten), locks
//! and elections (made of records and leases when their first user comes).
#![warn(missing_docs)]

extern crate alloc;

mod batch;
pub mod conformance;
mod error;
mod held;
mod keys;
pub mod limits;
pub mod memory;
mod read;
mod records;
mod settle;
pub mod space;
mod time;
mod watch;

use std::future::Future;

use steadfast_types::{LeaseId, Revision};

pub use batch::{Batch, Compare, Conflict, Outcome, Write};
pub use error::{Effect, Error, OutOfBounds};
pub use held::{Held, Lost};
pub use keys::{Key, Keys, Prefix};
pub use memory::Memory;
pub use read::{Page, Read, Record};
pub use records::{Records, Stored, Update, Updated};
pub use settle::{Fence, settle};
pub use time::Time;
pub use watch::{Change, Changes, Watch, WatchError};

/// A store of records, as the top of this crate says. Handles are cheap to clone and share one store.
pub trait Coordination: Clone + Send + Sync + 'static {
    /// Its watches.
    type Watch: Watch;

    /// Reads one page of records.
    ///
    /// # Errors
    /// The revision asked for is compacted or yet to come, the keys may not be read, the store is away. The state is unchanged.
    fn read(&self, read: Read) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Writes if all comparisons hold.
    ///
    /// # Errors
    /// See [`Error::effect`] for whether the batch may have been committed. [`Error::LeaseNotFound`]: a write names a lease that is not there.
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// Watches keys, from the revision `from` on (at least 1), which may be past or yet to come.
    fn watch(&self, keys: Keys, from: Revision) -> Self::Watch;

    /// Grants a lease of so many seconds; a shorter one than the store allows becomes longer ([`Lease::granted_s`]).
    ///
    /// # Errors
    /// If its outcome is unknown there may be a lease that nobody knows; it lapses.
    fn grant(&self, ttl_s: i64) -> impl Future<Output = Result<Lease, Error>> + Send;

    /// Gives a lease its full time again. Safe to repeat.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`]: it has ended. Others: it may have been renewed or not.
    fn keep_alive(&self, id: LeaseId) -> impl Future<Output = Result<Lease, Error>> + Send;

    /// What is left of a lease.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`]: it has ended. The state is unchanged.
    fn remaining(&self, id: LeaseId) -> impl Future<Output = Result<Lease, Error>> + Send;

    /// Ends a lease and deletes its records. Good also if there is no such lease; safe to repeat.
    ///
    /// # Errors
    /// See [`Error::effect`].
    fn revoke(&self, id: LeaseId) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A lease, as of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Its full time, seconds.
    pub granted_s: i64,
    /// What is left of it, about, seconds.
    pub remaining_s: i64,
}
