//! The executor's part that decides: which record to write next, and which effect to carry out, for one plan at a time. Pure; the shell writes and acts.
//!
//! For each open plan the shell asks [`Driver::next`] with the record as it is in strong state, does what it says, and tells what came of it:
//! [`Driver::written`], and [`Driver::carried_out`] or [`Driver::hopeless`]. It may forget all at any time, as in a crash: what was begun is begun again.
//!
//! Writes follow each other: what was just written is a record as it is in strong state, so a shell may ask again with it in the same turn. An effect
//! that is not there yet is asked for again at once if the shell asks at once: when to, it decides.
//!
//! Invariants:
//! 1. An effect is carried out only for a step whose beginning this driver wrote, and which strong state still has as it was written. So what was decided
//!    and not committed, or was changed by somebody else since, has no effect.
//! 2. Each record is written in the place of the one that was read.
//! 3. What does not succeed is tried for [`Driver::patience`]; then the attempt has failed. What can't succeed fails the plan.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Instant, Revision};

use super::observed::Observed;
use super::plan::{Plan, PlanId};
use super::planner::Recorded;
use super::step::{Effect, StepName, StepState};

/// What the shell is to do about a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Write this, if the record is still at the revision that it was read at.
    Write(Plan),
    /// Carry this out: it does no harm if it is there already.
    CarryOut(Effect),
    /// Nothing: it has ended, or waits for somebody.
    Rest,
}

/// An attempt of this driver.
#[derive(Clone, Debug)]
struct Attempt {
    /// The write that began it.
    revision: Revision,
    since: Instant,
    /// What came of it last.
    result: Option<Result<(), String>>,
    /// Why no attempt can succeed, if so.
    hopeless: Option<String>,
}

/// Takes plans forward, step by step.
#[derive(Clone, Debug)]
pub struct Driver {
    /// For how long an attempt is tried.
    pub patience: Duration,
    attempts: BTreeMap<PlanId, Attempt>,
}

impl Driver {
    /// One that has begun nothing.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Driver { patience, attempts: BTreeMap::new() }
    }

    /// What to do about a plan, read just now.
    pub fn next(&mut self, recorded: &Recorded, observed: &Observed, now: Instant) -> Next {
        let plan = &recorded.plan;
        // What comes before the step that waits for a person is done meanwhile: it changes nothing.
        let Some(step) = plan.current().filter(|step| step.state != StepState::WaitingApproval) else {
            self.attempts.remove(&plan.id);
            return Next::Rest;
        };
        let is_running = step.state == StepState::Running;
        let own = self.attempts.get_mut(&plan.id).filter(|attempt| is_running && attempt.revision == recorded.revision);
        let Some(attempt) = own else {
            if is_planted(Bug::DecisionNotCommitted) && step.name == StepName::Replace {
                return Next::CarryOut(step.effect.clone());
            }
            return plan.clone().begin().map_or(Next::Rest, Next::Write);
        };
        let result = attempt.result.take();
        let is_late = now.since(attempt.since) >= self.patience;
        if let Some(why) = attempt.hopeless.take() {
            return plan.clone().give_up_at(&why).map_or(Next::Rest, Next::Write);
        }
        let written = match result {
            Some(Ok(())) => plan.clone().finish(),
            Some(Err(trouble)) if is_late => plan.clone().fail_attempt(&trouble),
            _ if step.precondition.holds(observed) => return Next::CarryOut(step.effect.clone()),
            _ if is_late => plan.clone().fail_attempt(&alloc::format!("it does not hold that {}", step.precondition)),
            _ => return Next::Rest,
        };
        written.map_or(Next::Rest, Next::Write)
    }

    /// A plan that [`Next::Write`] gave was written, by this revision.
    pub fn written(&mut self, id: &PlanId, revision: Revision, now: Instant) {
        self.attempts.insert(id.clone(), Attempt { revision, since: now, result: None, hopeless: None });
    }

    /// An effect was asked for, and whoever is to bring it about has said that it never will.
    pub fn hopeless(&mut self, id: &PlanId, why: String) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.hopeless = Some(why);
        }
    }

    /// Forgets the plans that are not `open`: so no more is remembered than there are of these.
    pub fn retain(&mut self, open: impl Fn(&PlanId) -> bool) {
        self.attempts.retain(|id, _| open(id));
    }

    /// What came of an effect: it is there, or why not yet.
    pub fn carried_out(&mut self, id: &PlanId, result: Result<(), String>) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.result = Some(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::observed::{Epoch, Role, Seen};
    use crate::recovery::plan::{Kind, PlanState};
    use crate::states::HealthState;
    use crate::subject::Subject;
    use steadfast_types::NodeId;

    const SUBJECT: Subject = Subject::Node(NodeId(9));

    fn observed(state: HealthState) -> Observed {
        let seen = Seen { role: Role::Agent, state, failed_for: Duration::ZERO, epoch: Epoch(1), cause: "test".into() };
        Observed { subjects: [(SUBJECT, seen)].into() }
    }

    fn recorded() -> Recorded {
        let plan = Plan::new(PlanId { subject: SUBJECT, epoch: Epoch(1) }, Kind::RemoveNode, "test", 2, false);
        Recorded { plan, revision: Revision(5) }
    }

    /// Writes what is to be written; the effects that come in between.
    fn drive(driver: &mut Driver, recorded: &mut Recorded, seconds: u64, result: Result<(), String>) -> alloc::vec::Vec<Effect> {
        let mut effects = alloc::vec::Vec::new();
        for second in 0..seconds {
            let now = Instant(second * 1_000_000);
            match driver.next(recorded, &observed(HealthState::Failed), now) {
                Next::Write(plan) => {
                    *recorded = Recorded { plan, revision: Revision(recorded.revision.0 + 1) };
                    driver.written(&recorded.plan.id, recorded.revision, now);
                }
                Next::CarryOut(effect) => {
                    effects.push(effect);
                    driver.carried_out(&recorded.plan.id, result.clone());
                }
                Next::Rest => {}
            }
        }
        effects
    }

    #[cfg(not(planted))]
    #[test]
    fn each_effect_comes_once_and_after_its_beginning_is_written() {
        let (mut driver, mut record) = (Driver::new(Duration::from_secs(5)), recorded());
        let planned: alloc::vec::Vec<Effect> = record.plan.steps.iter().map(|step| step.effect.clone()).collect();
        assert_eq!(drive(&mut driver, &mut record, 100, Ok(())), planned);
        assert_eq!(record.plan.state, PlanState::Done);
    }

    #[cfg(not(planted))]
    #[test]
    fn nothing_is_carried_out_that_strong_state_does_not_have_as_it_was_written() {
        let (mut driver, record) = (Driver::new(Duration::from_secs(5)), recorded());
        let Next::Write(begun) = driver.next(&record, &observed(HealthState::Failed), Instant(0)) else { panic!("it begins") };
        // The write is lost, or somebody else's comes first.
        assert!(matches!(driver.next(&record, &observed(HealthState::Failed), Instant(1)), Next::Write(_)));
        driver.written(&begun.id, Revision(7), Instant(1));
        let others = Recorded { plan: begun.clone(), revision: Revision(8) };
        assert!(matches!(driver.next(&others, &observed(HealthState::Failed), Instant(2)), Next::Write(_)));
        let own = Recorded { plan: begun, revision: Revision(7) };
        assert!(matches!(driver.next(&own, &observed(HealthState::Failed), Instant(2)), Next::CarryOut(_)));
    }

    #[cfg(not(planted))]
    #[test]
    fn a_plan_that_waits_is_identified_and_goes_no_further() {
        let plan = Plan::new(PlanId { subject: SUBJECT, epoch: Epoch(1) }, Kind::RemoveNode, "test", 2, true);
        let (mut driver, mut record) = (Driver::new(Duration::from_secs(5)), Recorded { plan, revision: Revision(5) });
        let effects = drive(&mut driver, &mut record, 100, Ok(()));
        assert_eq!(effects, [Effect::ConfirmFailed(SUBJECT)]);
        let states: alloc::vec::Vec<StepState> = record.plan.steps.iter().take(2).map(|step| step.state).collect();
        assert_eq!(states, [StepState::Done, StepState::WaitingApproval]);
    }

    #[cfg(not(planted))]
    #[test]
    fn what_can_t_succeed_fails_the_plan_at_once() {
        let (mut driver, mut record) = (Driver::new(Duration::from_secs(5)), recorded());
        drive(&mut driver, &mut record, 1, Ok(()));
        driver.hopeless(&record.plan.id, "there is no such command".into());
        drive(&mut driver, &mut record, 1, Ok(()));
        assert_eq!((record.plan.state, record.plan.end.as_deref()), (PlanState::Failed, Some("identify: there is no such command")));
        driver.retain(|_| false);
        assert!(driver.attempts.is_empty());
    }

    #[cfg(not(planted))]
    #[test]
    fn what_does_not_succeed_is_given_up_in_the_end() {
        let (mut driver, mut record) = (Driver::new(Duration::from_secs(5)), recorded());
        let effects = drive(&mut driver, &mut record, 100, Err("no".into()));
        assert_eq!((record.plan.state, record.plan.steps[0].attempts), (PlanState::Failed, 2));
        assert!(effects.len() >= 4, "tried for a while");
    }
}
