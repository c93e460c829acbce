//! The other replicas, as the loop hears of them: what comes over their lanes, and who they are.

use std::collections::BTreeSet;

use steadfast_crdt::Actor;
use tokio::sync::{mpsc, watch};

use crate::peers::LaneEvent;

/// Where the loop hears of them.
#[derive(Debug)]
pub struct Peers {
    /// What their lanes tell.
    pub lanes: mpsc::Receiver<LaneEvent>,
    /// As whom all replicas write, this one among them; `None` until it is known.
    pub replicas: watch::Receiver<Option<BTreeSet<Actor>>>,
}

impl Peers {
    /// What came next, if anything did.
    pub(super) fn next(&mut self) -> Option<LaneEvent> {
        self.lanes.try_recv().ok()
    }

    /// Who they are, if that has changed.
    pub(super) fn changed(&mut self) -> Option<BTreeSet<Actor>> {
        // An error: nobody tells any more, since the node stops.
        if self.replicas.has_changed().unwrap_or(false) { self.replicas.borrow_and_update().clone() } else { None }
    }
}
