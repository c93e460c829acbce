//! Every bound of the system, in one place, with its reason.

/// The largest request a client may send, bytes: etcd's default (1.5 MiB), so that what fits there fits here.
pub const REQUEST_BYTES: usize = 3 * 512 * 1024;

/// One JSON value in the body of a request to the JSON gateway, bytes: the largest message that is decoded at all, in base64, has room in it.
pub const GATEWAY_VALUE_BYTES: usize = 4 * 1024 * 1024;

/// Operations in one list of a transaction: etcd's default.
pub const TRANSACTION_OPERATIONS: usize = 128;

/// Client requests waiting for the core loop. Beyond it they are refused at the door: at 10 us each this is about 80 ms of work.
pub const QUEUED_REQUESTS: usize = 8192;

/// Bytes of client requests waiting for the core loop.
pub const QUEUED_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// Commands in one entry: enough that one sync serves a thousand clients, small enough to apply in a few milliseconds.
pub const BATCH_COMMANDS: usize = 4096;

/// Bytes of commands in one entry (a single larger request goes alone).
pub const BATCH_BYTES: usize = 1024 * 1024;

/// Entry bytes in one append message.
pub const APPEND_BYTES: usize = 1024 * 1024;

/// Entry bytes under way to one follower and not yet acknowledged.
pub const INFLIGHT_BYTES: usize = 16 * 1024 * 1024;

/// Append messages under way to one follower and not yet acknowledged.
pub const INFLIGHT_APPENDS: usize = 256;

/// Bytes of entries proposed and not yet committed, on a leader. Beyond it proposals are refused.
pub const UNCOMMITTED_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of recent entries that a node keeps in memory for its followers; older ones are read back from the log.
pub const RECENT_ENTRY_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of log kept behind the last checkpoint, so that a node that was away briefly catches up by log and not by snapshot.
pub const LOG_RETENTION_BYTES: u64 = 64 * 1024 * 1024;

/// A snapshot is handed over in chunks of this many bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * 1024;

/// Snapshot chunks under way and not yet acknowledged.
pub const SNAPSHOT_INFLIGHT_CHUNKS: usize = 4;

/// The largest frame between peers, bytes: an append or a snapshot chunk, each with its overhead. A larger one closes the connection.
pub const PEER_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// Frames waiting for one peer's connection. When it is full, further ones are dropped: the protocols resend.
pub const PEER_QUEUE_FRAMES: usize = 1024;

/// Bytes of the events of one entry that are handed out as it is applied, previous values included. Beyond it watchers look them up in history: a
/// request may delete more than fits in memory.
pub const ENTRY_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Event bytes waiting for one watch stream. Beyond it the stream's watchers are caught up from history instead.
pub const WATCH_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Client connections of one node.
pub const CLIENT_CONNECTIONS: usize = 20_000;

/// Members whose removal is remembered, by the replicated state: one that was away comes back and must be told.
pub const REMOVED_MEMBERS: usize = 256;

/// TLS handshakes with clients at the same time, counted from the client's first byte; further ones wait, for as long as a handshake may take.
pub const TLS_HANDSHAKES: usize = 1024;

/// A file of certificates or a key, bytes: hundreds of certificates.
pub const CERTIFICATE_FILE_BYTES: u64 = 1024 * 1024;

/// Watchers of one node.
pub const WATCHERS: usize = 1_000_000;

/// Requests that wait for a password to be hashed or compared: at some 50 ms each and two at a time the last waits six seconds.
pub const PASSWORDS_WAITING: usize = 256;

/// Tokens that a node knows: at about 150 bytes each these are 10 MiB. Beyond it the one that was not used for longest goes.
pub const TOKENS: usize = 65_536;

/// Shortest lease, seconds: etcd's default (one and a half election timeouts of a second, rounded up).
pub const LEASE_MIN_TTL_S: i64 = 2;

/// Longest lease, seconds: etcd's limit.
pub const LEASE_MAX_TTL_S: i64 = 9_000_000_000;

/// Snapshots and hashes of everything that clients may ask of one node at the same time: each reads all of the tables, and a snapshot takes as
/// much disk as the keys do.
pub const LONG_READS: usize = 2;

/// A snapshot is sent to a client in messages of this many bytes.
pub const SNAPSHOT_MESSAGE_BYTES: usize = 64 * 1024;
