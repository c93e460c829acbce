//! Alerts on their way to people: what is true of the cluster's health (`truth`), told as `steadfast_health::alerts` says when (`board`), and
//! delivered by webhook, command or Alertmanager (`receiver`, `delivery`, `pushing`).
//!
//! Every server follows what is true; only the leader of strong state sends.
//! 1. Each notice reaches each receiver at least once, unless the receiver fails for longer than [`delivery`] has patience or the process ends. A new
//!    leader says again what is open, and what ended lately, for it can't know what the last one has said.
//! 2. Nothing here holds anything else up: queues are bounded, every delivery has a time limit, a receiver waits for no other.
//! 3. URLs may be secrets: of them scheme, host and port are shown.

mod board;
mod command;
mod delivery;
mod http;
mod message;
mod pushing;
mod receiver;
mod truth;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use steadfast_etcd_api::backend::AlertDelivery;
use steadfast_health::alerts::Config;
use steadfast_health::states::Moment;
use steadfast_types::NodeId;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::Metrics;
use crate::clock::Clock;
use crate::health::view::HealthView;
use crate::options::ServerOptions;
use crate::published::Published;
use crate::recovery::Concern;
use board::Board;
use delivery::Queue;
use pushing::Standing;
use receiver::Receiver;

/// How often what is true is looked at, beside when it changes.
const LOOK: Duration = Duration::from_secs(1);

/// What a server brings along.
pub(crate) struct Part {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    /// In hexadecimal.
    pub(crate) cluster: String,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) published: Arc<Published>,
    pub(crate) health: watch::Receiver<Arc<HealthView>>,
    /// What this server, as the leader, knows of plans.
    pub(crate) recovery: watch::Receiver<Arc<Vec<Concern>>>,
}

/// The receivers of a server; clones share them.
#[derive(Clone)]
pub(crate) struct Alerting {
    receivers: Arc<Vec<Receiver>>,
    /// Whose test it is.
    name: String,
    cluster: String,
}

impl Alerting {
    /// Begins to follow what is true, and to send while this server leads, until `stopping`.
    pub(crate) fn start(options: &ServerOptions, part: Part, stopping: watch::Receiver<bool>) -> Self {
        let link = options.advertise_client.first().cloned().unwrap_or_default();
        let receivers = Arc::new(Receiver::all(&options.alerts, &link));
        let alerting = Alerting { receivers: receivers.clone(), name: part.name.clone(), cluster: part.cluster.clone() };
        if !receivers.is_empty() {
            let shown: Vec<String> = receivers.iter().map(Receiver::to_string).collect();
            tracing::info!(receivers = shown.join(", "), "alerts are sent while this server leads");
            tokio::spawn(follow(part, receivers, stopping));
        }
        alerting
    }

    /// Sends a test through each receiver and waits for what comes of it.
    pub(crate) async fn test(&self) -> Vec<AlertDelivery> {
        let alert = message::test(&self.cluster, &self.name, Clock::wall_ms());
        let deliver = async |receiver: &Receiver| AlertDelivery {
            receiver: receiver.to_string(),
            error: receiver.test(&alert).await.err().map(|failure| failure.reason),
        };
        join_all(self.receivers.iter().map(deliver)).await
    }
}

/// Where notices go: each receiver takes either single notices or all that stands.
struct Outlets {
    queues: Vec<Queue>,
    standing: watch::Sender<Standing>,
}

impl Outlets {
    fn open(receivers: &Arc<Vec<Receiver>>, metrics: &Metrics, stopping: &watch::Receiver<bool>) -> Self {
        let standing = watch::Sender::new(Standing::default());
        let mut queues = Vec::new();
        for (at, receiver) in receivers.iter().enumerate() {
            let (receivers, metrics) = (receivers.clone(), metrics.clone());
            if receiver.takes_all_that_stands() {
                let pushing = pushing::push((receivers, at), standing.subscribe(), pushing::AGAIN, metrics);
                tokio::spawn(until(stopping.clone(), pushing));
            } else {
                let queue = Queue::new(metrics);
                tokio::spawn(until(stopping.clone(), delivery::deliver(receivers, at, queue.clone(), delivery::Patience::default())));
                queues.push(queue);
            }
        }
        Outlets { queues, standing }
    }
}

async fn until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        // An error: the sender is gone, which means the same.
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

async fn follow(mut part: Part, receivers: Arc<Vec<Receiver>>, stopping: watch::Receiver<bool>) {
    let outlets = Outlets::open(&receivers, &part.metrics, &stopping);
    let mut board = Board::new(Config::default());
    let mut leader = part.published.leader();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // Without a sender the node stops.
                changed = part.health.changed() => if changed.is_err() { return },
                changed = leader.changed() => if changed.is_err() { return },
            }
            look(&part, &mut board, &outlets);
        }
    };
    until(stopping, looking).await;
}

fn look(part: &Part, board: &mut Board, outlets: &Outlets) {
    let moment = Moment { now: part.clock.now(), wall_ms: Clock::wall_ms() };
    let leads = *part.published.leader().borrow() == Some(part.node);
    let Some(reader) = part.published.reader() else { return };
    // An error: the tables are damaged, and are being replaced.
    let Ok(alarms) = reader.alarms() else { return };
    let alarms: Vec<_> = alarms.all().map(|(alarm, _)| alarm).collect();
    let health = part.health.borrow().clone();
    let mut truth = truth::truth(&part.cluster, &health, &alarms);
    truth.extend(truth::of_recovery(&part.cluster, &health, &part.recovery.borrow()));
    let notices = board.look(moment, truth, leads);
    part.metrics.alerts_open.set(board.open() as f64);
    if !leads {
        outlets.queues.iter().for_each(Queue::clear);
    }
    for notice in notices.into_iter().map(Arc::new) {
        outlets.queues.iter().for_each(|queue| queue.push(notice.clone()));
    }
    let standing = Standing { leads, alerts: if leads { board.standing() } else { Vec::new() } };
    outlets.standing.send_if_modified(|known| {
        let is_new = *known != standing;
        *known = standing;
        is_new
    });
}
