//! Watches of everything under a prefix: the live one, which loses its connections while the load runs, and those that read all of it again
//! from each node when everything is healed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use steadfast_etcd_api::proto::etcdserverpb::watch_client::WatchClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_request::RequestUnion;
use steadfast_etcd_api::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use steadfast_etcd_api::proto::mvccpb::event::EventType;
use steadfast_proof::history::Span;
use steadfast_proof::watches::{Delivery, Event, Watch};
use steadfast_types::Revision;
use tonic::Streaming;
use tonic::transport::Channel;

use super::request::version;
use crate::endpoints::Endpoint;
use crate::kv::prefix_end;

/// A node that does not take a watch by then is passed over.
const OPEN_WAIT: Duration = Duration::from_secs(1);
/// A stream on which nothing comes for so long while the load runs is left: the node may stand still.
const SILENCE: Duration = Duration::from_secs(2);
/// Between two attempts.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// All keys that begin with the prefix.
pub(super) fn span(prefix: &str) -> Span {
    Span { first: Bytes::copy_from_slice(prefix.as_bytes()), end: Some(prefix_end(prefix.as_bytes()).into()) }
}

/// A watch that reconnects until it is dropped.
pub(super) struct Watcher {
    told: Arc<Mutex<Watch>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watcher {
    /// Watches from a revision on, at any of the endpoints.
    pub(super) fn start(endpoints: &[Endpoint], prefix: &str, from: Revision) -> Self {
        let told = Arc::new(Mutex::new(Watch { span: span(prefix), from, previous: true, deliveries: Vec::new() }));
        let task = tokio::spawn(follow(endpoints.to_vec(), told.clone()));
        Watcher { told, task }
    }

    /// Everything that it was told, once it was told of a revision, or has had the time.
    pub(super) async fn finish(self, last: Revision, patience: Duration) -> Watch {
        let next = || next_revision(&self.told.lock().expect("nothing panics while it holds this"));
        let until = async {
            while next() <= last {
                tokio::time::sleep(RETRY_WAIT).await;
            }
        };
        // If it was not told, its checker says so.
        let _ = tokio::time::timeout(patience, until).await;
        self.told.lock().expect("nothing panics while it holds this").clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Everything from `from` to `last`, by one node's word alone.
pub(super) async fn read_all(endpoint: &Endpoint, prefix: &str, (from, last): (Revision, Revision)) -> Result<Watch> {
    let mut watch = Watch { span: span(prefix), from, previous: false, deliveries: Vec::new() };
    let mut stream = open(endpoint, &watch, from).await?;
    while next_revision(&watch) <= last {
        match tokio::time::timeout(Duration::from_secs(10), stream.message()).await {
            Ok(Ok(Some(response))) => take(&mut watch, response)?,
            Ok(Ok(None)) => bail!("{endpoint} closed the watch"),
            Ok(Err(status)) => bail!("{endpoint}: {}", crate::client::in_words(&status)),
            Err(_) => bail!("{endpoint} does not tell of revision {last}, which it was asked for"),
        }
    }
    Ok(watch)
}

async fn follow(endpoints: Vec<Endpoint>, told: Arc<Mutex<Watch>>) {
    for endpoint in endpoints.iter().cycle() {
        let watch = told.lock().expect("nothing panics while it holds this").clone();
        let next = next_revision(&watch);
        if let Ok(Ok(mut stream)) = tokio::time::timeout(OPEN_WAIT, open(endpoint, &watch, next)).await {
            while let Ok(Ok(Some(response))) = tokio::time::timeout(SILENCE, stream.message()).await {
                let mut told = told.lock().expect("nothing panics while it holds this");
                if take(&mut told, response).is_err() {
                    break;
                }
            }
        }
        tokio::time::sleep(RETRY_WAIT).await;
    }
}

async fn open(endpoint: &Endpoint, watch: &Watch, from: Revision) -> Result<Streaming<WatchResponse>> {
    let address = tonic::transport::Endpoint::from_shared(endpoint.url())?;
    let channel: Channel = address.connect_timeout(OPEN_WAIT).tcp_nodelay(true).connect().await?;
    let create = WatchCreateRequest {
        key: watch.span.first.clone(),
        range_end: watch.span.end.clone().unwrap_or_default(),
        start_revision: from.0,
        prev_kv: watch.previous,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The protocol keeps a watch for as long as its requests are open, hence a stream of requests that never ends.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    Ok(client.watch(requests).await?.into_inner())
}

/// The revision after the last that it was told of.
fn next_revision(watch: &Watch) -> Revision {
    let last = watch.deliveries.iter().rev().find_map(|delivery| match delivery {
        Delivery::Events(events) => events.last().map(|event| event.revision),
        Delivery::Progress(_) | Delivery::Compacted(_) => None,
    });
    last.map_or(watch.from, |last| Revision(last.0 + 1))
}

/// Notes a response. An error: the watch is over.
fn take(watch: &mut Watch, response: WatchResponse) -> Result<()> {
    if response.compact_revision > 0 {
        watch.deliveries.push(Delivery::Compacted(Revision(response.compact_revision)));
        bail!("revision {} is no longer kept: compact less while a drill runs", next_revision(watch));
    }
    if response.canceled {
        bail!("the watch was refused: {}", response.cancel_reason);
    }
    let event = |event: steadfast_etcd_api::proto::mvccpb::Event| {
        let kv = event.kv.as_ref()?;
        let value = (event.r#type() == EventType::Put).then(|| Bytes::copy_from_slice(&kv.value));
        let previous = event.prev_kv.as_ref().map(version);
        Some(Event { revision: Revision(kv.mod_revision), key: Bytes::copy_from_slice(&kv.key), value, previous })
    };
    let events: Vec<Event> = response.events.into_iter().filter_map(event).collect();
    if !events.is_empty() {
        watch.deliveries.push(Delivery::Events(events));
    }
    Ok(())
}
