//! One node: an acceptor over records that are durable later than they are written, and a proposer.

use bytes::Bytes;
use fastrand::Rng;
use steadfast_crdt::Actor;
use steadfast_crdt::clock::HybridClock;
use steadfast_register::acceptor::Acceptor;
use steadfast_register::message::Record;
use steadfast_register::proposer::Proposer;
use steadfast_register::quorum::Replicas;
use steadfast_register::removal::Removal;
use steadfast_types::NodeId;

use super::history::Answer;
use super::{KEYS, Message};

pub struct Node {
    pub acceptor: Acceptor,
    records: Vec<Record>,
    /// So many of the records are durable.
    durable: usize,
    /// Answers, each with how many records must be durable before it goes out.
    withheld: Vec<(usize, NodeId, Message)>,
    pub proposer: Proposer<Answer>,
    pub replicas: Replicas,
    pub removal: Option<(u64, Removal)>,
    /// Its wall clock is so far ahead, milliseconds.
    pub ahead: u64,
}

impl Node {
    pub fn new(actor: Actor, replicas: Replicas, rng: &mut Rng) -> Self {
        Self {
            acceptor: Acceptor::default(),
            records: Vec::new(),
            durable: 0,
            withheld: Vec::new(),
            proposer: Proposer::new(actor, HybridClock::default(), Rng::with_seed(rng.u64(..))),
            replicas,
            removal: None,
            ahead: rng.u64(0..1_000),
        }
    }

    pub fn write(&mut self, records: impl IntoIterator<Item = Record>) {
        self.records.extend(records);
    }

    /// An answer that goes out when all that was written so far is durable.
    pub fn answer(&mut self, to: NodeId, message: Message) {
        self.withheld.push((self.records.len(), to, message));
    }

    /// Some more records are durable, or all; gives what may go out now.
    pub fn sync(&mut self, records: usize) -> Vec<(NodeId, Message)> {
        self.durable = self.records.len().min(self.durable.saturating_add(records));
        let durable = self.durable;
        self.withheld.extract_if(.., |(needed, ..)| *needed <= durable).map(|(_, to, message)| (to, message)).collect()
    }

    /// Loses everything but its durable records and perhaps some more, and begins again, with another proposer.
    pub fn crash(&mut self, (actor, clock): (Actor, HybridClock), rng: &mut Rng) {
        self.withheld.clear();
        self.records.truncate(rng.usize(self.durable..=self.records.len()));
        self.acceptor = Acceptor::restore(self.records.iter().cloned());
        if rng.bool() {
            // Its log is cut.
            self.records = self.acceptor.records().collect();
        }
        self.durable = self.records.len();
        self.proposer = Proposer::new(actor, clock, Rng::with_seed(rng.u64(..)));
        (self.removal, self.ahead) = (None, rng.u64(0..1_000));
    }

    /// Enters epochs one by one up to this one, and leaves the keys in those in which they are not its own.
    pub fn enter(&mut self, id: NodeId, epoch: u64, replicas: impl Fn(u64) -> Replicas) {
        self.leave(id, &replicas);
        while self.acceptor.epoch() < epoch {
            let record = self.acceptor.enter(self.acceptor.epoch() + 1);
            self.records.extend(record);
            self.leave(id, &replicas);
        }
    }

    fn leave(&mut self, id: NodeId, replicas: impl Fn(u64) -> Replicas) {
        if self.acceptor.epoch() > 0 && !replicas(self.acceptor.epoch()).all().contains(&id) {
            for key in KEYS {
                let record = self.acceptor.leave(&Bytes::from_static(key));
                self.records.extend(record);
            }
        }
    }
}
