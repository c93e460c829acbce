//! `steadfast snapshot restore`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use steadfast_server::options::Start;
use steadfast_server::restore::{RestoreError, RestoreOptions, Stage, restore};

use crate::show;
use crate::usage::UsageError;

#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    /// The snapshot, of Steadfast or of etcd 3.4 or later
    file: PathBuf,
    /// The data directory to be made
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// This node's name
    #[arg(long)]
    name: String,
    /// The names and peer addresses of all nodes of the new cluster, the same list on each
    #[arg(long, value_name = "NAME=HOST:PORT,…")]
    initial_cluster: String,
    /// Any text that is another for each cluster
    #[arg(long, value_name = "TEXT", default_value = "steadfast")]
    cluster_token: String,
    /// Raise the revision by this much and compact everything before, so that no revision (and no fencing token) is ever given twice, also to
    /// clients that saw revisions after the snapshot; 0 keeps revisions and history as they are
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(i64).range(0..))]
    bump_revision: i64,
    /// Take a file that does not end with its SHA-256, as a copy of etcd's member/snap/db
    #[arg(long)]
    skip_hash_check: bool,
    /// Leave out users and roles, and so access control
    #[arg(long)]
    without_users: bool,
}

/// Makes the directory.
pub(super) fn run(args: &RestoreArgs) -> Result<()> {
    let start = Start::parse_initial_cluster(&args.cluster_token, &args.initial_cluster);
    let Start::InitialCluster { token, members } = start.map_err(|error| UsageError(error.to_string()))? else {
        unreachable!("a list was read");
    };
    let options = RestoreOptions {
        file: args.file.clone(),
        data_dir: args.data_dir.clone(),
        name: args.name.clone(),
        token,
        members,
        bump_revision: args.bump_revision,
        skip_hash_check: args.skip_hash_check,
        without_users: args.without_users,
    };
    let bar = super::bar("");
    let mut progress = |stage, done, all| {
        bar.set_message(match stage {
            Stage::Checking => "checking",
            Stage::Reading => "restoring",
        });
        bar.set_length(all);
        bar.set_position(done);
    };
    let imported = restore(&options, &mut progress).map_err(|error| match error {
        RestoreError::Options(error) => UsageError(error.to_string()).into(),
        error => anyhow!(error),
    })?;
    bar.finish_and_clear();
    let seeded = imported.seeded;
    show::print(format!(
        "{}: {} writes up to revision {} and {} leases; revision {}, compacted below {}; state {:x}.",
        args.data_dir.display(),
        imported.writes,
        imported.revision,
        imported.leases,
        seeded.revision,
        seeded.compact.0.max(0),
        seeded.hash,
    ))?;
    show::print(
        "Restore the same file with the same arguments on every node of the list (the state's name must be the same), then start them.",
    )?;
    Ok(())
}
