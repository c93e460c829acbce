//! Who votes and who learns: the cluster's configuration, joint while it changes (Raft paper, section 6).

use alloc::collections::BTreeSet;
use core::fmt;

use crate::ids::NodeId;

/// A cluster configuration. It is *joint* while `outgoing` is not empty: then every decision needs a majority of `voters` *and* one of
/// `outgoing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The voters (while joint: of the new configuration).
    pub voters: BTreeSet<NodeId>,
    /// While joint, the voters of the old configuration; else empty.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and never vote. Disjoint from `voters`; a voter of `outgoing` that becomes a learner is listed in both.
    pub learners: BTreeSet<NodeId>,
}

impl Configuration {
    /// A configuration of these voters and no learners.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Configuration { voters: voters.into_iter().collect(), ..Configuration::default() }
    }

    /// Whether two majorities are needed.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `node` votes, in either half.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` has any part in this configuration.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Every member once, in order.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, nodes: &BTreeSet<NodeId>| {
            write!(f, "{name}=")?;
            for (i, node) in nodes.iter().enumerate() {
                write!(f, "{}{node}", if i > 0 { "," } else { "" })?;
            }
            Ok(())
        };
        list(f, "voters", &self.voters)?;
        if self.is_joint() {
            list(f, " outgoing", &self.outgoing)?;
        }
        if !self.learners.is_empty() {
            list(f, " learners", &self.learners)?;
        }
        Ok(())
    }
}

crate::wire_struct!(Configuration { voters, outgoing, learners });
