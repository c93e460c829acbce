//! What is recorded when a judge begins.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_coordination::{Key, Record};
use steadfast_membership::Role;

use super::super::judge::Known;
use super::form::{Entry, read};

/// What was there when a book was opened.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) nodes: BTreeMap<String, Known>,
    pub(super) last_event: u64,
    pub(super) foreign: BTreeSet<Key>,
}

impl Opened {
    pub(super) fn take(&mut self, record: &Record) {
        match read(record) {
            Ok(Some(Entry::Node(id, node))) => {
                let known = self.nodes.entry(node.name).or_insert_with(|| Known::healthy(id, node.role));
                (known.id, known.role, known.has_record) = (id, node.role, true);
                (known.state, known.since_ms) = (node.health.state, node.health.since_ms);
            }
            Ok(Some(Entry::Service(id, node, service, health))) => {
                // Its node has no record of its own: it is healthy. What it is for is asked only of removed servers.
                let known = self.nodes.entry(node).or_insert_with(|| Known::healthy(id, Role::Agent));
                known.services.insert(service, health.state);
            }
            Ok(Some(Entry::Event(event))) => self.last_event = self.last_event.max(event.number),
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!(key = %record.key, reason, "this is no record of health: it is left alone");
                self.foreign.insert(record.key.clone());
            }
        }
    }
}
