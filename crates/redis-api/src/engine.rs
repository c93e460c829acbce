//! Runs commands for connections: finds them, checks them, queues them in transactions, and writes their answers.
//!
//! Contract: the shell gives each request of a connection, in order, with the connection's [`Session`](session::Session), to [`execute`], which appends the
//! answer to the connection's output and says what is to become of the connection. The [`Host`](host::Host) is the process, the
//! [`Store`](store::Store) the keys at one moment: nothing else is read or changed. One request runs at a time, so a transaction is atomic on
//! this replica, and on this replica alone.
//!
//! What a command waits for is the shell's to wait for: [`Next`](session::Next) says what it is, and what the shell answers then.

pub(crate) mod admission;
pub mod call;
pub(crate) mod dispatch;
pub mod host;
mod keyspace;
pub mod level;
pub mod register;
pub mod session;
pub mod store;
pub mod token;
pub mod transaction;

pub use dispatch::{answer, answer_late, execute, give_up, refuse, unacknowledged, users_changed};
