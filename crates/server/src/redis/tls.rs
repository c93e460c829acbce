//! A socket, plain or with TLS over it, as a loop sees it that never waits.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

/// A connection's bytes, without TLS if there is any.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// What a read brought.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) bytes: usize,
    /// There may be more to read now. If not, the socket will say when there is.
    pub(super) more: bool,
    /// Nothing comes any more.
    pub(super) ended: bool,
}

/// A socket with TLS.
pub(super) struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
}

impl Stream {
    pub(super) fn new(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let Some(config) = tls else { return Ok(Stream::Plain(socket)) };
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(TlsStream { socket, session })))
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &mut tls.socket,
        }
    }

    /// Reads into `buffer`, which is not empty.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        match self {
            // A read that does not fill the buffer has emptied the socket: it saves the read that would say so.
            Stream::Plain(socket) => Ok(match when_ready(|| socket.read(buffer))? {
                None => Got::default(),
                Some(0) => Got { ended: true, ..Got::default() },
                Some(bytes) => Got { bytes, more: bytes == buffer.len(), ended: false },
            }),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }

    /// Takes as much of `bytes` as can be sent now; returns how much.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => {
                let mut sent = 0;
                while sent < bytes.len() {
                    match when_ready(|| socket.write(&bytes[sent..]))? {
                        None => break,
                        Some(0) => return Err(ErrorKind::WriteZero.into()),
                        Some(count) => sent += count,
                    }
                }
                Ok(sent)
            }
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    /// Whether something was taken and is not sent yet.
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.session.wants_write(),
        }
    }

    /// Whether a handshake is under way.
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.session.is_handshaking(),
        }
    }

    /// Says that nothing follows, as far as that can be said without waiting, and takes what came meanwhile: a socket that is closed with
    /// bytes unread resets the connection, and what was sent may be lost on the other side.
    pub(super) fn end(&mut self) {
        if let Stream::Tls(tls) = self {
            tls.session.send_close_notify();
            let _ = tls.send();
        }
        let socket = self.socket();
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read(&mut [0; 16 * 1024]);
    }
}

impl TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        let mut bytes = 0;
        while bytes < buffer.len() {
            match self.session.reader().read(&mut buffer[bytes..]) {
                // With or without a farewell: a command that is not all there is not run either way.
                Ok(0) => return Ok(Got { bytes, more: false, ended: true }),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Got { bytes, more: false, ended: true }),
                Ok(count) => bytes += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.receive()? {
                        return Ok(Got { bytes, more: false, ended: false });
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Got { bytes, more: true, ended: false })
    }

    /// Takes records off the socket; whether there were any, or their end.
    fn receive(&mut self) -> io::Result<bool> {
        if when_ready(|| self.session.read_tls(&mut self.socket))?.is_none() {
            return Ok(false);
        }
        if let Err(error) = self.session.process_new_packets() {
            // The other side is told why, if it can be.
            let _ = self.send();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        // The session takes a limited amount, so what stands still stays with the connection, where it is counted.
        while self.send()? && taken < bytes.len() && !self.session.is_handshaking() {
            taken += self.session.writer().write(&bytes[taken..])?;
        }
        Ok(taken)
    }

    /// Sends the session's records; whether that was all of them.
    fn send(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match when_ready(|| self.session.write_tls(&mut self.socket))? {
                None => return Ok(false),
                Some(0) => return Err(ErrorKind::WriteZero.into()),
                Some(_) => {}
            }
        }
        Ok(true)
    }
}

/// What `operation` did; `None` if the socket is not ready for it.
fn when_ready(mut operation: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match operation() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
