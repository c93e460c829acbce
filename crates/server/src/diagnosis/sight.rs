//! What one server says of another node.

use serde::{Deserialize, Serialize};
use steadfast_etcd_api::backend::HealthState;
use steadfast_types::NodeId;

use super::Diagnosis;
use super::latencies::{latencies, syncs};
use crate::clock::Clock;

/// One server's words about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sight {
    /// As gossip has it there: healthy, suspect, failed, left; none if it is not known there.
    pub(super) state: Option<String>,
    /// For how long, as seen there.
    pub(super) since_ms: u64,
    /// Who found it silent.
    pub(super) witnesses: Vec<String>,
    pub(super) incarnation: String,
    /// Between servers: whether its connection to this one is open, on which something was heard within seconds.
    pub(super) is_connected: Option<bool>,
    /// On the leader: how many entries it is behind, and whether it answers.
    pub(super) behind: Option<Behind>,
    /// The median of the server's own syncs, us.
    pub(super) sync_p50_us: Option<u64>,
    /// What its wall clock says when this goes out.
    pub(super) wall_ms: u64,
}

/// How the leader sees a follower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Behind {
    pub(super) entries: u64,
    pub(super) answers: bool,
}

impl Sight {
    /// The server hears it.
    pub(super) fn hears(&self) -> bool {
        self.is_connected != Some(false) && self.state.as_deref().is_none_or(|state| state == word(HealthState::Healthy))
    }

    /// A sight as it came from another node. `None`: it is malformed.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A state in a word.
pub(super) fn word(state: HealthState) -> &'static str {
    match state {
        HealthState::Healthy => "healthy",
        HealthState::Recovering => "recovering",
        HealthState::Degraded => "degraded",
        HealthState::Suspect => "suspect",
        HealthState::Failed => "failed",
        HealthState::Left => "left",
    }
}

impl Diagnosis {
    /// What this node says of another.
    pub(super) fn sight(&self, of: NodeId) -> Sight {
        let seen = self.members().into_iter().find(|member| member.id == of);
        let follower = self.status().and_then(|status| status.followers.into_iter().find(|follower| follower.id == of));
        let is_agent = seen.as_ref().is_some_and(|member| member.is_agent);
        let latencies = latencies(&self.0.place.metrics);
        Sight {
            state: seen.as_ref().map(|member| word(member.state).to_owned()),
            since_ms: seen.as_ref().map_or(0, |member| member.since_ms),
            witnesses: seen.as_ref().map(|member| member.witnesses.clone()).unwrap_or_default(),
            incarnation: seen.map(|member| member.incarnation).unwrap_or_default(),
            is_connected: self.is_connected(of, is_agent),
            behind: follower.map(|follower| Behind { entries: follower.lag_entries, answers: follower.active }),
            sync_p50_us: syncs(&latencies).and_then(|latency| latency.p50_us),
            wall_ms: Clock::wall_ms(),
        }
    }

    /// Whether a server's connection to this one is open. `None`: there never is one between them.
    pub(super) fn is_connected(&self, node: NodeId, is_agent: bool) -> Option<bool> {
        let transport = self.0.transport.get().filter(|_| !is_agent && node != self.0.place.node)?;
        Some(transport.heard().contains(&node))
    }
}
