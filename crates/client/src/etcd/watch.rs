//! A watch over the etcd API that outlives its connections.
//!
//! Invariant: `next` is the first revision that has not been told whole. A new connection watches from there; whatever comes of an earlier one is
//! dropped. So nothing is told twice and nothing is left out, whatever breaks in between.
//!
//! The API's messages hold several revisions, and a large one comes in fragments, which may end in the middle of a revision: the last revision
//! of a fragment is held back until it is known to be whole.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::time::Duration;

use steadfast_coordination::limits::CHANGES_BYTES;
use steadfast_coordination::{Change, Changes, Key, Keys, Watch, WatchError};
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::etcdserverpb::watch_client::WatchClient;
use steadfast_etcd_api::proto::mvccpb::Event;
use steadfast_etcd_api::proto::mvccpb::event::EventType;
use steadfast_types::Revision;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tonic::Streaming;

use super::calls::RETRY_WAIT;
use super::judge::{Verdict, judge};
use super::messages::record;
use super::{ANSWER_BYTES, Etcd};
use crate::endpoint::Endpoint;

use pb::watch_request::RequestUnion;

/// A watch over the etcd API. It asks through a connection of its own.
pub struct EtcdWatch {
    etcd: Etcd,
    keys: Keys,
    next: Revision,
    stage: Stage,
    /// The node that failed last.
    avoided: Option<Endpoint>,
    /// Whether the last attempt failed: then the next one waits.
    has_failed: bool,
    received: Received,
    over: Option<WatchError>,
}

/// How far the asking is. It lives in the watch and not in [`Watch::next`], so that waits that are dropped time and again do not begin it anew.
enum Stage {
    /// To be opened.
    Closed,
    Opening(Pin<Box<dyn Future<Output = Result<Box<Opened>, Verdict>> + Send>>),
    Open(Box<Opened>),
}

/// A stream, and the node that it comes from.
struct Opened {
    endpoint: Endpoint,
    responses: Streaming<pb::WatchResponse>,
}

/// What was received and not yet told.
#[derive(Default)]
struct Received {
    /// Whole revisions, in order.
    whole: VecDeque<Changes>,
    /// Of a revision that may go on, and the bytes of that.
    part: Option<Changes>,
    part_bytes: usize,
}

impl EtcdWatch {
    pub(super) fn new(etcd: Etcd, keys: Keys, from: Revision) -> Self {
        let next = from.max(Revision(1));
        EtcdWatch { etcd, keys, next, stage: Stage::Closed, avoided: None, has_failed: false, received: Received::default(), over: None }
    }

    /// The watch is over, once what was received is told.
    fn end(&mut self, error: WatchError) {
        self.stage = Stage::Closed;
        self.over = Some(error);
    }

    /// The stream is no good: another one must do, of another node if there is one.
    fn give_up(&mut self) {
        if let Stage::Open(opened) = mem::replace(&mut self.stage, Stage::Closed) {
            self.avoided = Some(opened.endpoint);
        }
        self.received = Received::default();
        self.has_failed = true;
    }

    fn request(&self) -> pb::WatchRequest {
        let (key, range_end) = self.keys.bounds();
        let create = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.next.0,
            progress_notify: true,
            fragment: true,
            ..pb::WatchCreateRequest::default()
        };
        pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    }

    /// Goes on by one message, or with opening the stream.
    async fn step(&mut self) {
        match &mut self.stage {
            Stage::Closed => {
                let wait = if self.has_failed { RETRY_WAIT } else { Duration::ZERO };
                self.stage = Stage::Opening(Box::pin(open(self.etcd.clone(), self.avoided.clone(), self.request(), wait)));
            }
            Stage::Opening(opening) => match opening.await {
                Ok(opened) => self.stage = Stage::Open(opened),
                Err(verdict) => self.heed(verdict),
            },
            Stage::Open(opened) => match opened.responses.message().await {
                Ok(Some(response)) => self.take(response),
                Ok(None) => self.heed(Verdict::Lost("the node closed the stream".into())),
                Err(status) => self.heed(judge(&status)),
            },
        }
    }

    fn heed(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Final(error) => self.end(WatchError::Ended(error.to_string())),
            Verdict::NotTried(_) | Verdict::Lost(_) => self.give_up(),
        }
    }

    fn take(&mut self, response: pb::WatchResponse) {
        if response.canceled {
            return self.canceled(&response);
        }
        (self.has_failed, self.avoided) = (false, None);
        let is_progress = response.events.is_empty() && !response.created && !response.fragment;
        if let Err(error) = self.received.add(response.events, self.next, response.fragment) {
            return self.end(error);
        }
        if is_progress && let Some(header) = response.header {
            self.received.progress(Revision(header.revision), self.next);
        }
    }

    fn canceled(&mut self, response: &pb::WatchResponse) {
        if response.compact_revision > 0 {
            return self.end(WatchError::Compacted { oldest: Revision(response.compact_revision) });
        }
        let reason = &response.cancel_reason;
        // About the node that was asked, or about a token that has ended.
        let is_passing =
            ["no leader", "too many requests", "invalid auth token", "auth store is old"].iter().any(|text| reason.contains(text));
        if is_passing || reason.is_empty() {
            return self.give_up();
        }
        self.end(WatchError::Ended(reason.clone()));
    }
}

impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        loop {
            if let Some(changes) = self.received.whole.pop_front() {
                self.next = Revision(changes.revision.0 + 1);
                return Ok(changes);
            }
            if let Some(error) = &self.over {
                return Err(error.clone());
            }
            self.step().await;
        }
    }
}

/// Opens a stream, on `avoided` only if no other node answers.
async fn open(etcd: Etcd, avoided: Option<Endpoint>, request: pb::WatchRequest, wait: Duration) -> Result<Box<Opened>, Verdict> {
    sleep(wait).await;
    let opening = async {
        let (endpoint, link) = etcd.connect(avoided).await?;
        // The API keeps a watch for as long as its requests are open, hence a stream of requests that never ends.
        let requests = tokio_stream::once(request).chain(tokio_stream::pending());
        let mut client = WatchClient::new(link).max_decoding_message_size(ANSWER_BYTES);
        let responses = client.watch(requests).await.map_err(|status| judge(&status))?.into_inner();
        Ok(Box::new(Opened { endpoint, responses }))
    };
    timeout(etcd.0.options.attempt_timeout, opening).await.map_err(|_| Verdict::Lost("no answer in time".into()))?
}

impl Received {
    /// Takes the events of a message. `next` is the first revision that was not told.
    fn add(&mut self, events: Vec<Event>, next: Revision, goes_on: bool) -> Result<(), WatchError> {
        for event in events {
            let r#type = event.r#type();
            let Some(kv) = event.kv else { continue };
            let revision = Revision(kv.mod_revision);
            if revision < next {
                continue;
            }
            if self.part.as_ref().is_some_and(|part| part.revision != revision) {
                self.finish_part();
            }
            self.part_bytes += kv.key.len() + kv.value.len();
            if self.part_bytes > CHANGES_BYTES {
                return Err(WatchError::TooLarge);
            }
            let part = self.part.get_or_insert_with(|| Changes { revision, changes: Vec::new() });
            part.changes.push(match r#type {
                EventType::Put => Change::Put(record(kv)),
                EventType::Delete => Change::Delete(Key::found(kv.key)),
            });
        }
        if !goes_on {
            self.finish_part();
        }
        Ok(())
    }

    fn finish_part(&mut self) {
        self.part_bytes = 0;
        self.whole.extend(self.part.take());
    }

    /// Nothing has happened up to this revision but what was received.
    fn progress(&mut self, revision: Revision, next: Revision) {
        let told = self.whole.back().map_or(Revision(next.0 - 1), |changes| changes.revision);
        if revision > told {
            self.whole.push_back(Changes { revision, changes: Vec::new() });
        }
    }
}

#[cfg(test)]
mod tests;
