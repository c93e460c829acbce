//! What all rooms share: ids, time, the wire codec, log entries, limits, and the traits `Disk` and `Tables`.
//!
//! `no_std`: nothing here, and nothing in a core that depends on it alone, can reach a clock, a file, a socket or a thread.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod configuration;
pub mod disk;
pub mod entry;
pub mod ids;
pub mod level;
pub mod limits;
pub mod planted;
pub mod tables;
pub mod time;
pub mod wire;

pub use configuration::Configuration;
pub use entry::{Entry, HardState, Payload};
pub use ids::{ClusterId, LeaseId, LogIndex, LogPosition, NodeId, Revision, Term};
pub use level::Level;
pub use time::Instant;

/// The seeded generator that every core takes its randomness from: the same seed gives the same run.
pub use fastrand::Rng;
