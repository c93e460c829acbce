//! The bounds of a request, each with its reason.

/// The longest argument, Redis's default `proto-max-bulk-len`: clients know it.
pub const BULK_BYTES: usize = 512 << 20;

/// The longest line: an inline request, or a count of arguments or bytes. Redis's bound.
pub const LINE_BYTES: usize = 64 << 10;

/// The most arguments of one request, Redis's bound: a count that fits 31 bits. Nothing is allocated for a count that is only announced.
pub const ARGUMENTS: i64 = i32::MAX as i64;

/// The longest request: Redis's default `client-query-buffer-limit`. A connection with a longer one is closed.
pub const REQUEST_BYTES: usize = 1 << 30;

/// The most arguments from a connection that has not authenticated, so that strangers cannot fill the memory.
pub const STRANGER_ARGUMENTS: i64 = 10;

/// The longest argument from a connection that has not authenticated.
pub const STRANGER_BULK_BYTES: i64 = 16 << 10;

/// The most commands in a connection's transaction before `EXEC`.
pub const QUEUED_COMMANDS: usize = 1 << 20;

/// The most bytes that the commands of a connection's transaction may hold before `EXEC`.
pub const QUEUED_BYTES: usize = REQUEST_BYTES;

/// The longest string a value may grow to, by `APPEND`, `SETRANGE` and `SETBIT`.
pub const STRING_BYTES: usize = 512 << 20;

/// The most elements that one command picks by chance with repetition: the answer's length is not bounded by the data then.
pub const REPEATED_PICKS: u64 = 1 << 20;

/// The most memory that comparing two strings may take, as it grows with the product of their lengths.
pub const LCS_BYTES: usize = 64 << 20;
