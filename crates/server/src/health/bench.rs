//! The judge's bench: while this node leads, its judge sits, and what it decides is recorded.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use steadfast_coordination::Coordination;
use steadfast_health::HealthState;
use steadfast_health::states::Moment;
use steadfast_state::command::Member;
use steadfast_types::{ClusterId, Instant, NodeId, Term};
use tokio::sync::watch;
use tokio::time::sleep;

use super::desk::ReportDesk;
use super::judge::{Decision, Judge, Known, World};
use super::records::{Book, BookError};
use super::unshown::Unshown;
use crate::admin::Metrics;
use crate::clock::Clock;
use crate::gossip::{Gossip, View};
use crate::identity::random;

/// How often everybody is judged; sooner when gossip or a report has news.
const TURN: Duration = Duration::from_millis(500);

/// No sooner than this after the turn before.
const BREATH: Duration = Duration::from_millis(50);

/// After records that could not be read or written.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// No batch takes longer; see [`Judge::expect_wait`].
const LONGEST_WRITE: Duration = Duration::from_secs(3600);

/// What a judge needs.
pub(super) struct Bench<C> {
    pub(super) store: C,
    pub(super) cluster: ClusterId,
    pub(super) me: NodeId,
    pub(super) gossip: Gossip,
    pub(super) desk: ReportDesk,
    pub(super) leader: watch::Receiver<Option<NodeId>>,
    pub(super) term: Box<dyn Fn() -> Term + Send + Sync>,
    /// The servers that strong state has, if it can be read here.
    pub(super) servers: Box<dyn Fn() -> Option<Vec<Member>> + Send + Sync>,
    /// The agents that plans removed, once they are known.
    pub(super) removed: watch::Receiver<Option<BTreeSet<NodeId>>>,
    pub(super) metrics: Metrics,
}

impl<C: Coordination> Bench<C> {
    /// Sits whenever this node leads, for as long as it runs.
    pub(super) async fn run(self) {
        let (me, mut leader, mut over) = (self.me, self.leader.clone(), self.leader.clone());
        while leader.wait_for(|leader| *leader == Some(me)).await.is_ok() {
            // What was being written then may be written or not: the next judge reads what is there.
            let is_over = async { drop(over.wait_for(|leader| *leader != Some(me)).await) };
            tokio::select! {
                () = self.sit_again() => {}
                () = is_over => {}
            }
        }
    }

    /// One judge after the other.
    async fn sit_again(&self) {
        loop {
            match self.sit().await {
                BookError::Store(error) => tracing::warn!(%error, "health can't be recorded; trying again"),
                ended @ (BookError::Overtaken | BookError::Outdated) => tracing::debug!("health: {ended}"),
            }
            sleep(OPEN_AGAIN).await;
        }
    }

    /// One judge, until it must begin anew.
    async fn sit(&self) -> BookError {
        self.desk.begin();
        let opened = Book::open(self.store.clone(), (self.cluster, self.me), (self.term)(), random).await;
        match opened {
            Ok((book, known)) => self.judge(book, known).await,
            Err(error) => error,
        }
    }

    async fn judge(&self, mut book: Book<C>, known: BTreeMap<String, Known>) -> BookError {
        let mut judge = (Judge::begin(self.me, self.desk.now(), known), Unshown::default());
        let mut views = self.gossip.views();
        loop {
            let decisions = self.turn(&mut judge, &views.borrow_and_update().clone());
            if !decisions.is_empty() {
                tell(&decisions);
                let began = self.desk.now();
                judge.0.expect_wait(began, began + LONGEST_WRITE);
                match book.record(&decisions).await {
                    Ok(events) => self.metrics.health_events.increment(events),
                    Err(error) => return error,
                }
            }
            self.wait(&mut judge.0, &mut views).await;
        }
    }

    /// Until something may have changed.
    async fn wait(&self, judge: &mut Judge, views: &mut watch::Receiver<std::sync::Arc<View>>) {
        let now = self.desk.now();
        judge.expect_wait(now, now + BREATH + TURN);
        sleep(BREATH).await;
        tokio::select! {
            () = sleep(TURN) => {}
            () = self.desk.news() => {}
            // An error: gossip has ended, and the node with it.
            changed = views.changed() => if changed.is_err() { sleep(TURN).await },
        }
    }

    fn turn(&self, (judge, unshown): &mut (Judge, Unshown), view: &View) -> Vec<Decision> {
        let active: BTreeSet<NodeId> = view.members.iter().filter(|seen| seen.state.is_active()).map(|seen| seen.id).collect();
        let reports = self.desk.reports(|node| active.contains(&node));
        let (servers, removed) = ((self.servers)(), self.removed.borrow().clone());
        let now: Instant = self.desk.now();
        let unshown = unshown.servers(now, view, servers.as_deref().unwrap_or_default());
        let members = if unshown.is_empty() { Cow::Borrowed(&view.members) } else { Cow::Owned([&view.members[..], &unshown].concat()) };
        let servers: Option<BTreeSet<NodeId>> = servers.map(|servers| servers.iter().map(|server| server.id).collect());
        let world = World {
            moment: Moment { now, wall_ms: Clock::wall_ms() },
            members: &members,
            is_admitted: view.is_admitted,
            reports: &reports,
            servers: servers.as_ref(),
            removed: removed.as_ref(),
        };
        let decisions = judge.turn(&world, now + BREATH + TURN);
        self.metrics.health_verdicts.increment(decisions.len() as u64);
        decisions
    }
}

fn tell(decisions: &[Decision]) {
    for decision in decisions {
        match decision {
            Decision::Changed(ruling) if ruling.from != ruling.to => {
                let (node, service, from, to, cause) = (&ruling.name, &ruling.service, ruling.from, ruling.to, &ruling.cause);
                if to >= HealthState::Suspect {
                    tracing::warn!(node, service, %from, %to, cause, "health");
                } else {
                    tracing::info!(node, service, %from, %to, cause, "health");
                }
            }
            Decision::Changed(ruling) => {
                let (node, service, state, cause) = (&ruling.name, &ruling.service, ruling.to, &ruling.cause);
                tracing::debug!(node, service, %state, cause, "health: a service is new, or a node has another cause");
            }
            Decision::NodeGone(name) => tracing::info!(node = name, "health: the node is gone, and so are its records"),
            Decision::ServiceGone(name, service) => tracing::info!(node = name, service, "health: the service is checked no more"),
        }
    }
}
