//! What replicas say to each other.
//!
//! | message | says | is answered by |
//! | --- | --- | --- |
//! | hello | who I am, what I have seen, whom I am connected to | hello was sent too when the connection began |
//! | refused | you are not one of the replicas | – |
//! | deltas | these | acknowledgement |
//! | acknowledgement | what I have seen, what I got of you, whether to send again what I have not seen | – |
//! | gossip | the same as hello, and what others have told of themselves | acknowledgement |
//! | root | my digest of all | acknowledgement |
//! | wish | begin a session with me | a request, some time |
//! | request | digests and states of ranges: the one who leads a session | answer |
//! | answer | digests and states of ranges, or that they are to be split | the next request, if any |

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Actor, VersionVector};
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{wire_enum, wire_struct};

use super::limits::PIECES;
use super::range::HashRange;
use super::replica::Digest;
use super::stability::SetId;
use crate::table::Hash;

/// The form of messages. A replica that speaks another one is not understood.
const FORMAT: u8 = 1;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hello {
    pub(crate) actor: Actor,
    pub(crate) vector: VersionVector,
    pub(crate) links: Vec<Actor>,
}

impl Wire for Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        FORMAT.encode(out);
        self.actor.encode(out);
        self.vector.encode(out);
        self.links.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        if u8::decode(reader)? != FORMAT {
            return Err(WireError::Invalid("format"));
        }
        Ok(Self { actor: Wire::decode(reader)?, vector: Wire::decode(reader)?, links: Wire::decode(reader)? })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ack {
    pub(crate) vector: VersionVector,
    /// Bytes of deltas that came over this connection.
    pub(crate) received: u64,
    /// Some of them were dropped: whatever the vector lacks is to come again.
    pub(crate) again: bool,
    /// It answers a gossip or a root.
    pub(crate) heard: bool,
    /// The sender's set of replicas.
    pub(crate) set: SetId,
}
wire_struct!(Ack { vector, received, again, heard, set });

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gossip {
    pub(crate) vector: VersionVector,
    pub(crate) links: Vec<Actor>,
    /// What others have told under the sender's set of replicas.
    pub(crate) told: Vec<(Actor, VersionVector)>,
    pub(crate) set: SetId,
}
wire_struct!(Gossip { vector, links, told, set });

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Root {
    pub(crate) vector: VersionVector,
    /// Up to where the sender has collected.
    pub(crate) collected: VersionVector,
    pub(crate) digest: Digest,
}
wire_struct!(Root { vector, collected, digest });

/// A piece of a range: its last hash, and which of the message's contexts it has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) last: Hash,
    pub(crate) context: u64,
}
wire_struct!(Piece { last, context });

/// A piece of a range, and the states in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct States {
    pub(crate) piece: Piece,
    pub(crate) states: Bytes,
}
wire_struct!(States { piece, states });

/// What the leader of a session says of a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// That is my digest. With `whole` I want your states even if yours is the same.
    Compare { range: HashRange, digest: Digest, pieces: Vec<Piece>, whole: bool },
    /// Those are my states.
    Give { range: HashRange, pieces: Vec<States> },
}
wire_enum!(Ask { 1 => Compare { range, digest, pieces, whole }, 2 => Give { range, pieces } });

/// What the other says of a range it was asked about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// We had the same; I have taken in your contexts, and these are mine.
    Same { range: HashRange, pieces: Vec<Piece> },
    /// We differ in more than can be sent at once: split it.
    Differs { range: HashRange },
    /// We differ, and these are my states; their digest.
    States { range: HashRange, digest: Digest, pieces: Vec<States> },
    /// I have joined what you gave.
    Taken { range: HashRange },
}
wire_enum!(Reply { 1 => Same { range, pieces }, 2 => Differs { range }, 3 => States { range, digest, pieces }, 4 => Taken { range } });

impl Reply {
    pub(crate) fn range(&self) -> HashRange {
        match self {
            Reply::Same { range, .. } | Reply::Differs { range } | Reply::States { range, .. } | Reply::Taken { range } => *range,
        }
    }
}

/// A message of a session: contexts, and what is said of ranges in terms of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn<T> {
    pub(crate) session: u64,
    pub(crate) contexts: Contexts,
    pub(crate) items: Vec<T>,
}

impl<T: Wire> Wire for Turn<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.session.encode(out);
        self.contexts.0.encode(out);
        self.items.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { session: Wire::decode(reader)?, contexts: Contexts(Wire::decode(reader)?), items: Wire::decode(reader)? })
    }
}

/// The contexts that a message speaks of, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Contexts(pub(crate) Vec<VersionVector>);

impl Contexts {
    pub(crate) fn piece(&mut self, range: HashRange, context: VersionVector) -> Piece {
        let place = self.0.iter().rposition(|known| *known == context).unwrap_or_else(|| {
            self.0.push(context);
            self.0.len() - 1
        });
        Piece { last: range.last(), context: place as u64 }
    }

    /// The pieces of a range with their contexts.
    pub(crate) fn of<'a>(
        &'a self,
        range: HashRange,
        pieces: impl Iterator<Item = &'a Piece> + Clone,
    ) -> Result<Vec<(HashRange, &'a VersionVector)>, WireError> {
        if pieces.clone().count() > PIECES {
            return Err(WireError::Invalid("pieces"));
        }
        let ranges = range.pieces(pieces.clone().map(|piece| piece.last)).ok_or(WireError::Invalid("pieces"))?;
        let context =
            |piece: &Piece| usize::try_from(piece.context).ok().and_then(|place| self.0.get(place)).ok_or(WireError::Invalid("context"));
        ranges.into_iter().zip(pieces).map(|(range, piece)| Ok((range, context(piece)?))).collect()
    }
}

/// All that is left of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rest(pub(crate) Bytes);

impl Wire for Rest {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(reader.take_rest()))
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Hello(Hello),
    Refused,
    /// One after the other.
    Deltas(Rest),
    Ack(Ack),
    Gossip(Gossip),
    Root(Root),
    Wish,
    Request(Turn<Ask>),
    Answer(Turn<Reply>),
}
wire_enum!(Message {
    1 => Hello(hello), 2 => Refused {}, 3 => Deltas(deltas), 4 => Ack(ack), 5 => Gossip(gossip), 6 => Root(root), 7 => Wish {}, 8 => Request(turn),
    9 => Answer(turn),
});
