//! The client port: connections, bounded in number, each served HTTP/2 or HTTP/1: gRPC, the JSON gateway, and the few plain paths.
//!
//! A client that never says what it wants is let go: its first words have a time limit ([`OPENING`]), the headers of HTTP/1 another, and HTTP/2
//! connections must answer pings. With TLS the handshake comes first (`greeter`).

mod gathering;
mod greeter;
mod named;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use steadfast_etcd_api::EtcdService;
use steadfast_types::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep};

use crate::backend::NodeBackend;
use gathering::Gathering;
pub(crate) use greeter::Greeter;
use named::Named;

/// A client has so long for its first words.
const OPENING: Duration = Duration::from_secs(10);

/// The first words: as many bytes as HTTP/2's preface has (RFC 9113, section 3.4).
const OPENING_BYTES: usize = 24;

/// Accepts clients until the node stops. Beyond [`limits::CLIENT_CONNECTIONS`] a connection is closed at once.
pub(crate) async fn serve(listener: TcpListener, service: EtcdService<NodeBackend>, greeter: Greeter, mut stopping: watch::Receiver<bool>) {
    let (http, greeter) = (Arc::new(protocol()), Arc::new(greeter));
    let places = Arc::new(Semaphore::new(limits::CLIENT_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: others will close.
                tracing::warn!(%error, "a client's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(limit = limits::CLIENT_CONNECTIONS, "too many client connections: one was closed");
            continue;
        };
        let (http, service, greeter, mut stopping) = (http.clone(), service.clone(), greeter.clone(), stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection(&http, (socket, from), service, &greeter) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
            drop(place);
        });
    }
}

async fn connection(
    http: &Builder<TokioExecutor>,
    (socket, from): (TcpStream, SocketAddr),
    service: EtcdService<NodeBackend>,
    greeter: &Arc<Greeter>,
) {
    // Without it a small answer may wait for an acknowledgement; it works on any TCP socket.
    let _ = socket.set_nodelay(true);
    let ended = if greeter.is_secure() {
        let Some((stream, name)) = greeter.greet(socket, from).await else { return };
        let stream = TokioIo::new(Opening::new(Gathering::new(stream), |_| {}));
        http.serve_connection(stream, TowerToHyperService::new(Named::new(service, name))).await
    } else {
        let greeter = greeter.clone();
        let stream = TokioIo::new(Opening::new(Gathering::new(socket), move |first| greeter.first_plain_byte(first, from)));
        http.serve_connection(stream, TowerToHyperService::new(service)).await
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a client's connection ended with an error");
    }
}

/// A stream whose first words must come in time; after them it is the stream alone.
struct Opening<S, F> {
    stream: S,
    /// Bytes that are still missing, and their deadline.
    missing: Option<(usize, Pin<Box<Sleep>>)>,
    /// Is shown the first byte.
    on_first_byte: F,
}

impl<S, F> Opening<S, F> {
    fn new(stream: S, on_first_byte: F) -> Self {
        Opening { stream, missing: Some((OPENING_BYTES, Box::pin(sleep(OPENING)))), on_first_byte }
    }
}

impl<S: AsyncRead + Unpin, F: Fn(u8) + Unpin> AsyncRead for Opening<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some((missing, deadline)) = &mut this.missing else { return outcome };
        if outcome.is_pending() {
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let read = &buffer.filled()[before..];
        if *missing == OPENING_BYTES
            && let Some(first) = read.first()
        {
            (this.on_first_byte)(*first);
        }
        *missing = missing.saturating_sub(read.len());
        if *missing == 0 {
            this.missing = None;
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Opening<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(None)
        .initial_stream_window_size(2 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .max_frame_size(64 * 1024)
        .max_send_buf_size(256 * 1024)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .auto_date_header(false);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(20));
    builder
}
