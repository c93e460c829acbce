//! The client port: connections, bounded in number, each served HTTP/2 or HTTP/1: gRPC, the JSON gateway, and the few plain paths.
//!
//! A client that never says what it wants is let go: its first words have a time limit ([`OPENING`]), the headers of HTTP/1 another, and HTTP/2
//! connections must answer pings.

use std::io;
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

/// A client has so long for its first words.
const OPENING: Duration = Duration::from_secs(10);

/// The first words: as many bytes as HTTP/2's preface has (RFC 9113, section 3.4).
const OPENING_BYTES: usize = 24;

/// Accepts clients until the node stops. Beyond [`limits::CLIENT_CONNECTIONS`] a connection is closed at once.
pub(crate) async fn serve(listener: TcpListener, service: EtcdService<NodeBackend>, mut stopping: watch::Receiver<bool>) {
    let http = Arc::new(protocol());
    let places = Arc::new(Semaphore::new(limits::CLIENT_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
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
        let (http, service, mut stopping) = (http.clone(), service.clone(), stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection(&http, socket, service) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
            drop(place);
        });
    }
}

async fn connection(http: &Builder<TokioExecutor>, socket: TcpStream, service: EtcdService<NodeBackend>) {
    // Without it a small answer may wait for an acknowledgement; it works on any TCP socket.
    let _ = socket.set_nodelay(true);
    if let Err(error) = http.serve_connection(TokioIo::new(Opening::new(socket)), TowerToHyperService::new(service)).await {
        tracing::debug!(error, "a client's connection ended with an error");
    }
}

/// A socket whose first words must come in time; after them it is the socket alone.
struct Opening {
    socket: TcpStream,
    /// Bytes that are still missing, and their deadline.
    missing: Option<(usize, Pin<Box<Sleep>>)>,
}

impl Opening {
    fn new(socket: TcpStream) -> Self {
        Opening { socket, missing: Some((OPENING_BYTES, Box::pin(sleep(OPENING)))) }
    }
}

impl AsyncRead for Opening {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.socket).poll_read(context, buffer);
        let Some((missing, deadline)) = &mut this.missing else { return outcome };
        if outcome.is_pending() {
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            this.missing = None;
        }
        outcome
    }
}

impl AsyncWrite for Opening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
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
