//! What an exchange needs of the replica that it speaks for.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::VersionVector;
use steadfast_types::wire::WireError;
use steadfast_types::wire_struct;

use super::delta::Delta;
use super::range::HashRange;

/// What two replicas compare to know whether they hold the same of a range of hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// A sum over the versions that the keys' states are made of.
    pub sum: u64,
    /// How many keys there are.
    pub keys: u64,
    /// A sum over what is kept only until everybody has seen it, removals that cut counters among it: of replicas that have seen the same one may have more
    /// of it than another. Two that have not must not take each other for equal while one keeps what the other never had.
    pub remains: u64,
}
wire_struct!(Digest { sum, keys, remains });

/// The keys of one replica, and what it has seen of them.
///
/// The *context* of a key is what the replica has seen of it: its vector, which goes for all keys, joined with what it has seen of a range of hashes beyond
/// that. A replica's state of a key is always that of exactly its context. Between turns, when an exchange is called, each entry of each context is
/// the end of a delta.
pub trait Replica {
    /// What was seen of all keys.
    fn vector(&self) -> &VersionVector;

    /// Whether nothing was seen beyond the vector: no range is ahead.
    fn is_even(&self) -> bool;

    /// A range in pieces, each of which has one context, in order; as few as may be.
    fn contexts(&self, range: HashRange) -> Vec<(HashRange, VersionVector)>;

    /// Applies a delta, whose dependencies the vector includes, or which is the replica's own from its journal: of the keys' changes those that the
    /// key's context does not cover yet. Then the vector covers it.
    ///
    /// # Errors
    /// If the body can't be read; then nothing has changed.
    fn apply(&mut self, delta: &Delta) -> Result<(), WireError>;

    /// The digest of a range. Two replicas with equal contexts have equal sums; with equal collection also equal digests.
    fn digest(&mut self, range: HashRange) -> Digest;

    /// The states of all keys in a range, unless they take more bytes than `limit`.
    fn states(&mut self, range: HashRange, limit: usize) -> Option<Bytes>;

    /// Joins the states that another replica has of all its keys in a range, in which it has the one context `theirs`. Then the contexts of the
    /// range have `theirs` joined to them; and what every context has is in the vector.
    ///
    /// # Errors
    /// If the states can't be read; then nothing has changed.
    fn join_states(&mut self, range: HashRange, states: Bytes, theirs: &VersionVector) -> Result<(), WireError>;

    /// The same when the other's states are known to be those that are here: only the contexts change.
    fn saw_range(&mut self, range: HashRange, theirs: &VersionVector);

    /// Every replica has seen this much: what was kept for the case that one has not may go.
    fn collect(&mut self, stable: &VersionVector);
}
