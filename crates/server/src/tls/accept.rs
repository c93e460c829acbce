//! One connection that comes, from its first byte to the end of the handshake.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::reload::Tls;

/// The first byte of a handshake's record (RFC 8446, section 5.1).
pub(crate) const HANDSHAKE_RECORD: u8 = 22;

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("it was closed before a word was said")]
    Silent,
    #[error("it speaks plain text, and this port TLS")]
    PlainText,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// Waits for the first byte, and shakes hands if it is one of TLS. Without a limit of time.
pub(crate) async fn accept(tls: &Tls, socket: TcpStream) -> Result<TlsStream<TcpStream>, AcceptError> {
    first_byte(&socket).await?;
    handshake(tls, socket).await
}

/// Waits for the first byte, which must be one of TLS.
pub(crate) async fn first_byte(socket: &TcpStream) -> Result<(), AcceptError> {
    let mut first = [0];
    match socket.peek(&mut first).await {
        Ok(1..) if first[0] == HANDSHAKE_RECORD => Ok(()),
        Ok(1..) => {
            // What was said is taken, so that the connection ends in order and not by a reset.
            let _ = socket.try_read(&mut [0; 4096]);
            Err(AcceptError::PlainText)
        }
        Ok(0) | Err(_) => Err(AcceptError::Silent),
    }
}

/// Shakes hands.
pub(crate) async fn handshake(tls: &Tls, socket: TcpStream) -> Result<TlsStream<TcpStream>, AcceptError> {
    TlsAcceptor::from(tls.accepting()).accept(socket).await.map_err(AcceptError::Handshake)
}
