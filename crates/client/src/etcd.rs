//! [`Coordination`] over the etcd v3 API of any cluster: Steadfast's, or etcd's.
//!
//! One connection to one node serves all calls of all clones, another one each watch, so that a watch that is read slowly holds nothing else
//! up. A node that does not answer, or has no leader, is left for another one; the one that failed last is avoided while there are others.
//!
//! # What is asked again
//!
//! 1. What the cluster said it did not try, and what could not be sent for want of a connection: always.
//! 2. Reads, and what is safe to repeat (a renewal, the end of a lease, a new lease): also when the answer was lost.
//! 3. A batch whose answer was lost: never. [`Error::Unknown`] says so.
//!
//! All that within [`EtcdOptions::request_timeout`] for each call.

mod calls;
mod judge;
mod messages;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use steadfast_coordination::memory::check_ttl;
use steadfast_coordination::{Batch, Coordination, Error, Keys, Lease, Outcome, Page, Read};
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::lease_client::LeaseClient;
use steadfast_types::{LeaseId, Revision};
use tokio::sync::Mutex;

use crate::endpoint::Endpoint;
use crate::user::{Link, User};
use calls::{Current, Repeat};
pub use watch::EtcdWatch;

/// The largest answer that is read, bytes: a page of the largest records twice over.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Which cluster, and as whom.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// Where its nodes are reached; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Who asks, where the cluster wants to know.
    pub user: Option<User>,
    /// How long a call may take, whatever is tried meanwhile. Longer than a cluster takes to elect a leader.
    pub request_timeout: Duration,
    /// How long one node is waited for before another one is asked.
    pub attempt_timeout: Duration,
}

impl EtcdOptions {
    /// These nodes, asked by nobody in particular; 15 seconds for a call, 4 for a node.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        EtcdOptions { endpoints, user: None, request_timeout: Duration::from_secs(15), attempt_timeout: Duration::from_secs(4) }
    }
}

/// A cluster with the etcd v3 API; clones share its connection.
#[derive(Clone)]
pub struct Etcd(Arc<Shared>);

struct Shared {
    options: EtcdOptions,
    current: Mutex<Current>,
}

impl Etcd {
    /// This cluster. Nothing is asked yet.
    pub fn new(options: EtcdOptions) -> Self {
        Etcd(Arc::new(Shared { options, current: Mutex::default() }))
    }
}

impl Coordination for Etcd {
    type Watch = EtcdWatch;

    async fn read(&self, read: Read) -> Result<Page, Error> {
        read.check()?;
        let request = messages::range(&read);
        let answer = self.call(Repeat::Read, |link| async { kv(link).range(request.clone()).await }).await?;
        Ok(messages::page(&read, answer))
    }

    async fn commit(&self, batch: Batch) -> Result<Outcome, Error> {
        batch.check()?;
        let request = messages::txn(&batch);
        let answer = self.call(Repeat::Never, |link| async { kv(link).txn(request.clone()).await }).await?;
        Ok(messages::outcome(answer))
    }

    fn watch(&self, keys: Keys, from: Revision) -> EtcdWatch {
        EtcdWatch::new(self.clone(), keys, from)
    }

    async fn grant(&self, ttl_s: i64) -> Result<Lease, Error> {
        check_ttl(ttl_s)?;
        let request = pb::LeaseGrantRequest { ttl: ttl_s, id: 0 };
        let answer = self.call(Repeat::Always, |link| async { LeaseClient::new(link).lease_grant(request).await }).await?;
        Ok(Lease { id: LeaseId(answer.id), granted_s: answer.ttl, remaining_s: answer.ttl })
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let answer = self.call(Repeat::Always, |link| renew(link, id)).await?;
        match answer.ttl {
            ..=0 => Err(Error::LeaseNotFound),
            ttl_s => Ok(Lease { id, granted_s: ttl_s, remaining_s: ttl_s }),
        }
    }

    async fn remaining(&self, id: LeaseId) -> Result<Lease, Error> {
        let request = pb::LeaseTimeToLiveRequest { id: id.0, keys: false };
        let answer = self.call(Repeat::Read, |link| async { LeaseClient::new(link).lease_time_to_live(request).await }).await?;
        match answer.ttl {
            ..0 => Err(Error::LeaseNotFound),
            remaining_s => Ok(Lease { id, granted_s: answer.granted_ttl, remaining_s }),
        }
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        let request = pb::LeaseRevokeRequest { id: id.0 };
        match self.call(Repeat::Always, |link| async { LeaseClient::new(link).lease_revoke(request).await }).await {
            Ok(_) | Err(Error::LeaseNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn kv(link: Link) -> KvClient<Link> {
    KvClient::new(link).max_decoding_message_size(ANSWER_BYTES)
}

/// One renewal: a stream of one question.
async fn renew(link: Link, id: LeaseId) -> Result<tonic::Response<pb::LeaseKeepAliveResponse>, tonic::Status> {
    let question = tokio_stream::once(pb::LeaseKeepAliveRequest { id: id.0 });
    let mut answers = LeaseClient::new(link).lease_keep_alive(question).await?.into_inner();
    let answer = answers.message().await?;
    Ok(tonic::Response::new(answer.ok_or_else(|| tonic::Status::unavailable("the node closed the stream without an answer"))?))
}
