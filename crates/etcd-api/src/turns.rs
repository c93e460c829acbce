//! Waiting for a turn, for locks and elections: carries out what a [`Waiter`] wants.
//!
//! A wait goes on in a task of its own, so that it learns of a place in line even if its client goes away while that is written; then it
//! leaves the line. A client that goes away after it has its turn keeps it until its lease ends, as with any answer that is lost.

use std::future::poll_fn;

use bytes::Bytes;
use steadfast_state::command::{Command, KeySpan, Outcome, Txn, TxnResult};
use steadfast_state::line::{self, Mismatch, Step, Turn, Waiter};
use steadfast_types::{LeaseId, Revision};
use tokio::sync::oneshot;
use tonic::Status;

use crate::api::Api;
use crate::auth::Credentials;
use crate::backend::{Backend, Refusal, WatchCommand, WatchCommands as _, WatchCreate, WatchDeliveries as _, WatchDelivery};
use crate::errors;

/// The life of a lease that the server takes for a client without one: etcd's.
const DEFAULT_TTL_S: i64 = 60;

/// etcd's words for who lost its lease while it waited, for elections too.
const SESSION_EXPIRED: &str = "mutex: session is expired";

/// A turn that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) key: Bytes,
    /// The fencing token.
    pub(crate) token: Revision,
    /// The revision after it got in line.
    pub(crate) stood: Revision,
    /// The revision at which it was seen to be its turn.
    pub(crate) seen: Revision,
    pub(crate) lease: LeaseId,
}

impl<B: Backend> Api<B> {
    /// Waits in the line of `name`, under a lease of its own if `lease` is 0.
    pub(crate) async fn await_turn(&self, who: Credentials, name: &[u8], lease: i64, value: Bytes) -> Result<Given, Status> {
        let lease = match lease {
            0 => self.grant_default_lease(&who).await?,
            lease => LeaseId(lease),
        };
        let (_here, gone) = oneshot::channel();
        let waiter = Waiter::new(name, lease, value.clone());
        let wait = Wait { api: self.clone(), who, waiter, value, lease, stood: Revision(0), gone };
        tokio::spawn(wait.run()).await.map_err(|_| Status::internal("steadfast: the wait failed"))?
    }

    async fn grant_default_lease(&self, who: &Credentials) -> Result<LeaseId, Status> {
        let id = self.new_lease_id();
        match self.propose(who, Command::LeaseGrant { id, ttl_s: DEFAULT_TTL_S }, 0).await? {
            (_, Outcome::LeaseGranted { id, .. }) => Ok(id),
            _ => Err(errors::unexpected_outcome()),
        }
    }

    /// Reads linearizably, all at one revision.
    pub(crate) async fn read_at_once(&self, who: &Credentials, txn: Txn) -> Result<(Revision, TxnResult), Status> {
        self.backend().linearize().await?;
        self.read_txn(who, txn).await
    }

    /// Waits until one of the keys is deleted at or after `from`, or may have been.
    async fn deleted(&self, who: &Credentials, keys: Vec<Bytes>, from: Revision) -> Result<(), Status> {
        let asker = self.asker(who).await;
        let (mut commands, mut deliveries) = self.backend().watch_stream();
        for key in keys {
            let keys = KeySpan { key, ..KeySpan::default() };
            let asker = asker.clone();
            let create = WatchCreate { keys, start_revision: from, no_put: true, asker, ..WatchCreate::default() };
            commands.send(WatchCommand::Create(create)).await?;
        }
        loop {
            match poll_fn(|context| deliveries.poll_next(context)).await {
                None => return Err(Refusal::Stopped.into()),
                Some(delivery) if !delivery.events.is_empty() => return Ok(()),
                Some(delivery) if delivery.canceled.is_some() => return ended(&delivery),
                Some(_) => {}
            }
        }
    }
}

/// What a watch's end means: what it wanted is compacted, so that whoever asked looks for itself; or this node has no room for it.
pub(crate) fn ended(delivery: &WatchDelivery) -> Result<(), Status> {
    if delivery.compact_revision > Revision(0) { Ok(()) } else { Err(Refusal::TooManyRequests.into()) }
}

fn mismatch(_: Mismatch) -> Status {
    errors::unexpected_outcome()
}

struct Wait<B> {
    api: Api<B>,
    who: Credentials,
    waiter: Waiter,
    value: Bytes,
    lease: LeaseId,
    /// The revision after it got in line.
    stood: Revision,
    /// Ready when the client has gone.
    gone: oneshot::Receiver<()>,
}

impl<B: Backend> Wait<B> {
    async fn run(mut self) -> Result<Given, Status> {
        let result = self.wait().await;
        let is_gone = !matches!(self.gone.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let leave = match &result {
            Err(_) => self.waiter.leave(),
            Ok(given) if is_gone && self.waiter.wrote() => Some(line::leave(&given.key, given.token)),
            Ok(_) => None,
        };
        if let Some(leave) = leave {
            // If that fails, the lease's end does it.
            let _ = self.api.propose(&self.who, leave, 0).await;
        }
        result
    }

    async fn wait(&mut self) -> Result<Given, Status> {
        loop {
            match self.waiter.step() {
                Step::Stand(command) => self.stand(command).await?,
                Step::Look(txn) => {
                    let (revision, result) = self.api.read_at_once(&self.who, txn).await?;
                    self.waiter.looked(revision, result).map_err(mismatch)?;
                }
                Step::Await(keys, from) => {
                    tokio::select! {
                        deleted = self.api.deleted(&self.who, keys, from) => deleted?,
                        _ = &mut self.gone => return Err(Status::cancelled("the client has gone")),
                    }
                    self.waiter.changed();
                }
                Step::Ended(Turn::Mine { token, seen }) => {
                    return Ok(Given { key: self.waiter.key().clone(), token, stood: self.stood, seen, lease: self.lease });
                }
                Step::Ended(Turn::Lost) => return Err(Status::unknown(SESSION_EXPIRED)),
            }
        }
    }

    /// Gets in line; a place from before gets the new value.
    async fn stand(&mut self, command: Command) -> Result<(), Status> {
        let (revision, outcome) = self.api.propose(&self.who, command, 0).await?;
        self.stood = revision;
        let before = self.waiter.stood(revision, outcome).map_err(mismatch)?;
        if before.is_some_and(|before| before != self.value)
            && let Some(created) = self.waiter.created()
        {
            let proclaim = line::proclaim(self.waiter.key(), created, self.value.clone());
            self.api.propose(&self.who, Command::Txn(proclaim), 0).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_without_room_is_refused_and_a_compacted_one_looks_again() {
        let end = |compact_revision| {
            ended(&WatchDelivery {
                canceled: Some(String::new()),
                compact_revision: Revision(compact_revision),
                ..WatchDelivery::default()
            })
        };
        assert!(end(7).is_ok());
        assert_eq!(end(0).expect_err("no room").code(), tonic::Code::ResourceExhausted);
    }
}
