//! The simulated network and the nodes on it: what is under way, what is lost, who stands still, and how many bytes each sends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use steadfast_types::{Instant, Rng};

use crate::peer::{Effects, Number, Peer, Seen};

/// What IP and UDP add to a datagram: it is counted.
pub const DATAGRAM_OVERHEAD: usize = 28;

/// What a connection with one message adds: handshake, acknowledgement and end, seven segments of 40 bytes, half of them on either side.
pub const STREAM_OVERHEAD: usize = 140;

/// One way between any two nodes, microseconds.
const LATENCY_US: std::ops::RangeInclusive<u64> = 200..=2_000;

/// What is wrong with a node.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// It runs.
    pub is_up: bool,
    /// The share of packets to it that are lost.
    pub loss_in: f64,
    /// The share of packets from it that are lost.
    pub loss_out: f64,
    /// It stands still until then: whatever comes waits.
    pub stands_until: Instant,
    /// It stands still again and again.
    pub is_slow: bool,
}

impl Default for Condition {
    fn default() -> Self {
        Condition { is_up: true, loss_in: 0.0, loss_out: 0.0, stands_until: Instant(0), is_slow: false }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A node's turn.
    Wake(Number),
    /// A packet arrives.
    Packet { from: Number, to: Number, by_stream: bool, bytes: Vec<u8> },
    /// A slow node stands still again.
    Stall(Number),
}

/// Nodes, and what is under way between them.
pub struct Network {
    /// Now.
    pub now: Instant,
    /// What is wrong with each node.
    pub conditions: Vec<Condition>,
    /// Bytes that each node has sent, those of IP and UDP or TCP included.
    pub bytes: Vec<u64>,
    /// Packets sent by all.
    pub packets: u64,
    /// Bytes by stream, which are in `bytes` too.
    pub stream_bytes: u64,
    peers: Vec<Box<dyn Peer>>,
    queue: BinaryHeap<Reverse<(Instant, u64, What)>>,
    queued: u64,
    /// For when each node's turn is queued.
    wakes: Vec<Instant>,
    rng: Rng,
    effects: Effects,
}

impl Network {
    /// A network of these nodes, all of them well.
    #[must_use]
    pub fn new(peers: Vec<Box<dyn Peer>>, seed: u64) -> Self {
        let count = peers.len();
        let mut network = Network {
            now: Instant(0),
            conditions: vec![Condition::default(); count],
            bytes: vec![0; count],
            packets: 0,
            stream_bytes: 0,
            peers,
            queue: BinaryHeap::new(),
            queued: 0,
            wakes: vec![Instant::NEVER; count],
            rng: Rng::with_seed(seed),
            effects: Effects::default(),
        };
        (0..count as Number).for_each(|number| network.plan(number));
        network
    }

    /// A node.
    #[must_use]
    pub fn peer(&self, number: Number) -> &dyn Peer {
        &*self.peers[number as usize]
    }

    fn put(&mut self, at: Instant, what: What) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued, what)));
    }

    /// Queues a node's next turn, unless it is queued.
    fn plan(&mut self, number: Number) {
        let deadline = self.peers[number as usize].deadline().max(self.now);
        if deadline < self.wakes[number as usize] {
            self.wakes[number as usize] = deadline;
            self.put(deadline, What::Wake(number));
        }
    }

    /// Lets a node join through another.
    pub fn join(&mut self, number: Number, seed: Number) {
        let mut effects = std::mem::take(&mut self.effects);
        self.peers[number as usize].join(self.now, seed, &mut effects);
        self.settle(number, effects, &mut |_, _, _| {});
    }

    /// Makes a node slow from now on: it stands still for up to four seconds, runs for up to one, and so on.
    pub fn slow_down(&mut self, number: Number) {
        self.conditions[number as usize].is_slow = true;
        self.put(self.now, What::Stall(number));
    }

    /// Runs until `until`; `saw` is told at what time who saw what.
    pub fn run(&mut self, until: Instant, saw: &mut dyn FnMut(Instant, Number, Seen)) {
        while let Some(Reverse((at, _, _))) = self.queue.peek() {
            if *at > until {
                break;
            }
            let Some(Reverse((at, _, what))) = self.queue.pop() else { break };
            self.now = at;
            match what {
                What::Wake(number) => self.wake(number, at, saw),
                What::Packet { from, to, by_stream, bytes } => self.deliver(from, to, by_stream, bytes, saw),
                What::Stall(number) => self.stall(number),
            }
        }
        self.now = until;
    }

    fn wake(&mut self, number: Number, at: Instant, saw: &mut dyn FnMut(Instant, Number, Seen)) {
        if self.wakes[number as usize] != at {
            return;
        }
        self.wakes[number as usize] = Instant::NEVER;
        let Condition { is_up, stands_until, .. } = self.conditions[number as usize];
        if !is_up {
            return;
        }
        if stands_until > self.now {
            self.wakes[number as usize] = stands_until;
            return self.put(stands_until, What::Wake(number));
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.peers[number as usize].tick(self.now, &mut effects);
        self.settle(number, effects, saw);
    }

    fn deliver(&mut self, from: Number, to: Number, by_stream: bool, bytes: Vec<u8>, saw: &mut dyn FnMut(Instant, Number, Seen)) {
        let Condition { is_up, stands_until, .. } = self.conditions[to as usize];
        if !is_up {
            return;
        }
        if stands_until > self.now {
            return self.put(stands_until, What::Packet { from, to, by_stream, bytes });
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.peers[to as usize].receive(self.now, from, by_stream, bytes, &mut effects);
        self.settle(to, effects, saw);
    }

    fn stall(&mut self, number: Number) {
        let stands_until = Instant(self.now.0 + self.rng.u64(250_000..4_000_000));
        self.conditions[number as usize].stands_until = stands_until;
        let next = Instant(stands_until.0 + self.rng.u64(10_000..1_000_000));
        self.put(next, What::Stall(number));
    }

    /// Carries out what came of a node's turn.
    fn settle(&mut self, number: Number, mut effects: Effects, saw: &mut dyn FnMut(Instant, Number, Seen)) {
        for (to, by_stream, bytes) in effects.sent.drain(..) {
            self.send(number, to, by_stream, bytes);
        }
        effects.seen.drain(..).for_each(|seen| saw(self.now, number, seen));
        self.effects = effects;
        self.plan(number);
    }

    fn send(&mut self, from: Number, to: Number, by_stream: bool, bytes: Vec<u8>) {
        let length = bytes.len() + if by_stream { STREAM_OVERHEAD } else { DATAGRAM_OVERHEAD };
        self.bytes[from as usize] += length as u64;
        self.packets += 1;
        if by_stream {
            self.stream_bytes += length as u64;
        }
        if to as usize >= self.peers.len() || from == to || !self.arrives(from, to, by_stream) {
            return;
        }
        // A stream's message comes after a handshake.
        let latency = self.rng.u64(LATENCY_US) * if by_stream { 3 } else { 1 };
        self.put(Instant(self.now.0 + latency), What::Packet { from, to, by_stream, bytes });
    }

    /// A stream needs both directions, for its handshake and for its data, and tries each twice within the time that matters here.
    fn arrives(&mut self, from: Number, to: Number, by_stream: bool) -> bool {
        let (one, other) = (self.conditions[from as usize], self.conditions[to as usize]);
        let there = (1.0 - one.loss_out) * (1.0 - other.loss_in);
        let chance = if by_stream {
            let both = there * (1.0 - other.loss_out) * (1.0 - one.loss_in);
            (1.0 - (1.0 - both) * (1.0 - both)).powi(2)
        } else {
            there
        };
        chance >= 1.0 || self.rng.f64() < chance
    }
}
