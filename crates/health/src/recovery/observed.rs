//! What the planner sees of the cluster: each subject's role, health and epoch.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{NodeId, wire_enum};

use crate::states::HealthState;
use crate::subject::Subject;

/// How often what a subject held was taken from it. Whatever it does under an older epoch is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Epoch(self.0.saturating_add(1))
    }
}

impl Wire for Epoch {
    fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        u64::decode(reader).map(Epoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a subject is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A server that votes.
    Voter,
    /// A server that has the log and does not vote.
    Learner,
    /// A server that waits to take a voter's place.
    Spare,
    /// A node that runs services only.
    Agent,
    /// A service.
    Service,
}
wire_enum!(Role { 1 => Voter {}, 2 => Learner {}, 3 => Spare {}, 4 => Agent {}, 5 => Service {} });

/// One subject as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its role.
    pub role: Role,
    /// Its health.
    pub state: HealthState,
    /// For how long it has been failed, by the planner's own clock.
    pub failed_for: Duration,
    /// Its epoch in strong state.
    pub epoch: Epoch,
    /// Why it is held for failed, in words.
    pub cause: String,
}

impl Seen {
    /// Whether it takes part: a suspect counts for nothing, to be safe.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.state {
            HealthState::Healthy | HealthState::Recovering | HealthState::Degraded => true,
            HealthState::Suspect | HealthState::Failed => false,
        }
    }

    /// Whether it may take over a role: it has shown that it stays.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        match self.state {
            HealthState::Healthy | HealthState::Degraded => true,
            HealthState::Recovering | HealthState::Suspect | HealthState::Failed => false,
        }
    }
}

/// The cluster as it is seen at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every node and service.
    pub subjects: BTreeMap<Subject, Seen>,
}

impl Observed {
    /// A node, if it is there.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&Seen> {
        self.subjects.get(&Subject::Node(node))
    }

    /// The nodes of a role.
    pub fn of_role(&self, role: Role) -> impl Iterator<Item = (NodeId, &Seen)> {
        self.subjects.iter().filter_map(move |(subject, seen)| match subject {
            Subject::Node(node) if seen.role == role => Some((*node, seen)),
            Subject::Node(_) | Subject::Service { .. } => None,
        })
    }

    /// Who votes.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.of_role(Role::Voter).map(|(node, _)| node).collect()
    }

    /// How many nodes there are, and how many of them failed.
    #[must_use]
    pub fn nodes_and_failed(&self) -> (usize, usize) {
        let nodes = || self.subjects.iter().filter(|(subject, _)| matches!(subject, Subject::Node(_)));
        (nodes().count(), nodes().filter(|(_, seen)| seen.state == HealthState::Failed).count())
    }

    /// Among whom one of this role is, if many fail at once: servers among servers, all others among all nodes. And how many of these failed.
    #[must_use]
    pub fn kin_and_failed(&self, role: Role) -> (usize, usize) {
        let is_server = |seen: &Seen| match seen.role {
            Role::Voter | Role::Learner | Role::Spare => true,
            Role::Agent | Role::Service => false,
        };
        match role {
            Role::Agent | Role::Service => self.nodes_and_failed(),
            Role::Voter | Role::Learner | Role::Spare => {
                let servers = || self.subjects.values().filter(|seen| is_server(seen));
                (servers().count(), servers().filter(|seen| seen.state == HealthState::Failed).count())
            }
        }
    }

    /// Whether `add` may take the place of the voter `remove`: it is alive, and without counting `remove` a majority of the voters is alive, before and
    /// after. (A joint configuration needs both.) True also when it is done already.
    #[must_use]
    pub fn swap_keeps_quorum(&self, remove: NodeId, add: NodeId) -> bool {
        let before = self.voters();
        if !before.contains(&remove) {
            return before.contains(&add);
        }
        let mut after = before.clone();
        after.remove(&remove);
        after.insert(add);
        let alive = |node: &&NodeId| **node != remove && self.node(**node).is_some_and(Seen::is_alive);
        let has_majority = |voters: &BTreeSet<NodeId>| voters.iter().filter(alive).count() > voters.len() / 2;
        alive(&&add) && has_majority(&before) && has_majority(&after)
    }
}
