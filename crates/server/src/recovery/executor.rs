//! One turn of recovery: look, plan, and take each open plan as far as it goes.
//!
//! 1. What comes next about a plan is [`Driver`]'s to say, with its invariants. Each write takes the place of the record that was read; who loses one
//!    does nothing more with what it read.
//! 2. An effect is asked for once in a turn. What is not there then is asked for again in the next one.
//! 3. Nothing is kept in memory that the records do not say but how long this node has seen what it sees, and which attempts are its own.

use std::collections::BTreeMap;

use steadfast_coordination::{Coordination, Error};
use steadfast_health::HealthState;
use steadfast_health::recovery::driver::{Driver, Next};
use steadfast_health::recovery::observed::{Epoch, Observed, Role, Seen};
use steadfast_health::recovery::plan::{Plan, PlanId};
use steadfast_health::recovery::planner::{Withheld, decide};
use steadfast_health::recovery::policy::Policy;
use steadfast_health::recovery::step::{Effect, StepState};
use steadfast_health::subject::Subject;
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};

use super::ledger::{Book, Kept, Ledger, plan_name};
use crate::admin::Metrics;

/// Steps that one turn takes a plan forward: more than any plan has.
const STEPS: usize = 16;

/// The cluster that is to recover: what is seen of it, and what can be done to its members.
pub(super) trait World: Send + Sync {
    /// Everybody, as of now; `None` if it is not for this node to say, for it does not lead.
    fn observe(&self, book: &Book, now: Instant) -> Option<Observed>;

    /// Brings a change about. Good also if it is there already; an error says why not yet.
    fn change(&self, change: MemberChange) -> impl Future<Output = Result<(), String>> + Send;

    /// Has a service started anew under an epoch, on its node.
    fn restart(&self, node: NodeId, service: &str, epoch: Epoch) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// Why an effect is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Not yet, or it is not known.
    NotYet(String),
    /// It never will be.
    Never(String),
}

impl From<String> for Trouble {
    fn from(words: String) -> Self {
        Trouble::NotYet(words)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// For so long an attempt is tried.
    pub(super) patience: Duration,
    /// A service that was started anew is well once it has been so for this long, without a break: one that falls again at once was not mended.
    pub(super) probation: Duration,
}

/// What a plan changes about the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberChange {
    /// The node is a learner, or votes.
    Learn(NodeId),
    /// The node has what was committed when this was asked.
    CatchUp(NodeId),
    /// `add` votes and `remove` does not.
    Swap {
        /// Who goes.
        remove: NodeId,
        /// Who comes.
        add: NodeId,
    },
    /// The node is no member.
    Remove(NodeId),
}

/// Since when each is seen failed without a break.
pub(crate) type Failing = BTreeMap<Subject, Instant>;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    /// There may be a next one.
    On,
    /// Nothing more in this turn.
    No,
}

/// Plans and carries out, while its node leads.
pub(super) struct Executor<C, W> {
    pub(super) ledger: Ledger<C>,
    pub(super) world: W,
    pub(super) policy: Policy,
    pub(super) metrics: Metrics,
    /// What is to be done next, and which attempts are this executor's own.
    driver: Driver,
    /// Since when each is seen failed.
    pub(super) failing: Failing,
    probation: Duration,
    /// Since when each service that has a plan is seen well.
    well: Failing,
    /// What was said about those whom nothing is done about.
    pub(super) said: BTreeMap<Subject, Withheld>,
}

impl<C: Coordination, W: World> Executor<C, W> {
    pub(super) fn new(ledger: Ledger<C>, world: W, (policy, times): (Policy, Times), metrics: Metrics) -> Self {
        let (failing, well, said) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Executor { ledger, world, policy, metrics, driver: Driver::new(times.patience), failing, probation: times.probation, well, said }
    }

    /// This node does not lead, or may not have: what it remembers says nothing.
    pub(super) fn forget(&mut self) {
        self.driver.retain(|_| false);
        self.failing.clear();
        self.well.clear();
        self.said.clear();
    }

    /// One turn. The records as they were read at its beginning; `None`: this node does not lead.
    ///
    /// # Errors
    /// The store's. Whatever was begun is taken up in a later turn, by whoever leads then.
    pub(super) async fn turn(&mut self, now: Instant) -> Result<Option<Book>, Error> {
        let Some((book, observed)) = self.look(now).await? else { return Ok(None) };
        let decision = decide(&observed, &book.records(), &self.policy);
        self.say(&decision.withheld);
        if !decision.changes.is_empty() && !self.ledger.commit(&book, decision, &observed).await? {
            return Ok(Some(book));
        }
        let Some((after, _)) = self.look(now).await? else { return Ok(None) };
        let open: Vec<PlanId> = after.plans.values().filter(|kept| kept.plan.is_open()).map(|kept| kept.plan.id.clone()).collect();
        self.driver.retain(|id| open.contains(id));
        self.well.retain(|subject, _| open.iter().any(|id| id.subject == *subject));
        for id in open {
            self.advance(&id, now).await?;
        }
        Ok(Some(book))
    }

    /// The records, and what is seen; for how long somebody is failed is counted by the way.
    async fn look(&mut self, now: Instant) -> Result<Option<(Book, Observed)>, Error> {
        let book = self.ledger.read().await?;
        let Some(mut observed) = self.world.observe(&book, now) else {
            self.forget();
            return Ok(None);
        };
        let is_failed = |seen: Option<&Seen>| seen.is_some_and(|seen| seen.state == HealthState::Failed);
        self.failing.retain(|subject, _| is_failed(observed.subjects.get(subject)));
        for (subject, seen) in observed.subjects.iter_mut().filter(|(_, seen)| seen.state == HealthState::Failed) {
            let since = *self.failing.entry(subject.clone()).or_insert(now);
            seen.failed_for = now.since(since);
        }
        Ok(Some((book, observed)))
    }

    async fn advance(&mut self, id: &PlanId, now: Instant) -> Result<(), Error> {
        for _ in 0..STEPS {
            let Some((book, observed)) = self.look(now).await? else { return Ok(()) };
            let Some(kept) = book.plans.get(id) else { return Ok(()) };
            if self.step(kept.clone(), &observed, now).await? == Moved::No {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The current step of a plan as it was read just now: it is begun, its effect is asked for once, and what came of it is written.
    async fn step(&mut self, mut kept: Kept, observed: &Observed, now: Instant) -> Result<Moved, Error> {
        let done = kept.plan.progress().0;
        let mut is_asked_for = false;
        loop {
            match self.driver.next(&kept.recorded(), observed, now) {
                Next::Write(plan) => {
                    let before = kept.plan.clone();
                    let Some(written) = self.ledger.write(&kept, plan).await? else { return Ok(Moved::No) };
                    self.driver.written(&written.plan.id, written.revision(), now);
                    self.report(&before, &written.plan);
                    let is_running = written.plan.current().is_some_and(|step| step.state == StepState::Running);
                    if !is_running {
                        // A failed attempt is followed by the next one in a later turn.
                        let is_done = written.plan.progress().0 > done && written.plan.is_open();
                        return Ok(if is_done { Moved::On } else { Moved::No });
                    }
                    kept = written;
                }
                Next::CarryOut(effect) if !is_asked_for => {
                    is_asked_for = true;
                    self.bring_about(&kept.plan.id, &effect, observed, now).await;
                }
                Next::CarryOut(_) | Next::Rest => return Ok(Moved::No),
            }
        }
    }

    async fn bring_about(&mut self, id: &PlanId, effect: &Effect, observed: &Observed, now: Instant) {
        match self.carry_out(effect, observed, now).await {
            Ok(()) => self.driver.carried_out(id, Ok(())),
            Err(Trouble::NotYet(trouble)) => {
                tracing::debug!(plan = plan_name(id), %effect, trouble, "recovery: not yet");
                self.driver.carried_out(id, Err(trouble));
            }
            Err(Trouble::Never(trouble)) => self.driver.hopeless(id, trouble),
        }
    }

    /// Each effect is a state to reach. What the cluster's servers hold is all in the log, of which a majority has every acknowledged write: so there is
    /// nothing to take from one that failed but its vote, and nothing of it to save. Leases and locks are their clients', whichever server these use.
    /// An agent holds nothing at all, and a service what its own restart ends.
    async fn carry_out(&mut self, effect: &Effect, observed: &Observed, now: Instant) -> Result<(), Trouble> {
        let seen = |subject: &Subject| observed.subjects.get(subject);
        let store = |result: Result<(), Error>| result.map_err(|error| Trouble::NotYet(error.to_string()));
        match effect {
            Effect::ConfirmFailed(subject) => match seen(subject) {
                Some(seen) if seen.state == HealthState::Failed => Ok(()),
                Some(_) | None => Err(format!("{subject} is not held for failed any more").into()),
            },
            Effect::RaiseEpoch { subject, epoch } => store(self.ledger.raise_epoch(subject, *epoch).await),
            Effect::RevokeHeld { .. } | Effect::SaveCheckpoint { .. } => Ok(()),
            Effect::StartService { subject: Subject::Service { node, name }, epoch } => self.world.restart(*node, name, *epoch).await,
            Effect::StartService { subject: subject @ Subject::Node(_), .. } => Err(Trouble::Never(format!("{subject} is no service"))),
            Effect::AddLearner(node) => Ok(self.world.change(MemberChange::Learn(*node)).await?),
            Effect::AwaitCaughtUp(node) => Ok(self.world.change(MemberChange::CatchUp(*node)).await?),
            Effect::SwapVoters { remove, add } => Ok(self.world.change(MemberChange::Swap { remove: *remove, add: *add }).await?),
            Effect::RemoveNode(node) => match observed.node(*node).map(|seen| seen.role) {
                // It may have come back since its fence: then it is there, and its records are those of a new one.
                Some(Role::Agent) => store(self.ledger.mark_removed(*node).await),
                Some(Role::Voter | Role::Learner | Role::Spare | Role::Service) | None => {
                    Ok(self.world.change(MemberChange::Remove(*node)).await?)
                }
            },
            Effect::AwaitFit(subject) => match (seen(subject), subject) {
                (Some(seen), Subject::Node(_)) if seen.is_fit() => Ok(()),
                (Some(seen), Subject::Service { .. }) => self.prove(subject, seen, now),
                (Some(seen), Subject::Node(_)) => Err(format!("{subject} is {}: {}", seen.state, seen.cause).into()),
                (None, _) => Err(format!("{subject} is not there").into()),
            },
            Effect::ConfirmGone(node) => match observed.node(*node) {
                None => Ok(()),
                Some(seen) if seen.role == Role::Agent && seen.is_alive() => Ok(()),
                Some(_) => Err(format!("{node} is still a member").into()),
            },
        }
    }

    /// Whether a service has been well for long enough. A new leader counts anew.
    fn prove(&mut self, subject: &Subject, seen: &Seen, now: Instant) -> Result<(), Trouble> {
        match (seen.is_fit(), self.well.get(subject)) {
            (true, Some(since)) if now.since(*since) >= self.probation => Ok(()),
            (true, since) => {
                let since = since.copied().unwrap_or(now);
                self.well.insert(subject.clone(), since);
                Err(format!("{subject} is well for {} of {} s", now.since(since).as_secs(), self.probation.as_secs()).into())
            }
            (false, Some(_)) if seen.state == HealthState::Failed => Err(Trouble::Never(format!("it failed again: {}", seen.cause))),
            (false, since) => {
                if since.is_some() {
                    self.well.insert(subject.clone(), now);
                }
                Err(format!("{subject} is {}: {}", seen.state, seen.cause).into())
            }
        }
    }

    /// Counts what a write says, and tells it.
    fn report(&mut self, before: &Plan, after: &Plan) {
        let ((done, attempts), (now_done, now_attempts)) = (before.progress(), after.progress());
        let plan = plan_name(&after.id);
        if now_attempts > attempts {
            self.metrics.recovery_attempts.increment(1);
            if let Some(step) = after.current() {
                tracing::info!(plan, step = %step.name, attempt = step.attempts, "recovery: {}", step.effect);
            }
        } else if now_done > done {
            self.metrics.recovery_steps.increment(1);
        } else {
            self.metrics.recovery_attempts_failed.increment(1);
        }
        if !after.is_open() {
            self.well.remove(&after.id.subject);
            let end = after.end.as_deref().unwrap_or("all steps are done");
            tracing::info!(plan, state = ?after.state, end, "recovery: the plan has ended");
        }
    }

    /// Why nothing is done about somebody, once.
    fn say(&mut self, withheld: &[(Subject, Withheld)]) {
        for (subject, why) in withheld {
            if self.said.get(subject) != Some(why) && *why != Withheld::Delay {
                tracing::warn!(%subject, "recovery: nothing is done about it: {why}");
            }
        }
        self.said = withheld.iter().cloned().collect();
    }
}
