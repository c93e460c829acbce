//! What replicas have told of themselves, and what follows from that for all.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use steadfast_crdt::{Actor, Covers, Version, VersionVector};

#[derive(Debug, Default)]
struct Told {
    vector: VersionVector,
    /// The number of the change that made it what it is.
    generation: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Stability {
    replicas: BTreeSet<Actor>,
    told: BTreeMap<Actor, Told>,
    pub(crate) generation: u64,
    /// What was collected up to.
    pub(crate) collected: VersionVector,
}

impl Stability {
    pub(crate) fn set_replicas(&mut self, replicas: BTreeSet<Actor>) {
        self.told.retain(|actor, _| replicas.contains(actor));
        self.replicas = replicas;
    }

    pub(crate) fn is_replica(&self, actor: Actor) -> bool {
        self.replicas.is_empty() || self.replicas.contains(&actor)
    }

    /// A replica has told, somebody or us, that it has seen this.
    pub(crate) fn told(&mut self, actor: Actor, vector: &VersionVector) {
        if !self.is_replica(actor) {
            return;
        }
        let told = self.told.entry(actor).or_default();
        if !told.vector.includes(vector) {
            told.vector.join(vector);
            self.generation += 1;
            told.generation = self.generation;
        }
    }

    /// What a replica has told.
    pub(crate) fn of(&self, actor: Actor) -> Option<&VersionVector> {
        self.told.get(&actor).map(|told| &told.vector)
    }

    /// What was told since a generation.
    pub(crate) fn since(&self, generation: u64) -> Vec<(Actor, VersionVector)> {
        self.told.iter().filter(|(_, told)| told.generation > generation).map(|(actor, told)| (*actor, told.vector.clone())).collect()
    }

    pub(crate) fn stable(&self, own: Actor, seen: &VersionVector) -> VersionVector {
        if self.replicas.is_empty() {
            return VersionVector::default();
        }
        let nothing = VersionVector::default();
        let others = self.replicas.iter().filter(|actor| **actor != own).map(|actor| self.of(*actor).unwrap_or(&nothing));
        others.fold(seen.clone(), |stable, vector| stable.meet(vector))
    }

    pub(crate) fn heard_of(&self, own: Actor) -> usize {
        self.told.keys().filter(|actor| **actor != own).count()
    }

    pub(crate) fn acknowledged(&self, own: Actor, version: Version) -> usize {
        self.told.iter().filter(|(actor, told)| **actor != own && told.vector.covers(version)).count()
    }
}
