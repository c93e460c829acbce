//! The bounds of an exchange, each with its reason.

/// Into how many parts a range of hashes that differs is split: one hexadecimal digit, so that a range among a billion keys is found in six round trips.
pub(crate) const FAN_OUT: u64 = 16;

/// How many ranges one message asks about: what two levels of splitting give is not worth more than a frame.
pub(crate) const ITEMS: usize = 64;

/// How many pieces with contexts of their own a range that is compared may have; one of more is split without a comparison.
pub(crate) const PIECES: usize = 16;

/// How many ticks a peer that is connected to a writer is given to get the writer's deltas from it; then others send them.
pub(crate) const GRACE_TICKS: u32 = 3;

/// How many ticks pass between two wishes for a session with the same peer, and after a request of it.
pub(crate) const WISH_TICKS: u32 = 5;

/// How many ticks a session waits for an answer until it is given up: the peer takes part no more, though its connection stands.
pub(crate) const SESSION_TICKS: u32 = 100;

/// What an exchange may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of deltas that are kept for replicas that lack them, own and others': what one writes in the longest interruption that shall not cost a session.
    pub kept_bytes: usize,
    /// Of deltas that came before something they depend on.
    pub waiting_bytes: usize,
    /// Of deltas sent to a peer that it has not acknowledged: the product of a connection's bandwidth and delay. A frame may go beyond it.
    pub window_bytes: u64,
    /// Of one message. What can't be divided (one delta, all keys of one hash) makes a message of its own, whatever its size.
    pub frame_bytes: usize,
    /// How many sessions are led at a time.
    pub sessions: usize,
    /// Up to how many keys a range that differs is sent whole; one of more is split.
    pub leaf_keys: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { kept_bytes: 64 << 20, waiting_bytes: 8 << 20, window_bytes: 4 << 20, frame_bytes: 256 << 10, sessions: 2, leaf_keys: 64 }
    }
}
