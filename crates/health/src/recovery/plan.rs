//! A recovery plan: the record that is kept in strong state, and the only ways in which it changes.
//!
//! 1. Steps are carried out in order; at most one is running, and all before it are done.
//! 2. A plan that has ended never changes.
//! 3. Whoever changes a record writes it only if it is still at the revision that it was read at. So each of these calls takes a plan as it is in
//!    strong state, and gives the one to write.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use steadfast_types::{NodeId, wire_enum, wire_struct};

use super::observed::Epoch;
use super::step::{Effect, Precondition, Step, StepName, StepState};
use crate::limits::{DETAIL_BYTES, cut};
use crate::subject::Subject;

/// Which plan: the subject's epoch that it raises. Two planners that see the same make the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlanId {
    /// Whom it is about.
    pub subject: Subject,
    /// The epoch that its fence raises the subject to.
    pub epoch: Epoch,
}
wire_struct!(PlanId { subject, epoch });

/// What a plan does in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A spare takes a voter's place.
    ReplaceVoter {
        /// Who.
        spare: NodeId,
    },
    /// A node that does not vote goes.
    RemoveNode,
    /// A service is started anew.
    RestartService,
}
wire_enum!(Kind { 1 => ReplaceVoter { spare }, 2 => RemoveNode {}, 3 => RestartService {} });

/// How far a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// Steps are left.
    Open,
    /// All steps are done.
    Done,
    /// A step was given up, or the plan has lost its point after the fence.
    Failed,
    /// Ended before the fence.
    Cancelled,
}
wire_enum!(PlanState { 1 => Open {}, 2 => Done {}, 3 => Failed {}, 4 => Cancelled {} });

/// Why a plan does not change so. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The plan has ended.
    #[error("the plan has ended")]
    Ended,
    /// The next step waits for a person.
    #[error("the plan waits for approval: see `steadfast recovery`")]
    WaitsForApproval,
    /// Nothing waits for a person.
    #[error("the plan does not wait for approval")]
    NotWaiting,
    /// No step is running.
    #[error("no step of the plan is running")]
    NotRunning,
    /// The fence has begun: there is no way back.
    #[error("the fence has begun; the plan goes on to its end")]
    Fenced,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which.
    pub id: PlanId,
    /// What it does.
    pub kind: Kind,
    /// Why it was made, in words.
    pub cause: String,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How far it is.
    pub state: PlanState,
    /// A person has agreed; the planner releases it when the brake allows.
    pub approved: bool,
    /// How often each step may be begun.
    pub attempts: u32,
    /// Why it failed or was cancelled.
    pub end: Option<String>,
}
wire_struct!(Plan { id, kind, cause, steps, state, approved, attempts, end });

impl Plan {
    /// A plan that has not begun; it waits before its fence if `waits`.
    pub(super) fn new(id: PlanId, kind: Kind, cause: &str, attempts: u32, waits: bool) -> Self {
        let mut steps = steps(&id, kind);
        if waits && let Some(fence) = steps.iter_mut().find(|step| step.name == StepName::Fence) {
            fence.state = StepState::WaitingApproval;
        }
        let cause = cut(cause, DETAIL_BYTES).into();
        Plan { id, kind, cause, steps, state: PlanState::Open, approved: false, attempts: attempts.max(1), end: None }
    }

    /// Whether steps are left.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == PlanState::Open
    }

    /// Whether it waits for a person, or for its release after that.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.is_open() && self.steps.iter().any(|step| step.state == StepState::WaitingApproval)
    }

    /// Whether a step of this name was ever begun.
    #[must_use]
    pub fn has_begun(&self, name: StepName) -> bool {
        self.steps.iter().any(|step| step.name == name && step.has_begun())
    }

    /// Whether the effect of the step of this name is there.
    #[must_use]
    pub fn has_done(&self, name: StepName) -> bool {
        self.steps.iter().any(|step| step.name == name && step.state == StepState::Done)
    }

    /// The step to carry out, if the plan is open.
    #[must_use]
    pub fn current(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.state != StepState::Done).filter(|_| self.is_open())
    }

    fn current_mut(&mut self) -> Result<&mut Step, PlanError> {
        let open = self.is_open();
        self.steps.iter_mut().find(|step| step.state != StepState::Done).filter(|_| open).ok_or(PlanError::Ended)
    }

    /// The current step begins, or begins again after a crash; write this before its effect. If it was begun often enough, the plan fails instead: then
    /// it is no longer open, and there is nothing to carry out.
    ///
    /// # Errors
    /// If the plan has ended or waits.
    pub fn begin(mut self) -> Result<Plan, PlanError> {
        let attempts = self.attempts;
        let step = self.current_mut()?;
        if step.state == StepState::WaitingApproval {
            return Err(PlanError::WaitsForApproval);
        }
        if step.attempts >= attempts {
            return Ok(self.give_up());
        }
        step.attempts += 1;
        step.state = StepState::Running;
        Ok(self)
    }

    /// The current step's effect is there.
    ///
    /// # Errors
    /// If no step is running.
    pub fn finish(mut self) -> Result<Plan, PlanError> {
        let step = self.current_mut()?;
        if step.state != StepState::Running {
            return Err(PlanError::NotRunning);
        }
        step.state = StepState::Done;
        if self.current().is_none() {
            self.state = PlanState::Done;
        }
        Ok(self)
    }

    /// The current step's attempt failed: it is tried again, or the plan fails if it was begun often enough. An attempt whose precondition does not
    /// hold fails like this too.
    ///
    /// # Errors
    /// If no step is running.
    pub fn fail_attempt(mut self, trouble: &str) -> Result<Plan, PlanError> {
        let attempts = self.attempts;
        let step = self.current_mut()?;
        if step.state != StepState::Running {
            return Err(PlanError::NotRunning);
        }
        step.trouble = Some(cut(trouble, DETAIL_BYTES).into());
        if step.attempts >= attempts {
            return Ok(self.give_up());
        }
        step.state = StepState::Pending;
        Ok(self)
    }

    fn give_up(mut self) -> Plan {
        let mut end = String::from("a step was tried too often");
        if let Ok(step) = self.current_mut() {
            step.state = StepState::Failed;
            end = alloc::format!("{}: given up after {} attempts", step.name, step.attempts);
        }
        self.state = PlanState::Failed;
        self.end = Some(end);
        self
    }

    /// The current step can't succeed, however often it is tried: the plan fails.
    ///
    /// # Errors
    /// If no step is running.
    pub fn give_up_at(mut self, why: &str) -> Result<Plan, PlanError> {
        let step = self.current_mut()?;
        if step.state != StepState::Running {
            return Err(PlanError::NotRunning);
        }
        step.state = StepState::Failed;
        step.trouble = Some(cut(why, DETAIL_BYTES).into());
        let end = alloc::format!("{}: {}", step.name, cut(why, DETAIL_BYTES));
        Ok(self.fail(&end))
    }

    /// A person agrees.
    ///
    /// # Errors
    /// If it does not wait.
    pub fn approve(mut self) -> Result<Plan, PlanError> {
        if !self.is_waiting() {
            return Err(PlanError::NotWaiting);
        }
        self.approved = true;
        Ok(self)
    }

    /// The brake lets an approved plan go on.
    pub(super) fn release(mut self) -> Plan {
        for step in self.steps.iter_mut().filter(|step| step.state == StepState::WaitingApproval) {
            step.state = StepState::Pending;
        }
        self
    }

    /// Ends the plan before its fence: a person refuses, or the subject is back.
    ///
    /// # Errors
    /// If it has ended, or the fence has begun.
    pub fn cancel(mut self, why: &str) -> Result<Plan, PlanError> {
        if !self.is_open() {
            return Err(PlanError::Ended);
        }
        if self.has_begun(StepName::Fence) {
            return Err(PlanError::Fenced);
        }
        self.state = PlanState::Cancelled;
        self.end = Some(cut(why, DETAIL_BYTES).into());
        Ok(self)
    }

    /// How many steps are done, and how many attempts were begun.
    #[must_use]
    pub fn progress(&self) -> (usize, u32) {
        let done = self.steps.iter().filter(|step| step.state == StepState::Done).count();
        (done, self.steps.iter().map(|step| step.attempts).sum())
    }

    /// Ends the plan: it has lost its point.
    pub(super) fn fail(mut self, why: &str) -> Plan {
        self.state = PlanState::Failed;
        self.end = Some(why.into());
        self
    }
}

/// The steps of a plan of this kind.
fn steps(id: &PlanId, kind: Kind) -> Vec<Step> {
    let (subject, epoch) = (&id.subject, id.epoch);
    let (of, node) = (|| subject.clone(), subject.node());
    let fenced = || Precondition::Fenced { subject: of(), epoch };
    let verify = |effect| Step::new(StepName::Verify, Precondition::Nothing, effect);
    let replace = |precondition, effect| Step::new(StepName::Replace, precondition, effect);
    let mut steps = alloc::vec![
        Step::new(StepName::Identify, Precondition::Nothing, Effect::ConfirmFailed(of())),
        Step::new(StepName::Fence, Precondition::Failed(of()), Effect::RaiseEpoch { subject: of(), epoch }),
        Step::new(StepName::Stop, fenced(), Effect::RevokeHeld { subject: of(), below: epoch }),
        Step::new(StepName::Checkpoint, fenced(), Effect::SaveCheckpoint { subject: of(), epoch }),
    ];
    steps.extend(match kind {
        Kind::ReplaceVoter { spare } => alloc::vec![
            Step::new(StepName::Prepare, Precondition::Fit(spare), Effect::AddLearner(spare)),
            Step::new(StepName::CatchUp, Precondition::Fit(spare), Effect::AwaitCaughtUp(spare)),
            replace(Precondition::QuorumKept { remove: node, add: spare }, Effect::SwapVoters { remove: node, add: spare }),
            verify(Effect::AwaitFit(Subject::Node(spare))),
        ],
        Kind::RemoveNode => alloc::vec![replace(Precondition::NotVoter(node), Effect::RemoveNode(node)), verify(Effect::ConfirmGone(node))],
        Kind::RestartService => {
            alloc::vec![replace(Precondition::Alive(node), Effect::StartService { subject: of(), epoch }), verify(Effect::AwaitFit(of())),]
        }
    });
    steps
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::ReplaceVoter { spare } => alloc::format!("replaced by {spare}"),
            Kind::RemoveNode => "removed".into(),
            Kind::RestartService => "started anew".into(),
        };
        writeln!(f, "{} is {what}, epoch {}: {}", self.id.subject, self.id.epoch, self.cause)?;
        for (number, step) in self.steps.iter().enumerate() {
            write!(f, "  {}. {}: {} ({}", number + 1, step.name, step.effect, step.state)?;
            if let Some(trouble) = &step.trouble {
                write!(f, ", attempt {}: {trouble}", step.attempts)?;
            }
            writeln!(f, ")")?;
        }
        Ok(())
    }
}
