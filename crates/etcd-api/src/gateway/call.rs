//! One HTTP request from its JSON to its answer's.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, Stream};
use http::{HeaderMap, Request, Response, StatusCode};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};
use tonic::client::Grpc;
use tonic::{Status, Streaming};

use super::body::{BodyError, Values};
use super::codec::Dynamic;
use super::decode::{self, Malformed};
use super::routes::{Found, Method, Streams};
use super::{encode, errors, headers};
use crate::backend::Backend;
use crate::service::EtcdService;

/// Answers a request by calling the method that its path names.
pub(crate) async fn serve<B: Backend>(service: EtcdService<B>, found: Found, request: Request<Body>) -> Response<Body> {
    let Found::Method(method) = found else { return errors::not_found() };
    if request.method() != http::Method::POST {
        return errors::wrong_method();
    }
    let (parts, body) = request.into_parts();
    let outcome = match method.streams {
        Streams::Neither => unary(service, method, &parts.headers, body).await,
        Streams::Answers | Streams::Both => streaming(service, method, &parts.headers, body).await,
    };
    outcome.unwrap_or_else(|status| errors::unary(&status))
}

/// Why a value of the body is not the request.
#[derive(Debug, thiserror::Error)]
enum BadRequest {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl BadRequest {
    /// grpc-gateway has no code for what is wrong with the first value of a stream.
    fn without_code(self) -> Status {
        Status::unknown(self.to_string())
    }
}

impl From<BadRequest> for Status {
    fn from(bad: BadRequest) -> Self {
        match bad {
            BadRequest::Body(BodyError::TooLarge) => Status::resource_exhausted(bad.to_string()),
            BadRequest::Body(BodyError::CutShort | BodyError::Connection(_)) | BadRequest::Malformed(_) => {
                Status::invalid_argument(bad.to_string())
            }
        }
    }
}

/// The next request of a body; `None` at its end.
async fn next(values: &mut Values, request: &MessageDescriptor) -> Result<Option<DynamicMessage>, BadRequest> {
    let Some(text) = values.next().await? else { return Ok(None) };
    Ok(Some(decode::message(request, &text)?))
}

fn client<B: Backend>(service: EtcdService<B>) -> Grpc<EtcdService<B>> {
    Grpc::new(service).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}

fn request<T>(headers: &HeaderMap, body: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(body);
    *request.metadata_mut() = headers::metadata(headers);
    request
}

/// A call with one request and one answer. A body that is empty is a request without fields; what follows the first value is ignored.
async fn unary<B: Backend>(service: EtcdService<B>, method: Method, headers: &HeaderMap, body: Body) -> Result<Response<Body>, Status> {
    let mut patience = Patience::new(headers::timeout(headers)?);
    let mut values = Values::new(body);
    let message = next(&mut values, &method.request).await?.unwrap_or_else(|| DynamicMessage::new(method.request.clone()));
    values.finish().await;
    let (mut client, codec) = (client(service), Dynamic(method.answer));
    let answer = patience.keep(client.unary(request(headers, message), method.path, codec)).await?.into_inner();
    let mut text = Vec::new();
    encode::message(&answer, &mut text);
    Ok(errors::answer(StatusCode::OK, text.into()))
}

/// A call with a stream of answers, and perhaps one of requests. The HTTP status waits for the first answer, or the error that comes instead.
async fn streaming<B: Backend>(service: EtcdService<B>, method: Method, headers: &HeaderMap, body: Body) -> Result<Response<Body>, Status> {
    let mut patience = Patience::new(headers::timeout(headers)?);
    let mut values = Values::new(body);
    let (mut client, codec) = (client(service), Dynamic(method.answer));
    let called = if method.streams == Streams::Both {
        let first = next(&mut values, &method.request).await.map_err(BadRequest::without_code)?;
        let requests = request(headers, requests(first, values, method.request, patience.gone.clone()));
        patience.keep(client.streaming(requests, method.path, codec)).await
    } else {
        let message = next(&mut values, &method.request).await?.unwrap_or_else(|| DynamicMessage::new(method.request.clone()));
        values.finish().await;
        patience.keep(client.server_streaming(request(headers, message), method.path, codec)).await
    };
    let mut answers = match called {
        Ok(answers) => answers.into_inner(),
        Err(status) => return Ok(failed_stream(&status)),
    };
    match patience.keep(answers.message()).await {
        Ok(None) => Ok(errors::answer(StatusCode::OK, Body::empty())),
        Ok(Some(first)) => Ok(errors::answer(StatusCode::OK, Body::from_stream(lines(first, answers, patience)))),
        Err(status) => Ok(failed_stream(&status)),
    }
}

fn failed_stream(status: &Status) -> Response<Body> {
    let (http, line) = errors::stream(status);
    errors::answer(http, line.into())
}

/// The requests of a body whose first one has been read. A later value that is none ends them, as it does in etcd: what was asked for goes on.
/// A body that fails tells `gone`: its client has ended the call.
fn requests(
    first: Option<DynamicMessage>,
    values: Values,
    descriptor: MessageDescriptor,
    gone: Arc<Notify>,
) -> impl Stream<Item = DynamicMessage> + Send {
    stream::unfold((first, values, descriptor, gone), async |(first, mut values, descriptor, gone)| {
        let message = match first {
            Some(first) => Ok(Some(first)),
            None => next(&mut values, &descriptor).await,
        };
        if let Err(BadRequest::Body(BodyError::Connection(_))) = message {
            gone.notify_one();
        }
        Some((message.ok()??, (None, values, descriptor, gone)))
    })
}

/// A line for each answer; one for the error that ends them, if one does.
fn lines(
    first: DynamicMessage,
    answers: Streaming<DynamicMessage>,
    patience: Patience,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(Some((Some(first), answers, patience)), async |state| {
        let (first, mut answers, mut patience) = state?;
        let answer = match first {
            Some(first) => Ok(Some(first)),
            None => patience.keep(answers.message()).await,
        };
        match answer {
            Ok(None) => None,
            Ok(Some(answer)) => Some((Ok(encode::line(&answer).into()), Some((None, answers, patience)))),
            Err(status) => Some((Ok(errors::stream(&status).1), None)),
        }
    })
}

/// What ends a call before its answer does.
struct Patience {
    /// The client's own timeout.
    end: Option<Pin<Box<Sleep>>>,
    /// Told when the client has gone in the middle of its body. Afterwards the connection itself says so.
    gone: Arc<Notify>,
}

impl Patience {
    fn new(timeout: Option<Duration>) -> Self {
        Patience { end: timeout.map(|timeout| Box::pin(sleep(timeout))), gone: Arc::default() }
    }

    /// What `future` comes to, if it does in time.
    async fn keep<T>(&mut self, future: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let timeout = async {
            match &mut self.end {
                Some(end) => end.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = timeout => Err(Status::deadline_exceeded("context deadline exceeded")),
            () = self.gone.notified() => Err(Status::cancelled("context canceled")),
            outcome = future => outcome,
        }
    }
}
