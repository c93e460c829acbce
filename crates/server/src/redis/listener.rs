//! The sockets on which connections come, and whom they let in.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::tls::Stream;
use crate::tls::Tls;

/// What a connection beyond the limit is told: Redis's words.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// A port to listen on.
#[derive(Debug)]
pub struct Port {
    /// Bound already.
    pub listener: std::net::TcpListener,
    /// What it speaks; `None`: plain text.
    pub tls: Option<Tls>,
}

/// A [`Port`] of a loop.
pub(super) struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
    /// There may be connections to accept.
    pub(super) is_ready: bool,
}

/// What accepting came to.
pub(super) enum Accepted {
    Connection(Stream, SocketAddr),
    /// There was one too many, or one that was gone already.
    Refused,
    /// No more are there.
    None,
    /// The system has no room.
    Failed(io::Error),
}

impl Listener {
    pub(super) fn new(port: Port, registry: &Registry, token: Token) -> io::Result<Self> {
        port.listener.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(port.listener);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener { socket, tls: port.tls, is_ready: false })
    }

    /// Whether it speaks TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The next connection. Without room for one more it is told so.
    pub(super) fn accept(&mut self, has_room: bool) -> Accepted {
        let (mut socket, peer) = match self.socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => return self.not_accepted(error),
        };
        if !has_room {
            refuse(&mut socket, self.is_tls());
            return Accepted::Refused;
        }
        // Answers are whole when they are sent: nothing is gained by waiting for more.
        let _ = socket.set_nodelay(true);
        match Stream::new(socket, self.tls.as_ref().map(Tls::accepting)) {
            Ok(stream) => Accepted::Connection(stream, peer),
            Err(_) => Accepted::Refused,
        }
    }

    fn not_accepted(&mut self, error: io::Error) -> Accepted {
        match error.kind() {
            ErrorKind::WouldBlock => {
                self.is_ready = false;
                Accepted::None
            }
            // It was gone before it was accepted.
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted => Accepted::Refused,
            _ => Accepted::Failed(error),
        }
    }
}

fn refuse(socket: &mut TcpStream, is_tls: bool) {
    if !is_tls {
        let _ = socket.write(TOO_MANY);
    }
}
