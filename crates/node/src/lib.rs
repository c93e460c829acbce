//! One node's drive loop: consensus, state machine and storage tied together, in the order persist, send, apply, answer.
//!
//! Generic over the disk `D` and over the reply slot `S` of a client request; network and clock are handed in. Two shells feed it: `server`
//! (sockets, threads, real time) and `simulator` (one seed, one thread, virtual time). So what is simulated is what runs.
//!
//! # Contract
//!
//! [`start::open`] recovers a node from its disk. It gives a [`Node`] and a [`LogDriver`], or a [`Repair`] if the disk lost something that the
//! peers still have: a repairing node neither votes nor leads.
//!
//! The shell calls [`Node::turn`] with the time and whatever has come in, and carries out the [`Outputs`]:
//! - `log`: hand to the [`LogDriver`] *in order* (a thread of its own; it may take many at once and sync once). Give its [`LogDone`] back.
//!   An error of the driver stops the node: a failed sync is never tried again.
//! - `frames`: send to the peers, in order for each. They may be lost.
//! - `jobs`: run on any thread, at any time; give each [`JobDone`] back.
//! - `answers`: tell the clients. - `events`: hand to the watch hub. - `notices`: log lines, and what the shell must act on.
//!
//! Nothing here blocks, reads a clock or a file (jobs and the log driver do), so a turn takes microseconds whatever the disk does.

#![warn(missing_docs)]

extern crate alloc;

mod agreement;
mod alarms;
mod applying;
mod auto_compaction;
mod autopilot;
mod calls;
mod commands;
mod forward;
#[cfg(test)]
mod hand;
mod input;
mod jobs;
mod leases;
mod levels;
mod log_driver;
mod membership;
mod message;
mod node;
mod output;
mod proposals;
mod questions;
pub mod quorum_loss;
mod reads;
mod repair;
mod revision_waits;
pub mod seed;
mod snapshot_receive;
mod snapshot_send;
mod snapshots;
mod space;
pub mod start;
mod timers;

pub use auto_compaction::AutoCompaction;
pub use autopilot::Autopilot;
pub use input::{Input, LeaseTtl, MembershipChange, Request, RequestBody};
pub use jobs::{Job, JobDone, Lane};
pub use log_driver::{LogCommand, LogDone, LogDriver};
pub use message::PeerMessage;
pub use node::{Node, NodeStatus, Queued};
pub use output::{Answer, Notice, Outputs, Refusal};
pub use repair::Repair;
