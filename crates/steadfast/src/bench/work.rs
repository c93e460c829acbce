//! What can be measured, and the requests of it.

use bytes::Bytes;
use clap::ValueEnum;
use steadfast_etcd_api::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::lease_client::LeaseClient;
use steadfast_etcd_api::proto::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest, request_op,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Settings, keys};
use crate::user::Link;

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Work {
    /// Write a key
    Put,
    /// Read a key, linearizably
    Get,
    /// Read a key as the node has it
    GetSerializable,
    /// Compare a key, write it and read it, in one transaction
    Txn,
    /// Keep a lease alive
    KeepAlive,
    /// Events that reach watchers while clients write
    Watch,
    /// Hand leadership over again and again while clients write: the times are those without any answer
    HandOver,
    /// The same writes without hand-overs, to compare: a disk alone makes clients wait now and then
    NoHandOver,
}

/// A lease lives longer than it is measured.
const LEASE_TTL_S: i64 = 600;

impl Work {
    /// What it is called.
    pub(super) fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }

    /// Whether requests can be sent at a rate.
    pub(super) fn has_rate(self) -> bool {
        matches!(self, Work::Put | Work::Get | Work::GetSerializable | Work::Txn)
    }

    /// A client that does it.
    pub(super) async fn client(self, link: Link, settings: &Settings) -> Result<Client, Status> {
        let kind = match self {
            Work::Put | Work::Watch | Work::HandOver | Work::NoHandOver => Kind::Put,
            Work::Get => Kind::Get { serializable: false },
            Work::GetSerializable => Kind::Get { serializable: true },
            Work::Txn => Kind::Txn,
            Work::KeepAlive => Kind::KeepAlive(Box::new(Lease::grant(link.clone()).await?)),
        };
        Ok(Client { kv: KvClient::new(link), kind, value: keys::value(settings), settings: settings.clone() })
    }
}

/// Asks one request after the other.
pub(super) struct Client {
    kv: KvClient<Link>,
    kind: Kind,
    value: Bytes,
    settings: Settings,
}

enum Kind {
    Put,
    Get { serializable: bool },
    Txn,
    KeepAlive(Box<Lease>),
}

impl Client {
    /// Asks once.
    pub(super) async fn ask(&mut self) -> Result<(), Status> {
        let key = keys::any(&self.settings);
        match &mut self.kind {
            Kind::Put => drop(self.kv.put(put(key, self.value.clone())).await?),
            Kind::Get { serializable } => {
                drop(self.kv.range(RangeRequest { key, serializable: *serializable, ..RangeRequest::default() }).await?);
            }
            Kind::Txn => drop(self.kv.txn(txn(key, self.value.clone())).await?),
            Kind::KeepAlive(lease) => lease.keep_alive().await?,
        }
        Ok(())
    }

    /// The same requests on the same connection, as another client.
    pub(super) fn again(&self) -> Option<Self> {
        let kind = match self.kind {
            Kind::Put => Kind::Put,
            Kind::Get { serializable } => Kind::Get { serializable },
            Kind::Txn => Kind::Txn,
            Kind::KeepAlive(_) => return None,
        };
        Some(Client { kv: self.kv.clone(), kind, value: self.value.clone(), settings: self.settings.clone() })
    }

    /// Leaves nothing behind but keys.
    pub(super) async fn end(self) -> Result<(), Status> {
        match self.kind {
            Kind::KeepAlive(lease) => lease.revoke().await,
            Kind::Put | Kind::Get { .. } | Kind::Txn => Ok(()),
        }
    }
}

/// A put as clients of this measurement ask it.
pub(super) fn put(key: Bytes, value: Bytes) -> PutRequest {
    PutRequest { key, value, ..PutRequest::default() }
}

fn txn(key: Bytes, value: Bytes) -> TxnRequest {
    // Keys are never deleted meanwhile, so it succeeds.
    let condition = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(0)),
        ..Compare::default()
    };
    let write = RequestOp { request: Some(request_op::Request::RequestPut(put(key.clone(), value))) };
    let read = RequestOp { request: Some(request_op::Request::RequestRange(RangeRequest { key, ..RangeRequest::default() })) };
    TxnRequest { compare: vec![condition], success: vec![write, read], failure: Vec::new() }
}

/// A lease and the stream that keeps it alive.
struct Lease {
    client: LeaseClient<Link>,
    id: i64,
    asks: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

impl Lease {
    async fn grant(link: Link) -> Result<Self, Status> {
        let mut client = LeaseClient::new(link);
        let id = client.lease_grant(LeaseGrantRequest { ttl: LEASE_TTL_S, id: 0 }).await?.into_inner().id;
        let (asks, stream) = mpsc::channel(1);
        // Some servers answer the call only once something was asked.
        let first = asks.send(LeaseKeepAliveRequest { id }).await;
        first.map_err(|_| Status::internal("the stream ended"))?;
        let mut answers = client.lease_keep_alive(ReceiverStream::new(stream)).await?.into_inner();
        answers.message().await?;
        Ok(Lease { client, id, asks, answers })
    }

    async fn keep_alive(&mut self) -> Result<(), Status> {
        let ended = || Status::unavailable("the stream of keep-alives ended");
        self.asks.send(LeaseKeepAliveRequest { id: self.id }).await.map_err(|_| ended())?;
        let answer = self.answers.message().await?.ok_or_else(ended)?;
        if answer.ttl > 0 { Ok(()) } else { Err(Status::not_found("the lease has ended")) }
    }

    async fn revoke(mut self) -> Result<(), Status> {
        self.client.lease_revoke(LeaseRevokeRequest { id: self.id }).await.map(drop)
    }
}
