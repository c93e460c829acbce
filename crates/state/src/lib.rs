//! The replicated state machine: multi-version keys, transactions, leases, members, watches. See `crates/state` in ARCHITECTURE.md.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod command;
