//! Where the records lie.

use steadfast_coordination::{Key, Prefix};
use steadfast_types::ClusterId;

pub(super) const NODES: &str = "steadfast/health/nodes/";
pub(super) const SERVICES: &str = "steadfast/health/services/";
pub(super) const EVENTS_UNDER: &str = "steadfast/health/events/";

/// A name as one part of a key: a slash in it is none between parts.
fn part(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

fn key(text: String) -> Key {
    Key::new(text).expect("names of nodes and services are far shorter than keys may be")
}

pub(super) fn node_key(name: &str) -> Key {
    key(format!("{NODES}{}", part(name)))
}

pub(super) fn services_of(name: &str) -> Prefix {
    Prefix::new(format!("{SERVICES}{}/", part(name))).expect("as for a key")
}

pub(super) fn service_key(name: &str, service: &str) -> Key {
    key(format!("{SERVICES}{}/{}", part(name), part(service)))
}

pub(super) fn event_key(number: u64) -> Key {
    key(format!("{EVENTS_UNDER}{number:012}"))
}

pub(super) fn head_key(cluster: ClusterId) -> Key {
    key(format!("steadfast/@{:x}/health/head", cluster.0))
}
