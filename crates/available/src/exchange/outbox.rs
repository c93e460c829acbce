//! What an exchange gives out: messages, records for the journal, events.

use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Actor, VersionVector};
use steadfast_types::NodeId;
use steadfast_types::wire::Wire;

use super::counters::Counters;
use super::message::Message;
use super::record::Record;

/// Something that the shell has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This replica has lost writes that others have seen, or something that it had told others it had seen. The exchange says and hears nothing any
    /// more; the replica must come back as another actor ([`super::Exchange`]).
    Fenced {
        /// What is known of it elsewhere.
        known: VersionVector,
    },
    /// A peer does not take this replica for one of the replicas (any more).
    Refused(NodeId),
    /// A peer that is not one of the replicas was refused.
    Stranger(NodeId, Actor),
    /// A peer writes as the actor that this replica writes as.
    SameActor(NodeId),
    /// A peer has seen the same and holds something else. A session mends it.
    Diverged(NodeId),
}

/// What is to be done now, in this order: records into the journal, then events, then messages to the peers.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// For the journal, in order.
    pub records: Vec<Record>,
    /// For the shell.
    pub events: Vec<Event>,
    /// For the peers; those to one peer in order.
    pub messages: Vec<(NodeId, Bytes)>,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) outputs: Outputs,
    pub(crate) counters: Counters,
}

impl Outbox {
    /// How many bytes the message has.
    pub(crate) fn send(&mut self, to: NodeId, message: &Message) -> u64 {
        let bytes = Bytes::from(message.to_wire());
        let length = bytes.len() as u64;
        self.counters.messages_sent += 1;
        self.counters.bytes_sent += length;
        self.outputs.messages.push((to, bytes));
        length
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.outputs.records.push(record);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.events.push(event);
    }
}
