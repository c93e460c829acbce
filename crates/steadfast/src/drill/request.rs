//! One request of the load: through the etcd API, and as the checkers see it.

use std::error::Error;
use std::io;

use bytes::Bytes;
use steadfast_etcd_api::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest, request_op, response_op,
};
use steadfast_etcd_api::proto::mvccpb::KeyValue;
use steadfast_proof::history::{Answer, Seen, Span, Step, Transaction, Version};
use steadfast_types::Revision;
use tonic::Status;
use tonic::transport::Channel;

use crate::client::is_refusal;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Reads a key.
    Get(Bytes),
    /// Writes a key.
    Put(Bytes, Bytes),
    /// Writes a key if this revision wrote it last (0: if it is not there); reads it otherwise.
    Compare(Bytes, i64, Bytes),
    /// Deletes a key.
    Delete(Bytes),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It had no effect and never will.
    Refused,
    /// It may have taken effect, or may yet.
    Unknown,
}

impl Ask {
    /// The key.
    pub(super) fn key(&self) -> &Bytes {
        match self {
            Ask::Get(key) | Ask::Put(key, _) | Ask::Compare(key, _, _) | Ask::Delete(key) => key,
        }
    }

    /// Whether it can change anything.
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Ask::Get(_))
    }

    /// The same in the words of the checkers.
    pub(super) fn transaction(&self) -> Transaction {
        match self.clone() {
            Ask::Get(key) => Transaction::of(Step::Read(Span::one(key))),
            Ask::Put(key, value) => Transaction::of(Step::Put { key, value, lease: 0, asks: true }),
            Ask::Compare(key, revision, value) => Transaction::compare_and_put(key, Revision(revision), value),
            Ask::Delete(key) => Transaction::of(Step::Delete(Span::one(key))),
        }
    }

    /// Asks one node.
    pub(super) async fn send(&self, client: &mut KvClient<Channel>) -> Result<Answer, Failure> {
        let failed = |status: Status| self.judge(&status);
        match self.clone() {
            Ask::Get(key) => {
                let answer = client.range(RangeRequest { key, ..RangeRequest::default() }).await.map_err(failed)?.into_inner();
                done(answer.header, false, true, seen(&answer.kvs))
            }
            Ask::Put(key, value) => {
                let answer = client.put(put(key, value)).await.map_err(failed)?.into_inner();
                done(answer.header, true, true, seen(answer.prev_kv.as_slice()))
            }
            Ask::Compare(key, revision, value) => {
                let answer = client.txn(compare(key, revision, value)).await.map_err(failed)?.into_inner();
                let saw = match answer.responses.into_iter().next().and_then(|response| response.response) {
                    Some(response_op::Response::ResponseRange(range)) => seen(&range.kvs),
                    Some(response_op::Response::ResponsePut(put)) => seen(put.prev_kv.as_slice()),
                    _ => return Err(Failure::Unknown),
                };
                done(answer.header, answer.succeeded, answer.succeeded, saw)
            }
            Ask::Delete(key) => {
                let request = DeleteRangeRequest { key, prev_kv: true, ..DeleteRangeRequest::default() };
                let answer = client.delete_range(request).await.map_err(failed)?.into_inner();
                done(answer.header, answer.deleted > 0, true, seen(&answer.prev_kvs))
            }
        }
    }

    fn judge(&self, status: &Status) -> Failure {
        if !self.writes() || is_refusal(status) || was_not_sent(status) { Failure::Refused } else { Failure::Unknown }
    }
}

fn put(key: Bytes, value: Bytes) -> PutRequest {
    PutRequest { key, value, prev_kv: true, ..PutRequest::default() }
}

fn compare(key: Bytes, revision: i64, value: Bytes) -> TxnRequest {
    let (result, target) = (CompareResult::Equal.into(), CompareTarget::Mod.into());
    let condition =
        Compare { result, target, key: key.clone(), target_union: Some(TargetUnion::ModRevision(revision)), ..Compare::default() };
    let write = RequestOp { request: Some(request_op::Request::RequestPut(put(key.clone(), value))) };
    let read = RequestOp { request: Some(request_op::Request::RequestRange(RangeRequest { key, ..RangeRequest::default() })) };
    TxnRequest { compare: vec![condition], success: vec![write], failure: vec![read] }
}

fn done(header: Option<ResponseHeader>, changed: bool, succeeded: bool, seen: Seen) -> Result<Answer, Failure> {
    let revision = Revision(header.ok_or(Failure::Unknown)?.revision);
    Ok(Answer::Done { revision, changed, succeeded, seen: vec![Some(seen)] })
}

/// Keys as a client saw them. Copied: what was received is a slice of a larger buffer.
pub(super) fn seen(kvs: &[KeyValue]) -> Seen {
    kvs.iter().map(|kv| (Bytes::copy_from_slice(&kv.key), version(kv))).collect()
}

/// A key's value as a client saw it.
pub(super) fn version(kv: &KeyValue) -> Version {
    Version { revision: Revision(kv.mod_revision), value: Bytes::copy_from_slice(&kv.value) }
}

/// Whether there was nobody to send it to: an open connection can't be refused any more.
fn was_not_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_read_has_no_effect_and_a_failed_write_may_have() {
        let lost = Status::unavailable("etcdserver: request timed out");
        assert_eq!(Ask::Get("k".into()).judge(&lost), Failure::Refused);
        assert_eq!(Ask::Delete("k".into()).judge(&lost), Failure::Unknown);
        assert_eq!(Ask::Delete("k".into()).judge(&Status::unavailable("etcdserver: no leader")), Failure::Refused);
        let refused = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(Ask::Put("k".into(), "v".into()).judge(&refused), Failure::Refused);
    }
}
