//! Probes through this node's own log and store, which cost no write.
//!
//! *Through the store*: a linearizable read, which the core takes up (proposal), a quorum confirms (commit), and the tables must have caught up for
//! (apply); then the state is read (read back). *Through the log*: the sync that is under way, if one is. Nothing is ever written for a probe: a log
//! that has nothing to write is not known to be stuck, and hurts nobody until it has.
//!
//! Learners confirm no reads, and are not probed.

use std::sync::Arc;
use std::time::Duration;

use steadfast_etcd_api::Backend as _;
use steadfast_health::detectors::probe::{Config, Mark, Probe, ProbeNumber};
use steadfast_health::detectors::{Bounds, Detector};
use steadfast_health::evidence::Stage;
use steadfast_health::{Evidence, Suspicion};
use steadfast_node::NodeStatus;
use steadfast_types::Instant;
use tokio::time::sleep;

use super::Observer;
use crate::backend::NodeBackend;
use crate::clock::Clock;
use crate::published::Published;

/// How long after a probe the next one follows.
const EVERY: Duration = Duration::from_secs(10);

/// After one that came to nothing.
const AGAIN: Duration = Duration::from_secs(1);

/// A probe that takes so long has not come back in time, and has stopped at three times that.
const STUCK: Duration = Duration::from_secs(10);

/// One that takes so long and comes back is slow.
const SLOW: Duration = Duration::from_secs(2);

/// So long all of them must be slow to be told of, as with any soft error: a change of leaders makes one slow.
const SLOW_LASTS: Duration = Duration::from_secs(60);

/// The probes of this node.
#[derive(Debug)]
pub(super) struct Probes {
    store: Probe,
    log: Probe,
    /// The newest one through the store.
    number: ProbeNumber,
    /// The sync that was under way at the last look: its number, and since when.
    sync: Option<(ProbeNumber, Instant)>,
    /// Since when all probes were slow.
    slow_since: Option<Instant>,
}

impl Default for Probes {
    fn default() -> Self {
        let config = |slow| Config { slow, stuck: Bounds::new(STUCK, STUCK * 3) };
        // Slow syncs are soft errors already, by their percentiles.
        Probes {
            store: Probe::new(config(SLOW)),
            log: Probe::new(config(Duration::MAX)),
            number: ProbeNumber(0),
            sync: None,
            slow_since: None,
        }
    }
}

impl Probes {
    /// Takes what can be seen from outside: `None`, the core loop does not turn; and since when a sync is under way.
    pub(super) fn feed(&mut self, now: Instant, status: Option<&NodeStatus>, syncing: Option<Instant>) {
        if let Some(status) = status {
            // The core turns, so it has taken the read up, which waits for no sync.
            let is_behind = status.applied.index < status.consensus.commit;
            self.pass(now, if is_behind { Stage::Committed } else { Stage::Durable });
        }
        if self.sync.map(|(_, since)| since) == syncing {
            return;
        }
        let before = self.sync.map_or(ProbeNumber(0), |(number, _)| number);
        self.log.observe(now, Mark::Passed(before, Stage::Returned));
        self.sync = syncing.map(|since| {
            let number = ProbeNumber(before.0.max(since.0) + 1);
            self.log.observe(since, Mark::Started(number));
            self.log.observe(since, Mark::Passed(number, Stage::Proposed));
            (number, since)
        });
    }

    fn start(&mut self, now: Instant) {
        self.number.0 += 1;
        self.store.observe(now, Mark::Started(self.number));
    }

    fn pass(&mut self, now: Instant, stage: Stage) {
        self.store.observe(now, Mark::Passed(self.number, stage));
    }

    /// What they have against this node.
    pub(super) fn evidence(&mut self, now: Instant) -> Vec<Evidence> {
        let store = self.store.assess(now);
        self.slow_since = (store.suspicion == Suspicion::Soft).then(|| self.slow_since.unwrap_or(now));
        let lasts = self.slow_since.is_none_or(|since| now.since(since) >= SLOW_LASTS);
        let held = [Some(store).filter(|_| lasts), Some(self.log.assess(now))];
        held.into_iter().flatten().filter(|held| held.suspicion >= Suspicion::Soft).flat_map(|held| held.evidence).collect()
    }

    /// This node stood still.
    pub(super) fn forgive(&mut self, now: Instant, pause: Duration) {
        super::forgive(&mut [&mut self.store, &mut self.log], now, pause);
    }
}

/// Probes the store, one after the other, for as long as it runs.
pub(super) async fn through_the_store(observer: &Observer, backend: &NodeBackend, (published, clock): (&Arc<Published>, Clock)) {
    loop {
        if published.is_learner() {
            observer.0.lock().probes.store = Probes::default().store;
            sleep(EVERY).await;
            continue;
        }
        observer.0.lock().probes.start(clock.now());
        let has_returned = probe(observer, backend, clock).await.is_some();
        sleep(if has_returned { EVERY } else { AGAIN }).await;
    }
}

/// One probe; `None`: it came to nothing.
async fn probe(observer: &Observer, backend: &NodeBackend, clock: Clock) -> Option<()> {
    let pass = |stage| observer.0.lock().probes.pass(clock.now(), stage);
    backend.linearize().await.ok()?;
    pass(Stage::Applied);
    let store = backend.clone();
    tokio::task::spawn_blocking(move || store.members().is_ok()).await.ok()?.then_some(())?;
    pass(Stage::Returned);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_health::Figures;

    fn at(s: u64) -> Instant {
        Instant(s * 1_000_000)
    }

    fn stages(probes: &mut Probes, now: Instant) -> Vec<Stage> {
        let stage = |evidence: &Evidence| match &evidence.figures {
            Figures::ProbeStuck { stage, .. } => Some(*stage),
            _ => None,
        };
        probes.evidence(now).iter().filter_map(stage).collect()
    }

    #[test]
    fn a_sync_that_does_not_end_is_named_and_its_end_clears_it() {
        let mut probes = Probes::default();
        probes.feed(at(1), None, Some(at(1)));
        probes.feed(at(2), None, Some(at(2)));
        assert_eq!(stages(&mut probes, at(11)), [], "the first one has ended");
        assert_eq!(stages(&mut probes, at(12)), [Stage::Durable]);
        probes.feed(at(13), None, None);
        assert_eq!(probes.evidence(at(100)), []);
        probes.feed(at(101), None, Some(at(100)));
        assert_eq!(stages(&mut probes, at(109)), []);
        assert_eq!(stages(&mut probes, at(110)), [Stage::Durable]);
    }

    #[test]
    fn a_read_that_does_not_come_back_is_named_by_where_it_stands() {
        let mut probes = Probes::default();
        probes.start(at(1));
        assert_eq!(stages(&mut probes, at(11)), [Stage::Proposed], "the core does not turn");
        probes.pass(at(11), Stage::Durable);
        assert_eq!(stages(&mut probes, at(11)), [Stage::Committed]);
        probes.start(at(12));
        assert_eq!(stages(&mut probes, at(12)), [Stage::Proposed], "another one does not make it young");
        probes.pass(at(13), Stage::Applied);
        assert_eq!(stages(&mut probes, at(13)), [Stage::Returned]);
        probes.pass(at(13), Stage::Returned);
        assert_eq!(probes.evidence(at(50)), [], "one slow one is chance");
        assert_eq!(probes.evidence(at(109)), []);
        assert!(matches!(probes.evidence(at(110))[..], [Evidence { figures: Figures::ProbeSlow { .. }, .. }]));
    }

    #[test]
    fn a_pause_of_its_own_is_no_stall() {
        let mut probes = Probes::default();
        probes.start(at(1));
        probes.feed(at(1), None, Some(at(1)));
        probes.forgive(at(31), Duration::from_secs(29));
        assert_eq!(stages(&mut probes, at(35)), []);
    }
}
