//! What releases know, as one number: so that nothing is used before all members know it.
//!
//! A node offers the highest level it knows ([`Level::NEWEST`]) to its peers with the first bytes of each connection. The cluster is at a level that
//! the replicated state holds: it begins at what its founders know, and its leader raises it once all members offer more. What came with a level
//! is proposed, and changes what is applied, only from then on. A level is never lowered: what it brought may be in the log.

use alloc::vec::Vec;

use crate::wire::{Reader, Wire, WireError};

/// A step in what nodes say to each other and put into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

impl Wire for Level {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        u8::decode(reader).map(Level)
    }
}

impl Level {
    /// What every release knows.
    pub const FIRST: Level = Level(1);
    /// Which members were removed is remembered by the state.
    pub const REMEMBERED_REMOVALS: Level = Level(2);
    /// Alarms, and what members tell their leader for them.
    pub const ALARMS: Level = Level(2);
    /// The highest that this release knows.
    pub const NEWEST: Level = Level(2);
}

impl core::fmt::Display for Level {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
