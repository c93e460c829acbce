//! A server that is asked, and its answers in a form that can be compared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pb::kv_client::KvClient;
use pb::range_request::SortTarget;
use pb::request_op::Request as RequestOp;
use pb::response_op::Response as ResponseOp;
use prost::Message as _;
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::mvccpb::{Event, KeyValue, event::EventType};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::auth::{self, Named, Tokens, Who};
use crate::request::Request;

/// An answer without what each server chooses by itself: ids, terms, times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Done, and something was changed or returned.
    Data,
    /// Done, and there was nothing to change or return.
    Nothing,
    /// Refused.
    Error,
}

/// What a watcher was told. Where responses begin and end is the server's choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) created: bool,
    /// The revision of the first response.
    pub(crate) revision: i64,
    pub(crate) canceled: Option<(i64, String)>,
    pub(crate) events: Vec<Event>,
}

/// By watch id.
pub(crate) type Transcript = BTreeMap<i64, Told>;

/// The watcher of everything.
pub(crate) const WITNESS: i64 = 1_000_000;

/// All that a watch stream has brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// Watchers created or refused so far.
    pub(crate) created: usize,
    /// The id of the last of them; -1: refused.
    pub(crate) last: i64,
    pub(crate) told: Transcript,
}

#[derive(Default)]
struct Heard {
    stream: Mutex<Stream>,
    changed: Notify,
}

pub(crate) struct Server {
    channel: Channel,
    watch: mpsc::Sender<pb::WatchRequest>,
    heard: Arc<Heard>,
    /// Whether it has RangeStream, which must say what Range says.
    has_streams: bool,
    /// The revision before the episode.
    pub(crate) base: i64,
    /// The newest revision that an answer told.
    pub(crate) revision: i64,
    pub(crate) tokens: Tokens,
}

fn everything() -> (bytes::Bytes, bytes::Bytes) {
    (vec![0].into(), vec![0].into())
}

/// The answers of RangeStream merged, and how many there were.
pub(crate) async fn streamed(client: &mut KvClient<Named>, range: pb::RangeRequest) -> Result<(pb::RangeResponse, usize), Status> {
    let mut pieces = client.range_stream(range).await?.into_inner();
    let (mut merged, mut count) = (pb::RangeResponse::default(), 0);
    while let Some(piece) = pieces.message().await? {
        let piece = piece.range_response.expect("a range's answer");
        merged.merge(&piece.encode_to_vec()[..]).expect("its own encoding");
        count += 1;
    }
    Ok((merged, count))
}

impl Server {
    pub(crate) async fn connect(endpoint: &str) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).expect("a URL").connect_timeout(Duration::from_secs(20));
        endpoint.connect().await.expect("a connection")
    }

    /// The newest revision; after writing until it is `at_least` so much.
    pub(crate) async fn revision(channel: &Channel, at_least: i64) -> i64 {
        let mut kv = pb::kv_client::KvClient::new(channel.clone());
        let mut revision = 0;
        let read = pb::RangeRequest { key: "a".into(), ..pb::RangeRequest::default() };
        while revision < at_least.max(1) {
            if revision > 0 {
                kv.put(pb::PutRequest { key: "a".into(), ..pb::PutRequest::default() }).await.expect("written");
            }
            revision = kv.range(read.clone()).await.expect("read").into_inner().header.expect("a header").revision;
        }
        revision
    }

    /// A server without keys and leases.
    pub(crate) async fn begin(channel: Channel, has_streams: bool) -> Self {
        let (key, range_end) = everything();
        let mut leases = pb::lease_client::LeaseClient::new(channel.clone());
        for lease in leases.lease_leases(pb::LeaseLeasesRequest {}).await.expect("leases").into_inner().leases {
            leases.lease_revoke(pb::LeaseRevokeRequest { id: lease.id }).await.expect("revoked");
        }
        let mut kv = pb::kv_client::KvClient::new(channel.clone());
        // One revision at least, so that what the episode asks for is never compacted before.
        kv.put(pb::PutRequest { key: "a".into(), ..pb::PutRequest::default() }).await.expect("written");
        let delete = pb::DeleteRangeRequest { key, range_end, prev_kv: false };
        let base = kv.delete_range(delete).await.expect("deleted").into_inner().header.expect("a header").revision;
        let (watch, requests) = mpsc::channel(16);
        let mut client = pb::watch_client::WatchClient::new(channel.clone());
        let stream = client.watch(ReceiverStream::new(requests));
        let heard = Arc::new(Heard::default());
        let mut server = Server { channel, watch, heard, has_streams, base, revision: base, tokens: Tokens::new() };
        let (key, range_end) = everything();
        let witness =
            pb::WatchCreateRequest { key, range_end, start_revision: base + 1, watch_id: WITNESS, ..pb::WatchCreateRequest::default() };
        // etcd answers a new stream with its first message only.
        let (stream, _) = tokio::join!(stream, server.create(witness.clone()));
        tokio::spawn(listen(stream.expect("a watch stream").into_inner(), server.heard.clone()));
        server.until(|stream| stream.created == 1).await.expect("a witness");
        server
    }

    /// A range; as a stream, if the server has that, every other time.
    async fn range(&mut self, mut client: KvClient<Named>, range: pb::RangeRequest) -> Result<tonic::Response<pb::RangeResponse>, Status> {
        let is_in_order = range.sort_order != pb::range_request::SortOrder::Descend as i32 && range.sort_target == SortTarget::Key as i32;
        if !self.has_streams || !is_in_order || self.revision % 2 == 0 {
            return client.range(range).await;
        }
        streamed(&mut client, range).await.map(|(merged, _)| tonic::Response::new(merged))
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Answer {
        let (who, request) = match request {
            Request::By(who, request) => (who, *request),
            request => (Who::Nobody, request),
        };
        let channel = auth::named(&self.channel, &who, &self.tokens);
        match request.from(self.base) {
            Request::By(..) => unreachable!("nobody asks in the name of two"),
            Request::Auth(request) => self.ask_auth(channel, request).await,
            Request::TryWatch(create) => try_watch(channel, create).await,
            Request::Range(range) => {
                let mut answer = self.range(pb::kv_client::KvClient::new(channel), range.clone()).await;
                answer.iter_mut().for_each(|answer| order_ties(&range, answer.get_mut()));
                self.told(answer, |r| &mut r.header, |r| r.count > 0)
            }
            Request::Put(put) => {
                let answer = pb::kv_client::KvClient::new(channel).put(put).await;
                self.told(answer, |r| &mut r.header, |_| true)
            }
            Request::DeleteRange(delete) => {
                let answer = pb::kv_client::KvClient::new(channel).delete_range(delete).await;
                self.told(answer, |r| &mut r.header, |r| r.deleted > 0)
            }
            Request::Txn(txn) => {
                let mut answer = pb::kv_client::KvClient::new(channel).txn(txn.clone()).await;
                answer.iter_mut().for_each(|answer| order_ties_within(&txn, answer.get_mut()));
                self.told(answer, |r| &mut r.header, |r| !r.responses.is_empty())
            }
            Request::Compact(compact) => {
                let answer = pb::kv_client::KvClient::new(channel).compact(compact).await;
                self.told(answer, |r| &mut r.header, |_| true)
            }
            Request::Grant(grant) => {
                let answer = pb::lease_client::LeaseClient::new(channel).lease_grant(grant).await;
                self.told(answer, |r| &mut r.header, |_| true)
            }
            Request::Revoke(revoke) => {
                let answer = pb::lease_client::LeaseClient::new(channel).lease_revoke(revoke).await;
                self.told(answer, |r| &mut r.header, |_| true)
            }
            Request::KeepAlive(keep) => {
                let stream = pb::lease_client::LeaseClient::new(channel).lease_keep_alive(tokio_stream::once(keep)).await;
                let answer = match stream {
                    Ok(mut stream) => stream.get_mut().message().await.map(|answer| tonic::Response::new(answer.expect("an answer"))),
                    Err(status) => Err(status),
                };
                self.told(answer, |r| &mut r.header, |r| r.ttl > 0)
            }
            Request::TimeToLive(ask) => {
                let mut answer = pb::lease_client::LeaseClient::new(channel).lease_time_to_live(ask).await;
                if let Ok(answer) = &mut answer {
                    let answer = answer.get_mut();
                    answer.ttl = answer.ttl.min(1);
                    answer.keys.sort();
                }
                self.told(answer, |r| &mut r.header, |r| r.granted_ttl > 0)
            }
            Request::Leases(leases) => {
                let mut answer = pb::lease_client::LeaseClient::new(channel).lease_leases(leases).await;
                if let Ok(answer) = &mut answer {
                    answer.get_mut().leases.sort_by_key(|lease| lease.id);
                }
                self.told(answer, |r| &mut r.header, |r| !r.leases.is_empty())
            }
            Request::Watch(create) => {
                let before = self.heard().created;
                self.create(create).await;
                let answer = self.until(|stream| stream.created > before).await;
                let heard = self.heard();
                // One that was created may hear at once that it comes too late, or soon.
                let told = heard.told.get(&heard.last).map(|told| (told.revision, told.canceled.as_ref().filter(|_| heard.last < 0)));
                Answer { text: format!("{answer:?} {} {told:?}", heard.last), kind: if heard.last < 0 { Kind::Error } else { Kind::Data } }
            }
            Request::Unwatch(cancel) => {
                let id = cancel.watch_id;
                let lives = self.heard().told.get(&id).is_some_and(|told| told.canceled.is_none());
                let request = pb::watch_request::RequestUnion::CancelRequest(cancel);
                self.watch.send(pb::WatchRequest { request_union: Some(request) }).await.expect("the stream is open");
                // One that is not there is not answered.
                let answer = self.until(|stream| !lives || stream.told[&id].canceled.is_some()).await;
                Answer { text: format!("{answer:?}"), kind: if lives { Kind::Data } else { Kind::Nothing } }
            }
        }
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) {
        let request = pb::watch_request::RequestUnion::CreateRequest(create);
        self.watch.send(pb::WatchRequest { request_union: Some(request) }).await.expect("the stream is open");
    }

    /// What the watchers have been told so far.
    pub(crate) fn heard(&self) -> Stream {
        self.heard.stream.lock().expect("no panic").clone()
    }

    /// Waits until so much has been heard; gives up after a long while.
    pub(crate) async fn until(&self, is_enough: impl Fn(&Stream) -> bool) -> Result<(), &'static str> {
        let wait = async {
            loop {
                let changed = self.heard.changed.notified();
                if is_enough(&self.heard.stream.lock().expect("no panic")) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.map_err(|_| "nothing more was heard")
    }

    pub(crate) fn told<T: std::fmt::Debug>(
        &mut self,
        answer: Result<tonic::Response<T>, Status>,
        header: fn(&mut T) -> &mut Option<pb::ResponseHeader>,
        is_data: impl Fn(&T) -> bool,
    ) -> Answer {
        match answer {
            Ok(answer) => {
                let mut answer = answer.into_inner();
                let kind = if is_data(&answer) { Kind::Data } else { Kind::Nothing };
                if let Some(header) = header(&mut answer) {
                    self.revision = self.revision.max(header.revision);
                    (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
                }
                Answer { text: format!("{answer:?}"), kind }
            }
            Err(status) => Answer { text: format!("{:?}: {}", status.code(), status.message()), kind: Kind::Error },
        }
    }
}

/// Opens a watch and ends it again.
async fn try_watch(channel: Named, create: pb::WatchCreateRequest) -> Answer {
    let request = pb::watch_request::RequestUnion::CreateRequest(create);
    let (requests, sent) = mpsc::channel(1);
    requests.send(pb::WatchRequest { request_union: Some(request) }).await.expect("there is room");
    let told = async {
        let mut stream = pb::watch_client::WatchClient::new(channel).watch(ReceiverStream::new(sent)).await?.into_inner();
        let first = stream.message().await?;
        // One that is refused may be created first, and then cancelled.
        Ok::<_, Status>(first.map(|first| (first.created, first.canceled, first.cancel_reason)))
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), told).await.map_err(|_| "nothing was heard");
    drop(requests);
    let kind = if matches!(answer, Ok(Ok(Some((true, false, _))))) { Kind::Data } else { Kind::Error };
    let text = match answer {
        Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
        answer => format!("{answer:?}"),
    };
    Answer { text, kind }
}

async fn listen(mut stream: Streaming<pb::WatchResponse>, heard: Arc<Heard>) {
    while let Ok(Some(response)) = stream.message().await {
        {
            let mut stream = heard.stream.lock().expect("no panic");
            if response.created {
                (stream.created, stream.last) = (stream.created + 1, response.watch_id);
            }
            let told = stream.told.entry(response.watch_id).or_default();
            if response.created {
                // An id that was used before begins again.
                *told = Told { created: true, revision: response.header.map_or(0, |header| header.revision), ..Told::default() };
            }
            if response.canceled {
                // etcd confirms the cancel of a watcher that has ended by itself.
                told.canceled.get_or_insert((response.compact_revision, response.cancel_reason));
            }
            told.events.extend(response.events);
        }
        heard.changed.notify_waiters();
    }
}

/// Keys that are equal in what they are sorted by come in any order: by key from here on.
fn order_ties(range: &pb::RangeRequest, answer: &mut pb::RangeResponse) {
    let is_tie = |a: &KeyValue, b: &KeyValue| match range.sort_target() {
        SortTarget::Key => false,
        SortTarget::Version => a.version == b.version,
        SortTarget::Create => a.create_revision == b.create_revision,
        SortTarget::Mod => a.mod_revision == b.mod_revision,
        SortTarget::Value => a.value == b.value,
    };
    answer.kvs.chunk_by_mut(is_tie).for_each(|tie| tie.sort_by(|a, b| a.key.cmp(&b.key)));
}

fn order_ties_within(txn: &pb::TxnRequest, answer: &mut pb::TxnResponse) {
    let chosen = if answer.succeeded { &txn.success } else { &txn.failure };
    for (op, answer) in chosen.iter().zip(&mut answer.responses) {
        match (&op.request, &mut answer.response) {
            (Some(RequestOp::RequestRange(range)), Some(ResponseOp::ResponseRange(answer))) => order_ties(range, answer),
            (Some(RequestOp::RequestTxn(txn)), Some(ResponseOp::ResponseTxn(answer))) => order_ties_within(txn, answer),
            _ => {}
        }
    }
}

/// Whether a watcher is told of an event.
pub(crate) fn concerns(watch: &pb::WatchCreateRequest, event: &Event) -> bool {
    let Some(kv) = &event.kv else { return false };
    let key: &[u8] = if watch.key.is_empty() { &[0] } else { &watch.key };
    let is_within = match &watch.range_end[..] {
        [] => kv.key == key,
        [0] => kv.key >= key,
        end => kv.key >= key && kv.key < end,
    };
    let no_put = pb::watch_create_request::FilterType::Noput as i32;
    let filter = if event.r#type() == EventType::Put { no_put } else { 1 - no_put };
    is_within && !watch.filters.contains(&filter)
}
