//! What plans do to the members, through the node's own requests, and to services, by their nodes; and what is seen of all of them.
//!
//! Each change is safe to come late, from a leader that has lost its place without knowing: it is judged anew by the one who leads then, by what is so
//! then. A swap that somebody has done is found done, as ids are never used twice; a voter that answers is never swapped; removal spares whoever
//! votes.

use std::sync::Arc;

use steadfast_consensus::{Role, Status};
use steadfast_etcd_api::Backend as _;
use steadfast_health::recovery::observed::{Epoch, Observed};
use steadfast_node::{Answer, MembershipChange, RequestBody};
use steadfast_state::command::Member;
use steadfast_types::{Instant, NodeId};
use tokio::sync::watch;

use super::executor::{MemberChange, Trouble, World};
use super::ledger::Book;
use super::observe::{health_of, observed, others};
use super::restarter::{self, Restarted};
use crate::backend::NodeBackend;
use crate::checks::Following;
use crate::checks::restarts::Restart;
use crate::gossip::Gossip;
use crate::health::view::HealthView;
use crate::peers::Link;
use crate::published::Published;

/// This node's cluster.
#[derive(Clone)]
pub(crate) struct Members {
    pub(crate) me: NodeId,
    pub(crate) backend: NodeBackend,
    pub(crate) published: Arc<Published>,
    /// `None`: this node takes no part in it, so the leader's own eyes must do.
    pub(crate) gossip: Option<Gossip>,
    /// What was decided about everybody.
    pub(crate) decided: watch::Receiver<Arc<HealthView>>,
    /// How services are started anew.
    pub(crate) restarts: Following<Restart>,
    pub(crate) link: Link,
}

impl Members {
    /// Everybody's health, as this node has it.
    pub(super) fn health(&self) -> HealthView {
        let gossip = self.gossip.as_ref();
        gossip.map_or_else(HealthView::default, |gossip| health_of(&gossip.view(), &self.decided.borrow()))
    }

    /// How consensus stands, if this node leads and has all that was committed before it did.
    pub(super) fn leading(&self) -> Option<Status> {
        let status = self.published.status()?;
        (status.established && status.consensus.role == Role::Leader).then_some(status.consensus)
    }

    /// Whether a node takes part in the membership; `None`: it is not known there.
    pub(super) fn takes_part(&self, node: NodeId) -> Option<bool> {
        let view = self.gossip.as_ref()?.view();
        view.members.iter().find(|seen| seen.id == node).map(|seen| seen.state.is_active())
    }

    fn members(&self) -> Result<Vec<Member>, String> {
        self.backend.members().map_err(|error| error.to_string())
    }

    /// A status that is not older than this question.
    async fn status_now(&self) -> Result<Status, String> {
        self.backend.linearize().await.map_err(|error| error.to_string())?;
        self.leading().ok_or_else(|| "this node does not lead any more".to_owned())
    }

    async fn ask(&self, change: MembershipChange) -> Result<(), String> {
        match self.backend.ask(RequestBody::ChangeMembership(change)).await {
            Ok(Answer::Applied(response)) => response.result.map(drop).map_err(|error| error.to_string()),
            Ok(other) => Err(format!("unexpected answer {other:?}")),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    async fn learn(&self, node: NodeId) -> Result<(), String> {
        match self.status_now().await?.configuration.contains(node) {
            true => Ok(()),
            false => Err(format!("{node} is no member any more")),
        }
    }

    async fn catch_up(&self, node: NodeId) -> Result<(), String> {
        let status = self.status_now().await?;
        let follower = status.followers.iter().find(|follower| follower.id == node).ok_or_else(|| format!("{node} is no member"))?;
        let missing = status.commit.0.saturating_sub(follower.matched.0);
        // What is committed meanwhile, under load, is not asked for: consensus has its own bound when it swaps.
        match missing <= CAUGHT_UP && follower.active {
            true => Ok(()),
            false => {
                Err(format!("{node} misses {missing} entries{}", if follower.snapshot { ", and is being sent a snapshot" } else { "" }))
            }
        }
    }

    async fn swap(&self, remove: NodeId, add: NodeId) -> Result<(), String> {
        let is_done = |status: &Status| status.configuration.voters.contains(&add) && !status.configuration.is_voter(remove);
        if is_done(&self.status_now().await?) {
            return Ok(());
        }
        self.ask(MembershipChange::Replace { voter: remove, learner: add }).await?;
        match is_done(&self.status_now().await?) {
            true => Ok(()),
            false => Err("the change of voters is under way".to_owned()),
        }
    }

    async fn remove(&self, node: NodeId) -> Result<(), String> {
        let configuration = self.status_now().await?.configuration;
        match () {
            () if configuration.is_voter(node) => Err(format!("{node} votes")),
            () if !configuration.contains(node) && self.members()?.iter().all(|member| member.id != node) => Ok(()),
            () => self.ask(MembershipChange::Remove(node)).await,
        }
    }
}

/// A spare that misses no more than so many entries has caught up: as many as consensus lets a new voter miss.
const CAUGHT_UP: u64 = 64;

impl World for Members {
    fn observe(&self, book: &Book, _now: Instant) -> Option<Observed> {
        let (status, members) = (self.leading()?, self.members().ok()?);
        let health = self.health();
        let mut observed = observed(&health, &status, &members, book, self.me);
        if let Some(gossip) = &self.gossip {
            let restarts = self.restarts.borrow().clone().unwrap_or_default();
            observed.subjects.extend(others(&gossip.view(), &self.decided.borrow(), &health, &restarts, book));
        }
        Some(observed)
    }

    async fn change(&self, change: MemberChange) -> Result<(), String> {
        match change {
            MemberChange::Learn(node) => self.learn(node).await,
            MemberChange::CatchUp(node) => self.catch_up(node).await,
            MemberChange::Swap { remove, add } => self.swap(remove, add).await,
            MemberChange::Remove(node) => self.remove(node).await,
        }
    }

    async fn restart(&self, node: NodeId, service: &str, epoch: Epoch) -> Result<(), Trouble> {
        let view = self.gossip.as_ref().map(Gossip::view).unwrap_or_default();
        let address = view.members.iter().find(|seen| seen.id == node).map(|seen| seen.address.to_string());
        let address = address.ok_or_else(|| format!("nobody knows where node {node} is"))?;
        let cluster = self.backend.identity().cluster;
        match restarter::ask(&self.link, &address, (cluster, node), service, epoch).await? {
            Restarted::Ended => Ok(()),
            Restarted::Running => Err(Trouble::NotYet("its command runs".to_owned())),
            Restarted::NotYet(words) => Err(Trouble::NotYet(words)),
            Restarted::Failed(words) => Err(Trouble::Never(format!("its command failed: {words}"))),
            Restarted::Refused(words) => Err(Trouble::Never(words)),
        }
    }
}
