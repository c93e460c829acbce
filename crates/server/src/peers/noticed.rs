//! What the transport notices of each peer, for whoever watches over it: the failure detectors do. Noticing is no more than a call; nothing is kept here.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use steadfast_types::NodeId;

/// Bytes that keep coming are told of so often: far more often than a peer must show a sign of life.
pub(super) const HEARD_AGAIN: Duration = Duration::from_millis(100);

/// The two ends of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// This node's.
    pub(crate) own: SocketAddr,
    /// The peer's.
    pub(crate) peer: SocketAddr,
}

/// Something that happened between this node and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// The peer is dialled: it is asked for a welcome.
    Dialled,
    /// It bade welcome.
    Connected(Option<Ends>),
    /// It was sent a sign of life, which it answers.
    SignSent,
    /// It answered so many signs of this connection, in their order.
    SignsAnswered(u64),
    /// It dialled this node.
    Accepted(Option<Ends>),
    /// Its process wrote something, on the connection that it dialled.
    Heard,
    /// The connection to it was ended by the other side.
    Reset,
    /// Nobody listens where it should be.
    Refused,
}

type Onlooker = Box<dyn Fn(NodeId, Noticed) + Send + Sync>;

/// Who is told, if anybody is.
#[derive(Default)]
pub(super) struct Onlookers(OnceLock<Onlooker>);

impl Onlookers {
    /// Tells this one from now on, unless another one is told already.
    pub(super) fn tell(&self, onlooker: Onlooker) {
        // An error: another one is told.
        let _ = self.0.set(onlooker);
    }

    pub(super) fn notice(&self, peer: NodeId, what: Noticed) {
        if let Some(onlooker) = self.0.get() {
            onlooker(peer, what);
        }
    }
}

impl fmt::Debug for Onlookers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Onlookers({})", self.0.get().is_some())
    }
}

/// Whether the other side ended a connection, not this one, which heard nothing for too long.
pub(super) fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}
