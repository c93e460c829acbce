//! Runs for a stated time on all cores, with a progress bar, and says at the end what was done.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use steadfast_simulator::cluster::{Counts, FAULT_NAMES};
use steadfast_simulator::run::{Report, run};
use steadfast_simulator::shrink::Cut;
use steadfast_simulator::world::TraceMode;

/// What all runs together were.
#[derive(Default)]
struct Totals {
    seeds: u64,
    unknown: u64,
    simulated: Duration,
    counts: Counts,
    violation: Option<u64>,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.simulated += report.simulated;
        match &report.outcome {
            Ok(summary) => {
                self.unknown += summary.unknown as u64;
            }
            Err(_) => self.violation = Some(self.violation.map_or(report.seed, |seed| seed.min(report.seed))),
        }
        let (sum, one) = (&mut self.counts, &report.counts);
        sum.starts += one.starts;
        sum.requests += one.requests;
        sum.frames += one.frames;
        sum.snapshots += one.snapshots;
        sum.repairs += one.repairs;
        sum.lost_tables += one.lost_tables;
        sum.disk_stops += one.disk_stops;
        sum.corruptions += one.corruptions;
        sum.leader_changes += one.leader_changes;
        sum.faults.iter_mut().zip(one.faults).for_each(|(sum, one)| *sum += one);
    }

    fn rows(&self, took: Duration) -> Vec<(&'static str, Value)> {
        let mut rows = vec![
            ("seeds", json!(self.seeds)),
            ("violations", json!(u64::from(self.violation.is_some()))),
            ("wall minutes", json!(round(took.as_secs_f64() / 60.0))),
            ("simulated hours", json!(round(self.simulated.as_secs_f64() / 3600.0))),
            ("simulated seconds a wall second", json!(round(self.simulated.as_secs_f64() / took.as_secs_f64()))),
            ("requests", json!(self.counts.requests)),
            ("requests without an answer", json!(self.unknown)),
            ("frames", json!(self.counts.frames)),
            ("leader changes", json!(self.counts.leader_changes)),
            ("process starts", json!(self.counts.starts)),
            ("snapshots installed", json!(self.counts.snapshots)),
            ("nodes repaired", json!(self.counts.repairs)),
            ("tables lost and fetched", json!(self.counts.lost_tables)),
            ("stops by a failing disk", json!(self.counts.disk_stops)),
            ("sectors damaged", json!(self.counts.corruptions)),
        ];
        rows.extend(FAULT_NAMES.into_iter().zip(self.counts.faults.map(|count| json!(count))));
        rows
    }
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[expect(clippy::disallowed_methods, reason = "a soak lasts for a time of the real world")]
fn run_for(duration: Duration, first: u64, progress: &ProgressBar) -> (Totals, Duration) {
    let began = Instant::now();
    let (next, ended, totals) = (AtomicU64::new(first), AtomicBool::new(false), Mutex::new(Totals::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) && began.elapsed() < duration {
                    let report = run(next.fetch_add(1, Ordering::Relaxed), None, TraceMode::Hash);
                    ended.fetch_or(report.outcome.is_err(), Ordering::Relaxed);
                    let mut totals = totals.lock().expect("no thread panics");
                    totals.add(&report);
                    progress.set_position(began.elapsed().as_secs());
                    progress.set_message(format!("{} seeds, {:.1} simulated hours", totals.seeds, totals.simulated.as_secs_f64() / 3600.0));
                }
            });
        }
    });
    (totals.into_inner().expect("no thread panics"), began.elapsed())
}

/// Runs, and prints the summary and the first violation.
pub(crate) fn run_soak(minutes: f64, first: u64, as_json: bool) -> ExitCode {
    let Ok(duration) = Duration::try_from_secs_f64(minutes * 60.0) else {
        eprintln!("--minutes {minutes} is no length of time: give a positive number of minutes");
        return ExitCode::from(2);
    };
    let style = ProgressStyle::with_template("{elapsed} [{bar:40}] {msg}").expect("a valid template");
    let progress = ProgressBar::new(duration.as_secs()).with_style(style.progress_chars("=> "));
    let (totals, took) = run_for(duration, first, &progress);
    progress.finish_and_clear();
    let rows = totals.rows(took);
    if as_json {
        println!("{}", Value::Object(rows.into_iter().map(|(name, value)| (name.replace(' ', "_"), value)).collect()));
    } else {
        rows.iter().for_each(|(name, value)| println!("{name:<34} {value:>14}"));
    }
    if let Some(violation) = totals.violation {
        // Once more with text: the same seed does the same.
        crate::print(&run(violation, None, TraceMode::Record), None, &Cut::default());
    }
    ExitCode::from(u8::from(totals.violation.is_some()))
}
