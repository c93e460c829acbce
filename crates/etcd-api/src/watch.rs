//! The Watch service: one stream of commands in, one stream of deliveries out, both driven by the poll of the answer's body.
//!
//! Nothing is spawned and nothing is queued here: a client that does not read its answers is not polled (HTTP/2 flow control), so neither its
//! commands nor its deliveries move, and nobody else is held up. What waits for it is bounded by the backend's queue.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use http_body::Body;
use steadfast_state::command::KeySpan;
use steadfast_types::Revision;
use tonic::codegen::StdError as BoxError;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::api::{self, Api, Learners};
use crate::auth::Credentials;
use crate::backend::{Asker, Backend, Refusal, WatchCommand, WatchCommands, WatchCreate, WatchDeliveries, WatchDelivery};
use crate::body::ResponseBody;
use crate::proto::etcdserverpb as pb;
use crate::service::DECODE_BYTES;
use crate::watch_message::{Messages, WatchCodec, WatchMessage};
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// The smallest key.
const ZERO: Bytes = Bytes::from_static(&[0]);

/// Boxed work that the stream's poll drives.
type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The answers of one watch stream.
pub(crate) struct WatchStream<B: Backend> {
    api: Api<B>,
    deliveries: B::WatchDeliveries,
    /// Forwards commands while it is polled; `None` once the client has closed its half.
    commands: Option<Task<Result<(), Status>>>,
    /// Ready when the leader is lost, if the client wants to know.
    leader_lost: Option<Task<Status>>,
    /// What is left of the delivery being sent.
    messages: Option<Messages>,
    ended: bool,
}

impl<B: Backend> WatchStream<B> {
    /// Moves commands on; ready only when the client's half has failed.
    fn poll_commands(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let Some(commands) = &mut self.commands else { return Poll::Pending };
        match ready!(commands.as_mut().poll(context)) {
            Err(status) => Poll::Ready(status),
            Ok(()) => {
                self.commands = None;
                Poll::Pending
            }
        }
    }

    fn poll_leader(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        self.leader_lost.as_mut().map_or(Poll::Pending, |lost| lost.as_mut().poll(context))
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchDelivery, Status>> {
        if let Poll::Ready(status) = self.poll_leader(context) {
            return Poll::Ready(Err(status));
        }
        if let Poll::Ready(status) = self.poll_commands(context) {
            return Poll::Ready(Err(status));
        }
        let delivery = ready!(self.deliveries.poll_next(context));
        Poll::Ready(delivery.ok_or_else(|| Refusal::Stopped.into()))
    }
}

impl<B: Backend> Stream for WatchStream<B> {
    type Item = Result<WatchMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.messages.is_none() {
            match ready!(self.poll_delivery(context)) {
                Ok(delivery) => self.messages = Some(Messages::new(self.api.header(delivery.revision), delivery)),
                Err(status) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
            }
        }
        let messages = self.messages.as_mut().expect("there is a delivery to send");
        let response = messages.next();
        // An idle stream holds on to no events.
        if messages.is_finished() {
            self.messages = None;
        }
        Poll::Ready(response.map(Ok))
    }
}

// Every part of it that is polled is `Unpin` or boxed.
impl<B: Backend> Unpin for WatchStream<B> {}

/// Sends the client's commands on, in order, until it closes its half. Who it is is asked for each watcher: tokens end.
async fn forward<B: Backend>(
    api: Api<B>,
    who: Credentials,
    mut requests: Streaming<pb::WatchRequest>,
    mut commands: impl WatchCommands,
) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let Some(mut command) = command(request) else { continue };
        if let WatchCommand::Create(create) = &mut command {
            create.asker = api.asker(&who).await;
        }
        commands.send(command).await?;
    }
    Ok(())
}

/// The command of a request; a request that says nothing (or something of a later version) is passed over, as etcd does.
fn command(request: pb::WatchRequest) -> Option<WatchCommand> {
    match request.request_union? {
        RequestUnion::CreateRequest(request) => Some(WatchCommand::Create(create(request))),
        RequestUnion::CancelRequest(request) => Some(WatchCommand::Cancel { watch_id: request.watch_id }),
        RequestUnion::ProgressRequest(_) => Some(WatchCommand::Progress),
    }
}

fn create(request: pb::WatchCreateRequest) -> WatchCreate {
    let filters = |filter: FilterType| request.filters.contains(&filter.into());
    WatchCreate {
        watch_id: (request.watch_id != 0).then_some(request.watch_id),
        start_revision: Revision(request.start_revision),
        prev_kv: request.prev_kv,
        no_put: filters(FilterType::Noput),
        no_delete: filters(FilterType::Nodelete),
        fragment: request.fragment,
        progress_notify: request.progress_notify,
        asker: Asker::Nobody,
        keys: KeySpan { key: if request.key.is_empty() { ZERO } else { request.key }, range_end: request.range_end },
    }
}

/// Opens a stream.
async fn open<B: Backend>(api: Api<B>, request: Request<Streaming<pb::WatchRequest>>) -> Result<Response<WatchStream<B>>, Status> {
    let headers = request.metadata().as_ref();
    api.admit(headers, Learners::Refuse)?;
    let wants_leader = api::wants_leader(headers);
    let who = Credentials::of(&request);
    let (commands, deliveries) = api.backend().watch_stream();
    Ok(Response::new(WatchStream {
        deliveries,
        leader_lost: wants_leader.then(|| Box::pin(api::leader_lost(api.backend().leader())) as _),
        commands: Some(Box::pin(forward(api.clone(), who, request.into_inner(), commands))),
        messages: None,
        ended: false,
        api,
    }))
}

/// The call, as `tonic` wants it.
struct Call<B>(Api<B>);

impl<B: Backend> StreamingService<pb::WatchRequest> for Call<B> {
    type Response = WatchMessage;
    type ResponseStream = WatchStream<B>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<WatchStream<B>>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        Box::pin(open(self.0.clone(), request))
    }
}

/// Serves a call of the Watch service.
pub(crate) async fn serve<B: Backend, R>(api: Api<B>, request: http::Request<R>) -> http::Response<ResponseBody>
where
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let mut grpc = Grpc::new(WatchCodec).apply_max_message_size_config(Some(DECODE_BYTES), Some(usize::MAX));
    grpc.streaming(Call(api), request.map(tonic::body::Body::new)).await.map(ResponseBody::other)
}
