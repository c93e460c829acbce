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
    /// It takes part in the membership alone: no store, no votes, no clients.
    Agent,
}

impl FromStr for NodeRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "server" => Ok(NodeRole::Server),
            "agent" => Ok(NodeRole::Agent),
            _ => Err("neither `server` nor `agent`".to_owned()),
        }
    }
}

impl ServerOptions {
    pub(super) fn check_role(&self) -> Result<(), OptionsError> {
        if self.role == NodeRole::Server {
            return Ok(());
        }
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
