//! The model: a store that is nothing but its changes, and what a transaction does to it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_types::Revision;

use crate::Violation;
use crate::history::{Change, Lease, Revised, Seen, Span, Step, Transaction, Version};

/// Every key's values over the revisions.
pub struct Store<'a> {
    keys: BTreeMap<&'a Bytes, BTreeMap<Revision, &'a Change>>,
    /// The keys that ever belonged to each lease.
    leased: BTreeMap<Lease, BTreeSet<&'a Bytes>>,
    changes: &'a BTreeMap<Revision, Revised>,
}

/// What a transaction does at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// For each step what it reads, or what was there before it.
    pub seen: Vec<Seen>,
    /// The new values; `None`: deleted.
    pub changes: BTreeMap<Bytes, Option<(Bytes, Lease)>>,
}

impl<'a> Store<'a> {
    /// The store with these changes.
    ///
    /// # Errors
    /// A revision changes a key twice.
    pub fn new(changes: &'a BTreeMap<Revision, Revised>) -> Result<Self, Violation> {
        let mut keys: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        let mut leased: BTreeMap<Lease, BTreeSet<_>> = BTreeMap::new();
        for (revision, revised) in changes {
            for change in &revised.changes {
                if keys.entry(&change.key).or_default().insert(*revision, change).is_some() {
                    return Err(Violation::new("store", format!("revision {revision} changes {:?} twice", change.key)));
                }
                if change.lease != 0 {
                    leased.entry(change.lease).or_default().insert(&change.key);
                }
            }
        }
        Ok(Store { keys, leased, changes })
    }

    /// What is there of these keys after a revision.
    pub fn read(&self, span: &Span, revision: Revision) -> Seen {
        self.present(span, revision).map(|(key, at, value)| (key.clone(), Version { revision: at, value: value.clone() })).collect()
    }

    /// All that is there after a revision.
    pub fn all(&self, revision: Revision) -> Seen {
        self.read(&everything(), revision)
    }

    /// The keys that belong to a lease after a revision.
    pub fn attached(&self, lease: Lease, revision: Revision) -> BTreeSet<&'a Bytes> {
        let keys = self.leased.get(&lease).into_iter().flatten().copied();
        keys.filter(|key| self.owner(key, revision) == Some(lease)).collect()
    }

    /// The keys that ever belonged to a lease.
    pub fn ever_attached(&self, lease: Lease) -> BTreeSet<&'a Bytes> {
        self.leased.get(&lease).cloned().unwrap_or_default()
    }

    /// The lease that a key belongs to after a revision (0: none), if the key is there.
    pub fn owner(&self, key: &Bytes, revision: Revision) -> Option<Lease> {
        let (_, change) = self.keys.get(key)?.range(..=revision).next_back()?;
        change.value.as_ref().map(|_| change.lease)
    }

    /// The revision that created a key as it is after a revision, if it is there.
    pub fn created(&self, key: &Bytes, revision: Revision) -> Option<Revision> {
        let values = self.keys.get(key)?.range(..=revision).rev();
        values.take_while(|(_, change)| change.value.is_some()).map(|(at, _)| *at).last()
    }

    /// The changes of exactly this revision, in the form of [`Effects::changes`].
    pub fn changes_at(&self, revision: Revision) -> BTreeMap<Bytes, Option<(Bytes, Lease)>> {
        let changes = self.changes.get(&revision).map_or(&[][..], |revised| &revised.changes);
        changes.iter().map(|change| (change.key.clone(), change.value.clone().map(|value| (value, change.lease)))).collect()
    }

    /// What a transaction does to the store as it is after `before`, at revision `at`.
    pub fn evaluate(&self, transaction: &Transaction, before: Revision, at: Revision) -> Effects {
        let holds = |(key, expected): &(Bytes, Revision)| {
            let found = self.read(&Span::one(key.clone()), before);
            found.get(key).map_or(Revision(0), |version| version.revision) == *expected
        };
        let succeeded = transaction.conditions.iter().all(holds);
        let mut effects = Effects { succeeded, ..Effects::default() };
        for step in if succeeded { &transaction.then } else { &transaction.otherwise } {
            let span = match step {
                Step::Read(span) | Step::Delete(span) => span.clone(),
                Step::Put { key, .. } => Span::one(key.clone()),
            };
            let seen = self.read_through(&effects, &span, before, at);
            match step {
                Step::Read(_) => {}
                Step::Put { key, value, lease, .. } => {
                    effects.changes.insert(key.clone(), Some((value.clone(), *lease)));
                }
                Step::Delete(_) => effects.changes.extend(seen.keys().map(|key| (key.clone(), None))),
            }
            effects.seen.push(seen);
        }
        effects
    }

    /// Reads what earlier steps have left.
    fn read_through(&self, effects: &Effects, span: &Span, before: Revision, at: Revision) -> Seen {
        let mut seen = self.read(span, before);
        for (key, change) in effects.changes.iter().filter(|(key, _)| span.contains(key)) {
            match change {
                Some((value, _)) => seen.insert(key.clone(), Version { revision: at, value: value.clone() }),
                None => seen.remove(key),
            };
        }
        seen
    }

    fn present<'s>(&'s self, span: &'s Span, revision: Revision) -> impl Iterator<Item = (&'a Bytes, Revision, &'a Bytes)> + 's {
        let keys = self.keys.range::<Bytes, _>(&span.first..).take_while(|(key, _)| span.contains(key));
        keys.filter_map(move |(key, values)| {
            let (at, change) = values.range(..=revision).next_back()?;
            Some((*key, *at, change.value.as_ref()?))
        })
    }
}

/// Histories have no keys beyond.
fn everything() -> Span {
    Span { first: Bytes::new(), end: Some(Bytes::from_static(&[0xff; 64])) }
}
