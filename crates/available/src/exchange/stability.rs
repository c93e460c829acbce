//! What replicas have told of themselves, and what follows from that for all.
//!
//! What is stable is forgotten ([`Exchange::stable`](super::Exchange::stable)), so a version is stable only if nothing that was written without having seen it
//! is still to come. That takes more than that every replica has said that it has seen it:
//! 1. What a replica said counts once all that it had seen by then was seen here too: what it wrote before it saw a version may come later than its word, which
//!    others carry on.
//! 2. What was said under another set of replicas does not count. A replica that was removed may have written without having seen a version; who has heard of
//!    that, by however late a message, says so under the set without it, and hears nothing more of it but from those who do. And who does not
//!    know yet of a replica that was added may take for stable what that one has not seen.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use steadfast_crdt::{Actor, Covers, Time, Version, VersionVector};
use steadfast_types::planted::{Bug, is_planted};

use crate::digest::mix;

/// Tells sets of replicas apart: a digest. 0 if none was set.
pub(crate) type SetId = u64;

#[derive(Debug, Default)]
struct Told {
    /// All that it has told it has seen.
    vector: VersionVector,
    /// What it told under the present set.
    under: VersionVector,
    /// What it told under the present set some time ago, and what is waited for to be seen here.
    next: Option<VersionVector>,
    /// What it told under the present set and was seen here.
    settled: VersionVector,
    /// The number of the change that made `under` what it is.
    generation: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Stability {
    replicas: BTreeSet<Actor>,
    set: SetId,
    told: BTreeMap<Actor, Told>,
    pub(crate) generation: u64,
    /// What was collected up to.
    pub(crate) collected: VersionVector,
}

impl Stability {
    pub(crate) fn set_replicas(&mut self, replicas: BTreeSet<Actor>) {
        if replicas == self.replicas {
            return;
        }
        self.told.retain(|actor, _| replicas.contains(actor));
        for told in self.told.values_mut() {
            *told = Told { vector: core::mem::take(&mut told.vector), ..Told::default() };
        }
        self.set = replicas.iter().fold(1, |set, actor| mix(set ^ u64::from(actor.place())));
        self.replicas = replicas;
    }

    /// Which set of replicas this is.
    pub(crate) fn set(&self) -> SetId {
        self.set
    }

    pub(crate) fn is_replica(&self, actor: Actor) -> bool {
        self.replicas.is_empty() || self.replicas.contains(&actor)
    }

    /// A replica has told, somebody or us, that it has seen this.
    pub(crate) fn told(&mut self, actor: Actor, vector: &VersionVector) {
        if self.is_replica(actor) {
            self.told.entry(actor).or_default().vector.join(vector);
        }
    }

    /// It has told so under this set of replicas.
    pub(crate) fn told_under(&mut self, set: SetId, actor: Actor, vector: &VersionVector) {
        if !self.is_replica(actor) || set != self.set && !is_planted(Bug::ToldUnderAnySet) {
            return;
        }
        let told = self.told.entry(actor).or_default();
        if told.generation == 0 || !told.under.includes(vector) {
            told.under.join(vector);
            self.generation += 1;
            told.generation = self.generation;
        }
    }

    /// This was seen here: what was told of no more than that counts from now on.
    pub(crate) fn settle(&mut self, seen: &VersionVector) {
        for told in self.told.values_mut() {
            if told.next.is_none() {
                told.next = Some(told.under.clone());
            }
            if let Some(next) = told.next.take_if(|next| seen.includes(next)) {
                told.settled = next;
            }
        }
    }

    /// What a replica has told.
    pub(crate) fn of(&self, actor: Actor) -> Option<&VersionVector> {
        self.told.get(&actor).map(|told| &told.vector)
    }

    /// What was told under the present set since a generation.
    pub(crate) fn since(&self, generation: u64) -> Vec<(Actor, VersionVector)> {
        self.told.iter().filter(|(_, told)| told.generation > generation).map(|(actor, told)| (*actor, told.under.clone())).collect()
    }

    /// What of `seen`, which was seen here, everybody has seen, as far as that counts.
    pub(crate) fn stable(&self, own: Actor, seen: &VersionVector) -> VersionVector {
        if self.replicas.is_empty() {
            return VersionVector::default();
        }
        if is_planted(Bug::CollectedEarly) {
            return seen.clone();
        }
        let nothing = VersionVector::default();
        let counts = |told: &'_ Told| if is_planted(Bug::ToldCountsEarly) { told.under.clone() } else { told.settled.clone() };
        let others = self.replicas.iter().filter(|actor| **actor != own).map(|actor| self.told.get(actor).map_or(nothing.clone(), counts));
        others.fold(seen.clone(), |stable, vector| stable.meet(&vector))
    }

    /// The first of the replicas.
    pub(crate) fn first(&self) -> Option<Actor> {
        self.replicas.first().copied()
    }

    /// All replicas but one.
    pub(crate) fn others(&self, own: Actor) -> impl Iterator<Item = Actor> {
        self.replicas.iter().copied().filter(move |actor| *actor != own)
    }

    /// Whether a writer is none of the replicas, and all others of those have told, under the present set, that they have seen this much of it and no more.
    pub(crate) fn is_gone(&self, own: Actor, writer: Actor, seen: Option<Time>) -> bool {
        let agrees = |actor: &Actor| self.told.get(actor).is_some_and(|told| told.generation > 0 && told.under.of(writer) == seen);
        !self.is_replica(writer) && self.replicas.iter().filter(|actor| **actor != own).all(agrees)
    }

    pub(crate) fn heard_of(&self, own: Actor) -> usize {
        self.told.keys().filter(|actor| **actor != own).count()
    }

    /// For each other replica of which anything was heard, up to when it has seen what this one wrote.
    pub(crate) fn acknowledgements(&self, own: Actor) -> impl Iterator<Item = Option<Time>> {
        self.told.iter().filter(move |(actor, _)| **actor != own).map(move |(_, told)| told.vector.of(own))
    }

    pub(crate) fn acknowledged(&self, own: Actor, version: Version) -> usize {
        self.told.iter().filter(|(actor, told)| **actor != own && told.vector.covers(version)).count()
    }
}
