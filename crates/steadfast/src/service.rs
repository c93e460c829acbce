//! `steadfast service`: the checks that people declare for their own processes, and how these are started anew.

mod add;
mod list;
mod remove;
mod restart;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use steadfast_client::{Etcd, EtcdOptions};
use steadfast_coordination::{Coordination, Error, Prefix, Read, Record};

use crate::endpoints::Cluster;

/// What `steadfast service` takes.
#[derive(Args, Debug)]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand, Debug)]
enum Subject {
    /// Declare, list and remove the checks that nodes run for services
    Check(CheckArgs),
    /// Declare how services are started anew when they fail
    Restart(restart::RestartArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Declare a check of a service, for some nodes or for all
    Add(Box<add::AddArgs>),
    /// List what is declared
    List(list::ListArgs),
    /// Remove a check
    Remove(remove::RemoveArgs),
}

/// Carries out one of the actions.
pub(crate) async fn run(args: &ServiceArgs) -> Result<()> {
    let action = match &args.subject {
        Subject::Check(CheckArgs { action }) => action,
        Subject::Restart(args) => return restart::run(args).await,
    };
    match action {
        Action::Add(args) => add::run(args).await,
        Action::List(args) => list::run(args).await,
        Action::Remove(args) => remove::run(args).await,
    }
}

/// The records of the cluster that a command names.
pub(crate) fn store(cluster: &Cluster) -> Result<Etcd> {
    Ok(Etcd::new(EtcdOptions { user: cluster.user.clone(), ..EtcdOptions::new(cluster.endpoints()?) }))
}

/// All records under a prefix, of one moment.
async fn read_all<C: Coordination>(store: &C, prefix: Prefix) -> Result<Vec<Record>> {
    let (mut records, mut next) = (Vec::new(), Some(Read::prefix(prefix)));
    while let Some(read) = next {
        let page = store.read(read).await.map_err(in_words)?;
        records.extend(page.records);
        next = page.next;
    }
    Ok(records)
}

/// An error of the store, with what can be done about it.
pub(crate) fn in_words(error: Error) -> anyhow::Error {
    match error {
        Error::Unavailable(_) => anyhow!("{error}: give the addresses of running nodes with --endpoints"),
        other => other.into(),
    }
}
