//! The admin port: health, status and metrics over HTTP.
//!
//! `/livez` answers while the process serves at all; `/readyz` while the node can serve clients; `/status` is JSON; `/metrics` is
//! Prometheus' text form; `/members` is JSON: who takes part in the membership, as this very node sees it. Nothing of these changes anything; `/faults` does, and is there only if the node was started to have faults injected.
//! `/v1/services` (`checks`) shows the services that are checked on the node, and takes their heartbeats. With TLS on the client port it has
//! the same certificate, and asks for one where that port does; without, it listens on loopback alone unless `--insecure-admin` is given.

mod connections;
mod faults;
mod members;
mod metrics;
mod status;

pub use connections::{ADMIN_CONNECTIONS, CONNECTION_LIFETIME};
pub use faults::{FaultDesk, Resolve, faults_route};
pub use members::{MemberStatus, members_route};
pub use metrics::{Description, METRICS, Metrics, resident_bytes};
pub(crate) use status::as_text;
pub use status::{AdminStatus, Check};

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::interval;

use crate::tls::Tls;

/// How often histograms are tidied up when nobody reads them.
const TIDY_UP: Duration = Duration::from_secs(5);

const INDEX: &str = "Steadfast. See /livez, /readyz?verbose, /status, /metrics, /v1/services\n";

/// Tells a node's status; a closure does.
pub trait AdminState: Send + Sync + 'static {
    /// The status now.
    fn status(&self) -> AdminStatus;
}

impl<F: Fn() -> AdminStatus + Send + Sync + 'static> AdminState for F {
    fn status(&self) -> AdminStatus {
        self()
    }
}

struct Admin {
    state: Box<dyn AdminState>,
    metrics: Metrics,
}

/// Serves the admin port until `stop` is done, with TLS or in plain text. `more`: routes of what this node has besides.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    state: impl AdminState,
    metrics: Metrics,
    more: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let admin = Arc::new(Admin { state: Box::new(state), metrics: metrics.clone() });
    let serving = axum::serve(connections::Bounded::new(listener, tls), routes(admin).merge(more)).with_graceful_shutdown(stop);
    tokio::select! {
        served = async { serving.await } => served,
        never = tidy_up(metrics) => match never {},
    }
}

async fn tidy_up(metrics: Metrics) -> std::convert::Infallible {
    let mut ticks = interval(TIDY_UP);
    loop {
        ticks.tick().await;
        metrics.tidy_up();
    }
}

fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .fallback(|| async { (StatusCode::NOT_FOUND, INDEX) })
        .with_state(admin)
}

/// `/metrics` alone, for the client port: etcd serves it there, and its monitoring asks there.
pub fn metrics_route(state: impl AdminState, metrics: Metrics) -> Router {
    let admin = Arc::new(Admin { state: Box::new(state), metrics });
    Router::new().route("/metrics", get(metrics_text)).with_state(admin)
}

async fn readyz(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let status = admin.state.status();
    let verbose = query.is_some_and(|query| query.split('&').any(|item| item.split('=').next() == Some("verbose")));
    let unready = status.unready();
    let code = if unready.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let text = if verbose { verbose_text(&status) } else { unready.unwrap_or_else(|| "ok".to_owned()) + "\n" };
    (code, text).into_response()
}

fn verbose_text(status: &AdminStatus) -> String {
    let line = |check: Check| match check.problem {
        None => format!("[+] {}: ok\n", check.name),
        Some(problem) => format!("[-] {}: {problem}\n", check.name),
    };
    status.checks().into_iter().map(line).collect()
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    let text = serde_json::to_string(&admin.state.status()).expect("a status is plain data");
    ([(CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

async fn metrics_text(State(admin): State<Arc<Admin>>) -> Response {
    admin.metrics.observe(&admin.state.status());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.render()).into_response()
}

#[cfg(test)]
mod tests;
