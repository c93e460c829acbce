//! A key that is more than a plain string: the state of each of its kinds, and its deadline.
//!
//! Replicas that create a key with different kinds at the same time keep both; one is shown until somebody deletes the key or sets a string, which
//! removes all kinds that were observed.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::cell::Text;
use steadfast_crdt::{Cell, Covers, Lattice, Version};
use steadfast_types::wire::{Reader, Wire, WireError};

use crate::container::{Container, Kind};
use crate::deadline::{Deadline, Until};
use crate::delta::Change;
use crate::digest::{digest_of, hash_bytes, mix};
use crate::plain::Plain;
use crate::table::Hash;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Rich {
    key: Box<[u8]>,
    pub(crate) text: Cell<Text>,
    /// Of different kinds, in the order of the kinds.
    containers: Vec<Container>,
    pub(crate) deadline: Deadline,
    /// The digest, and that of what remains for a while, if nothing changed since they were made.
    digest: Option<(u64, u64)>,
}

impl Rich {
    /// A key with nothing.
    pub(crate) fn new(key: &[u8]) -> Self {
        Rich { key: key.into(), text: Cell::default(), containers: Vec::new(), deadline: Deadline::default(), digest: None }
    }

    pub(crate) fn of_plain(plain: &Plain) -> Self {
        Rich { text: Cell::of(plain.version(), Text::from(plain.value())), ..Rich::new(plain.key()) }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The kind that is shown.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let container = self.containers.iter().find(|container| container.is_shown()).map(Container::kind);
        container.or_else(|| self.text.is_shown().then_some(Kind::Text))
    }

    /// Whether it is a string that is shown, and nothing else.
    pub(crate) fn is_only_text(&self) -> bool {
        self.containers.is_empty() && self.deadline.is_empty() && self.text.is_shown()
    }

    /// The version of the string that is shown, if one is: what deadlines are set over.
    pub(crate) fn over(&self) -> Option<Version> {
        (self.kind() == Some(Kind::Text)).then(|| self.text.base().map(|(version, _)| version)).flatten()
    }

    /// Until when it is there.
    pub(crate) fn until(&self) -> Until {
        if self.deadline.is_empty() { Until::Ever } else { self.deadline.shown(self.over()) }
    }

    /// The container of a kind, if anything is known of it.
    pub(crate) fn container(&self, kind: Kind) -> Option<&Container> {
        self.containers.iter().find(|container| container.kind() == kind)
    }

    /// The containers, in the order of their kinds.
    pub(crate) fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// The container of a kind, to be changed: empty, if there was none. `None` for a string's kind.
    pub(crate) fn container_mut(&mut self, kind: Kind) -> Option<&mut Container> {
        let index = match self.containers.binary_search_by_key(&kind, Container::kind) {
            Ok(index) => index,
            Err(index) => {
                let empty = Container::empty(kind)?;
                self.containers.reserve_exact(1);
                self.containers.insert(index, empty);
                index
            }
        };
        self.containers.get_mut(index)
    }

    /// Removes everything but the string.
    pub(crate) fn remove_containers(&mut self, version: Version, changes: &mut Vec<Change>) {
        self.containers.iter_mut().for_each(|container| changes.extend(container.clear(version)));
    }

    /// Removes everything that is there.
    pub(crate) fn remove(&mut self, version: Version, changes: &mut Vec<Change>) {
        self.remove_containers(version, changes);
        changes.extend(self.text.clear(version).map(Change::Text));
        self.remove_deadline(changes);
    }

    /// Removes the deadline.
    pub(crate) fn remove_deadline(&mut self, changes: &mut Vec<Change>) {
        if !self.deadline.is_empty() {
            changes.push(Change::Deadline(self.deadline.clear()));
        }
    }

    /// Does what another replica did.
    pub(crate) fn apply(&mut self, version: Version, change: &Change) {
        match change {
            Change::New(value) => self.apply_text(version, Some(value), None),
            Change::Over { observed, value } => self.apply_text(version, Some(value), Some(*observed)),
            Change::Gone(observed) => self.apply_text(version, None, Some(*observed)),
            Change::Text(delta) => self.text.apply(delta),
            Change::Deadline(change) => self.deadline.apply(change),
            Change::Sorted(_) => self.apply_to(Kind::Sorted, change),
            Change::Set(_) => self.apply_to(Kind::Set, change),
            Change::Hash(_) => self.apply_to(Kind::Hash, change),
            Change::List(_) => self.apply_to(Kind::List, change),
            Change::Sketch(_) => self.apply_to(Kind::Sketch, change),
        }
    }

    fn apply_to(&mut self, kind: Kind, change: &Change) {
        if let Some(container) = self.container_mut(kind) {
            container.apply(change);
        }
    }

    fn apply_text(&mut self, version: Version, value: Option<&Bytes>, observed: Option<Version>) {
        let removed = steadfast_crdt::cell::Removed { gone: observed.into_iter().collect(), ..Default::default() };
        let value = value.map(|value| Text::from(&value[..]));
        self.text.apply(&steadfast_crdt::cell::Delta::Write { version, value, removed });
    }

    /// Takes in another replica's state of this key.
    pub(crate) fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        self.text.join(&other.text, mine, theirs);
        self.deadline.join(&other.deadline, mine, theirs);
        for container in &mut self.containers {
            match other.container(container.kind()) {
                Some(other) => container.join(other, mine, theirs),
                None => Container::empty(container.kind()).iter().for_each(|empty| container.join(empty, mine, theirs)),
            }
        }
        for container in &other.containers {
            if self.container(container.kind()).is_none()
                && let Some(empty) = self.container_mut(container.kind())
            {
                empty.join(container, mine, theirs);
            }
        }
    }

    /// Adds what a reader sees of another key, where nothing is.
    pub(crate) fn recreate(&mut self, source: &Self, version: Version, changes: &mut Vec<Change>) {
        match source.kind().and_then(|kind| source.container(kind)) {
            Some(container) => {
                changes.extend(self.container_mut(container.kind()).and_then(|empty| empty.recreate(container, version)));
            }
            None => {
                let text = source.text.shown().map(|shown| Text::from(&*shown.text()));
                changes.extend(text.map(|text| Change::Text(self.text.set(version, text))));
            }
        }
        if let until @ Until::At(_) = source.until() {
            let over = self.over();
            changes.push(Change::Deadline(self.deadline.set(version, until, over)));
        }
    }

    /// Whether something may be forgotten, now or later.
    pub(crate) fn may_collect(&self) -> bool {
        self.text.has_cuts() || !self.containers.is_empty()
    }

    /// Forgets what is stable and needed no more.
    pub(crate) fn collect(&mut self, stable: &impl Covers) {
        self.text.collect(stable);
        self.containers.iter_mut().for_each(|container| container.collect(stable));
    }

    /// After a change: forgets kinds that are empty, and the digest.
    pub(crate) fn changed(&mut self) {
        self.containers.retain(|container| !container.is_empty());
        self.digest = None;
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.text.is_empty() && self.deadline.is_empty()
    }

    /// As a plain key, if it is one.
    pub(crate) fn plain(&self) -> Option<Plain> {
        let (version, value) = self.text.plain()?;
        (self.containers.is_empty() && self.deadline.is_empty()).then(|| Plain::new(version, &self.key, value))
    }

    /// The digest, which is that of a plain key if it is one; and the digest of what may be collected, 0 if nothing may.
    pub(crate) fn digests(&mut self, hash: Hash) -> (u64, u64) {
        if let Some(digest) = self.digest {
            return digest;
        }
        let mut sum = 0_u64;
        let mut add = |of: u64, version: Version| sum = sum.wrapping_add(digest_of(of ^ u64::from(hash), version));
        let mut versions = Vec::new();
        self.text.versions(&mut versions);
        versions.drain(..).for_each(|version| add(0, version));
        self.deadline.versions(&mut versions);
        versions.drain(..).for_each(|version| add(1 << 32, version));
        for container in &self.containers {
            container.for_each_dot(|element, version| add(((container.kind() as u64 + 2) << 32) ^ element, version));
        }
        let mut remains = 0_u64;
        let mut remain = |of: u64, digest: u64| remains = remains.wrapping_add(mix(mix(of ^ u64::from(hash)).wrapping_add(digest)));
        if self.text.has_cuts() {
            remain(0, hash_bytes(&self.text.to_wire()));
        }
        for container in &self.containers {
            container.for_each_remains(|element, digest| remain(((container.kind() as u64 + 2) << 32) ^ element, digest));
        }
        self.digest = Some((sum, remains));
        (sum, remains)
    }

    /// Appends all but the key.
    pub(crate) fn encode_state(&self, out: &mut Vec<u8>) {
        self.text.encode(out);
        self.deadline.encode(out);
        self.containers.encode(out);
    }

    /// Reads what [`Rich::encode_state`] gave.
    pub(crate) fn decode_state(key: &[u8], reader: &mut Reader) -> Result<Self, WireError> {
        let mut rich = Rich { text: Wire::decode(reader)?, deadline: Wire::decode(reader)?, ..Rich::new(key) };
        rich.containers = Vec::decode(reader)?;
        let in_order = rich.containers.is_sorted_by(|one, next| one.kind() < next.kind());
        if in_order { Ok(rich) } else { Err(WireError::Invalid("key: kinds in this order")) }
    }

    /// Bytes that it takes, approximately.
    pub(crate) fn bytes(&self) -> usize {
        let containers =
            self.containers.iter().map(Container::heap_bytes).sum::<usize>() + self.containers.capacity() * size_of::<Container>();
        size_of::<Self>() + self.key.len() + self.text.heap_bytes() + self.deadline.bytes() + containers
    }
}
