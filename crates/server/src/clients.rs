//! The client port: connections, bounded in number, each served HTTP/2 for gRPC and HTTP/1 for the few plain paths.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use steadfast_etcd_api::{ETCD_VERSION, EtcdService};
use steadfast_types::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::backend::NodeBackend;
use crate::published::Published;

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
    if let Err(error) = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service)).await {
        tracing::debug!(error, "a client's connection ended with an error");
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

/// The plain paths that etcd's clients and probes ask for.
pub(crate) fn http_routes(published: Arc<Published>) -> Router {
    let health = move || {
        let healthy = published.leader().borrow().is_some();
        async move {
            let code = if healthy { axum::http::StatusCode::OK } else { axum::http::StatusCode::SERVICE_UNAVAILABLE };
            let reason = if healthy { "" } else { "RAFT NO LEADER" };
            let body = format!("{{\"health\":\"{healthy}\",\"reason\":\"{reason}\"}}");
            (code, [("content-type", "application/json")], body)
        }
    };
    let version = || async {
        let body = format!("{{\"etcdserver\":\"{ETCD_VERSION}\",\"etcdcluster\":\"{ETCD_VERSION}\"}}");
        ([("content-type", "application/json")], body)
    };
    Router::new().route("/health", get(health)).route("/version", get(version))
}
