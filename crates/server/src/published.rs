//! What the core loop publishes for other threads: who leads, which term, how the node stands, and a reader of the state.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_node::NodeStatus;
use steadfast_state::StateReader;
use steadfast_storage::disk::FileDisk;
use steadfast_storage::tables::LsmTables;
use steadfast_types::tables::Tables;
use steadfast_types::{Instant, NodeId, Term};
use tokio::sync::watch;

/// A reader of this process's state.
pub(crate) type Reader = StateReader<<LsmTables<FileDisk> as Tables>::Reader>;

/// The status is refreshed this often while there is anything to do, and at each change of role or members.
const REFRESH: Duration = Duration::from_millis(50);

/// A core loop that has not turned for so long does not turn: it has heartbeats to send or to await far more often.
const FRESH: Duration = Duration::from_secs(3);

/// Shared by all threads of one node.
pub(crate) struct Published {
    me: NodeId,
    term: AtomicU64,
    learner: AtomicBool,
    refreshed_at: AtomicU64,
    leader: watch::Sender<Option<NodeId>>,
    status: Mutex<Option<NodeStatus>>,
    reader: watch::Sender<Option<Reader>>,
}

impl Published {
    pub(crate) fn new(me: NodeId) -> Self {
        Published {
            me,
            term: AtomicU64::new(0),
            learner: AtomicBool::new(false),
            refreshed_at: AtomicU64::new(0),
            leader: watch::Sender::new(None),
            status: Mutex::new(None),
            reader: watch::Sender::new(None),
        }
    }

    /// Whether the status is old enough to be refreshed; then it counts as refreshed.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let due = now.since(Instant(self.refreshed_at.load(Ordering::Relaxed))) >= REFRESH;
        if due {
            self.refreshed_at.store(now.0, Ordering::Relaxed);
        }
        due
    }

    /// Whether the core loop has turned lately: what is published is how the node stands now.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.since(Instant(self.refreshed_at.load(Ordering::Relaxed))) < FRESH
    }

    pub(crate) fn update(&self, status: &NodeStatus) {
        self.term.store(status.consensus.term.0, Ordering::Relaxed);
        self.learner.store(!status.consensus.configuration.is_voter(self.me), Ordering::Relaxed);
        let leader = status.consensus.leader;
        self.leader.send_if_modified(|known| std::mem::replace(known, leader) != leader);
        *self.status.lock() = Some(status.clone());
    }

    pub(crate) fn set_reader(&self, reader: Reader) {
        self.reader.send_replace(Some(reader));
    }

    /// The node's state is lost, and on its way from the peers.
    pub(crate) fn clear(&self) {
        self.reader.send_replace(None);
        *self.status.lock() = None;
        self.leader.send_replace(None);
    }

    /// A reader, once the node has its state.
    pub(crate) async fn reader_once_there(&self) -> Reader {
        let mut readers = self.reader.subscribe();
        let there = readers.wait_for(Option::is_some).await.expect("the sender is in `self`");
        there.clone().expect("it was waited for")
    }

    /// `None` while the node repairs itself.
    pub(crate) fn reader(&self) -> Option<Reader> {
        self.reader.borrow().clone()
    }

    /// Whether requests are checked; while the node repairs itself it answers none.
    pub(crate) fn is_auth_enabled(&self) -> bool {
        self.reader.borrow().as_ref().is_some_and(StateReader::is_auth_enabled)
    }

    /// `None` while the node repairs itself.
    pub(crate) fn status(&self) -> Option<NodeStatus> {
        self.status.lock().clone()
    }

    pub(crate) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Relaxed))
    }

    pub(crate) fn is_learner(&self) -> bool {
        self.learner.load(Ordering::Relaxed)
    }

    pub(crate) fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.leader.subscribe()
    }
}
