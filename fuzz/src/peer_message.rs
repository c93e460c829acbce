//! What a peer's frame holds, and what is packed in it.

use bytes::Bytes;
use steadfast_consensus::message::Body;
use steadfast_node::PeerMessage;
use steadfast_state::command::Batch;
use steadfast_types::{Entry, Payload};

use super::wire::decode;

/// Decodes a frame as its receiver does, down to the commands.
pub fn check(input: &[u8]) {
    match decode::<PeerMessage>(Bytes::copy_from_slice(input)) {
        Some(PeerMessage::Forward { batch, .. }) => drop(decode::<Batch>(batch)),
        Some(PeerMessage::LogReply { entries, .. }) => entries.iter().for_each(check_entry),
        Some(PeerMessage::Raft(message)) => {
            if let Body::Append { entries, .. } = message.body {
                entries.iter().for_each(check_entry);
            }
        }
        Some(_) | None => {}
    }
}

fn check_entry(entry: &Entry) {
    match &entry.payload {
        Payload::Empty => {}
        Payload::Batch(batch) | Payload::Change { batch, .. } => drop(decode::<Batch>(batch.clone())),
    }
}
