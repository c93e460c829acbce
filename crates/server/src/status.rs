//! How this node sees itself, for `steadfast status`, etcd's Status and the admin port.

use steadfast_consensus::Role;
use steadfast_etcd_api::backend::{FollowerStatus, NodeRole, NodeStatus};
use steadfast_types::NodeId;

use crate::admin::resident_bytes;
use crate::published::Published;

/// Everything there is to tell.
pub(crate) fn describe(name: &str, me: NodeId, published: &Published) -> NodeStatus {
    let base = NodeStatus {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        resident_bytes: resident_bytes().unwrap_or(0),
        ..NodeStatus::default()
    };
    let (Some(status), Some(reader)) = (published.status(), published.reader()) else {
        return NodeStatus { errors: vec!["repairing: this node is getting lost data back from its peers".to_owned()], ..base };
    };
    let consensus = &status.consensus;
    let follower = |follower: &steadfast_consensus::FollowerStatus| FollowerStatus {
        id: follower.id,
        matched: follower.matched,
        lag_entries: consensus.last.index.0.saturating_sub(follower.matched.0),
        active: follower.active,
    };
    NodeStatus {
        role: match consensus.role {
            Role::Follower => NodeRole::Follower,
            Role::PreCandidate | Role::Candidate => NodeRole::Candidate,
            Role::Leader => NodeRole::Leader,
        },
        learner: !consensus.configuration.is_voter(me),
        leader: consensus.leader,
        term: consensus.term,
        commit_index: consensus.commit,
        applied_index: status.applied.index,
        revision: reader.revision(),
        compact_revision: reader.compact_revision(),
        log_bytes: status.log_bytes,
        table_bytes: status.tables.disk_bytes,
        table_used_bytes: status.tables.disk_bytes,
        quota_bytes: status.quota_bytes,
        alarms: reader.alarms().map_or_else(|_| Vec::new(), |alarms| alarms.all().map(|(alarm, _)| alarm).collect()),
        members: reader.members().unwrap_or_default(),
        followers: consensus.followers.iter().map(follower).collect(),
        errors: if consensus.suspect { vec!["suspect: may have lost acknowledged entries; votes with care".to_owned()] } else { vec![] },
        ..base
    }
}
