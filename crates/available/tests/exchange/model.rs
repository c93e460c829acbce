//! A replica as simple as can be: keys that are added and removed, each with the dots of the additions that nobody who had seen them removed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_available::exchange::{Delta, Digest, HashRange, Replica};
use steadfast_crdt::{Actor, Covers, Version, VersionVector};
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::wire_struct;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) version: Version,
    pub(crate) key: u64,
    pub(crate) adds: bool,
    pub(crate) observed: Vec<Version>,
}
wire_struct!(Write { version, key, adds, observed });

/// Two keys have each hash.
pub(crate) fn hash(key: u64) -> u32 {
    let hash = (key / 2 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (number ^ (number >> 30)).wrapping_mul(0x2545_f491_4f6c_dd1d)
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// By hash and key.
    pub(crate) keys: BTreeMap<(u32, u64), BTreeSet<Version>>,
    /// The whole context of the hashes up to this one.
    pub(crate) contexts: Vec<(u32, VersionVector)>,
    pub(crate) vector: VersionVector,
    pub(crate) collected: VersionVector,
    /// What was applied from deltas.
    pub(crate) applied: BTreeSet<(u64, Version)>,
    /// Others may lie: what they say is not judged.
    pub(crate) believes_all: bool,
}

impl Default for Model {
    fn default() -> Self {
        let contexts = vec![(u32::MAX, VersionVector::default())];
        Self {
            keys: BTreeMap::new(),
            contexts,
            vector: VersionVector::default(),
            collected: VersionVector::default(),
            applied: BTreeSet::new(),
            believes_all: false,
        }
    }
}

impl Model {
    pub(crate) fn context(&self, hash: u32) -> &VersionVector {
        &self.contexts.iter().find(|(last, _)| hash <= *last).unwrap().1
    }

    /// All that was seen of any key.
    pub(crate) fn everything(&self) -> VersionVector {
        let mut all = self.vector.clone();
        self.contexts.iter().for_each(|(_, context)| all.join(context));
        all
    }

    pub(crate) fn write(&mut self, version: Version, key: u64, adds: bool) -> Write {
        let observed = self.keys.get(&(hash(key), key)).map(|dots| dots.iter().copied().collect()).unwrap_or_default();
        let write = Write { version, key, adds, observed };
        self.change(&write);
        self.saw(version);
        write
    }

    fn change(&mut self, write: &Write) {
        let dots = self.keys.entry((hash(write.key), write.key)).or_default();
        write.observed.iter().for_each(|dot| {
            dots.remove(dot);
        });
        if write.adds {
            dots.insert(write.version);
        }
        self.keys.retain(|_, dots| !dots.is_empty());
    }

    fn saw(&mut self, version: Version) {
        self.vector.saw(version);
        self.contexts.iter_mut().for_each(|(_, context)| context.saw(version));
        self.settle();
    }

    fn settle(&mut self) {
        let before = self.vector.clone();
        self.contexts.dedup_by(|later, earlier| {
            let same = later.1 == earlier.1;
            if same {
                earlier.0 = later.0;
            }
            same
        });
        self.vector = self.contexts.iter().skip(1).fold(self.contexts[0].1.clone(), |all, (_, context)| all.meet(context));
        assert!(self.vector.includes(&before), "a vector never shrinks");
    }

    /// The elements, by key.
    pub(crate) fn shown(&self) -> BTreeMap<u64, BTreeSet<Version>> {
        self.keys.iter().map(|((_, key), dots)| (*key, dots.clone())).collect()
    }
}

impl Replica for Model {
    fn vector(&self) -> &VersionVector {
        &self.vector
    }

    fn is_even(&self) -> bool {
        self.contexts.len() == 1
    }

    fn contexts(&self, range: HashRange) -> Vec<(HashRange, VersionVector)> {
        let mut first = 0;
        let mut pieces = Vec::new();
        for (last, context) in &self.contexts {
            if let Some(piece) = HashRange::new(first.max(range.first()), (*last).min(range.last())) {
                pieces.push((piece, context.clone()));
            }
            first = last.wrapping_add(1);
            if *last >= range.last() {
                break;
            }
        }
        pieces
    }

    fn apply(&mut self, delta: &Delta) -> Result<(), WireError> {
        for write in Vec::<Write>::from_wire(delta.body.clone())? {
            if !self.context(hash(write.key)).covers(write.version) {
                let is_first = self.applied.insert((write.key, write.version));
                assert!(is_first || self.believes_all, "{write:?} is applied twice");
                self.change(&write);
            }
        }
        self.saw(delta.version());
        Ok(())
    }

    fn digest(&mut self, range: HashRange) -> Digest {
        let keys = self.keys.range((range.first(), 0)..=(range.last(), u64::MAX));
        keys.fold(Digest::default(), |digest, ((_, key), dots)| {
            let sum = dots.iter().fold(digest.sum, |sum, dot| sum.wrapping_add(mix(mix(*key + 1).wrapping_add(dot.number()))));
            Digest { sum, keys: digest.keys + 1, remains: 0 }
        })
    }

    fn states(&mut self, range: HashRange, limit: usize) -> Option<Bytes> {
        let keys = self.keys.range((range.first(), 0)..=(range.last(), u64::MAX));
        let states = keys.map(|((_, key), dots)| (*key, dots.clone())).collect::<Vec<_>>().to_wire();
        (states.len() <= limit).then(|| states.into())
    }

    fn join_states(&mut self, range: HashRange, states: Bytes, theirs: &VersionVector) -> Result<(), WireError> {
        let states = Vec::<(u64, BTreeSet<Version>)>::from_wire(states)?;
        if states.iter().any(|(key, _)| !range.contains(hash(*key))) {
            return Err(WireError::Invalid("key"));
        }
        let states = states.into_iter().map(|(key, dots)| ((hash(key), key), dots)).collect::<BTreeMap<_, _>>();
        let none = BTreeSet::new();
        for (at, dots) in self.keys.range_mut((range.first(), 0)..=(range.last(), u64::MAX)) {
            let others = states.get(at).unwrap_or(&none);
            dots.retain(|dot| others.contains(dot) || !theirs.covers(*dot));
        }
        for (at, others) in &states {
            let mine = self.context(at.0).clone();
            let dots = self.keys.entry(*at).or_default();
            dots.extend(others.iter().filter(|dot| !mine.covers(**dot)));
        }
        self.keys.retain(|_, dots| !dots.is_empty());
        self.saw_range(range, theirs);
        Ok(())
    }

    fn saw_range(&mut self, range: HashRange, theirs: &VersionVector) {
        for cut in [range.first().checked_sub(1), Some(range.last())].into_iter().flatten() {
            let place = self.contexts.iter().position(|(last, _)| cut <= *last).unwrap();
            if self.contexts[place].0 != cut {
                let context = self.contexts[place].1.clone();
                self.contexts.insert(place, (cut, context));
            }
        }
        for (last, context) in &mut self.contexts {
            if range.contains(*last) {
                context.join(theirs);
            }
        }
        self.settle();
    }

    fn collect(&mut self, stable: &VersionVector) {
        assert!(stable.includes(&self.collected), "collection goes on");
        self.collected = stable.clone();
    }
}

/// What a key holds of these writes after those that a context covers, and nothing else.
pub(crate) fn after(writes: &[Write], key: u64, context: &impl Covers) -> BTreeSet<Version> {
    let seen = || writes.iter().filter(|write| write.key == key && context.covers(write.version));
    let gone = seen().flat_map(|write| write.observed.iter().copied()).collect::<BTreeSet<_>>();
    seen().filter(|write| write.adds && !gone.contains(&write.version)).map(|write| write.version).collect()
}

pub(crate) fn actor(place: u16) -> Actor {
    Actor::new(place).unwrap()
}
