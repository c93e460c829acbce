//! What clients saw of a cluster, and checkers that decide whether that was right: for simulated and for real histories alike.
//!
//! A checker trusts the history alone: what was asked and when, what was answered and when, and which changes the store reported. It shares no
//! code with what it judges.
#![warn(missing_docs)]

pub mod auth;
pub mod convergence;
pub mod durability;
pub mod history;
pub mod leases;
pub mod linearizability;
pub mod locks;
pub mod store;
pub mod time;
mod violation;
pub mod watches;

pub use violation::{Violation, shortened};
