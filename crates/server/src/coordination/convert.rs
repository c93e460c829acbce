//! The interface's words as the state's commands, and back.

use bytes::Bytes;
use steadfast_coordination::{Batch, Compare, Conflict, Key, Outcome, Read, Record, Write};
use steadfast_state::command::{self, DeleteRange, KeySpan, KeyValue, Operand, Operation, Put, Range, Relation, Txn, TxnResult};
use steadfast_types::{LeaseId, Revision};

pub(super) fn span((key, range_end): (Bytes, Bytes)) -> KeySpan {
    KeySpan { key, range_end }
}

pub(super) fn range(read: &Read) -> Range {
    Range {
        keys: span(read.bounds()),
        limit: i64::try_from(read.limit).unwrap_or(i64::MAX),
        revision: read.at.unwrap_or_default(),
        ..Range::default()
    }
}

/// The batch, which else reads what it compares.
pub(super) fn txn(batch: &Batch) -> Txn {
    let get = |compare: &Compare| Operation::Range(Range { keys: KeySpan::single(compare.key().bytes().clone()), ..Range::default() });
    Txn {
        compare: batch.compares.iter().map(compare).collect(),
        success: batch.writes.iter().map(write).collect(),
        failure: batch.compares.iter().map(get).collect(),
    }
}

pub(super) fn outcome(revision: Revision, result: TxnResult) -> Outcome {
    if result.succeeded {
        return Outcome::Applied(revision);
    }
    let found = |response| match response {
        command::Outcome::Range(range) => range.kvs.into_iter().next().map(record),
        other => unreachable!("a read was answered with {other:?}"),
    };
    Outcome::Conflict(Conflict { revision, found: result.responses.into_iter().map(found).collect() })
}

pub(super) fn record(kv: KeyValue) -> Record {
    Record {
        key: Key::found(kv.key),
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: Some(kv.lease).filter(|lease| *lease != LeaseId(0)),
    }
}

fn write(write: &Write) -> Operation {
    match write {
        Write::Put { key, value, lease } => {
            Operation::Put(Put { key: key.bytes().clone(), value: value.clone(), lease: lease.unwrap_or_default(), ..Put::default() })
        }
        Write::Delete(keys) => Operation::DeleteRange(DeleteRange { keys: span(keys.bounds()), prev_kv: false }),
    }
}

fn compare(compare: &Compare) -> command::Compare {
    // A record that is not there compares as zeros, and never by value.
    let (relation, operand) = match compare {
        Compare::Exists(_) => (Relation::Greater, Operand::Version(0)),
        Compare::Absent(_) => (Relation::Equal, Operand::Version(0)),
        Compare::ModRevision(_, revision) => (Relation::Equal, Operand::ModRevision(*revision)),
        Compare::Value(_, value) => (Relation::Equal, Operand::Value(value.clone())),
    };
    command::Compare { keys: KeySpan::single(compare.key().bytes().clone()), relation, operand }
}
