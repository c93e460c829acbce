//! A node as a process: sockets, disks, clocks and threads that feed `steadfast-node`.
//!
//! [`run`] is all that the command line needs: it starts a node from its [`options`], serves until it is told to stop, and stops it cleanly.
//! The core loop (`core_loop`) is one task that owns the node; everything else hands it inputs and carries out its outputs.
#![warn(missing_docs)]

extern crate alloc;

pub mod admin;
mod agent;
mod alerts;
pub mod available;
mod backend;
pub mod checks;
mod clients;
mod clock;
mod coordination;
mod core_loop;
pub mod diagnosis;
pub mod errors;
pub mod fault_table;
pub mod formation;
pub mod genesis;
mod gossip;
mod health;
pub mod identity;
mod inbox;
pub mod options;
pub mod peers;
mod ports;
mod published;
pub mod quorum_loss;
pub mod recovery;
pub mod redis;
pub mod restore;
mod run;
mod snapshots;
mod status;
pub mod tls;
mod tokens;
mod watches;

pub use options::{ServerOptions, Start};
pub use run::{RunError, run};
