//! The interface's words as the API's messages, and back.

use bytes::Bytes;
use steadfast_coordination::{Batch, Compare, Conflict, Key, Outcome, Page, Read, Record, Write};
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::mvccpb;
use steadfast_types::{LeaseId, Revision};

use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

pub(super) fn range(read: &Read) -> pb::RangeRequest {
    let (key, range_end) = read.bounds();
    pb::RangeRequest {
        key,
        range_end,
        limit: i64::try_from(read.limit).unwrap_or(i64::MAX),
        revision: read.at.map_or(0, |revision| revision.0),
        ..pb::RangeRequest::default()
    }
}

pub(super) fn page(read: &Read, answer: pb::RangeResponse) -> Page {
    read.page(revision(answer.header.as_ref()), answer.kvs.into_iter().map(record).collect(), answer.more)
}

/// The batch, which else reads what it compares.
pub(super) fn txn(batch: &Batch) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: batch.compares.iter().map(compare).collect(),
        success: batch.writes.iter().map(write).map(operation).collect(),
        failure: batch.compares.iter().map(|compare| operation(get(compare.key()))).collect(),
    }
}

pub(super) fn outcome(answer: pb::TxnResponse) -> Outcome {
    let revision = revision(answer.header.as_ref());
    if answer.succeeded {
        return Outcome::Applied(revision);
    }
    let found = |response: pb::ResponseOp| match response.response {
        Some(Response::ResponseRange(range)) => range.kvs.into_iter().next().map(record),
        Some(Response::ResponsePut(_) | Response::ResponseDeleteRange(_) | Response::ResponseTxn(_)) | None => None,
    };
    Outcome::Conflict(Conflict { revision, found: answer.responses.into_iter().map(found).collect() })
}

pub(super) fn record(kv: mvccpb::KeyValue) -> Record {
    Record {
        key: Key::found(kv.key),
        value: kv.value,
        create_revision: Revision(kv.create_revision),
        mod_revision: Revision(kv.mod_revision),
        version: kv.version,
        lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
    }
}

fn revision(header: Option<&pb::ResponseHeader>) -> Revision {
    Revision(header.map_or(0, |header| header.revision))
}

fn operation(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn get(key: &Key) -> Request {
    Request::RequestRange(pb::RangeRequest { key: key.bytes().clone(), ..pb::RangeRequest::default() })
}

fn write(write: &Write) -> Request {
    match write {
        Write::Put { key, value, lease } => Request::RequestPut(pb::PutRequest {
            key: key.bytes().clone(),
            value: value.clone(),
            lease: lease.map_or(0, |lease| lease.0),
            ..pb::PutRequest::default()
        }),
        Write::Delete(keys) => {
            let (key, range_end) = keys.bounds();
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: false })
        }
    }
}

fn compare(compare: &Compare) -> pb::Compare {
    // A record that is not there compares as zeros, and never by value.
    let (result, target, operand) = match compare {
        Compare::Exists(_) => (CompareResult::Greater, CompareTarget::Version, TargetUnion::Version(0)),
        Compare::Absent(_) => (CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(0)),
        Compare::ModRevision(_, revision) => (CompareResult::Equal, CompareTarget::Mod, TargetUnion::ModRevision(revision.0)),
        Compare::Value(_, value) => (CompareResult::Equal, CompareTarget::Value, TargetUnion::Value(value.clone())),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: compare.key().bytes().clone(),
        range_end: Bytes::new(),
        target_union: Some(operand),
    }
}
