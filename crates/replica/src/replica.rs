//! The replica: keys, exchange and waits, turn by turn.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_available::exchange::{Counters, Event, Limits, PeerStatus, Record};
use steadfast_available::{Exchange, Keyspace};
use steadfast_crdt::{Actor, Version, VersionVector};
use steadfast_types::wire::WireError;
use steadfast_types::{Instant, NodeId};

use crate::waits::{Answer, Until, WaitId, Waits};

/// So many keys whose deadline has come are deleted at once; what is overdue then is deleted in the turns that follow.
const EXPIRED_AT_ONCE: usize = 100;

/// What is to be done now, in this order: records into the journal, then events, then messages to the peers, then answers.
#[derive(Debug, Default)]
pub struct Outputs {
    /// For the journal, in order. They are written before anything else of this is done.
    pub records: Vec<Record>,
    /// For the shell.
    pub events: Vec<Event>,
    /// For the peers; those to one peer in order.
    pub messages: Vec<(NodeId, Bytes)>,
    /// For those whose wait is over.
    pub answers: Vec<Answer>,
}

/// See the crate.
#[derive(Debug)]
pub struct Replica {
    actor: Actor,
    keys: Keyspace,
    exchange: Exchange,
    waits: Waits,
    now: Instant,
    outputs: Outputs,
    /// Keys that were deleted because their deadline had come.
    expired: u64,
    /// There may be more of them.
    is_expiring: bool,
}

impl Replica {
    /// A replica without keys that writes as `actor`: nobody else ever did, and it itself lost none of its writes that others have seen.
    pub fn new(actor: Actor, limits: Limits) -> Self {
        Self::with_keys(Keyspace::new(actor), limits)
    }

    /// A replica that begins with these keys, as they were when a snapshot of them was taken. What the journal has beyond it is replayed.
    pub fn with_keys(keys: Keyspace, limits: Limits) -> Self {
        let actor = keys.actor();
        let exchange = Exchange::new(actor, limits, &keys);
        Replica {
            actor,
            keys,
            exchange,
            waits: Waits::default(),
            now: Instant(0),
            outputs: Outputs::default(),
            expired: 0,
            is_expiring: false,
        }
    }

    /// Does again what the journal says, at the start, before anything else but [`Replica::set_now`].
    ///
    /// # Errors
    /// If the record does not follow what was replayed before it: the journal is not whole.
    pub fn replay(&mut self, record: Record) -> Result<(), WireError> {
        self.exchange.replay(&mut self.keys, record, self.now)
    }

    /// As whom it writes.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// It is so late: by the clock that only goes on, and in milliseconds of Unix time. Said at the beginning of each turn.
    pub fn set_now(&mut self, now: Instant, unix_ms: u64) {
        self.now = now;
        self.keys.set_now(unix_ms);
    }

    /// The keys, for commands.
    pub fn keys(&mut self) -> &mut Keyspace {
        &mut self.keys
    }

    /// The keys, to look at.
    pub fn look(&self) -> &Keyspace {
        &self.keys
    }

    /// The exchange, to look at.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Ends the turn: what its commands changed is for the journal and for the peers.
    pub fn end_turn(&mut self) {
        self.seal();
        self.settle();
    }

    /// What is to be done; each thing is given once.
    pub fn outputs(&mut self) -> Outputs {
        core::mem::take(&mut self.outputs)
    }

    /// The replicas that there are, by the actors they write as, this one among them.
    pub fn set_replicas(&mut self, replicas: BTreeSet<Actor>) {
        self.seal();
        self.exchange.set_replicas(&self.keys, replicas);
        self.settle();
    }

    /// A connection to a peer begins.
    pub fn connected(&mut self, peer: NodeId) {
        self.seal();
        self.exchange.connected(&self.keys, peer);
        self.settle();
    }

    /// The connection to a peer has ended.
    pub fn disconnected(&mut self, peer: NodeId) {
        self.seal();
        self.exchange.disconnected(peer);
        self.outputs.messages.retain(|(to, _)| *to != peer);
        self.settle();
    }

    /// A message of a peer.
    ///
    /// # Errors
    /// If it can't be read or says what can't be: the connection is to be closed.
    pub fn receive(&mut self, from: NodeId, message: Bytes) -> Result<(), WireError> {
        self.seal();
        let result = self.exchange.receive(&mut self.keys, from, message, self.now);
        self.settle();
        result
    }

    /// Time passes: to be called a few times a second.
    ///
    /// Keys past their deadlines are deleted by the one replica with the lowest actor among those that are connected: on each side of a partition there is one.
    pub fn tick(&mut self) {
        self.expire();
        self.seal();
        self.exchange.tick(&mut self.keys, self.now);
        self.settle();
    }

    /// Somebody waits; the answer comes with the outputs, perhaps at once. A wait that this one began before and that is not over is forgotten.
    pub fn wait(&mut self, id: WaitId, until: Until, deadline: Option<Instant>) {
        self.seal();
        self.waits.begin(id, until, deadline);
        self.settle();
    }

    /// Whoever waited is gone.
    pub fn forget_wait(&mut self, id: WaitId) {
        self.waits.forget(id);
    }

    /// Does what can't wait for the next tick: to be called when [`Replica::next_deadline`] is there.
    pub fn wake(&mut self) {
        if self.is_expiring {
            self.expire();
            self.seal();
        }
        self.settle();
    }

    /// When the next wait is over, or what is overdue goes on to be deleted.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.is_expiring { Some(self.now) } else { self.waits.next_deadline() }
    }

    /// All that was seen of any key: who reads here has seen no more than this.
    pub fn seen(&self) -> VersionVector {
        self.keys.seen()
    }

    /// How many keys it deleted because their deadline had come.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// What the exchange did.
    pub fn counters(&self) -> Counters {
        self.exchange.counters()
    }

    /// How things stand with a connected peer.
    pub fn peer(&self, id: NodeId) -> Option<PeerStatus> {
        self.exchange.peer(&self.keys, id, self.now)
    }

    /// Whether it is this one's part to delete keys whose deadline has come.
    fn expires(&self) -> bool {
        self.exchange.connected_actors().all(|actor| self.actor < actor)
    }

    /// Deletes some of the keys whose deadline has come, if that is its part.
    fn expire(&mut self) {
        // An error: the clock has come to its end, and then no command can write either.
        let expired = if self.expires() { self.keys.expire_some(EXPIRED_AT_ONCE).unwrap_or(0) } else { 0 };
        self.expired += expired as u64;
        self.is_expiring = expired >= EXPIRED_AT_ONCE;
    }

    /// Ends what the commands wrote since the last turn's end.
    fn seal(&mut self) {
        while let Some(delta) = self.keys.take_delta() {
            self.outputs.records.push(Record::Delta(delta.clone()));
            self.exchange.turn_ended(&self.keys, delta, self.now);
        }
    }

    /// Takes what the exchange gave out, and answers those whose wait is over.
    fn settle(&mut self) {
        let given = self.exchange.outputs();
        self.outputs.records.extend(given.records);
        self.outputs.events.extend(given.events);
        self.outputs.messages.extend(given.messages);
        if !self.waits.is_empty() {
            let (exchange, keys) = (&self.exchange, &self.keys);
            let holders = |version: Option<Version>| version.map_or_else(|| exchange.heard_of(), |version| exchange.acknowledged(version));
            let has_seen = |vector: &VersionVector| keys.context().vector().includes(vector);
            self.waits.settle(self.now, holders, has_seen, &mut self.outputs.answers);
        }
    }
}
