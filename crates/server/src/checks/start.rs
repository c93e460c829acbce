//! The runner of a real node: its own checks out of what is declared for all, the real clock, the real means.

use std::sync::Arc;

use steadfast_health::checks::definition::Definition;
use steadfast_health::states::Moment;
use steadfast_types::{NodeId, Rng};
use tokio::sync::watch;

use super::declared::{Declares, for_node};
use super::follow::Following;
use super::probes::Probes;
use super::runner::{self, Checks, Part};
use crate::admin::Metrics;
use crate::clock::Clock;
use crate::identity::random;
use crate::options::ServerOptions;

/// Runs what is declared for this node, until `declared`'s other side is gone.
pub(crate) fn start(
    options: &ServerOptions,
    node: NodeId,
    clock: Clock,
    metrics: Metrics,
    declared: watch::Receiver<Arc<Vec<Definition>>>,
) -> Checks {
    let prober = Probes::new(options.enable_script_checks);
    let now = Box::new(move || Moment { now: clock.now(), wall_ms: Clock::wall_ms() });
    runner::start(Part { node, prober, now, rng: Rng::with_seed(random()), metrics }, declared)
}

/// What of all that is declared is this node's.
pub(crate) fn of_node<T: Declares>(mut following: Following<T>, node: String) -> watch::Receiver<Arc<Vec<T>>> {
    let (publish, declared) = watch::channel(Arc::default());
    tokio::spawn(async move {
        loop {
            let all = following.borrow_and_update().clone();
            if let Some(all) = all {
                let own = Arc::new(for_node(&all, &node));
                publish.send_if_modified(|before| {
                    let is_news = *before != own;
                    *before = own;
                    is_news
                });
            }
            tokio::select! {
                changed = following.changed() => if changed.is_err() { return },
                () = publish.closed() => return,
            }
        }
    });
    declared
}
