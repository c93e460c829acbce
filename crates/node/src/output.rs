//! What goes out of a turn.

use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_consensus::RoleChange;
use steadfast_state::alarm::Alarm;
use steadfast_state::auth::AuthEvent;
use steadfast_state::{Changes, Response};
use steadfast_types::disk::Disk;
use steadfast_types::{Configuration, Level, LogPosition, NodeId};

use crate::{Job, LeaseTtl, LogCommand};

/// Everything that a turn wants done. The crate's documentation says how.
#[derive(Debug)]
pub struct Outputs<S, D: Disk> {
    /// For the log driver, in order.
    pub log: Vec<LogCommand>,
    /// For the peers, in order for each.
    pub frames: Vec<(NodeId, Bytes)>,
    /// For any thread.
    pub jobs: Vec<Job<D>>,
    /// For the clients.
    pub answers: Vec<(S, Answer)>,
    /// For the watch hub, one item per applied entry that changed keys: the revision after it, and its events; none if they were too
    /// many, and are to be looked up in history.
    pub events: Vec<Changes>,
    /// For whoever keeps tokens and watchers, in order; to be heeded before the answers go out.
    pub auth: Vec<AuthEvent>,
    /// For the log and the shell.
    pub notices: Vec<Notice>,
}

impl<S, D: Disk> Default for Outputs<S, D> {
    fn default() -> Self {
        Outputs { log: vec![], frames: vec![], jobs: vec![], answers: vec![], events: vec![], auth: vec![], notices: vec![] }
    }
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command was replicated and applied; the response may still be an error that every replica agrees on.
    Applied(Response),
    /// The local state may be read.
    Readable,
    /// A lease's time.
    Lease(LeaseTtl),
    /// Done.
    Done,
    /// Not done, or not known to be.
    Refused(Refusal),
}

/// Why a request was not answered. Only for the kinds marked so is the outcome known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too much is waiting; nothing was done.
    #[error("too many requests")]
    TooManyRequests,
    /// No answer within the deadline; a command may still take effect.
    #[error("request timed out")]
    TimedOut,
    /// The outcome was lost, for a snapshot replaced the log that held it; a command may have taken effect.
    #[error("leader changed")]
    LeaderChanged,
    /// Only the leader does this; nothing was done.
    #[error("not leader")]
    NotLeader,
    /// There is no such member; nothing was done.
    #[error("member not found")]
    MemberNotFound,
    /// There is such a member already; nothing was done.
    #[error("member ID already exist")]
    MemberExists,
    /// A member with one of these peer addresses exists; nothing was done.
    #[error("Peer URLs already exists")]
    PeerUrlExists,
    /// Only a learner can be promoted; nothing was done.
    #[error("can only promote a learner member")]
    MemberNotLearner,
    /// The learner lags too far behind; nothing was done.
    #[error("can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// Another change is under way; nothing was done.
    #[error("another membership change is under way")]
    ChangeUnderWay,
    /// The change would leave too few live voters; nothing was done.
    #[error("re-configuration failed due to not enough started members")]
    NotEnoughMembers,
    /// Nobody takes the place of a voter that answers; nothing was done.
    #[error("the voter answers, so nobody takes its place")]
    VoterAnswers,
    /// Some member runs a release that does not know this yet; nothing was done.
    #[error("a member of the cluster runs a release that does not know this yet; upgrade it first")]
    LevelTooLow,
    /// Leadership can't go to this member; nothing was done.
    #[error("bad leader transferee")]
    BadTransferee,
    /// The node is stopping.
    #[error("server stopped")]
    Stopped,
    /// This node's quota is used up; nothing was done.
    #[error("mvcc: database space exceeded")]
    NoSpace,
}

steadfast_types::wire_enum!(Refusal {
    1 => TooManyRequests {},
    2 => TimedOut {},
    3 => LeaderChanged {},
    4 => NotLeader {},
    5 => MemberNotFound {},
    6 => MemberExists {},
    7 => PeerUrlExists {},
    8 => MemberNotLearner {},
    9 => LearnerNotReady {},
    10 => ChangeUnderWay {},
    11 => NotEnoughMembers {},
    12 => BadTransferee {},
    13 => Stopped {},
    14 => NoSpace {},
    15 => LevelTooLow {},
    16 => VoterAnswers {},
});

/// Something worth a log line, or that the shell must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Role, term or leader changed.
    Role(RoleChange),
    /// Another configuration is in force.
    Configuration(LogPosition, Configuration),
    /// The members in strong state changed (addresses, names): reread them.
    MembersChanged,
    /// The leader changes who is a member, and nobody asked for it; what and why.
    Autopilot(String),
    /// All members know this level now.
    Level(Level),
    /// This node is no longer a member: stop.
    Removed,
    /// A hand-over of a snapshot to this follower has begun.
    SnapshotSending {
        /// To whom.
        to: NodeId,
        /// The last entry it covers.
        position: LogPosition,
        /// Its size.
        bytes: u64,
    },
    /// The hand-over ended.
    SnapshotSent {
        /// To whom.
        to: NodeId,
        /// Whether the follower has it.
        installed: bool,
    },
    /// A snapshot replaced this node's state. Readers and watchers must start from the new tables.
    SnapshotInstalled(LogPosition),
    /// The log no longer holds entries up to this one.
    LogCompacted(LogPosition),
    /// The leader found that replicas differ: how. A replica whose state is not to be used says [`Notice::TablesDamaged`] itself.
    Diverged(String),
    /// An alarm was raised (true) or cleared, as of an entry applied now; replayed entries tell again.
    Alarm(Alarm, bool),
    /// A job failed in a way that is tried again; the reason.
    JobFailed(String),
    /// This node's tables are damaged, or their state is not that of the others: nothing more is applied here. [`crate::Node::reopen`] gets the state back from the peers.
    TablesDamaged(String),
    /// This node can't go on: its disk fails, or its data is damaged beyond repair; the reason.
    Fault(String),
}
