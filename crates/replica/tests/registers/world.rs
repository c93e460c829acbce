//! Nodes in a network that loses, repeats and delays, with crashes, partitions, and replicas that change as strong state says. A world is a function of its
//! seed and its faults.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;
use steadfast_replica::registers::{Assignment, Message, Outcome, RequestId};
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, NodeId};

use super::history::{Call, Operation, is_linearizable};
use super::node::{Node, Operations};

pub const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: f64,
    pub repetition: f64,
    pub crashes: bool,
    pub partitions: bool,
    pub moves: bool,
    /// Records become durable later than they are written.
    pub slow_disks: bool,
}

impl Faults {
    /// Everything at once, with as much loss and repetition as the seed says.
    pub fn all(seed: u64) -> Self {
        let (loss, repetition) = ((seed % 4) as f64 * 0.08, (seed / 4 % 3) as f64 * 0.1);
        let slow_disks = !seed.is_multiple_of(3);
        Self { loss, repetition, crashes: true, partitions: seed.is_multiple_of(2), moves: true, slow_disks }
    }
}

/// What happened, to see that worlds are not idle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub done: u64,
    pub nothing: u64,
    pub unknown: u64,
    pub epochs: u64,
    pub carried: u64,
    pub removed: u64,
    pub reads_at_once: u64,
    pub conflicts: u64,
    pub steps: u64,
}

impl Sums {
    pub fn add(&mut self, other: Self) {
        self.done += other.done;
        self.nothing += other.nothing;
        self.unknown += other.unknown;
        self.epochs += other.epochs;
        self.carried += other.carried;
        self.removed += other.removed;
        self.reads_at_once += other.reads_at_once;
        self.conflicts += other.conflicts;
        self.steps += other.steps;
    }
}

pub struct World {
    rng: Rng,
    nodes: BTreeMap<NodeId, Node>,
    flying: Vec<(NodeId, NodeId, Bytes)>,
    /// Pairs that are not connected, the lower one first.
    apart: BTreeSet<(NodeId, NodeId)>,
    /// Strong state.
    decided: Assignment,
    pub calls: Vec<Call>,
    /// Where calls were made that have not ended.
    open: BTreeMap<usize, NodeId>,
    now: Instant,
    step: u64,
    faults: Faults,
    /// A disk that does not get on holds nobody up but those who wait for it.
    has_slow_disks: bool,
    /// How often what happens, in the order of [`World::happen`].
    weights: [u32; 9],
    /// How often which operation is called: reads, appends, conditional writes, deletions.
    operations: [u32; 4],
    pub sums: Sums,
}

fn key(at: usize) -> Bytes {
    Bytes::from_static(KEYS[at])
}

fn draw(rng: &mut Rng, weights: &[u32]) -> usize {
    let mut drawn = rng.u32(0..weights.iter().sum());
    let is_drawn = |weight: &u32| {
        let is_drawn = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        is_drawn
    };
    weights.iter().position(is_drawn).expect("within the sum")
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.u64(3..=5);
        let mut nodes: BTreeMap<NodeId, Node> = (1..=count).map(|id| (NodeId(id), Node::new(NodeId(id), &mut rng))).collect();
        let grain = [1, 100, 20_000][rng.usize(0..3)];
        nodes.values_mut().for_each(|node| node.grain = grain);
        let mut often = |is_on: bool, most| if is_on { rng.u32(1..=most) } else { 0 };
        let weights =
            [70, 4, 12, 2, often(faults.crashes, 5), often(faults.moves, 14), often(true, 8), often(faults.partitions, 4), often(true, 6)];
        let operations = [3, 3, 2, rng.u32(1..8)];
        let has_slow_disks = rng.bool();
        let mut world = Self {
            decided: Assignment::first(BTreeSet::from([NodeId(1)])),
            rng,
            nodes,
            flying: Vec::new(),
            apart: BTreeSet::new(),
            calls: Vec::new(),
            open: BTreeMap::new(),
            now: Instant(1_000_000),
            step: 0,
            faults,
            has_slow_disks,
            weights,
            operations,
            sums: Sums::default(),
        };
        world.decided = Assignment::first(world.some_set());
        let ids: Vec<NodeId> = world.nodes.keys().copied().collect();
        for id in &ids {
            ids.iter().filter(|peer| *peer != id).for_each(|peer| world.nodes.get_mut(id).unwrap().registers.connected(*peer));
            world.tell(*id);
        }
        world
    }

    /// A run: random calls among random happenings, then peace.
    pub fn run(seed: u64, faults: Faults, calls: usize) -> Self {
        let mut world = Self::new(seed, faults);
        let pause = [15, 40, 40, 100][world.rng.usize(0..4)];
        for number in 0..calls {
            let operation = match draw(&mut world.rng, &world.operations) {
                0 => Operation::Read,
                1 => Operation::Append(number as u8),
                2 => Operation::SetIfAbsent(number as u8),
                _ => Operation::Delete,
            };
            let (id, at) = (world.some_node(), draw(&mut world.rng, &[6, 2, 1]));
            let deadline = world.rng.bool().then(|| Duration::from_millis(world.rng.u64(0..20_000)));
            world.call(id, at, operation, deadline);
            for _ in 0..world.rng.usize(0..pause) {
                world.happen();
            }
        }
        world.heal();
        world
    }

    /// Whether the calls of each key can have happened one after the other.
    pub fn is_explained(&self) -> bool {
        (0..KEYS.len()).all(|at| is_linearizable(self.calls.iter().filter(|call| call.key == at)))
    }

    fn some_node(&mut self) -> NodeId {
        NodeId(self.rng.u64(1..=self.nodes.len() as u64))
    }

    fn some_set(&mut self) -> BTreeSet<NodeId> {
        let mut ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.rng.shuffle(&mut ids);
        let size = [1, 2, 3, 3, 3, 4][self.rng.usize(0..6)];
        ids.into_iter().take(size).collect()
    }

    /// Something of a node's machine, and what follows.
    fn turn(&mut self, id: NodeId, act: impl FnOnce(&mut Node)) {
        let unix_ms = 1_800_000_000_000 + self.now.0 / 1_000;
        let node = self.nodes.get_mut(&id).unwrap();
        node.set_now(self.now, unix_ms);
        act(node);
        self.take(id);
        if !self.faults.slow_disks {
            self.nodes.get_mut(&id).unwrap().sync(u64::MAX);
            self.take(id);
        }
    }

    fn take(&mut self, id: NodeId) {
        let outputs = self.nodes.get_mut(&id).unwrap().outputs();
        for (to, message) in outputs.messages {
            assert!(to != id && self.are_connected(id, to));
            self.flying.push((id, to, message));
        }
        for answer in outputs.answers {
            self.step += 1;
            let at = answer.id.0 as usize;
            assert_eq!(self.open.remove(&at), Some(id), "{at} is answered twice, or elsewhere");
            match answer.outcome {
                Outcome::Done(value) => {
                    self.sums.done += 1;
                    self.calls[at].ended = Some((self.step, value));
                }
                Outcome::Nothing(_) => {
                    self.sums.nothing += 1;
                    self.calls[at].void = true;
                }
                Outcome::Unknown { .. } => self.sums.unknown += 1,
            }
        }
        if let Some(epoch) = outputs.carried
            && epoch == self.decided.epoch
            // Strong state may take its time, or lose its quorum: then it is said again.
            && self.rng.u8(0..4) > 0
        {
            self.decided = self.decided.moved().expect("it was one of two sets");
            self.sums.epochs += 1;
        }
    }

    fn are_connected(&self, one: NodeId, other: NodeId) -> bool {
        !self.apart.contains(&(one.min(other), one.max(other)))
    }

    pub fn call(&mut self, id: NodeId, at: usize, operation: Operation, deadline: Option<Duration>) {
        let request = self.calls.len();
        self.step += 1;
        self.calls.push(Call { key: at, operation, began: self.step, ended: None, void: false });
        self.open.insert(request, id);
        let deadline = deadline.map(|after| self.now + after);
        self.turn(id, |node| node.registers.ask(RequestId(request as u64), key(at), operation, deadline, &mut Operations));
    }

    /// One thing happens.
    pub fn happen(&mut self) {
        self.sums.steps += 1;
        match draw(&mut self.rng, &self.weights) {
            0 => self.deliver(),
            1 => {
                let (id, records) = (self.some_node(), self.rng.u64(0..4));
                self.turn(id, |node| node.sync(records));
            }
            2 => {
                let ms = self.rng.u64(0..20);
                self.pass(Duration::from_millis(ms));
            }
            3 => {
                let ms = [300, 300, 1_500, 6_000, 15_000, 70_000][self.rng.usize(0..6)];
                self.pass(Duration::from_millis(ms));
            }
            4 => {
                let id = self.some_node();
                self.crash(id);
            }
            5 => {
                if self.rng.bool() {
                    let next = self.some_set();
                    if let Some(moving) = self.decided.moving(next) {
                        self.decided = moving;
                        self.sums.epochs += 1;
                    }
                } else {
                    let id = self.some_node();
                    self.tell(id);
                }
            }
            6 => {
                let id = self.some_node();
                let seed = self.rng.u64(..);
                self.turn(id, |node| node.checkpoint(&mut Rng::with_seed(seed)));
            }
            7 => {
                let (one, other) = (self.some_node(), self.some_node());
                self.link(one, other, None);
            }
            _ => {
                // A client is gone.
                let open: Vec<(usize, NodeId)> = self.open.iter().map(|(at, id)| (*at, *id)).collect();
                if !open.is_empty() && self.rng.u8(0..4) == 0 {
                    let (at, id) = open[self.rng.usize(0..open.len())];
                    self.open.remove(&at);
                    self.turn(id, |node| node.registers.forget(RequestId(at as u64)));
                }
            }
        }
    }

    /// Connects two nodes or takes them apart, whichever they are not, or as it says.
    fn link(&mut self, one: NodeId, other: NodeId, connect: Option<bool>) {
        let pair = (one.min(other), one.max(other));
        let is_apart = self.apart.contains(&pair);
        if one == other || connect.is_some_and(|connect| connect != is_apart) {
            return;
        }
        if is_apart {
            self.apart.remove(&pair);
            self.turn(one, |node| node.registers.connected(other));
            self.turn(other, |node| node.registers.connected(one));
        } else {
            self.apart.insert(pair);
            self.flying.retain(|(from, to, _)| (*from.min(to), *from.max(to)) != pair);
            self.turn(one, |node| node.registers.disconnected(other));
            self.turn(other, |node| node.registers.disconnected(one));
        }
    }

    /// A node hears what strong state says.
    fn tell(&mut self, id: NodeId) {
        let decided = self.decided.clone();
        self.turn(id, |node| {
            node.knows = decided.epoch;
            node.registers.set_assignment(decided, &mut Operations);
        });
    }

    fn deliver(&mut self) {
        if self.flying.is_empty() {
            let mut ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            if self.faults.slow_disks && self.has_slow_disks {
                self.rng.shuffle(&mut ids);
                ids.truncate(1);
            }
            ids.into_iter().for_each(|id| self.turn(id, |node| node.sync(u64::MAX)));
            return self.pass(Duration::from_millis(5));
        }
        let (from, to, message) = self.flying.swap_remove(self.rng.usize(0..self.flying.len()));
        if self.rng.f64() < self.faults.loss {
            return;
        }
        if self.rng.f64() < self.faults.repetition {
            self.flying.push((from, to, message.clone()));
        }
        assert_eq!(Message::read(message.clone()).map(|read| read.to_wire()).as_deref(), Ok(&message[..]));
        self.turn(to, |node| node.registers.receive(from, message, &mut Operations).expect("a message"));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            if self.nodes[&id].registers.next_deadline() <= self.now {
                self.turn(id, |node| node.registers.tick(&mut Operations));
            }
        }
    }

    fn crash(&mut self, id: NodeId) {
        self.open.retain(|_, node| *node != id);
        let ids: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        self.count(id);
        self.nodes.get_mut(&id).unwrap().crash(&mut self.rng);
        self.flying.retain(|(from, to, _)| *to != id && (*from != id || self.rng.bool()));
        for other in ids {
            if self.are_connected(id, other) {
                self.turn(id, |node| node.registers.connected(other));
            }
        }
        // Its own strong state may be behind, but tells of nothing that was not decided.
        if self.rng.bool() {
            self.tell(id);
        }
    }

    fn count(&mut self, id: NodeId) {
        let counts = self.nodes[&id].registers.counts();
        self.sums.carried += counts.carried;
        self.sums.removed += counts.removed;
        self.sums.reads_at_once += counts.rounds.reads_at_once;
        self.sums.conflicts += counts.rounds.conflicts;
    }

    /// Nothing goes wrong any more: whoever waits is answered, epochs end, and what is deleted is gone.
    pub fn heal(&mut self) {
        (self.faults.loss, self.faults.repetition, self.faults.slow_disks) = (0.0, 0.0, false);
        for (one, other) in self.apart.clone() {
            self.link(one, other, Some(true));
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.settle("requests end, epochs are over", |world| world.open.is_empty() && world.decided.next.is_none());
        for at in 0..KEYS.len() {
            let id = self.some_node();
            self.call(id, at, Operation::Read, None);
        }
        self.settle("reads end", |world| world.open.is_empty());
        for at in 0..KEYS.len() {
            let id = self.some_node();
            self.call(id, at, Operation::Delete, None);
        }
        self.settle("deletions end", |world| world.open.is_empty());
        self.settle("what is deleted is gone", |world| world.nodes.values().all(|node| node.registers.is_empty()));
        // What comes after is as on a key that never was.
        let id = self.some_node();
        self.call(id, 0, Operation::SetIfAbsent(99), None);
        self.settle("a write ends", |world| world.open.is_empty());
        let id = self.some_node();
        self.call(id, 0, Operation::Read, None);
        self.settle("a read ends", |world| world.open.is_empty());
        assert_eq!(self.calls.last().unwrap().ended.as_ref().map(|(_, answer)| answer.as_deref()), Some(Some(&[99][..])));
        for id in ids {
            self.count(id);
            self.nodes.get_mut(&id).unwrap().check_disk(&mut self.rng);
            self.take(id);
        }
    }

    fn settle(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) {
        for _ in 0..40_000 {
            let behind = self.nodes.iter().find(|(_, node)| node.knows < self.decided.epoch).map(|(id, _)| *id);
            match behind {
                Some(id) => self.tell(id),
                None if is_done(self) => return,
                None if self.flying.is_empty() => {
                    let next = self.nodes.values().map(|node| node.registers.next_deadline()).min().unwrap();
                    assert_ne!(next, Instant::NEVER, "{what}: nothing will ever happen");
                    self.pass(next.since(self.now).max(Duration::from_millis(1)));
                }
                None => self.deliver(),
            }
        }
        let left: Vec<&Call> = self.open.keys().map(|at| &self.calls[*at]).collect();
        panic!("not in the end: {what}; {left:#?} {:#?} {:?}", self.decided, self.answerless());
    }

    fn answerless(&self) -> Vec<String> {
        self.nodes.values().map(|node| format!("{:#?}", node.registers)).collect()
    }
}
