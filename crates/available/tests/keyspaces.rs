//! Keyspaces that exchange what they write, in a network that cuts and processes that begin again: in the end they hold the same, and nothing that was counted is missing.

mod common;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use common::{Command, START, actor, commands, run};
use proptest::prelude::*;
use proptest::sample::Index;
use steadfast_available::exchange::{Limits, Record, Replica};
use steadfast_available::{Exchange, Keyspace};
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, NodeId};

#[derive(Clone, Debug)]
enum Step {
    Write(Index, Command),
    /// Adds one to a counter that nobody sets or deletes.
    Count(Index),
    Turn(Index),
    Deliver(Index, Index, usize),
    Link(Index, Index),
    Cut(Index, Index),
    /// A process ends and begins again with all of its journal.
    Restart(Index),
    Tick(Index, u64),
}

struct Node {
    keys: Keyspace,
    exchange: Exchange,
    journal: Vec<Record>,
}

struct Net {
    nodes: Vec<Node>,
    queues: BTreeMap<(usize, usize), VecDeque<Bytes>>,
    limits: Limits,
    now: u64,
    counted: i64,
}

/// The counter's key.
const COUNTER: &[u8] = b"counted";

impl Net {
    fn new(count: usize, limits: Limits) -> Self {
        let mut net = Net { nodes: Vec::new(), queues: BTreeMap::new(), limits, now: START, counted: 0 };
        net.nodes = (0..count).map(|at| net.node(at)).collect();
        (0..count).for_each(|at| net.set_replicas(at));
        net
    }

    fn node(&self, at: usize) -> Node {
        let mut keys = Keyspace::new(actor(at as u16));
        keys.set_now(self.now);
        Node { exchange: Exchange::new(actor(at as u16), self.limits.clone(), &keys), keys, journal: Vec::new() }
    }

    fn set_replicas(&mut self, at: usize) {
        let replicas = (0..self.nodes.len() as u16).map(actor).collect();
        let Node { keys, exchange, .. } = &mut self.nodes[at];
        exchange.set_replicas(keys, replicas);
        self.drain(at);
    }

    fn instant(&self) -> Instant {
        Instant((self.now - START) * 1000)
    }

    fn drain(&mut self, at: usize) {
        let outputs = self.nodes[at].exchange.outputs();
        assert!(outputs.events.is_empty(), "{:?}", outputs.events);
        self.nodes[at].journal.extend(outputs.records);
        for (to, message) in outputs.messages {
            if let Some(queue) = self.queues.get_mut(&(at, to.0 as usize)) {
                queue.push_back(message);
            }
        }
    }

    fn end_turn(&mut self, at: usize) {
        let now = self.instant();
        let Node { keys, exchange, journal } = &mut self.nodes[at];
        while let Some(delta) = keys.take_delta() {
            journal.push(Record::Delta(delta.clone()));
            exchange.turn_ended(keys, delta, now);
        }
        self.drain(at);
    }

    fn link(&mut self, a: usize, b: usize) {
        if a == b || self.queues.contains_key(&(a, b)) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            self.end_turn(from);
            self.queues.insert((from, to), VecDeque::new());
            let Node { keys, exchange, .. } = &mut self.nodes[from];
            exchange.connected(keys, NodeId(to as u64));
            self.drain(from);
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if self.queues.remove(&(from, to)).is_some() {
                self.nodes[from].exchange.disconnected(NodeId(to as u64));
                self.drain(from);
            }
        }
    }

    fn restart(&mut self, at: usize) {
        self.end_turn(at);
        (0..self.nodes.len()).for_each(|other| self.cut(at, other));
        let journal = core::mem::take(&mut self.nodes[at].journal);
        let before = self.nodes[at].keys.canonical();
        let mut fresh = self.node(at);
        for record in &journal {
            let record = Record::from_wire(record.to_wire().into()).unwrap();
            fresh.exchange.replay(&mut fresh.keys, record, self.instant()).unwrap();
        }
        // What was collected is not in the journal; all that is shown is.
        assert_eq!(fresh.keys.len(), self.nodes[at].keys.len());
        assert!(before.len() <= fresh.keys.canonical().len());
        fresh.journal = journal;
        self.nodes[at] = fresh;
        self.set_replicas(at);
    }

    fn tick(&mut self, at: usize, ms: u64) {
        self.now += ms;
        let now = self.now;
        self.nodes.iter_mut().for_each(|node| node.keys.set_now(now));
        self.end_turn(at);
        let now = self.instant();
        let Node { keys, exchange, .. } = &mut self.nodes[at];
        exchange.tick(keys, now);
        self.drain(at);
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.queues.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return false };
        self.end_turn(to);
        let now = self.instant();
        let Node { keys, exchange, .. } = &mut self.nodes[to];
        exchange.receive(keys, NodeId(from as u64), message, now).unwrap();
        self.drain(to);
        true
    }

    fn take(&mut self, step: &Step) {
        let count = self.nodes.len();
        match step {
            Step::Write(at, command) => drop(run(&mut self.nodes[at.index(count)].keys, command)),
            Step::Count(at) => {
                self.nodes[at.index(count)].keys.add_int(COUNTER, 1).unwrap();
                self.counted += 1;
            }
            Step::Turn(at) => self.end_turn(at.index(count)),
            Step::Deliver(from, to, most) => {
                for _ in 0..*most {
                    self.deliver(from.index(count), to.index(count));
                }
            }
            Step::Link(a, b) => self.link(a.index(count), b.index(count)),
            Step::Cut(a, b) => self.cut(a.index(count), b.index(count)),
            Step::Restart(at) => self.restart(at.index(count)),
            Step::Tick(at, ms) => self.tick(at.index(count), *ms),
        }
    }

    fn agree(&self) -> bool {
        let first = &self.nodes[0].keys;
        let as_first = |node: &Node| node.keys.is_even() && node.keys.vector() == first.vector();
        self.nodes.iter().all(as_first) && self.queues.values().all(VecDeque::is_empty)
    }

    /// All are connected until all have seen the same, and have collected what can be.
    fn heal(&mut self) {
        let count = self.nodes.len();
        (0..count).for_each(|at| self.end_turn(at));
        (0..count).for_each(|a| (a + 1..count).for_each(|b| self.link(a, b)));
        let mut rounds = 0;
        let mut agreed = 0;
        while agreed < 8 {
            while let Some((from, to)) = self.queues.iter().find(|(_, queue)| !queue.is_empty()).map(|(link, _)| *link) {
                self.deliver(from, to);
            }
            agreed = if self.agree() { agreed + 1 } else { 0 };
            (0..count).for_each(|at| self.tick(at, 1000));
            rounds += 1;
            assert!(rounds < 300, "they do not agree: {:?}", self.nodes.iter().map(|node| node.keys.vector()).collect::<Vec<_>>());
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let step = prop_oneof![
        8 => (index(), commands(5)).prop_filter("nothing clears the counter", |(_, command)| !matches!(command, Command::Clear))
            .prop_map(|(at, command)| Step::Write(at, command)),
        2 => index().prop_map(Step::Count),
        4 => index().prop_map(Step::Turn),
        8 => (index(), index(), 1..6_usize).prop_map(|(from, to, most)| Step::Deliver(from, to, most)),
        3 => (index(), index()).prop_map(|(a, b)| Step::Link(a, b)),
        2 => (index(), index()).prop_map(|(a, b)| Step::Cut(a, b)),
        1 => index().prop_map(Step::Restart),
        3 => (index(), 1..2000_u64).prop_map(|(at, ms)| Step::Tick(at, ms)),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Limits under which next to nothing is kept, so that sessions happen all the time; or ordinary ones.
fn limits(tiny: bool) -> Limits {
    match tiny {
        true => Limits { kept_bytes: 500, waiting_bytes: 400, window_bytes: 200, frame_bytes: 300, sessions: 1, leaf_keys: 2 },
        false => Limits::default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keyspaces_agree_after_whatever_happened(count in 2..5_usize, tiny in any::<bool>(), steps in steps()) {
        let mut net = Net::new(count, limits(tiny));
        steps.iter().for_each(|step| net.take(step));
        net.heal();
        let first = net.nodes[0].keys.canonical();
        for node in &net.nodes {
            prop_assert_eq!(&node.keys.canonical(), &first);
            let counted = node.keys.text(COUNTER).unwrap().map(|shown| shown.text().into_owned());
            let expected = (net.counted > 0).then(|| net.counted.to_string().into_bytes());
            prop_assert_eq!(counted.map(|text| text.to_vec()), expected);
            prop_assert_eq!(node.exchange.counters().divergences, 0);
        }
    }
}
