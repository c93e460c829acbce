//! Protocol messages to commands, and outcomes back. Moves keys and values, copies none.

use steadfast_state::command::{
    self, Compare, DeleteRange, KeySpan, KeyValue, Member, Operand, Operation, Outcome, Put, Range, RangeResult, Relation, Txn, TxnResult,
};
use steadfast_state::kv::check;
use steadfast_types::{LeaseId, Revision};

use crate::errors::Invalid;
use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb;
use pb::compare::TargetUnion;
use pb::request_op::Request;
use pb::response_op::Response;

/// A range.
pub(crate) fn range(request: pb::RangeRequest) -> Result<Range, Invalid> {
    Ok(Range {
        sort_order: check::sort_order(request.sort_order)?,
        sort_target: check::sort_target(request.sort_target)?,
        keys: KeySpan { key: request.key, range_end: request.range_end },
        limit: request.limit,
        revision: Revision(request.revision),
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: Revision(request.min_mod_revision),
        max_mod_revision: Revision(request.max_mod_revision),
        min_create_revision: Revision(request.min_create_revision),
        max_create_revision: Revision(request.max_create_revision),
    })
}

/// A put.
pub(crate) fn put(request: pb::PutRequest) -> Put {
    Put {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A delete.
pub(crate) fn delete_range(request: pb::DeleteRangeRequest) -> DeleteRange {
    DeleteRange { keys: KeySpan { key: request.key, range_end: request.range_end }, prev_kv: request.prev_kv }
}

/// A transaction. Recursion is bounded by the decoder's own limit on nesting.
pub(crate) fn txn(request: pb::TxnRequest) -> Result<Txn, Invalid> {
    Ok(Txn {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: request.success.into_iter().map(operation).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().map(operation).collect::<Result<_, _>>()?,
    })
}

fn operation(request: pb::RequestOp) -> Result<Operation, Invalid> {
    match request.request.ok_or(Invalid::EmptyOperation)? {
        Request::RequestRange(request) => range(request).map(Operation::Range),
        Request::RequestPut(request) => Ok(Operation::Put(put(request))),
        Request::RequestDeleteRange(request) => Ok(Operation::DeleteRange(delete_range(request))),
        Request::RequestTxn(request) => txn(request).map(Operation::Txn),
    }
}

fn compare(request: pb::Compare) -> Result<Compare, Invalid> {
    Ok(Compare {
        relation: relation(request.result)?,
        operand: operand(request.target, request.target_union)?,
        keys: KeySpan { key: request.key, range_end: request.range_end },
    })
}

fn relation(result: i32) -> Result<Relation, Invalid> {
    use pb::compare::CompareResult as Pb;
    match Pb::try_from(result).map_err(|_| Invalid::Comparison)? {
        Pb::Equal => Ok(Relation::Equal),
        Pb::Greater => Ok(Relation::Greater),
        Pb::Less => Ok(Relation::Less),
        Pb::NotEqual => Ok(Relation::NotEqual),
    }
}

/// The operand for `target`; one that was left out is zero, or the empty value.
fn operand(target: i32, union: Option<TargetUnion>) -> Result<Operand, Invalid> {
    use pb::compare::CompareTarget as Pb;
    match (Pb::try_from(target).map_err(|_| Invalid::Comparison)?, union) {
        (Pb::Version, Some(TargetUnion::Version(version))) => Ok(Operand::Version(version)),
        (Pb::Version, None) => Ok(Operand::Version(0)),
        (Pb::Create, Some(TargetUnion::CreateRevision(revision))) => Ok(Operand::CreateRevision(Revision(revision))),
        (Pb::Create, None) => Ok(Operand::CreateRevision(Revision(0))),
        (Pb::Mod, Some(TargetUnion::ModRevision(revision))) => Ok(Operand::ModRevision(Revision(revision))),
        (Pb::Mod, None) => Ok(Operand::ModRevision(Revision(0))),
        (Pb::Value, Some(TargetUnion::Value(value))) => Ok(Operand::Value(value)),
        (Pb::Value, None) => Ok(Operand::Value(bytes::Bytes::new())),
        (Pb::Lease, Some(TargetUnion::Lease(lease))) => Ok(Operand::Lease(LeaseId(lease))),
        (Pb::Lease, None) => Ok(Operand::Lease(LeaseId(0))),
        (Pb::Version | Pb::Create | Pb::Mod | Pb::Value | Pb::Lease, Some(_)) => Err(Invalid::Comparison),
    }
}

/// A key with its value.
pub(crate) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// Keys with their values.
pub(crate) fn key_values(kvs: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

/// The answer to a range.
pub(crate) fn range_response(header: pb::ResponseHeader, result: RangeResult) -> pb::RangeResponse {
    pb::RangeResponse { header: Some(header), kvs: key_values(result.kvs), more: result.more, count: result.count }
}

/// The answer to a transaction. Inner answers carry a header of their revision alone, as etcd's do: the transaction's own once it has written
/// something, the one before until then.
pub(crate) fn txn_response(header: pb::ResponseHeader, result: TxnResult) -> pb::TxnResponse {
    let writes = result.responses.iter().any(wrote);
    let mut revision = header.revision - i64::from(writes);
    let responses = responses(result.responses, &mut revision, header.revision);
    pb::TxnResponse { header: Some(header), succeeded: result.succeeded, responses }
}

/// Whether an operation with this outcome changed anything.
fn wrote(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Put { .. } => true,
        Outcome::Deleted { deleted, .. } => *deleted > 0,
        Outcome::Txn(txn) => txn.responses.iter().any(wrote),
        Outcome::Done | Outcome::Range(_) | Outcome::LeaseGranted { .. } | Outcome::Claimed(_) | Outcome::Alarms(_) => false,
    }
}

fn responses(outcomes: Vec<Outcome>, revision: &mut i64, last: i64) -> Vec<pb::ResponseOp> {
    outcomes.into_iter().map(|outcome| pb::ResponseOp { response: response(outcome, revision, last) }).collect()
}

fn response(outcome: Outcome, revision: &mut i64, last: i64) -> Option<Response> {
    if !matches!(outcome, Outcome::Txn(_)) && wrote(&outcome) {
        *revision = last;
    }
    let header = pb::ResponseHeader { revision: *revision, ..Default::default() };
    match outcome {
        Outcome::Range(result) => Some(Response::ResponseRange(range_response(header, result))),
        Outcome::Put { prev_kv } => Some(Response::ResponsePut(pb::PutResponse { header: Some(header), prev_kv: prev_kv.map(key_value) })),
        Outcome::Deleted { deleted, prev_kvs } => {
            Some(Response::ResponseDeleteRange(pb::DeleteRangeResponse { header: Some(header), deleted, prev_kvs: key_values(prev_kvs) }))
        }
        Outcome::Txn(txn) => Some(Response::ResponseTxn(pb::TxnResponse {
            header: Some(pb::ResponseHeader::default()),
            succeeded: txn.succeeded,
            responses: responses(txn.responses, revision, last),
        })),
        Outcome::Done | Outcome::LeaseGranted { .. } | Outcome::Claimed(_) | Outcome::Alarms(_) => None,
    }
}

/// A member.
pub(crate) fn member(member: command::Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.learner,
    }
}

/// Members.
pub(crate) fn members(members: Vec<Member>) -> Vec<pb::Member> {
    members.into_iter().map(member).collect()
}
