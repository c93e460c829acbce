//! What a core starts from: how it shall behave, and what storage found.

use alloc::vec::Vec;
use steadfast_types::{Configuration, Entry, HardState, LogIndex, LogPosition, NodeId, Term, time::Duration};

/// How a node behaves; the same on all members (but for `id`).
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// How often a leader shows that it lives. More than zero.
    pub heartbeat_interval: Duration,
    /// Without a leader for this long (randomised up to twice) a follower asks around; without a quorum for this long a leader steps down.
    /// More than two heartbeat intervals.
    pub election_timeout: Duration,
    /// Answer reads on the leader without a quorum round while its lease lasts. Off unless clocks can be trusted to drift by less than
    /// `clock_drift_percent`. Safe only when *all* members run with it on: it is what makes them keep the leader's lease in every case.
    pub lease_reads: bool,
    /// The bound on relative clock drift that lease reads assume, in percent; less than 100.
    pub clock_drift_percent: u32,
    /// Bytes of entries in one append, at most; a larger entry goes alone.
    pub append_bytes: usize,
    /// Bytes of recent entries kept in memory.
    pub recent_entry_bytes: usize,
}

/// What storage found at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Term, vote, suspicion.
    pub hard_state: HardState,
    /// What the state machine has applied durably: the log is replayed after this.
    pub snapshot: LogPosition,
    /// The configuration at `snapshot`.
    pub configuration: Configuration,
    /// The term of each run of entries that the log on disk still holds up to `snapshot`: (first index, term), ascending. Empty if it holds none.
    pub terms: Vec<(LogIndex, Term)>,
    /// All entries after `snapshot`, in order.
    pub entries: Vec<Entry>,
}
