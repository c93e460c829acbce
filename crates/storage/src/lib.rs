//! What a node keeps on disk: the replicated log, the tables of the state machine, and the journal of available state. See ARCHITECTURE.md.
#![warn(missing_docs)]

extern crate alloc;

pub mod disk;
pub mod journal;
pub mod log;
pub mod tables;
