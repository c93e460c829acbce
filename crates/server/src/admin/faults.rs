//! `/faults`: shows, sets and clears the faults that this node injects. There only if the node was started with `--faults`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use steadfast_types::NodeId;

use crate::fault_table::{FaultError, FaultRequest, FaultTable, TABLE_BYTES};

/// Finds the member of a name, peer address or id.
pub type Resolve = Box<dyn Fn(&str) -> Option<NodeId> + Send + Sync>;

/// The fault table, and who its peers are.
pub struct FaultDesk {
    /// What is injected.
    pub table: &'static FaultTable,
    /// The member of a name, peer address or id.
    pub resolve: Resolve,
}

/// The route; none without a table.
pub fn faults_route(desk: Option<FaultDesk>) -> Router {
    let Some(desk) = desk else { return Router::new() };
    let methods = get(show).put(set).delete(clear);
    Router::new().route("/faults", methods).layer(DefaultBodyLimit::max(TABLE_BYTES)).with_state(Arc::new(desk))
}

fn json(table: &FaultTable) -> Response {
    let text = serde_json::to_string(&table.request()).expect("a request is plain data");
    ([(CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

async fn show(State(desk): State<Arc<FaultDesk>>) -> Response {
    json(desk.table)
}

async fn set(State(desk): State<Arc<FaultDesk>>, body: Bytes) -> Response {
    let request = serde_json::from_slice::<FaultRequest>(&body).map_err(|error| FaultError::Malformed(error.to_string()));
    match request.and_then(|request| desk.table.set(request, &desk.resolve)) {
        Ok(()) => {
            tracing::warn!(faults = ?desk.table.request(), "faults are injected");
            json(desk.table)
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn clear(State(desk): State<Arc<FaultDesk>>) -> Response {
    desk.table.clear();
    tracing::warn!("no more faults are injected");
    json(desk.table)
}
