//! The gRPC codec of messages that are known by their descriptors alone.

use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::codec::{START_BYTES, YIELD_BYTES};

/// Encodes any message; decodes those of this descriptor.
#[derive(Clone, Debug)]
pub(super) struct Dynamic(pub(super) MessageDescriptor);

fn buffers() -> BufferSettings {
    BufferSettings::new(START_BYTES, YIELD_BYTES)
}

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|error| Status::internal(format!("steadfast: the request cannot be encoded: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer);
        message.map(Some).map_err(|error| Status::internal(format!("steadfast: the answer cannot be decoded: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
