//! The transport between members: one long-lived connection for each peer and direction. A node dials every peer and sends on that
//! connection; what peers send arrives on connections that they dialled.
//!
//! Invariants:
//! 1. [`PeerEvent::Connected`] and [`PeerEvent::Disconnected`] of one peer alternate, and its frames come between them, in the order sent on
//!    one connection. Frames may be lost, never damaged; nothing is repeated by the transport itself.
//! 2. [`PeerTransport::send`] never blocks. What waits for a peer is bounded (`queue`); what does not fit is dropped and counted.
//! 3. When the receiver of events is full, the sockets are not read until it has room.
//! 4. No byte of a stranger reaches the receiver of events: the handshake comes first, and refuses other clusters, other versions, members
//!    that were removed, and nodes that mean to reach someone else.
//!
//! A node that is *not known* here, of the right cluster, is heard, and answered at the address that it states, until its connection ends:
//! the members may have changed while this node was away, and then only those it does not know can tell it so.
//!
//! `Disconnected` comes as soon as the connection that a peer dialled ends, or nobody listens any longer where it was. It is a strong hint
//! that the process is gone, not a proof: a network can cut a connection too.
//!
//! Each connection runs over TCP alone or over TLS (`link`). Over TCP alone the network between members is trusted: the handshake tells
//! clusters apart, not friends from foes.

pub(crate) mod complaints;
mod frame;
mod handshake;
mod inbound;
mod lanes;
mod link;
mod noticed;
mod outbound;
mod queue;
mod roster;

pub use handshake::{DIAGNOSIS_FRAME_BYTES, GOSSIP_FRAME_BYTES, HANDSHAKE_FRAME_BYTES, NEWEST_VERSION, OLDEST_VERSION, Refusal, Topic};
pub use inbound::{HANDSHAKES, answer_questions};
pub use lanes::{Lane, LaneEvent, LaneEvents};
pub use link::Link;
pub(crate) use noticed::{Ends, Noticed};
pub use outbound::{AskError, ask};
pub use queue::{QUEUE_BYTES, UNCONNECTED_FRAMES};
pub use roster::STRANGERS;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use steadfast_types::{ClusterId, Level, NodeId, limits};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::Metrics;
use crate::fault_table::Faults;
use complaints::Complaints;
use handshake::Hello;
use inbound::Session;
use lanes::Lanes;
use noticed::Onlookers;
use roster::{Peer, Roster};

/// How often a dialer shows that it lives, whatever else it sends. Each sign is answered.
const SIGN_INTERVAL: Duration = Duration::from_millis(500);

/// A connection on which nothing was heard for so long is dead: TCP alone would take many minutes to notice, and after a partition has
/// healed it may wait for its next try for as long again.
const SILENCE: Duration = Duration::from_secs(3);

/// Who this node is to its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Itself.
    pub node: NodeId,
    /// Its process life: a random number.
    pub incarnation: u64,
    /// Where it is reached, `host:port`.
    pub address: String,
}

/// What the transport has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The peer, in this process life, has connected to this node, and knows this level.
    Connected(NodeId, u64, Level),
    /// Its connection has ended, or nobody listens where it was.
    Disconnected(NodeId),
    /// It sent this. A slice of what was read from the socket.
    Frame(NodeId, Bytes),
}

/// Takes the transport's events. An `mpsc::Sender` does; its receiver may be a plain thread.
pub trait PeerEvents: Send + Sync + 'static {
    /// Takes one event; done when there was room for it. While it waits, that peer's socket is not read.
    fn deliver(&self, event: PeerEvent) -> impl Future<Output = ()> + Send;
}

impl PeerEvents for mpsc::Sender<PeerEvent> {
    async fn deliver(&self, event: PeerEvent) {
        // Without a receiver the node is stopping, and events are of no use.
        let _ = self.send(event).await;
    }
}

/// Answers the questions of nodes that are not members yet.
pub trait Reception: Send + Sync + 'static {
    /// The answer to a question about `topic`.
    fn answer(&self, topic: Topic, question: Bytes) -> impl Future<Output = Bytes> + Send;
}

/// The running transport. Clones are handles on the same one; all calls may come from any thread.
#[derive(Clone, Debug)]
pub struct PeerTransport {
    shared: Arc<Shared>,
}

/// What all tasks of a transport share.
#[derive(Debug)]
struct Shared {
    local: LocalPeer,
    metrics: Metrics,
    faults: Faults,
    link: Link,
    roster: Roster,
    sessions: Mutex<BTreeMap<NodeId, Session>>,
    complaints: Complaints,
    onlookers: Onlookers,
    lanes: OnceLock<Lanes>,
    runtime: Handle,
    /// The cluster's, see [`Level`].
    level: AtomicU8,
    /// A peer knows that this node was removed from the cluster.
    removed: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    running: watch::Sender<usize>,
}

impl PeerTransport {
    /// Starts to accept peers; whom to dial comes by [`PeerTransport::add_contacts`] and [`PeerTransport::set_peers`]. Call it on a tokio runtime, which the transport then uses.
    pub fn start<E: PeerEvents, R: Reception>(listener: TcpListener, local: LocalPeer, events: E, reception: R, metrics: Metrics) -> Self {
        Self::start_with_faults(listener, local, events, reception, metrics, Faults::default())
    }

    /// The same, over `link`.
    pub fn start_over<E: PeerEvents, R: Reception>(
        listener: TcpListener,
        (local, link): (LocalPeer, Link),
        events: E,
        reception: R,
        metrics: Metrics,
        faults: Faults,
    ) -> Self {
        let shared = Arc::new(Shared {
            local,
            metrics,
            faults,
            link,
            roster: Roster::default(),
            sessions: Mutex::default(),
            complaints: Complaints::default(),
            onlookers: Onlookers::default(),
            lanes: OnceLock::new(),
            runtime: Handle::current(),
            level: AtomicU8::new(Level::FIRST.0),
            removed: watch::Sender::new(false),
            stop: watch::Sender::new(false),
            running: watch::Sender::new(0),
        });
        shared.spawn(inbound::accept(shared.clone(), listener, Arc::new(events), Arc::new(reception)));
        PeerTransport { shared }
    }

    /// The same, on a network with faults.
    pub fn start_with_faults<E: PeerEvents, R: Reception>(
        listener: TcpListener,
        local: LocalPeer,
        events: E,
        reception: R,
        metrics: Metrics,
        faults: Faults,
    ) -> Self {
        Self::start_over(listener, (local, Link::Plain), events, reception, metrics, faults)
    }

    /// Sends a frame, in order after those sent to this peer before. Never blocks. A frame to a peer that is unknown, or whose queue is
    /// full, is dropped and counted.
    ///
    /// # Panics
    /// If the frame is empty or larger than [`limits::PEER_FRAME_BYTES`]: no message is.
    pub fn send(&self, to: NodeId, frame: Bytes) {
        assert!(!frame.is_empty() && frame.len() <= limits::PEER_FRAME_BYTES, "a frame of {} bytes to {to}", frame.len());
        self.shared.send(to, frame);
    }

    /// Whom to dial until the replicated state lists the members. A contact stays one when the state does not list it: the state may be older
    /// than the contact, and what is missing in it may be just what the contact has to say.
    pub fn add_contacts(&self, contacts: BTreeMap<NodeId, String>) {
        for (node, peer) in self.shared.roster.add_contacts(self.shared.local.node, contacts) {
            self.shared.begin(node, peer);
        }
    }

    /// From now on there are lanes to the members that have them too. Called once, before the members are known.
    pub fn open_lanes(&self, events: LaneEvents) {
        if self.shared.lanes.set(Lanes::new(events)).is_ok() {
            self.shared.roster.all().into_iter().for_each(|(node, peer)| self.shared.begin_lane(node, peer));
        }
    }

    /// What the replicated state lists: the members (this node itself is passed over) and where they are reached, and those that were removed. Of
    /// the latter, and of members of an earlier call that are missing in this one, the connections end; those that were removed are refused,
    /// and told why. So give it states in their order.
    pub fn set_peers(&self, peers: BTreeMap<NodeId, String>, removed: BTreeSet<NodeId>) {
        self.shared.set_peers(peers, removed);
    }

    /// Whose connections to this node are open: who was heard a moment ago.
    pub(crate) fn heard(&self) -> BTreeSet<NodeId> {
        self.shared.sessions.lock().keys().copied().collect()
    }

    /// Whom it dials.
    pub(crate) fn peers(&self) -> BTreeSet<NodeId> {
        self.shared.roster.queued().into_keys().collect()
    }

    /// From now on this one is told what is noticed of the peers; there is one at most. It is called on the ways of frames, so it must be quick.
    pub(crate) fn watch(&self, onlooker: impl Fn(NodeId, Noticed) + Send + Sync + 'static) {
        self.shared.onlookers.tell(Box::new(onlooker));
    }

    /// The cluster is at this level: from now on releases that don't know it are not spoken to.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level.0, Ordering::Relaxed);
    }

    /// Returns once a peer has said that this node was removed from the cluster. A peer says so only of what is committed, so it is final.
    pub async fn removed(&self) {
        let mut removed = self.shared.removed.subscribe();
        removed.wait_for(|removed| *removed).await.expect("the sender is in this handle");
    }

    /// How many frames wait to be sent, for each peer.
    pub fn queued(&self) -> BTreeMap<NodeId, usize> {
        self.shared.roster.queued()
    }

    /// Stops: what waits is still sent, for a fraction of a second, then all connections end. No event comes after it returns.
    pub async fn shutdown(&self) {
        self.shared.stop.send_replace(true);
        let mut running = self.shared.running.subscribe();
        running.wait_for(|count| *count == 0).await.expect("the sender is in this handle");
    }
}

impl Shared {
    fn level(&self) -> Level {
        Level(self.level.load(Ordering::Relaxed))
    }

    /// The one place through which every frame goes out.
    fn send(&self, to: NodeId, frame: Bytes) {
        let dropped = self.roster.find(to).map_or(1, |peer| peer.queue.push(frame));
        self.count_dropped(dropped);
    }

    /// The one place through which every frame comes in.
    async fn receive<E: PeerEvents>(&self, from: NodeId, frame: Bytes, events: &E) {
        self.metrics.peer_frames_received.increment(1);
        events.deliver(PeerEvent::Frame(from, frame)).await;
    }

    fn count_dropped(&self, frames: u64) {
        if frames > 0 {
            self.metrics.peer_frames_dropped.increment(frames);
        }
    }

    fn set_peers(self: &Arc<Self>, peers: BTreeMap<NodeId, String>, removed: BTreeSet<NodeId>) {
        let changes = self.roster.set_members(self.local.node, peers, removed);
        for (node, peer) in changes.added {
            self.begin(node, peer);
        }
        for node in changes.removed {
            tracing::info!(peer = %node, "the peer was removed from the cluster: its connections end");
            self.end_session(node);
        }
    }

    /// Begins to dial a peer.
    fn begin(self: &Arc<Self>, node: NodeId, peer: Arc<Peer>) {
        self.spawn(outbound::run(self.clone(), node, peer.clone()));
        self.begin_lane(node, peer);
    }

    fn begin_lane(self: &Arc<Self>, node: NodeId, peer: Arc<Peer>) {
        if self.lanes.get().is_some() && self.local.node < node {
            self.spawn(lanes::run(self.clone(), node, peer));
        }
    }

    /// What this node says first to a peer.
    fn hello(&self, to: NodeId) -> Hello {
        let LocalPeer { cluster, node, incarnation, address } = self.local.clone();
        Hello { cluster, from: node, to, incarnation, address }
    }

    /// Ends what a peer dialled, if anything: the receiver of events is told so.
    fn end_session(&self, node: NodeId) {
        if let Some(session) = self.sessions.lock().get(&node) {
            session.end();
        }
    }

    /// Runs a task that [`PeerTransport::shutdown`] waits for.
    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.running.send_modify(|count| *count += 1);
        let running = Running(self.clone());
        self.runtime.spawn(async move {
            let _running = running;
            task.await;
        })
    }
}

/// Counts a task as running for as long as it exists, however it ends.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|count| *count -= 1);
    }
}

/// Done when the transport is told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the transport is gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}
