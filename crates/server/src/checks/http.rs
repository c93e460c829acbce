//! Checks by HTTP: one GET on a connection of its own; the status decides.
//!
//! Redirects are not followed: 3xx is a status like others. The body is not read if the check passes; else its beginning is kept as what the service
//! had to say. With `https://` any certificate will do: the check asks whether the service answers, not who it is.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use axum::http::uri::Scheme;
use axum::http::{Request, Response, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use steadfast_health::checks::tally::Outcome;
use steadfast_health::limits::DETAIL_BYTES;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::dial::{Dialler, root_cause};
use super::progress::Progress;
use crate::tls;

/// Bytes of an answer's head. Longer ones are refused.
const HEAD_BYTES: usize = 64 * 1024;

/// How to ask, and what is to be answered.
pub(super) struct Question<'a> {
    pub(super) url: &'a str,
    pub(super) least_status: u32,
    pub(super) most_status: u32,
    /// How long all of it may take: so long the body of a failure is waited for, nearly.
    pub(super) timeout: Duration,
}

/// Asks once.
pub(super) async fn probe(dialler: &Dialler, tls: &Arc<ClientConfig>, question: Question<'_>, progress: &Progress) -> Outcome {
    match ask(dialler, tls, &question, progress).await {
        Ok(outcome) => outcome,
        Err(words) => Outcome::Failed(words),
    }
}

async fn ask(dialler: &Dialler, tls: &Arc<ClientConfig>, question: &Question<'_>, progress: &Progress) -> Result<Outcome, String> {
    let body_until = Instant::now() + question.timeout * 9 / 10;
    let uri: Uri = question.url.parse().map_err(|error| format!("the URL can't be used: {error}"))?;
    let host = uri.host().ok_or("the URL names no host")?;
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }));
    let stream = dialler.connect(&address, progress).await?;
    let request = request(&uri)?;
    if !is_tls {
        return exchange(stream, request, question, body_until, progress).await;
    }
    progress.waits_for("the TLS handshake");
    let stream = tls::dial(tls.clone(), &address, stream).await.map_err(|error| format!("TLS: {}", root_cause(&error)))?;
    exchange(stream, request, question, body_until, progress).await
}

fn request(uri: &Uri) -> Result<Request<Body>, String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("steadfast/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Body::empty())
        .map_err(|error| format!("the URL can't be used: {error}"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Body>,
    question: &Question<'_>,
    body_until: Instant,
    progress: &Progress,
) -> Result<Outcome, String> {
    let builder_failed = |error: hyper::Error| root_cause(&error);
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await.map_err(builder_failed)?;
    // What the connection has to say of its end the answer says too.
    let drive = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    progress.waits_for("the head of an answer");
    let conversation = async {
        let answer = sender.send_request(request).await.map_err(|error| root_cause(&error))?;
        Ok(judge(answer, question, body_until).await)
    };
    tokio::select! {
        outcome = conversation => outcome,
        never = drive => match never {},
    }
}

async fn judge(answer: Response<Incoming>, question: &Question<'_>, body_until: Instant) -> Outcome {
    let status = answer.status();
    if (question.least_status..=question.most_status).contains(&u32::from(status.as_u16())) {
        return Outcome::Passed;
    }
    let location = answer.headers().get(LOCATION).map(|place| String::from_utf8_lossy(place.as_bytes()).into_owned());
    let body = beginning(answer.into_body(), body_until).await;
    let redirect =
        location.filter(|_| status.is_redirection()).map_or_else(String::new, |place| format!(", to {place}, which is not followed"));
    let said = if body.is_empty() { String::new() } else { format!(": {body}") };
    Outcome::Failed(format!("status {}{redirect}{said}", status.as_u16()))
}

/// The first of a body, as much of it as comes in time.
async fn beginning(mut body: Incoming, until: Instant) -> String {
    let mut text = Vec::new();
    while text.len() < DETAIL_BYTES {
        match timeout_at(until, poll_fn(|context| Pin::new(&mut body).poll_frame(context))).await {
            Ok(Some(Ok(frame))) => {
                let piece = frame.into_data().unwrap_or_default();
                text.extend_from_slice(&piece[..piece.len().min(DETAIL_BYTES)]);
            }
            // It has ended, or broken off, or takes too long.
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
