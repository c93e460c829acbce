//! Watch streams: commands in, deliveries out, and a client that does not read.

use std::time::Duration;

use futures::Stream;
use steadfast_etcd_api::backend::{Event, EventKind};
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_client::WatchClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_request::RequestUnion;
use steadfast_etcd_api::proto::etcdserverpb::*;
use steadfast_etcd_api::proto::mvccpb;
use steadfast_etcd_api::{DECODE_BYTES, LEADER_GRACE};
use steadfast_state::command::KeyValue;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::{connect, refused};

fn message(request: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(request) }
}

fn create(key: &'static str, range_end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.into(), range_end: range_end.into(), ..WatchCreateRequest::default() }
}

struct Client {
    send: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

fn fed() -> (mpsc::Sender<WatchRequest>, impl Stream<Item = WatchRequest> + Send + 'static) {
    let (send, receive) = mpsc::channel(4);
    (send, futures::stream::unfold(receive, async |mut receive| receive.recv().await.map(|item| (item, receive))))
}

impl Client {
    async fn open(channel: Channel) -> Self {
        let (send, requests) = fed();
        let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        Client { send, answers: client.watch(requests).await.unwrap().into_inner() }
    }

    async fn ask(&self, request: RequestUnion) {
        self.send.send(message(request)).await.unwrap();
    }

    async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        let answer = self.next().await;
        assert!(answer.created, "{answer:?}");
        answer
    }

    async fn next(&mut self) -> WatchResponse {
        self.answers.message().await.unwrap().expect("the stream goes on")
    }
}

fn large_events(count: usize, bytes: usize) -> Vec<Event> {
    let kv = |i: usize| KeyValue { key: format!("a{i}").into(), value: vec![1; bytes].into(), ..KeyValue::default() };
    (0..count).map(|i| Event { kind: EventKind::Put, kv: kv(i), prev_kv: Some(KeyValue::default()) }).collect()
}

#[tokio::test]
async fn a_watcher_is_created_told_and_cancelled() {
    let (_, channel) = connect().await;
    let mut watch = Client::open(channel.clone()).await;
    let created = watch.create(create("a", "")).await;
    assert_eq!((created.watch_id, created.canceled, created.header.unwrap().revision), (0, false, 1));
    KvClient::new(channel).put(PutRequest { key: "a".into(), value: "1".into(), ..PutRequest::default() }).await.unwrap();
    let told = watch.next().await;
    assert_eq!((told.watch_id, told.created, told.header.unwrap().revision, told.events.len()), (0, false, 2, 1));
    assert_eq!(told.events[0].r#type(), mvccpb::event::EventType::Put);
    assert_eq!(told.events[0].kv.as_ref().unwrap().value.as_ref(), b"1");

    watch.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    let progress = watch.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision, progress.events.len()), (-1, 2, 0));
    watch.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 404 })).await;
    watch.send.send(WatchRequest::default()).await.unwrap();
    watch.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 })).await;
    let cancelled = watch.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled), (0, true), "an unknown watcher and an empty request are passed over");
}

#[tokio::test]
async fn ids_are_the_clients_or_the_next_free_one() {
    let (_, channel) = connect().await;
    let mut watch = Client::open(channel).await;
    assert_eq!(watch.create(WatchCreateRequest { watch_id: 5, ..create("a", "") }).await.watch_id, 5);
    assert_eq!(watch.create(create("a", "")).await.watch_id, 0);
    let twice = watch.create(WatchCreateRequest { watch_id: 5, ..create("a", "") }).await;
    let reason = "mvcc: duplicate watch ID provided on the WatchStream";
    assert_eq!((twice.watch_id, twice.canceled, twice.cancel_reason.as_str()), (-1, true, reason));
    let empty = watch.create(create("b", "a")).await;
    assert_eq!((empty.watch_id, empty.canceled, empty.cancel_reason.as_str()), (-1, true, "mvcc: watcher range is empty"));
    assert_eq!(watch.create(create("", "\0")).await.watch_id, 1, "all keys");
}

#[tokio::test]
async fn a_client_that_has_nothing_more_to_ask_is_still_told() {
    let (fake, channel) = connect().await;
    let mut watch = Client::open(channel).await;
    watch.create(create("", "\0")).await;
    let Client { send, mut answers } = watch;
    drop(send);
    tokio::time::sleep(Duration::from_millis(20)).await;
    fake.publish(2, large_events(1, 1)).await;
    assert_eq!(answers.message().await.unwrap().unwrap().events.len(), 1);
}

#[tokio::test]
async fn large_deliveries_are_split_only_for_those_who_asked() {
    let (fake, channel) = connect().await;
    let mut watch = Client::open(channel).await;
    watch.create(create("a", "b")).await;
    watch.create(WatchCreateRequest { fragment: true, prev_kv: true, ..create("a", "b") }).await;
    fake.publish(2, large_events(5, DECODE_BYTES / 2 - 100)).await;
    let whole = watch.next().await;
    assert_eq!((whole.watch_id, whole.events.len(), whole.fragment), (0, 5, false));
    assert!(whole.events.iter().all(|event| event.prev_kv.is_none()));
    let mut keys = Vec::new();
    for (events, fragment) in [(2, true), (2, true), (1, false)] {
        let part = watch.next().await;
        assert_eq!((part.watch_id, part.events.len(), part.fragment, part.header.unwrap().revision), (1, events, fragment, 2));
        assert!(part.events.iter().all(|event| event.prev_kv.is_some()));
        keys.extend(part.events.into_iter().map(|event| event.kv.unwrap().key));
    }
    assert_eq!(keys, ["a0", "a1", "a2", "a3", "a4"].map(bytes::Bytes::from));
    fake.publish(3, large_events(1, DECODE_BYTES * 2)).await;
    let [first, second] = [watch.next().await, watch.next().await];
    assert_eq!((first.fragment, second.fragment, second.events.len()), (false, false, 1), "one event is never split");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_else() {
    let (fake, channel) = connect().await;
    let mut idle = Client::open(channel.clone()).await;
    idle.create(create("", "\0")).await;
    let mut other = Client::open(channel).await;
    other.create(create("", "\0")).await;
    for revision in 2..42 {
        fake.publish(revision, large_events(1, 1 << 20)).await;
        let told = tokio::time::timeout(Duration::from_secs(5), other.next()).await.expect("the other stream is served");
        assert_eq!(told.header.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn hasleader_ends_the_stream_when_the_leader_stays_away() {
    let (fake, channel) = connect().await;
    let (send, requests) = fed();
    let mut request = Request::new(requests);
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let mut answers = WatchClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
    send.send(message(RequestUnion::CreateRequest(create("a", "")))).await.unwrap();
    assert!(answers.message().await.unwrap().unwrap().created);
    fake.set_leader(None);
    let mut unconcerned = Client::open(channel.clone()).await;
    unconcerned.create(create("a", "")).await;
    let lost = tokio::time::timeout(LEADER_GRACE * 2, answers.message()).await.expect("within the grace");
    assert_eq!(refused(&lost.unwrap_err()), (Code::Unavailable, "etcdserver: no leader"));

    let (_send, requests) = fed();
    let mut request = Request::new(requests);
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let refusal = WatchClient::new(channel).watch(request).await.unwrap_err();
    assert_eq!(refused(&refusal), (Code::Unavailable, "etcdserver: no leader"));
}
