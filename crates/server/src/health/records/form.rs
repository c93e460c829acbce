//! The form of the records: JSON, with words for states and roles, and times as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use steadfast_coordination::Record;
use steadfast_health::HealthState;
use steadfast_membership::Role;
use steadfast_types::NodeId;

use super::super::judge::Ruling;
use super::super::view::{Change, NodeHealth, Recorded};
use super::keys::{EVENTS_UNDER, NODES, SERVICES};

/// A node's record.
#[derive(Debug, Serialize, Deserialize)]
struct NodeRecord {
    name: String,
    id: String,
    role: String,
    state: String,
    since: String,
    cause: String,
    observers: Vec<String>,
}

/// A service's record.
#[derive(Debug, Serialize, Deserialize)]
struct ServiceRecord {
    service: String,
    node: String,
    node_id: String,
    state: String,
    since: String,
    cause: String,
}

/// An event.
#[derive(Debug, Serialize, Deserialize)]
struct EventRecord {
    number: u64,
    at: String,
    node: String,
    node_id: String,
    /// Empty: the node itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    service: String,
    from: String,
    to: String,
    cause: String,
    observers: Vec<String>,
}

/// The head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) next_event: u64,
    pub(super) term: u64,
    pub(super) judge: String,
    /// Makes each write like no other, so that lost answers can be found.
    pub(super) stamp: String,
}

/// One record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Entry {
    /// Of a node.
    Node(NodeId, NodeHealth),
    /// Of a service, on the node of this id and name.
    Service(NodeId, String, String, Recorded),
    /// An event.
    Event(Change),
}

const STATES: [HealthState; 5] =
    [HealthState::Healthy, HealthState::Recovering, HealthState::Degraded, HealthState::Suspect, HealthState::Failed];

fn state(word: &str) -> Option<HealthState> {
    STATES.into_iter().find(|state| state.to_string() == word)
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Server => "server",
        Role::Agent => "agent",
    }
}

fn role(word: &str) -> Option<Role> {
    [Role::Server, Role::Agent].into_iter().find(|role| role_word(*role) == word)
}

fn id(word: &str) -> Option<NodeId> {
    u64::from_str_radix(word, 16).ok().map(NodeId)
}

/// A time as people read it.
fn time(ms: u64) -> String {
    // The year 9999 is the last that has a form.
    let last = Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms).min(last)).to_string()
}

fn from_time(text: &str) -> Option<u64> {
    let time: SystemTime = humantime::parse_rfc3339(text).ok()?;
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// What a record under [`super::ROOM`] says; an error in words if it is none of ours. `Ok(None)`: it lies where others keep theirs.
pub(in super::super) fn read(record: &Record) -> Result<Option<Entry>, String> {
    let bytes = record.key.bytes();
    let wrong = |error: serde_json::Error| error.to_string();
    let entry = if bytes.starts_with(NODES.as_bytes()) {
        read_node(serde_json::from_slice(&record.value).map_err(wrong)?)
    } else if bytes.starts_with(SERVICES.as_bytes()) {
        read_service(serde_json::from_slice(&record.value).map_err(wrong)?)
    } else if bytes.starts_with(EVENTS_UNDER.as_bytes()) {
        read_event(serde_json::from_slice(&record.value).map_err(wrong)?)
    } else {
        return Ok(None);
    };
    entry.map(Some).ok_or_else(|| "a word in it that is none of its field's".to_owned())
}

fn read_node(record: NodeRecord) -> Option<Entry> {
    let health = Recorded { state: state(&record.state)?, since_ms: from_time(&record.since)?, cause: record.cause };
    Some(Entry::Node(id(&record.id)?, NodeHealth { name: record.name, role: role(&record.role)?, health }))
}

fn read_service(record: ServiceRecord) -> Option<Entry> {
    let health = Recorded { state: state(&record.state)?, since_ms: from_time(&record.since)?, cause: record.cause };
    Some(Entry::Service(id(&record.node_id)?, record.node, record.service, health))
}

fn read_event(record: EventRecord) -> Option<Entry> {
    Some(Entry::Event(Change {
        number: record.number,
        node: id(&record.node_id)?,
        name: record.node,
        service: record.service,
        from: state(&record.from)?,
        health: Recorded { state: state(&record.to)?, since_ms: from_time(&record.at)?, cause: record.cause },
    }))
}

/// The bytes of a record.
pub(super) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers have a form")
}

/// A node's record after a change.
pub(super) fn node_record(ruling: &Ruling) -> impl Serialize + use<> {
    NodeRecord {
        name: ruling.name.clone(),
        id: ruling.node.to_string(),
        role: role_word(ruling.role).to_owned(),
        state: ruling.to.to_string(),
        since: time(ruling.at_ms),
        cause: ruling.cause.clone(),
        observers: ruling.observers.clone(),
    }
}

/// A service's record after a change.
pub(super) fn service_record(ruling: &Ruling) -> impl Serialize + use<> {
    ServiceRecord {
        service: ruling.service.clone(),
        node: ruling.name.clone(),
        node_id: ruling.node.to_string(),
        state: ruling.to.to_string(),
        since: time(ruling.at_ms),
        cause: ruling.cause.clone(),
    }
}

/// The event of a change.
pub(super) fn event_record(ruling: &Ruling, number: u64) -> impl Serialize + use<> {
    EventRecord {
        number,
        at: time(ruling.at_ms),
        node: ruling.name.clone(),
        node_id: ruling.node.to_string(),
        service: ruling.service.clone(),
        from: ruling.from.to_string(),
        to: ruling.to.to_string(),
        cause: ruling.cause.clone(),
        observers: ruling.observers.clone(),
    }
}
