//! What nodes say to each other about the log. Every message carries its sender's term; the shell adds who it is from.

use alloc::vec::Vec;
use steadfast_types::{Configuration, Entry, LogIndex, LogPosition, Term, wire_enum, wire_struct};

use crate::output::ReadNumber;

/// A message between two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's term. In a pre-vote request, the term it would campaign in.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

wire_struct!(Message { term, body });

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Would you vote for me?" Changes nothing at the receiver (Raft thesis, section 9.6).
    PreVoteRequest {
        /// The last entry of the sender's log.
        last: LogPosition,
        /// The sender lost its connection to the leader, or led itself until now. A receiver that also missed two heartbeats need not wait out
        /// its leader's lease then.
        leader_is_gone: bool,
    },
    /// The answer to a pre-vote request; `term` is the term asked for when granted, else the receiver's own.
    PreVoteReply {
        /// Whether the receiver would vote so.
        granted: bool,
        /// The receiver may have lost entries it acknowledged; see the rule for suspect voters.
        suspect: bool,
    },
    /// "Vote for me" (Raft paper, section 5.2).
    VoteRequest {
        /// The last entry of the candidate's log.
        last: LogPosition,
        /// See [`Body::PreVoteRequest`].
        leader_is_gone: bool,
        /// The leader itself asked for this election: nobody needs to keep its lease.
        transfer: bool,
    },
    /// The answer to a vote request.
    VoteReply {
        /// Whether the vote is given.
        granted: bool,
        /// See [`Body::PreVoteReply`].
        suspect: bool,
    },
    /// New entries (Raft paper, section 5.3).
    Append {
        /// The entry before the first of `entries`.
        previous: LogPosition,
        /// Entries in order, without gaps; may be empty (a probe).
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: LogIndex,
    },
    /// The follower's log matches the leader's up to `matched`, durably.
    AppendAccepted {
        /// The highest index known to match and to be durable.
        matched: LogIndex,
    },
    /// The follower's log has no entry at `previous`.
    AppendRejected {
        /// The `previous.index` that was rejected, so that a late answer is recognised.
        rejected: LogIndex,
        /// Where the leader may try next: the follower's last entry with a term no greater than the rejected one's.
        hint: LogPosition,
    },
    /// The leader lives. Answered at once, without waiting for any disk.
    Heartbeat {
        /// The leader's commit index, at most what this follower is known to match.
        commit: LogIndex,
        /// The leader's read round.
        round: u64,
    },
    /// The follower still follows, as of that round.
    HeartbeatReply {
        /// The round answered.
        round: u64,
        /// The follower's log meets the leader's up to here, durable or not; by this a leader notices lost appends.
        verified: LogIndex,
    },
    /// A follower's reads up to `number` wait for an index.
    ReadIndex {
        /// The newest waiting read.
        number: ReadNumber,
        /// A random number of the asking process life: an answer to an earlier life must confirm nothing to this one.
        life: u64,
    },
    /// Reads up to `number` are safe once `index` is applied.
    ReadIndexReply {
        /// As asked.
        number: ReadNumber,
        /// As asked.
        life: u64,
        /// The leader's commit index, confirmed by a quorum after the question came.
        index: LogIndex,
    },
    /// The leader hands over: campaign now, without pre-vote (Raft thesis, section 3.10).
    TimeoutNow {},
    /// The receiver's snapshot chunk transfer has begun or ended is the shell's business; this only says where a snapshot the follower has
    /// installed ends, so that the leader resumes by log.
    SnapshotInstalled {
        /// The last entry the snapshot covers.
        position: LogPosition,
        /// The configuration there.
        configuration: Configuration,
    },
}

wire_enum!(Body {
    1 => PreVoteRequest { last, leader_is_gone },
    2 => PreVoteReply { granted, suspect },
    3 => VoteRequest { last, leader_is_gone, transfer },
    4 => VoteReply { granted, suspect },
    5 => Append { previous, entries, commit },
    6 => AppendAccepted { matched },
    7 => AppendRejected { rejected, hint },
    8 => Heartbeat { commit, round },
    9 => HeartbeatReply { round, verified },
    10 => ReadIndex { number, life },
    11 => ReadIndexReply { number, life, index },
    12 => TimeoutNow {},
    13 => SnapshotInstalled { position, configuration },
});
