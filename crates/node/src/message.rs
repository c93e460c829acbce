//! What nodes say to each other, beyond consensus itself.

use bytes::Bytes;
use steadfast_consensus::Message;
use steadfast_state::command::Origin;
use steadfast_types::{Entry, LeaseId, LogIndex, LogPosition, Term, wire_enum};

use crate::{LeaseTtl, MembershipChange, Refusal};

/// A frame between two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Consensus.
    Raft(Message),
    /// A follower hands its clients' commands to the leader of `term`; see `forward.rs`.
    Forward {
        /// The term whose leader may take them.
        term: Term,
        /// The sender's process life.
        incarnation: u64,
        /// The stream of that life; a greater number is a later one.
        stream: u64,
        /// The place of the first of them in the stream, from 0.
        first: u64,
        /// A `Batch` in wire form.
        batch: Bytes,
    },
    /// The leader misses what comes before: send again from here.
    ForwardExpected {
        /// The stream's term.
        term: Term,
        /// The stream's sender's process life.
        incarnation: u64,
        /// The stream.
        stream: u64,
        /// The next place it can take.
        next: u64,
    },
    /// A question only the leader can answer.
    Call {
        /// The term whose leader may take it.
        term: Term,
        /// Counts the caller's calls.
        number: u64,
        /// The question.
        question: Question,
    },
    /// The answer to a call.
    CallAnswer {
        /// As asked.
        number: u64,
        /// The answer.
        answer: CallAnswer,
    },
    /// A piece of a snapshot.
    SnapshotChunk {
        /// Names the hand-over; chosen at random by the sender.
        transfer: u64,
        /// The last entry the snapshot covers.
        position: LogPosition,
        /// Its whole size, bytes.
        total: u64,
        /// Where this piece begins.
        offset: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// How much of a snapshot has arrived.
    SnapshotProgress {
        /// The hand-over.
        transfer: u64,
        /// Bytes received in order.
        received: u64,
        /// It is installed, or no longer needed.
        done: bool,
    },
    /// A repairing node asks for entries it lost: those in `from..=anchor.index`, by log matching the same wherever `anchor` is in the log.
    LogRequest {
        /// The first one missing.
        from: LogIndex,
        /// The first entry after the missing ones; at the log's end, the last of them.
        anchor: LogPosition,
    },
    /// Entries for a repairing node, from the first one missing.
    LogReply {
        /// As asked.
        anchor: LogPosition,
        /// In order, perhaps not all.
        entries: Vec<Entry>,
    },
    /// A repairing node asks for a snapshot that covers this entry.
    SnapshotRequest {
        /// An older one is of no use.
        at_least: LogIndex,
    },
    /// The receiver of a snapshot does not know this hand-over, or could not write it down: it must begin again.
    SnapshotUnknown {
        /// The hand-over.
        transfer: u64,
    },
    /// The receiver of a snapshot found a checksum in it wrong: the sender should look at its tables.
    SnapshotDamaged {
        /// The hand-over.
        transfer: u64,
    },
    /// A leader of a later term than the anchor's, which has committed an entry of its own, does not have the anchor: neither it nor anything
    /// after it was ever committed.
    LogReplaced {
        /// As asked.
        anchor: LogPosition,
    },
    /// A member tells the leader how it stands; see `alarms.rs`.
    Standing {
        /// The leader's term.
        term: Term,
        /// What the member remembers of its running hash, oldest first.
        marks: Vec<(LogIndex, u64)>,
        /// Whether its quota is used up.
        is_short: bool,
    },
}

wire_enum!(PeerMessage {
    1 => Raft(message),
    2 => Forward { term, incarnation, stream, first, batch },
    3 => ForwardExpected { term, incarnation, stream, next },
    4 => Call { term, number, question },
    5 => CallAnswer { number, answer },
    6 => SnapshotChunk { transfer, position, total, offset, bytes },
    7 => SnapshotProgress { transfer, received, done },
    8 => LogRequest { from, anchor },
    9 => LogReply { anchor, entries },
    10 => SnapshotRequest { at_least },
    11 => SnapshotUnknown { transfer },
    12 => SnapshotDamaged { transfer },
    13 => LogReplaced { anchor },
    14 => Standing { term, marks, is_short },
});

/// A question only the leader can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Renew this lease.
    KeepAlive(LeaseId),
    /// How long has this lease?
    TimeToLive(LeaseId),
    /// Change the members; the outcome comes by the log, to `origin`.
    ChangeMembership {
        /// Who waits for the outcome.
        origin: Origin,
        /// The change.
        change: MembershipChange,
    },
}

wire_enum!(Question {
    1 => KeepAlive(id),
    2 => TimeToLive(id),
    3 => ChangeMembership { origin, change },
});

/// The leader's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// The lease's time.
    Lease(LeaseTtl),
    /// Refused; nothing was done.
    Refused(Refusal),
}

wire_enum!(CallAnswer { 1 => Lease(ttl), 2 => Refused(refusal) });
