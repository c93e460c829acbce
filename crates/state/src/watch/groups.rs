//! Watchers of equal span and filters as one group, and the groups that an event concerns.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::Rng;

use super::WatchRequest;
use super::slab::Slab;
use super::span_index::SpanIndex;
use crate::command::{KeySpan, KeyValue};
use crate::event::{Event, EventKind};

/// What a group's watchers leave out of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Variant {
    no_put: bool,
    no_delete: bool,
    pub(super) prev_kv: bool,
}

impl Variant {
    const FIRST: Variant = Variant { no_put: false, no_delete: false, prev_kv: false };
    const LAST: Variant = Variant { no_put: true, no_delete: true, prev_kv: true };

    pub(super) fn of(request: &WatchRequest) -> Self {
        Variant { no_put: request.no_put, no_delete: request.no_delete, prev_kv: request.prev_kv }
    }

    /// Whether the group hears of such an event.
    pub(super) fn hears(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    /// The event as the group hears it.
    pub(super) fn tells(self, event: &Event) -> Event {
        let prev_kv: Option<KeyValue> = if self.prev_kv { event.prev_kv.clone() } else { None };
        Event { kind: event.kind, kv: event.kv.clone(), prev_kv }
    }
}

/// Watchers that hear the same.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) keys: KeySpan,
    pub(super) variant: Variant,
    /// How many there are, lagging ones too.
    members: u32,
    /// Those that are synced. Each knows its place in here.
    pub(super) synced: Vec<u32>,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    groups: Slab<Group>,
    by_keys: BTreeMap<(KeySpan, Variant), u32>,
    ranges: SpanIndex,
    /// How many want to know what was before.
    with_previous: usize,
}

impl Groups {
    pub(super) fn new(rng: Rng) -> Self {
        Groups { groups: Slab::new(), by_keys: BTreeMap::new(), ranges: SpanIndex::new(rng), with_previous: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_keys.is_empty()
    }

    pub(super) fn wants_previous(&self) -> bool {
        self.with_previous > 0
    }

    pub(super) fn get(&self, id: u32) -> &Group {
        self.groups.get(id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Group {
        self.groups.get_mut(id)
    }

    /// Counts a watcher in; makes its group if it is the first.
    pub(super) fn join(&mut self, keys: &KeySpan, variant: Variant) -> u32 {
        if let Some(&id) = self.by_keys.get(&(keys.clone(), variant)) {
            self.groups.get_mut(id).members += 1;
            return id;
        }
        let id = self.groups.insert(Group { keys: keys.clone(), variant, members: 1, synced: Vec::new() });
        self.by_keys.insert((keys.clone(), variant), id);
        self.with_previous += usize::from(variant.prev_kv);
        if !keys.is_single() {
            self.ranges.insert(keys, id);
        }
        id
    }

    /// Counts a watcher out, which is no longer in `synced`; drops the group if it was the last.
    pub(super) fn leave(&mut self, id: u32) {
        let group = self.groups.get_mut(id);
        group.members -= 1;
        if group.members > 0 {
            return;
        }
        let group = self.groups.remove(id);
        assert!(group.synced.is_empty(), "a group without members has no synced ones");
        if !group.keys.is_single() {
            self.ranges.remove(&group.keys, id);
        }
        self.with_previous -= usize::from(group.variant.prev_kv);
        self.by_keys.remove(&(group.keys, group.variant));
    }

    /// The groups whose span has the key.
    pub(super) fn containing(&self, key: &Bytes, on: &mut dyn FnMut(u32)) {
        let single = KeySpan::single(key.clone());
        let exact = (single.clone(), Variant::FIRST)..=(single, Variant::LAST);
        self.by_keys.range(exact).for_each(|(_, &id)| on(id));
        self.ranges.containing(key, on);
    }
}
