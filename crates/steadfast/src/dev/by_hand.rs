//! Nodes of a `steadfast dev` cluster that somebody started again by hand: found by their command line, so that they end with the rest.
//!
//! Left out: nodes under another command line than the one that `cluster.json` holds.

use super::plan::Plan;
use crate::running::Running;

/// A process that is no child of this one and runs a node of the plan.
#[derive(Debug)]
pub(super) struct ByHand {
    /// Which of the plan's nodes.
    pub(super) node: usize,
    pub(super) process: Running,
}

/// The processes that run these nodes of the plan.
pub(super) fn find(plan: &Plan, nodes: &[usize]) -> Vec<ByHand> {
    nodes.iter().flat_map(|&node| Running::find(&plan.nodes[node].argv).map(move |process| ByHand { node, process })).collect()
}
