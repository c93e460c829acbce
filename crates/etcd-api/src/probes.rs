//! What load balancers, orchestrators and clients ask over plain HTTP: `/version`, and whether this member is well.
//!
//! | path | says |
//! | --- | --- |
//! | `/version` | which etcd is spoken, in JSON |
//! | `/health` | `{"health":"true","reason":""}` if no alarm is raised, there is a leader and a linearizable read succeeds; with `?serializable=true` a local read is enough, with `?exclude=NOSPACE` (or `CORRUPT`) these alarms do not count |
//! | `/livez` | `ok` if this member can read its state |
//! | `/readyz` | `ok` if it can serve its clients: it votes, and reads of both kinds succeed |
//!
//! The last two are etcd's of 3.6 (and 3.5.11 on): `?verbose` names every check, `?exclude=NAME` leaves one out, and each has a path of its own,
//! as `/readyz/linearizable_read`.
//!
//! As in etcd, every member is unhealthy while any lacks space. But that one member is corrupt, and being repaired, is a matter of that member,
//! unless all writes are refused for it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use steadfast_state::alarm::{Alarm, AlarmKind};
use steadfast_state::command::{KeySpan, Range};

use crate::alarms;
use crate::api::Api;
use crate::backend::Backend;
use crate::errors;
use crate::maintenance::ETCD_VERSION;

const TEXT: &str = "text/plain; charset=utf-8";

/// The routes, and the answer to paths that are none.
pub(crate) fn routes<B: Backend>(api: &Api<B>) -> Router {
    let checks = |name: &'static str, checks: &'static [Check]| {
        let probe = |checks| any(probe::<B>).with_state((api.clone(), checks));
        let single = Router::new();
        let single =
            checks.iter().fold(single, |router, check| router.route(&format!("/{name}/{}", check.name()), probe(Arc::from([*check]))));
        single.route(&format!("/{name}"), probe(Arc::from(checks)))
    };
    Router::new()
        .route("/version", any(version))
        .route("/health", any(health::<B>).with_state(api.clone()))
        .merge(checks("livez", &[Check::SerializableRead]))
        .merge(checks("readyz", &[Check::SerializableRead, Check::LinearizableRead, Check::NonLearner]))
        .fallback(|| async { text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()) })
}

fn text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], text).into_response()
}

/// An answer to whatever is not GET.
fn not_get<R>(request: &Request<R>) -> Option<Response> {
    let refusal = || (StatusCode::METHOD_NOT_ALLOWED, [(header::CONTENT_TYPE, TEXT), (header::ALLOW, "GET")], "Method Not Allowed\n");
    (request.method() != Method::GET).then(|| refusal().into_response())
}

/// The values of a parameter in a query; none of the names that matter here needs percent-encoding.
fn values<'a, R>(request: &'a Request<R>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

async fn version(request: Request<axum::body::Body>) -> Response {
    let body = || format!("{{\"etcdserver\":\"{ETCD_VERSION}\",\"etcdcluster\":\"{ETCD_VERSION}\"}}");
    not_get(&request).unwrap_or_else(|| ([(header::CONTENT_TYPE, "application/json")], body()).into_response())
}

async fn health<B: Backend>(State(api): State<Api<B>>, request: Request<axum::body::Body>) -> Response {
    if let Some(refusal) = not_get(&request) {
        return refusal;
    }
    let local = values(&request, "serializable").next() == Some("true");
    let excluded: Vec<&str> = values(&request, "exclude").collect();
    match api.unhealthy(local, &excluded).await {
        None => text(StatusCode::OK, health_text(true, "")),
        // etcd ends this one, and only this one, with a new line.
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, health_text(false, &reason) + "\n"),
    }
}

fn health_text(healthy: bool, reason: &str) -> String {
    let reason = serde_json::to_string(reason).expect("text is JSON");
    format!("{{\"health\":\"{healthy}\",\"reason\":{reason}}}")
}

/// Something that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// This member reads its state.
    SerializableRead,
    /// A quorum confirms a read.
    LinearizableRead,
    /// It is not a learner.
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }
}

type Probe<B> = (Api<B>, Arc<[Check]>);

async fn probe<B: Backend>(State((api, checks)): State<Probe<B>>, request: Request<axum::body::Body>) -> Response {
    if let Some(refusal) = not_get(&request) {
        return refusal;
    }
    let excluded: Vec<&str> = values(&request, "exclude").collect();
    let verbose = values(&request, "verbose").next().is_some();
    let (mut lines, mut well) = (String::new(), true);
    for check in checks.iter().filter(|check| !excluded.contains(&check.name())) {
        lines += &match api.check(*check).await {
            Ok(()) => format!("[+]{} ok\n", check.name()),
            Err(problem) => {
                well = false;
                format!("[-]{} failed: {problem}\n", check.name())
            }
        };
    }
    match (well, verbose) {
        (true, true) => text(StatusCode::OK, lines + "ok\n"),
        (true, false) => text(StatusCode::OK, "ok\n".to_owned()),
        (false, _) => text(StatusCode::SERVICE_UNAVAILABLE, lines + "\n"),
    }
}

impl<B: Backend> Api<B> {
    /// What keeps this member from being healthy, in etcd's words.
    async fn unhealthy(&self, local: bool, excluded: &[&str]) -> Option<String> {
        if let Some(alarm) = self.alarm_here(excluded) {
            return Some(format!("ALARM {alarm}"));
        }
        if !local && self.backend().leader().borrow().is_none() {
            return Some("RAFT NO LEADER".to_owned());
        }
        let read = if local { Check::SerializableRead } else { Check::LinearizableRead };
        self.check(read).await.err().map(|error| format!("RANGE ERROR:{error}"))
    }

    /// An alarm that keeps this member from being healthy.
    fn alarm_here(&self, excluded: &[&str]) -> Option<&'static str> {
        // While the state can't be read, the check of a read says so.
        let alarms = self.backend().alarms().ok()?;
        let me = self.backend().identity().member;
        let counts = |alarm: &&Alarm| alarm.kind == AlarmKind::NoSpace || alarm.member == me || alarms.stop_the_cluster;
        alarms.all.iter().filter(counts).map(|alarm| alarms::name(alarm.kind)).find(|name| !excluded.contains(name))
    }

    /// What is wrong, if `check` does not hold.
    async fn check(&self, check: Check) -> Result<(), String> {
        match check {
            Check::SerializableRead => self.read_one(),
            Check::LinearizableRead => {
                self.backend().linearize().await.map_err(|refusal| errors::status_text(refusal.into()))?;
                self.read_one()
            }
            Check::NonLearner => self.refuse_learner().map_err(errors::status_text),
        }
    }

    /// Reads the smallest key there can be.
    fn read_one(&self) -> Result<(), String> {
        let keys = KeySpan { key: Bytes::from_static(&[0]), range_end: Bytes::new() };
        self.backend().range(&Range { keys, ..Range::default() }).map(drop).map_err(|error| errors::status_text(errors::command(error)))
    }
}
