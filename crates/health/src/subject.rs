//! Whom health is about: a node, or a service that runs on one.

use alloc::string::String;
use core::fmt;

use steadfast_types::{NodeId, wire_enum};

/// A node, or one instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node of the cluster, server or agent.
    Node(NodeId),
    /// A service that runs on a node.
    Service {
        /// Where it runs.
        node: NodeId,
        /// What its user calls it.
        name: String,
    },
}
wire_enum!(Subject { 1 => Node(node), 2 => Service { node, name } });

impl Subject {
    /// The node itself, or the one that the service runs on.
    #[must_use]
    pub fn node(&self) -> NodeId {
        match self {
            Subject::Node(node) | Subject::Service { node, .. } => *node,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Node(node) => write!(f, "node {node}"),
            Subject::Service { node, name } => write!(f, "service {name} on {node}"),
        }
    }
}
