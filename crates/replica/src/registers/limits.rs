//! Bounds and times, each with its reason.

use core::time::Duration;

/// The longest name of a key, bytes: a message that names a batch of keys fits into a peer's frame.
pub const KEY_BYTES: usize = 64 * 1024;

/// The largest value, bytes: a message that holds one fits into a peer's frame, twice.
pub const VALUE_BYTES: usize = 4 * 1024 * 1024 - 256 * 1024;

/// Requests under way at a node. More are refused: at the pace of a slow disk these are some seconds of work.
pub const REQUESTS: usize = 16 * 1024;

/// A clock's versions are set aside so far ahead, in milliseconds: one record for so long, and a clock that is so far ahead of the wall's after a restart.
pub const RESERVED_MS: u64 = 10_000;

/// Housekeeping is done so often, while there is any.
pub const TICK: Duration = Duration::from_millis(100);

/// What may have got lost is said again after so long.
pub const SAY_AGAIN: Duration = Duration::from_secs(1);

/// Registers that are carried from one set of replicas to the next at the same time, by one replica: enough that neither disk nor network is waited for.
pub const CARRIED_AT_ONCE: usize = 64;

/// Keys in one message.
pub const BATCH: usize = 64;

/// Registers that are looked at in a tick, to carry or remove them: about a millisecond's work.
pub const LOOKED_AT: usize = 8 * 1024;

/// All registers are looked through for what can go after so long.
pub const SWEEP: Duration = Duration::from_secs(5);

/// A deletion stays for so long, in milliseconds: whoever's change lost against it learns so. After that the change's outcome would be unknown.
pub const DELETED_MS: u64 = 10_000;

/// A promise for a register that holds nothing is kept for so long, in milliseconds: longer than its round takes.
pub const PROMISED_MS: u64 = 60_000;

/// Deleted keys that wait to be removed. Those that find no room are found again.
pub const CANDIDATES: usize = 1024;
