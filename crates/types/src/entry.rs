//! An entry of the replicated log, and the hard state beside it.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::configuration::Configuration;
use crate::ids::{LogIndex, LogPosition, NodeId, Term};
use crate::wire::{Reader, Wire, WireError};

/// One entry of the replicated log. Encoded once by the leader; cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place in the log.
    pub index: LogIndex,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry, which lets it commit what earlier terms left (Raft paper, section 8).
    Empty,
    /// A batch of commands for the state machine; opaque to consensus.
    Batch(Bytes),
    /// A configuration, in force from the moment it is in the log, with the command that asked for it (opaque, may be empty) for the state
    /// machine to apply when it is committed.
    Change {
        /// The configuration from here on.
        configuration: Configuration,
        /// A batch for the state machine.
        batch: Bytes,
    },
}

impl Entry {
    /// Index and term.
    pub fn position(&self) -> LogPosition {
        LogPosition { term: self.term, index: self.index }
    }

    /// About how many bytes the entry takes on the wire, on disk and in memory.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 32;
        OVERHEAD
            + match &self.payload {
                Payload::Empty => 0,
                Payload::Batch(batch) => batch.len(),
                Payload::Change { configuration, batch } => batch.len() + 10 * configuration.members().len(),
            }
    }
}

impl Wire for Payload {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Payload::Empty => out.push(0),
            Payload::Batch(batch) => {
                out.push(1);
                batch.encode(out);
            }
            Payload::Change { configuration, batch } => {
                out.push(2);
                configuration.encode(out);
                batch.encode(out);
            }
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(reader)? {
            0 => Ok(Payload::Empty),
            1 => Ok(Payload::Batch(Bytes::decode(reader)?)),
            2 => Ok(Payload::Change { configuration: Configuration::decode(reader)?, batch: Bytes::decode(reader)? }),
            _ => Err(WireError::Invalid("payload")),
        }
    }
}

crate::wire_struct!(Entry { term, index, payload });

/// What a node must never forget besides its log (Raft paper, figure 2, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom it voted for in `term`.
    pub vote: Option<NodeId>,
    /// Set while the node may have lost entries that it acknowledged: the damaged tail could not be told from a torn one, or a hole is not
    /// yet repaired. Its votes, for itself too, then count only as the rule in `consensus` for suspect voters says. Cleared once its log holds an
    /// entry of a leader elected later.
    pub suspect: bool,
}

crate::wire_struct!(HardState { term, vote, suspect });
