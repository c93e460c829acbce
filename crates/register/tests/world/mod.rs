//! Nodes with acceptors and proposers in a network that loses, repeats and delays, with crashes, removals, and replicas that change. A world is a function of
//! its seed and its faults.

pub mod history;
mod node;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Time, Version};
use steadfast_register::message::{Answered, Asked};
use steadfast_register::proposer::{Change, Functions, GivenUp, Output, RequestNumber};
use steadfast_register::quorum::Replicas;
use steadfast_register::removal::{self, Ask, Progress, Removal, Said};
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};

use history::{Answer, Call, Operation, is_linearizable};
use node::Node;

/// The keys. What is promised for one that was removed holds for the other.
pub const KEYS: [&[u8]; 2] = [b"a", b"b"];

const NODES: u64 = 5;

/// Requests from this number on are no clients': they keep what is there.
const KEEPING: RequestNumber = 1_000_000;

#[derive(Clone, Debug)]
pub enum Message {
    Asked(Asked),
    Answered(Answered),
    Ask(u64, Ask),
    Said(u64, Said),
}

/// What the functions of requests are.
#[derive(Default)]
struct Operations {
    of: BTreeMap<RequestNumber, Operation>,
}

impl Functions for Operations {
    type Answer = Answer;

    fn apply(&mut self, request: RequestNumber, value: Option<&Bytes>) -> (Change, Answer) {
        let change = self.of.get(&request).and_then(|operation| operation.apply(value));
        (change.map_or(Change::Keep, Change::Write), value.cloned())
    }
}

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: f64,
    pub repetition: f64,
    pub crashes: bool,
    pub moves: bool,
    pub removals: bool,
    /// Records become durable later than they are written.
    pub slow_disks: bool,
}

impl Faults {
    /// Everything at once, with as much loss and repetition as the seed says.
    pub fn all(seed: u64) -> Self {
        let (loss, repetition) = ((seed % 4) as f64 * 0.08, (seed / 4 % 3) as f64 * 0.1);
        Self { loss, repetition, crashes: true, moves: true, removals: true, slow_disks: !seed.is_multiple_of(3) }
    }
}

/// How a world leans, drawn from its seed: what needs several rare things at once is common in some worlds.
#[derive(Clone, Copy, Debug)]
struct Temper {
    /// Calls come to so many nodes.
    callers: u64,
    /// So many more deletions, against ten other calls.
    deletions: u8,
    /// Up to so many things happen between two calls.
    pause: usize,
    /// How often what happens, in the order of [`World::happen`].
    weights: [u32; 9],
}

impl Temper {
    fn new(faults: Faults, rng: &mut Rng) -> Self {
        let mut often = |is_on: bool, most| if is_on { rng.u32(1..=most) } else { 0 };
        let weights =
            [70, 4, 12, 2, often(faults.crashes, 6), often(faults.moves, 20), often(faults.removals, 12), often(true, 3), often(true, 3)];
        Self { callers: rng.u64(1..=NODES), deletions: rng.u8(0..12), pause: [15, 60, 60, 120][rng.usize(0..4)], weights }
    }
}

/// A key on its way from one set of replicas to the next one.
#[derive(Clone, Copy, Debug, Default)]
struct Carrying {
    /// The request that sees the value through quorums of both sets, and the node that carries it.
    request: Option<(RequestNumber, NodeId)>,
    is_done: bool,
}

pub struct World {
    pub rng: Rng,
    nodes: BTreeMap<NodeId, Node>,
    /// In flight: from, to.
    flying: Vec<(NodeId, NodeId, Message)>,
    pub calls: Vec<Call>,
    operations: Operations,
    now: Instant,
    step: u64,
    /// The sets of replicas, one after the other.
    sets: Vec<BTreeSet<NodeId>>,
    epoch: u64,
    carrying: [Carrying; KEYS.len()],
    faults: Faults,
    temper: Temper,
    actors: u16,
    /// No clock ever showed more.
    horizon: Time,
    next_number: u64,
    /// Registers that were removed at some replica.
    pub removed: u64,
}

fn key(at: usize) -> Bytes {
    Bytes::from_static(KEYS[at])
}

/// The replicas of an epoch: a set alone, then with the next one, then the next one alone.
fn replicas(sets: &[BTreeSet<NodeId>], epoch: u64) -> Replicas {
    let at = (epoch as usize - 1) / 2;
    Replicas { epoch, current: sets[at].clone(), next: epoch.is_multiple_of(2).then(|| sets[at + 1].clone()), everyone: false }
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::with_seed(seed);
        let set = |rng: &mut Rng| {
            let size = [1, 2, 3, 3, 3, 4][rng.usize(0..6)];
            let mut ids: Vec<NodeId> = (1..=NODES).map(NodeId).collect();
            rng.shuffle(&mut ids);
            ids.into_iter().take(size).collect::<BTreeSet<_>>()
        };
        let mut sets: Vec<_> = (0..if faults.moves { 9 } else { 1 }).map(|_| set(&mut rng)).collect();
        if !faults.moves && rng.bool() {
            sets[0] = (1..=3).map(NodeId).collect();
        }
        let first = replicas(&sets, 1);
        let nodes = (1..=NODES).map(|id| (NodeId(id), Node::new(Actor::new(id as u16).unwrap(), first.clone(), &mut rng))).collect();
        let temper = Temper::new(faults, &mut rng);
        let mut world = Self {
            rng,
            nodes,
            flying: Vec::new(),
            calls: Vec::new(),
            operations: Operations::default(),
            now: Instant(1_000_000),
            step: 0,
            sets,
            epoch: 1,
            carrying: Default::default(),
            faults,
            temper,
            actors: NODES as u16,
            horizon: Time::default(),
            next_number: KEEPING,
            removed: 0,
        };
        (1..=NODES).for_each(|id| world.enter(NodeId(id), 1));
        world
    }

    /// A run: random calls among random happenings, then peace.
    pub fn run(seed: u64, faults: Faults, calls: u8) -> Self {
        let mut world = Self::new(seed, faults);
        for number in 0..calls {
            let operation = match world.rng.u8(0..10 + world.temper.deletions) {
                0..=2 => Operation::Read,
                3..=5 => Operation::Append(number),
                6..=7 => Operation::SetIfAbsent(number),
                _ => Operation::Delete,
            };
            let at = usize::from(world.rng.u8(0..4) == 0);
            world.call(at, operation);
            for _ in 0..world.rng.usize(0..world.temper.pause) {
                world.happen();
            }
        }
        (0..KEYS.len()).for_each(|at| drop(world.heal(at)));
        world
    }

    /// The epoch that it has come to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the calls of each key can have happened one after the other.
    pub fn is_explained(&self) -> bool {
        (0..KEYS.len()).all(|at| is_linearizable(self.calls.iter().filter(|call| call.key == at)))
    }

    fn times(&self, node: NodeId) -> (Instant, Time) {
        (self.now, Time::at_unix_ms(Time::EPOCH_MS + self.now.0 / 1_000 + self.nodes[&node].ahead))
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("it is one of the nodes")
    }

    fn some_node(&mut self) -> NodeId {
        NodeId(self.rng.u64(1..=NODES))
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub fn call(&mut self, at: usize, operation: Operation) {
        let node = NodeId(self.rng.u64(1..=self.temper.callers));
        let request = self.calls.len() as u64;
        self.operations.of.insert(request, operation);
        self.step += 1;
        self.calls.push(Call { key: at, operation, began: self.step, ended: None, void: false });
        self.ask(node, request, at, &self.nodes[&node].replicas.clone());
    }

    fn ask(&mut self, id: NodeId, request: RequestNumber, at: usize, replicas: &Replicas) {
        let times = self.times(id);
        let reads = self.operations.of.get(&request) == Some(&Operation::Read);
        let proposer = &mut self.nodes.get_mut(&id).unwrap().proposer;
        let outputs = proposer.ask(times, request, &key(at), replicas, reads, &mut self.operations);
        self.take(id, outputs);
    }

    fn take(&mut self, id: NodeId, outputs: Vec<Output<Answer>>) {
        for output in outputs {
            self.step += 1;
            match output {
                Output::Send(to, asked) => self.flying.push((id, to, Message::Asked(asked))),
                Output::Done(request, answer) => {
                    if let Some(call) = self.calls.get_mut(request as usize) {
                        assert!(call.ended.is_none() && !call.void, "{call:?} ends twice");
                        call.ended = Some((self.step, answer));
                    }
                    let carried = self.carrying.iter_mut().find(|carrying| carrying.request.is_some_and(|(own, _)| own == request));
                    carried.into_iter().for_each(|carrying| carrying.is_done = true);
                }
                Output::Moved { key, .. } => self.renew(id, &key),
                Output::Busy(_) | Output::Beaten(_) => {}
            }
        }
    }

    /// A node goes on with the replicas that a key has now.
    fn renew(&mut self, id: NodeId, key: &Bytes) {
        let (now, times) = (replicas(&self.sets, self.epoch), self.times(id));
        self.node(id).replicas = now.clone();
        let proposer = &mut self.nodes.get_mut(&id).unwrap().proposer;
        let outputs = proposer.renew(times, key, &now, &mut self.operations);
        self.take(id, outputs);
    }

    /// One thing happens.
    pub fn happen(&mut self) {
        let mut draw = self.rng.u32(0..self.temper.weights.iter().sum());
        let drawn = self.temper.weights.iter().position(|weight| {
            let is_drawn = draw < *weight;
            draw = draw.saturating_sub(*weight);
            is_drawn
        });
        match drawn {
            Some(1) => {
                let (id, records) = (self.some_node(), self.rng.usize(0..4));
                self.sync(id, records);
            }
            Some(2) => {
                let ms = self.rng.u64(0..20);
                self.pass(Duration::from_millis(ms));
            }
            Some(3) => self.pass(Duration::from_millis(300)),
            Some(4) => self.crash(),
            Some(5) => self.change_replicas(),
            Some(6) => self.begin_removal(),
            Some(7) => self.give_up(),
            Some(8) => self.forget_promises(),
            _ => self.deliver(),
        }
    }

    fn deliver(&mut self) {
        if self.flying.is_empty() {
            (1..=NODES).for_each(|id| self.sync(NodeId(id), usize::MAX));
            return self.pass(Duration::from_millis(5));
        }
        let (from, to, message) = self.flying.swap_remove(self.rng.usize(0..self.flying.len()));
        if self.rng.f64() < self.faults.loss {
            return;
        }
        if self.rng.f64() < self.faults.repetition {
            self.flying.push((from, to, message.clone()));
        }
        self.hear(from, to, message);
    }

    fn hear(&mut self, from: NodeId, to: NodeId, message: Message) {
        let times = self.times(to);
        match message {
            Message::Asked(asked) => {
                if asked.epoch > self.nodes[&to].acceptor.epoch() && self.rng.bool() {
                    self.enter(to, asked.epoch);
                }
                let node = self.node(to);
                if let Some((record, answered)) = node.acceptor.receive(asked) {
                    node.write(record);
                    node.answer(from, Message::Answered(answered));
                }
            }
            Message::Answered(answered) => {
                let proposer = &mut self.nodes.get_mut(&to).unwrap().proposer;
                let outputs = proposer.receive(times, from, answered, &mut self.operations);
                self.take(to, outputs);
            }
            Message::Ask(number, ask) => {
                let node = self.node(to);
                if let Some((records, said)) = removal::answer(ask, &mut node.acceptor) {
                    let removed = records.len() as u64;
                    node.write(records);
                    node.answer(from, Message::Said(number, said));
                    self.removed += removed;
                }
            }
            Message::Said(number, said) => {
                let Some((_, removal)) = self.node(to).removal.as_mut().filter(|(own, _)| *own == number) else { return };
                let progress = removal.receive(from, said);
                self.go_on_removing(to, progress);
            }
        }
        if !self.faults.slow_disks {
            self.sync(to, usize::MAX);
        }
    }

    /// Some of what a node wrote becomes durable.
    fn sync(&mut self, id: NodeId, records: usize) {
        let answers = self.node(id).sync(records);
        self.flying.extend(answers.into_iter().map(|(to, message)| (id, to, message)));
    }

    fn enter(&mut self, id: NodeId, epoch: u64) {
        let sets = self.sets.clone();
        self.node(id).enter(id, epoch, |epoch| replicas(&sets, epoch));
    }

    fn go_on_removing(&mut self, id: NodeId, progress: Progress) {
        match progress {
            Progress::Ask(nodes, ask) => {
                let number = self.nodes[&id].removal.as_ref().unwrap().0;
                self.flying.extend(nodes.into_iter().map(|to| (id, to, Message::Ask(number, ask.clone()))));
            }
            Progress::Over { spread } => {
                self.node(id).removal = None;
                for at in (0..KEYS.len()).filter(|at| spread.contains(&key(*at))) {
                    let everyone = Replicas { everyone: true, ..self.nodes[&id].replicas.clone() };
                    let request = self.number();
                    self.ask(id, request, at, &everyone);
                }
            }
        }
    }

    fn begin_removal(&mut self) {
        let (id, number) = (self.some_node(), self.number());
        let removal = Removal::new((0..KEYS.len()).map(key).collect(), &self.nodes[&id].replicas);
        let progress = removal.progress();
        self.node(id).removal = Some((number, removal));
        self.go_on_removing(id, progress);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for id in (1..=NODES).map(NodeId) {
            let times = self.times(id);
            self.horizon = self.horizon.max(times.1);
            let outputs = self.nodes.get_mut(&id).unwrap().proposer.tick(times, &mut self.operations);
            self.take(id, outputs);
        }
    }

    /// A node begins again: as another actor, or with a clock that is later than all it gave.
    fn crash(&mut self) {
        let (id, mut clock) = (self.some_node(), HybridClock::default());
        let actor = match self.rng.bool() {
            true => {
                self.horizon = Time::at_unix_ms(self.horizon.unix_ms() + 10);
                clock.heard(self.horizon);
                id.0 as u16
            }
            false => {
                self.actors += 1;
                self.actors
            }
        };
        let node = self.nodes.get_mut(&id).unwrap();
        node.crash((Actor::new(actor).unwrap(), clock), &mut self.rng);
        self.flying.retain(|(from, ..)| *from != id || self.rng.bool());
        for carrying in self.carrying.iter_mut().filter(|carrying| !carrying.is_done) {
            carrying.request = carrying.request.filter(|(_, node)| *node != id);
        }
    }

    /// A step of the change of replicas, or of its getting around.
    fn change_replicas(&mut self) {
        let (id, epoch) = (self.some_node(), self.epoch);
        if self.rng.u8(0..3) == 0 {
            // One more node hears of it.
            self.node(id).replicas = replicas(&self.sets, epoch);
            if self.rng.bool() {
                self.enter(id, epoch);
            }
            if self.rng.bool() {
                (0..KEYS.len()).for_each(|at| self.renew(id, &key(at)));
            }
            return;
        }
        let is_joint = epoch.is_multiple_of(2);
        if !is_joint && (epoch as usize) < 2 * self.sets.len() - 1 || is_joint && self.carrying.iter().all(|carrying| carrying.is_done) {
            self.epoch += 1;
            self.carrying = Default::default();
        } else if is_joint {
            let at = self.rng.usize(0..KEYS.len());
            if self.carrying[at].is_done || self.carrying[at].request.is_some() && self.rng.u8(0..8) > 0 {
                return;
            }
            let (request, now) = (self.number(), replicas(&self.sets, epoch));
            self.carrying[at].request = Some((request, id));
            self.ask(id, request, at, &now);
        }
    }

    fn give_up(&mut self) {
        let open: Vec<usize> = (0..self.calls.len()).filter(|at| self.calls[*at].ended.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let at = open[self.rng.usize(0..open.len())];
        for node in self.nodes.values_mut() {
            self.calls[at].void |= node.proposer.give_up(at as u64) == Some(GivenUp::NotBegun);
        }
    }

    fn forget_promises(&mut self) {
        let id = self.some_node();
        let before = Version::new(self.times(id).1, Actor::default());
        let node = self.node(id);
        for at in 0..KEYS.len() {
            let record = node.acceptor.forget_promise(&key(at), before);
            node.write(record);
        }
    }

    /// Nothing goes wrong any more; whoever waits is answered. Gives what is there of a key in the end.
    pub fn heal(&mut self, at: usize) -> Answer {
        (self.faults.loss, self.faults.repetition, self.faults.slow_disks) = (0.0, 0.0, false);
        for id in (1..=NODES).map(NodeId) {
            self.node(id).replicas = replicas(&self.sets, self.epoch);
            self.enter(id, self.epoch);
        }
        let last = self.calls.len();
        self.call(at, Operation::Read);
        for _ in 0..100_000 {
            if let Some((_, answer)) = &self.calls[last].ended
                && self.is_quiet()
            {
                return answer.clone();
            }
            self.deliver();
        }
        panic!("nobody gets through in the end: {:?}", self.nodes.values().map(|node| &node.proposer).collect::<Vec<_>>());
    }

    /// Nothing is on its way, and nobody waits for anything.
    fn is_quiet(&self) -> bool {
        self.flying.is_empty() && self.nodes.values().all(|node| node.proposer.wakes() == Instant::NEVER)
    }

    /// How many replicas hold anything of a key.
    pub fn holders(&self, at: usize) -> usize {
        let key = key(at);
        self.nodes.values().filter(|node| node.acceptor.register(&key).is_some()).count()
    }

    /// Whole removals, with nothing in their way.
    pub fn remove(&mut self) {
        for _ in 0..4 {
            self.begin_removal();
            while !self.is_quiet() {
                self.deliver();
            }
        }
    }
}
