//! Watches: the streams of one node's clients, and who on them wants to hear of which keys.
//!
//! # Contract
//!
//! One thread owns a [`WatchHub`]. It feeds it what was applied ([`WatchHub::publish`]) and what clients ask ([`WatchHub::create`],
//! [`WatchHub::cancel`], [`WatchHub::request_progress`], [`WatchHub::close`]); and while [`WatchHub::catch_up`] says so, calls it again, in
//! turn with the rest. What clients are told goes to a [`Sink`] at once; the hub keeps no events.
//!
//! A sink says which streams have *room*. Answers to requests are delivered to any stream, so the shell must not take further requests off a
//! stream without room. Events are only delivered to streams with room: a watcher whose stream has none *lags*, at the first revision it
//! did not get, and is caught up from history when there is room again, however far behind it is.
//!
//! # Invariants
//!
//! 1. A watcher gets every event of its span from its start revision on, each once, in order, all events of a revision together; or it is
//!    canceled, because what it had still to get was compacted.
//! 2. A watcher is *synced* if it was delivered everything up to the hub's revision, else it is in its stream's lagging set at `next`, the
//!    first revision it was not delivered.
//! 3. A progress answer with revision r comes after all events up to r. One for a whole stream waits until all its watchers are synced.
//! 4. Watchers of equal span and filters are one group: an event is matched once for each group, and they share one list of events.
//!
//! Left out: encoding and fragments (a delivery says whether its client accepts fragments), whose watchers they are, the clock of progress notices.

use alloc::sync::Arc;
use steadfast_types::Revision;

use crate::command::KeySpan;
use crate::event::Event;

mod catch_up;
mod groups;
mod hub;
mod slab;
mod span_index;
#[cfg(test)]
mod tests;

pub use catch_up::{CatchUp, CatchUpBudget};
pub use hub::WatchHub;

/// One client's stream; the shell numbers them, and never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// The watch id of an answer that is about the whole stream, or about a watcher that was not created.
pub const WHOLE_STREAM: i64 = -1;

/// What a client asks to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// The id it wants; 0: any.
    pub watch_id: i64,
    /// Which keys; an empty key means one zero byte.
    pub keys: KeySpan,
    /// From which revision on; 0: from now on.
    pub start_revision: Revision,
    /// Events carry the key as it was.
    pub prev_kv: bool,
    /// No puts.
    pub no_put: bool,
    /// No deletes.
    pub no_delete: bool,
    /// The client takes the events of a revision in several messages.
    pub fragment: bool,
    /// Tell it now and then how far it is, if nothing happens.
    pub progress_notify: bool,
}

/// What a stream is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchDelivery {
    /// Which watcher; [`WHOLE_STREAM`] for all.
    pub watch_id: i64,
    /// For the header: everything up to it was delivered.
    pub revision: Revision,
    /// The answer to a create request.
    pub created: bool,
    /// The watcher is gone, and why.
    pub canceled: Option<CancelReason>,
    /// What happened, whole revisions; empty for anything but events. Shared by all watchers of a group.
    pub events: Arc<[Event]>,
    /// Whether the client takes it in several messages.
    pub fragment: bool,
}

/// Why a watcher is gone, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelReason {
    /// The client asked for it. (etcd gives no reason then.)
    #[error("")]
    Requested,
    /// It wanted what is compacted. (etcd gives no reason, only the revision.)
    #[error("mvcc: required revision has been compacted")]
    Compacted {
        /// The earliest revision that can be watched from.
        compact_revision: Revision,
    },
    /// The stream has a watcher of this id.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateWatchId,
    /// The range ends before it starts.
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    /// Its user may not read these keys, or not any more. (etcd's text, whatever the reason.)
    #[error("rpc error: code = PermissionDenied desc = etcdserver: permission denied")]
    PermissionDenied,
    /// This node has as many watchers as it takes.
    #[error("etcdserver: too many requests")]
    TooManyWatchers,
}

/// Where deliveries go.
pub trait Sink {
    /// Whether events may be delivered to the stream now.
    fn room(&mut self, stream: StreamId) -> bool;

    /// Delivers, in order for each stream.
    fn deliver(&mut self, stream: StreamId, delivery: WatchDelivery);
}
