//! The task of a node that runs what is declared for it: one per node, servers and agents alike.
//!
//! It owns the scheduler (what is due) and the services (what the results say); runs are tasks of their own, at most one for each check and so many in all
//! as the scheduler lets. It never waits for a run: it takes what has ended, and ends what hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use steadfast_health::HealthState;
use steadfast_health::checks::definition::{Check, Definition};
use steadfast_health::checks::scheduler::{RunNumber, Scheduler};
use steadfast_health::checks::services::Services;
use steadfast_health::checks::tally::Outcome;
use steadfast_health::limits::{CHECKS, DETAIL_BYTES, cut};
use steadfast_health::states::{Config, Event, Health, Moment, damping};
use steadfast_types::{Instant, NodeId, Rng};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::heartbeat::{Beat, Heard};
use super::probes::Prober;
use super::progress::Progress;
use super::report::{CheckReport, ServiceReport};
use crate::admin::Metrics;

/// Heartbeats that wait to be taken.
const WAITING_BEATS: usize = 64;

/// Reports are published no more often.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// The longest sleep: a clock may have been moved meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a node says of its services, and where services say that they live. Clones are handles on the same task.
#[derive(Clone)]
pub(crate) struct Checks {
    pub(crate) reports: watch::Receiver<Arc<Vec<ServiceReport>>>,
    pub(super) beats: mpsc::Sender<Beat>,
}

/// The time, as the runner is told it.
pub(crate) type Now = Box<dyn Fn() -> Moment + Send>;

/// What a runner is made of.
pub(super) struct Part<P> {
    pub(super) node: NodeId,
    pub(super) prober: P,
    pub(super) now: Now,
    pub(super) rng: Rng,
    pub(super) metrics: Metrics,
}

/// Runs what `declared` says, until its other side is gone: then all runs end.
pub(super) fn start<P: Prober>(part: Part<P>, declared: watch::Receiver<Arc<Vec<Definition>>>) -> Checks {
    let (publish, reports) = watch::channel(Arc::default());
    let (beats, beats_in) = mpsc::channel(WAITING_BEATS);
    let runner = Runner {
        services: Services::new(part.node, thresholds_alone()),
        prober: part.prober,
        now: part.now,
        rng: part.rng,
        metrics: part.metrics,
        scheduler: Scheduler::default(),
        held: BTreeMap::new(),
        since: BTreeMap::new(),
        runs: JoinSet::new(),
        under_way: BTreeMap::new(),
        is_changed: false,
        published: Instant(0),
        publish,
    };
    tokio::spawn(runner.run(declared, beats_in));
    Checks { reports, beats }
}

/// A service is well again when its checks have risen, without a wait beyond their thresholds; who changes too often is held all the same.
fn thresholds_alone() -> Config {
    // A service that falls is degraded on its way, which costs too: three falls are too many here, as three losses are of a node.
    let damping = damping::Config { suppress: 4_000.0, ..damping::Config::default() };
    Config { hold: Duration::ZERO, hold_recovering: Duration::ZERO, damping }
}

/// A check that is run, and what came of it last.
struct Held {
    check: Check,
    last: Option<Outcome>,
}

/// A run under way.
struct UnderWay {
    number: RunNumber,
    abort: AbortHandle,
    started: Instant,
    progress: Progress,
}

/// A run that has ended by itself.
struct Done {
    check: String,
    number: RunNumber,
    outcome: Outcome,
}

struct Runner<P> {
    prober: P,
    now: Now,
    rng: Rng,
    metrics: Metrics,
    scheduler: Scheduler,
    services: Services,
    held: BTreeMap<String, Held>,
    /// When each service was first seen, for those that have never changed.
    since: BTreeMap<String, u64>,
    runs: JoinSet<Done>,
    under_way: BTreeMap<String, UnderWay>,
    is_changed: bool,
    published: Instant,
    publish: watch::Sender<Arc<Vec<ServiceReport>>>,
}

impl<P: Prober> Runner<P> {
    async fn run(mut self, mut declared: watch::Receiver<Arc<Vec<Definition>>>, mut beats: mpsc::Receiver<Beat>) {
        declared.mark_changed();
        loop {
            let wait = self.wait();
            tokio::select! {
                changed = declared.changed() => match changed {
                    Ok(()) => {
                        let now_declared = declared.borrow_and_update().clone();
                        self.redeclare(&now_declared);
                    }
                    Err(_) => return,
                },
                Some(beat) = beats.recv() => self.beat(beat),
                Some(done) = self.runs.join_next() => self.done(done),
                () = tokio::time::sleep(wait) => {}
            }
            // A turn looks at all checks: one for all that has ended meanwhile.
            while let Some(done) = self.runs.try_join_next() {
                self.done(done);
            }
            self.turn();
            self.publish();
        }
    }

    /// Until something is to be done.
    fn wait(&self) -> Duration {
        let now = (self.now)().now;
        let service = self.services.all().map(|(_, health)| health.next_change(now)).min().unwrap_or(Instant::NEVER);
        let report = if self.is_changed { self.published + PUBLISH_EVERY } else { Instant::NEVER };
        let wait = self.scheduler.next_turn().min(service).min(report).since(now);
        // A timer of the runtime has milliseconds, and never rings early.
        wait.min(LONGEST_SLEEP)
    }

    /// Takes what is declared now: what is as it was goes on.
    fn redeclare(&mut self, declared: &[Definition]) {
        let wanted: BTreeMap<&str, &Definition> = declared.iter().map(|definition| (definition.name.as_str(), definition)).collect();
        let gone: Vec<String> = self.held.keys().filter(|name| !wanted.contains_key(name.as_str())).cloned().collect();
        gone.iter().for_each(|name| self.forget(name));
        let mut refused = 0;
        for definition in wanted.into_values() {
            let is_same = self.held.get(&definition.name).is_some_and(|held| held.check.definition() == definition);
            if !is_same {
                refused += usize::from(!self.hold(definition));
            }
        }
        if refused > 0 {
            tracing::warn!(refused, "{CHECKS} checks run on this node, and no more: declare the others on other nodes, or remove some");
        }
        self.since.retain(|service, _| self.services.health(service).is_some());
        self.is_changed = true;
    }

    /// False if there are too many.
    fn hold(&mut self, definition: &Definition) -> bool {
        let moment = (self.now)();
        let check = match definition.clone().validate() {
            Ok(check) => check,
            Err(error) => {
                tracing::warn!("a check that can't be run is ignored: {error}");
                self.forget(&definition.name);
                return true;
            }
        };
        self.end(&definition.name);
        if self.scheduler.add(moment.now, check.clone(), &mut self.rng).is_err() {
            return false;
        }
        self.services.add(moment, &check);
        self.since.entry(definition.service.clone()).or_insert(moment.wall_ms);
        self.held.insert(definition.name.clone(), Held { check, last: None });
        true
    }

    fn forget(&mut self, name: &str) {
        self.end(name);
        self.scheduler.remove(name);
        self.services.remove(name);
        self.held.remove(name);
    }

    /// Ends the run of a check, if there is one.
    fn end(&mut self, name: &str) -> Option<UnderWay> {
        let run = self.under_way.remove(name)?;
        run.abort.abort();
        Some(run)
    }

    fn turn(&mut self) {
        let moment = (self.now)();
        let turn = self.scheduler.turn(moment.now, &mut self.rng);
        for (check, outcome) in turn.results {
            let outcome = match self.end(&check) {
                Some(run) => self.hung(moment, outcome, &run),
                None => outcome,
            };
            self.take(moment, &check, outcome);
        }
        for run in turn.start {
            self.begin(moment.now, run.check, run.number);
        }
        let events = self.services.tick(moment);
        self.tell(&events);
    }

    fn begin(&mut self, now: Instant, name: String, number: RunNumber) {
        let Some(held) = self.held.get(&name) else { return };
        let progress = Progress::default();
        let run = self.prober.run(&held.check, progress.clone());
        let check = name.clone();
        let abort = self.runs.spawn(async move { Done { check, number, outcome: run.await } });
        self.under_way.insert(name, UnderWay { number, abort, started: now, progress });
    }

    /// What is said of a run that hangs: where it stood.
    fn hung(&self, moment: Moment, outcome: Outcome, run: &UnderWay) -> Outcome {
        self.metrics.check_seconds.record(moment.now.since(run.started));
        self.metrics.checks_timed_out.increment(1);
        let longer = |words: String| cut(&(words + &run.progress.words()), DETAIL_BYTES).to_owned();
        match outcome {
            Outcome::Passed => Outcome::Passed,
            Outcome::Warned(words) => Outcome::Warned(longer(words)),
            Outcome::Failed(words) => Outcome::Failed(longer(words)),
        }
    }

    /// A run is over. One that was ended from here has nothing to say.
    fn done(&mut self, done: Result<Done, JoinError>) {
        let Ok(done) = done else { return };
        let moment = (self.now)();
        if !self.scheduler.finished(&done.check, done.number) {
            return;
        }
        if let Some(run) = self.under_way.remove(&done.check).filter(|run| run.number == done.number) {
            self.metrics.check_seconds.record(moment.now.since(run.started));
        }
        self.take(moment, &done.check, done.outcome);
    }

    /// A service says that it lives, or how it is.
    fn beat(&mut self, beat: Beat) {
        let moment = (self.now)();
        let of_service = |held: &&Held| held.check.definition().service == beat.service;
        let is_known = self.held.values().any(|held| of_service(&held));
        let beating = self.held.values().filter(of_service).filter(|held| held.check.is_heartbeat());
        let checks: Vec<String> = beating.map(|held| held.check.definition().name.clone()).collect();
        for check in &checks {
            self.scheduler.beat(moment.now, check);
            self.take(moment, check, beat.outcome.clone());
        }
        let heard = match (checks.is_empty(), is_known) {
            (false, _) => Heard::Taken,
            (true, true) => Heard::NoHeartbeat,
            (true, false) => Heard::NoService,
        };
        // Whoever has hung up needs no answer.
        let _ = beat.answer.send(heard);
    }

    fn take(&mut self, moment: Moment, check: &str, outcome: Outcome) {
        let Some(held) = self.held.get_mut(check) else { return };
        match &outcome {
            Outcome::Passed => self.metrics.checks_passed.increment(1),
            Outcome::Warned(_) => self.metrics.checks_warned.increment(1),
            Outcome::Failed(_) => self.metrics.checks_failed.increment(1),
        }
        held.last = Some(outcome.clone());
        self.is_changed = true;
        let events = self.services.take(moment, check, outcome);
        self.tell(&events);
    }

    fn tell(&mut self, events: &[Event]) {
        for event in events {
            self.is_changed = true;
            let why = event.evidence.first().map_or_else(String::new, |testimony| testimony.evidence.to_string());
            match event.to {
                HealthState::Failed => tracing::warn!("{} was {} and is {}: {why}", event.subject, event.from, event.to),
                HealthState::Healthy | HealthState::Recovering | HealthState::Degraded | HealthState::Suspect => {
                    tracing::info!("{} was {} and is {}: {why}", event.subject, event.from, event.to);
                }
            }
        }
    }

    fn publish(&mut self) {
        let now = (self.now)().now;
        if !self.is_changed || now < self.published + PUBLISH_EVERY && self.published > Instant(0) {
            return;
        }
        (self.is_changed, self.published) = (false, now);
        let reports = self.reports();
        self.observe(&reports);
        self.publish.send_if_modified(|before| {
            let is_news = **before != reports;
            if is_news {
                *before = Arc::new(reports);
            }
            is_news
        });
    }

    fn reports(&self) -> Vec<ServiceReport> {
        let mut checks: BTreeMap<&str, Vec<CheckReport>> = BTreeMap::new();
        for (name, held) in &self.held {
            checks.entry(&held.check.definition().service).or_default().push(CheckReport::of(name, held.last.as_ref()));
        }
        let report = |(service, health): (&String, &Health)| {
            let last = health.history().last();
            ServiceReport {
                service: service.clone(),
                state: health.state(),
                is_flapping: health.is_flapping(),
                since_ms: last.map_or_else(|| self.since.get(service).copied().unwrap_or_default(), |event| event.wall_ms),
                checks: checks.remove(service.as_str()).unwrap_or_default(),
                unnamed_checks: 0,
                evidence: last.map_or_else(Vec::new, |event| event.evidence.clone()),
            }
            .bounded()
        };
        self.services.all().map(report).collect()
    }

    fn observe(&self, reports: &[ServiceReport]) {
        let failed = reports.iter().filter(|report| report.state == HealthState::Failed).count();
        self.metrics.services.set(reports.len() as f64);
        self.metrics.services_failed.set(failed as f64);
        self.metrics.checks_declared.set(self.held.len() as f64);
    }
}

#[cfg(test)]
mod tests;
