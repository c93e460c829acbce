//! Whether the directories of a `steadfast dev` cluster's nodes are those of its nodes, found out before the first one starts.
//!
//! Left out: what a node alone can tell of its data; it says so in its log, and `dev` repeats its last words.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use steadfast_server::identity::{Directory, IdentityError};
use steadfast_types::ClusterId;

use super::plan::{NodePlan, Plan};

/// Refuses a directory that is another node's, of another cluster than the rest, of a newer format, damaged or in use. Directories that
/// have no identity yet are left to their nodes.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let mut clusters: BTreeMap<ClusterId, Vec<&NodePlan>> = BTreeMap::new();
    for node in plan.nodes.iter().filter(|node| node.data_dir.join("IDENTITY").exists()) {
        let directory = Directory::open(&node.data_dir, &node.name, &node.peer.to_string()).map_err(|error| refusal(error, node))?;
        if let Some(membership) = &directory.identity().membership {
            clusters.entry(membership.cluster).or_default().push(node);
        }
    }
    one_cluster(&clusters)
}

/// An error of a node's directory, with what to do about it here: the names and addresses that a node could be given are not free.
fn refusal(error: IdentityError, node: &NodePlan) -> anyhow::Error {
    match error {
        IdentityError::OtherName { path, found, wanted } => anyhow!(
            "{path} holds the data of node {found}, not of {wanted}: put each node's directory back under its own name, or choose another \
             --data-dir"
        ),
        IdentityError::OtherAddress { path, found, wanted } => anyhow!(
            "{path} is of another cluster, whose {} has the peer address {found}, not {wanted}: put this cluster's own directory back, or \
             choose another --data-dir",
            node.name
        ),
        IdentityError::InUse { path } => {
            anyhow!("{path} is in use by another process, perhaps a node that was started by hand: stop it first")
        }
        IdentityError::Newer { .. } => anyhow!("{error}, or choose another --data-dir"),
        other => other.into(),
    }
}

fn one_cluster(clusters: &BTreeMap<ClusterId, Vec<&NodePlan>>) -> Result<()> {
    let Some((most, rest)) = clusters.iter().max_by_key(|(_, nodes)| nodes.len()) else { return Ok(()) };
    let Some((other, odd)) = clusters.iter().find(|(cluster, _)| *cluster != most) else { return Ok(()) };
    let rest: Vec<&str> = rest.iter().map(|node| node.name.as_str()).collect();
    bail!(
        "{} belongs to another cluster ({other}) than {} ({most}): put the {} of that cluster back, or choose another --data-dir",
        odd[0].data_dir.display(),
        rest.join(" and "),
        odd[0].name
    )
}
