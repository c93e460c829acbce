//! What a node is for, and what that asks of its other options.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use steadfast_membership::limits;

use super::{OptionsError, ServerOptions, Start, wrong};

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// It holds strong state and serves clients.
    #[default]
    Server,
    /// A server that waits to take a failed voter's place: it joins without having been added, has all data, and does not vote until then.
    Spare,
    /// It takes part in the membership alone: no store, no votes, no clients.
    Agent,
}

impl NodeRole {
    /// As it is given.
    pub(crate) fn word(self) -> &'static str {
        match self {
            NodeRole::Server => "server",
            NodeRole::Spare => "spare",
            NodeRole::Agent => "agent",
        }
    }
}

impl FromStr for NodeRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "server" => Ok(NodeRole::Server),
            "spare" => Ok(NodeRole::Spare),
            "agent" => Ok(NodeRole::Agent),
            _ => Err("none of `server`, `spare` and `agent`".to_owned()),
        }
    }
}

impl ServerOptions {
    pub(super) fn check_role(&self) -> Result<(), OptionsError> {
        match self.role {
            NodeRole::Server => Ok(()),
            NodeRole::Spare => self.check_spare(),
            NodeRole::Agent => self.check_agent(),
        }
    }

    /// Once it has joined it may be started without.
    fn check_spare(&self) -> Result<(), OptionsError> {
        match self.start {
            Start::Join { .. } | Start::Resume => Ok(()),
            Start::InitialCluster { .. } => Err(wrong(
                "role",
                "a spare forms no cluster, and --initial-cluster is given",
                "give --join with the peer addresses of some of its servers",
            )),
        }
    }

    fn check_agent(&self) -> Result<(), OptionsError> {
        if self.name.len() > limits::NAME_BYTES {
            let problem = format!("`{}` is longer than {} bytes", self.name, limits::NAME_BYTES);
            return Err(wrong("name", problem, "give the agent a shorter one"));
        }
        match self.start {
            Start::Join { .. } => self.check_agents_gossip(),
            Start::InitialCluster { .. } | Start::Resume => Err(wrong(
                "join",
                "an agent forms no cluster, and none is named",
                "give --join with the peer addresses of some of its servers",
            )),
        }
    }

    fn check_agents_gossip(&self) -> Result<(), OptionsError> {
        match self.why_no_gossip() {
            None => Ok(()),
            Some(reason) => Err(wrong("gossip-key-file", reason, "give --gossip-key-file, the same on all nodes")),
        }
    }
}
