//! The Watch service: one stream of commands in, one stream of deliveries out, both driven by the poll of the answer's body.
//!
//! Nothing is spawned and nothing is queued here: a client that does not read its answers is not polled (HTTP/2 flow control), so neither its
//! commands nor its deliveries move, and nobody else is held up. What waits for it is bounded by the backend's queue.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use steadfast_state::command::KeySpan;
use steadfast_types::Revision;
use tonic::{Request, Response, Status, Streaming};

use crate::api::{self, Api, Learners};
use crate::backend::{Backend, Refusal, WatchCommand, WatchCommands, WatchCreate, WatchDeliveries, WatchDelivery};
use crate::fragment::Fragments;
use crate::proto::etcdserverpb as pb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use pb::watch_server::Watch;

/// The watch id of an answer that is about no watcher, or about the whole stream.
const NO_WATCHER: i64 = -1;

/// The smallest key; also, as the end of a span, "to the last key".
const ZERO: Bytes = Bytes::from_static(&[0]);

/// Deliveries that the stream makes by itself: commands refused before they reach the backend.
type Refused = Pin<Box<dyn Stream<Item = Result<WatchDelivery, Status>> + Send>>;

/// The answers of one watch stream.
pub(crate) struct WatchStream<B: Backend> {
    api: Api<B>,
    deliveries: B::WatchDeliveries,
    /// Forwards commands while it is polled; `None` once the client has closed its half.
    commands: Option<Refused>,
    /// Ready when the leader is lost, if the client wants to know.
    leader_lost: Option<Pin<Box<dyn Future<Output = Status> + Send>>>,
    /// What is left of the delivery being sent.
    fragments: Option<Fragments>,
    ended: bool,
}

impl<B: Backend> WatchStream<B> {
    fn poll_leader(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        self.leader_lost.as_mut().map_or(Poll::Pending, |lost| lost.as_mut().poll(context))
    }

    fn poll_commands(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchDelivery, Status>> {
        let Some(commands) = &mut self.commands else { return Poll::Pending };
        if let Some(refused) = ready!(commands.poll_next_unpin(context)) {
            return Poll::Ready(refused);
        }
        self.commands = None;
        Poll::Pending
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchDelivery, Status>> {
        if let Poll::Ready(status) = self.poll_leader(context) {
            return Poll::Ready(Err(status));
        }
        if let Poll::Ready(refused) = self.poll_commands(context) {
            return Poll::Ready(refused);
        }
        let delivery = ready!(self.deliveries.poll_next(context));
        Poll::Ready(delivery.ok_or_else(|| Refusal::Stopped.into()))
    }
}

impl<B: Backend> Stream for WatchStream<B> {
    type Item = Result<pb::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(response) = self.fragments.as_mut().and_then(Iterator::next) {
            return Poll::Ready(Some(Ok(response)));
        }
        self.fragments = None;
        match ready!(self.poll_delivery(context)) {
            Err(status) => {
                self.ended = true;
                Poll::Ready(Some(Err(status)))
            }
            Ok(delivery) => {
                let header = self.api.header(delivery.revision);
                let mut fragments = Fragments::new(header, delivery);
                let first = fragments.next().expect("a delivery is at least one message");
                self.fragments = Some(fragments);
                Poll::Ready(Some(Ok(first)))
            }
        }
    }
}

// Every part of it that is polled is `Unpin` or boxed.
impl<B: Backend> Unpin for WatchStream<B> {}

/// Sends the client's commands on, in order; yields an answer for each one that is refused right here.
fn forward<B: Backend>(api: Api<B>, requests: Streaming<pb::WatchRequest>, commands: B::WatchCommands) -> Refused {
    Box::pin(stream::try_unfold((api, requests, commands), async |(api, mut requests, mut commands)| {
        while let Some(request) = requests.message().await? {
            match command(request) {
                Some(WatchCommand::Create(create)) if create.keys.is_empty() => {
                    let refused = empty_range(api.backend().revision());
                    return Ok(Some((refused, (api, requests, commands))));
                }
                Some(command) => commands.send(command).await?,
                None => {}
            }
        }
        Ok(None)
    }))
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
        keys: KeySpan { key: if request.key.is_empty() { ZERO } else { request.key }, range_end: request.range_end },
    }
}

fn empty_range(revision: Revision) -> WatchDelivery {
    WatchDelivery {
        watch_id: NO_WATCHER,
        revision,
        created: true,
        canceled: Some("mvcc: watcher range is empty".into()),
        ..WatchDelivery::default()
    }
}

#[tonic::async_trait]
impl<B: Backend> Watch for Api<B> {
    type WatchStream = WatchStream<B>;

    async fn watch(&self, request: Request<Streaming<pb::WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let headers = request.metadata().as_ref();
        self.admit(headers, Learners::Refuse)?;
        let wants_leader = api::wants_leader(headers);
        let (commands, deliveries) = self.backend().watch_stream();
        Ok(Response::new(WatchStream {
            deliveries,
            leader_lost: wants_leader.then(|| Box::pin(api::leader_lost(self.backend().leader())) as _),
            commands: Some(forward(self.clone(), request.into_inner(), commands)),
            fragments: None,
            ended: false,
            api: self.clone(),
        }))
    }
}
