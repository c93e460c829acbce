//! The planner: (observed, records, policy) to new and changed plans. It changes nothing itself.
//!
//! A decision is one batch: all of it is written, each changed record at the revision that it was read at and `head` unchanged, or nothing is.
//! `head` is the revision of a key that every such batch rewrites. So two planners that overlap (an old leader and a new one) can't both spend the
//! same budget; the one that loses looks again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{NodeId, Revision};

use super::observed::{Observed, Role, Seen};
use super::plan::{Kind, Plan, PlanId, PlanState};
use super::policy::{Mode, Policy};
use super::step::StepName;
use crate::limits::ENDED_PLANS;
use crate::states::HealthState;
use crate::subject::Subject;

/// A service that does not come up in so many attempts at a step is given up: to start it once more may help, to wait does not.
const SERVICE_ATTEMPTS: u32 = 10;

/// A plan as it is in strong state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The plan.
    pub plan: Plan,
    /// The revision that wrote it.
    pub revision: Revision,
}

/// All plans in strong state, read at one revision.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The revision of the key that every decision rewrites.
    pub head: Revision,
    /// The plans.
    pub plans: BTreeMap<PlanId, Recorded>,
}

/// A change of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new plan; there must be none of this id.
    Create(Plan),
    /// A changed plan, if it is still at this revision.
    Update {
        /// The plan as it shall be.
        plan: Plan,
        /// The revision that it was read at.
        if_revision: Revision,
    },
    /// An ended plan that is no longer kept.
    Delete {
        /// Which.
        id: PlanId,
        /// The revision that it was read at.
        if_revision: Revision,
    },
}

/// Why nothing is done about a failed subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It has not been failed for long enough.
    Delay,
    /// As many plans are at work as may be.
    Brake,
    /// Too many nodes are failed.
    MassFailure,
    /// Another voter is being replaced.
    OtherVoter,
    /// There is no spare that is fit.
    NoSpare,
    /// Less than a majority of the voters is alive.
    NoQuorum,
    /// The service's node is not alive.
    NodeDown,
    /// Its plans keep failing.
    NeedsPerson,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Withheld::Delay => "it may come back by itself",
            Withheld::Brake => "as many plans are at work as the policy allows",
            Withheld::MassFailure => "so many nodes are failed that the fault is likely elsewhere: look at the network first",
            Withheld::OtherVoter => "another voter is being replaced",
            Withheld::NoSpare => "there is no spare: start a server with the role of a spare",
            Withheld::NoQuorum => "less than a majority of the voters is alive: bring one back, or see `steadfast recovery force`",
            Withheld::NodeDown => "its node is down",
            Withheld::NeedsPerson => {
                "its plans keep failing: see `steadfast recovery show`, and let it be tried again with `steadfast recovery retry`"
            }
        })
    }
}

/// What is to be written, in one batch, and what is left undone and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The batch is void if this is no longer the revision of the head.
    pub head: Revision,
    /// The changes.
    pub changes: Vec<Change>,
    /// The failed subjects that nothing new is done about.
    pub withheld: Vec<(Subject, Withheld)>,
}

/// Decides.
#[must_use]
pub fn decide(observed: &Observed, records: &Records, policy: &Policy) -> Decision {
    let mut planner = Planner::new(observed, records, policy);
    planner.end_plans();
    planner.release_approved();
    planner.make_plans();
    planner.delete_ended();
    planner.decision
}

struct Planner<'a> {
    observed: &'a Observed,
    records: &'a Records,
    policy: &'a Policy,
    /// The plans that are open after this decision.
    open: BTreeMap<PlanId, Plan>,
    decision: Decision,
}

impl<'a> Planner<'a> {
    fn new(observed: &'a Observed, records: &'a Records, policy: &'a Policy) -> Self {
        let open = records.plans.iter().filter(|(_, recorded)| recorded.plan.is_open());
        let open = open.map(|(id, recorded)| (id.clone(), recorded.plan.clone())).collect();
        let decision = Decision { head: records.head, ..Decision::default() };
        Planner { observed, records, policy, open, decision }
    }

    fn update(&mut self, plan: Plan) {
        let Some(recorded) = self.records.plans.get(&plan.id) else { return };
        match plan.is_open() {
            true => self.open.insert(plan.id.clone(), plan.clone()),
            false => self.open.remove(&plan.id),
        };
        self.decision.changes.push(Change::Update { plan, if_revision: recorded.revision });
    }

    /// Cancels plans whose subject is back before the fence, and fails those that can't go on: whose subject is back in the middle of the fence, or votes again, or whose
    /// spare is gone before the exchange.
    fn end_plans(&mut self) {
        for plan in self.open.clone().into_values() {
            let is_failed = self.observed.subjects.get(&plan.id.subject).is_some_and(|seen| seen.state == HealthState::Failed);
            if !is_failed && !plan.has_begun(StepName::Fence) {
                if let Ok(cancelled) = plan.cancel("the subject is back") {
                    self.update(cancelled);
                }
            } else if !is_failed && !plan.has_done(StepName::Fence) {
                self.update(plan.fail("the subject came back while it was being fenced"));
            } else if self.is_back_in_its_place(&plan) {
                self.update(plan.fail("the voter came back before its place was taken"));
            } else if self.has_lost_its_spare(&plan) {
                self.update(plan.fail("the spare failed before it took the voter's place"));
            }
        }
    }

    /// Consensus gives away the place of no voter that answers, so the plan would only hold up the others.
    fn is_back_in_its_place(&self, plan: &Plan) -> bool {
        let votes_again = |seen: &Seen| seen.role == Role::Voter && seen.is_alive();
        let is_there = self.observed.subjects.get(&plan.id.subject).is_some_and(votes_again);
        is_there && matches!(plan.kind, Kind::ReplaceVoter { .. }) && !plan.has_done(StepName::Replace)
    }

    fn has_lost_its_spare(&self, plan: &Plan) -> bool {
        let Kind::ReplaceVoter { spare } = plan.kind else { return false };
        let is_lost = self.observed.node(spare).is_none_or(|seen| seen.state == HealthState::Failed);
        is_lost && !plan.has_begun(StepName::Replace)
    }

    fn release_approved(&mut self) {
        let approved: Vec<Plan> = self.open.values().filter(|plan| plan.approved && plan.is_waiting()).cloned().collect();
        for plan in approved {
            let role = self.observed.subjects.get(&plan.id.subject).map_or(role_of(plan.kind), |seen| seen.role);
            match self.brake(role) {
                Some(why) => self.decision.withheld.push((plan.id.subject.clone(), why)),
                None => self.update(plan.release()),
            }
        }
    }

    /// Why no further plan may go to work now, if so.
    fn brake(&self, role: Role) -> Option<Withheld> {
        if is_planted(Bug::EvictionWithoutBrakes) {
            return None;
        }
        let at_work = || self.open.values().filter(|plan| !plan.is_waiting());
        let (nodes, failed) = self.observed.kin_and_failed(role);
        if failed * 100 > nodes * self.policy.halt_above_percent {
            return Some(Withheld::MassFailure);
        }
        if role == Role::Voter && at_work().any(|plan| matches!(plan.kind, Kind::ReplaceVoter { .. })) {
            return Some(Withheld::OtherVoter);
        }
        (at_work().count() >= self.policy.concurrent).then_some(Withheld::Brake)
    }

    fn make_plans(&mut self) {
        let observed = self.observed;
        // Voters first: all else depends on them.
        let mut failed: Vec<(&Subject, &Seen)> = observed.subjects.iter().filter(|(_, seen)| seen.state == HealthState::Failed).collect();
        failed.sort_by_key(|(subject, seen)| (seen.role, *subject));
        for (subject, seen) in failed {
            if self.takes_part(subject) {
                continue;
            }
            match self.plan_for(subject, seen) {
                Ok(plan) => {
                    self.open.insert(plan.id.clone(), plan.clone());
                    self.decision.changes.push(Change::Create(plan));
                }
                Err(why) => self.decision.withheld.push((subject.clone(), why)),
            }
        }
    }

    /// Whether an open plan is about the subject, or counts on it: nothing takes part in two.
    fn takes_part(&self, subject: &Subject) -> bool {
        let counts_on = |plan: &Plan| spare_of(plan.kind).map(Subject::Node).as_ref() == Some(subject);
        self.open.values().any(|plan| plan.id.subject == *subject || counts_on(plan))
    }

    fn plan_for(&self, subject: &Subject, seen: &Seen) -> Result<Plan, Withheld> {
        let rule = self.policy.rule(seen.role);
        if seen.failed_for < rule.delay {
            return Err(Withheld::Delay);
        }
        let failed = self.failed_in_a_row(subject);
        if failed >= self.policy.failed_plans {
            return Err(Withheld::NeedsPerson);
        }
        // A service that does not stay up is started anew ever less often.
        if seen.role == Role::Service && seen.failed_for < rule.delay.saturating_mul(1 << failed.min(16)) {
            return Err(Withheld::Delay);
        }
        let waits = rule.mode == Mode::AfterApproval;
        if !waits && let Some(why) = self.brake(seen.role) {
            return Err(why);
        }
        let kind = self.kind_for(subject, seen)?;
        let id = PlanId { subject: subject.clone(), epoch: self.newest_epoch(subject, seen).next() };
        let attempts = match kind {
            Kind::RestartService => self.policy.attempts.min(SERVICE_ATTEMPTS),
            Kind::ReplaceVoter { .. } | Kind::RemoveNode => self.policy.attempts,
        };
        Ok(Plan::new(id, kind, &seen.cause, attempts, waits))
    }

    fn kind_for(&self, subject: &Subject, seen: &Seen) -> Result<Kind, Withheld> {
        match seen.role {
            Role::Voter => self.spare_for(subject.node()).map(|spare| Kind::ReplaceVoter { spare }),
            Role::Learner | Role::Spare | Role::Agent => Ok(Kind::RemoveNode),
            Role::Service => match self.observed.node(subject.node()).is_some_and(Seen::is_alive) {
                true => Ok(Kind::RestartService),
                false => Err(Withheld::NodeDown),
            },
        }
    }

    /// A spare for the voter `failed`: one that was prepared before is nearest to having caught up.
    fn spare_for(&self, failed: NodeId) -> Result<NodeId, Withheld> {
        let prepared: BTreeSet<NodeId> = self.records.plans.values().filter_map(|recorded| spare_of(recorded.plan.kind)).collect();
        let learners = self.observed.of_role(Role::Learner).filter(|(node, _)| prepared.contains(node));
        let mut spares = learners.chain(self.observed.of_role(Role::Spare));
        let is_free = |(node, seen): &(NodeId, &Seen)| seen.is_fit() && !self.takes_part(&Subject::Node(*node));
        let (spare, _) = spares.find(is_free).ok_or(Withheld::NoSpare)?;
        if self.observed.swap_keeps_quorum(failed, spare) { Ok(spare) } else { Err(Withheld::NoQuorum) }
    }

    fn plans_of(&self, subject: &Subject) -> impl DoubleEndedIterator<Item = &'a Plan> {
        let plans = self.records.plans.values().map(|recorded| &recorded.plan);
        plans.filter(move |plan| plan.id.subject == *subject)
    }

    fn newest_epoch(&self, subject: &Subject, seen: &Seen) -> super::observed::Epoch {
        self.plans_of(subject).map(|plan| plan.id.epoch).fold(seen.epoch, Ord::max)
    }

    fn failed_in_a_row(&self, subject: &Subject) -> usize {
        self.plans_of(subject).rev().take_while(|plan| plan.state == PlanState::Failed).count()
    }

    /// Ended plans beyond those that are kept go, in the order of their ids, those of subjects that are no longer there first.
    fn delete_ended(&mut self) {
        let ended = || self.records.plans.iter().filter(|(_, recorded)| !recorded.plan.is_open());
        let surplus = ended().count().saturating_sub(ENDED_PLANS);
        let mut candidates: Vec<(&PlanId, &Recorded)> = ended().collect();
        candidates.sort_by_key(|(id, _)| (self.observed.subjects.contains_key(&id.subject), id.epoch, *id));
        let deletes =
            candidates.into_iter().take(surplus).map(|(id, recorded)| Change::Delete { id: id.clone(), if_revision: recorded.revision });
        self.decision.changes.extend(deletes);
    }
}

/// Whose kind of plan it is, where its subject is not there any more.
fn role_of(kind: Kind) -> Role {
    match kind {
        Kind::ReplaceVoter { .. } => Role::Voter,
        Kind::RemoveNode => Role::Learner,
        Kind::RestartService => Role::Service,
    }
}

fn spare_of(kind: Kind) -> Option<NodeId> {
    match kind {
        Kind::ReplaceVoter { spare } => Some(spare),
        Kind::RemoveNode | Kind::RestartService => None,
    }
}
