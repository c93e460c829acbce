//! Available state as a process has it: a replica's keys behind the Redis protocol, and the journal that brings them back.
//!
//! One thread owns the keys, the exchange with other replicas, the journal's writing end and all connections ([`crate::redis`]); another one waits for
//! the disk (`sync`), and a third one writes the keys' rows into tables (`tables`), so that the journal can be cut. A turn of the loop is a turn of the
//! replica: what its commands changed is one delta, which is one record of the journal.
//!
//! Users (`users`) are the same on all nodes, in strong state. Strong keys (`strong`) are registers beside the keyspace, in the same loop and journal.
//!
//! Left out so far: keys that not every replica holds.

mod durability;
mod durable_file;
mod known;
mod life;
mod offering;
mod peers;
mod pending;
mod process;
mod record;
mod records;
mod registry;
mod service;
mod start;
mod status;
mod strong;
mod sync;
mod tables;
mod users;

pub use durability::{Durability, UnknownDurability};
pub use life::LifeError;
pub(crate) use offering::{Part, serve};
pub use peers::Peers;
pub use record::Record;
pub(crate) use registry::Registry;
pub use start::{End, Ended, Running, Settings, StartError, start};
pub use status::{PeerLag, Status, StrongStatus};
pub use steadfast_replica::strong_keys;
pub use strong::Source;
pub use users::UsersSource;
