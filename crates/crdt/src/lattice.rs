//! What all types have in common: states that take changes in causal order, and that join.

use alloc::vec::Vec;

use steadfast_types::wire::Wire;

use crate::vector::Covers;
use crate::version::Version;

/// The state of one replicated value. Its states form a join semilattice, given the contexts of the replicas that hold them.
pub trait Lattice: Default {
    /// What one write did: what it added, with the write's version, and which versions it had observed that are gone.
    type Delta: Wire;

    /// Applies a write of somebody else (or one's own, as read from a journal), after all that the writer had seen, and once.
    fn apply(&mut self, delta: &Self::Delta);

    /// Takes in another replica's state. `mine` and `theirs` say what the two replicas have seen: what one holds and the other does not stays unless the
    /// other has seen it (and so has removed it).
    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers);

    /// Whether nothing is left, so that the state need not be kept.
    fn is_empty(&self) -> bool;

    /// Adds the versions that make up the state, but for those of what is kept only until everybody has seen it: replicas that have seen the same have the
    /// same versions, whether one of them has collected more than the other or not.
    fn versions(&self, out: &mut Vec<Version>);
}
