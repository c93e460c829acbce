//! Events as all watchers of a group get them: put into wire form once, by whoever sends them first.

use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use prost::Message as _;
use steadfast_types::limits;

use crate::backend::{Event, EventKind};
use crate::convert;
use crate::proto::{etcdserverpb as pb, mvccpb};

/// Above so many bytes a message is split at the next event: a request's limit and half a MiB, as in etcd.
pub(crate) const FRAGMENT_BYTES: usize = limits::REQUEST_BYTES + 512 * 1024;

/// What happened, in order; whole revisions.
#[derive(Debug, Default)]
pub struct SharedEvents {
    events: Arc<[Event]>,
    bytes: usize,
    wire: OnceLock<Bytes>,
}

impl SharedEvents {
    /// Events that have not been sent yet.
    pub fn new(events: Arc<[Event]>) -> Self {
        let bytes = events.iter().map(Event::bytes).sum();
        SharedEvents { events, bytes, wire: OnceLock::new() }
    }

    /// The events, shared.
    pub fn list(&self) -> Arc<[Event]> {
        self.events.clone()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is of this very list.
    pub fn is_of(&self, events: &Arc<[Event]>) -> bool {
        Arc::ptr_eq(&self.events, events)
    }

    /// The field `events` of a `WatchResponse`, encoded.
    pub(crate) fn wire(&self) -> &Bytes {
        self.wire.get_or_init(|| {
            let events = self.events.iter().map(message).collect();
            pb::WatchResponse { events, ..pb::WatchResponse::default() }.encode_to_vec().into()
        })
    }
}

/// Takes off the front of encoded events what goes into one message: at least one event, if there is one.
pub(crate) fn split_fragment(wire: &mut Bytes) -> Bytes {
    if wire.len() <= FRAGMENT_BYTES {
        return std::mem::take(wire);
    }
    let (mut end, mut size) = (0, 0);
    while let Some((prefix, event)) = first_event(&wire[end..]) {
        size += event;
        if end > 0 && size > FRAGMENT_BYTES {
            break;
        }
        end += prefix + event;
    }
    wire.split_to(end)
}

/// The bytes of the first event, and of what stands before it: its field's key and its length.
fn first_event(mut wire: &[u8]) -> Option<(usize, usize)> {
    let all = wire.remaining();
    prost::encoding::decode_key(&mut wire).ok()?;
    let event = prost::encoding::decode_varint(&mut wire).ok()?;
    Some((all - wire.remaining(), usize::try_from(event).ok()?))
}

/// An event as it goes out.
fn message(event: &Event) -> mvccpb::Event {
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
