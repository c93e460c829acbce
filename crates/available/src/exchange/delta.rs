//! What one turn of a writer changed, as it goes to the journal and to the peers.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Actor, Time, Version, VersionVector};
use steadfast_types::wire::{Reader, Wire, WireError};

/// All that a writer wrote between the end of an earlier turn and the end of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Who wrote.
    pub writer: Actor,
    /// The time of the last write in it.
    pub last: Time,
    /// All that the writer had seen of any key when the turn began, so that whatever the writes observed is among it: its vector, and what of it was
    /// ahead. The time of the writer itself is that of its previous delta's last write; so a gap is seen.
    pub dependencies: VersionVector,
    /// The changes, as the replica has them.
    pub body: Bytes,
}

impl Delta {
    /// The version of its last write: whoever has seen that has seen all of it.
    pub fn version(&self) -> Version {
        Version::new(self.last, self.writer)
    }

    /// The time of the last write in the writer's delta before this one.
    pub fn previous(&self) -> Option<Time> {
        self.dependencies.of(self.writer)
    }

    /// What it takes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.dependencies.iter().count() * 2 * size_of::<Version>()
    }
}

impl Wire for Delta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.writer.encode(out);
        self.last.encode(out);
        self.dependencies.encode(out);
        self.body.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (writer, last) = <(Actor, Time)>::decode(reader)?;
        let delta = Self { writer, last, dependencies: VersionVector::decode(reader)?, body: Bytes::decode(reader)? };
        if delta.previous() >= Some(last) { Err(WireError::Invalid("delta")) } else { Ok(delta) }
    }
}
