//! A TLS connection that shakes hands when it is first read: for a listener that must not wait for one connection before it takes the next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::reload::Tls;

/// A connection, plain or with TLS.
pub(crate) enum Lazy {
    /// Without TLS.
    Plain(TcpStream),
    /// Before or in its handshake.
    Greeting(Box<Accept<TcpStream>>),
    /// After it.
    Open(Box<TlsStream<TcpStream>>),
    /// The handshake came to nothing.
    Failed,
}

impl Lazy {
    /// A connection that has just come.
    pub(crate) fn new(socket: TcpStream, tls: Option<&Tls>) -> Self {
        match tls {
            None => Lazy::Plain(socket),
            Some(tls) => Lazy::Greeting(Box::new(TlsAcceptor::from(tls.accepting()).accept(socket))),
        }
    }

    /// Finishes the handshake, if it is not.
    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut (dyn Duplex + '_)>> {
        if let Lazy::Greeting(greeting) = self {
            let greeted = ready!(Pin::new(greeting.as_mut()).poll(context));
            // A handshake that has ended must not be polled again.
            *self = Lazy::Failed;
            *self = Lazy::Open(Box::new(greeted?));
        }
        Poll::Ready(match self {
            Lazy::Plain(socket) => Ok(socket),
            Lazy::Open(stream) => Ok(stream.as_mut()),
            Lazy::Greeting(_) | Lazy::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

impl AsyncRead for Lazy {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(ready!(self.open(context))?).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lazy {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(ready!(self.open(context))?).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(ready!(self.open(context))?).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            // Nothing was said yet, so there is nothing to take leave of.
            Lazy::Greeting(_) | Lazy::Failed => Poll::Ready(Ok(())),
            Lazy::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Lazy::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
