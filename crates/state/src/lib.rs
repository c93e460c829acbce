//! The replicated state machine: multi-version keys, transactions, leases, members, users and roles, alarms, and the watches over them.
//!
//! # Contract
//!
//! One thread owns a [`State`] and feeds it committed log entries in order, each exactly once ([`State::apply`]). What an entry does depends
//! on the entries before it and on nothing else, so every replica has the same rows, the same revision and the same running hash after the
//! same entry. An entry's rows, and the position of the entry, reach the tables as one batch.
//!
//! Errors are of two kinds. A [`CommandError`](command::CommandError) is part of the answer: every replica refuses the same command in the
//! same way, and nothing has changed. A [`StateFault`] is about this node alone: its tables are damaged, or the entry can't be read. The
//! state is then poisoned; the node stops serving.
//!
//! Any number of threads read through clones of a [`StateReader`]. A reader sees whole entries only: the visible revision moves on when all of
//! an entry is in place.
//!
//! Two parts of strong state are not replicated, because they are about time and about connections: the leader's lease timers
//! ([`lease::Expiry`]) and the watches of the clients of one node ([`watch::WatchHub`]).
//!
//! Left out: passwords and tokens themselves; who may read linearizably, and when (that is `node` and `consensus`).
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod alarm;
pub mod auth;
pub mod command;
pub mod event;
mod fingerprint;
mod heads;
pub mod kv;
pub mod lease;
pub mod line;
mod members;
pub mod nesting;
pub mod reader;
mod rows;
pub mod seed;
mod span;
pub mod state;
mod transition;
pub mod watch;

pub use event::{Changes, Event, EventKind, Gather};
pub use fingerprint::{HASH_INTERVAL, REMEMBERED};
pub use reader::StateReader;
pub use state::{Answer, Applied, LeaseChange, OpenStateError, Response, State, StateFault};
