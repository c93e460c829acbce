//! What a connection between peers runs over: TCP alone, or TLS on it. Decided once for a node, for both directions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::frame::FrameError;
use super::handshake::HandshakeError;
use super::noticed::Ends;
use crate::tls::{self, AcceptError, Tls, Trust, common_name};

/// How a node speaks with its peers.
#[derive(Clone, Debug, Default)]
pub enum Link {
    /// In plain text: the network between members is trusted.
    #[default]
    Plain,
    /// With TLS.
    Tls(Tls),
}

impl Link {
    /// The connection that was dialled to `address`, ready for the first words.
    pub(super) async fn dialled(&self, address: &str, socket: TcpStream) -> Result<PeerStream, HandshakeError> {
        let Link::Tls(tls) = self else { return Ok(PeerStream::Plain(socket)) };
        let stream = tls::dial(tls.dialling(), address, socket).await.map_err(HandshakeError::Tls)?;
        check_name(tls, stream.get_ref().1)?;
        Ok(PeerStream::Tls(Box::new(stream.into())))
    }

    /// The connection that came, ready for the first words.
    pub(super) async fn accepted(&self, socket: TcpStream) -> Result<PeerStream, HandshakeError> {
        let Link::Tls(tls) = self else { return Ok(PeerStream::Plain(socket)) };
        let stream = tls::accept(tls, socket).await.map_err(|error| match error {
            AcceptError::Silent => HandshakeError::Frame(FrameError::Closed),
            AcceptError::PlainText => HandshakeError::PlainText,
            AcceptError::Handshake(error) => HandshakeError::Tls(error),
        })?;
        check_name(tls, stream.get_ref().1)?;
        Ok(PeerStream::Tls(Box::new(stream.into())))
    }
}

/// An accepter's verdict on a dialler's certificate arrives, in TLS 1.3, in place of its first words: then that is the error.
pub(super) fn verdict(error: HandshakeError) -> HandshakeError {
    match error {
        HandshakeError::Frame(FrameError::Io(error)) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            HandshakeError::Tls(error)
        }
        error => error,
    }
}

/// Whether the other side's common name is the allowed one, if only one is.
fn check_name(tls: &Tls, connection: &CommonState) -> Result<(), HandshakeError> {
    let Trust::Peers { allowed_cn: Some(allowed) } = tls.trust() else { return Ok(()) };
    let found = connection.peer_certificates().and_then(|chain| common_name(chain.first()?)).unwrap_or_default();
    if found == *allowed { Ok(()) } else { Err(HandshakeError::Name { found, allowed: allowed.clone() }) }
}

/// A connection to or from a peer.
#[derive(Debug)]
pub(super) enum PeerStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl PeerStream {
    /// Its two ends, unless it is broken already.
    pub(super) fn ends(&self) -> Option<Ends> {
        let socket = match self {
            PeerStream::Plain(socket) => socket,
            PeerStream::Tls(stream) => stream.get_ref().0,
        };
        Some(Ends { own: socket.local_addr().ok()?, peer: socket.peer_addr().ok()? })
    }

    /// Writes what the socket takes now, perhaps nothing.
    pub(super) fn try_write(&mut self, bytes: &[u8]) {
        match self {
            // An error shows in the next read.
            PeerStream::Plain(socket) => drop(socket.try_write(bytes)),
            PeerStream::Tls(stream) => drop(Pin::new(stream.as_mut()).poll_write(&mut Context::from_waker(Waker::noop()), bytes)),
        }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            PeerStream::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            PeerStream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            PeerStream::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            PeerStream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            PeerStream::Plain(socket) => Pin::new(socket).poll_flush(context),
            PeerStream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            PeerStream::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            PeerStream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
