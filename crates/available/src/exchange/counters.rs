//! What an exchange counts, and what it can say of a peer.

use core::time::Duration;

use steadfast_crdt::{Actor, VersionVector};

/// What happened since the exchange began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that were sent.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages that came.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Deltas that were sent: one for each peer that it went to.
    pub deltas_sent: u64,
    /// Others' deltas that were applied.
    pub deltas_applied: u64,
    /// Deltas that came and had been seen.
    pub deltas_known: u64,
    /// Deltas that came too early, and found no room to wait.
    pub deltas_dropped: u64,
    /// Deltas that contradict what was seen of their writer, or that the replica could not read.
    pub deltas_refused: u64,
    /// Messages that could not be read, or that say what can't be.
    pub messages_refused: u64,
    /// Sessions that were begun, as the one who leads.
    pub sessions_begun: u64,
    /// Those of them that came to their end.
    pub sessions_ended: u64,
    /// Those that ended without all that the peer had seen when they began. That never happens, unless a peer contradicts itself.
    pub sessions_short: u64,
    /// Ranges that were compared, as either side.
    pub ranges_compared: u64,
    /// Those of them that differed.
    pub ranges_differing: u64,
    /// Ranges whose states came and were joined.
    pub ranges_joined: u64,
    /// How often a replica that has seen the same was found to hold something else. That never happens, unless there is a bug or memory fails.
    pub divergences: u64,
}

/// How things stand with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// As whom it writes; `None` until it has said so and was accepted.
    pub actor: Option<Actor>,
    /// What it said last that it has seen.
    pub vector: VersionVector,
    /// Bytes of deltas on their way to it.
    pub in_flight_bytes: u64,
    /// How long ago the first of what is here and not there was applied here; of what is kept no more, at least that long ago. `None` if nothing lacks.
    pub lag: Option<Duration>,
    /// Whether a session with it is under way that this side leads.
    pub in_session: bool,
}
