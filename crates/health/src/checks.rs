//! Service checks that users declare for their own processes: what is declared, what is due when, and what the results say.
//!
//! The way of a check: [`definition::Definition::validate`] gives a [`definition::Check`]; the [`scheduler::Scheduler`] says when to run it and
//! when it has hung; its results go through a [`tally::Tally`] (thresholds, start period) into [`services::Services`], which holds the health of
//! each service by [`crate::states`], so that flapping is damped there and not here a second time.
//!
//! Left out: parsing a declaration, running a check, and publishing the results: the shell does that.

pub mod definition;
pub mod restart;
pub mod scheduler;
pub mod services;
pub mod tally;
