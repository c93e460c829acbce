//! What members say to each other, and its wire form.
//!
//! A packet is: version (1 byte), cluster (4 bytes, folded from its id), the sender's id and incarnation, the digest of its table, the message, and
//! records up to the end. A packet that can't be read to its end changes nothing.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};
use steadfast_types::{ClusterId, NodeId};

use crate::member::{Incarnation, Record, put_id, take, take_id};
use crate::table::BUCKETS;

/// The format that this code speaks.
const VERSION: u8 = 1;

/// Who sends, and what its table looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender.
    pub from: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The digest of its table (see [`crate::Table::digest`]).
    pub digest: u32,
}

/// What a table holds of one bucket between two ids, both included: all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which bucket.
    pub bucket: u8,
    /// The range's first id.
    pub first: NodeId,
    /// The range's last id.
    pub last: NodeId,
    /// The active members in it: id, incarnation, the version of the profile.
    pub entries: Vec<(NodeId, Incarnation, Incarnation)>,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Answer with an [`Message::Ack`] of this number, if you are `target`.
    Ping {
        /// The sender's number for it.
        number: u32,
        /// Who is meant: an address can have a new owner.
        target: NodeId,
        /// Others got no answer: `target` hears first that it is suspected.
        is_accused: bool,
    },
    /// I am here; or, from a relay: it answered me.
    Ack {
        /// That of the ping or request.
        number: u32,
    },
    /// Ping `target` yourself, and tell me how it went.
    PingRequest {
        /// The sender's number for it.
        number: u32,
        /// Whom to ping.
        target: NodeId,
    },
    /// I pinged it, and it did not answer me: a witness's word.
    Nack {
        /// That of the request.
        number: u32,
    },
    /// Records and nothing else.
    Gossip,
    /// My table differs from yours: these are the sums of its buckets.
    Sums(Vec<u32>),
    /// Buckets whose sums differ, as I have them.
    Listings(Vec<Listing>),
    /// Records that you lack, as far as I see. Whatever is out of date among them is answered.
    Push,
    /// Records of these, with their profiles, please.
    Want(Vec<NodeId>),
    /// By stream: the sender wants to join; its record follows. Answered by [`Message::Table`].
    Join,
    /// By stream: all of the sender's table follows, the dead included.
    Table {
        /// The floor of forgotten incarnations.
        floor: Incarnation,
    },
    /// By stream: as [`Message::Table`], and answered by one.
    Exchange {
        /// The floor of forgotten incarnations.
        floor: Incarnation,
    },
}

/// A packet read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sends.
    pub header: Header,
    /// What is said.
    pub message: Message,
    /// What is told besides.
    pub records: Vec<Record>,
}

/// Why a packet was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Of a format that this code does not speak.
    #[error("version {0}")]
    Version(u8),
    /// Of another cluster.
    #[error("another cluster")]
    Cluster,
    /// Not a packet.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Longer than any packet may be.
    #[error("{0} bytes")]
    Length(usize),
    /// It says that it comes from the node itself.
    #[error("from oneself")]
    Own,
}

/// Four bytes of a cluster's id are enough to keep two clusters apart that meet by mistake; keys, where there are any, keep them apart for sure.
fn fold(cluster: ClusterId) -> [u8; 4] {
    ((cluster.0 >> 32) as u32 ^ cluster.0 as u32).to_le_bytes()
}

/// Begins a packet; records may be appended to it.
pub(crate) fn begin(out: &mut Vec<u8>, cluster: ClusterId, header: Header, message: &Message) {
    out.push(VERSION);
    out.extend_from_slice(&fold(cluster));
    put_id(out, header.from);
    put_varint(out, header.incarnation.0);
    out.extend_from_slice(&header.digest.to_le_bytes());
    message.encode(out);
}

impl Packet {
    /// The packet that `bytes` are, if it is of `cluster`.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: Bytes, cluster: ClusterId) -> Result<Packet, PacketError> {
        let mut reader = Reader::new(bytes);
        let version = u8::decode(&mut reader)?;
        if version != VERSION {
            return Err(PacketError::Version(version));
        }
        if take::<4>(&mut reader)? != fold(cluster) {
            return Err(PacketError::Cluster);
        }
        let from = take_id(&mut reader)?;
        let incarnation = Incarnation(reader.varint()?);
        let header = Header { from, incarnation, digest: u32::from_le_bytes(take(&mut reader)?) };
        let message = Message::decode(&mut reader)?;
        let mut records = Vec::new();
        while reader.remaining() > 0 {
            records.push(Record::decode(&mut reader)?);
        }
        Ok(Packet { header, message, records })
    }

    /// The packet's wire form.
    #[must_use]
    pub fn encode(&self, cluster: ClusterId) -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out, cluster, self.header, &self.message);
        self.records.iter().for_each(|record| record.encode(&mut out));
        out
    }
}

const PING: u8 = 1;
const ACCUSED_PING: u8 = 2;
const ACK: u8 = 3;
const PING_REQUEST: u8 = 4;
const NACK: u8 = 5;
const GOSSIP: u8 = 6;
const SUMS: u8 = 7;
const LISTINGS: u8 = 8;
const PUSH: u8 = 9;
const WANT: u8 = 10;
const JOIN: u8 = 11;
const TABLE: u8 = 12;
const EXCHANGE: u8 = 13;

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::Ping { number, target, is_accused } => {
                out.push(if *is_accused { ACCUSED_PING } else { PING });
                number.encode(out);
                put_id(out, *target);
            }
            Message::Ack { number } => put_numbered(out, ACK, *number),
            Message::PingRequest { number, target } => {
                put_numbered(out, PING_REQUEST, *number);
                put_id(out, *target);
            }
            Message::Nack { number } => put_numbered(out, NACK, *number),
            Message::Gossip => out.push(GOSSIP),
            Message::Sums(sums) => {
                out.push(SUMS);
                sums.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
            }
            Message::Listings(listings) => {
                out.push(LISTINGS);
                listings.encode(out);
            }
            Message::Push => out.push(PUSH),
            Message::Want(ids) => {
                out.push(WANT);
                put_varint(out, ids.len() as u64);
                ids.iter().for_each(|id| put_id(out, *id));
            }
            Message::Join => out.push(JOIN),
            Message::Table { floor } => put_floored(out, TABLE, *floor),
            Message::Exchange { floor } => put_floored(out, EXCHANGE, *floor),
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let kind = u8::decode(reader)?;
        Ok(match kind {
            PING | ACCUSED_PING => {
                Message::Ping { number: u32::decode(reader)?, target: take_id(reader)?, is_accused: kind == ACCUSED_PING }
            }
            ACK => Message::Ack { number: u32::decode(reader)? },
            PING_REQUEST => Message::PingRequest { number: u32::decode(reader)?, target: take_id(reader)? },
            NACK => Message::Nack { number: u32::decode(reader)? },
            GOSSIP => Message::Gossip,
            SUMS => {
                let sums = (0..BUCKETS).map(|_| Ok(u32::from_le_bytes(take(reader)?)));
                Message::Sums(sums.collect::<Result<_, WireError>>()?)
            }
            LISTINGS => Message::Listings(Vec::decode(reader)?),
            PUSH => Message::Push,
            WANT => Message::Want(take_ids(reader)?),
            JOIN => Message::Join,
            TABLE => Message::Table { floor: Incarnation(reader.varint()?) },
            EXCHANGE => Message::Exchange { floor: Incarnation(reader.varint()?) },
            _ => return Err(WireError::Invalid("message")),
        })
    }
}

fn put_numbered(out: &mut Vec<u8>, kind: u8, number: u32) {
    out.push(kind);
    number.encode(out);
}

fn put_floored(out: &mut Vec<u8>, kind: u8, floor: Incarnation) {
    out.push(kind);
    put_varint(out, floor.0);
}

fn take_ids(reader: &mut Reader) -> Result<Vec<NodeId>, WireError> {
    let count = reader.varint()?;
    if count > (reader.remaining() / 8) as u64 {
        return Err(WireError::Truncated);
    }
    (0..count).map(|_| take_id(reader)).collect()
}

impl Wire for Listing {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.bucket);
        put_id(out, self.first);
        put_id(out, self.last);
        put_varint(out, self.entries.len() as u64);
        for (id, incarnation, version) in &self.entries {
            put_id(out, *id);
            put_varint(out, incarnation.0);
            put_varint(out, version.0);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (bucket, first, last) = (u8::decode(reader)?, take_id(reader)?, take_id(reader)?);
        let count = reader.varint()?;
        if count > (reader.remaining() / 10) as u64 {
            return Err(WireError::Truncated);
        }
        let entry = |_| Ok((take_id(reader)?, Incarnation(reader.varint()?), Incarnation(reader.varint()?)));
        Ok(Listing { bucket, first, last, entries: (0..count).map(entry).collect::<Result<_, WireError>>()? })
    }
}
