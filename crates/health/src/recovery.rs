//! Recovery plans: from verdicts, roles and a policy to named steps that an executor can carry out, crash in, and repeat.
//!
//! [`planner`] decides and changes nothing; its [`planner::Decision`] is written to strong state in one batch, or not at all. An executor (in the
//! shell) takes an open plan, and for each step in turn
//! 1. checks the step's [`step::Precondition`] against what is observed,
//! 2. writes the record with the step begun ([`plan::Plan::begin`]), if the record is still at the revision that it read,
//! 3. carries out the [`step::Effect`], which does no harm when repeated,
//! 4. writes the record with the step finished or failed ([`plan::Plan::finish`], [`plan::Plan::fail_attempt`]), again by revision.
//!
//! [`driver`] is the part of an executor that decides which of these comes next.
//!
//! It may crash anywhere: whoever goes on finds the step begun, and begins it again. As "begun" is written before the effect, and a planner's change
//! to a record is by revision too, a plan is never cancelled beside its own fence.
//!
//! What holds, and is tried in `recovery/tests.rs` with random failures, returns, crashes, repeats and planners that overtake each other:
//! 1. No change of voters is planned or carried out that leaves less than a majority of them alive, before or after.
//! 2. A subject takes part in one open plan at a time, as the failed one or as the spare; one replacement of a voter at a time; never more plans at work than the brake allows.
//! 3. A voter that failed is replaced once at most.
//! 4. A plan whose subject is back before the fence has begun is cancelled.
//! 5. Every plan that is at work ends: a step is begun [`policy::Policy::attempts`] times at most. One that waits, for a person and then for the
//!    brake, goes to work, is refused, or ends by 4.

pub mod driver;
pub mod observed;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod step;

#[cfg(test)]
mod tests;
