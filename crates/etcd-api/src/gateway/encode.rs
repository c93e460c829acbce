//! Messages to JSON, as etcd's gateway writes them.

use prost_reflect::{DynamicMessage, SerializeOptions};

/// The protos' own field names, no defaults, 64-bit integers as text, enums by name.
const OPTIONS: SerializeOptions = SerializeOptions::new().use_proto_field_name(true);

/// Appends a message.
pub(super) fn message(message: &DynamicMessage, text: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::new(text);
    message.serialize_with_options(&mut serializer, &OPTIONS).expect("a message is plain data, and memory takes it");
}

/// One line of a stream.
pub(super) fn line(answer: &DynamicMessage) -> Vec<u8> {
    let mut text = b"{\"result\":".to_vec();
    message(answer, &mut text);
    text.extend_from_slice(b"}\n");
    text
}
