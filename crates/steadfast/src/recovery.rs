//! `steadfast recovery`: plans that bring a cluster back by themselves, and what people do where none can.

mod force;
mod plans;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::client_command;

/// What `steadfast recovery` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
A server that fails for longer than --recover-voters-after is replaced by a spare (a server that was
started with --role spare), by a plan whose steps are kept in the cluster.

Examples:
  steadfast recovery list
  steadfast recovery show 5f1c9a4be03d7a52-1
  steadfast recovery approve 5f1c9a4be03d7a52-1")]
pub(crate) struct RecoveryArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List recovery plans: those under way first, then those that ended, newest first
    List(plans::ListArgs),
    /// Show a plan with its steps
    Show(plans::ShowArgs),
    /// Let a plan that waits for approval go on
    Approve(plans::ApproveArgs),
    /// End a plan before its fence
    Cancel(plans::CancelArgs),
    /// Try again what was given up: the failed plans of a plan's subject no longer count, and are deleted
    Retry(plans::RetryArgs),
    /// Begin a cluster anew from one member's disk, after its quorum was lost for good
    Force(force::ForceArgs),
}

/// Carries out one of the actions.
pub(crate) fn run(args: &RecoveryArgs) -> Result<()> {
    match &args.action {
        Action::List(args) => client_command(plans::list(args)),
        Action::Show(args) => client_command(plans::show(args)),
        Action::Approve(args) => client_command(plans::approve(args)),
        Action::Cancel(args) => client_command(plans::cancel(args)),
        Action::Retry(args) => client_command(plans::retry(args)),
        Action::Force(args) => force::run(args),
    }
}
