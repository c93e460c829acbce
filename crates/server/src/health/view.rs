//! What strong state says of everybody's health, as one moment's value for all that act on it: commands, alerts, recovery, diagnosis.
//!
//! A server follows the records and publishes each new view through a `watch` channel of `Arc<HealthView>`; nobody else reads the records.

#![allow(dead_code, reason = "its users come one after the other")]

use std::collections::{BTreeMap, VecDeque};

use steadfast_health::HealthState;
use steadfast_membership::Role;
use steadfast_types::{NodeId, Revision};

/// One subject's health, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) state: HealthState,
    /// Since when, ms since 1970 by the wall clock of the leader that recorded it: a label, for people.
    pub(crate) since_ms: u64,
    /// Why, in words: the rule, and the evidence with its observers' names.
    pub(crate) cause: String,
}

/// A node's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeHealth {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) health: Recorded,
}

/// A change of a state. `service` is empty if it is the node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Which change of the cluster, from 1, without gaps.
    pub(crate) number: u64,
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) from: HealthState,
    pub(crate) health: Recorded,
}

/// Everybody's health, as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthView {
    pub(crate) revision: Revision,
    pub(crate) nodes: BTreeMap<NodeId, NodeHealth>,
    /// By the node that it runs on, and its name.
    pub(crate) services: BTreeMap<(NodeId, String), Recorded>,
    /// The last changes, oldest first.
    pub(crate) history: VecDeque<Change>,
}
