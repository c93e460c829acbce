//! What a node says of itself.

use std::collections::BTreeSet;

use futures::future::join;
use serde::{Deserialize, Serialize};
use steadfast_etcd_api::backend::{HealthState, NodeRole, NodeStatus};
use steadfast_stacks::Stacks;

use super::latencies::{Latency, latencies};
use super::logs::{Log, recent_log};
use super::process::Process;
use super::stacks::own_stacks;
use super::threads::{Thread, look_twice};
use super::{Diagnosis, clean};
use crate::clock::Clock;

/// What is told of the metrics, bytes.
const METRICS_BYTES: usize = 256 * 1024;

/// A node's own words, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(super) name: String,
    /// In hexadecimal.
    pub(super) id: String,
    pub(super) role: String,
    pub(super) version: String,
    /// For how long the process has run.
    pub(super) up_ms: u64,
    /// What its wall clock says when this goes out.
    pub(super) wall_ms: u64,
    pub(super) process: Process,
    pub(super) threads: Vec<Thread>,
    /// Where they are in the program; older releases don't say.
    #[serde(default)]
    pub(super) stacks: Stacks,
    pub(super) log: Log,
    pub(super) latencies: Vec<Latency>,
    pub(super) metrics: String,
    /// Of a server.
    pub(super) consensus: Option<Consensus>,
    /// Names of the members that it hears: whose gossip says that they live, and, among servers, whose connection is open.
    pub(super) hears: BTreeSet<String>,
}

/// A server's place in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Consensus {
    pub(super) role: String,
    pub(super) term: u64,
    /// In hexadecimal.
    pub(super) leader: Option<String>,
    pub(super) commit_index: u64,
    pub(super) applied_index: u64,
    pub(super) revision: i64,
    pub(super) log_bytes: u64,
    pub(super) table_bytes: u64,
    pub(super) errors: Vec<String>,
    pub(super) alarms: Vec<String>,
}

impl From<NodeStatus> for Consensus {
    fn from(status: NodeStatus) -> Self {
        let role = match (status.learner, status.role) {
            (true, _) => "learner",
            (false, NodeRole::Follower) => "follower",
            (false, NodeRole::Candidate) => "candidate",
            (false, NodeRole::Leader) => "leader",
        };
        Consensus {
            role: role.to_owned(),
            term: status.term.0,
            leader: status.leader.map(|leader| format!("{:x}", leader.0)),
            commit_index: status.commit_index.0,
            applied_index: status.applied_index.0,
            revision: status.revision.0,
            log_bytes: status.log_bytes,
            table_bytes: status.table_bytes,
            errors: status.errors,
            alarms: status.alarms.iter().map(|alarm| format!("{:?} of member {:x}", alarm.kind, alarm.member.0)).collect(),
        }
    }
}

impl Part {
    /// The part as it goes to other nodes. `None`: it is malformed.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The same, without secrets.
    pub(super) fn clean(mut self) -> Self {
        // Its words belong together: a secret is known by the flag before it.
        self.process.command = clean::command(self.process.command);
        let cleaned = serde_json::to_value(&self).map(clean::value).and_then(serde_json::from_value);
        // Nothing rather than something that was not gone through; but its shape is its own, and no text has a shape.
        cleaned.unwrap_or_default()
    }
}

impl Diagnosis {
    /// What this node says of itself; none if too many ask at once. Takes a second.
    pub(super) async fn part(&self) -> Option<Part> {
        let _permit = self.0.room.try_acquire().ok()?;
        let place = &self.0.place;
        let (threads, stacks) = join(look_twice(), own_stacks()).await;
        let data_dir = place.data_dir.clone();
        // An error: the runtime stops.
        let process = tokio::task::spawn_blocking(move || Process::now(&data_dir)).await.unwrap_or_default();
        let metrics = place.metrics.render();
        let part = Part {
            name: place.name.clone(),
            id: format!("{:x}", place.node.0),
            role: place.role.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process,
            threads,
            stacks,
            log: recent_log().told(),
            latencies: latencies(&place.metrics),
            metrics: steadfast_health::limits::cut(&metrics, METRICS_BYTES).to_owned(),
            consensus: self.status().map(Consensus::from),
            hears: self.hears(),
            ..Part::default()
        };
        let wall_ms = Clock::wall_ms();
        Some(Part { wall_ms, up_ms: wall_ms.saturating_sub(self.0.began_ms), ..part.clean() })
    }

    fn hears(&self) -> BTreeSet<String> {
        let is_heard = |member: &steadfast_etcd_api::backend::MemberHealth| {
            member.state == HealthState::Healthy && self.is_connected(member.id, member.is_agent).unwrap_or(true)
        };
        self.members().into_iter().filter(is_heard).map(|member| member.name).collect()
    }
}
