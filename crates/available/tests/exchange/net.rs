//! Replicas in a simulated network: connections keep their order, and are cut whenever a test likes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use steadfast_available::Exchange;
use steadfast_available::exchange::{Counters, Delta, Event, HashRange, Limits, Record, Replica};
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Covers, Time, Version, VersionVector};
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, NodeId};

use crate::model::{Model, Write, actor, after, hash};

pub(crate) struct Node {
    pub(crate) actor: u16,
    pub(crate) model: Model,
    pub(crate) exchange: Exchange,
    pub(crate) journal: Vec<Record>,
    pub(crate) clock: HybridClock,
    /// Own deltas that were not given to the exchange yet.
    pub(crate) held: VecDeque<Delta>,
    pub(crate) events: Vec<Event>,
}

pub(crate) struct Net {
    pub(crate) limits: Limits,
    pub(crate) nodes: Vec<Node>,
    pub(crate) queues: BTreeMap<(usize, usize), VecDeque<Bytes>>,
    pub(crate) may_link: BTreeSet<(usize, usize)>,
    pub(crate) writes: Vec<Write>,
    /// What the writer of each delta had seen.
    pub(crate) seen_before: Vec<(Version, VersionVector)>,
    pub(crate) keys: BTreeSet<u64>,
    pub(crate) actors: u16,
    pub(crate) now: u64,
    /// Counted by exchanges that are gone.
    pub(crate) past: Vec<Counters>,
    /// How many steps left a replica with ranges that are ahead.
    pub(crate) ahead: u64,
    /// The length of the longest message.
    pub(crate) longest: usize,
    /// Whether of a write that nobody holds whole any more something was let go: what a context covers is not all there then.
    pub(crate) let_go: bool,
    /// Whether every step is judged.
    pub(crate) judges: bool,
}

pub(crate) fn tiny() -> Limits {
    Limits { kept_bytes: 700, waiting_bytes: 600, window_bytes: 200, frame_bytes: 300, sessions: 1, leaf_keys: 2 }
}

impl Net {
    pub(crate) fn new(count: usize, links: &[(usize, usize)], limits: Limits) -> Self {
        let nodes = (0..count).map(|place| node(place as u16, Model::default(), &limits)).collect();
        let may_link = links.iter().copied().collect();
        let (queues, keys) = (BTreeMap::new(), BTreeSet::new());
        let mut net = Net {
            limits,
            nodes,
            queues,
            may_link,
            writes: vec![],
            seen_before: vec![],
            keys,
            actors: count as u16,
            now: 1,
            past: vec![],
            longest: 0,
            ahead: 0,
            let_go: false,
            judges: true,
        };
        net.tell_replicas();
        net
    }

    pub(crate) fn full(count: usize) -> Vec<(usize, usize)> {
        (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect()
    }

    pub(crate) fn chain(count: usize) -> Vec<(usize, usize)> {
        (1..count).map(|b| (b - 1, b)).collect()
    }

    pub(crate) fn tell_replicas(&mut self) {
        let replicas = self.nodes.iter().map(|node| actor(node.actor)).collect::<BTreeSet<_>>();
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.exchange.set_replicas(&node.model, replicas.clone());
            self.drain(at);
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant(self.now * 1000)
    }

    /// Takes what an exchange gives out, and judges it.
    pub(crate) fn drain(&mut self, at: usize) {
        self.now += 1;
        let outputs = self.nodes[at].exchange.outputs();
        let actors = self.nodes.iter().map(|node| actor(node.actor)).collect::<BTreeSet<_>>();
        let lets_go = |record: &Record| match record {
            Record::Saw { range, theirs } => *range == HashRange::ALL && theirs.iter().all(|version| !actors.contains(&version.actor())),
            Record::Delta(_) | Record::Joined { .. } => false,
        };
        self.let_go |= outputs.records.iter().any(lets_go);
        self.nodes[at].journal.extend(outputs.records);
        self.nodes[at].events.extend(outputs.events);
        for (to, message) in outputs.messages {
            self.longest = self.longest.max(message.len());
            if let Some(queue) = self.queues.get_mut(&(at, to.0 as usize)) {
                queue.push_back(message);
            }
        }
        self.ahead += u64::from(!self.nodes[at].model.is_even());
        if self.judges {
            self.judge(at);
        }
    }

    fn judge(&self, at: usize) {
        let Node { model, exchange, .. } = &self.nodes[at];
        for key in self.keys.iter().filter(|_| !self.let_go) {
            let expected = after(&self.writes, *key, model.context(hash(*key)));
            let held = model.keys.get(&(hash(*key), *key)).cloned().unwrap_or_default();
            assert_eq!(held, expected, "the state of key {key} at {at} is that of its context");
        }
        assert!(exchange.kept().1 <= self.limits.kept_bytes && exchange.waiting().1 <= self.limits.waiting_bytes);
        assert!(exchange.sessions() <= self.limits.sessions);
        for peer in exchange.peers() {
            let status = exchange.peer(model, peer, self.now()).unwrap();
            assert!(status.in_flight_bytes <= self.limits.window_bytes + self.limits.frame_bytes as u64 + 300, "{status:?}");
        }
        // What is still to come was written by who had seen all that was collected.
        let held = self.nodes.iter().map(|node| node.model.everything()).collect::<Vec<_>>();
        for (version, seen_before) in self.seen_before.iter().filter(|(version, _)| !model.vector.covers(*version)) {
            // Who lost something of its journal may have less, as a new actor.
            let is_new = usize::from(version.actor().place()) >= self.nodes.len();
            let is_lost = !held.iter().any(|held| held.covers(*version));
            assert!(
                is_new || is_lost || seen_before.includes(&model.collected),
                "{at} has collected {:?}, and {version:?} is to come",
                model.collected
            );
        }
        for node in self.nodes.iter().filter(|node| usize::from(node.actor) < self.nodes.len()) {
            assert!(node.model.vector.includes(&model.collected), "what is collected is stable");
        }
    }

    /// Writes in one turn; the exchange gets it when it is released.
    pub(crate) fn write(&mut self, at: usize, changes: &[(u64, bool)]) {
        let node = &mut self.nodes[at];
        let dependencies = node.model.everything();
        let mut writes = Vec::new();
        for (key, adds) in changes {
            let time = node.clock.tick(Time::at_unix_ms(Time::EPOCH_MS + self.now)).unwrap();
            writes.push(node.model.write(Version::new(time, actor(node.actor)), *key, *adds));
            self.keys.insert(*key);
        }
        let last = writes.last().unwrap().version.time();
        self.seen_before.push((Version::new(last, actor(node.actor)), dependencies.clone()));
        let delta = Delta { writer: actor(node.actor), last, dependencies, body: writes.to_wire().into() };
        node.journal.push(Record::Delta(delta.clone()));
        node.held.push_back(delta);
        self.writes.extend(writes);
    }

    pub(crate) fn release(&mut self, at: usize) {
        let now = self.now();
        let node = &mut self.nodes[at];
        while let Some(delta) = node.held.pop_front() {
            node.exchange.turn_ended(&node.model, delta, now);
        }
        self.drain(at);
    }

    pub(crate) fn link(&mut self, a: usize, b: usize) {
        if !self.may_link.contains(&(a.min(b), a.max(b))) || self.queues.contains_key(&(a, b)) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            self.queues.insert((from, to), VecDeque::new());
            let node = &mut self.nodes[from];
            node.exchange.connected(&node.model, NodeId(to as u64));
        }
        self.drain(a);
        self.drain(b);
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if self.queues.remove(&(from, to)).is_some() {
                self.nodes[from].exchange.disconnected(NodeId(to as u64));
                self.drain(from);
            }
        }
    }

    pub(crate) fn tick(&mut self, at: usize) {
        let now = self.now();
        let node = &mut self.nodes[at];
        node.exchange.tick(&mut node.model, now);
        self.drain(at);
    }

    /// Hands over the next message from one to another.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.queues.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return false };
        let now = self.now();
        let node = &mut self.nodes[to];
        node.exchange.receive(&mut node.model, NodeId(from as u64), message, now).unwrap();
        let heard = node.model.everything().iter().map(Version::time).max().unwrap_or_default();
        node.clock.heard(heard);
        self.drain(to);
        true
    }

    /// Hands over messages until there are none.
    pub(crate) fn deliver_all(&mut self) {
        let mut budget = 200_000;
        while let Some((from, to)) = self.queues.iter().find(|(_, queue)| !queue.is_empty()).map(|(link, _)| *link) {
            self.deliver(from, to);
            budget -= 1;
            assert!(budget > 0, "they never come to an end");
        }
    }

    /// A process ends and begins again with its journal, the last `lost` records of which are gone. Whoever lost some is another actor.
    pub(crate) fn restart(&mut self, at: usize, lost: usize) {
        let place = if lost > 0 { self.actors } else { self.nodes[at].actor };
        self.actors += u16::from(lost > 0);
        self.restart_as(at, lost, place);
    }

    pub(crate) fn restart_as(&mut self, at: usize, lost: usize, place: u16) {
        for other in 0..self.nodes.len() {
            self.cut(at, other);
        }
        self.past.push(self.nodes[at].exchange.counters());
        let mut journal = std::mem::take(&mut self.nodes[at].journal);
        let lost = lost.min(journal.len());
        journal.truncate(journal.len() - lost);
        let mut fresh = node(place, Model::default(), &self.limits);
        for record in &journal {
            let record = Record::from_wire(record.to_wire().into()).unwrap();
            fresh.exchange.replay(&mut fresh.model, record, Instant(self.now * 1000)).unwrap();
        }
        fresh.clock.heard(fresh.model.everything().iter().map(Version::time).max().unwrap_or_default());
        fresh.journal = journal;
        self.nodes[at] = fresh;
        self.tell_replicas();
    }

    pub(crate) fn agree(&self) -> bool {
        let first = &self.nodes[0].model;
        self.nodes.iter().all(|node| node.model.is_even() && node.model.vector == first.vector && node.model.shown() == first.shown())
    }

    pub(crate) fn link_all(&mut self) {
        for (a, b) in self.may_link.clone() {
            self.link(a, b);
        }
    }

    pub(crate) fn tick_all(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.tick(at));
    }

    /// Bytes on their way.
    pub(crate) fn under_way(&self, from: usize, to: usize) -> usize {
        self.queues.get(&(from, to)).map_or(0, |queue| queue.iter().map(Bytes::len).sum())
    }

    /// All connections stand; then all are equal after some rounds, and to what the writes that were not lost make.
    pub(crate) fn heal(&mut self) {
        self.link_all();
        for at in 0..self.nodes.len() {
            self.release(at);
        }
        for round in 0.. {
            self.deliver_all();
            if self.agree() {
                break;
            }
            assert!(
                round < 200,
                "they do not agree after {round} rounds: {:?}",
                self.nodes.iter().map(|node| &node.model.vector).collect::<Vec<_>>()
            );
            self.tick_all();
        }
        for (at, node) in self.nodes.iter().enumerate() {
            self.judge(at);
            assert!(!node.exchange.is_fenced(), "{:?}", node.events);
            assert!(!node.events.iter().any(|event| matches!(event, Event::Diverged(_) | Event::Refused(_) | Event::Stranger(..))));
            assert!(self.held_lost(node), "a write that was not lost has not come");
        }
        let counters = self.counters();
        assert_eq!((counters.deltas_refused, counters.messages_refused, counters.sessions_short, counters.divergences), (0, 0, 0, 0));
    }

    /// Whether all writes of the actors that are there have been seen.
    fn held_lost(&self, node: &Node) -> bool {
        let actors = self.nodes.iter().map(|node| actor(node.actor)).collect::<BTreeSet<_>>();
        self.writes.iter().filter(|write| actors.contains(&write.version.actor())).all(|write| node.model.vector.covers(write.version))
    }

    pub(crate) fn counters(&self) -> Counters {
        let all = self.nodes.iter().map(|node| node.exchange.counters()).chain(self.past.iter().copied());
        all.fold(Counters::default(), |sum, one| Counters {
            deltas_sent: sum.deltas_sent + one.deltas_sent,
            deltas_applied: sum.deltas_applied + one.deltas_applied,
            deltas_known: sum.deltas_known + one.deltas_known,
            deltas_dropped: sum.deltas_dropped + one.deltas_dropped,
            deltas_refused: sum.deltas_refused + one.deltas_refused,
            messages_refused: sum.messages_refused + one.messages_refused,
            sessions_begun: sum.sessions_begun + one.sessions_begun,
            sessions_ended: sum.sessions_ended + one.sessions_ended,
            sessions_short: sum.sessions_short + one.sessions_short,
            divergences: sum.divergences + one.divergences,
            bytes_sent: sum.bytes_sent + one.bytes_sent,
            messages_sent: sum.messages_sent + one.messages_sent,
            ranges_compared: sum.ranges_compared + one.ranges_compared,
            ranges_joined: sum.ranges_joined + one.ranges_joined,
            ..sum
        })
    }
}

fn node(place: u16, model: Model, limits: &Limits) -> Node {
    let exchange = Exchange::new(actor(place), limits.clone(), &model);
    Node { actor: place, model, exchange, journal: vec![], clock: HybridClock::default(), held: VecDeque::new(), events: vec![] }
}

/// A replica writes keys, each in a turn of its own.
pub(crate) fn offline(net: &mut Net, at: usize, keys: std::ops::Range<u64>) {
    for key in keys {
        net.write(at, &[(key, true)]);
        net.release(at);
    }
}

/// Replicas whose connections stand, and who know of them.
pub(crate) fn quiet(count: usize, links: &[(usize, usize)], limits: Limits) -> Net {
    let mut net = Net::new(count, links, limits);
    net.link_all();
    for _ in 0..2 {
        net.deliver_all();
        net.tick_all();
    }
    net.deliver_all();
    net
}
