//! The loop of recovery on one server: turns while it leads, rest while it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use steadfast_coordination::{Coordination, Error};
use steadfast_health::recovery::plan::PlanState;
use steadfast_health::recovery::policy::Policy;
use steadfast_node::Input;
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};
use tokio::sync::watch;

use super::concerns::{self, Concern};
use super::executor::{Executor, Failing, Times};
use super::ledger::{Book, Ledger};
use super::members::Members;
use crate::admin::Metrics;
use crate::clock::Clock;
use crate::coordination::OwnCluster;
use crate::core_loop::Item;
use crate::inbox::Inbox;

/// Between two turns: far less than it takes to notice a failure, and a read of some records in so long costs nothing.
const REST: Duration = Duration::from_millis(500);

/// A spare that was away for a while catches up within one attempt; a service that dies when it is used, or that a check of the usual figures finds dead, does so within
/// its probation.
const TIMES: Times = Times { patience: Duration::from_secs(30), probation: Duration::from_secs(60) };

/// A spare's mark whose node is no member goes after so long: the one who joins needs no longer between being marked and being added.
const MARK_STAYS: Duration = Duration::from_secs(60);

/// What the task is made of.
pub(crate) struct Start {
    pub(crate) members: Members,
    pub(crate) ledger: Ledger<OwnCluster>,
    pub(crate) policy: Policy,
    pub(crate) core: Inbox<Item>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    /// Where it tells since when this node, as the leader, sees each failed.
    pub(crate) failing: watch::Sender<Failing>,
    /// Where it tells which agents were removed, while it leads.
    pub(crate) removed: watch::Sender<Option<BTreeSet<NodeId>>>,
    /// Where it tells what people are to know, while it leads.
    pub(crate) concerns: watch::Sender<Arc<Vec<Concern>>>,
}

/// Runs until the node stops.
pub(crate) async fn start(start: Start, mut stopping: watch::Receiver<bool>) {
    let Start { members, ledger, policy, core, clock, metrics, failing, removed, concerns } = start;
    let mut executor = Executor::new(ledger, members, (policy, TIMES), metrics);
    let (mut marks, mut said, mut told) = (Marks::default(), String::new(), None);
    loop {
        let turn = async {
            if executor.world.leading().is_none() {
                executor.forget();
                return Ok(None);
            }
            executor.turn(clock.now()).await
        };
        let result = tokio::select! {
            result = turn => result,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let book = complain(result, &mut said);
        let spares = book.as_ref().map(|book| book.spares.clone());
        if told.as_ref() != Some(&spares) {
            core.push(Item::Input(Input::Spares(spares.clone())));
            told = Some(spares);
        }
        tell(&failing, executor.failing.clone());
        tell(&removed, book.as_ref().map(|book| book.removed.clone()));
        let so = book.as_ref().map(|book| concerns::concerns(book, &executor.said, &executor.failing));
        tell(&concerns, Arc::new(so.unwrap_or_default()));
        count(&executor.metrics, book.as_ref());
        if let Some(book) = &book {
            marks.tidy(&executor, book, clock.now()).await;
        }
        tokio::select! {
            () = tokio::time::sleep(REST) => {},
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Those who listen wake only if it is something else.
fn tell<T: PartialEq>(listeners: &watch::Sender<T>, what: T) {
    listeners.send_if_modified(|told| {
        let is_new = *told != what;
        *told = what;
        is_new
    });
}

/// Each trouble is told once.
fn complain(result: Result<Option<Book>, Error>, said: &mut String) -> Option<Book> {
    let (book, problem) = match result {
        Ok(book) => (book, String::new()),
        Err(error) => (None, error.to_string()),
    };
    if problem != *said && !problem.is_empty() {
        tracing::warn!("recovery rests, and tries again: {problem}");
    }
    *said = problem;
    book
}

/// The plans by state; zero on a node that does not lead.
fn count(metrics: &Metrics, book: Option<&Book>) {
    let plans = || book.into_iter().flat_map(|book| book.plans.values()).map(|kept| &kept.plan);
    let of = |state: PlanState| plans().filter(|plan| plan.state == state).count() as f64;
    let waiting = plans().filter(|plan| plan.is_waiting()).count() as f64;
    metrics.recovery_plans_waiting.set(waiting);
    metrics.recovery_plans_open.set(of(PlanState::Open) - waiting);
    metrics.recovery_plans_done.set(of(PlanState::Done));
    metrics.recovery_plans_failed.set(of(PlanState::Failed));
    metrics.recovery_plans_cancelled.set(of(PlanState::Cancelled));
}

/// Marks of spares and removed agents that have lost their meaning, and since when.
#[derive(Default)]
struct Marks(BTreeMap<NodeId, Instant>);

impl Marks {
    /// Takes away the marks of spares that vote or are no members, and of agents that are back or forgotten.
    async fn tidy<C: Coordination>(&mut self, executor: &Executor<C, Members>, book: &Book, now: Instant) {
        let Some(status) = executor.world.leading() else { return self.0.clear() };
        let learners = &status.configuration.learners;
        let idle: BTreeSet<NodeId> = book.spares.iter().filter(|spare| !learners.contains(spare)).copied().collect();
        // One that is back is an agent as any other; one that nobody remembers can't be recorded any more.
        let back: BTreeSet<NodeId> =
            book.removed.iter().filter(|agent| executor.world.takes_part(**agent) == Some(true)).copied().collect();
        let forgotten: BTreeSet<NodeId> =
            book.removed.iter().filter(|agent| executor.world.takes_part(**agent).is_none()).copied().collect();
        self.0.retain(|node, _| idle.contains(node) || forgotten.contains(node));
        for agent in back.iter().chain(&forgotten) {
            let since = *self.0.entry(*agent).or_insert(now);
            if (back.contains(agent) || now.since(since) >= MARK_STAYS)
                && let Err(error) = executor.ledger.unmark_removed(*agent).await
            {
                tracing::debug!(%agent, %error, "the mark of a removed agent stays for now");
            }
        }
        for spare in idle {
            let since = *self.0.entry(spare).or_insert(now);
            if now.since(since) >= MARK_STAYS
                && let Err(error) = executor.ledger.unmark_spare(spare).await
            {
                tracing::debug!(%spare, %error, "the mark of a spare stays for now");
            }
        }
    }
}
