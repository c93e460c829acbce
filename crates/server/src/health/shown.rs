//! What `steadfast health` shows: what was decided beside what gossip shows now.

use std::collections::BTreeMap;

use steadfast_etcd_api::backend::{ClusterHealth, HealthEvent, HealthState as Shown, MemberHealth, ServiceHealth};
use steadfast_health::HealthState;
use steadfast_membership::{Role, State};
use steadfast_types::NodeId;

use super::view::{Change, HealthView, Recorded};
use crate::clock::Clock;
use crate::gossip::{Gossip, Seen};

/// Everybody's health. What is recorded counts only while it `is_known` to be the latest.
pub(crate) fn shown(gossip: &Gossip, recorded: &HealthView, is_known: bool) -> ClusterHealth {
    let view = gossip.view();
    let member = |seen: &Seen| {
        let recorded = recorded.nodes.get(&seen.id).map(|node| &node.health).filter(|_| is_known);
        member(seen, gossip.milliseconds_since(seen.since), recorded, is_known)
    };
    let names: BTreeMap<NodeId, &str> = view.members.iter().map(|seen| (seen.id, seen.name.as_str())).collect();
    let mut services: Vec<ServiceHealth> =
        recorded.services.iter().map(|((node, service), health)| service_health(name_of(*node, &names), service, health)).collect();
    services.sort_by(|one, other| (&one.node, &one.service).cmp(&(&other.node, &other.service)));
    // A server that died before gossip knew it, or one that gossip has forgotten since. Of whom gossip does not show nothing good is known.
    let is_shown = |id: &NodeId, name: &str| names.contains_key(id) || names.values().any(|known| *known == name);
    let in_trouble = recorded.nodes.iter().filter(|(_, node)| is_known && node.health.state != HealthState::Healthy);
    let unshown = in_trouble.filter(|(id, node)| !is_shown(id, &node.name)).map(|(id, node)| MemberHealth {
        id: *id,
        name: node.name.clone(),
        is_agent: node.role == Role::Agent,
        state: recorded_state(node.health.state),
        gossip: Shown::Failed,
        cause: node.health.cause.clone(),
        since_ms: Clock::wall_ms().saturating_sub(node.health.since_ms),
        witnesses: Vec::new(),
        address: String::new(),
        incarnation: String::new(),
    });
    ClusterHealth {
        members: view.members.iter().map(member).chain(unshown).collect(),
        services,
        events: recorded.history.iter().map(event).collect(),
        unread: (!is_known).then(|| "no leader is known, so what was decided can't be read: states are what gossip shows".to_owned()),
    }
}

fn name_of(node: NodeId, names: &BTreeMap<NodeId, &str>) -> String {
    names.get(&node).map_or_else(|| node.to_string(), |name| (*name).to_owned())
}

fn gossip_state(state: State) -> Shown {
    match state {
        State::Alive => Shown::Healthy,
        State::Suspect => Shown::Suspect,
        State::Failed => Shown::Failed,
        State::Left => Shown::Left,
    }
}

fn recorded_state(state: HealthState) -> Shown {
    match state {
        HealthState::Healthy => Shown::Healthy,
        HealthState::Recovering => Shown::Recovering,
        HealthState::Degraded => Shown::Degraded,
        HealthState::Suspect => Shown::Suspect,
        HealthState::Failed => Shown::Failed,
    }
}

/// What was decided holds. Nothing was decided of a node that is newly silent, or has only just been: then it is as gossip shows it.
fn member(seen: &Seen, gossip_ms: u64, recorded: Option<&Recorded>, is_known: bool) -> MemberHealth {
    let gossip = gossip_state(seen.state);
    let decided = recorded.filter(|_| is_known && seen.state != State::Left).filter(|decided| {
        // A node that failed again after it had recovered is not well until the judge has said so.
        decided.state != HealthState::Healthy || seen.state == State::Alive
    });
    let since_ms = decided.map_or(gossip_ms, |decided| Clock::wall_ms().saturating_sub(decided.since_ms));
    MemberHealth {
        id: seen.id,
        name: seen.name.clone(),
        is_agent: seen.role == Role::Agent,
        state: decided.map_or(gossip, |decided| recorded_state(decided.state)),
        gossip,
        cause: decided.map_or_else(String::new, |decided| decided.cause.clone()),
        since_ms,
        witnesses: seen.witnesses.clone(),
        address: seen.address.to_string(),
        incarnation: seen.incarnation.to_string(),
    }
}

fn service_health(node: String, service: &str, health: &Recorded) -> ServiceHealth {
    let state = recorded_state(health.state);
    ServiceHealth { service: service.to_owned(), node, state, since_ms: health.since_ms, cause: health.cause.clone() }
}

fn event(change: &Change) -> HealthEvent {
    HealthEvent {
        number: change.number,
        at_ms: change.health.since_ms,
        node: change.name.clone(),
        service: change.service.clone(),
        from: recorded_state(change.from),
        to: recorded_state(change.health.state),
        cause: change.health.cause.clone(),
    }
}
