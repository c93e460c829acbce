//! What a connection to the Redis port may cost, with the reason for each number.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The limits that an operator may want to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more are told so and closed. Redis's `maxclients` and its default.
    pub connections: usize,
    /// A connection with so many bytes of answers that it has not taken runs no further command until it has taken some. Enough for any
    /// pipeline that is read, and with all connections stalled at it, still memory that a machine has.
    pub output_paused_bytes: usize,
    /// A connection with more than so many bytes of answers is cut off: the answer to one command was too much. Redis's
    /// `client-output-buffer-limit`, in its value for replicas; for clients Redis has none.
    pub output_cut_bytes: usize,
    /// A command that is larger closes its connection. Redis's `client-query-buffer-limit` and its default.
    pub input_cut_bytes: usize,
    /// A connection on which nothing moves for so long is closed. Redis's `timeout`; by default, as there, nobody is.
    pub idle: Option<Duration>,
    /// A TLS handshake takes no longer: who doesn't begin one takes a place from others.
    pub handshake: Duration,
    /// How long a stop waits for answers to be taken and marks to be reached.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 10_000,
            output_paused_bytes: MIB,
            output_cut_bytes: 256 * MIB,
            input_cut_bytes: 1024 * MIB,
            idle: None,
            handshake: Duration::from_secs(10),
            stop: Duration::from_secs(5),
        }
    }
}

/// What is read of a connection in a turn: about a hundred microseconds of small commands, which is how long others wait for it.
pub(super) const READ_BYTES: usize = 64 * KIB;

/// The same, of a connection in the middle of a large command: nothing is run for it, and fewer turns are needed.
pub(super) const READ_LARGE_BYTES: usize = MIB;

/// Commands of a connection in a turn: cheap ones are less than [`READ_BYTES`] first, so this holds for what is left of a stopped pipeline.
pub(super) const COMMANDS_PER_TURN: usize = 4096;

/// Connections accepted in a turn, so that a flood of them does not hold up those that are there.
pub(super) const ACCEPTS_PER_TURN: usize = 128;

/// Readiness taken from the system at once.
pub(super) const EVENTS_PER_TURN: usize = 1024;

/// Empty buffers kept for the next that needs one, and how large they may be: connections at rest hold none.
pub(super) const SPARE_BUFFERS: usize = 256;
/// See [`SPARE_BUFFERS`].
pub(super) const SPARE_BUFFER_BYTES: usize = 64 * KIB;

/// How often connections are looked through for those that stand still.
pub(super) const SWEEP: Duration = Duration::from_millis(500);

/// When accepting failed for want of files or memory, it is tried again after this.
pub(super) const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
