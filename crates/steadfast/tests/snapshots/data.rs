//! Work for a server, the same for the same seed, and everything that can be read back of it.

use std::collections::BTreeMap;

use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request;
use pb::watch_client::WatchClient;
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::mvccpb::KeyValue;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::support::LONG;

/// A server, and what it was told.
pub(crate) struct Client {
    channel: Channel,
    /// The compact revision; -1: nothing was compacted.
    pub(crate) compact: i64,
}

/// All that a client can read.
#[derive(Debug, PartialEq)]
pub(crate) struct Everything {
    pub(crate) revision: i64,
    compact: i64,
    /// At each revision that is not compacted.
    keys: BTreeMap<i64, Vec<KeyValue>>,
    /// Kind, key with its numbers, and the key as it was before; from behind the compact revision.
    events: Vec<(i32, KeyValue, Option<KeyValue>)>,
    /// Granted seconds, and keys.
    leases: BTreeMap<i64, (i64, Vec<Vec<u8>>)>,
    /// At each revision above the compact one.
    hashes: BTreeMap<i64, u32>,
}

fn all() -> (bytes::Bytes, bytes::Bytes) {
    (bytes::Bytes::from_static(&[0]), bytes::Bytes::from_static(&[0]))
}

fn put(key: u8, value: &str, lease: i64) -> Request {
    let value = value.to_owned().into();
    Request::RequestPut(pb::PutRequest { key: vec![b'a' + key].into(), value, lease, ..pb::PutRequest::default() })
}

fn delete(from: u8, to: u8) -> Request {
    let key = |number: u8| bytes::Bytes::from(vec![b'a' + number]);
    Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key(from), range_end: key(to), ..pb::DeleteRangeRequest::default() })
}

impl Client {
    /// Connects, and waits until the server answers.
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).expect("a URL");
        let connected = async {
            loop {
                if let Ok(channel) = endpoint.connect().await {
                    let mut client = Client { channel, compact: -1 };
                    if client.try_revision().await.is_ok() {
                        return client;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, connected).await.expect("the server answers")
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    async fn try_revision(&mut self) -> Result<i64, Status> {
        let nothing = pb::RangeRequest { key: "nothing".into(), ..pb::RangeRequest::default() };
        Ok(self.kv().range(nothing).await?.into_inner().header.expect("a header").revision)
    }

    pub(crate) async fn revision(&mut self) -> i64 {
        self.try_revision().await.expect("it answers")
    }

    pub(crate) async fn cluster_id(&mut self) -> u64 {
        self.maintenance().status(pb::StatusRequest {}).await.expect("it answers").into_inner().header.expect("a header").cluster_id
    }

    /// Writes one key; the revision after it.
    pub(crate) async fn put(&mut self, key: &str) -> i64 {
        let put = pb::PutRequest { key: key.to_owned().into(), ..pb::PutRequest::default() };
        self.kv().put(put).await.expect("it writes").into_inner().header.expect("a header").revision
    }

    /// Two keys in one transaction.
    pub(crate) async fn put_pair(&mut self, number: u32) {
        let value = number.to_string();
        self.transact(vec![put(0, &value, 0), put(1, &value, 0)]).await;
    }

    /// Carries out so many requests of all kinds. What a server says to them does not depend on anything but those before.
    pub(crate) async fn write(&mut self, seed: u64, requests: usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut leases = LeaseClient::new(self.channel.clone());
        for _ in 0..requests {
            let (key, value) = (random.u8(0..8), random.u32(0..1000).to_string());
            match random.u8(0..20) {
                0..6 => self.transact(vec![put(key, &value, 0)]).await,
                6..9 => self.transact(vec![delete(key, key + random.u8(1..3))]).await,
                9..15 => {
                    let mut operations = Vec::new();
                    for _ in 0..random.usize(1..6) {
                        let key = random.u8(0..8);
                        let is_free = |operation: &Request| match operation {
                            Request::RequestPut(put) => put.key[0] != b'a' + key,
                            Request::RequestDeleteRange(delete) => !(delete.key[0]..delete.range_end[0]).contains(&(b'a' + key)),
                            _ => true,
                        };
                        // A server refuses two puts of a key, and a put in a range that is deleted beside it; what a nested transaction
                        // writes is refused too. Deletes may overlap.
                        match random.bool() && operations.iter().all(is_free) {
                            true => operations.push(put(key, &random.u32(0..1000).to_string(), 0)),
                            false if operations.iter().all(is_free) => operations.push(delete(key, key + 1)),
                            false => {}
                        }
                    }
                    self.transact(operations).await;
                }
                15..17 => {
                    let lease = random.i64(1..9);
                    // It may be there already.
                    let _ = leases.lease_grant(pb::LeaseGrantRequest { ttl: 1000 + lease, id: lease }).await;
                    let more = random.u8(0..8);
                    self.transact(vec![put(key, &value, lease), delete(8, 9)]).await;
                    self.transact(vec![put(more, &value, lease)]).await;
                }
                17 => {
                    // It may not be there.
                    let _ = leases.lease_revoke(pb::LeaseRevokeRequest { id: random.i64(1..9) }).await;
                }
                18 => self.transact(vec![]).await,
                _ => {
                    let revision = self.revision().await;
                    if revision > self.compact.max(1) {
                        self.compact(random.i64(self.compact.max(1) + 1..=revision)).await;
                    }
                }
            }
        }
    }

    async fn transact(&mut self, operations: Vec<Request>) {
        let success = operations.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect();
        let txn = pb::TxnRequest { success, ..pb::TxnRequest::default() };
        self.kv().txn(txn).await.expect("it writes");
    }

    pub(crate) async fn delete_all(&mut self) {
        self.transact(vec![delete(0, 20)]).await;
    }

    pub(crate) async fn compact(&mut self, revision: i64) {
        // "Physical": the answer comes when it is done.
        self.kv().compact(pb::CompactionRequest { revision, physical: true }).await.expect("it compacts");
        self.compact = revision;
    }

    /// So many keys of a hundred bytes, many in a transaction; every tenth is written twice and every hundredth deleted.
    pub(crate) async fn fill(&mut self, keys: u32) {
        const EACH: u32 = 100;
        let mut under_way = tokio::task::JoinSet::new();
        for first in (0..keys).step_by(EACH as usize) {
            let mut kv = self.kv();
            under_way.spawn(async move {
                let key = |number: u32| bytes::Bytes::from(format!("/registry/{:08x}", number.wrapping_mul(2_654_435_761)));
                let put = |number| pb::PutRequest { key: key(number), value: vec![b'v'; 100].into(), ..pb::PutRequest::default() };
                let put = |number| pb::RequestOp { request: Some(Request::RequestPut(put(number))) };
                let last = (first + EACH).min(keys);
                let success = (first..last).map(put).collect();
                kv.txn(pb::TxnRequest { success, ..pb::TxnRequest::default() }).await.expect("it writes");
                let success = (first..last).step_by(10).map(put).collect();
                kv.txn(pb::TxnRequest { success, ..pb::TxnRequest::default() }).await.expect("it writes");
                kv.delete_range(pb::DeleteRangeRequest { key: key(first), ..Default::default() }).await.expect("it writes");
            });
            if under_way.len() >= 64 {
                under_way.join_next().await.expect("some are under way").expect("no panic");
            }
        }
        while let Some(done) = under_way.join_next().await {
            done.expect("no panic");
        }
        let revision = self.revision().await;
        self.compact(revision / 2).await;
    }

    /// All keys at a revision; 0: now.
    pub(crate) async fn keys(&mut self, revision: i64) -> Result<Vec<KeyValue>, String> {
        let (key, range_end) = all();
        let range = pb::RangeRequest { key, range_end, revision, ..pb::RangeRequest::default() };
        Ok(self.kv().range(range).await.map_err(|status| status.message().to_owned())?.into_inner().kvs)
    }

    /// The hash, or the error.
    pub(crate) async fn hash_kv(&mut self, revision: i64) -> Result<(u32, i64, i64), String> {
        let answer = self.maintenance().hash_kv(pb::HashKvRequest { revision }).await.map_err(|status| status.message().to_owned())?;
        let pb::HashKvResponse { header, hash, compact_revision, .. } = answer.into_inner();
        Ok((hash, compact_revision, header.expect("a header").revision))
    }

    pub(crate) async fn everything_once_at(&mut self, revision: i64) -> Everything {
        while self.revision().await < revision {}
        self.everything().await
    }

    /// Reads everything.
    pub(crate) async fn everything(&mut self) -> Everything {
        let (_, compact, revision) = self.hash_kv(0).await.expect("the present");
        self.compact = compact;
        let (mut keys, mut hashes) = (BTreeMap::new(), BTreeMap::new());
        for at in compact.max(1)..=revision {
            keys.insert(at, self.keys(at).await.expect("it is not compacted"));
            if at > compact {
                hashes.insert(at, self.hash_kv(at).await.expect("it is not compacted").0);
            }
        }
        let events = self.events(compact.max(0) + 1, revision).await;
        Everything { revision, compact, keys, events, leases: self.leases().await, hashes }
    }

    async fn events(&mut self, start_revision: i64, last: i64) -> Vec<(i32, KeyValue, Option<KeyValue>)> {
        let (key, range_end) = all();
        let create = pb::WatchCreateRequest { key, range_end, start_revision, prev_kv: true, ..pb::WatchCreateRequest::default() };
        let create = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.send(create).await.expect("the stream is open");
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut answers = WatchClient::new(self.channel.clone()).watch(requests).await.expect("a watch").into_inner();
        let mut events = Vec::new();
        if start_revision > last {
            return events;
        }
        loop {
            let answer = answers.message().await.expect("it goes on").expect("it goes on");
            assert!(!answer.canceled, "{}", answer.cancel_reason);
            events.extend(answer.events.into_iter().map(|event| (event.r#type, event.kv.expect("a key"), event.prev_kv)));
            if events.last().is_some_and(|(_, kv, _)| kv.mod_revision >= last) {
                return events;
            }
        }
    }

    async fn leases(&mut self) -> BTreeMap<i64, (i64, Vec<Vec<u8>>)> {
        let mut client = LeaseClient::new(self.channel.clone());
        let mut leases = BTreeMap::new();
        for pb::LeaseStatus { id } in client.lease_leases(pb::LeaseLeasesRequest {}).await.expect("it answers").into_inner().leases {
            let answer = client.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys: true }).await.expect("it answers").into_inner();
            let mut keys: Vec<Vec<u8>> = answer.keys.iter().map(|key| key.to_vec()).collect();
            keys.sort();
            leases.insert(id, (answer.granted_ttl, keys));
        }
        leases
    }
}
