//! What a node keeps on disk: the replicated log, and the tables of the state machine. See ARCHITECTURE.md.
#![warn(missing_docs)]

extern crate alloc;

pub mod disk;
pub mod log;
pub mod tables;
