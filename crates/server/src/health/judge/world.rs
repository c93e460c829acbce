//! What the judge sees at one moment, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use steadfast_health::states::Moment;
use steadfast_membership::{Role, State};
use steadfast_types::{Instant, NodeId};

use super::super::report::NodeReport;
use crate::gossip::Seen;

/// More than half of all that failed within this time are told of in each cause.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A report, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    /// How far its wall clock was ahead of this node's.
    pub(crate) ahead_ms: i64,
    pub(crate) report: Arc<NodeReport>,
}

/// What the judge sees at one moment.
pub(crate) struct World<'a> {
    pub(crate) moment: Moment,
    pub(crate) members: &'a [Seen],
    /// Gossip has taken this node in.
    pub(crate) is_admitted: bool,
    /// The latest report of each node.
    pub(crate) reports: &'a BTreeMap<NodeId, Heard>,
    /// The servers that strong state has; `None`: not known just now.
    pub(crate) servers: Option<&'a BTreeSet<NodeId>>,
    /// The agents that plans removed, until they take part again; `None`: not known just now.
    pub(crate) removed: Option<&'a BTreeSet<NodeId>>,
}

/// One moment, in order.
pub(super) struct Turn<'a> {
    pub(super) world: &'a World<'a>,
    /// By name.
    pub(super) members: BTreeMap<&'a str, &'a Seen>,
    /// Who holds something against others.
    pub(super) accusers: Vec<&'a Heard>,
}

impl<'a> Turn<'a> {
    pub(super) fn of(world: &'a World<'a>) -> Self {
        let accusers = world.reports.values().filter(|heard| !heard.report.against.is_empty()).collect();
        Turn { world, members: meant(world.members), accusers }
    }
}

/// Of each name the one that is meant.
fn meant(members: &[Seen]) -> BTreeMap<&str, &Seen> {
    let mut meant: BTreeMap<&str, &Seen> = BTreeMap::new();
    let rank = |seen: &Seen| (seen.state.is_active(), seen.born, seen.id);
    for seen in members {
        let known = meant.entry(&seen.name).or_insert(seen);
        if rank(seen) > rank(known) {
            *known = seen;
        }
    }
    meant
}

/// A node that was taken out of the cluster, and that does not answer either.
pub(super) fn is_removed(world: &World<'_>, seen: &Seen) -> bool {
    !seen.state.is_active() && is_taken_out(world, seen.role, seen.id)
}

/// Whether it was decided that a node of this id is none of the cluster's.
pub(super) fn is_taken_out(world: &World<'_>, role: Role, id: NodeId) -> bool {
    match role {
        Role::Server => world.servers.is_some_and(|servers| !servers.contains(&id)),
        Role::Agent => world.removed.is_some_and(|removed| removed.contains(&id)),
    }
}

/// More than half of all failed within a moment: that is the network's fault, or this node's, more often than theirs.
pub(super) fn at_once(world: &World<'_>) -> Option<String> {
    let is_fresh = |seen: &&Seen| seen.state == State::Failed && world.moment.now.since(seen.since) < AT_ONCE;
    let failed = world.members.iter().filter(is_fresh).count();
    let all = world.members.iter().filter(|seen| seen.state != State::Left).count();
    (failed * 2 > all).then(|| format!("{failed} of {all} nodes failed within {} s: the network may be at fault", AT_ONCE.as_secs()))
}
