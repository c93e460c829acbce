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
//! | 5 | [`checks`] | checks that users declare, and their results | what to run when, and the health of services |
//! | 6 | [`soft_errors`] | a node's figures beside its own usual ones and its peers' | what it tolerates and its people should know |
//! | 7 | [`recovery`] | failed subjects, roles, a policy, the plans so far | new and changed plans, as records for strong state |
//! | 8 | [`alerts`] | what is true now | notices: grouped, repeated ever less often, resolved |
//! | 9 | [`diagnosis`] | the facts of a node | findings, the worst first, each with its rule, evidence and remedy |
//! | 10 | [`grouping`], [`redact`] | log lines and other texts | patterns with their counts; texts without secrets |
//!
//! Times are readings of the caller's monotonic clock, handed in. What crosses from one node to another are spans and figures, never readings.
//!
//! Errors: a call that returns an error has changed nothing.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod alerts;
pub mod checks;
pub mod detectors;
pub mod diagnosis;
pub mod evidence;
pub mod grouping;
pub mod limits;
pub mod pause;
pub mod recovery;
pub mod redact;
pub mod soft_errors;
pub mod states;
pub mod subject;
pub mod verdict;

pub use evidence::{Assessment, Evidence, Figures, Suspicion, Way};
pub use states::HealthState;
pub use subject::Subject;
pub use verdict::Verdict;
