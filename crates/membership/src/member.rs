//! A member: who it is ([`Profile`]), what is said of it ([`Record`]), and which of two records holds.
//!
//! Invariants:
//! 1. Records of one member are ordered by incarnation, then by state (alive, suspect, failed, left); the greater one holds. Only the member itself
//!    makes a greater incarnation, so only it takes back what others said.
//! 2. Profiles of one member are ordered by version alone. Both orders together make merging independent of the order in which gossip comes.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use steadfast_types::NodeId;
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::limits::{METADATA_BYTES, NAME_BYTES, WITNESSES};

/// How often a member has begun anew, or answered a false word about itself. Only the member itself counts it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// How many incarnations one life of a process has before they run into the next one's.
    const IN_ONE_LIFE: u64 = 1 << 16;

    /// The first incarnation of a process life. The shell counts the lives of its data directory durably: what an earlier life said, or others
    /// said of it, is always older.
    #[must_use]
    pub fn of_life(lives: u64) -> Self {
        Incarnation(lives.saturating_mul(Self::IN_ONE_LIFE))
    }

    /// How often its member has answered a false word about itself, or changed what it says, in this life.
    #[must_use]
    pub fn in_this_life(self) -> u64 {
        self.0 % Self::IN_ONE_LIFE
    }

    /// The incarnation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Incarnation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / Self::IN_ONE_LIFE, self.0 % Self::IN_ONE_LIFE)
    }
}

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It may vote in strong state.
    Server,
    /// It runs work.
    Agent,
}
steadfast_types::wire_enum!(Role { 1 => Server {}, 2 => Agent {} });

/// What is held of a member. The order is that of precedence within one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It takes part.
    Alive,
    /// Somebody got no answer.
    Suspect,
    /// It was found dead.
    Failed,
    /// It said goodbye.
    Left,
}

impl State {
    /// Whether it counts as taking part.
    #[must_use]
    pub fn is_active(self) -> bool {
        self <= State::Suspect
    }

    fn from_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Failed,
            _ => State::Left,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Alive => "alive",
            State::Suspect => "suspect",
            State::Failed => "failed",
            State::Left => "left",
        })
    }
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its identity: that of its data directory.
    pub id: NodeId,
    /// Unique in the cluster, 1 to 63 bytes.
    pub name: String,
    /// Where its datagrams and streams go.
    pub address: SocketAddr,
    /// What it is for.
    pub role: Role,
    /// When its identity was made, seconds since 1970 by its own clock: of two members of one name the elder stays.
    pub born: u64,
    /// The incarnation in which this profile was first given.
    pub version: Incarnation,
    /// What else it says, at most 256 bytes: zone, version, …
    pub metadata: Bytes,
}

impl Profile {
    /// Whether name and metadata keep the limits.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=NAME_BYTES).contains(&self.name.len()) && self.metadata.len() <= METADATA_BYTES
    }

    /// Of two with one name: whether this one has the older right to it.
    #[must_use]
    pub fn is_elder_than(&self, other: &Profile) -> bool {
        (self.born, self.id) < (other.born, other.id)
    }

    /// All but the id, which the record around it has.
    fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        put_address(out, self.address);
        self.role.encode(out);
        put_varint(out, self.born);
        put_varint(out, self.version.0);
        self.metadata.encode(out);
    }

    fn decode(id: NodeId, reader: &mut Reader) -> Result<Self, WireError> {
        let profile = Profile {
            id,
            name: String::decode(reader)?,
            address: take_address(reader)?,
            role: Role::decode(reader)?,
            born: reader.varint()?,
            version: Incarnation(reader.varint()?),
            // A copy: a slice would keep the whole datagram in memory.
            metadata: Bytes::copy_from_slice(&Bytes::decode(reader)?),
        };
        if profile.is_valid() { Ok(profile) } else { Err(WireError::Invalid("profile")) }
    }
}

fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_le_bytes());
}

fn take_address(reader: &mut Reader) -> Result<SocketAddr, WireError> {
    let ip = match u8::decode(reader)? {
        4 => IpAddr::V4(Ipv4Addr::from(take::<4>(reader)?)),
        6 => IpAddr::V6(Ipv6Addr::from(take::<16>(reader)?)),
        _ => return Err(WireError::Invalid("address")),
    };
    Ok(SocketAddr::new(ip, u16::from_le_bytes(take(reader)?)))
}

/// The next `N` bytes.
pub(crate) fn take<const N: usize>(reader: &mut Reader) -> Result<[u8; N], WireError> {
    reader.take(N)?.as_ref().try_into().map_err(|_| WireError::Truncated)
}

/// Ids are random: eight bytes are shorter than their varint.
pub(crate) fn put_id(out: &mut Vec<u8>, id: NodeId) {
    out.extend_from_slice(&id.0.to_le_bytes());
}

pub(crate) fn take_id(reader: &mut Reader) -> Result<NodeId, WireError> {
    Ok(NodeId(u64::from_le_bytes(take(reader)?)))
}

/// One statement about one member: what gossip is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whom it is about.
    pub id: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// What is said.
    pub state: State,
    /// On whose word it is suspect or failed, in order, each once, at most [`WITNESSES`].
    pub witnesses: Vec<NodeId>,
    /// Who it is, if the sender thinks that it may be news.
    pub profile: Option<Arc<Profile>>,
}

const STATE_BITS: u8 = 2;
const PROFILE_BIT: u8 = 1 << STATE_BITS;
const WITNESS_SHIFT: u8 = STATE_BITS + 1;

impl Record {
    /// A record of what `profile` says of itself.
    #[must_use]
    pub fn alive(profile: Arc<Profile>, incarnation: Incarnation) -> Self {
        Record { id: profile.id, incarnation, state: State::Alive, witnesses: Vec::new(), profile: Some(profile) }
    }

    /// Appends a record's wire form, given in parts: a table has no records to lend.
    pub(crate) fn put(
        out: &mut Vec<u8>,
        id: NodeId,
        incarnation: Incarnation,
        state: State,
        witnesses: &[NodeId],
        profile: Option<&Profile>,
    ) {
        let witnesses = &witnesses[..witnesses.len().min(WITNESSES)];
        out.push(state as u8 | (witnesses.len() as u8) << WITNESS_SHIFT | if profile.is_some() { PROFILE_BIT } else { 0 });
        put_id(out, id);
        put_varint(out, incarnation.0);
        witnesses.iter().for_each(|witness| put_id(out, *witness));
        if let Some(profile) = profile {
            profile.encode(out);
        }
    }
}

impl Wire for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        Record::put(out, self.id, self.incarnation, self.state, &self.witnesses, self.profile.as_deref());
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let tag = u8::decode(reader)?;
        let state = State::from_bits(tag);
        let count = usize::from(tag >> WITNESS_SHIFT);
        if count > WITNESSES || (state == State::Alive || state == State::Left) && count > 0 {
            return Err(WireError::Invalid("witnesses"));
        }
        let (id, incarnation) = (take_id(reader)?, Incarnation(reader.varint()?));
        let mut witnesses = Vec::new();
        for _ in 0..count {
            let witness = take_id(reader)?;
            if witnesses.last().is_some_and(|last| *last >= witness) {
                return Err(WireError::Invalid("witnesses"));
            }
            witnesses.push(witness);
        }
        let profile = (tag & PROFILE_BIT != 0).then(|| Profile::decode(id, reader)).transpose()?;
        if profile.as_ref().is_some_and(|profile| profile.version > incarnation) {
            return Err(WireError::Invalid("profile version"));
        }
        Ok(Record { id, incarnation, state, witnesses, profile: profile.map(Arc::new) })
    }
}
