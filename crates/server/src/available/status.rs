//! How a replica of available state is, for people.

use serde::Serialize;
use steadfast_available::exchange::PeerStatus;
use steadfast_etcd_api::backend::{ReplicaPeer, ReplicaStatus};
use steadfast_types::NodeId;

use crate::admin::as_text;

/// A replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Where clients connect, `ip:port`.
    pub address: String,
    /// The place of the actor it writes as.
    pub actor: u16,
    /// How many keys it has.
    pub keys: u64,
    /// How many of them are on the disk only.
    pub cold_keys: u64,
    /// What the keys take of memory, in bytes, about.
    pub bytes: u64,
    /// Clients' connections.
    pub connections: u64,
    /// Commands that were run since the start.
    pub commands: u64,
    /// Bytes of records that were appended to the journal since the start.
    pub journal_bytes: u64,
    /// The replicas it is connected to.
    pub peers: Vec<PeerLag>,
    /// Its part of the strong keys.
    pub strong: StrongStatus,
    /// Deltas that are kept for those that lack them, in bytes.
    pub kept_bytes: u64,
    /// Reconciliations that it leads now.
    pub sessions: u64,
    /// Ranges that were found to differ and were joined.
    pub ranges_joined: u64,
    /// How often another replica had seen the same and held something else. That never happens, unless there is a bug or memory fails.
    pub divergences: u64,
}

/// A node's part of the strong keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StrongStatus {
    /// The epoch of its assignment; 0: it knows none.
    pub epoch: u64,
    /// Registers that it holds.
    pub held: u64,
    /// Requests of its clients that are under way.
    pub waiting: u64,
    /// Requests of its clients since the start.
    pub requests: u64,
    /// Those of them whose outcome is not known.
    pub unknown: u64,
    /// Reads that a single round trip answered.
    pub reads_at_once: u64,
    /// Rounds of two trips.
    pub rounds: u64,
    /// Rounds that another node's round ended, so that they were begun again.
    pub conflicts: u64,
}

/// A replica as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerLag {
    /// Its node.
    #[serde(serialize_with = "as_text")]
    pub node: NodeId,
    /// The place of the actor it writes as; `None` until it has said so and was accepted.
    pub actor: Option<u16>,
    /// How long ago the first change was made that it lacks, in milliseconds; `None`: it has everything.
    pub lag_ms: Option<u64>,
    /// Bytes of deltas on their way to it.
    pub in_flight_bytes: u64,
    /// Whether it is being reconciled.
    pub in_session: bool,
}

impl Status {
    /// For `steadfast status`.
    pub(crate) fn to_message(&self) -> ReplicaStatus {
        ReplicaStatus {
            address: self.address.clone(),
            actor: self.actor.into(),
            keys: self.keys,
            cold_keys: self.cold_keys,
            bytes: self.bytes,
            connections: self.connections,
            commands: self.commands,
            journal_bytes: self.journal_bytes,
            kept_bytes: self.kept_bytes,
            reconciliations: self.sessions,
            ranges_joined: self.ranges_joined,
            divergences: self.divergences,
            peers: self.peers.iter().map(PeerLag::to_message).collect(),
        }
    }
}

impl PeerLag {
    fn to_message(&self) -> ReplicaPeer {
        ReplicaPeer {
            node: self.node.0,
            actor: self.actor.map(u32::from),
            lag_ms: self.lag_ms,
            in_flight_bytes: self.in_flight_bytes,
            reconciling: self.in_session,
        }
    }

    pub(super) fn of(node: NodeId, status: &PeerStatus) -> Self {
        PeerLag {
            node,
            actor: status.actor.map(|actor| actor.place()),
            lag_ms: status.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            in_flight_bytes: status.in_flight_bytes,
            in_session: status.in_session,
        }
    }
}
