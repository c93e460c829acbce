//! How a client's connection begins: with TLS the handshake, in bounded time and number; without it a look whether the client means TLS.

use std::net::SocketAddr;

use steadfast_etcd_api::ClientName;
use steadfast_types::limits;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::OPENING;
use crate::admin::Metrics;
use crate::tls::{AcceptError, Complaints, HANDSHAKE_RECORD, Tls, common_name, first_byte, handshake};

/// Greets the clients of one port.
pub(crate) struct Greeter {
    tls: Option<Tls>,
    room: Semaphore,
    complaints: Complaints,
    metrics: Metrics,
}

impl Greeter {
    pub(crate) fn new(tls: Option<Tls>, metrics: Metrics) -> Self {
        Greeter { tls, room: Semaphore::new(limits::TLS_HANDSHAKES), complaints: Complaints::default(), metrics }
    }

    /// Whether the port speaks TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Shakes hands with a client; `None`: it came to nothing, which was counted and perhaps said. With the stream comes the name in the
    /// client's certificate.
    pub(super) async fn greet(&self, socket: TcpStream, from: SocketAddr) -> Option<(TlsStream<TcpStream>, Option<ClientName>)> {
        let tls = self.tls.as_ref()?;
        let greeting = async {
            first_byte(&socket).await?;
            let _place = self.room.acquire().await;
            handshake(tls, socket).await
        };
        match timeout(OPENING, greeting).await {
            Ok(Ok(stream)) => {
                let name = stream.get_ref().1.peer_certificates().and_then(|chain| common_name(chain.first()?));
                Some((stream, name.map(ClientName)))
            }
            // As load balancers do to see whether the port is open.
            Ok(Err(AcceptError::Silent)) => None,
            Ok(Err(error)) => self.refused(from, &error.to_string()),
            Err(_) => self.refused(from, "the TLS handshake took too long"),
        }
    }

    fn refused<T>(&self, from: SocketAddr, why: &str) -> Option<T> {
        self.metrics.client_handshakes_failed.increment(1);
        self.complaints.say(from, why);
        None
    }

    /// Says it if the first byte on a plain port is one of TLS.
    pub(super) fn first_plain_byte(&self, first: u8, from: SocketAddr) {
        if first == HANDSHAKE_RECORD {
            self.complaints
                .say(from, "it speaks TLS, and this port plain text: give the node --cert-file and --key-file, or the client http://");
        }
    }
}
