//! Notices on their way to one receiver: in order, tried again for as long as there is patience, bounded.
//!
//! 1. At most [`WAITING`] notices wait; when there is no room the oldest goes, and is counted: what is still true is said again.
//! 2. A delivery that fails for the moment is tried again after a wait that doubles up to a cap, with jitter; one that is refused for good is not.
//! 3. A notice that was cleared while it was under way is not tried again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_health::alerts::Notice;
use steadfast_types::Rng;
use tokio::sync::Notify;

use super::http::Failure;
use super::receiver::Receiver;
use crate::admin::Metrics;

/// Notices that wait for one receiver.
const WAITING: usize = 256;

/// How long, and how often, a failing receiver is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The first wait.
    pub(super) first: Duration,
    /// The longest.
    pub(super) longest: Duration,
    /// Deliveries of one notice that may fail.
    pub(super) attempts: u32,
}

impl Default for Patience {
    /// From a second to a minute; about a quarter of an hour for one notice.
    fn default() -> Self {
        Patience { first: Duration::from_secs(1), longest: Duration::from_secs(60), attempts: 20 }
    }
}

impl Patience {
    /// The wait after so many failures, half of it at random.
    pub(super) fn wait(&self, failures: u32, rng: &mut Rng) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.longest).mul_f64(0.5 + rng.f64() / 2.0)
    }
}

/// What waits for one receiver; clones are handles on the same.
#[derive(Clone)]
pub(super) struct Queue {
    waiting: Arc<Mutex<VecDeque<Arc<Notice>>>>,
    pushed: Arc<Notify>,
    metrics: Metrics,
}

impl Queue {
    pub(super) fn new(metrics: Metrics) -> Self {
        Queue { waiting: Arc::default(), pushed: Arc::default(), metrics }
    }

    pub(super) fn push(&self, notice: Arc<Notice>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() == WAITING {
            waiting.pop_front();
            self.metrics.alert_notices_dropped.increment(1);
        }
        waiting.push_back(notice);
        drop(waiting);
        self.pushed.notify_one();
    }

    /// Another leads, and says all again.
    pub(super) fn clear(&self) {
        self.waiting.lock().clear();
    }

    async fn first(&self) -> Arc<Notice> {
        loop {
            if let Some(notice) = self.waiting.lock().front().cloned() {
                return notice;
            }
            self.pushed.notified().await;
        }
    }

    fn is_first(&self, notice: &Arc<Notice>) -> bool {
        self.waiting.lock().front().is_some_and(|first| Arc::ptr_eq(first, notice))
    }

    /// It is done with, unless it has been cleared.
    fn done(&self, notice: &Arc<Notice>) {
        self.waiting.lock().pop_front_if(|first| Arc::ptr_eq(first, notice));
    }
}

/// Delivers what comes into the queue to the receiver at this place, for ever.
pub(super) async fn deliver(receivers: Arc<Vec<Receiver>>, at: usize, queue: Queue, patience: Patience) {
    let receiver = &receivers[at];
    let mut rng = Rng::with_seed(crate::identity::random());
    loop {
        let notice = queue.first().await;
        let mut failures = 0;
        while queue.is_first(&notice) {
            match receiver.notify(&notice).await {
                Ok(()) => {
                    queue.metrics.alert_notices_sent.increment(1);
                    queue.done(&notice);
                }
                Err(failure) => {
                    queue.metrics.alert_deliveries_failed.increment(1);
                    failures += 1;
                    give_up_or_wait(receiver, &queue, (&notice, failures, failure), (patience, &mut rng)).await;
                }
            }
        }
    }
}

async fn give_up_or_wait(
    receiver: &Receiver,
    queue: &Queue,
    (notice, failures, Failure { reason, is_final }): (&Arc<Notice>, u32, Failure),
    (patience, rng): (Patience, &mut Rng),
) {
    let receiver = receiver.to_string();
    if is_final || failures >= patience.attempts {
        tracing::error!(receiver, failures, reason, "an alert was not delivered, and is given up");
        queue.metrics.alert_notices_dropped.increment(1);
        queue.done(notice);
        return;
    }
    if failures == 1 {
        tracing::warn!(receiver, reason, "an alert was not delivered, and is tried again");
    }
    tokio::time::sleep(patience.wait(failures, rng)).await;
}

#[cfg(test)]
mod tests {
    use super::super::http::tests::{Manner, OK, server};
    use super::super::message;
    use super::*;
    use crate::options::AlertOptions;
    use tokio::sync::mpsc::UnboundedReceiver;

    const FAST: Patience = Patience { first: Duration::from_millis(1), longest: Duration::from_millis(4), attempts: 4 };

    fn notice(name: &str) -> Arc<Notice> {
        let alert = message::test("c", name, 0);
        Arc::new(Notice { group: alert.labels.clone(), alerts: vec![alert], repeats: 0 })
    }

    async fn delivering(manners: &'static [Manner]) -> (Queue, Metrics, UnboundedReceiver<String>) {
        let (address, heard) = server(manners).await;
        let options = AlertOptions { alert_webhook: vec![format!("http://{address}/").into()], ..AlertOptions::default() };
        let (metrics, receivers) = (Metrics::new(), Arc::new(Receiver::all(&options, "http://n1:2379")));
        let queue = Queue::new(metrics.clone());
        tokio::spawn(deliver(receivers, 0, queue.clone(), FAST));
        (queue, metrics, heard)
    }

    fn counted(metrics: &Metrics, name: &str) -> u64 {
        let text = metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))?.parse().ok()).unwrap_or(0)
    }

    async fn node_of(heard: &mut UnboundedReceiver<String>) -> String {
        let request = heard.recv().await.unwrap();
        let body: serde_json::Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        body["alerts"][0]["labels"]["node"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_fails_for_the_moment_is_tried_again_in_order() {
        const MANNERS: &[Manner] = &[Manner::Says("500 No\r\n"), Manner::HangsUp, Manner::Says("503 No\r\n"), OK];
        let (queue, metrics, mut heard) = delivering(MANNERS).await;
        queue.push(notice("one"));
        queue.push(notice("two"));
        let mut nodes = Vec::new();
        for _ in 0..5 {
            nodes.push(node_of(&mut heard).await);
        }
        assert_eq!(nodes, ["one", "one", "one", "one", "two"]);
        while counted(&metrics, "steadfast_alert_notices_sent_total") < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counted(&metrics, "steadfast_alert_delivery_failures_total"), 3);
        assert_eq!(counted(&metrics, "steadfast_alert_notices_dropped_total"), 0);
    }

    #[tokio::test]
    async fn what_is_refused_for_good_or_too_often_is_given_up_and_counted() {
        const MANNERS: &[Manner] = &[
            Manner::Says("400 No\r\n"),
            Manner::Says("302 Found\r\nLocation: http://h/\r\n"),
            Manner::HangsUp,
            Manner::HangsUp,
            Manner::HangsUp,
            Manner::HangsUp,
            OK,
        ];
        let (queue, metrics, mut heard) = delivering(MANNERS).await;
        ["bad", "moved", "dead", "good"].iter().for_each(|name| queue.push(notice(name)));
        let mut nodes = Vec::new();
        for _ in 0..7 {
            nodes.push(node_of(&mut heard).await);
        }
        assert_eq!(nodes, ["bad", "moved", "dead", "dead", "dead", "dead", "good"]);
        assert_eq!(counted(&metrics, "steadfast_alert_notices_dropped_total"), 3);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_cleared() {
        let metrics = Metrics::new();
        let queue = Queue::new(metrics.clone());
        (0..WAITING + 10).for_each(|at| queue.push(notice(&at.to_string())));
        assert_eq!(queue.waiting.lock().len(), WAITING);
        assert_eq!(counted(&metrics, "steadfast_alert_notices_dropped_total"), 10);
        assert_eq!(queue.first().await.alerts[0].labels["node"], "10");
        queue.clear();
        assert!(queue.waiting.lock().is_empty());
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_jittered() {
        let (patience, mut rng) = (Patience::default(), Rng::with_seed(1));
        for failures in 1..100 {
            let full = Duration::from_secs(1 << (failures - 1).min(6)).min(patience.longest);
            let wait = patience.wait(failures, &mut rng);
            assert!(full / 2 <= wait && wait <= full, "{failures}: {wait:?}");
        }
    }
}
