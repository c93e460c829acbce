//! A step of a plan: its name, what must hold before it, what it does, and how far it is. All of it data: an executor carries it out.

use alloc::string::String;
use core::fmt;

use steadfast_types::{NodeId, wire_enum, wire_struct};

use super::observed::{Epoch, Observed, Role, Seen};
use crate::states::HealthState;
use crate::subject::Subject;

/// What a step is for, in the words of `steadfast recovery show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepName {
    /// Make sure whom it is about, and that it failed.
    Identify,
    /// Take its epoch from it: from here on there is no way back.
    Fence,
    /// Stop what it held.
    Stop,
    /// Save what is left of its work.
    Checkpoint,
    /// Let the spare have the log.
    Prepare,
    /// Wait until the spare has all of it.
    CatchUp,
    /// Replace, restart or remove it.
    Replace,
    /// See that all is well.
    Verify,
}
wire_enum!(StepName {
    1 => Identify {}, 2 => Fence {}, 3 => Stop {}, 4 => Checkpoint {}, 5 => Prepare {}, 6 => CatchUp {}, 7 => Replace {}, 8 => Verify {},
});

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepName::Identify => "identify",
            StepName::Fence => "fence",
            StepName::Stop => "stop",
            StepName::Checkpoint => "checkpoint",
            StepName::Prepare => "prepare",
            StepName::CatchUp => "catch up",
            StepName::Replace => "replace",
            StepName::Verify => "verify",
        })
    }
}

/// What must be observed before a step is carried out. An executor asks again before each attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The subject is held for failed.
    Failed(Subject),
    /// The subject's epoch is at least this.
    Fenced {
        /// Whose.
        subject: Subject,
        /// Which.
        epoch: Epoch,
    },
    /// The node is there and fit to take over a role.
    Fit(NodeId),
    /// A majority of the voters is alive before and after one takes another's place.
    QuorumKept {
        /// Who goes.
        remove: NodeId,
        /// Who comes.
        add: NodeId,
    },
    /// The node that the service is to run on is alive.
    Alive(NodeId),
    /// The node does not vote.
    NotVoter(NodeId),
    /// Nothing.
    Nothing,
}
wire_enum!(Precondition {
    1 => Failed(subject), 2 => Fenced { subject, epoch }, 3 => Fit(node), 4 => QuorumKept { remove, add }, 5 => Alive(node), 6 => NotVoter(node),
    7 => Nothing {},
});

impl fmt::Display for Precondition {
    /// After "that".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Precondition::Failed(subject) => write!(f, "{subject} is failed"),
            Precondition::Fenced { subject, epoch } => write!(f, "{subject} is fenced by epoch {epoch}"),
            Precondition::Fit(node) => write!(f, "node {node} is well"),
            Precondition::QuorumKept { remove, add } => write!(f, "a majority of the voters is alive with {add} in place of {remove}"),
            Precondition::Alive(node) => write!(f, "node {node} is alive"),
            Precondition::NotVoter(node) => write!(f, "node {node} does not vote"),
            Precondition::Nothing => f.write_str("nothing is asked for"),
        }
    }
}

impl Precondition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, observed: &Observed) -> bool {
        let seen = |subject: &Subject| observed.subjects.get(subject);
        match self {
            Precondition::Failed(subject) => seen(subject).is_some_and(|seen| seen.state == HealthState::Failed),
            Precondition::Fenced { subject, epoch } => seen(subject).is_none_or(|seen| seen.epoch >= *epoch),
            Precondition::Fit(node) => observed.node(*node).is_some_and(Seen::is_fit),
            Precondition::QuorumKept { remove, add } => observed.swap_keeps_quorum(*remove, *add),
            Precondition::Alive(node) => observed.node(*node).is_some_and(Seen::is_alive),
            Precondition::NotVoter(node) => observed.node(*node).is_none_or(|seen| seen.role != Role::Voter),
            Precondition::Nothing => true,
        }
    }
}

/// What a step brings about. Each is a state to reach, not a motion to make: carried out twice it is as if once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Strong state, read anew, holds the subject for failed.
    ConfirmFailed(Subject),
    /// The subject's epoch is at least this.
    RaiseEpoch {
        /// Whose.
        subject: Subject,
        /// To what.
        epoch: Epoch,
    },
    /// Leases, locks and roles that the subject holds under an older epoch are gone.
    RevokeHeld {
        /// Whose.
        subject: Subject,
        /// Older than this.
        below: Epoch,
    },
    /// What is left of the subject's work is saved under this epoch: where it stood, and what nobody else has.
    SaveCheckpoint {
        /// Whose.
        subject: Subject,
        /// Under which name.
        epoch: Epoch,
    },
    /// The node is a learner, or votes already.
    AddLearner(NodeId),
    /// The node has what was committed when it was asked.
    AwaitCaughtUp(NodeId),
    /// `add` votes and `remove` does not, by one joint change.
    SwapVoters {
        /// Who goes.
        remove: NodeId,
        /// Who comes.
        add: NodeId,
    },
    /// The node is no member. One that votes is left alone: then the attempt fails.
    RemoveNode(NodeId),
    /// The service runs under this epoch.
    StartService {
        /// Which.
        subject: Subject,
        /// Under which epoch.
        epoch: Epoch,
    },
    /// The subject is healthy or degraded.
    AwaitFit(Subject),
    /// Nobody counts on the node any more.
    ConfirmGone(NodeId),
}
wire_enum!(Effect {
    1 => ConfirmFailed(subject),
    2 => RaiseEpoch { subject, epoch },
    3 => RevokeHeld { subject, below },
    4 => SaveCheckpoint { subject, epoch },
    5 => AddLearner(node),
    6 => AwaitCaughtUp(node),
    7 => SwapVoters { remove, add },
    8 => RemoveNode(node),
    9 => StartService { subject, epoch },
    10 => AwaitFit(subject),
    11 => ConfirmGone(node),
});

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::ConfirmFailed(subject) => write!(f, "make sure that {subject} failed"),
            Effect::RaiseEpoch { subject, epoch } => write!(f, "raise the epoch of {subject} to {epoch}"),
            Effect::RevokeHeld { subject: subject @ Subject::Node(_), below } => {
                write!(f, "take what {subject} held before epoch {below}: leases and locks are their clients', so nothing")
            }
            Effect::RevokeHeld { subject: subject @ Subject::Service { .. }, below } => {
                write!(
                    f,
                    "take what {subject} held before epoch {below}: its leases end by themselves, and what is left of its processes is its restart's to end"
                )
            }
            Effect::SaveCheckpoint { subject, epoch } => {
                write!(f, "save what is left of {subject}, as of epoch {epoch}: what was acknowledged is in the log, so nothing")
            }
            Effect::AddLearner(node) => write!(f, "send the log to {node}"),
            Effect::AwaitCaughtUp(node) => write!(f, "wait until {node} has caught up"),
            Effect::SwapVoters { remove, add } => write!(f, "let {add} vote in place of {remove}"),
            Effect::RemoveNode(node) => write!(f, "remove {node}"),
            Effect::StartService { subject, epoch } => write!(f, "start {subject} under epoch {epoch}"),
            Effect::AwaitFit(subject) => write!(f, "wait until {subject} is well"),
            Effect::ConfirmGone(node) => write!(f, "make sure that nobody counts on {node}"),
        }
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Not begun, or to be tried again.
    Pending,
    /// A person must agree first.
    WaitingApproval,
    /// Begun. Its effect may or may not be there.
    Running,
    /// Its effect is there.
    Done,
    /// Given up.
    Failed,
}
wire_enum!(StepState { 1 => Pending {}, 2 => WaitingApproval {}, 3 => Running {}, 4 => Done {}, 5 => Failed {} });

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepState::Pending => "pending",
            StepState::WaitingApproval => "waiting for approval",
            StepState::Running => "running",
            StepState::Done => "done",
            StepState::Failed => "failed",
        })
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is for.
    pub name: StepName,
    /// What must hold before it.
    pub precondition: Precondition,
    /// What it brings about.
    pub effect: Effect,
    /// How far it is.
    pub state: StepState,
    /// How often it was begun.
    pub attempts: u32,
    /// What the last failed attempt said.
    pub trouble: Option<String>,
}
wire_struct!(Step { name, precondition, effect, state, attempts, trouble });

impl Step {
    /// A step that has not begun.
    pub(super) fn new(name: StepName, precondition: Precondition, effect: Effect) -> Self {
        Step { name, precondition, effect, state: StepState::Pending, attempts: 0, trouble: None }
    }

    /// Whether its effect may be there.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.attempts > 0
    }
}
