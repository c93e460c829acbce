//! Lockers: clients that wait for their turn in a line, as locks and elections do, hold it a while, and leave.
//!
//! Each step that a [`Waiter`] wants is carried out as the server would, at any node; a step without an answer is tried again elsewhere, or the
//! locker begins anew under another lease. Nobody renews leases here: many end while their holder waits.
//!
//! Each line guards a resource, which a holder uses at the beginning and at the end of what it takes for its turn. By then its lease may have
//! ended long ago, as if it had been paused; the resource's fence must notice.

use std::collections::BTreeMap;

use steadfast_node::RequestBody;
use steadfast_proof::history::{Answer, Lease, Request, Span, Step as HistoryStep, Transaction};
use steadfast_proof::locks::{Turn, Use};
use steadfast_state::Response;
use steadfast_state::command::{Command, Txn, TxnResult};
use steadfast_state::line::{self, Fence, Step, Turn as Ended, Waiter};
use steadfast_types::time::Duration;
use steadfast_types::{LeaseId, NodeId, Revision};

use super::Cluster;
use super::event::Event;
use crate::network::between;
use crate::workload::OperationNumber;

/// Lockers are clients of these numbers.
const FIRST: usize = 10_000;

/// There are fewer than so many.
const MOST: usize = 10_000;

/// How many lines there are.
const LINES: usize = 2;

/// A locker waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest that one holds its turn: longer than the shortest lease.
const HOLD: Duration = Duration::from_secs(3);

/// All lockers, and the turns that they were given.
#[derive(Default)]
pub(super) struct Lockers {
    all: Vec<Locker>,
    pub(super) turns: Vec<Turn>,
    resources: [Fence; LINES],
    /// What holders tried on each.
    pub(super) uses: [Vec<Use>; LINES],
    /// What is asked, where that is not just what the history says.
    bodies: BTreeMap<OperationNumber, RequestBody>,
    /// What was answered, in full.
    heard: BTreeMap<OperationNumber, Heard>,
    /// What is read.
    looks: BTreeMap<OperationNumber, Txn>,
}

enum Locker {
    Idle,
    Granting(Lease),
    Waiting(usize, Box<Waiter>),
    Holding(usize, Box<Waiter>, Revision),
    Leaving,
}

pub(super) enum Heard {
    Applied(Response),
    Looked(Revision, TxnResult),
}

impl Lockers {
    /// What a request asks of a node, if a locker knows better.
    pub(super) fn body(&mut self, number: OperationNumber) -> Option<RequestBody> {
        self.bodies.remove(&number)
    }

    /// What a locker reads.
    pub(super) fn look(&self, number: OperationNumber) -> Option<&Txn> {
        self.looks.get(&number)
    }

    pub(super) fn hear(&mut self, client: usize, number: OperationNumber, heard: Heard) {
        if locker(client).is_some() {
            self.heard.insert(number, heard);
        }
    }
}

/// The locker that a client is.
pub(super) fn locker(client: usize) -> Option<usize> {
    client.checked_sub(FIRST).filter(|locker| *locker < MOST)
}

fn name(line: usize) -> String {
    format!("line-{line}")
}

fn span(line: usize) -> Span {
    Span { first: format!("line-{line}/").into(), end: Some(format!("line-{line}0").into()) }
}

impl Cluster {
    pub(super) fn schedule_lockers(&mut self) {
        for locker in 0..self.swarm.lockers {
            self.lockers.all.push(Locker::Idle);
            self.queue.after(self.swarm.think, Event::Locker { locker });
        }
    }

    /// A locker does what comes next.
    pub(super) fn on_locker(&mut self, locker: usize) {
        match std::mem::replace(&mut self.lockers.all[locker], Locker::Idle) {
            Locker::Idle if self.healed => {}
            Locker::Idle | Locker::Granting(_) | Locker::Leaving => {
                let (number, lease) = self.workload.grant(FIRST + locker, self.queue.now());
                self.lockers.all[locker] = Locker::Granting(lease);
                self.send_locker(number);
            }
            Locker::Waiting(line, waiter) => self.wait_on(locker, line, waiter),
            Locker::Holding(line, waiter, token) => {
                self.use_resource(locker, line, token);
                let own = Span::one(waiter.key().clone());
                let request = Transaction {
                    conditions: vec![(waiter.key().clone(), token)],
                    then: vec![HistoryStep::Delete(own)],
                    otherwise: vec![],
                };
                self.propose_locker(locker, request, line::leave(waiter.key(), token));
                self.lockers.all[locker] = Locker::Leaving;
            }
        }
    }

    fn wait_on(&mut self, locker: usize, line: usize, mut waiter: Box<Waiter>) {
        let now = self.queue.now();
        match waiter.step() {
            Step::Stand(command) => {
                let own = waiter.key().clone();
                let put = HistoryStep::Put { key: own.clone(), value: waiter.value().clone(), lease: waiter.lease().0, asks: true };
                let conditions = vec![(own.clone(), Revision(0))];
                let request = Transaction { conditions, then: vec![put], otherwise: vec![HistoryStep::Read(Span::one(own))] };
                self.propose_locker(locker, request, command);
            }
            Step::Look(look) => {
                let read = Request::Transaction(Transaction::of(HistoryStep::Read(span(line))));
                let number = self.workload.begin(FIRST + locker, read, now);
                self.lockers.looks.insert(number, look);
                self.send_locker(number);
            }
            Step::Await(..) => {
                waiter.changed();
                let delay = between(Duration::from_millis(10), Duration::from_millis(300), &mut self.clients_rng);
                self.queue.after(delay, Event::Locker { locker });
            }
            Step::Ended(Ended::Mine { token, seen }) => {
                self.trace.milestone(now, &[26, locker as u64, token.0 as u64, seen.0 as u64], || {
                    format!("locker {locker} has its turn in line {line} with token {token}, seen at {seen}")
                });
                self.lockers.turns.push(Turn { line: span(line), key: waiter.key().clone(), token, seen });
                let delay = between(Duration::ZERO, HOLD, &mut self.clients_rng);
                self.queue.after(delay, Event::Locker { locker });
                self.use_resource(locker, line, token);
                self.lockers.all[locker] = Locker::Holding(line, waiter, token);
                return;
            }
            Step::Ended(Ended::Lost) => return self.queue.after(self.swarm.think, Event::Locker { locker }),
        }
        self.lockers.all[locker] = Locker::Waiting(line, waiter);
    }

    fn use_resource(&mut self, locker: usize, line: usize, token: Revision) {
        let admitted = self.lockers.resources[line].admit(token).is_ok();
        let how = if admitted { "is admitted" } else { "is refused, as its turn is over" };
        self.trace.milestone(self.queue.now(), &[27, locker as u64, token.0 as u64, u64::from(admitted)], || {
            format!("locker {locker} shows token {token} to what line {line} guards and {how}")
        });
        self.lockers.uses[line].push(Use { token, admitted });
    }

    fn propose_locker(&mut self, locker: usize, request: Transaction, command: Command) {
        let number = self.workload.begin(FIRST + locker, Request::Transaction(request), self.queue.now());
        self.lockers.bodies.insert(number, RequestBody::Propose(command));
        self.send_locker(number);
    }

    fn send_locker(&mut self, number: OperationNumber) {
        let nodes = self.node_ids();
        let node: NodeId = nodes[self.clients_rng.usize(0..nodes.len())];
        self.begin(number, node, PATIENCE);
    }

    /// A locker's request has its answer, or is given up.
    pub(super) fn locker_answered(&mut self, locker: usize, number: OperationNumber, answer: Option<&Answer>) {
        self.lockers.bodies.remove(&number);
        self.lockers.looks.remove(&number);
        let heard = self.lockers.heard.remove(&number).filter(|_| answer.is_some());
        let state = std::mem::replace(&mut self.lockers.all[locker], Locker::Idle);
        self.lockers.all[locker] = match (state, heard) {
            (Locker::Granting(lease), _) if matches!(answer, Some(Answer::Alive(_))) => {
                let line = self.clients_rng.usize(0..LINES);
                let value = self.workload.unique_value(FIRST + locker);
                Locker::Waiting(line, Box::new(Waiter::new(name(line).as_bytes(), LeaseId(lease), value)))
            }
            (Locker::Waiting(line, mut waiter), Some(Heard::Applied(Response { revision, result: Ok(outcome) }))) => {
                waiter.stood(revision, outcome).expect("the answer to what was asked");
                Locker::Waiting(line, waiter)
            }
            (Locker::Waiting(line, mut waiter), Some(Heard::Looked(revision, result))) => {
                waiter.looked(revision, result).expect("the answer to what was asked");
                Locker::Waiting(line, waiter)
            }
            // It looks once more. What may have been written is not written twice: the history tells requests by their values.
            (Locker::Waiting(line, waiter), None) if waiter.created().is_some() => Locker::Waiting(line, waiter),
            (Locker::Idle | Locker::Granting(_) | Locker::Waiting(..) | Locker::Holding(..) | Locker::Leaving, _) => Locker::Idle,
        };
        let think = between(Duration::ZERO, self.swarm.think, &mut self.clients_rng);
        self.queue.after(think, Event::Locker { locker });
    }
}
