//! `/members`: who takes part in the membership, and how each is, as this very node sees it: every node has a view of its own, agents too.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

/// One member as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Its id, hexadecimal.
    pub id: String,
    /// `server` or `agent`.
    pub role: &'static str,
    /// `healthy`, `suspect`, `failed` or `left`.
    pub state: &'static str,
    /// For how long it has been healthy, failed or left, milliseconds. A suspicion does not count: it is over, or a failure, in a moment.
    pub since_ms: u64,
    /// Who found it silent, if it is suspect or failed.
    pub witnesses: Vec<String>,
    /// Where others reach it.
    pub address: String,
    /// Which life of its process, a dot, how often it contradicted a false word in it.
    pub incarnation: String,
}

type Tell = Arc<dyn Fn() -> Vec<MemberStatus> + Send + Sync>;

/// The route. `tell`: all members now.
pub fn members_route(tell: impl Fn() -> Vec<MemberStatus> + Send + Sync + 'static) -> Router {
    let tell: Tell = Arc::new(tell);
    Router::new().route("/members", get(members)).with_state(tell)
}

async fn members(State(tell): State<Tell>) -> Response {
    let text = serde_json::to_string(&tell()).expect("members are plain data");
    ([(CONTENT_TYPE, "application/json")], text + "\n").into_response()
}
