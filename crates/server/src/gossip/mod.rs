//! The node's part in the membership of its cluster: sockets, timers and keys around the pure core in `steadfast_membership`.
//!
//! One task owns the core (`task`). Datagrams come and go on a UDP socket with the number of the peer port; messages by stream are questions on
//! the peer port itself (`Topic::Gossip`), so they run over TLS where peers do. Where the cluster has keys, every packet of both kinds is sealed (`seal`).
//! What the core holds is published as a [`View`], a moment after it changed; nothing else reads the core.
//!
//! Invariants:
//! 1. The task waits for nobody: what can't be sent or taken at once is dropped and counted, as a network may drop it.
//! 2. Each life begins above all earlier ones of its directory ([`crate::identity::Life`]).
//! 3. A packet that does not open, or is none of this cluster's, reaches no state; the log names its source and cause once.
//!
//! Faults of a drill are done to packets in `injected`.
//!
//! Left out: a peer address that is changed while the node runs is told to the others at its next start.

mod desk;
mod injected;
mod keys;
mod seal;
mod seeds;
mod start;
mod streams;
mod task;
mod view;

pub(crate) use desk::{Attendance, Desk};
pub(crate) use keys::Keys;
pub(crate) use start::start;
pub(crate) use view::{Seen, View};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use steadfast_membership::limits::STREAM_BYTES;
use steadfast_membership::{Role, State};
use steadfast_types::{ClusterId, NodeId};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::{MemberStatus, Metrics, members_route};
use crate::clock::Clock;
use crate::fault_table::Faults;
use crate::identity::Life;
use crate::peers::{GOSSIP_FRAME_BYTES, Link};

const _: () = assert!(STREAM_BYTES + seal::OVERHEAD_BYTES <= GOSSIP_FRAME_BYTES, "every message by stream fits into a frame");

/// Messages by stream that wait for the task.
const WAITING_STREAMS: usize = 64;

/// How long a member that leaves stays to tell it: two turns of gossip, from each of which three learn it.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);

/// What a node brings along.
pub(crate) struct Part {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Where others reach it, `host:port`.
    pub(crate) address: String,
    pub(crate) life: Life,
    pub(crate) keys: Keys,
    pub(crate) link: Link,
    pub(crate) socket: UdpSocket,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) faults: Faults,
}

/// How taking part ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This node said goodbye because it was told to.
    Left,
    /// It said goodbye because an elder has its name, and is at this address.
    NameTaken(String),
}

/// A question that came by stream, and where its answer goes.
type Question = (Bytes, oneshot::Sender<Bytes>);

/// The running task; clones are handles on the same one.
#[derive(Clone)]
pub(crate) struct Gossip {
    questions: mpsc::Sender<Question>,
    seeds: Arc<watch::Sender<BTreeSet<String>>>,
    leave: Arc<watch::Sender<bool>>,
    view: watch::Receiver<Arc<View>>,
    ended: watch::Receiver<Option<Ended>>,
    metrics: Metrics,
    clock: Clock,
}

impl Gossip {
    /// Begins to take part. `seeds`: where other members may be reached.
    pub(crate) fn start(part: Part, seeds: BTreeSet<String>) -> Self {
        let (questions, questions_in) = mpsc::channel(WAITING_STREAMS);
        let (seeds, seeds_in) = watch::channel(seeds);
        let (leave, leaving) = watch::channel(false);
        let (publish, view) = watch::channel(Arc::default());
        let (end, ended) = watch::channel(None);
        let (metrics, clock) = (part.metrics.clone(), part.clock);
        let (joins, joins_in) = mpsc::channel(1);
        tokio::spawn(seeds::keep_joined(part.address.clone(), seeds_in, view.clone(), joins));
        tokio::spawn(task::run(part, task::Inputs { questions: questions_in, joins: joins_in, leaving }, task::Results { publish, end }));
        Gossip { questions, seeds: Arc::new(seeds), leave: Arc::new(leave), view, ended, metrics, clock }
    }

    /// Where other members may be reached now: asked whenever this node finds itself alone.
    pub(crate) fn set_seeds(&self, seeds: BTreeSet<String>) {
        self.seeds.send_if_modified(|known| {
            *known != seeds && {
                *known = seeds;
                true
            }
        });
    }

    /// The same, beside those that are known.
    pub(crate) fn add_seeds(&self, seeds: &[String]) {
        self.seeds.send_modify(|known| known.extend(seeds.iter().cloned()));
    }

    /// What this node holds of all members.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// The same, and how to wait for a change.
    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// How long ago that was, milliseconds.
    pub(crate) fn milliseconds_since(&self, then: steadfast_types::Instant) -> u64 {
        u64::try_from(self.clock.now().since(then).as_millis()).unwrap_or(u64::MAX)
    }

    /// The admin port's route to it.
    pub(crate) fn members_route(&self) -> Router {
        let gossip = self.clone();
        members_route(move || gossip.view().members.iter().map(|seen| gossip.status_of(seen)).collect())
    }

    fn status_of(&self, seen: &Seen) -> MemberStatus {
        MemberStatus {
            name: seen.name.clone(),
            id: seen.id.to_string(),
            role: match seen.role {
                Role::Server => "server",
                Role::Agent => "agent",
            },
            state: match seen.state {
                State::Alive => "healthy",
                State::Suspect => "suspect",
                State::Failed => "failed",
                State::Left => "left",
            },
            since_ms: self.milliseconds_since(seen.since),
            witnesses: seen.witnesses.clone(),
            address: seen.address.to_string(),
            incarnation: seen.incarnation.to_string(),
        }
    }

    /// The answer to a message that came by stream; empty if there is none.
    pub(crate) async fn answer(&self, question: Bytes) -> Bytes {
        let (slot, answer) = oneshot::channel();
        if self.questions.try_send((question, slot)).is_err() {
            self.metrics.gossip_dropped.increment(1);
            return Bytes::new();
        }
        // Without a task there is none, and with one it may say nothing.
        answer.await.unwrap_or_default()
    }

    /// Says goodbye. [`Gossip::ended`] says when it was told.
    pub(crate) fn leave(&self) {
        self.leave.send_replace(true);
    }

    /// How taking part ended, once it has.
    pub(crate) async fn ended(&self) -> Ended {
        // An error: the task is gone with its runtime.
        self.ended.clone().wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone()).unwrap_or(Ended::Left)
    }

    /// Says goodbye, and waits until that was told, or could have been.
    pub(crate) async fn say_goodbye(&self) {
        self.leave();
        // Whether it took longer makes no difference to a node that stops.
        let _ = tokio::time::timeout(2 * FAREWELL, self.ended()).await;
    }
}

#[cfg(test)]
mod tests;
