//! Available state: keys that every replica takes writes for on its own, and what replicas say to each other so that they agree.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod assembly;
mod canonical;
mod cold;
mod container;
mod context;
mod deadline;
mod delta;
mod digest;
mod entry;
pub mod exchange;
mod gone;
mod keyspace;
mod names;
mod plain;
mod replica;
mod rich;
mod rows;
mod table;

pub use cold::{ColdRows, Unreadable};
pub use container::{Fields, Items, Kind, Scores, ScoresDelta, TextsDelta};
pub use context::{Context, Seen};
pub use deadline::Until;
pub use exchange::{Delta, Digest, Exchange};
pub use keyspace::{Keyspace, Lifetime, Loading, NotApplied, Refused};
pub use rows::Touched;
pub use table::{Eviction, Hash, hash_of};
