//! `steadfast snapshot`: take a snapshot of a cluster, look at one, begin a new cluster with one. The files are etcd's: either side reads the
//! other's.

mod restore;
mod save;
mod status;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

/// What `steadfast snapshot` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  steadfast snapshot save backup.db --endpoints 10.0.0.1:2379
  steadfast snapshot status backup.db

  From etcd to Steadfast: save a snapshot of etcd, then on each machine of the new cluster, with its own name, restore and start:
    etcdctl snapshot save etcd.db
    steadfast snapshot restore etcd.db --data-dir /var/lib/steadfast --name n1 \\
      --initial-cluster n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380 --bump-revision 0
    steadfast serve --name n1 --data-dir /var/lib/steadfast \\
      --listen-client 10.0.0.1:2379 --listen-peer 10.0.0.1:2380 \\
      --initial-cluster n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380

  From Steadfast to etcd: `steadfast snapshot save`, then `etcdutl snapshot restore`.")]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Take a snapshot of a running cluster
    Save(save::SaveArgs),
    /// Check a snapshot and show what it is of
    Status(status::StatusArgs),
    /// Make a data directory for a node of a new cluster
    Restore(restore::RestoreArgs),
}

/// Carries out the command.
pub(crate) fn run(args: &SnapshotArgs) -> Result<()> {
    match &args.command {
        Command::Save(args) => crate::client_command(save::run(args)),
        Command::Status(args) => status::run(args),
        Command::Restore(args) => restore::run(args),
    }
}

/// A bar of bytes, on standard error if that is a terminal.
fn bar(what: &'static str) -> ProgressBar {
    const BAR: &str = "{msg:10} {bar:40} {bytes:>10} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(BAR).expect("a template that is known")).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
