//! What has been seen: for each actor, everything up to a time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use steadfast_types::wire::{Reader, Wire, WireError};

use crate::version::{Actor, Time, Version};

/// A causal context: which writes its holder has seen, whether they are still there or not.
pub trait Covers {
    /// Whether this write was seen.
    fn covers(&self, version: Version) -> bool;
}

/// For each actor the time up to which everything of it was seen; nothing of an actor that is not in it.
///
/// Merge rule: the later time of each actor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<Actor, Time>);

impl VersionVector {
    /// Up to when everything of an actor was seen; `None` if nothing was.
    pub fn of(&self, actor: Actor) -> Option<Time> {
        self.0.get(&actor).copied()
    }

    /// Everything of this write's actor up to it was seen.
    pub fn saw(&mut self, version: Version) {
        let time = self.0.entry(version.actor()).or_insert(version.time());
        *time = version.time().max(*time);
    }

    /// All that another has seen too.
    pub fn join(&mut self, other: &Self) {
        other.iter().for_each(|version| self.saw(version));
    }

    /// What both have seen.
    pub fn meet(&self, other: &Self) -> Self {
        Self(self.0.iter().filter_map(|(actor, time)| Some((*actor, (*time).min(other.of(*actor)?)))).collect())
    }

    /// Whether all that another has seen was seen.
    pub fn includes(&self, other: &Self) -> bool {
        other.iter().all(|version| self.covers(version))
    }

    /// The last write seen of each actor, in the order of the actors.
    pub fn iter(&self) -> impl Iterator<Item = Version> {
        self.0.iter().map(|(actor, time)| Version::new(*time, *actor))
    }

    /// Forgets an actor: only of one that nothing bears the dot of any more.
    pub fn forget(&mut self, actor: Actor) {
        self.0.remove(&actor);
    }
}

impl Covers for VersionVector {
    fn covers(&self, version: Version) -> bool {
        self.of(version.actor()).is_some_and(|time| version.time() <= time)
    }
}

impl FromIterator<Version> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Version>>(versions: I) -> Self {
        let mut vector = Self::default();
        versions.into_iter().for_each(|version| vector.saw(version));
        vector
    }
}

impl Wire for VersionVector {
    fn encode(&self, out: &mut Vec<u8>) {
        self.iter().collect::<Vec<_>>().encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Vec::<Version>::decode(reader)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(time: u64, place: u16) -> Version {
        Version::new(Time::at_unix_ms(Time::EPOCH_MS + time), Actor::new(place).unwrap())
    }

    fn vectors() -> impl Strategy<Value = VersionVector> {
        proptest::collection::vec((0..4_u64, 0..4_u16), 0..5)
            .prop_map(|seen| seen.into_iter().map(|(time, place)| version(time, place)).collect())
    }

    proptest! {
        #[test]
        fn joined_and_met_vectors_cover_what_either_or_both_do(one in vectors(), other in vectors(), time in 0..4_u64, place in 0..4_u16) {
            let (at, mut joined) = (version(time, place), one.clone());
            joined.join(&other);
            prop_assert_eq!(joined.covers(at), one.covers(at) || other.covers(at));
            prop_assert_eq!(one.meet(&other).covers(at), one.covers(at) && other.covers(at));
            prop_assert!(joined.includes(&one) && joined.includes(&other) && one.includes(&one.meet(&other)));
            prop_assert_eq!(VersionVector::from_wire(one.to_wire().into()), Ok(one));
        }
    }
}
