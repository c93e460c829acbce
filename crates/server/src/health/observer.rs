//! A server as an observer: what it holds against the servers that it speaks with, and what it finds out about its own log and store.
//!
//! | way | fed by | about |
//! | --- | --- | --- |
//! | heartbeat, with phi over it | bytes that a peer's process wrote ([`connections`]) | each peer |
//! | timeout | greetings and signs of life, which its process answers | each peer |
//! | transport | resets, refusals; the kernel's TCP information ([`kernel`]) | each peer |
//! | checkpoint | how far logs are, as the leader and its followers see each other ([`work`]) | the leader's followers; a follower's leader |
//! | probe | a read through the quorum, and the sync that is under way ([`probes`]) | itself |
//!
//! Nothing here is written to the store, and nothing is sent for its sake: what is held against others goes with the report (`reporter`), and only
//! while there is anything. Whether it counts is for the judge, which lets it condemn nobody whom gossip hears.
//!
//! Invariants:
//! 1. While this process stood still nobody was silent: pauses are forgiven to all detectors, and for some seconds after one it has no say.
//! 2. It holds something against current peers only, [`PEERS`] at most.
//! 3. What it says of the work of others comes from a core loop that turns: a stuck one sees nobody advance.

mod connections;
mod kernel;
mod probes;
mod since;
mod work;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_health::detectors::Detector;
use steadfast_health::pause::{Config, OwnPause};
use steadfast_health::{Assessment, Evidence, Suspicion};
use steadfast_types::{Instant, NodeId};
use tokio::time::sleep;

use super::report::Against;
use super::soft::Counted;
use crate::backend::NodeBackend;
use crate::clock::Clock;
use crate::peers::{Noticed, PeerTransport};
use crate::published::Published;

use connections::Connections;
use kernel::Kernel;
use probes::Probes;
use since::Since;
use work::Work;

/// Peers that are watched: more than a cluster has servers.
const PEERS: usize = 256;

/// How often it looks at what it is not told.
const LOOK: Duration = Duration::from_millis(500);

/// How often the kernel is asked about connections: every so many looks.
const KERNEL_LOOKS: u64 = 20;

/// What a server watches with.
pub(crate) struct Eyes {
    pub(crate) observer: Observer,
    pub(crate) transport: PeerTransport,
    pub(crate) published: Arc<Published>,
}

/// What an observer says at one time.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Whether it counts.
    pub(super) has_say: bool,
    pub(super) against: Vec<Against>,
    /// Of itself.
    pub(super) own: Vec<Evidence>,
}

/// One server's detectors; clones share them.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Mutex<Detectors>>);

struct Detectors {
    me: NodeId,
    own: OwnPause,
    peers: BTreeMap<NodeId, Connections>,
    work: Work,
    probes: Probes,
    since: Since,
}

impl Observer {
    /// Watches what this transport notices. Before it dials anybody, so that all is seen from its beginning.
    pub(crate) fn of(transport: &PeerTransport, me: NodeId, clock: Clock) -> Self {
        let observer = Observer::new(me, clock.now());
        let told = observer.clone();
        transport.watch(move |peer, what| told.0.lock().notice(clock.now(), peer, what));
        observer
    }

    fn new(me: NodeId, now: Instant) -> Self {
        let own = OwnPause::new(now, Config::default());
        let (peers, work, probes, since) = (BTreeMap::new(), Work::default(), Probes::default(), Since::default());
        Observer(Arc::new(Mutex::new(Detectors { me, own, peers, work, probes, since })))
    }

    /// Looks around and probes, for as long as it runs.
    pub(super) async fn run(self, eyes: Eyes, backend: NodeBackend, (clock, counted): (Clock, Counted)) {
        tokio::join!(self.look_around(&eyes, (clock, counted)), probes::through_the_store(&self, &backend, (&eyes.published, clock)));
    }

    async fn look_around(&self, eyes: &Eyes, (clock, counted): (Clock, Counted)) {
        let mut kernel = Kernel::open();
        for looks in 1u64.. {
            self.look(eyes, clock.now(), counted.syncing_since());
            if let Some(kernel) = kernel.as_mut().filter(|_| looks.is_multiple_of(KERNEL_LOOKS)) {
                self.0.lock().peers.values_mut().for_each(|peer| peer.count(clock.now(), kernel));
            }
            sleep(LOOK).await;
        }
    }

    fn look(&self, eyes: &Eyes, now: Instant, syncing: Option<Instant>) {
        let status = eyes.published.status().filter(|_| eyes.published.is_fresh(now));
        let known = eyes.transport.peers();
        let mut detectors = self.0.lock();
        detectors.look(now, &known);
        detectors.work.feed(now, status.as_ref().map(|status| &status.consensus));
        detectors.probes.feed(now, status.as_ref(), syncing);
    }

    /// What it says at `now`.
    pub(super) fn observed(&self, now: Instant) -> Observed {
        self.0.lock().observed(now)
    }
}

impl Detectors {
    fn notice(&mut self, now: Instant, peer: NodeId, what: Noticed) {
        if self.peers.len() < PEERS || self.peers.contains_key(&peer) {
            self.peers.entry(peer).or_insert_with(|| Connections::new(now)).notice(now, what);
        }
    }

    /// Another look, by its own loop: who is no peer any more is forgotten, and a pause is forgiven.
    fn look(&mut self, now: Instant, known: &BTreeSet<NodeId>) {
        self.peers.retain(|peer, _| known.contains(peer));
        if let Some(pause) = self.own.turn(now, now + LOOK) {
            self.peers.values_mut().for_each(|peer| peer.forgive(now, pause));
            self.work.forgive(now, pause);
            self.probes.forgive(now, pause);
        }
    }

    fn observed(&mut self, now: Instant) -> Observed {
        let mut against: BTreeMap<NodeId, Vec<Assessment>> = BTreeMap::new();
        let of_connections =
            self.peers.iter().flat_map(|(peer, connections)| connections.assess(now).map(|assessment| (*peer, assessment)));
        let of_work = self.work.assess(now).filter(|(node, _)| *node != self.me);
        for (node, assessment) in of_connections.chain(of_work).filter(|(_, assessment)| assessment.suspicion >= Suspicion::Soft) {
            against.entry(node).or_default().push(assessment);
        }
        let mut against: Vec<Against> = against.into_iter().map(|(node, assessments)| Against { node, assessments }).collect();
        self.since.lengthen(now, &mut against);
        Observed { has_say: self.own.has_say(now), against, own: self.probes.evidence(now) }
    }
}

/// Forgives a pause to detectors of any kind.
fn forgive<D: Detector>(detectors: &mut [&mut D], now: Instant, pause: Duration) {
    detectors.iter_mut().for_each(|detector| detector.forgive(now, pause));
}
