//! What comes in: client requests, peer frames, and completions of what was asked of the shell.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_state::command::Command;
use steadfast_types::disk::Disk;
use steadfast_types::{Instant, LeaseId, Level, NodeId, Revision};

use crate::{JobDone, LogDone};

/// One thing that happened.
#[derive(Debug)]
pub enum Input<S, D: Disk> {
    /// A client asks.
    Request(Request<S>),
    /// A frame of a peer; may be malformed, doubled or late.
    Frame {
        /// Whose connection it came on.
        from: NodeId,
        /// A [`crate::PeerMessage`] in wire form.
        frame: Bytes,
    },
    /// A peer has connected.
    PeerConnected {
        /// Who.
        peer: NodeId,
        /// The highest level it knows.
        level: Level,
    },
    /// A connection to or from this peer broke or was refused.
    PeerDisconnected(NodeId),
    /// Whether the watch hub wants events to say what was before; not, until it says so.
    WatchersWantPrevious(bool),
    /// Learners that are kept for the place of a voter: `Autopilot` promotes none of them. `None`: it is not known who they are, so it promotes nobody.
    /// Until the first of these there are none.
    Spares(Option<BTreeSet<NodeId>>),
    /// The log driver has done its work.
    LogDone(LogDone),
    /// A job has ended.
    JobDone(JobDone<D>),
}

/// A client's request, with the slot that its answer goes to.
#[derive(Debug)]
pub struct Request<S> {
    /// Handed back with the answer, untouched.
    pub slot: S,
    /// When the client is told that it timed out.
    pub deadline: Instant,
    /// What is asked.
    pub body: RequestBody,
}

/// What a client can ask of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// Replicate and apply a command: [`crate::Answer::Applied`]. Membership commands go by [`RequestBody::ChangeMembership`].
    Propose(Command),
    /// Wait until the local state holds everything acknowledged before: [`crate::Answer::Readable`].
    Linearize,
    /// Wait until the local state has reached this revision: [`crate::Answer::Readable`].
    AwaitRevision(Revision),
    /// Renew a lease: [`crate::Answer::Lease`].
    KeepAlive(LeaseId),
    /// A lease's remaining time: [`crate::Answer::Lease`].
    TimeToLive(LeaseId),
    /// Change who votes and who learns: [`crate::Answer::Applied`].
    ChangeMembership(MembershipChange),
    /// Give back all space that can be given back, compacted history above all: [`crate::Answer::Done`] at once; the rest goes by itself.
    Reclaim,
    /// Hand leadership to this member (only on the leader): [`crate::Answer::Done`] as soon as it is under way.
    MoveLeader(NodeId),
}

/// A change of the cluster's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Adds a member that will start later.
    Add {
        /// Its id, chosen at random by who asks.
        id: NodeId,
        /// Where its peers will reach it, as URLs.
        peer_urls: Vec<String>,
        /// Whether it only learns at first.
        learner: bool,
    },
    /// Removes a member.
    Remove(NodeId),
    /// Makes a learner a voter.
    Promote(NodeId),
    /// Lets a learner vote in the place of a voter that does not answer, who is removed: one joint change. To be asked of the leader itself: others may not know it yet.
    Replace {
        /// Who goes.
        voter: NodeId,
        /// Who comes; it must have caught up.
        learner: NodeId,
    },
}

steadfast_types::wire_enum!(MembershipChange {
    1 => Add { id, peer_urls, learner },
    2 => Remove(id),
    3 => Promote(id),
    4 => Replace { voter, learner },
});

/// A lease's times, as the leader counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTtl {
    /// Seconds left, rounded up; `None`: there is no such lease.
    pub remaining_s: Option<i64>,
}

steadfast_types::wire_struct!(LeaseTtl { remaining_s });
