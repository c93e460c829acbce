//! The command line of Steadfast: one program that runs a node, a whole cluster for trials, and the commands that look after one.
//!
//! Exit status: 0 good, 1 failure, 2 usage. A failure is one line on standard error: `steadfast: what: why`.
//! Left out: everything that a node does, which is in `server` and below it.

mod access;
mod alert;
mod bench;
mod certs;
mod check;
mod client;
mod dev;
mod diagnose;
mod drill;
mod endpoints;
mod health;
mod kv;
mod member;
mod move_leader;
mod recovery;
mod redis;
mod running;
mod serve;
mod service;
mod show;
mod snapshot;
mod status;
mod usage;
mod user;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use usage::UsageError;

// A node's threads hand each other small buffers all the time; the system's allocator is slower at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps a distributed application running when machines, disks and networks fail.
#[derive(Parser, Debug)]
#[command(name = "steadfast", version, max_term_width = 100)]
#[command(after_help = "\
First steps:
  steadfast dev                          three nodes on this machine
  steadfast kv put greeting hello        in another terminal
  steadfast status

The API for applications is etcd's, version 3, for strong state, and Redis's for available state:
etcdctl, redis-cli and the client libraries of both work with it.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a whole cluster on this machine, for trials
    Dev(dev::DevArgs),
    /// Run one node
    Serve(Box<serve::ServeArgs>),
    /// Show all nodes of a cluster and how they are
    Status(status::StatusArgs),
    /// Show who takes part in a cluster, servers and agents, and who of them is well
    Health(health::HealthArgs),
    /// Collect what is known of one node, and say what is likely wrong with it
    Diagnose(diagnose::DiagnoseArgs),
    /// See whether alerts reach the people that they are for
    Alert(alert::AlertArgs),
    /// Read everything on every member, and compare
    Check(check::CheckArgs),
    /// Read, write and watch keys
    Kv(kv::KvArgs),
    /// Run a command of Redis on available state
    Redis(redis::RedisArgs),
    /// Show and change who belongs to a cluster
    Member(member::MemberArgs),
    /// Hand leadership to another node
    MoveLeader(move_leader::MoveLeaderArgs),
    /// Recovery plans; and bring a cluster back that can't come back by itself
    Recovery(recovery::RecoveryArgs),
    /// Declare checks of services, which the nodes run
    Service(service::ServiceArgs),
    /// Make a CA and certificates for trials
    Certs(certs::CertsArgs),
    /// Save snapshots, and begin clusters with them; etcd's too
    Snapshot(snapshot::SnapshotArgs),
    /// Break a cluster on purpose while clients use it, and judge what they saw
    Drill(drill::DrillArgs),
    /// Measure how fast a cluster is, alone or beside another
    Bench(bench::BenchArgs),
    /// Tell a node, which runs this, where its threads are
    #[command(name = steadfast_stacks::COMMAND, hide = true)]
    ThreadStacks,
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Dev(args) => dev::run(&args),
        Command::Serve(args) => serve::run(*args),
        Command::Status(args) => client_command(status::run(&args)),
        Command::Health(args) => client_command(health::run(&args)),
        Command::Alert(args) => client_command(alert::run(&args)),
        Command::Diagnose(args) => client_command(diagnose::run(&args)),
        Command::Check(args) => client_command(check::run(&args)),
        Command::Kv(args) => client_command(kv::run(&args)),
        Command::Redis(args) => client_command(redis::run(&args)),
        Command::Member(args) => client_command(member::run(&args)),
        Command::MoveLeader(args) => client_command(move_leader::run(&args)),
        Command::Recovery(args) => recovery::run(&args),
        Command::Service(args) => client_command(service::run(&args)),
        Command::Certs(args) => certs::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::Bench(args) => client_command(bench::run(&args)),
        Command::ThreadStacks => steadfast_stacks::print_parents_stacks().map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Runs a command that talks to a cluster; one thread is enough for it.
fn client_command(command: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Prints the error on one line and gives its exit status.
fn fail(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        // Whoever read the output has had enough of it, as `head` has.
        return ExitCode::SUCCESS;
    }
    let message = format!("{error:#}");
    eprintln!("steadfast: {}", message.lines().map(str::trim).collect::<Vec<_>>().join(" "));
    ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn no_two_arguments_of_a_command_share_a_name() {
        super::CommandLine::command().debug_assert();
    }
}
