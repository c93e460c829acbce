//! `/v1/services` on the admin port: how this node's services are, and where they say by themselves that they live.
//!
//! `POST /v1/services/NAME/heartbeat` is a beat of every heartbeat check of the service. Its body may be empty (all is well) or say how the service is:
//! `{"state":"warned","words":"queue at 90 %"}`. `GET /v1/services` and `/v1/services/NAME` are JSON.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use steadfast_health::checks::tally::Outcome;
use tokio::sync::oneshot;

use super::progress::tidy;
use super::report::ServiceReport;
use super::runner::Checks;

/// Bytes of a heartbeat's body.
const BODY_BYTES: usize = 4 * 1024;

/// A service has said how it is.
pub(super) struct Beat {
    pub(super) service: String,
    pub(super) outcome: Outcome,
    pub(super) answer: oneshot::Sender<Heard>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It counts.
    Taken,
    /// The service has checks here, and none of them is a heartbeat.
    NoHeartbeat,
    /// Nothing is declared for such a service on this node.
    NoService,
}

/// A heartbeat's body.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Said {
    state: Saying,
    words: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Saying {
    #[default]
    Passed,
    Warned,
    Failed,
}

/// The routes.
pub(crate) fn routes(checks: Checks) -> Router {
    Router::new()
        .route("/v1/services", get(list))
        .route("/v1/services/{name}", get(show))
        .route("/v1/services/{name}/heartbeat", post(beat))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(checks)
}

fn in_json(value: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

fn said(status: StatusCode, words: impl std::fmt::Display) -> Response {
    (status, format!("{words}\n")).into_response()
}

async fn list(State(checks): State<Checks>) -> Response {
    let reports = checks.reports.borrow().clone();
    in_json(&json!({ "services": reports.iter().map(ServiceReport::shown).collect::<Vec<_>>() }))
}

async fn show(State(checks): State<Checks>, Path(name): Path<String>) -> Response {
    let reports = checks.reports.borrow().clone();
    match reports.iter().find(|report| report.service == name) {
        Some(report) => in_json(&json!(report.shown())),
        None => unknown(&name),
    }
}

fn unknown(name: &str) -> Response {
    let name = tidy(name);
    said(
        StatusCode::NOT_FOUND,
        format_args!("no check of a service {name:?} is declared for this node: see `steadfast service check list`"),
    )
}

async fn beat(State(checks): State<Checks>, Path(name): Path<String>, body: Bytes) -> Response {
    let outcome = match outcome(&body) {
        Ok(outcome) => outcome,
        Err(problem) => return said(StatusCode::BAD_REQUEST, problem),
    };
    let (answer, heard) = oneshot::channel();
    if checks.beats.send(Beat { service: name.clone(), outcome, answer }).await.is_err() {
        return said(StatusCode::SERVICE_UNAVAILABLE, "this node stops");
    }
    match heard.await {
        Ok(Heard::Taken) => said(StatusCode::OK, "ok"),
        Ok(Heard::NoHeartbeat) => {
            let service = tidy(&name);
            let remedy = "declare one with `steadfast service check add --heartbeat`";
            said(StatusCode::NOT_FOUND, format_args!("no check of the service {service:?} on this node is a heartbeat: {remedy}"))
        }
        Ok(Heard::NoService) => unknown(&name),
        Err(_) => said(StatusCode::SERVICE_UNAVAILABLE, "this node stops"),
    }
}

fn outcome(body: &[u8]) -> Result<Outcome, String> {
    let said: Said = match body.trim_ascii() {
        [] => Said::default(),
        body => serde_json::from_slice(body).map_err(|error| {
            format!("{error}: send nothing, or {{\"state\":\"warned\",\"words\":\"…\"}} with one of passed, warned and failed as the state")
        })?,
    };
    let words = || if said.words.is_empty() { "the service says so".to_owned() } else { tidy(&said.words) };
    Ok(match said.state {
        Saying::Passed => Outcome::Passed,
        Saying::Warned => Outcome::Warned(words()),
        Saying::Failed => Outcome::Failed(words()),
    })
}
