//! A watch stream's messages, with events that are encoded already, and the codec that sends them.

use bytes::{BufMut, Bytes};
use prost::Message as _;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use crate::backend::WatchDelivery;
use crate::codec::{START_BYTES, YIELD_BYTES};
use crate::proto::etcdserverpb as pb;
use crate::shared_events::split_fragment;

/// A `WatchResponse`: all but its events, and these in wire form. One after the other they are the message: the order of fields is free.
#[derive(Debug)]
pub(crate) struct WatchMessage {
    head: pb::WatchResponse,
    events: Bytes,
}

/// The messages of one delivery, in order: one, or several if its watcher allows that and it is large; all but the last are marked as fragments.
pub(crate) struct Messages {
    head: pb::WatchResponse,
    rest: Bytes,
    may_split: bool,
    is_finished: bool,
}

impl Messages {
    pub(crate) fn new(header: pb::ResponseHeader, delivery: WatchDelivery) -> Self {
        let head = pb::WatchResponse {
            header: Some(header),
            watch_id: delivery.watch_id,
            created: delivery.created,
            canceled: delivery.canceled.is_some(),
            compact_revision: delivery.compact_revision.0,
            cancel_reason: delivery.canceled.unwrap_or_default(),
            ..pb::WatchResponse::default()
        };
        Messages { head, rest: delivery.events.wire().clone(), may_split: delivery.fragment, is_finished: false }
    }

    /// Whether the last message has been taken.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }
}

impl Iterator for Messages {
    type Item = WatchMessage;

    fn next(&mut self) -> Option<WatchMessage> {
        if self.is_finished {
            return None;
        }
        let events = if self.may_split { split_fragment(&mut self.rest) } else { std::mem::take(&mut self.rest) };
        self.is_finished = self.rest.is_empty();
        Some(WatchMessage { head: pb::WatchResponse { fragment: !self.is_finished, ..self.head.clone() }, events })
    }
}

/// Encodes [`WatchMessage`]s, decodes requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = WatchMessage;
    type Decode = pb::WatchRequest;
    type Encoder = WatchEncoder;
    type Decoder = ProstDecoder<pb::WatchRequest>;

    fn encoder(&mut self) -> WatchEncoder {
        WatchEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(START_BYTES, YIELD_BYTES))
    }
}

/// The encoding half of [`WatchCodec`].
#[derive(Debug)]
pub(crate) struct WatchEncoder;

impl Encoder for WatchEncoder {
    type Item = WatchMessage;
    type Error = Status;

    fn encode(&mut self, message: WatchMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.head.encode(buffer).map_err(|error| Status::internal(error.to_string()))?;
        buffer.put(message.events);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(START_BYTES, YIELD_BYTES)
    }
}
