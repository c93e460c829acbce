//! The drill from its cluster's start to its report.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Signal;
use steadfast_proof::time::Time;
use tokio::time::{Instant, sleep};

use super::super::cluster::Cluster;
use super::super::progress::Progress;
use super::super::report::duration;
use super::super::stopwatch::Stopwatch;
use super::cluster;
use super::cpu_load::CpuLoad;
use super::faults::{ALL, Kind, Turns};
use super::figures::{self, FaultFigures, Mark};
use super::report::{Notice, Report};
use super::views::{Change, State, Views, What};
use super::{NAME, PURPOSE, SERVERS, Settings};
use crate::show;

/// All others have noticed a death by then, or it is a problem.
const NOTICE_WAIT: Duration = Duration::from_secs(30);
/// All hold all to be healthy by then after a fault was healed: who was found dead again and again comes back half a minute later.
const BACK_WAIT: Duration = Duration::from_secs(60);
/// Between two faults.
const QUIET: Duration = Duration::from_secs(1);
/// How often it is looked whether something has come about.
const POLL: Duration = Duration::from_millis(50);
/// How many agents are restarted at once.
const RESTARTED_AT_ONCE: usize = 5;

/// The drill under way.
struct Drill<'a> {
    settings: &'a Settings,
    cluster: Cluster,
    views: Views,
    stopwatch: Stopwatch,
    progress: Progress,
    bar: ProgressBar,
    marks: Vec<Mark>,
    problems: Vec<String>,
}

/// Runs it. An error: it could not be run; what went wrong with the membership is in the report.
pub(super) async fn run(settings: &Settings) -> Result<Report> {
    let progress = Progress::new(NAME);
    progress.say(format!("starting {SERVERS} servers and {} agents", settings.agents));
    let cluster = cluster::start(SERVERS, settings.agents).await?;
    let stopwatch = Stopwatch::start();
    let nodes: Vec<(String, String)> = cluster.nodes.iter().map(|node| (node.name.clone(), node.admin.clone())).collect();
    let views = Views::start(&nodes, stopwatch);
    let bar = progress_bar(settings);
    let mut drill = Drill { settings, cluster, views, stopwatch, progress, bar, marks: Vec::new(), problems: Vec::new() };
    drill.await_healthy().await.context("the cluster is not well before the drill")?;
    let load = settings.cpu_load.then(CpuLoad::start);
    drill.rounds().await?;
    // What was said last is to be heard.
    sleep(2 * QUIET).await;
    drop(load);
    drill.bar.finish_and_clear();
    drill.finish().await
}

fn progress_bar(settings: &Settings) -> ProgressBar {
    let bar = ProgressBar::new(settings.minutes.map_or(ALL.len() as u64, |minutes| minutes * 60));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}").expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

impl Drill<'_> {
    /// Every fault in turn: once, or until the time is over.
    async fn rounds(&mut self) -> Result<()> {
        let mut turns = Turns::new(SERVERS, self.settings.agents);
        let end = self.settings.minutes.map(|minutes| self.stopwatch.now() + Duration::from_secs(minutes * 60));
        for round in 1.. {
            for kind in ALL {
                if end.is_some_and(|end| self.stopwatch.now() >= end) {
                    return Ok(());
                }
                let nodes = turns.take(kind);
                self.fault(kind, round, nodes).await.with_context(|| format!("{}, round {round}", kind.name()))?;
                let done = if end.is_some() { self.stopwatch.now().0 / 1_000_000 } else { self.marks.len() as u64 };
                self.bar.set_position(done);
            }
            if end.is_none() {
                return Ok(());
            }
        }
        unreachable!("rounds have no end")
    }

    /// One fault from its beginning until all is well again.
    async fn fault(&mut self, kind: Kind, round: u64, nodes: Vec<usize>) -> Result<()> {
        sleep(QUIET).await;
        let who = if nodes.len() == 1 { self.cluster.nodes[nodes[0]].name.clone() } else { "all".to_owned() };
        self.bar.set_message(format!("{who}: {}", kind.name()));
        let began = self.stopwatch.now();
        self.begin(kind, &nodes).await?;
        self.last(kind, &nodes, began).await;
        let healed = self.stopwatch.now();
        self.end(kind, &nodes).await?;
        let well = self.await_healthy().await;
        let mark = Mark { kind, round, nodes, began, healed, over: self.stopwatch.now() };
        let figures = figures::measure(&mark, &self.names(), &self.views.changes().0);
        self.judge(&who, &figures);
        self.marks.push(mark);
        if let Err(error) = well {
            self.problems.push(format!("{who} ({}, round {round}): {error:#}", kind.name()));
        }
        Ok(())
    }

    async fn begin(&mut self, kind: Kind, nodes: &[usize]) -> Result<()> {
        for at in nodes.iter().copied() {
            match kind {
                Kind::KillAgent | Kind::KillServer => {
                    self.cluster.nodes[at].process.signal(Signal::KILL)?;
                    self.cluster.nodes[at].process.ended().await?;
                }
                Kind::Pause => self.cluster.nodes[at].process.signal(Signal::STOP)?,
                Kind::CutBoth | Kind::CutIn | Kind::CutOut | Kind::Slow | Kind::Lossy => {
                    let others = self.cluster.nodes.iter().enumerate().filter(|(other, _)| *other != at);
                    let request = kind.request(others.map(|(_, node)| node.peer.clone()).collect());
                    self.cluster.nodes[at].faults.insert(0, request);
                    self.cluster.nodes[at].push_faults(0).await?;
                }
                Kind::RestartAll => {}
            }
        }
        if kind == Kind::RestartAll { self.restart_all().await } else { Ok(()) }
    }

    /// Lets the fault last.
    async fn last(&mut self, kind: Kind, nodes: &[usize], began: Time) {
        let all: Vec<usize> = (0..self.cluster.nodes.len()).collect();
        let (length, moment) = (self.settings.fault_length(), self.stopwatch.moment(began));
        if kind.is_death() {
            let noticed = || nodes.iter().all(|node| self.views.all_see(&all, *node, State::Failed, began));
            let give_up = moment + NOTICE_WAIT;
            while !noticed() && Instant::now() < give_up {
                sleep(POLL).await;
            }
        }
        if !kind.ends_when_noticed() && kind != Kind::RestartAll {
            tokio::time::sleep_until(moment + length).await;
        }
    }

    async fn end(&mut self, kind: Kind, nodes: &[usize]) -> Result<()> {
        for at in nodes.iter().copied() {
            match kind {
                Kind::KillAgent | Kind::KillServer => {
                    self.cluster.start_node(at).await?;
                    self.cluster.nodes[at].await_ready().await?;
                }
                Kind::Pause => self.cluster.nodes[at].process.signal(Signal::CONT)?,
                Kind::CutBoth | Kind::CutIn | Kind::CutOut | Kind::Slow | Kind::Lossy => {
                    self.cluster.nodes[at].faults.clear();
                    self.cluster.nodes[at].push_faults(0).await?;
                }
                Kind::RestartAll => {}
            }
        }
        Ok(())
    }

    /// Servers one after the other, agents some at a time.
    async fn restart_all(&mut self) -> Result<()> {
        let all: Vec<usize> = (0..self.cluster.nodes.len()).collect();
        let (servers, agents) = all.split_at(SERVERS);
        for group in servers.chunks(1).chain(agents.chunks(RESTARTED_AT_ONCE)) {
            for at in group {
                self.cluster.nodes[*at].process.signal(Signal::TERM)?;
            }
            for at in group {
                self.cluster.nodes[*at].process.ended().await?;
                self.cluster.start_node(*at).await?;
            }
            for at in group {
                self.cluster.nodes[*at].await_ready().await?;
            }
        }
        Ok(())
    }

    /// Waits until all hold all to be healthy.
    async fn await_healthy(&self) -> Result<()> {
        let (now, give_up) = (self.stopwatch.now(), Instant::now() + BACK_WAIT);
        while !self.views.all_healthy(now) {
            anyhow::ensure!(Instant::now() < give_up, "not all are well after {} s: {}", BACK_WAIT.as_secs(), self.views.unwell(now));
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Says how it went, and notes what should not have been.
    fn judge(&mut self, who: &str, fault: &FaultFigures) {
        let [first, _, all] = fault.notice_ms();
        let what = fault.kind.name();
        let (line, problem) = match (fault.kind.is_death(), first, all) {
            (true, Some(first), Some(all)) => (format!("noticed first after {}, by all after {}", duration(first), duration(all)), None),
            (true, _, _) => {
                let line = format!("noticed by {} of {} within {} s", fault.notices_ms.len(), fault.observers, NOTICE_WAIT.as_secs());
                (line.clone(), Some(line))
            }
            (false, None, _) => ("nobody was found dead".to_owned(), None),
            // Its false removals are told one by one.
            (false, Some(_), _) => ("found dead, which it was not".to_owned(), None),
        };
        self.bar.suspend(|| self.progress.say(format!("{who}: {what}: {line}")));
        self.problems.extend(problem.map(|problem| format!("{who} ({what}, round {}) was {problem}", fault.round)));
    }

    fn names(&self) -> Vec<String> {
        self.cluster.nodes.iter().map(|node| node.name.clone()).collect()
    }

    async fn finish(mut self) -> Result<Report> {
        let (names, (changes, answers)) = (self.names(), self.views.changes());
        let condemned = figures::false_removals(&self.marks, &changes);
        self.problems.extend(condemned.iter().map(|change| describe(change, &names)));
        let faults: Vec<FaultFigures> = self.marks.iter().map(|mark| figures::measure(mark, &names, &changes)).collect();
        if !self.problems.is_empty() {
            show::say(self.cluster.last_words(8));
        }
        let report = Report {
            name: NAME,
            purpose: PURPOSE,
            passed: self.problems.is_empty(),
            problems: self.problems,
            seconds: self.stopwatch.now().since(Time(0)).as_secs_f64(),
            servers: SERVERS,
            agents: self.settings.agents,
            cpu_load: self.settings.cpu_load,
            answers,
            false_removals: condemned.len(),
            idle_suspicions: figures::idle_suspicions(&self.marks, &changes),
            notice: Notice::of(&faults),
            faults,
        };
        self.cluster.close().await?;
        Ok(report)
    }
}

fn describe(change: &Change, names: &[String]) -> String {
    let how = match change.what {
        What::WasNotHealthy => "held, for less than a moment, not to be healthy",
        What::Is(State::Failed) => "found dead",
        What::Is(State::Healthy | State::Suspect | State::Left) => "seen otherwise",
    };
    let at = duration(change.at.0 as f64 / 1000.0);
    format!("{} was {how} by {} at {at}, and no fault says so", names[change.member], names[change.observer])
}
