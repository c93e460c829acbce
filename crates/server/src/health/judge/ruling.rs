//! What comes out of a judge, and what a judge begins with.

use std::collections::BTreeMap;

use steadfast_health::HealthState;
use steadfast_health::states::Event;
use steadfast_membership::Role;
use steadfast_types::NodeId;

use super::super::cause;
use crate::gossip::Seen;

/// A change of a node's state, or of a service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Empty: the node itself.
    pub(crate) service: String,
    pub(crate) from: HealthState,
    /// The same as before: a service that is seen for the first time, or a node with another cause. Neither is an event.
    pub(crate) to: HealthState,
    pub(crate) cause: String,
    pub(crate) observers: Vec<String>,
    pub(crate) at_ms: u64,
}

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A state has changed.
    Changed(Ruling),
    /// The node is gone, and all of its services.
    NodeGone(String),
    /// The service is not checked any more on this node.
    ServiceGone(String, String),
}

/// What is recorded of a node when a judge begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: NodeId,
    pub(crate) role: Role,
    pub(crate) state: HealthState,
    /// Since when, as its record says.
    pub(crate) since_ms: u64,
    /// Whether it has a record of its own, beside those of its services.
    pub(crate) has_record: bool,
    pub(crate) services: BTreeMap<String, HealthState>,
}

impl Known {
    /// A node without a record.
    pub(crate) fn healthy(id: NodeId, role: Role) -> Self {
        Known { id, role, state: HealthState::Healthy, since_ms: 0, has_record: false, services: BTreeMap::new() }
    }
}

/// A node's change of state.
pub(super) fn node_ruling(seen: &Seen, event: &Event, names: cause::Names<'_>, warning: Option<String>) -> Ruling {
    let cause = cause::in_words(event, names);
    Ruling {
        node: seen.id,
        name: seen.name.clone(),
        role: seen.role,
        service: String::new(),
        from: event.from,
        to: event.to,
        cause: warning.map_or_else(|| cause.clone(), |warning| format!("{cause}; {warning}")),
        observers: cause::observers(event, names),
        at_ms: event.wall_ms,
    }
}
