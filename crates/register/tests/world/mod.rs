//! Nodes with acceptors and proposers in a network that loses, repeats and delays, with crashes, removals, and replicas that change.

pub mod history;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Time, Version};
use steadfast_register::acceptor::Acceptor;
use steadfast_register::message::{Answered, Asked, Record};
use steadfast_register::proposer::{Change, Functions, GivenUp, Output, Proposer, RequestNumber};
use steadfast_register::quorum::Replicas;
use steadfast_register::removal::{self, Ask, Progress, Removal, Said};
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};

use history::{Answer, Call, Operation};

/// The one key. Others are like it.
pub const KEY: Bytes = Bytes::from_static(b"k");

/// Replicas move from the first to the second.
const OLD: [u64; 3] = [1, 2, 3];
const NEW: [u64; 3] = [2, 3, 4];

#[derive(Clone, Debug)]
enum Message {
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
        // A request that only spreads what is there has no operation.
        let change = self.of.get(&request).and_then(|operation| operation.apply(value));
        (change.map_or(Change::Keep, Change::Write), value.cloned())
    }
}

struct Node {
    acceptor: Acceptor,
    records: Vec<Record>,
    proposer: Proposer<Answer>,
    actor: Actor,
    replicas: Replicas,
    removal: Option<(u64, Removal)>,
    /// Its wall clock is so far ahead, milliseconds.
    ahead: u64,
}

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: f64,
    pub repetition: f64,
    pub crashes: bool,
    pub moves: bool,
    pub removals: bool,
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
    epoch: u64,
    /// The request that has seen the value through quorums of both sets.
    carried: Option<RequestNumber>,
    is_carried: bool,
    faults: Faults,
    actors: u16,
    pub removed: u64,
    next_removal: u64,
}

fn replicas(epoch: u64) -> Replicas {
    let set = |nodes: [u64; 3]| nodes.into_iter().map(NodeId).collect();
    match epoch {
        1 => Replicas { epoch, current: set(OLD), next: None, everyone: false },
        2 => Replicas { epoch, current: set(OLD), next: Some(set(NEW)), everyone: false },
        _ => Replicas { epoch, current: set(NEW), next: None, everyone: false },
    }
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut world = Self {
            rng: Rng::with_seed(seed),
            nodes: BTreeMap::new(),
            flying: Vec::new(),
            calls: Vec::new(),
            operations: Operations::default(),
            now: Instant(1_000_000),
            step: 0,
            epoch: 1,
            carried: None,
            is_carried: false,
            faults,
            actors: 0,
            removed: 0,
            next_removal: 0,
        };
        for id in 1..=4 {
            let (proposer, actor) = world.proposer();
            let ahead = world.rng.u64(0..1_000);
            let node =
                Node { acceptor: Acceptor::default(), records: Vec::new(), proposer, actor, replicas: replicas(1), removal: None, ahead };
            world.nodes.insert(NodeId(id), node);
        }
        world
    }

    fn proposer(&mut self) -> (Proposer<Answer>, Actor) {
        self.actors += 1;
        let actor = Actor::new(self.actors).unwrap();
        (Proposer::new(actor, HybridClock::default(), Rng::with_seed(self.rng.u64(..))), actor)
    }

    fn times(&self, node: NodeId) -> (Instant, Time) {
        (self.now, Time::at_unix_ms(Time::EPOCH_MS + self.now.0 / 1_000 + self.nodes[&node].ahead))
    }

    fn some_node(&mut self) -> NodeId {
        NodeId(self.rng.u64(1..=4))
    }

    pub fn call(&mut self, operation: Operation) {
        let node = self.some_node();
        let request = self.calls.len() as u64;
        self.operations.of.insert(request, operation);
        self.step += 1;
        self.calls.push(Call { operation, began: self.step, ended: None, void: false });
        self.ask(node, request, operation == Operation::Read);
    }

    fn ask(&mut self, at: NodeId, request: RequestNumber, reads: bool) {
        let times = self.times(at);
        let node = self.nodes.get_mut(&at).unwrap();
        let replicas = node.replicas.clone();
        let outputs = node.proposer.ask(times, request, &KEY, &replicas, reads, &mut self.operations);
        self.take(at, outputs);
    }

    fn take(&mut self, at: NodeId, outputs: Vec<Output<Answer>>) {
        for output in outputs {
            self.step += 1;
            match output {
                Output::Send(to, asked) => self.flying.push((at, to, Message::Asked(asked))),
                Output::Done(request, answer) => {
                    if let Some(call) = self.calls.get_mut(request as usize) {
                        assert!(call.ended.is_none(), "{call:?} ends twice");
                        call.ended = Some((self.step, answer));
                    }
                    self.is_carried |= self.carried == Some(request);
                }
                Output::Moved { request, tried, .. } => {
                    let node = self.nodes.get_mut(&at).unwrap();
                    node.replicas = replicas(self.epoch);
                    match self.calls.get(request as usize).map(|call| call.operation) {
                        Some(operation) if !tried => self.ask(at, request, operation == Operation::Read),
                        Some(_) => {}
                        None if self.carried == Some(request) => self.carried = None,
                        None => {}
                    }
                }
                Output::Busy(_) | Output::Beaten(_) => {}
            }
        }
    }

    /// One thing happens.
    pub fn happen(&mut self) {
        match self.rng.u8(0..100) {
            0..=69 => self.deliver(),
            70..=84 => {
                let ms = self.rng.u64(0..20);
                self.pass(Duration::from_millis(ms));
            }
            85..=86 => self.pass(Duration::from_millis(300)),
            87..=89 if self.faults.crashes => self.crash(),
            90..=93 if self.faults.moves => self.change_replicas(),
            94..=96 if self.faults.removals => self.begin_removal(),
            97 => self.give_up(),
            98 => self.forget_promises(),
            _ => self.deliver(),
        }
    }

    fn deliver(&mut self) {
        if self.flying.is_empty() {
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
        let node = self.nodes.get_mut(&to).unwrap();
        match message {
            Message::Asked(asked) => {
                let (record, answered) = node.acceptor.receive(asked);
                node.records.extend(record);
                self.flying.push((to, from, Message::Answered(answered)));
            }
            Message::Answered(answered) => {
                let outputs = node.proposer.receive(times, from, answered, &mut self.operations);
                self.take(to, outputs);
            }
            Message::Ask(number, ask) => {
                let (records, said) = removal::answer(ask, &mut node.acceptor);
                self.removed += records.len() as u64;
                node.records.extend(records);
                self.flying.push((to, from, Message::Said(number, said)));
            }
            Message::Said(number, said) => {
                let Some((_, removal)) = node.removal.as_mut().filter(|(own, _)| *own == number) else { return };
                let progress = removal.receive(from, said);
                self.go_on_removing(to, progress);
            }
        }
    }

    fn go_on_removing(&mut self, at: NodeId, progress: Progress) {
        let node = self.nodes.get_mut(&at).unwrap();
        match progress {
            Progress::Ask(nodes, ask) => {
                let number = node.removal.as_ref().unwrap().0;
                self.flying.extend(nodes.into_iter().map(|to| (at, to, Message::Ask(number, ask.clone()))));
            }
            Progress::Over { spread } => {
                node.removal = None;
                if !spread.is_empty() {
                    let request = 1_000_000 + self.rng.u64(0..1_000_000);
                    let (times, everyone) = (self.times(at), Replicas { everyone: true, ..self.nodes[&at].replicas.clone() });
                    let proposer = &mut self.nodes.get_mut(&at).unwrap().proposer;
                    let outputs = proposer.ask(times, request, &KEY, &everyone, false, &mut self.operations);
                    self.take(at, outputs);
                }
            }
        }
    }

    fn begin_removal(&mut self) {
        let at = self.some_node();
        self.next_removal += 1;
        let removal = Removal::new(vec![KEY], replicas(self.epoch).all().into_iter().collect());
        let progress = removal.progress();
        self.nodes.get_mut(&at).unwrap().removal = Some((self.next_removal, removal));
        self.go_on_removing(at, progress);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let times = self.times(id);
            let outputs = self.nodes.get_mut(&id).unwrap().proposer.tick(times, &mut self.operations);
            self.take(id, outputs);
        }
    }

    /// A node loses everything but its records, and begins again as another actor.
    fn crash(&mut self) {
        let id = self.some_node();
        let (proposer, actor) = self.proposer();
        let node = self.nodes.get_mut(&id).unwrap();
        if self.rng.bool() {
            // Its log was cut meanwhile.
            node.records = node.acceptor.records().collect();
        }
        node.acceptor = Acceptor::restore(node.records.iter().cloned());
        (node.proposer, node.actor, node.removal) = (proposer, actor, None);
        self.flying.retain(|(from, ..)| *from != id || self.rng.bool());
        if self.carried.is_some() && !self.is_carried {
            self.carried = None;
        }
    }

    /// A step of the change of replicas, or of its getting around.
    fn change_replicas(&mut self) {
        let id = self.some_node();
        let epoch = self.epoch;
        if self.rng.bool() {
            // One more node hears of it.
            let node = self.nodes.get_mut(&id).unwrap();
            let record = node.acceptor.enter(epoch);
            node.records.extend(record);
            node.replicas = replicas(epoch);
            return;
        }
        let refuse_before: BTreeSet<NodeId> =
            self.nodes.iter().filter(|(_, node)| node.acceptor.epoch() >= epoch).map(|(id, _)| *id).collect();
        match epoch {
            1 => self.epoch = 2,
            2 if self.is_carried && replicas(2).is_quorum(&refuse_before) => self.epoch = 3,
            2 if self.carried.is_none() && self.nodes[&id].replicas.epoch == 2 => {
                let request = 2_000_000 + self.rng.u64(0..1_000_000);
                self.carried = Some(request);
                self.ask(id, request, false);
            }
            _ => {}
        }
    }

    fn give_up(&mut self) {
        let open: Vec<usize> = (0..self.calls.len()).filter(|at| self.calls[*at].ended.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let at = open[self.rng.usize(0..open.len())];
        for node in self.nodes.values_mut() {
            if node.proposer.give_up(at as u64) == Some(GivenUp::NotBegun) {
                self.calls[at].void = true;
            }
        }
    }

    fn forget_promises(&mut self) {
        let id = self.some_node();
        let before = Version::new(self.times(id).1, Actor::default());
        let node = self.nodes.get_mut(&id).unwrap();
        let records = node.acceptor.forget_promises(before, 10);
        node.records.extend(records);
    }

    /// Nothing goes wrong any more; whoever waits is answered. Gives what is there in the end.
    pub fn heal(&mut self) -> Answer {
        (self.faults.loss, self.faults.repetition) = (0.0, 0.0);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let node = self.nodes.get_mut(&id).unwrap();
            node.replicas = replicas(self.epoch);
        }
        let last = self.calls.len();
        self.call(Operation::Read);
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

    /// How many replicas still hold anything of the key.
    pub fn holders(&self) -> usize {
        self.nodes.values().filter(|node| node.acceptor.registers_from(&KEY).count() > 0).count()
    }

    /// A whole removal, with nothing in its way.
    pub fn remove(&mut self) {
        for _ in 0..4 {
            self.begin_removal();
            while !self.is_quiet() {
                self.deliver();
            }
        }
    }
}
