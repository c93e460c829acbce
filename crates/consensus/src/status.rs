//! What the shell can ask a core about itself, and why a core refuses a proposal.

use alloc::vec::Vec;
use steadfast_types::{Configuration, Instant, LogIndex, LogPosition, NodeId, Term};

use crate::raft::{Raft, RoleState};
use crate::{ReadNumber, Role};

/// Why a proposal was not taken. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or none.
    #[error("not leader")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Too much is proposed and not yet committed.
    #[error("too many requests")]
    Busy,
    /// Leadership is being handed over.
    #[error("leadership is being transferred")]
    Transferring,
    /// A configuration change is still under way, or nothing of this term is committed yet.
    #[error("another configuration change is under way")]
    ChangeUnderWay,
    /// The configuration asked for has no voter.
    #[error("a cluster needs at least one voter")]
    NoVoters,
    /// Leadership can only go to another voter.
    #[error("leadership can only be handed to another voter of the cluster")]
    BadTarget,
}

/// How one follower stands, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Who.
    pub id: NodeId,
    /// The highest index known to be durable there.
    pub matched: LogIndex,
    /// Whether it answered in this term, within the last election timeout, and since its connection last broke.
    pub active: bool,
    /// Whether it waits for a snapshot.
    pub snapshot: bool,
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader of that term, once known.
    pub leader: Option<NodeId>,
    /// Its commit index.
    pub commit: LogIndex,
    /// Its last entry.
    pub last: LogPosition,
    /// The configuration in force.
    pub configuration: Configuration,
    /// On a leader, all other members; else empty.
    pub followers: Vec<FollowerStatus>,
    /// It may have lost entries that it acknowledged.
    pub suspect: bool,
}

impl Raft {
    /// How this node stands.
    pub fn status(&self) -> Status {
        Status {
            role: self.role(),
            term: self.term(),
            leader: self.leader,
            commit: self.log.commit(),
            last: self.log.last(),
            configuration: self.configuration().clone(),
            followers: self.followers(),
            suspect: self.hard_state.suspect,
        }
    }

    /// On a leader, how all other members stand; else empty.
    pub fn followers(&self) -> Vec<FollowerStatus> {
        let RoleState::Leader(leadership) = &self.role else { return Vec::new() };
        leadership.follower_status(self.now, self.config.election_timeout)
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// What it is.
    pub fn role(&self) -> Role {
        match self.role {
            RoleState::Follower => Role::Follower,
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// The leader of its term, once known.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Its commit index.
    pub fn commit_index(&self) -> LogIndex {
        self.log.commit()
    }

    /// The last entry known to be durable here. Entries may be committed, by the others, before they are durable here.
    pub fn durable_index(&self) -> LogIndex {
        self.log.durable()
    }

    /// The last entry.
    pub fn last(&self) -> LogPosition {
        self.log.last()
    }

    /// The term of an entry, if the log holds it or ends or begins there.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Whether it may have lost entries that it acknowledged.
    pub fn is_suspect(&self) -> bool {
        self.hard_state.suspect
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        self.configurations.latest()
    }

    /// Whether this node leads and has committed an entry of its own term: only then is its state machine the latest.
    pub fn is_established_leader(&self) -> bool {
        self.role() == Role::Leader && self.log.committed_term() == self.term()
    }

    /// The newest read that is confirmed.
    pub fn confirmed_reads(&self) -> ReadNumber {
        self.reads.confirmed()
    }

    /// When [`Raft::tick`] is needed next, at the latest.
    pub fn next_deadline(&self) -> Instant {
        let role = match &self.role {
            RoleState::Leader(leadership) => leadership.deadline(),
            RoleState::Follower | RoleState::PreCandidate(_) | RoleState::Candidate(_) => self.election.deadline(self.may_campaign()),
        };
        match (&self.role, self.leader) {
            (RoleState::Follower, Some(_)) => role.min(self.reads.deadline()),
            _ => role,
        }
    }
}
