//! The first words of a connection, in both directions.
//!
//! Each side opens with a preamble of 12 bytes: `STEADFST`, the oldest and the newest protocol version it speaks, the connection's purpose,
//! a zero. Both then speak the newest version that both know. After it, framed:
//! - a *session* (frames from the dialer to the accepter): a [`Hello`], answered by a [`Welcome`];
//! - a *lane* (frames both ways, see `lanes`): begun like a session;
//! - a *question*, of a node that is not a member yet or about who lives: one frame, answered by one frame and the end of the connection.
//!
//! With TLS its handshake comes before all of this (`link`).
//!
//! The preamble never changes its form; the rest may with the version.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{ClusterId, Level, NodeId, wire_enum, wire_struct};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{FrameError, FrameReader, put_frame};

/// The oldest protocol version spoken here. Versions are levels ([`Level`]): once the cluster is at a later one, older releases are not spoken to.
pub const OLDEST_VERSION: u8 = Level::FIRST.0;
/// The newest protocol version spoken here.
pub const NEWEST_VERSION: u8 = Level::NEWEST.0;

/// How long the other side may take for its first words.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest frame of a handshake, question or answer, bytes: a list of members with their addresses.
pub const HANDSHAKE_FRAME_BYTES: usize = 64 * 1024;

/// The largest answer about gossip, bytes: what the membership core may say by stream, sealed.
pub const GOSSIP_FRAME_BYTES: usize = 33 * 1024 * 1024;

/// The largest answer about a node for people, bytes: its recent log, its threads, its figures.
pub const DIAGNOSIS_FRAME_BYTES: usize = 4 * 1024 * 1024;

const MAGIC: [u8; 8] = *b"STEADFST";
const PREAMBLE_BYTES: usize = 12;

/// What TLS begins with instead (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The largest answer to a report, bytes: all checks of a node, as it may declare them.
const HEALTH_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Frames between members.
    Session,
    /// Frames between members both ways (`lanes`).
    Lane,
    /// One frame, answered by one.
    Question(Topic),
}

/// What is asked about: by nodes that are not members yet (see `formation`), and between all that gossip (see `gossip`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Forming a new cluster.
    Founding,
    /// Joining as a member that was added.
    Claim,
    /// What is too large for a datagram, or is to be tried by another way.
    Gossip,
    /// Taking part as an agent.
    Attend,
    /// What a node reports of itself and of others to the leader.
    Health,
    /// What a node knows of itself or of another, for people (see `diagnosis`).
    Diagnosis,
    /// Becoming a learner without having been added.
    Admit,
    /// Starting a service of the node anew.
    Restart,
}

impl Topic {
    /// Those who answer about it say no more than so many bytes. The whole list of a large cluster is longer than all else.
    fn answer_bytes(self) -> usize {
        match self {
            Topic::Founding | Topic::Claim | Topic::Attend | Topic::Admit | Topic::Restart => HANDSHAKE_FRAME_BYTES,
            Topic::Gossip => GOSSIP_FRAME_BYTES,
            Topic::Health => HEALTH_FRAME_BYTES,
            Topic::Diagnosis => DIAGNOSIS_FRAME_BYTES,
        }
    }
}

impl Purpose {
    const ALL: [Purpose; 10] = [
        Purpose::Session,
        Purpose::Lane,
        Purpose::Question(Topic::Founding),
        Purpose::Question(Topic::Claim),
        Purpose::Question(Topic::Gossip),
        Purpose::Question(Topic::Attend),
        Purpose::Question(Topic::Health),
        Purpose::Question(Topic::Diagnosis),
        Purpose::Question(Topic::Admit),
        Purpose::Question(Topic::Restart),
    ];

    fn answer_bytes(self) -> usize {
        match self {
            Purpose::Session | Purpose::Lane => HANDSHAKE_FRAME_BYTES,
            Purpose::Question(topic) => topic.answer_bytes(),
        }
    }

    fn code(self) -> u8 {
        match self {
            Purpose::Session => 1,
            Purpose::Question(Topic::Founding) => 2,
            Purpose::Question(Topic::Claim) => 3,
            Purpose::Question(Topic::Gossip) => 4,
            Purpose::Question(Topic::Attend) => 5,
            Purpose::Question(Topic::Health) => 6,
            Purpose::Question(Topic::Diagnosis) => 7,
            Purpose::Question(Topic::Admit) => 8,
            Purpose::Question(Topic::Restart) => 9,
            Purpose::Lane => 10,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        Purpose::ALL.into_iter().find(|purpose| purpose.code() == code)
    }
}

/// Who dials, and whom it means to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// The dialer's cluster.
    pub(super) cluster: ClusterId,
    /// The dialer.
    pub(super) from: NodeId,
    /// Whom it means to reach.
    pub(super) to: NodeId,
    /// The dialer's process life.
    pub(super) incarnation: u64,
    /// Where the dialer is reached, `host:port`.
    pub(super) address: String,
}
wire_struct!(Hello { cluster, from, to, incarnation, address });

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// Frames are taken.
    Accepted,
    /// They are not.
    Refused(Refusal),
}
wire_enum!(Welcome { 1 => Accepted {}, 2 => Refused(refusal) });

/// Why a session is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The accepter belongs to another cluster.
    #[error(
        "the node there belongs to cluster {mine}; correct the address, or remove and add again the member whose directory is of the wrong cluster"
    )]
    Cluster {
        /// The accepter's.
        mine: ClusterId,
    },
    /// Another node is reached at that address.
    #[error("node {mine} is there; if its directory was replaced, remove the old member and add the new one")]
    Node {
        /// Who is there.
        mine: NodeId,
    },
    /// The dialer was removed from the cluster.
    #[error("it was removed from the cluster")]
    Removed,
    /// The accepter has no room for another stranger.
    #[error("too many nodes that are not members are connected there")]
    Crowded,
    /// The accepter has no cluster yet.
    #[error("the node there has not formed or joined its cluster yet")]
    NotFormed,
    /// The accepter serves no available state, or does not know the dialer as a member yet.
    #[error("it takes no lane of this node (yet): it serves no available state, or does not know this node as a member")]
    NoLane,
}
wire_enum!(Refusal {
    1 => Cluster { mine },
    2 => Node { mine },
    3 => Removed {},
    4 => Crowded {},
    5 => NotFormed {},
    6 => NoLane {},
});

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("cannot connect: {0}")]
    Dial(std::io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("what is there is no Steadfast node")]
    Stranger,
    #[error(
        "the TLS handshake failed: {0}; see that both nodes' peer certificates are signed by a CA in the other's --peer-trusted-ca-file, are for the address that is dialled, and have not expired"
    )]
    Tls(std::io::Error),
    #[error(
        "the other side speaks plain text and this node TLS: start it with --peer-cert-file, --peer-key-file and --peer-trusted-ca-file too"
    )]
    PlainText,
    #[error(
        "the other side speaks TLS and this node plain text: start this one with --peer-cert-file, --peer-key-file and --peer-trusted-ca-file too"
    )]
    Secure,
    #[error("the other side's certificate has the common name `{found}`, and --peer-cert-allowed-cn allows `{allowed}`")]
    Name { found: String, allowed: String },
    #[error(
        "the other side speaks protocol versions {oldest} to {newest}, this one {own} to {NEWEST_VERSION}: upgrade the older of the two, one release at a time"
    )]
    Version { oldest: u8, newest: u8, own: u8 },
    #[error("the handshake is malformed: {0}")]
    Malformed(#[from] WireError),
    #[error("{0}")]
    Refused(Refusal),
}

impl From<std::io::Error> for HandshakeError {
    fn from(error: std::io::Error) -> Self {
        HandshakeError::Frame(error.into())
    }
}

impl HandshakeError {
    /// Whether it is about TLS, which no waiting will mend.
    pub(super) fn is_about_tls(&self) -> bool {
        match self {
            HandshakeError::Tls(_) | HandshakeError::PlainText | HandshakeError::Secure | HandshakeError::Name { .. } => true,
            HandshakeError::Frame(_) | HandshakeError::Dial(_) | HandshakeError::TimedOut(_) | HandshakeError::Stranger => false,
            HandshakeError::Version { .. } | HandshakeError::Malformed(_) | HandshakeError::Refused(_) => false,
        }
    }

    /// Whether nobody listens at the address: the process that was there is gone.
    pub(super) fn nobody_listens(&self) -> bool {
        matches!(self, HandshakeError::Dial(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

/// Limits the time of a handshake's step.
pub(super) async fn in_time<T>(limit: Duration, step: impl Future<Output = Result<T, HandshakeError>>) -> Result<T, HandshakeError> {
    tokio::time::timeout(limit, step).await.unwrap_or(Err(HandshakeError::TimedOut(limit)))
}

/// What this side says first. `level`: the cluster's.
fn preamble(purpose: u8, level: Level) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[level.0, NEWEST_VERSION, purpose, 0]);
    out
}

/// The other side's purpose code, if it is a Steadfast node, and the newest version that it speaks, if there is one in common.
async fn read_preamble<S: AsyncRead + Unpin>(
    stream: &mut FrameReader<S>,
    level: Level,
) -> Result<(u8, Result<Level, HandshakeError>), HandshakeError> {
    let bytes: [u8; PREAMBLE_BYTES] = stream.raw().await?;
    if bytes[0] == TLS_HANDSHAKE {
        return Err(HandshakeError::Secure);
    }
    let Some([oldest, newest, purpose, _]) = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk().copied()) else {
        return Err(HandshakeError::Stranger);
    };
    let common = oldest <= NEWEST_VERSION && newest >= level.0;
    Ok((purpose, if common { Ok(Level(newest)) } else { Err(HandshakeError::Version { oldest, newest, own: level.0 }) }))
}

/// The dialer's half: says what it is for, and reads the answer.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    (purpose, level): (Purpose, Level),
    words: &[u8],
) -> Result<(Bytes, FrameReader<S>), HandshakeError> {
    let mut stream = FrameReader::new(stream, purpose.answer_bytes());
    let mut out = preamble(purpose.code(), level);
    put_frame(&mut out, words);
    write_out(stream.stream(), &out).await?;
    read_preamble(&mut stream, level).await?.1?;
    Ok((stream.next().await?, stream))
}

/// As [`ask`], with a [`Hello`].
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    purpose: Purpose,
    hello: &Hello,
    level: Level,
) -> Result<FrameReader<S>, HandshakeError> {
    let (answer, stream) = ask(stream, (purpose, level), &hello.to_wire()).await?;
    match Welcome::from_wire(answer)? {
        Welcome::Accepted => Ok(stream),
        Welcome::Refused(refusal) => Err(HandshakeError::Refused(refusal)),
    }
}

/// What a dialer says first.
pub(super) struct Heard<S> {
    pub(super) purpose: Purpose,
    /// The newest version that it speaks.
    pub(super) level: Level,
    /// The first frame.
    pub(super) words: Bytes,
    pub(super) stream: FrameReader<S>,
}

/// The accepter's first half. A dialer of a version that is not spoken here is told the versions that are.
pub(super) async fn hear<S: AsyncRead + AsyncWrite + Unpin>(stream: S, level: Level) -> Result<Heard<S>, HandshakeError> {
    let mut stream = FrameReader::new(stream, HANDSHAKE_FRAME_BYTES);
    let (code, version) = read_preamble(&mut stream, level).await?;
    write_out(stream.stream(), &preamble(code, level)).await?;
    let level = version?;
    let purpose = Purpose::of_code(code).ok_or(HandshakeError::Malformed(WireError::Invalid("purpose")))?;
    Ok(Heard { purpose, level, words: stream.next().await?, stream })
}

/// The accepter's second half: its answer.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut FrameReader<S>, words: &[u8]) -> Result<(), HandshakeError> {
    let mut out = BytesMut::with_capacity(words.len() + 16);
    put_frame(&mut out, words);
    write_out(stream.stream(), &out).await
}

/// Writes all, and out of TLS's own buffer too.
async fn write_out<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), HandshakeError> {
    stream.write_all(bytes).await?;
    Ok(stream.flush().await?)
}
