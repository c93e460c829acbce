//! One delivery as one message, or as several if its watcher allows that and it is large.

use prost::Message as _;
use steadfast_types::limits;

use crate::backend::{Event, EventKind, WatchDelivery};
use crate::convert;
use crate::proto::{etcdserverpb as pb, mvccpb};

/// Above so many bytes a message is split at the next event: a request's limit and half a MiB, as in etcd.
pub(crate) const FRAGMENT_BYTES: usize = limits::REQUEST_BYTES + 512 * 1024;

/// The messages of one delivery, in order; all but the last are marked as fragments.
pub(crate) struct Fragments {
    header: pb::ResponseHeader,
    delivery: WatchDelivery,
    /// How many events have been sent; `None` once all have.
    sent: Option<usize>,
}

impl Fragments {
    pub(crate) fn new(header: pb::ResponseHeader, delivery: WatchDelivery) -> Self {
        Fragments { header, delivery, sent: Some(0) }
    }

    /// Whether the last message has been taken.
    pub(crate) fn is_finished(&self) -> bool {
        self.sent.is_none()
    }

    /// The events from `sent` on that go into one message: at least one, if there is one.
    fn next_events(&self, sent: usize) -> Vec<mvccpb::Event> {
        let rest = &self.delivery.events[sent..];
        if !self.delivery.fragment {
            return rest.iter().map(event_message).collect();
        }
        let mut bytes = 0;
        let mut events = Vec::new();
        for event in rest.iter().map(event_message) {
            bytes += event.encoded_len();
            if !events.is_empty() && bytes > FRAGMENT_BYTES {
                break;
            }
            events.push(event);
        }
        events
    }
}

impl Iterator for Fragments {
    type Item = pb::WatchResponse;

    fn next(&mut self) -> Option<pb::WatchResponse> {
        let sent = self.sent?;
        let events = self.next_events(sent);
        let all_sent = sent + events.len();
        let fragment = all_sent < self.delivery.events.len();
        self.sent = fragment.then_some(all_sent);
        Some(pb::WatchResponse {
            header: Some(self.header),
            watch_id: self.delivery.watch_id,
            created: self.delivery.created,
            canceled: self.delivery.canceled.is_some(),
            compact_revision: self.delivery.compact_revision.0,
            cancel_reason: self.delivery.canceled.clone().unwrap_or_default(),
            fragment,
            events,
        })
    }
}

/// An event as it goes out; keys and values are shared with the delivery.
fn event_message(event: &Event) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(convert::key_value(event.kv.clone())),
        prev_kv: event.prev_kv.clone().map(convert::key_value),
    }
}
