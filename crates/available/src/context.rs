//! What a replica has seen: one causal context for all its keys, and what it has seen beyond that of ranges of them.
//!
//! Ranges are ahead while replicas reconcile: a range that was joined holds what the other had seen, and the rest does not yet. The context of a key is
//! the vector of all keys joined with that of the ranges that it is in. Once nothing lies behind, all is in the one vector again.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use steadfast_crdt::{Covers, Version, VersionVector};
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::table::Hash;

/// What was seen, key by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    vector: VersionVector,
    /// What else was seen of the keys whose hashes are from here to the next entry's. Empty, or it has an entry for hash 0; neighbours differ.
    ahead: BTreeMap<Hash, VersionVector>,
}

/// What was seen of the keys of one hash.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    vector: &'a VersionVector,
    ahead: Option<&'a VersionVector>,
}

impl Covers for Seen<'_> {
    fn covers(&self, version: Version) -> bool {
        self.vector.covers(version) || self.ahead.is_some_and(|ahead| ahead.covers(version))
    }
}

impl Context {
    /// Appends all of it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.vector.encode(out);
        put_varint(out, self.ahead.len() as u64);
        for (hash, ahead) in &self.ahead {
            hash.encode(out);
            ahead.encode(out);
        }
    }

    /// Reads what [`Context::encode`] gave.
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (vector, mut ahead) = (VersionVector::decode(reader)?, BTreeMap::new());
        for _ in 0..reader.varint()? {
            ahead.insert(Hash::decode(reader)?, VersionVector::decode(reader)?);
        }
        if ahead.is_empty() || ahead.contains_key(&0) { Ok(Context { vector, ahead }) } else { Err(WireError::Invalid("context")) }
    }

    /// What was seen of all keys.
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// Everything of this write's actor up to it was seen of all keys.
    pub(crate) fn saw(&mut self, version: Version) {
        self.vector.saw(version);
        if !self.ahead.is_empty() {
            self.settle();
        }
    }

    /// What was seen of the keys of one hash.
    pub fn at(&self, hash: Hash) -> Seen<'_> {
        let ahead = if self.ahead.is_empty() { None } else { self.ahead.range(..=hash).next_back().map(|(_, ahead)| ahead) };
        Seen { vector: &self.vector, ahead }
    }

    /// What was seen of any key: a write may have observed that much.
    pub fn everything(&self) -> VersionVector {
        let mut everything = self.vector.clone();
        self.ahead.values().for_each(|ahead| everything.join(ahead));
        everything
    }

    /// The same of a range of hashes (both ends included); of other hashes it says nothing that is true.
    pub(crate) fn within(&self, from: Hash, to: Hash) -> Context {
        let first = self.ahead.range(..=from).next_back().map(|(_, ahead)| (0, ahead.clone()));
        let others = self.ahead.range((Bound::Excluded(from), Bound::Included(to))).map(|(start, ahead)| (*start, ahead.clone()));
        Context { vector: self.vector.clone(), ahead: first.into_iter().chain(others).collect() }
    }

    /// The pieces of a range of hashes (both ends included, as everywhere), each with what was seen of all its keys.
    pub fn pieces(&self, from: Hash, to: Hash) -> Vec<(Hash, Hash, VersionVector)> {
        let mut starts = Vec::from([from]);
        starts.extend(self.ahead.range((Bound::Excluded(from), Bound::Included(to))).map(|(start, _)| *start));
        let ends = starts.iter().skip(1).map(|start| start - 1).chain([to]).collect::<Vec<_>>();
        let seen = |hash| {
            let mut seen = self.vector.clone();
            if let Some(ahead) = self.at(hash).ahead {
                seen.join(ahead);
            }
            seen
        };
        starts.into_iter().zip(ends).map(|(from, to)| (from, to, seen(from))).collect()
    }

    /// Of the keys of a range of hashes that much was seen too.
    pub(crate) fn saw_range(&mut self, from: Hash, to: Hash, seen: &VersionVector) {
        if self.vector.includes(seen) {
            return;
        }
        self.ahead.entry(0).or_default();
        self.cut(from);
        if let Some(after) = to.checked_add(1) {
            self.cut(after);
        }
        self.ahead.range_mut(from..=to).for_each(|(_, ahead)| ahead.join(seen));
        // As long as a piece is not ahead, the vector can't grow: then the other pieces stay as they are.
        if self.ahead.values().any(|ahead| *ahead == VersionVector::default()) {
            self.merge(from, to.saturating_add(1));
        } else {
            self.settle();
        }
    }

    /// Makes one of neighbours that are equal, as far as the second one begins between these (both included).
    fn merge(&mut self, from: Hash, to: Hash) {
        let mut last = self.ahead.range(..from).next_back().map(|(_, ahead)| ahead);
        let mut same = Vec::new();
        for (start, ahead) in self.ahead.range(from..=to) {
            if last == Some(ahead) {
                same.push(*start);
            }
            last = Some(ahead);
        }
        for start in same {
            self.ahead.remove(&start);
        }
    }

    /// Makes a piece begin at a hash.
    fn cut(&mut self, at: Hash) {
        let before = self.ahead.range(..=at).next_back().map(|(_, ahead)| ahead.clone()).unwrap_or_default();
        self.ahead.entry(at).or_insert(before);
    }

    /// Takes into the vector what was seen of every range, and forgets what it covers.
    fn settle(&mut self) {
        let mut pieces = self.ahead.values();
        if let Some(first) = pieces.next()
            && *first != VersionVector::default()
        {
            // What a piece lacks, the vector may have.
            let whole = |piece: &VersionVector| {
                let mut whole = self.vector.clone();
                whole.join(piece);
                whole
            };
            self.vector = pieces.fold(whole(first), |all, piece| all.meet(&whole(piece)));
        }
        let (vector, mut last) = (&self.vector, None);
        self.ahead.retain(|_, ahead| {
            if vector.includes(ahead) {
                *ahead = VersionVector::default();
            }
            let differs = last.as_ref() != Some(ahead);
            last = Some(ahead.clone());
            differs
        });
        if self.ahead.len() == 1 && self.ahead.values().all(|ahead| *ahead == VersionVector::default()) {
            self.ahead.clear();
        }
    }

    /// Whether some ranges are ahead of others.
    pub fn is_even(&self) -> bool {
        self.ahead.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use steadfast_crdt::{Actor, Time};

    use super::*;

    fn version((actor, ms): (u16, u64)) -> Version {
        Version::new(Time::at_unix_ms(ms), Actor::new(actor).unwrap())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Saw((u16, u64)),
        SawRange(Hash, Hash, Vec<(u16, u64)>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let write = || (0..3_u16, 1..4_u64);
        let end = || prop_oneof![8 => 0..8_u32, 1 => Just(Hash::MAX)];
        prop_oneof![
            1 => write().prop_map(Step::Saw),
            6 => (end(), end(), proptest::collection::vec(write(), 1..3)).prop_map(|(a, b, seen)| Step::SawRange(a.min(b), a.max(b), seen)),
        ]
    }

    proptest! {
        #[test]
        fn each_hash_has_what_was_seen_of_it_in_as_few_pieces_as_can_be(steps in proptest::collection::vec(step(), 1..30)) {
            let hashes = || (0..9).chain([Hash::MAX]);
            let (mut context, mut model) = (Context::default(), BTreeMap::from_iter(hashes().map(|hash| (hash, VersionVector::default()))));
            for step in steps {
                match step {
                    Step::Saw(write) => {
                        context.saw(version(write));
                        model.values_mut().for_each(|seen| seen.saw(version(write)));
                    }
                    Step::SawRange(from, to, writes) => {
                        let mut seen = VersionVector::default();
                        writes.into_iter().for_each(|write| seen.saw(version(write)));
                        context.saw_range(from, to, &seen);
                        model.range_mut(from..=to).for_each(|(_, of)| of.join(&seen));
                    }
                }
                let mut settled = context.clone();
                settled.settle();
                prop_assert_eq!(&settled, &context);
                for (hash, seen) in &model {
                    let pieces = context.pieces(*hash, *hash);
                    prop_assert_eq!(&pieces[..], &[(*hash, *hash, seen.clone())]);
                }
                for from in hashes() {
                    let pieces = context.pieces(from, Hash::MAX);
                    prop_assert_eq!(&context.within(from, Hash::MAX).pieces(from, Hash::MAX), &pieces);
                    let within = context.within(2, from.max(2));
                    prop_assert_eq!(within.pieces(2, from.max(2)), context.pieces(2, from.max(2)));
                    prop_assert_eq!((pieces[0].0, pieces[pieces.len() - 1].1), (from, Hash::MAX));
                    prop_assert!(pieces.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
                }
                prop_assert_eq!(context.is_even(), model.values().all(|seen| seen == context.vector()));
            }
        }
    }
}
