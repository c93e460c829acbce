//! The dots of one element: the writes that it is there by.
//!
//! Merge rule: a dot stays if both have it, or if one has it and the other has not seen it. An element without dots is not there.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::{mem, slice};

use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire::{Reader, Wire, WireError};

use crate::lattice::Lattice;
use crate::map::Element;
use crate::vector::Covers;
use crate::version::Version;

/// A set of dots in 16 bytes, and more only if there are concurrent ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dots(Held);

/// In the order of the versions, without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "it is rare, and must not make the others larger")]
enum Held {
    #[default]
    None,
    One(Version),
    /// Two at least.
    More(Box<Vec<Version>>),
}

impl Dots {
    /// The dots in the order of their versions.
    pub fn as_slice(&self) -> &[Version] {
        match &self.0 {
            Held::None => &[],
            Held::One(version) => slice::from_ref(version),
            Held::More(versions) => versions,
        }
    }

    /// Writes: the write's dot takes the place of all that are there, which are returned.
    pub fn write(&mut self, version: Version) -> Self {
        mem::replace(self, Self::from(version))
    }

    /// Removes all that are there, and returns them.
    pub fn remove(&mut self) -> Self {
        mem::take(self)
    }

    /// Adds a dot.
    pub fn insert(&mut self, version: Version) {
        if self.as_slice().contains(&version) {
            return;
        }
        self.collect(self.as_slice().len() + 1, |held, dots| {
            dots.extend(held.iter().copied());
            dots.insert(held.partition_point(|dot| *dot < version), version);
        });
    }

    /// Keeps only the dots of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(Version) -> bool) {
        match &mut self.0 {
            Held::None => {}
            Held::One(version) if keep(*version) => {}
            Held::One(_) => self.0 = Held::None,
            Held::More(_) => self.collect(0, |held, dots| dots.extend(held.iter().copied().filter(|dot| keep(*dot)))),
        }
    }

    fn collect(&mut self, count: usize, fill: impl FnOnce(&[Version], &mut Vec<Version>)) {
        let mut dots = Vec::with_capacity(if count > 1 { count } else { 0 });
        fill(self.as_slice(), &mut dots);
        *self = Self::of_sorted(dots);
    }

    fn of_sorted(dots: Vec<Version>) -> Self {
        Self(match *dots {
            [] => Held::None,
            [version] => Held::One(version),
            _ => Held::More(Box::new(dots)),
        })
    }
}

impl From<Version> for Dots {
    fn from(version: Version) -> Self {
        Self(Held::One(version))
    }
}

impl FromIterator<Version> for Dots {
    fn from_iter<I: IntoIterator<Item = Version>>(versions: I) -> Self {
        let mut dots = Self::default();
        versions.into_iter().for_each(|version| dots.insert(version));
        dots
    }
}

/// What a write did to the dots of an element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotsDelta {
    /// What it had observed.
    pub gone: Dots,
    /// Its own dot, unless it removed.
    pub new: Option<Version>,
}

steadfast_types::wire_struct!(DotsDelta { gone, new });

impl Lattice for Dots {
    type Delta = DotsDelta;

    fn apply(&mut self, delta: &DotsDelta) {
        self.change(&delta.gone, delta.new);
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        if self == other {
            return;
        }
        let keeps_all = is_planted(Bug::DotsOfBothKept) && !self.is_empty() && !other.is_empty();
        self.retain(|dot| keeps_all || other.as_slice().contains(&dot) || !theirs.covers(dot));
        other.as_slice().iter().filter(|dot| keeps_all || !mine.covers(**dot)).for_each(|dot| self.insert(*dot));
    }

    fn is_empty(&self) -> bool {
        matches!(self.0, Held::None)
    }

    fn versions(&self, out: &mut Vec<Version>) {
        out.extend_from_slice(self.as_slice());
    }
}

impl Dots {
    /// Takes away what a write had observed, and adds the write's own dot.
    pub(crate) fn change(&mut self, gone: &Self, new: Option<Version>) {
        self.retain(|dot| !gone.as_slice().contains(&dot));
        if let Some(version) = new {
            self.insert(version);
        }
    }
}

impl Element for Dots {
    fn is_shown(&self) -> bool {
        !self.is_empty()
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Held::More(dots) => size_of::<Vec<Version>>() + dots.len() * size_of::<Version>(),
            _ => 0,
        }
    }
}

impl Wire for Dots {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.as_slice().len() as u64).encode(out);
        self.as_slice().iter().for_each(|dot| dot.encode(out));
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut dots = Vec::<Version>::new();
        match reader.varint()? {
            0 => return Ok(Self::default()),
            1 => return Ok(Self::from(Version::decode(reader)?)),
            count => (0..count).try_for_each(|_| {
                dots.push(Version::decode(reader)?);
                Ok(())
            })?,
        }
        dots.sort_unstable();
        dots.dedup();
        Ok(Self::of_sorted(dots))
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dots_are_a_set_of_versions(steps in proptest::collection::vec((any::<bool>(), 0..6_u64), 0..12)) {
            let (mut dots, mut model) = (Dots::default(), BTreeSet::new());
            for (adds, number) in steps {
                let version = Version::from_number(number);
                if adds {
                    dots.insert(version);
                    model.insert(version);
                } else {
                    dots.retain(|dot| dot != version);
                    model.remove(&version);
                }
                prop_assert!(dots.as_slice().iter().eq(&model));
                prop_assert_eq!(dots.is_empty(), model.is_empty());
                prop_assert_eq!(Dots::from_wire(dots.to_wire().into()), Ok(dots.clone()));
            }
        }
    }

    #[test]
    fn they_are_small() {
        assert_eq!(size_of::<Dots>(), 16);
    }
}
