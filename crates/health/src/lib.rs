//! Health as pure code: who fails and how, why, and what is to be done about it. Nothing here reads a clock, sends a byte or writes a record.
//!
//! # The way from a lost beat to a replaced voter
//!
//! | step | what decides | takes | gives |
//! | --- | --- | --- | --- |
//! | 1 | [`detectors`] | what one observer notices of one subject by one way | an [`Assessment`] with its evidence |
//! | 2 | [`pause`] | the observer's own turns | how long it stood still, and whether it has a say |
//! | 3 | [`verdict`] | assessments of several observers by several ways | one [`Verdict`] about a subject, with its evidence named |
//! | 4 | [`states`] | verdicts and checks over time | the [`HealthState`] of a subject, and each change as an event |
//! | 5 | [`recovery`] | failed subjects, roles, a policy, the plans so far | new and changed plans, as records for strong state |
//!
//! Times are readings of the caller's monotonic clock, handed in. What crosses from one node to another are spans and figures, never readings.
//!
//! Errors: a call that returns an error has changed nothing.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod detectors;
pub mod evidence;
pub mod limits;
pub mod pause;
pub mod recovery;
pub mod states;
pub mod subject;
pub mod verdict;

pub use evidence::{Assessment, Evidence, Figures, Suspicion, Way};
pub use states::HealthState;
pub use subject::Subject;
pub use verdict::Verdict;
