//! Every server follows the records of health, and publishes what they say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use steadfast_coordination::{Change as Changed, Coordination, Key, Keys, Prefix, Record, Watch as _};
use steadfast_health::HealthState;
use steadfast_types::Revision;
use tokio::sync::watch;
use tokio::time::sleep;

use super::records::{EVENTS, Entry, ROOM, read, read_all};
use super::view::HealthView;
use crate::admin::Metrics;

/// After the records could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Follows the records for as long as anybody wants to know.
pub(super) async fn follow<C: Coordination>(store: C, publish: watch::Sender<Arc<HealthView>>) {
    loop {
        if let Err(error) = follow_once(&store, &publish).await {
            tracing::debug!(error, "the records of health can't be followed just now");
        }
        tokio::select! {
            () = sleep(READ_AGAIN) => {}
            () = publish.closed() => return,
        }
    }
}

/// Keeps the gauges what the views say.
pub(super) async fn count(mut views: watch::Receiver<Arc<HealthView>>, metrics: Metrics) {
    while views.changed().await.is_ok() {
        let view = views.borrow_and_update().clone();
        let count = |state| view.nodes.values().filter(|node| node.health.state == state).count() as f64;
        metrics.health_degraded.set(count(HealthState::Degraded));
        metrics.health_suspect.set(count(HealthState::Suspect));
        metrics.health_failed.set(count(HealthState::Failed));
        metrics.health_recovering.set(count(HealthState::Recovering));
        metrics.health_services.set(view.services.len() as f64);
        let unwell = view.services.values().filter(|health| health.state != HealthState::Healthy).count();
        metrics.health_services_unwell.set(unwell as f64);
    }
}

/// Reads all, and follows the changes until the watch ends.
async fn follow_once<C: Coordination>(store: &C, publish: &watch::Sender<Arc<HealthView>>) -> Result<(), String> {
    let (revision, records) = read_all(store).await.map_err(|error| error.to_string())?;
    let mut entries: BTreeMap<Key, Entry> = records.iter().filter_map(entry).collect();
    publish.send_replace(Arc::new(view(revision, &entries)));
    let room = Prefix::new(ROOM).map_err(|error| error.to_string())?;
    let mut watch = store.watch(Keys::Under(room), Revision(revision.0 + 1));
    loop {
        let changes = watch.next().await.map_err(|error| error.to_string())?;
        for change in &changes.changes {
            match change {
                Changed::Put(record) => match entry(record) {
                    Some((key, entry)) => drop(entries.insert(key, entry)),
                    None => drop(entries.remove(&record.key)),
                },
                Changed::Delete(key) => drop(entries.remove(key)),
            }
        }
        if !changes.changes.is_empty() {
            publish.send_replace(Arc::new(view(changes.revision, &entries)));
        }
    }
}

fn entry(record: &Record) -> Option<(Key, Entry)> {
    Some((record.key.clone(), read(record).ok().flatten()?))
}

fn view(revision: Revision, entries: &BTreeMap<Key, Entry>) -> HealthView {
    let mut view = HealthView { revision, ..HealthView::default() };
    let mut history = VecDeque::new();
    for entry in entries.values() {
        match entry {
            Entry::Node(id, node) => drop(view.nodes.insert(*id, node.clone())),
            Entry::Service(node, _, service, health) => drop(view.services.insert((*node, service.clone()), health.clone())),
            Entry::Event(event) => {
                // Others may have written what looks like events.
                if history.len() as u64 == EVENTS {
                    history.pop_front();
                }
                history.push_back(event.clone());
            }
        }
    }
    view.history = history;
    view
}
