//! What a replica's journal has to hold, so that the replica comes back as it was.

use bytes::Bytes;
use steadfast_crdt::VersionVector;
use steadfast_types::wire_enum;

use super::delta::Delta;
use super::range::HashRange;

/// One step of a replica's history. All of them, in order, make it what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A delta was applied: another's, or one's own, which the shell writes down itself.
    Delta(Delta),
    /// The states of another replica were joined.
    Joined {
        /// Of which hashes.
        range: HashRange,
        /// The other's context.
        theirs: VersionVector,
        /// Its states.
        states: Bytes,
    },
    /// Another replica was found to have the same states.
    Saw {
        /// Of which hashes.
        range: HashRange,
        /// The other's context.
        theirs: VersionVector,
    },
}
wire_enum!(Record { 1 => Delta(delta), 2 => Joined { range, theirs, states }, 3 => Saw { range, theirs } });
