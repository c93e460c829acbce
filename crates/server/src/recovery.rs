//! Recovery plans that are carried out: the shell around the pure planner in `steadfast_health::recovery`.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`ledger`] | plans, epochs and spares as records in strong state, through `Coordination` |
//! | `executor` | one turn: look, plan, and carry out the steps of open plans, each write fenced by the record's revision |
//! | `concerns` | what of it people are to know: alerts are made of it |
//! | `observe` | what the planner sees: everybody's health, who votes, who is a spare |
//! | `members` | the effects that change who belongs to the cluster, through the node's own requests |
//! | `restarter` | a node's part in the plans of its services: it runs what is declared, once for each epoch |
//! | `admission` | a spare, or a voter whose disk was emptied, becomes a learner without a hand |
//! | `task` | the loop: the node that leads has the turns |
//!
//! Invariants:
//! 1. A node takes turns only while it leads. One that lost leadership without knowing can still write nothing that another has changed: each write
//!    is fenced. What it may still do is an effect that it had begun, and each of them does no harm when it comes late (`members` says why).
//! 2. A plan of a kind that can't be carried out is never made: a service without a declared restart is not shown to the planner.
//! 3. Whoever becomes a member by itself votes only in the place of one that failed, by a plan.

pub(crate) mod admission;
mod concerns;
mod executor;
pub mod ledger;
pub(crate) mod members;
mod observe;
pub(crate) mod restarter;
mod task;

#[cfg(test)]
mod tests;

pub use steadfast_health::recovery::{plan, step};

pub(crate) use concerns::{Concern, ConcernKind};
pub(crate) use executor::Failing;
pub(crate) use task::{Start, start};
