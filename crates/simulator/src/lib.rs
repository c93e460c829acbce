//! Deterministic simulation of whole clusters: one seed, one thread, virtual time, every fault.
//!
//! The nodes are the real ones: the drive loop of `steadfast-node` over the real consensus, state machine and storage. Only what lies
//! around them is simulated: [`disk`], [`network`], [`clock`]. The same seed gives the same run, event by event.
#![warn(missing_docs)]

pub mod available;
pub mod checkers;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod network;
mod panics;
pub mod run;
pub mod shrink;
pub mod swarm;
pub mod workload;
pub mod world;
