//! [`Coordination`] over this node's own cluster: what runs inside a node keeps its records through it, without a socket.
//!
//! It stands on the same handle as the etcd API, so a batch takes the way of any client's transaction, a read waits for the same quorum round,
//! and a watch is one more stream of the hub.
//!
//! # Who it is
//!
//! The user `root`, found out to be so at the auth revision of the moment: a command says so in the log, where all replicas judge it alike, and
//! one that was overtaken by a change of users is refused there, unchanged, and asked again. While authentication is not enabled nobody judges
//! it. Clients get no hand on this: it is made of the node's own handle where the node starts, the API makes its callers of tokens and
//! certificates alone, and nothing here is reached by a message.
//!
//! # Waiting
//!
//! What the node did not take up (its queue is full, or it is getting lost data back) is asked again, for [`PATIENCE`]; what it did take up has
//! an outcome within its own request timeout, or an unknown one.

mod convert;
mod watch;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use steadfast_coordination::memory::check_ttl;
use steadfast_coordination::{Batch, Coordination, Error, Keys, Lease, Outcome, Page, Read};
use steadfast_etcd_api::Backend as _;
use steadfast_etcd_api::backend::Refusal;
use steadfast_state::auth::{AuthError, Authorized, ROOT};
use steadfast_state::command::{self, Command, CommandError};
use steadfast_types::{LeaseId, Revision, limits};
use tokio::time::{Instant, sleep};

use crate::backend::NodeBackend;
use crate::identity::random;
pub(crate) use watch::OwnWatch;

/// For so long what was not taken up is asked again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// This node's own cluster, as `root`; clones share the node.
#[derive(Clone)]
pub(crate) struct OwnCluster(NodeBackend);

/// Why an attempt came to nothing.
enum Failure {
    /// Nothing was changed, and nothing will be. It may go well later.
    NotTried(String),
    /// It is not known what becomes of it.
    Lost(String),
    /// Nothing was changed, and it fails so whenever it is asked.
    Final(Error),
}

/// What is unknown of something without effect is that it has no answer.
#[derive(Clone, Copy)]
enum Effects {
    /// It only reads.
    None,
    /// It may change something.
    Some,
}

impl OwnCluster {
    pub(crate) fn new(node: NodeBackend) -> Self {
        OwnCluster(node)
    }

    /// Has the cluster apply a command as `root`.
    async fn apply(&self, command: Command) -> Result<(Revision, command::Outcome), Failure> {
        let caller = self.0.auth()?.caller(ROOT);
        let response = self.0.propose(Authorized::command(caller, command)).await?;
        Ok((response.revision, response.result?))
    }

    /// Tries until it is taken up.
    async fn patiently<T, F>(&self, effects: Effects, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let until = Instant::now() + PATIENCE;
        loop {
            match (attempt().await, effects) {
                (Ok(answer), _) => return Ok(answer),
                (Err(Failure::Final(error)), _) => return Err(error),
                (Err(Failure::Lost(why)), Effects::Some) => return Err(Error::Unknown(why)),
                (Err(Failure::Lost(why)), Effects::None) => return Err(Error::Unavailable(why)),
                (Err(Failure::NotTried(why)), _) if Instant::now() >= until => return Err(Error::Unavailable(why)),
                (Err(Failure::NotTried(_)), _) => sleep(RETRY_WAIT).await,
            }
        }
    }

    /// Reads the local state, once it has all that was answered before.
    async fn range(&self, range: command::Range) -> Result<(Revision, command::RangeResult), Failure> {
        self.0.linearize().await?;
        if range.keys.is_single() {
            return Ok(self.0.range(&range)?);
        }
        let node = self.0.clone();
        let read = tokio::task::spawn_blocking(move || node.range(&range)).await;
        Ok(read.map_err(|error| Failure::Lost(error.to_string()))??)
    }
}

impl Coordination for OwnCluster {
    type Watch = OwnWatch;

    async fn read(&self, read: Read) -> Result<Page, Error> {
        read.check()?;
        let range = convert::range(&read);
        let (revision, result) = self.patiently(Effects::None, || self.range(range.clone())).await?;
        Ok(read.page(revision, result.kvs.into_iter().map(convert::record).collect(), result.more))
    }

    async fn commit(&self, batch: Batch) -> Result<Outcome, Error> {
        batch.check()?;
        let txn = convert::txn(&batch);
        let (revision, outcome) = self.patiently(Effects::Some, || self.apply(Command::Txn(txn.clone()))).await?;
        match outcome {
            command::Outcome::Txn(result) => Ok(convert::outcome(revision, result)),
            other => unreachable!("a transaction was answered with {other:?}"),
        }
    }

    fn watch(&self, keys: Keys, from: Revision) -> OwnWatch {
        OwnWatch::new(self.0.clone(), keys, from)
    }

    async fn grant(&self, ttl_s: i64) -> Result<Lease, Error> {
        check_ttl(ttl_s)?;
        let ttl_s = ttl_s.max(limits::LEASE_MIN_TTL_S);
        let granted = self.patiently(Effects::Some, || async move {
            // Another number each time: one may be taken.
            let id = LeaseId(i64::try_from(random() >> 1).unwrap_or(1).max(1));
            self.apply(Command::LeaseGrant { id, ttl_s }).await
        });
        match granted.await? {
            (_, command::Outcome::LeaseGranted { id, ttl_s }) => Ok(Lease { id, granted_s: ttl_s, remaining_s: ttl_s }),
            (_, other) => unreachable!("a lease was granted with {other:?}"),
        }
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let renewed = self.patiently(Effects::Some, || async move { Ok(self.0.lease_keep_alive(id).await?) }).await?;
        match renewed.ttl_s {
            ..=0 => Err(Error::LeaseNotFound),
            ttl_s => Ok(Lease { id, granted_s: ttl_s, remaining_s: ttl_s }),
        }
    }

    async fn remaining(&self, id: LeaseId) -> Result<Lease, Error> {
        let info = self.patiently(Effects::None, || async move { Ok(self.0.lease_time_to_live(id, false).await?) }).await?;
        let info = info.ok_or(Error::LeaseNotFound)?;
        Ok(Lease { id, granted_s: info.granted_s, remaining_s: info.remaining_s })
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        match self.patiently(Effects::Some, || self.apply(Command::LeaseRevoke { id })).await {
            Ok(_) | Err(Error::LeaseNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooManyRequests | Refusal::NoLeader | Refusal::Learner => Failure::NotTried(refusal.to_string()),
            Refusal::LeaderChanged | Refusal::TimedOut | Refusal::NotLeader | Refusal::Stopped => Failure::Lost(refusal.to_string()),
            Refusal::NoSpace => Failure::Final(Error::NoSpace(refusal.to_string())),
            Refusal::RequestTooLarge | Refusal::BadTransferee | Refusal::LevelTooLow => Failure::Final(Error::Refused(refusal.to_string())),
        }
    }
}

/// A command or a read that the state refused: nothing has changed.
impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Compacted => Failure::Final(Error::Compacted),
            CommandError::FutureRevision => Failure::Final(Error::FutureRevision),
            CommandError::LeaseNotFound => Failure::Final(Error::LeaseNotFound),
            CommandError::NoSpace => Failure::Final(Error::NoSpace(error.to_string())),
            // Users have changed since; the lease's number is taken; the node is getting lost data back.
            CommandError::Auth(AuthError::OldRevision) | CommandError::LeaseExists | CommandError::Tables(_) => {
                Failure::NotTried(error.to_string())
            }
            CommandError::KeyNotFound
            | CommandError::MemberNotFound
            | CommandError::MemberExists
            | CommandError::PeerUrlExists
            | CommandError::MemberNotLearner
            | CommandError::MemberClaimed
            | CommandError::Corrupt
            | CommandError::Auth(_) => Failure::Final(Error::Refused(error.to_string())),
        }
    }
}
