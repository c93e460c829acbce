//! The core itself: construction, and the inputs by name.

use bytes::Bytes;
use steadfast_types::{Configuration, Entry, HardState, Instant, LogIndex, LogPosition, NodeId, Term, time::Duration};

use crate::{Message, Outputs, ReadNumber, Role, WriteSequence};

/// How a node behaves; the same on all members.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// How often a leader shows that it lives.
    pub heartbeat_interval: Duration,
    /// Without a leader for this long (randomised up to twice) a follower asks around; without a quorum for this long a leader steps down.
    pub election_timeout: Duration,
    /// Answer reads on the leader without a quorum round while its lease lasts. Off unless clocks can be trusted to drift by less than
    /// `clock_drift_percent`.
    pub lease_reads: bool,
    /// The bound on relative clock drift that lease reads assume, in percent.
    pub clock_drift_percent: u32,
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
    pub terms: alloc::vec::Vec<(LogIndex, Term)>,
    /// All entries after `snapshot`, in order.
    pub entries: alloc::vec::Vec<Entry>,
}

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
}

/// How one follower stands, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Who.
    pub id: NodeId,
    /// The highest index known to be durable there.
    pub matched: LogIndex,
    /// Whether it answered within the last election timeout.
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
    pub followers: alloc::vec::Vec<FollowerStatus>,
    /// It may have lost entries that it acknowledged.
    pub suspect: bool,
}
#[allow(missing_docs, unused_variables, clippy::unimplemented)]
mod inputs {
    use super::*;
    /// One node's consensus.
    pub struct Raft {}
    impl Raft {
        /// `seed` makes all its choices; two nodes must not share one.
        pub fn new(config: Config, recovered: Recovered, seed: u64, now: Instant) -> Self {
            unimplemented!()
        }
        pub fn tick(&mut self, now: Instant) {
            unimplemented!()
        }
        /// When `tick` is needed next, at the latest.
        pub fn next_deadline(&self) -> Instant {
            unimplemented!()
        }
        pub fn receive(&mut self, from: NodeId, message: Message) {
            unimplemented!()
        }
        pub fn propose(&mut self, batch: Bytes) -> Result<LogPosition, ProposeError> {
            unimplemented!()
        }
        /// Moves to `target` (voters and learners; its `outgoing` must be empty) through a joint configuration when the voters change by it;
        /// the second step follows by itself when the first is committed. `batch` is applied with the first.
        pub fn propose_configuration(&mut self, target: Configuration, batch: Bytes) -> Result<LogPosition, ProposeError> {
            unimplemented!()
        }
        /// Asks for read numbers up to `number` to be confirmed; never goes down. Confirmed, later, in `Outputs::read_ready` on this same node,
        /// whoever leads; the core repeats the question until then.
        pub fn request_read(&mut self, number: ReadNumber) {
            unimplemented!()
        }
        /// Hands over to `to`, or to the most caught-up voter. Given up after an election timeout.
        pub fn transfer_leadership(&mut self, to: Option<NodeId>) -> Result<(), ProposeError> {
            unimplemented!()
        }
        pub fn log_synced(&mut self, sequence: WriteSequence) {
            unimplemented!()
        }
        /// `entries` start at `from`, without gaps; `None`: the log no longer holds them.
        pub fn entries_fetched(&mut self, follower: NodeId, from: LogIndex, entries: Option<alloc::vec::Vec<Entry>>) {
            unimplemented!()
        }
        /// Storage and state machine now hold this snapshot; the log starts after it. Ignored at or below the commit index.
        pub fn snapshot_installed(&mut self, position: LogPosition, configuration: Configuration) {
            unimplemented!()
        }
        /// The hand-over to `follower` ended; `position` is what it now holds, `None` if it failed.
        pub fn snapshot_sent(&mut self, follower: NodeId, position: Option<LogPosition>) {
            unimplemented!()
        }
        /// The log on disk no longer holds entries up to `through`, which are applied.
        pub fn log_compacted(&mut self, through: LogPosition) {
            unimplemented!()
        }
        pub fn applied(&mut self, index: LogIndex) {
            unimplemented!()
        }
        /// The connection to `peer` broke or was refused: a hint that it is gone.
        pub fn peer_disconnected(&mut self, peer: NodeId) {
            unimplemented!()
        }
        pub fn take_outputs(&mut self) -> Outputs {
            unimplemented!()
        }
        pub fn status(&self) -> Status {
            unimplemented!()
        }
        pub fn id(&self) -> NodeId {
            unimplemented!()
        }
        pub fn role(&self) -> Role {
            unimplemented!()
        }
        pub fn term(&self) -> Term {
            unimplemented!()
        }
        pub fn leader(&self) -> Option<NodeId> {
            unimplemented!()
        }
        pub fn commit_index(&self) -> LogIndex {
            unimplemented!()
        }
        pub fn configuration(&self) -> &Configuration {
            unimplemented!()
        }
        /// Whether this node leads and has committed an entry of its own term: only then is its state machine the latest.
        pub fn is_established_leader(&self) -> bool {
            unimplemented!()
        }
    }
}
pub use inputs::Raft;
