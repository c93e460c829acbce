//! KV: what reaches the backend, what comes back, and every error.

use steadfast_etcd_api::MINIMUM_REVISION;
use steadfast_etcd_api::backend::Refusal;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::request_op::Request as Op;
use steadfast_etcd_api::proto::etcdserverpb::response_op::Response as Answer;
use steadfast_etcd_api::proto::etcdserverpb::*;
use steadfast_state::command::{Command, CommandError};
use steadfast_types::{Revision, limits};
use tonic::Code;

use crate::fake::{CLUSTER, MEMBER, TERM};
use crate::{connect, refused};

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn get(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: CLUSTER.0, member_id: MEMBER.0, revision, raft_term: TERM.0 })
}

#[tokio::test]
async fn a_key_is_put_read_and_deleted() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    assert_eq!(kv.put(put("a", "1")).await.unwrap().into_inner(), PutResponse { header: header(2), prev_kv: None });
    let again = PutRequest { prev_kv: true, lease: 5, ..put("a", "2") };
    let previous = kv.put(again).await.unwrap().into_inner().prev_kv.unwrap();
    assert_eq!((previous.key.as_ref(), previous.value.as_ref(), previous.version), (&b"a"[..], &b"1"[..], 1));

    let read = kv.range(get("a")).await.unwrap().into_inner();
    assert_eq!((read.header, read.count, read.more), (header(3), 1, false));
    let found = &read.kvs[0];
    assert_eq!((found.value.as_ref(), found.create_revision, found.mod_revision, found.version, found.lease), (&b"2"[..], 2, 3, 2, 5));
    assert_eq!(fake.linearized(), 1);

    let span = RangeRequest { range_end: "b".into(), serializable: true, ..get("a") };
    assert_eq!(kv.range(span).await.unwrap().into_inner().count, 1);
    assert_eq!(fake.linearized(), 1, "a serializable range asks nobody");

    let delete = DeleteRangeRequest { key: "a".into(), range_end: vec![0].into(), prev_kv: true };
    let deleted = kv.delete_range(delete).await.unwrap().into_inner();
    assert_eq!((deleted.header, deleted.deleted, deleted.prev_kvs.len()), (header(4), 1, 1));
    let compacted = kv.compact(CompactionRequest { revision: 3, physical: true }).await.unwrap().into_inner();
    assert_eq!(compacted.header, header(4));
    assert_eq!(fake.state().commands.last(), Some(&Command::Compact { revision: Revision(3) }));
}

#[tokio::test]
async fn a_read_waits_for_the_revision_that_it_names() {
    let (_, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    kv.put(put("a", "1")).await.unwrap();
    let at_least = |revision: &str, serializable| {
        let mut request = tonic::Request::new(RangeRequest { serializable, ..get("a") });
        request.metadata_mut().insert(MINIMUM_REVISION, revision.parse().unwrap());
        request
    };
    for (revision, serializable) in [("0", true), ("2", true), ("2", false)] {
        assert_eq!(kv.range(at_least(revision, serializable)).await.unwrap().into_inner().count, 1);
    }
    let late = kv.range(at_least("3", true)).await.unwrap_err();
    assert_eq!((late.code(), late.message()), (Code::Unavailable, "etcdserver: request timed out"), "the fake waits for nothing");
    let mut read = tonic::Request::new(TxnRequest { success: vec![op(Op::RequestRange(get("a")))], ..TxnRequest::default() });
    read.metadata_mut().insert(MINIMUM_REVISION, "3".parse().unwrap());
    assert_eq!(kv.txn(read).await.unwrap_err().message(), "etcdserver: request timed out");
    for wrong in ["-1", "new", "", "9223372036854775808"] {
        let error = kv.range(at_least(wrong, true)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(wrong) && error.message().contains("header.revision"), "{}", error.message());
    }
}

#[tokio::test]
async fn a_transaction_answers_each_operation_with_its_revision() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    let inner = TxnRequest { success: vec![op(Op::RequestRange(get("a")))], ..TxnRequest::default() };
    let txn = TxnRequest {
        success: vec![op(Op::RequestRange(get("a"))), op(Op::RequestPut(put("a", "1"))), op(Op::RequestTxn(inner))],
        ..TxnRequest::default()
    };
    let answer = kv.txn(txn).await.unwrap().into_inner();
    assert_eq!((answer.header, answer.succeeded), (header(2), true));
    let [Some(Answer::ResponseRange(before)), Some(Answer::ResponsePut(written)), Some(Answer::ResponseTxn(nested))] =
        [0, 1, 2].map(|i| answer.responses[i].response.clone())
    else {
        panic!("{answer:?}")
    };
    let revision = |header: Option<ResponseHeader>| header.unwrap().revision;
    assert_eq!((revision(before.header), before.count), (1, 0));
    assert_eq!(revision(written.header), 2);
    let Some(Answer::ResponseRange(after)) = nested.responses[0].response.clone() else { panic!("{nested:?}") };
    assert_eq!((revision(after.header), after.count), (2, 1));
    assert!(matches!(fake.state().commands[..], [Command::Txn(_)]));
    assert_eq!(fake.linearized(), 0);
}

#[tokio::test]
async fn a_transaction_that_only_reads_is_not_replicated() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    let reads = |range| TxnRequest { success: vec![op(Op::RequestRange(range))], ..TxnRequest::default() };
    kv.txn(reads(get("a"))).await.unwrap();
    assert_eq!(fake.linearized(), 1);
    kv.txn(reads(RangeRequest { serializable: true, ..get("a") })).await.unwrap();
    assert_eq!(fake.linearized(), 1);
    kv.txn(TxnRequest::default()).await.unwrap();
    assert_eq!(fake.linearized(), 2, "one that only compares is linearizable");
    assert_eq!(fake.state().commands, []);
}

#[tokio::test]
async fn requests_that_break_a_rule_are_refused_before_they_are_proposed() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    let invalid = |text: &'static str| (Code::InvalidArgument, text);
    let no_key = invalid("etcdserver: key is not provided");
    assert_eq!(refused(&kv.put(put("", "x")).await.unwrap_err()), no_key);
    assert_eq!(refused(&kv.range(get("")).await.unwrap_err()), no_key);
    assert_eq!(refused(&kv.delete_range(DeleteRangeRequest::default()).await.unwrap_err()), no_key);
    let value = PutRequest { ignore_value: true, ..put("a", "x") };
    assert_eq!(refused(&kv.put(value).await.unwrap_err()), invalid("etcdserver: value is provided"));
    let lease = PutRequest { ignore_lease: true, lease: 1, ..put("a", "x") };
    assert_eq!(refused(&kv.put(lease).await.unwrap_err()), invalid("etcdserver: lease is provided"));
    let sort = RangeRequest { sort_order: 7, ..get("a") };
    assert_eq!(refused(&kv.range(sort).await.unwrap_err()), invalid("etcdserver: invalid sort option"));

    let txn = |success| TxnRequest { success, ..TxnRequest::default() };
    let twice = txn(vec![op(Op::RequestPut(put("a", "1"))), op(Op::RequestPut(put("a", "2")))]);
    assert_eq!(refused(&kv.txn(twice).await.unwrap_err()), invalid("etcdserver: duplicate key given in txn request"));
    let many = txn(vec![op(Op::RequestRange(get("a"))); limits::TRANSACTION_OPERATIONS + 1]);
    assert_eq!(refused(&kv.txn(many).await.unwrap_err()), invalid("etcdserver: too many operations in txn request"));
    assert_eq!(refused(&kv.txn(txn(vec![RequestOp::default()])).await.unwrap_err()), invalid("etcdserver: key not found"));
    let compare = Compare { key: "a".into(), target_union: Some(compare::TargetUnion::Lease(1)), ..Compare::default() };
    let mixed = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
    assert_eq!(kv.txn(mixed).await.unwrap_err().code(), Code::InvalidArgument);
    let nested = (0..45).fold(TxnRequest::default(), |inner, _| txn(vec![op(Op::RequestTxn(inner))]));
    assert_eq!(refused(&kv.txn(nested).await.unwrap_err()), invalid("etcdserver: too many operations in txn request"));
    assert_eq!(fake.state().commands, []);
}

#[tokio::test]
async fn refusals_and_errors_of_the_node_reach_the_client_as_they_are() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    fake.state().refusal = Some(Refusal::TooManyRequests);
    let expected = (Code::ResourceExhausted, "etcdserver: too many requests");
    assert_eq!(refused(&kv.put(put("a", "x")).await.unwrap_err()), expected);
    assert_eq!(refused(&kv.range(get("a")).await.unwrap_err()), expected);
    fake.state().refusal = None;
    fake.state().error = Some(CommandError::Compacted);
    let expected = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(refused(&kv.range(get("a")).await.unwrap_err()), expected);
    assert_eq!(refused(&kv.compact(CompactionRequest::default()).await.unwrap_err()), expected);
}

#[tokio::test]
async fn a_learner_answers_serializable_ranges_only() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    fake.set_learner(true);
    let learner = (Code::Unavailable, "etcdserver: rpc not supported for learner");
    assert_eq!(refused(&kv.put(put("a", "x")).await.unwrap_err()), learner);
    assert_eq!(refused(&kv.range(get("a")).await.unwrap_err()), learner);
    assert_eq!(refused(&kv.txn(TxnRequest::default()).await.unwrap_err()), learner);
    assert_eq!(refused(&kv.compact(CompactionRequest::default()).await.unwrap_err()), learner);
    kv.range(RangeRequest { serializable: true, ..get("a") }).await.unwrap();
}

#[tokio::test]
async fn hasleader_asks_for_an_error_without_a_leader() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    fake.set_leader(None);
    let mut request = tonic::Request::new(RangeRequest { serializable: true, ..get("a") });
    kv.range(request.get_ref().clone()).await.unwrap();
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    assert_eq!(refused(&kv.range(request).await.unwrap_err()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test]
async fn requests_are_bounded_in_size() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    let sized = |bytes: usize| PutRequest { key: "k".into(), value: vec![7; bytes].into(), ..PutRequest::default() };
    kv.put(sized(limits::REQUEST_BYTES - 64)).await.unwrap();
    assert_eq!(kv.range(get("k")).await.unwrap().into_inner().kvs[0].value.len(), limits::REQUEST_BYTES - 64);
    let large = kv.put(sized(limits::REQUEST_BYTES)).await.unwrap_err();
    assert_eq!(refused(&large), (Code::InvalidArgument, "etcdserver: request is too large"));
    let huge = kv.put(sized(limits::REQUEST_BYTES + 512 * 1024)).await.unwrap_err();
    let text = format!("grpc: received message larger than max ({} vs. 2097152)", limits::REQUEST_BYTES + 512 * 1024 + 8);
    assert_eq!(refused(&huge), (Code::ResourceExhausted, text.as_str()));
    assert_eq!(fake.state().commands.len(), 1);
}

#[tokio::test]
async fn a_range_streams() {
    let (fake, channel) = connect().await;
    let mut kv = KvClient::new(channel);
    kv.put(put("a", "1")).await.unwrap();
    let mut pieces = kv.range_stream(get("a")).await.unwrap().into_inner();
    let message = pieces.message().await.unwrap().unwrap().range_response.unwrap();
    assert_eq!((message.header, message.count, message.kvs.len(), fake.linearized()), (header(2), 1, 1, 1));
    assert!(pieces.message().await.unwrap().is_none());
    kv.range_stream(RangeRequest { serializable: true, ..get("a") }).await.unwrap();
    assert_eq!(fake.linearized(), 1, "a serializable range asks nobody");

    let backwards = RangeRequest { sort_order: range_request::SortOrder::Descend as i32, ..get("a") };
    let error = kv.range_stream(backwards).await.unwrap_err();
    let (code, text) = refused(&error);
    assert!(code == Code::InvalidArgument && text.contains("or use Range"), "{text}");
    assert_eq!(refused(&kv.range_stream(get("")).await.unwrap_err()), (Code::InvalidArgument, "etcdserver: key is not provided"));
    fake.state().error = Some(CommandError::Compacted);
    let mut pieces = kv.range_stream(get("a")).await.unwrap().into_inner();
    let error = pieces.message().await.unwrap_err();
    assert_eq!(refused(&error), (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"));
}
