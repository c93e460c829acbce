//! All that stands, pushed to a receiver that keeps alerts itself: at each change, and again and again while anything stands, as Prometheus does. So what
//! such a receiver has forgotten it learns again, and what nobody says any more it ends by itself.

use std::sync::Arc;
use std::time::Duration;

use steadfast_health::alerts::Alert;
use steadfast_types::Rng;
use tokio::sync::watch;

use super::delivery::Patience;
use super::receiver::Receiver;
use crate::admin::Metrics;

/// How often it is said again.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

/// What is to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether this server says anything.
    pub(super) leads: bool,
    /// What is open, and what ended lately.
    pub(super) alerts: Vec<Alert>,
}

/// Pushes to the receiver at this place, and after each `again`, until nothing can change any more.
pub(super) async fn push(
    (receivers, at): (Arc<Vec<Receiver>>, usize),
    mut standing: watch::Receiver<Standing>,
    again: Duration,
    metrics: Metrics,
) {
    let (patience, mut rng) = (Patience::default(), Rng::with_seed(crate::identity::random()));
    let mut failures = 0;
    loop {
        let Standing { leads, alerts } = standing.borrow_and_update().clone();
        let wait = if !leads || alerts.is_empty() {
            failures = 0;
            again
        } else {
            failures = if attempt(&receivers[at], &alerts, &metrics, failures).await { 0 } else { failures + 1 };
            if failures == 0 { again } else { patience.wait(failures, &mut rng) }
        };
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn attempt(receiver: &Receiver, alerts: &[Alert], metrics: &Metrics, failures: u32) -> bool {
    match receiver.push(alerts).await {
        Ok(()) => {
            metrics.alert_notices_sent.increment(1);
            true
        }
        Err(failure) => {
            metrics.alert_deliveries_failed.increment(1);
            if failures == 0 {
                tracing::warn!(receiver = receiver.to_string(), reason = failure.reason, "alerts were not taken, and are pushed again");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::tests::{Manner, OK, server};
    use super::super::message;
    use super::*;
    use crate::options::AlertOptions;
    use serde_json::Value;

    async fn body(heard: &mut tokio::sync::mpsc::UnboundedReceiver<String>) -> Value {
        let request = heard.recv().await.unwrap();
        assert!(request.starts_with("POST /api/v2/alerts HTTP/1.1"), "{request}");
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    #[tokio::test]
    async fn all_that_stands_is_pushed_at_each_change_and_until_it_is_taken() {
        let (address, mut heard) = server(&[Manner::Says("500 No\r\n"), OK]).await;
        let options = AlertOptions { alertmanager: vec![format!("http://{address}/").into()], ..AlertOptions::default() };
        let receivers = Arc::new(Receiver::all(&options, ""));
        let sender = watch::Sender::new(Standing::default());
        tokio::spawn(push((receivers, 0), sender.subscribe(), AGAIN, Metrics::new()));
        let (one, two) = (message::test("c", "one", 0), message::test("c", "two", 0));
        sender.send_replace(Standing { leads: false, alerts: vec![two.clone()] });
        sender.send_replace(Standing { leads: true, alerts: vec![one.clone()] });
        let (refused, taken) = (body(&mut heard).await, body(&mut heard).await);
        assert_eq!((refused[0]["labels"]["node"].as_str(), &refused[0]["labels"]), (Some("one"), &taken[0]["labels"]));
        let ended = Alert { ends_ms: Some(5_000), ..one };
        sender.send_replace(Standing { leads: true, alerts: vec![two, ended] });
        let both = body(&mut heard).await;
        assert_eq!((both.as_array().unwrap().len(), both[1]["endsAt"].as_str()), (2, Some("1970-01-01T00:00:05.000Z")));
    }

    #[tokio::test]
    async fn what_stands_is_said_again() {
        let (address, mut heard) = server(&[OK]).await;
        let options = AlertOptions { alertmanager: vec![format!("http://{address}/").into()], ..AlertOptions::default() };
        let sender = watch::Sender::new(Standing { leads: true, alerts: vec![message::test("c", "one", 0)] });
        let receivers = Arc::new(Receiver::all(&options, ""));
        tokio::spawn(push((receivers, 0), sender.subscribe(), Duration::from_millis(1), Metrics::new()));
        for _ in 0..3 {
            assert_eq!(body(&mut heard).await[0]["labels"]["node"], "one");
        }
    }
}
