//! The machine: an acceptor, a proposer, and what goes on around them.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Time};
use steadfast_register::acceptor::Acceptor;
use steadfast_register::message::{Epoch, Record as Held};
use steadfast_register::proposer::{Counts as Rounds, GivenUp, Output, Proposer, RequestNumber};
use steadfast_register::quorum::Replicas;
use steadfast_register::removal;
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{Instant, NodeId, Rng};

use super::assignment::Assignment;
use super::carriage::Carriage;
use super::ledger::Ledger;
use super::limits::{KEY_BYTES, PROMISED_MS, REQUESTS, TICK};
use super::message::{Message, Record};
use super::requests::{Answer, Applied, Functions, Outcome, Own, Reason, RequestId, Requests};
use super::rows::{Row, Rows};
use super::sweep::{Sweep, Swept, before};

/// What is to be done now.
#[derive(Debug)]
pub struct Outputs<A> {
    /// For the journal, in order.
    pub records: Vec<Record>,
    /// The number of the last record so far, which [`Registers::durable`] is called with once it is durable.
    pub written: u64,
    /// For the peers.
    pub messages: Vec<(NodeId, Bytes)>,
    /// For the clients.
    pub answers: Vec<Answer<A>>,
    /// Everything was carried in this epoch: the next one may begin ([`Assignment::moved`]). It is said again while that does not happen.
    pub carried: Option<Epoch>,
}

/// What happened in this life, for people to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were begun.
    pub requests: u64,
    /// Those of them whose outcome is not known.
    pub unknown: u64,
    /// Rounds, conflicts, and reads in one trip.
    pub rounds: Rounds,
    /// Registers that were carried by this node.
    pub carried: u64,
    /// Deleted registers that were removed here.
    pub removed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Registers<F: Functions> {
    node: NodeId,
    now: Instant,
    wall: Time,
    assignment: Option<Assignment>,
    connected: BTreeSet<NodeId>,
    acceptor: Acceptor,
    proposer: Proposer<Option<F::Answer>>,
    requests: Requests<F::Command>,
    carriage: Option<Carriage>,
    sweep: Sweep,
    next_tick: Instant,
    ledger: Ledger,
    rows: Rows,
    /// What this node says to itself.
    own: VecDeque<Message>,
    messages: Vec<(NodeId, Bytes)>,
    answers: Vec<Answer<F::Answer>>,
    carried: Option<Epoch>,
    counts: Counts,
}

impl<F: Functions> Registers<F> {
    /// A node that holds nothing.
    pub fn new(node: NodeId, actor: Actor, rng: Rng) -> Self {
        Self {
            node,
            now: Instant(0),
            wall: Time::default(),
            assignment: None,
            connected: BTreeSet::new(),
            acceptor: Acceptor::default(),
            proposer: Proposer::new(actor, HybridClock::default(), rng),
            requests: Requests::new(),
            carriage: None,
            sweep: Sweep::default(),
            next_tick: Instant(0),
            ledger: Ledger::default(),
            rows: Rows::default(),
            own: VecDeque::new(),
            messages: Vec::new(),
            answers: Vec::new(),
            carried: None,
            counts: Counts::default(),
        }
    }

    /// Takes what an earlier life wrote into the journal, before anything else but [`Registers::set_now`].
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::Held(held) => {
                if matches!(held, Held::Cleared { .. }) {
                    self.rows.note_all(&self.acceptor);
                }
                self.rows.note(&held);
                self.acceptor.replay(held);
            }
            Record::Reserved { until } => self.reserved(until),
        }
    }

    fn reserved(&mut self, until: Time) {
        self.ledger.replay(until);
        self.proposer.heard(until);
    }

    /// Takes a row, at the start and before [`Registers::replay`]: of a register ([`Row::bytes`]), or the common one ([`Registers::common_row`]).
    ///
    /// # Errors
    /// If it is not a row.
    pub fn load(&mut self, row: Bytes) -> Result<(), WireError> {
        for record in Vec::<Record>::from_wire(row)? {
            match record {
                Record::Held(held) => self.acceptor.replay(held),
                Record::Reserved { until } => self.reserved(until),
            }
        }
        Ok(())
    }

    /// From now on [`Registers::rows`] gives the registers that were written to until now. To be called at the journal's position that it is to be cut at.
    pub fn begin_rows(&mut self) {
        self.rows.begin();
    }

    /// Some more rows of registers that were written to, of about so many bytes: as they are at this moment. They are to be kept when all records
    /// until this moment are durable. None: those were all.
    pub fn rows(&mut self, bytes: usize) -> Vec<Row> {
        self.rows.take(bytes, &self.acceptor)
    }

    /// How many registers' rows are out of date.
    pub fn touched(&self) -> usize {
        self.rows.len()
    }

    /// The row of what does not concern a single register, as it is at this moment.
    pub fn common_row(&self) -> Vec<u8> {
        self.acceptor.common().map(Record::Held).chain([self.ledger.reserved()]).collect::<Vec<_>>().to_wire()
    }

    /// It is so late: by the clock that only goes on, and in milliseconds of Unix time. Said at the beginning of each turn.
    pub fn set_now(&mut self, now: Instant, unix_ms: u64) {
        (self.now, self.wall) = (now, Time::at_unix_ms(unix_ms));
    }

    /// A connection to a peer begins.
    pub fn connected(&mut self, peer: NodeId) {
        self.connected.insert(peer);
    }

    /// The connection to a peer has ended.
    pub fn disconnected(&mut self, peer: NodeId) {
        self.connected.remove(&peer);
        self.messages.retain(|(to, _)| *to != peer);
    }

    /// Who the replicas are, once it is decided. An assignment that is older than one that was known is passed over.
    pub fn set_assignment(&mut self, assignment: Assignment, functions: &mut F) {
        let known = self.assignment.as_ref().map_or(0, |known| known.epoch);
        if assignment.epoch <= known || assignment.epoch < self.acceptor.epoch() {
            return;
        }
        let entered = match assignment.keeps(self.node, self.acceptor.epoch()) {
            true => self.acceptor.enter(assignment.epoch),
            false => {
                self.rows.note_all(&self.acceptor);
                self.acceptor.clear(assignment.epoch)
            }
        };
        entered.into_iter().for_each(|record| self.write(record));
        for number in self.requests.end_all_own() {
            self.proposer.give_up(number);
        }
        self.sweep.moved();
        let replicas = assignment.replicas();
        let carries = assignment.next.is_some() && assignment.includes(self.node);
        self.carriage = carries.then(|| Carriage::new(self.node, replicas.clone()));
        (self.carried, self.next_tick) = (None, self.now);
        self.assignment = Some(assignment);
        if known == 0 {
            // Nobody has been asked yet.
            for number in self.requests.numbers() {
                self.propose_request(number, &replicas, functions);
            }
        }
        let keys: Vec<Bytes> = self.proposer.keys().cloned().collect();
        for key in keys {
            self.propose(functions, |proposer, times, applied| proposer.renew(times, &key, &replicas, applied));
        }
        self.settle(functions);
    }

    /// The assignment that it goes by.
    pub fn assignment(&self) -> Option<&Assignment> {
        self.assignment.as_ref()
    }

    /// Somebody wants something of a key; the answer comes with the outputs. What the same one asked for before is forgotten.
    pub fn ask(&mut self, id: RequestId, key: Bytes, command: F::Command, deadline: Option<Instant>, functions: &mut F) {
        self.forget(id);
        self.counts.requests += 1;
        let refused = match () {
            () if key.len() > KEY_BYTES => Some(Reason::KeyTooLong),
            () if self.requests.len() >= REQUESTS => Some(Reason::Busy),
            () => None,
        };
        if let Some(reason) = refused {
            self.answers.push(Answer { id, outcome: Outcome::Nothing(reason) });
            return;
        }
        let reads = functions.reads(&command);
        let number = self.requests.begin(id, key, command, reads, deadline);
        if let Some(replicas) = self.assignment.as_ref().map(Assignment::replicas) {
            self.propose_request(number, &replicas, functions);
            self.settle(functions);
        }
    }

    /// Whoever asked is gone. What it asked for may take effect yet.
    pub fn forget(&mut self, id: RequestId) {
        if let Some(number) = self.requests.number(id) {
            self.requests.end(number);
            self.proposer.give_up(number);
        }
        self.answers.retain(|answer| answer.id != id);
    }

    /// A message of a peer.
    ///
    /// # Errors
    /// If it can't be read: the connection is to be closed.
    pub fn receive(&mut self, from: NodeId, message: Bytes, functions: &mut F) -> Result<(), WireError> {
        let message = Message::read(message)?;
        self.hear(from, message, functions);
        self.settle(functions);
        Ok(())
    }

    /// All records up to this number are durable.
    pub fn durable(&mut self, number: u64, functions: &mut F) {
        self.ledger.durable(number);
        self.settle(functions);
    }

    /// When [`Registers::tick`] has something to do, if nothing happens until then.
    pub fn next_deadline(&self) -> Instant {
        let is_busy = self.carriage.is_some() || self.sweep.is_busy();
        let tick = if is_busy { self.next_tick } else { self.next_tick.max(self.sweep.begins()) };
        let tick = if self.assignment.is_some() { tick } else { Instant::NEVER };
        self.requests.next_deadline().into_iter().fold(self.proposer.wakes().min(tick), Instant::min)
    }

    /// Time passed.
    pub fn tick(&mut self, functions: &mut F) {
        while let Some(number) = self.requests.late(self.now) {
            let outcome = match self.proposer.give_up(number) {
                Some(GivenUp::Unknown { held_by, of }) => Outcome::Unknown { held_by, of },
                Some(GivenUp::NotBegun) | None => Outcome::Nothing(Reason::Late),
            };
            self.end(number, outcome);
        }
        self.propose(functions, |proposer, times, applied| proposer.tick(times, applied));
        if self.next_tick <= self.now {
            self.next_tick = self.now + TICK;
            if let Some(carriage) = &mut self.carriage {
                let said = carriage.tick(self.now);
                self.answer_all(said);
            }
            if let Some(assignment) = &self.assignment {
                let swept = self.sweep.tick((self.now, self.wall), self.node, assignment, &self.connected, &self.acceptor);
                self.swept(swept, functions);
            }
        }
        self.settle(functions);
    }

    /// What is to be done; each thing is given once.
    pub fn outputs(&mut self) -> Outputs<F::Answer> {
        let (records, written) = self.ledger.take();
        Outputs {
            records,
            written,
            messages: core::mem::take(&mut self.messages),
            answers: core::mem::take(&mut self.answers),
            carried: self.carried.take(),
        }
    }

    /// How many registers it holds anything of.
    pub fn len(&self) -> usize {
        self.acceptor.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many requests are under way.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// What it did.
    pub fn counts(&self) -> Counts {
        Counts { rounds: self.proposer.counts(), ..self.counts }
    }

    /// What it holds of the registers, to look at.
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    fn end(&mut self, number: RequestNumber, outcome: Outcome<F::Answer>) {
        self.counts.unknown += u64::from(matches!(outcome, Outcome::Unknown { .. }));
        self.answers.extend(self.requests.end(number).map(|id| Answer { id, outcome }));
    }

    /// The acceptor gave this out.
    fn write(&mut self, record: Held) {
        self.rows.note(&record);
        self.ledger.write(Record::Held(record));
    }

    fn propose(
        &mut self,
        functions: &mut F,
        step: impl FnOnce(&mut Proposer<Option<F::Answer>>, (Instant, Time), &mut Applied<'_, F>) -> Vec<Output<Option<F::Answer>>>,
    ) {
        let mut applied = Applied { requests: &self.requests, functions };
        let outputs = step(&mut self.proposer, (self.now, self.wall), &mut applied);
        for output in outputs {
            self.take(output, functions);
        }
    }

    fn propose_request(&mut self, number: RequestNumber, replicas: &Replicas, functions: &mut F) {
        let Some(request) = self.requests.get(number) else { return };
        let (key, reads) = (request.key.clone(), request.reads);
        self.propose(functions, |proposer, times, applied| proposer.ask(times, number, &key, replicas, reads, applied));
    }

    fn propose_own(&mut self, own: Own, replicas: &Replicas, functions: &mut F) {
        let (Own::Carry(key) | Own::Spread(key)) = own.clone();
        let number = self.requests.begin_own(own);
        self.propose(functions, |proposer, times, applied| proposer.ask(times, number, &key, replicas, false, applied));
    }

    /// What the proposer gave out.
    fn take(&mut self, output: Output<Option<F::Answer>>, functions: &mut F) {
        match output {
            Output::Send(to, asked) => self.ledger.question(to, Message::Asked(asked), self.proposer.last()),
            Output::Done(number, Some(answer)) => self.end(number, Outcome::Done(answer)),
            Output::Done(number, None) => self.own_ended(number, true),
            Output::Moved { key, epoch } => {
                // A later one than is known here: it goes on when that is.
                if let Some(replicas) = self.assignment.as_ref().filter(|known| known.epoch >= epoch).map(Assignment::replicas) {
                    self.propose(functions, |proposer, times, applied| proposer.renew(times, &key, &replicas, applied));
                }
            }
            Output::Busy(number) => match self.requests.get(number) {
                Some(_) => self.end(number, Outcome::Nothing(Reason::Busy)),
                None => self.own_ended(number, false),
            },
            Output::Beaten(number) => match self.requests.get(number) {
                Some(_) => {
                    let of = self.assignment.as_ref().map_or(0, |known| known.replicas().all().len());
                    self.end(number, Outcome::Unknown { held_by: 0, of });
                }
                None => self.own_ended(number, false),
            },
        }
    }

    fn own_ended(&mut self, number: RequestNumber, is_done: bool) {
        match (self.requests.end_own(number), &mut self.carriage) {
            (Some(Own::Carry(key)), Some(carriage)) if is_done => {
                self.counts.carried += 1;
                carriage.carried(key);
            }
            (Some(Own::Carry(key)), Some(carriage)) => carriage.failed(key),
            (Some(Own::Spread(key)), _) if is_done => self.sweep.found([key]),
            _ => {}
        }
    }

    /// Says something that waits for the records so far.
    fn answer_all(&mut self, said: impl IntoIterator<Item = (NodeId, Message)>) {
        said.into_iter().for_each(|(to, message)| self.ledger.answer(to, message));
    }

    fn hear(&mut self, from: NodeId, message: Message, functions: &mut F) {
        match message {
            Message::Asked(asked) => {
                if let Some((record, answered)) = self.acceptor.receive(asked) {
                    record.into_iter().for_each(|record| self.write(record));
                    self.ledger.answer(from, Message::Answered(answered));
                }
            }
            Message::Answered(answered) => {
                self.propose(functions, |proposer, times, applied| proposer.receive(times, from, answered, applied));
            }
            Message::Remove { number, ask } => {
                if let Some((records, said)) = removal::answer(ask, &mut self.acceptor) {
                    self.counts.removed += records.len() as u64;
                    records.into_iter().for_each(|record| self.write(record));
                    self.ledger.answer(from, Message::Removed { number, said });
                }
            }
            Message::Removed { number, said } => {
                let swept = self.sweep.receive(self.now, from, number, said);
                self.swept(swept, functions);
            }
            Message::Deleted { keys } => self.sweep.found(keys),
            Message::Carried { epoch, keys } => {
                if let Some(carriage) = &mut self.carriage {
                    carriage.heard(epoch, keys);
                }
            }
            Message::AllCarried { epoch } => {
                if let Some(carriage) = &mut self.carriage {
                    carriage.is_through(from, epoch);
                }
            }
        }
    }

    /// What the sweep gave out.
    fn swept(&mut self, swept: Swept, functions: &mut F) {
        for key in swept.idle {
            if let Some(record) = self.acceptor.forget_promise(&key, before(self.wall, PROMISED_MS)) {
                self.write(record);
            }
        }
        let Some(replicas) = self.assignment.as_ref().map(Assignment::replicas) else { return };
        let everyone = Replicas { everyone: true, ..replicas };
        for key in swept.spread {
            self.propose_own(Own::Spread(key), &everyone, functions);
        }
        self.answer_all(swept.said);
    }

    /// Does what follows from what was done, and gives out what may be said.
    fn settle(&mut self, functions: &mut F) {
        loop {
            while let Some(key) = self.carriage.as_mut().and_then(|carriage| carriage.next(&self.acceptor)) {
                if let Some(replicas) = self.assignment.as_ref().map(Assignment::replicas) {
                    self.propose_own(Own::Carry(key), &replicas, functions);
                }
            }
            while let Some((to, message)) = self.ledger.release() {
                match to == self.node {
                    true => self.own.push_back(message),
                    false if self.connected.contains(&to) => self.messages.push((to, message.to_wire().into())),
                    false => {}
                }
            }
            let Some(message) = self.own.pop_front() else { break };
            self.hear(self.node, message, functions);
        }
        if let Some(epoch) = self.carriage.as_mut().and_then(Carriage::over) {
            self.carried = Some(epoch);
        }
    }
}
