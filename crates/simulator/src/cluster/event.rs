//! What can happen in the simulated world.

use bytes::Bytes;
use steadfast_node::{Job, JobDone, LogDone};
use steadfast_state::watch::StreamId;
use steadfast_types::{Level, NodeId};

use super::gossip::Happening;
use crate::disk::SimulatedDisk;
use crate::workload::OperationNumber;
use steadfast_proof::history::Answer;

/// Something that happens at a scheduled time.
pub(super) enum Event {
    /// A frame arrives, unless it is lost with the process that sent it.
    Frame { from: NodeId, life: u64, to: NodeId, frame: Bytes },
    /// A node learns that a peer has connected, and which level it knows.
    Connected { node: NodeId, peer: NodeId, level: Level },
    /// A node learns that its connection to a peer broke.
    Disconnected { node: NodeId, peer: NodeId },
    /// A machine starts its process.
    Start { node: NodeId },
    /// Something happens inside a process; nothing if that process is gone.
    Process { node: NodeId, life: u64, step: Box<Step> },
    /// A fault of a recurring kind strikes.
    Fault(Fault),
    /// A young leader fails, if it is still the same process.
    Ambush { node: NodeId, life: u64 },
    /// All partitions end.
    Reconnect,
    /// A full disk has room again.
    RoomOnDisk { node: NodeId },
    /// A client asks something.
    Invoke { client: usize },
    /// A request reaches a node.
    Request { number: OperationNumber, node: NodeId },
    /// An answer reaches its client.
    Answer { number: OperationNumber, answer: Option<Answer> },
    /// A client gives up on its request, if it still waits for it.
    GiveUp { number: OperationNumber },
    /// A locker does what comes next.
    Locker { locker: usize },
    /// A session reads.
    Session,
    /// The administrator changes users or roles.
    Administer,
    /// A watcher looks after its connection.
    Attend { watcher: usize },
    /// Something happens to a member.
    Gossip(Box<Happening>),
    /// A stream's client takes what comes next.
    Told { node: NodeId, stream: StreamId },
}

/// What happens inside a process.
pub(super) enum Step {
    /// The node's core loop turns.
    Turn,
    /// The log driver writes and syncs what waits.
    WriteLog,
    /// The node hears of it.
    LogDone(LogDone),
    /// A job runs.
    Job(Job<SimulatedDisk>),
    /// The node hears of it.
    JobDone(JobDone<SimulatedDisk>),
    /// A linearizable read, let through, reads the local state.
    Read(OperationNumber),
    /// The hub of the node's watches goes on.
    Hub,
}

/// The kinds of recurring faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Partition,
    Crash,
    Blackout,
    Pause,
    SlowDisk,
    FullDisk,
    Corruption,
    HandOver,
    Compaction,
    MemberChange,
    LostLog,
    Outage,
}

/// What the recurring faults are called.
pub const FAULT_NAMES: [&str; 12] = [
    "partition",
    "crash",
    "blackout",
    "pause",
    "slow disk",
    "full disk",
    "corruption",
    "hand-over",
    "compaction",
    "member change",
    "lost log",
    "outage",
];

pub(super) const FAULTS: [Fault; 12] = [
    Fault::Partition,
    Fault::Crash,
    Fault::Blackout,
    Fault::Pause,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::Corruption,
    Fault::HandOver,
    Fault::Compaction,
    Fault::MemberChange,
    Fault::LostLog,
    Fault::Outage,
];
