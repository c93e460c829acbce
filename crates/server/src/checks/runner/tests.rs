//! The runner with runs that a test decides, in paused time.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use steadfast_health::checks::definition::Kind;
use tokio::sync::oneshot;

use super::super::heartbeat::{Beat, Heard};
use super::super::report::CheckOutcome;
use super::*;

/// Answers of checks by their names; those without one never end.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    outcomes: BTreeMap<String, Outcome>,
    running: usize,
    most: usize,
    runs: BTreeMap<String, u32>,
}

impl Scripted {
    fn answer(&self, check: &str, outcome: Outcome) {
        self.0.lock().outcomes.insert(check.to_owned(), outcome);
    }

    fn runs(&self, check: &str) -> u32 {
        self.0.lock().runs.get(check).copied().unwrap_or_default()
    }
}

/// A run that is counted while it is there.
struct Counted(Scripted);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.lock().running -= 1;
    }
}

impl Prober for Scripted {
    fn run(&self, check: &Check, progress: Progress) -> impl Future<Output = Outcome> + Send + 'static {
        let (world, name) = (self.clone(), check.definition().name.clone());
        async move {
            let answer = {
                let mut world = world.0.lock();
                world.running += 1;
                world.most = world.most.max(world.running);
                *world.runs.entry(name.clone()).or_default() += 1;
                world.outcomes.get(&name).cloned()
            };
            let _counted = Counted(world);
            match answer {
                Some(outcome) => outcome,
                None => {
                    progress.waits_for("the end of the world");
                    std::future::pending().await
                }
            }
        }
    }
}

struct Node {
    world: Scripted,
    declare: watch::Sender<Arc<Vec<Definition>>>,
    checks: Checks,
    metrics: Metrics,
}

impl Node {
    fn start(declared: Vec<Definition>) -> Self {
        let (world, metrics) = (Scripted::default(), Metrics::new());
        let began = tokio::time::Instant::now();
        let now = move || {
            let us = 1_000_000 + u64::try_from(began.elapsed().as_micros()).unwrap();
            Moment { now: Instant(us), wall_ms: us / 1_000 }
        };
        let (declare, declarations) = watch::channel(Arc::new(declared));
        let part = Part { node: NodeId(7), prober: world.clone(), now: Box::new(now), rng: Rng::with_seed(1), metrics: metrics.clone() };
        Node { world, declare, checks: start(part, declarations), metrics }
    }

    async fn report_when(&mut self, service: &str, is_so: impl Fn(&ServiceReport) -> bool) -> ServiceReport {
        let of = |reports: &Arc<Vec<ServiceReport>>| reports.iter().find(|report| report.service == service).cloned();
        let reports = self.checks.reports.wait_for(|reports| of(reports).is_some_and(|report| is_so(&report))).await.unwrap();
        of(&reports).unwrap()
    }

    async fn await_state(&mut self, service: &str, state: HealthState) -> ServiceReport {
        self.report_when(service, |report| report.state == state).await
    }

    async fn beat(&self, service: &str, outcome: Outcome) -> Heard {
        let (answer, heard) = oneshot::channel();
        self.checks.beats.send(Beat { service: service.into(), outcome, answer }).await.unwrap();
        heard.await.unwrap()
    }
}

fn tcp(name: &str, service: &str) -> Definition {
    let kind = Kind::Tcp { address: "localhost:80".into() };
    Definition { interval_ms: 1_000, timeout_ms: 500, ..Definition::new(name, service, kind) }
}

fn no() -> Outcome {
    Outcome::Failed("no".into())
}

#[tokio::test(start_paused = true)]
async fn a_service_falls_and_rises_by_its_thresholds() {
    let mut node = Node::start(vec![tcp("port", "orders"), tcp("page", "orders")]);
    node.world.answer("port", Outcome::Passed);
    node.world.answer("page", Outcome::Passed);
    node.await_state("orders", HealthState::Healthy).await;
    node.world.answer("page", no());
    node.await_state("orders", HealthState::Degraded).await;
    let report = node.await_state("orders", HealthState::Failed).await;
    let worst = CheckReport { name: "page".into(), outcome: CheckOutcome::Failed, words: "no".into() };
    assert_eq!((&report.checks[0], report.checks[1].outcome), (&worst, CheckOutcome::Passed));
    assert_eq!(report.evidence[0].evidence.to_string(), "check: 3 of 3 checks failed in a row: no");
    node.world.answer("page", Outcome::Passed);
    let (before, since) = (node.world.runs("page"), report.since_ms);
    let report = node.await_state("orders", HealthState::Healthy).await;
    assert_eq!(node.world.runs("page") - before, 2, "it rises after two passes, at once");
    assert!(report.since_ms > since);
    let text = node.metrics.render();
    assert!(text.contains("\nsteadfast_service_checks_failed_total 3\n") && text.contains("\nsteadfast_services 1\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_ended_and_holds_up_nothing() {
    let mut node = Node::start(vec![tcp("hangs", "slow"), tcp("port", "orders")]);
    node.world.answer("port", Outcome::Passed);
    let report = node.await_state("slow", HealthState::Failed).await;
    assert_eq!(report.checks[0].words, "no answer within 500 ms; it waited for the end of the world");
    assert!(node.world.runs("port") >= 2);
    let world = node.world.0.lock();
    assert!(world.running <= 1 && world.most <= 2, "at most one run of a check is under way");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_heard_and_missed() {
    let beat = Definition { interval_ms: 1_000, timeout_ms: 500, fall: 1, ..Definition::new("beat", "jobs", Kind::Heartbeat) };
    let mut node = Node::start(vec![beat, tcp("port", "orders")]);
    node.world.answer("port", Outcome::Passed);
    node.await_state("orders", HealthState::Healthy).await;
    assert_eq!(node.beat("jobs", Outcome::Passed).await, Heard::Taken);
    node.await_state("jobs", HealthState::Healthy).await;
    assert_eq!(node.beat("jobs", Outcome::Warned("queue at 90 %".into())).await, Heard::Taken);
    let report = node.await_state("jobs", HealthState::Degraded).await;
    assert_eq!(report.checks[0].words, "queue at 90 %");
    let report = node.await_state("jobs", HealthState::Failed).await;
    assert_eq!(report.checks[0].words, "no heartbeat came");
    assert_eq!(node.beat("orders", Outcome::Passed).await, Heard::NoHeartbeat);
    assert_eq!(node.beat("nothing", Outcome::Passed).await, Heard::NoService);
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_anew_replaces_and_what_is_not_ends() {
    let mut node = Node::start(vec![tcp("a", "orders"), tcp("b", "logs")]);
    node.world.answer("a", Outcome::Passed);
    node.await_state("orders", HealthState::Healthy).await;
    let broken = Definition { timeout_ms: 0, ..tcp("broken", "never") };
    node.declare.send_replace(Arc::new(vec![Definition { interval_ms: 2_000, ..tcp("a", "orders") }, broken]));
    let reports = node.checks.reports.wait_for(|reports| reports.len() == 1).await.unwrap().clone();
    assert_eq!((reports[0].service.as_str(), reports[0].state), ("orders", HealthState::Healthy), "its state is kept");
    node.report_when("orders", |report| report.checks[0].outcome == CheckOutcome::Passed).await;
    assert_eq!(node.world.0.lock().running, 0, "the run of what is gone is ended");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_checks_are_too_many_and_few_run_at_once() {
    let many = (0..10_000).map(|k| Definition { interval_ms: 60_000, fall: 1, ..tcp(&format!("c{k:05}"), &format!("s{k:05}")) });
    let mut node = Node::start(many.collect());
    node.checks.reports.wait_for(|reports| reports.iter().any(|report| report.state == HealthState::Failed)).await.unwrap();
    let reports = node.checks.reports.borrow().clone();
    assert_eq!(reports.len(), CHECKS);
    let names: BTreeSet<&str> = reports.iter().map(|report| report.service.as_str()).collect();
    assert!(names.contains("s00000") && !names.contains("s09999"), "the first by name");
    assert!(node.world.0.lock().most <= steadfast_health::limits::RUNNING_CHECKS);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_declares_any_more_all_runs_end() {
    let Node { world, declare, mut checks, .. } = Node::start(vec![tcp("hangs", "slow")]);
    while world.0.lock().running == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(declare);
    while checks.reports.changed().await.is_ok() {}
    while world.0.lock().running > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_falls_again_and_again_is_held_degraded_and_a_failed_one_is_failed() {
    let mut node = Node::start(vec![tcp("port", "orders")]);
    for fall in 1..=3 {
        node.world.answer("port", Outcome::Passed);
        node.await_state("orders", HealthState::Healthy).await;
        node.world.answer("port", no());
        let report = node.await_state("orders", HealthState::Failed).await;
        assert_eq!(report.is_flapping, fall == 3);
    }
    node.world.answer("port", Outcome::Passed);
    assert!(node.await_state("orders", HealthState::Degraded).await.is_flapping);
    assert!(!node.await_state("orders", HealthState::Healthy).await.is_flapping);
}
