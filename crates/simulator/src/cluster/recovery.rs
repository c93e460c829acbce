//! Recovery in the simulated world: on whoever leads, the real planner and the real driver, with plans as records in strong state. What is simulated is the
//! shell between them: it reads its node's state, asks its own node for each write and each change of members, and may lose any answer.
//!
//! An executor is forgotten with its process, and when its node does not lead; two that believe to lead go on side by side.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_consensus::Status;
use steadfast_health::recovery::driver::{Driver, Next};
use steadfast_health::recovery::observed::Observed;
use steadfast_health::recovery::plan::{Plan, PlanId};
use steadfast_health::recovery::planner::{Change, Decision, Recorded, decide};
use steadfast_health::recovery::policy::{Mode, Policy, Rule};
use steadfast_health::states::Health;
use steadfast_proof::Violation;
use steadfast_proof::history::{Answer, Request, Span, Step, Transaction};
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, NodeId, Revision};

use super::gossip::{AGENTS, SPARES};
use super::{Cluster, ELECTION_TIMEOUT};
use crate::swarm::Recovering;
use crate::workload::OperationNumber;
use records::{Book, HEAD, plan_key, stamped};

mod effects;
pub(super) mod records;
mod seen;

/// Executors are clients from this number on.
const FIRST: usize = 1_000_000;

/// Between two turns of an executor.
pub(super) const REST: Duration = Duration::from_millis(200);

/// For how long an attempt is tried.
const PATIENCE: Duration = Duration::from_secs(3);

/// An executor waits so long for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Once everything has healed, a voter that is gone for good is replaced within so long, if there is a spare.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);

/// What one process of a leader knows of recovery.
pub(super) struct Executor {
    /// Of which life of its machine.
    life: u64,
    driver: Driver,
    health: BTreeMap<NodeId, Health>,
    /// Since when each is failed, by this node's own clock, and on whose word.
    failing: BTreeMap<NodeId, (Instant, String)>,
    /// What it waits for, and which plan it writes.
    pending: Option<(OperationNumber, Option<PlanId>)>,
}

/// The executor that a client is.
pub(super) fn executor(client: usize) -> Option<NodeId> {
    client.checked_sub(FIRST).map(|node| NodeId(node as u64)).filter(|_| client < 2 * FIRST)
}

fn policy(drawn: &Recovering) -> Policy {
    let rule = |delay| Rule { mode: Mode::Automatic, delay };
    Policy {
        voters: rule(drawn.delay),
        others: rule(drawn.delay * 2),
        agents: rule(drawn.delay * 2),
        services: rule(drawn.delay),
        concurrent: drawn.concurrent,
        halt_above_percent: drawn.halt_above_percent,
        // Nobody replaces a voter that answers: a plan whose subject came back after its fence holds up all others until it has failed.
        attempts: 5,
        failed_plans: 1_000,
    }
}

impl Cluster {
    /// Every executor has a turn.
    pub(super) fn on_recovery_turn(&mut self) {
        let now = self.queue.now();
        self.attend_members();
        for node in self.node_ids() {
            let Some(machine) = self.machines.get(&node) else { continue };
            let leads = machine.node().map(|node| node.status()).filter(|status| status.established);
            match leads {
                Some(_) if machine.paused_until > now => {}
                Some(status) => self.recover(node, &status.consensus),
                None => drop(self.executors.remove(&node)),
            }
        }
    }

    fn recover(&mut self, node: NodeId, status: &Status) {
        let life = self.machines[&node].life;
        let Some(drawn) = self.recovering() else { return };
        let Some(now) = self.machines[&node].process.as_ref().map(|process| process.clock.shows(self.queue.now())) else { return };
        let policy = policy(&drawn);
        let mut executor = self.executors.remove(&node).filter(|executor| executor.life == life).unwrap_or_else(|| Executor {
            life,
            driver: Driver::new(PATIENCE),
            health: BTreeMap::new(),
            failing: BTreeMap::new(),
            pending: None,
        });
        if let Some(book) = self.book(node) {
            let observed = self.observe(node, status, &book, &mut executor, now);
            if executor.pending.is_none() {
                self.turn_executor(node, status, (&book, &observed, &policy), &mut executor, now);
            }
        }
        self.executors.insert(node, executor);
    }

    pub(super) fn recovering(&self) -> Option<Recovering> {
        self.gossip.drawn.as_ref()?.recovery
    }

    /// Plans first; else the first thing that the driver wants of an open plan.
    fn turn_executor(
        &mut self,
        node: NodeId,
        status: &Status,
        (book, observed, policy): (&Book, &Observed, &Policy),
        executor: &mut Executor,
        now: Instant,
    ) {
        let open: Vec<&Recorded> = book.records.plans.values().filter(|recorded| recorded.plan.is_open()).collect();
        let decision = decide(observed, &book.records, policy);
        if !decision.changes.is_empty() {
            // Its head is what it writes first.
            self.observer.brakes.decided(self.stamps + 1, observed, policy);
            executor.pending = Some((self.propose_decision(node, decision), None));
            return;
        }
        for recorded in open {
            let id = &recorded.plan.id;
            match executor.driver.next(recorded, observed, now) {
                Next::Write(plan) => {
                    let put = (plan_key(id), recorded.revision, Some(plan.to_wire()));
                    executor.pending = Some((self.propose_records(node, vec![put]), Some(id.clone())));
                    return;
                }
                Next::CarryOut(effect) => {
                    let result = self.bring_about(node, status, (book, observed), &effect, executor);
                    self.trace.text(self.queue.now(), || format!("{node} carries out for {}: {effect}: {result:?}", id.subject));
                    executor.driver.carried_out(id, result);
                    if executor.pending.is_some() {
                        return;
                    }
                }
                Next::Rest => {}
            }
        }
    }

    fn propose_decision(&mut self, node: NodeId, decision: Decision) -> OperationNumber {
        self.trace.milestone(self.queue.now(), &[40, node.0, decision.changes.len() as u64], || {
            format!("{node} decides: {:?}", decision.changes)
        });
        let mut records = vec![(HEAD.into(), decision.head, Some(Vec::new()))];
        records.extend(decision.changes.into_iter().map(|change| match change {
            Change::Create(plan) => (plan_key(&plan.id), Revision(0), Some(plan.to_wire())),
            Change::Update { plan, if_revision } => (plan_key(&plan.id), if_revision, Some(plan.to_wire())),
            Change::Delete { id, if_revision } => (plan_key(&id), if_revision, None),
        }));
        self.propose_records(node, records)
    }

    /// Writes or deletes all of these, if each is still at its revision.
    fn propose_records(&mut self, node: NodeId, records: Vec<(Bytes, Revision, Option<Vec<u8>>)>) -> OperationNumber {
        let conditions = records.iter().map(|(key, revision, _)| (key.clone(), *revision)).collect();
        let mut step = |(key, _, value): (Bytes, Revision, Option<Vec<u8>>)| match value {
            Some(value) => {
                // No other write has this value: the history knows requests by them.
                self.stamps += 1;
                Step::Put { key, value: stamped(self.stamps, &value), lease: 0, asks: false }
            }
            None => Step::Delete(Span::one(key)),
        };
        let then = records.into_iter().map(&mut step).collect();
        let transaction = Transaction { conditions, then, otherwise: Vec::new() };
        let number = self.workload.begin(FIRST + node.0 as usize, Request::Transaction(transaction), self.queue.now());
        self.begin(number, node, ANSWER_WITHIN);
        number
    }

    /// An executor's write is answered, or given up.
    pub(super) fn executor_answered(&mut self, node: NodeId, number: OperationNumber, answer: Option<&Answer>) {
        let now = self.queue.now();
        let Some(process) = self.machines.get(&node).and_then(|machine| machine.process.as_ref()) else { return };
        let now = process.clock.shows(now);
        let Some(executor) = self.executors.get_mut(&node) else { return };
        if let Some((_, Some(id))) = executor.pending.take_if(|(pending, _)| *pending == number)
            && let Some(Answer::Done { revision, succeeded: true, .. }) = answer
        {
            executor.driver.written(&id, *revision, now);
        }
    }

    /// What a node has applied of the members must have been decided.
    pub(super) fn check_removals(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(running) = self.machines.get(&node).and_then(|machine| machine.node()).filter(|_| self.recovering().is_some()) else {
            return Ok(());
        };
        let configuration = running.state().configuration().clone();
        if !self.observer.recovery.is_news(node, &configuration) {
            return Ok(());
        }
        let Some(book) = self.book(node) else { return Ok(()) };
        let plans: Vec<Plan> = book.records.plans.into_values().map(|recorded| recorded.plan).collect();
        self.observer.recovery.applied(node, &configuration, &plans)?;
        self.counts.replaced = self.observer.recovery.replaced.len() as u64;
        Ok(())
    }

    /// A voter that is gone for good is replaced without anybody's hand, where there is a spare; whether it was.
    pub(super) fn replace_by_plan(&mut self) -> Result<bool, Violation> {
        let Some(lost) = self.lost.filter(|_| self.recovering().is_some()) else { return Ok(false) };
        let deadline = self.now() + REPLACED_WITHIN;
        loop {
            self.attend_members();
            let members = self.members();
            let is_spare = |id: &&NodeId| (SPARES..AGENTS).contains(&id.0) && !members.contains_key(id);
            let learns = members.values().any(|votes| !votes);
            if !members.contains_key(&lost) {
                return Ok(true);
            }
            if !learns && !self.gossip.others.iter().any(|id| is_spare(&id)) {
                return Ok(false);
            }
            if self.now() >= deadline {
                let text = format!("{lost}, whose disk is lost, is not replaced by a plan: {members:?}");
                return Err(Violation::new("recovery", text));
            }
            self.run_until(self.now() + ELECTION_TIMEOUT / 2)?;
        }
    }
}
