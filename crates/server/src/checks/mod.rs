//! Service checks that users declare for their own processes: run on the node that they are declared for, judged by
//! `steadfast_health::checks`.
//!
//! The way of a check: a record in strong state (`declared`) is followed by every server (`follow`); each node's `runner` runs what is declared for
//! it, by the means of `probes`, and publishes [`ServiceReport`]s. People declare with `steadfast service check add`; docs/service-checks.md is for
//! them.
//!
//! Invariants:
//! 1. Nothing that is checked holds up anything else: a run has its time, bounded memory and, if it is a script, a process group that is
//!    killed as a whole when the run is over, however it ended.
//! 2. A record that declares nothing is ignored, and said so once; it never stops others.
//! 3. What others said (output, bodies, heartbeats) is kept to a bounded length, and without its secrets.
//!
//! Left out: carrying the reports to strong state, and declarations to agents. Whoever does is handed what `follow` and the runner publish.

pub mod declared;
mod dial;
pub(crate) mod follow;
mod grpc;
mod heartbeat;
mod http;
mod probes;
mod progress;
pub mod report;
pub mod restarts;
pub(crate) mod runner;
mod script;
mod start;

pub(crate) use follow::{Following, follow};
pub(crate) use heartbeat::routes;
pub(crate) use progress::Progress;
pub use report::ServiceReport;
pub(crate) use script::Script;
pub(crate) use start::{of_node, start};
