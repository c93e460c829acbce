//! What nodes say to each other about strong keys, and what they write down.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::Time;
use steadfast_register::message::{Accepted, Answered, Asked, Epoch, Record as Held, Reply, Request};
use steadfast_register::removal::{Ask, Said};
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::wire_enum;

use super::limits::{BATCH, KEY_BYTES, VALUE_BYTES};

/// From one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A proposer asks an acceptor.
    Asked(Asked),
    /// The acceptor's answer.
    Answered(Answered),
    /// Who removes registers asks a replica.
    Remove {
        /// The removal's number there.
        number: u64,
        /// What it asks.
        ask: Ask,
    },
    /// The replica's answer.
    Removed {
        /// The removal's number.
        number: u64,
        /// What it said.
        said: Said,
    },
    /// These may be ready to be removed.
    Deleted {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// These were carried in this epoch: nobody else has to.
    Carried {
        /// The epoch.
        epoch: Epoch,
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// Everything was carried in this epoch that the sender held when it came into it.
    AllCarried {
        /// The epoch.
        epoch: Epoch,
    },
}

wire_enum!(Message {
    1 => Asked(asked),
    2 => Answered(answered),
    3 => Remove { number, ask },
    4 => Removed { number, said },
    5 => Deleted { keys },
    6 => Carried { epoch, keys },
    7 => AllCarried { epoch },
});

impl Message {
    /// What a peer said.
    ///
    /// # Errors
    /// If it is no message, or exceeds a bound.
    pub fn read(bytes: Bytes) -> Result<Self, WireError> {
        let message = Self::from_wire(bytes)?;
        let is_key = |key: &Bytes| key.len() <= KEY_BYTES;
        let are_keys = |keys: &[Bytes]| keys.len() <= BATCH && keys.iter().all(is_key);
        let fits = |bytes: &Option<Bytes>| bytes.as_ref().is_none_or(|bytes| bytes.len() <= VALUE_BYTES);
        let is_held = |accepted: &Option<Accepted>| accepted.as_ref().is_none_or(|(_, value)| fits(&value.bytes));
        let is_good = match &message {
            Self::Asked(Asked { key, request: Request::Accept { value, .. }, .. }) => is_key(key) && fits(&value.bytes),
            Self::Asked(Asked { key, .. }) => is_key(key),
            Self::Answered(Answered { key, reply: Reply::Holds { accepted } | Reply::Promised { accepted, .. }, .. }) => {
                is_key(key) && is_held(accepted)
            }
            Self::Answered(Answered { key, .. }) => is_key(key),
            Self::Remove { ask: Ask::Deleted { keys, .. }, .. } | Self::Deleted { keys } | Self::Carried { keys, .. } => are_keys(keys),
            Self::Remove { ask: Ask::Remove { deleted, .. }, .. } | Self::Removed { said: Said::Deleted { deleted, .. }, .. } => {
                deleted.len() <= BATCH && deleted.iter().all(|(key, _)| is_key(key))
            }
            Self::Removed { said: Said::Removed {}, .. } | Self::AllCarried { .. } => true,
        };
        if is_good { Ok(message) } else { Err(WireError::Invalid("message: too large")) }
    }
}

/// What a node must not forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of its acceptor.
    Held(Held),
    /// It gives no version later than this before it has written down another such record.
    Reserved {
        /// The time.
        until: Time,
    },
}

wire_enum!(Record { 1 => Held(record), 2 => Reserved { until } });
