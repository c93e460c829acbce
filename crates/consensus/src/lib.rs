//! Raft as a pure state machine: what one node does when time passes, messages come, writes become durable, and clients ask.
//!
//! # Contract
//!
//! The shell (`node`) owns a [`Raft`], calls its *inputs* in any order, each with time moved forward by [`Raft::tick`] first, and after any
//! number of inputs drains [`Raft::take_outputs`] once. Nothing in here reads a clock, a file, a socket or a global generator.
//!
//! Inputs: [`Raft::tick`], [`Raft::receive`], [`Raft::propose`], [`Raft::propose_configuration`], [`Raft::request_read`],
//! [`Raft::transfer_leadership`], [`Raft::log_synced`], [`Raft::entries_fetched`], [`Raft::snapshot_installed`],
//! [`Raft::snapshot_sent`], [`Raft::log_compacted`], [`Raft::applied`], [`Raft::peer_disconnected`].
//!
//! [`Outputs`], and what the shell does with each, in this order:
//! 1. `log_write`: hand it to the log writer. Writes are carried out and synced *in the order given*; several may share one sync. When it is
//!    durable, call [`Raft::log_synced`] with its sequence number.
//! 2. `messages`: send at once, in order for each peer. **No message waits for the shell's ordering**: whatever a message promises (a vote, a
//!    term, an acknowledged entry) is already durable when it comes out; the core holds it back until `log_synced`. A message may be lost,
//!    doubled, delayed or overtaken; the core repeats what matters.
//! 3. `committed`: apply to the state machine in order, then call [`Raft::applied`]. Each entry comes out exactly once a process life, from the
//!    one after the recovered snapshot on. An entry may be committed, by the others, before it is durable here: a checkpoint of the state
//!    machine must not become durable ahead of [`Raft::durable_index`].
//! 4. `read_ready`: reads up to and including this number may be answered once the state machine has applied its index.
//! 5. `fetch`: read these entries back from the log (never on the core loop) and answer each with [`Raft::entries_fetched`], also when the read
//!    failed.
//! 6. `snapshot_wanted`: this follower needs what the log no longer holds. Hand over a snapshot, then call [`Raft::snapshot_sent`], also when
//!    it failed.
//! 7. `role`, `configuration`: what changed, for the log line and for whoever depends on it.
//!
//! What must be durable before what is sent:
//!
//! | before | this is durable |
//! | --- | --- |
//! | a vote request | the candidate's new term and its vote for itself |
//! | a granted vote | the term and the vote |
//! | any message of a new term that commits the sender to it (replies of success) | the term |
//! | an append reply that names a matched index | the entries up to it, and the term |
//! | the leader counting itself for an entry | the entry, on its own disk |
//! | append, heartbeat, pre-vote, read index, time-out-now | nothing: they promise nothing of the sender's own log |
//!
//! A snapshot for this node: ask [`Raft::snapshot_fit`], and drop it if it is `Old`. Keep it aside, durably, until it is whole. Then, with no
//! other call between: ask again (the log may have caught up); switch the state machine to it, durably; if it `Replaces` the log, hand a reset
//! of the log to the log writer behind all writes taken so far; call [`Raft::snapshot_installed`]. A crash on the way leaves a state machine
//! ahead of the log, or beside it: at start, a log that does not hold the state machine's position is replaced by an empty one that begins
//! after it.
//!
//! Between drains nothing is sent: a shell that takes many inputs per drain sends one append for many proposals, and one round for many reads.
//!
//! Errors: a call that returns an error has changed nothing. A state that the protocol excludes panics with what was found: the node stops.

#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod message;
pub mod output;
pub mod raft;

mod config;
mod election;
mod follower;
mod leader;
mod log;
mod membership;
mod outbox;
mod progress;
mod quorum;
mod read;
mod replication;
mod snapshot;
mod status;
mod terms;
mod transfer;

pub use message::Message;
pub use output::{FetchEntries, LogWrite, Outputs, ReadNumber, ReadReady, Role, RoleChange, WriteSequence};
pub use raft::{Config, FollowerStatus, ProposeError, Raft, Recovered, Status};
pub use snapshot::SnapshotFit;
