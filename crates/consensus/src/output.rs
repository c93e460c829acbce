//! What comes out of the core, and the numbers that tie outputs to later inputs.

use alloc::vec::Vec;
use steadfast_types::{
    Configuration, Entry, HardState, LogIndex, LogPosition, NodeId, Term,
    wire::{Reader, Wire, WireError},
};

use crate::Message;

/// Counts log writes of one process life, from 1. `log_synced(n)` means that all writes up to `n` are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSequence(pub u64);

/// Counts a node's linearizable reads. Confirming a number confirms all up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadNumber(pub u64);

impl Wire for ReadNumber {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        u64::decode(reader).map(ReadNumber)
    }
}

/// One write to the log on disk: first the hard state if given, then a cut if given, then the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogWrite {
    /// Its number.
    pub sequence: WriteSequence,
    /// The hard state to remember, if it changed.
    pub hard_state: Option<HardState>,
    /// Entries from this index on are replaced (they conflicted with the leader's).
    pub truncate_from: Option<LogIndex>,
    /// Entries to append, without gaps after what remains.
    pub entries: Vec<Entry>,
}

/// Entries that a follower needs and that are no longer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchEntries {
    /// For whom.
    pub follower: NodeId,
    /// The first index wanted.
    pub from: LogIndex,
    /// About how many bytes of entries are useful; at least one entry.
    pub max_bytes: usize,
}

/// Reads up to `number` may be answered once `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// The newest confirmed read.
    pub number: ReadNumber,
    /// The index to wait for.
    pub index: LogIndex,
}

/// What a node is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes the leader's entries.
    Follower,
    /// Asks whether it would win, without a new term.
    PreCandidate,
    /// Asks for votes in a new term.
    Candidate,
    /// Orders the log.
    Leader,
}

/// A change of role, term or leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role now.
    pub role: Role,
    /// The term now.
    pub term: Term,
    /// The leader of that term, once known.
    pub leader: Option<NodeId>,
}

/// Everything that came out since the last drain. The crate's documentation says what to do with each, and in which order.
#[derive(Debug, Default)]
pub struct Outputs {
    /// At most one write per drain; always has something in it.
    pub log_write: Option<LogWrite>,
    /// To whom, what.
    pub messages: Vec<(NodeId, Message)>,
    /// Newly committed entries, in order.
    pub committed: Vec<Entry>,
    /// The newest confirmed reads.
    pub read_ready: Option<ReadReady>,
    /// Entries to read back.
    pub fetch: Vec<FetchEntries>,
    /// Followers that need a snapshot, and the entry that it must cover at least.
    pub snapshot_wanted: Vec<(NodeId, LogIndex)>,
    /// Role, term and leader, if any of them changed.
    pub role: Option<RoleChange>,
    /// The configuration in force, if it changed, and the entry it came with.
    pub configuration: Option<(LogPosition, Configuration)>,
}
