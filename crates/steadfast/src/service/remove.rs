//! `steadfast service check remove`.

use anyhow::{Result, bail};
use clap::{ArgGroup, Args};
use steadfast_coordination::{Coordination, Fence, Outcome, Read, settle};
use steadfast_server::checks::declared::{self, ALL_NODES};

use super::{in_words, store};
use crate::endpoints::Cluster;
use crate::show;
use crate::usage::UsageError;

/// What it takes.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("where").required(true).args(["node", "all_nodes"])))]
pub(super) struct RemoveArgs {
    /// What the check is called
    name: String,
    /// The nodes that no longer run it
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    node: Vec<String>,
    /// It was declared for all nodes
    #[arg(long)]
    all_nodes: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// Removes it.
pub(super) async fn run(args: &RemoveArgs) -> Result<()> {
    let store = store(&args.cluster)?;
    let nodes = if args.all_nodes { vec![ALL_NODES.to_owned()] } else { args.node.clone() };
    for node in nodes {
        remove(&store, &node, &args.name).await?;
        let on = if node == ALL_NODES { "all nodes".to_owned() } else { node };
        show::print(format!("Check {} is no longer declared for {on}.", args.name))?;
    }
    Ok(())
}

async fn remove<C: Coordination>(store: &C, node: &str, check: &str) -> Result<()> {
    let key = declared::key(node, check).map_err(|error| UsageError(error.to_string()))?;
    let page = store.read(Read::key(key.clone())).await.map_err(in_words)?;
    let Some(record) = page.records.into_iter().next() else {
        bail!("no check {check} is declared for {node}: `steadfast service check list` shows what is");
    };
    let fence = Fence { key, record: Some(record), read_at: page.revision };
    match settle(store, &fence, &fence.delete()).await.map_err(in_words)? {
        Outcome::Applied(_) => Ok(()),
        Outcome::Conflict(_) => bail!("somebody else has just changed the check {check} of {node}: look, and try again"),
    }
}
