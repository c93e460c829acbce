//! Who holds what, as it is written down: the members, and how many replicas there are.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use steadfast_types::NodeId;
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::wire_struct;

use crate::limits::{MEMBERS, REPLICAS, USUAL_REPLICAS, USUAL_VIRTUAL_NODES, VIRTUAL_NODES, ZONE_BYTES};

/// Why something is no layout. The same is none everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nobody would hold anything.
    #[error("there is no member")]
    Empty,
    /// More than [`MEMBERS`].
    #[error("more than {MEMBERS} members")]
    TooMany,
    /// None, or more than [`REPLICAS`].
    #[error("replicas of a key are from 1 to {REPLICAS}")]
    Replicas,
    /// None, or more than [`VIRTUAL_NODES`].
    #[error("virtual nodes of a member are from 1 to {VIRTUAL_NODES}")]
    VirtualNodes,
    /// Longer than [`ZONE_BYTES`].
    #[error("the name of a zone has at most {ZONE_BYTES} bytes")]
    Zone,
}

/// What of a member decides what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What fails together. Members that say nothing (an empty name) are in one zone.
    pub zone: String,
    /// At how many places it is on the ring: its share, beside those of the others.
    pub virtual_nodes: u16,
}

impl Member {
    /// A usual member of a zone.
    pub fn of(zone: impl Into<String>) -> Self {
        Member { zone: zone.into(), virtual_nodes: USUAL_VIRTUAL_NODES }
    }
}

/// Who the members are and how many replicas there are of everything: all that decides who holds what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many members hold each key, if there are as many.
    pub replicas: u8,
    /// The members.
    pub members: BTreeMap<NodeId, Member>,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { replicas: USUAL_REPLICAS, members: BTreeMap::new() }
    }
}

impl Layout {
    /// Whether it can be used.
    ///
    /// # Errors
    /// If it is beyond a limit.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.members.is_empty() {
            return Err(Invalid::Empty);
        }
        if self.members.len() > MEMBERS {
            return Err(Invalid::TooMany);
        }
        if !(1..=REPLICAS).contains(&self.replicas) {
            return Err(Invalid::Replicas);
        }
        for member in self.members.values() {
            if !(1..=VIRTUAL_NODES).contains(&member.virtual_nodes) {
                return Err(Invalid::VirtualNodes);
            }
            if member.zone.len() > ZONE_BYTES {
                return Err(Invalid::Zone);
            }
        }
        Ok(())
    }

    /// How many hold each key.
    pub fn width(&self) -> usize {
        usize::from(self.replicas).min(self.members.len())
    }

    /// In how many zones each key is.
    pub fn spread(&self) -> usize {
        self.members.values().map(|member| &member.zone).collect::<BTreeSet<_>>().len().min(self.width())
    }
}

impl Wire for Member {
    fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
        self.zone.encode(out);
        u32::from(self.virtual_nodes).encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (zone, virtual_nodes) = (String::decode(reader)?, u32::decode(reader)?);
        Ok(Member { zone, virtual_nodes: u16::try_from(virtual_nodes).map_err(|_| WireError::Invalid("virtual nodes"))? })
    }
}

wire_struct!(Layout { replicas, members });
