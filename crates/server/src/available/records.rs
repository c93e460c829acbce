//! What of the replica and what of the registers is told apart by in the journal, and on the way to peers.

use bytes::Bytes;
use steadfast_available::exchange::Record as ReplicaRecord;
use steadfast_replica::registers::Record as RegistersRecord;
use steadfast_types::wire::{Reader, Wire, WireError};

/// What is of the registers begins with this byte. The replica's records and messages begin with small numbers.
const REGISTERS: u8 = 0x7f;

/// A record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JournalRecord {
    Replica(ReplicaRecord),
    Registers(RegistersRecord),
}

impl Wire for JournalRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            JournalRecord::Replica(record) => record.encode(out),
            JournalRecord::Registers(record) => {
                out.push(REGISTERS);
                record.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match reader.peek() {
            Some(REGISTERS) => {
                reader.take(1)?;
                RegistersRecord::decode(reader).map(JournalRecord::Registers)
            }
            _ => ReplicaRecord::decode(reader).map(JournalRecord::Replica),
        }
    }
}

/// A message to or from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Replica(Bytes),
    Registers(Bytes),
}

impl Frame {
    pub(super) fn of(frame: Bytes) -> Self {
        match frame.first() {
            // What is read from it is kept, and would keep all that came with it.
            Some(&REGISTERS) => Frame::Registers(Bytes::copy_from_slice(&frame[1..])),
            _ => Frame::Replica(frame),
        }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Frame::Replica(message) => message,
            Frame::Registers(message) => [&[REGISTERS], &*message].concat().into(),
        }
    }
}
