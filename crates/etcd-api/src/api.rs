//! What all services share: the backend, headers, and the rules for letting a request in.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use steadfast_state::command::{Command, Outcome};
use steadfast_types::{LeaseId, NodeId, Revision, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;

use crate::auth::Credentials;
use crate::auth::passwords::Passwords;
use crate::backend::{Backend, Refusal};
use crate::errors;
use crate::proto::etcdserverpb::ResponseHeader;

/// How long a stream opened with `hasleader` outlives the leader: etcd's three election timeouts of a second, so that an ordinary election does
/// not end it.
pub const LEADER_GRACE: Duration = Duration::from_secs(3);

/// The services' common ground; cloning it is one reference count.
pub(crate) struct Api<B>(Arc<Shared<B>>);

struct Shared<B> {
    backend: B,
    lease_ids: LeaseIds,
    long_reads: Arc<Semaphore>,
    passwords: Passwords,
}

impl<B> Clone for Api<B> {
    fn clone(&self) -> Self {
        Api(self.0.clone())
    }
}

/// Whether a member that is still a learner answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learners {
    /// It does.
    Serve,
    /// It does not.
    Refuse,
}

impl<B: Backend> Api<B> {
    pub(crate) fn new(backend: B, bcrypt_cost: u32) -> Self {
        let long_reads = Arc::new(Semaphore::new(limits::LONG_READS));
        Api(Arc::new(Shared { backend, lease_ids: LeaseIds::default(), long_reads, passwords: Passwords::new(bcrypt_cost) }))
    }

    pub(crate) fn backend(&self) -> &B {
        &self.0.backend
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Whether this member serves a request with these headers now.
    pub(crate) fn admit(&self, headers: &HeaderMap, learners: Learners) -> Result<(), Status> {
        if learners == Learners::Refuse {
            self.refuse_learner()?;
        }
        if wants_leader(headers) && self.backend().leader().borrow().is_none() {
            return Err(Refusal::NoLeader.into());
        }
        Ok(())
    }

    /// An error on a learner.
    pub(crate) fn refuse_learner(&self) -> Result<(), Status> {
        if self.backend().is_learner() { Err(Refusal::Learner.into()) } else { Ok(()) }
    }

    /// Replicates a command of this caller that came as a message of `size` bytes, and waits for its outcome.
    pub(crate) async fn propose(&self, who: &Credentials, command: Command, size: usize) -> Result<(Revision, Outcome), Status> {
        if size > limits::REQUEST_BYTES {
            return Err(Refusal::RequestTooLarge.into());
        }
        let response = self.propose_as(who, command).await?;
        Ok((response.revision, response.result.map_err(errors::command)?))
    }

    /// Room for one more read of everything, for as long as the permit lives.
    pub(crate) fn begin_long_read(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.0.long_reads.clone().try_acquire_owned().map_err(|_| Refusal::TooManyRequests.into())
    }

    /// The header of an answer as of `revision`.
    pub(crate) fn header(&self, revision: Revision) -> ResponseHeader {
        let identity = self.backend().identity();
        ResponseHeader {
            cluster_id: identity.cluster.0,
            member_id: identity.member.0,
            revision: revision.0,
            raft_term: self.backend().term().0,
        }
    }

    /// A lease id nobody has: 63 random bits.
    pub(crate) fn new_lease_id(&self) -> LeaseId {
        self.0.lease_ids.next()
    }

    /// Runs a read that may take long where it holds up nobody's connection.
    pub(crate) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&B) -> T + Send + 'static) -> Result<T, Status> {
        let api = self.clone();
        tokio::task::spawn_blocking(move || read(api.backend())).await.map_err(|_| Status::internal("steadfast: the read failed"))
    }
}

/// Whether the client wants an error rather than an answer from a member without a leader.
pub(crate) fn wants_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value == "true")
}

/// Ready once there has been no leader for [`LEADER_GRACE`].
pub(crate) async fn leader_lost(mut leader: watch::Receiver<Option<NodeId>>) -> Status {
    loop {
        if leader.wait_for(Option::is_none).await.is_err() {
            return Refusal::Stopped.into();
        }
        match tokio::time::timeout(LEADER_GRACE, leader.wait_for(Option::is_some)).await {
            Err(_) => return Refusal::NoLeader.into(),
            Ok(Err(_)) => return Refusal::Stopped.into(),
            Ok(Ok(_)) => {}
        }
    }
}

/// Random lease ids: a counter through a hash whose key is random for each process life.
#[derive(Debug, Default)]
struct LeaseIds {
    key: RandomState,
    counter: AtomicU64,
}

impl LeaseIds {
    fn next(&self) -> LeaseId {
        let bits = self.key.hash_one(self.counter.fetch_add(1, Ordering::Relaxed)) >> 1;
        LeaseId(i64::try_from(bits).expect("63 bits fit").max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn lease_ids_are_positive_and_differ() {
        let ids = LeaseIds::default();
        let chosen: BTreeSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(chosen.len(), 10_000);
        assert!(chosen.iter().all(|id| id.0 > 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_election_does_not_end_a_stream_and_a_long_one_does() {
        let (send, receive) = watch::channel(Some(NodeId(1)));
        let lost = tokio::spawn(leader_lost(receive));
        send.send_replace(None);
        tokio::time::sleep(LEADER_GRACE / 2).await;
        send.send_replace(Some(NodeId(2)));
        tokio::time::sleep(LEADER_GRACE * 2).await;
        assert!(!lost.is_finished());
        send.send_replace(None);
        tokio::time::sleep(LEADER_GRACE * 2).await;
        assert_eq!(lost.await.expect("ended").message(), "etcdserver: no leader");
    }
}
