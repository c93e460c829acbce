//! A keyspace as the exchange between replicas sees it.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::VersionVector;
use steadfast_types::wire::WireError;

use crate::exchange::{Delta, Digest, HashRange, Replica};
use crate::keyspace::Keyspace;

impl Replica for Keyspace {
    fn vector(&self) -> &VersionVector {
        self.context().vector()
    }

    fn is_even(&self) -> bool {
        self.context().is_even()
    }

    fn contexts(&self, range: HashRange) -> Vec<(HashRange, VersionVector)> {
        let piece = |(from, to, seen)| Some((HashRange::new(from, to)?, seen));
        self.context().pieces(range.first(), range.last()).into_iter().filter_map(piece).collect()
    }

    fn apply(&mut self, delta: &Delta) -> Result<(), WireError> {
        self.replay(delta)
    }

    fn digest(&mut self, range: HashRange) -> Digest {
        Keyspace::digest(self, range.first(), range.last())
    }

    fn states(&mut self, range: HashRange, limit: usize) -> Option<Bytes> {
        Keyspace::states(self, range.first(), range.last(), limit)
    }

    fn join_states(&mut self, range: HashRange, states: Bytes, theirs: &VersionVector) -> Result<(), WireError> {
        Keyspace::join_states(self, range.first(), range.last(), states, theirs)
    }

    fn saw_range(&mut self, range: HashRange, theirs: &VersionVector) {
        Keyspace::saw_range(self, range.first(), range.last(), theirs);
    }

    fn collect(&mut self, stable: &VersionVector) {
        Keyspace::collect(self, stable);
    }
}
