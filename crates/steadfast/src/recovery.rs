//! `steadfast recovery`: bringing a cluster back.

mod force;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What `steadfast recovery` takes.
#[derive(Args, Debug)]
pub(crate) struct RecoveryArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Begin a cluster anew from one member's disk, after its quorum was lost for good
    Force(force::ForceArgs),
}

/// Carries out one of the actions.
pub(crate) fn run(args: &RecoveryArgs) -> Result<()> {
    match &args.action {
        Action::Force(args) => force::run(args),
    }
}
