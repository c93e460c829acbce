//! `steadfast drill`: a live cluster is broken on purpose while clients use it, and what they saw is judged.
//!
//! Each drill is declared in a file (`drills/`): faults at their times, a load, and what is expected. A run starts a cluster of its own (or
//! takes a given one), sends requests at their times, carries the faults out, heals, reads everything back, and asks the checkers of `proof`
//! about the history of what clients asked and were told. The report says what was measured, and what it means.
//!
//! Left out: several machines; faults on them need somebody there.

mod cluster;
mod damage;
mod declaration;
mod faults;
mod figures;
mod http;
mod limited_disk;
mod load;
mod membership;
mod page;
mod process;
mod progress;
mod report;
mod request;
mod run;
mod sampler;
mod stopwatch;
mod verdict;
mod watcher;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::show;
use crate::usage::UsageError;
use cluster::Against;
use declaration::Declaration;
use report::Outcome;

/// What `steadfast drill` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Without --against, each drill starts a cluster of its own on free ports, in a temporary directory, and
removes it. Each takes less than a minute. full-disk needs root, for a small file system.

membership stands alone: three servers and --agents on loopback addresses (127.0.0.1 and 127.0.1.N) are killed,
paused, cut off, slowed and restarted; it shows when the others noticed, and that nobody else was found dead.

Exit status: 0 if every promise and expectation held, else 1.

Examples:
  steadfast drill list
  steadfast drill                                          all of them, some minutes
  steadfast drill kill-leader --html report.html
  steadfast drill membership --html report.html
  steadfast drill membership --minutes 30 --cpu-load --json report.json
  steadfast drill my-own.toml                              a drill of your own, declared like those in drills/
  STEADFAST_FAULTS=true steadfast dev                      a cluster that lets itself be broken, and in another terminal:
  steadfast drill partition-leader --against ./steadfast-data
  steadfast drill no-fault --against 10.0.0.1:2379,10.0.0.2:2379 --minutes 5    while you pull the plugs yourself")]
pub(crate) struct DrillArgs {
    /// Which: names, or files that end in .toml; `list` shows them [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// A running cluster instead of one of its own: the directory of a `steadfast dev`, or client addresses
    #[arg(long, value_name = "DIR|ADDR,…", value_parser = Against::parse)]
    against: Option<Against>,
    /// Repeat each drill's faults for so long
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=240))]
    minutes: Option<u64>,
    /// How many agents the membership drill has beside its three servers [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(4..=200))]
    agents: Option<u16>,
    /// Keep every processor busy during the membership drill
    #[arg(long)]
    cpu_load: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as one page with timelines
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Requests that one drill keeps, at most: the checkers want all of them in memory, about a KiB each.
const MOST_REQUESTS: u64 = 4_000_000;

/// What is said at a signal; by then what the drill did is undone, as far as it can be at once.
const BROKEN_OFF: &str =
    "broken off before its end: a cluster of the drill's own has ended, and another one is healed but for what is said above";

/// Runs drills, or lists them.
pub(crate) fn run(args: &DrillArgs) -> Result<()> {
    if args.names.iter().any(|name| name == "list") {
        if args.names.len() > 1 {
            return Err(UsageError("list stands alone: leave the other names out".into()).into());
        }
        return Ok(show::print(list(&declaration::built_in()))?);
    }
    if let Some(settings) = membership_settings(args)? {
        return runtime()?.block_on(until_signal(membership::run(&settings)));
    }
    let drills = declaration::find(&args.names)?;
    drills.iter().try_for_each(|drill| check_size(drill, rounds(args, drill)))?;
    runtime()?.block_on(run_all(args, &drills))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// How the membership drill is to be run, if that one is meant.
fn membership_settings(args: &DrillArgs) -> Result<Option<membership::Settings>, UsageError> {
    if !args.names.iter().any(|name| name == membership::NAME) {
        let is_refused = args.agents.is_some() || args.cpu_load;
        return if is_refused { Err(UsageError("--agents and --cpu-load are for `drill membership` alone".into())) } else { Ok(None) };
    }
    if args.names.len() > 1 || args.against.is_some() {
        return Err(UsageError("membership stands alone, on a cluster of its own: leave other names and --against out".into()));
    }
    let (json, html) = (args.json.clone(), args.html.clone());
    let agents = args.agents.unwrap_or(20).into();
    Ok(Some(membership::Settings { agents, cpu_load: args.cpu_load, minutes: args.minutes, json, html }))
}

/// Breaks off at a signal.
async fn until_signal(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => bail!(BROKEN_OFF),
        _ = terminated.recv() => bail!(BROKEN_OFF),
    }
}

/// How often the drill's faults are repeated.
fn rounds(args: &DrillArgs, drill: &Declaration) -> u64 {
    args.minutes.map_or(1, |minutes| (minutes * 60).div_ceil(drill.seconds))
}

fn check_size(drill: &Declaration, rounds: u64) -> Result<(), UsageError> {
    let requests = drill.load.rate * drill.seconds * rounds;
    if requests > MOST_REQUESTS {
        let remedy = "give fewer --minutes, or declare a smaller load.rate";
        return Err(UsageError(format!(
            "{} would send {requests} requests, and at most {MOST_REQUESTS} can be checked: {remedy}",
            drill.name
        )));
    }
    Ok(())
}

fn list(drills: &[Declaration]) -> String {
    let row = |drill: &Declaration| {
        let mut kinds: Vec<String> = Vec::new();
        for kind in drill.faults.iter().map(|fault| fault.kind.to_string()) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        vec![drill.name.clone(), drill.seconds.to_string(), drill.faults.len().to_string(), kinds.join(", ")]
    };
    let table = show::table(&["DRILL", "SECONDS", "FAULTS", "KINDS"], &["SECONDS", "FAULTS"], drills.iter().map(row));
    let purposes: String = drills.iter().map(|drill| format!("\n{}: {}", drill.name, drill.purpose)).collect();
    format!("{table}\n{purposes}\n{}: {}", membership::NAME, membership::PURPOSE)
}

async fn run_all(args: &DrillArgs, drills: &[Declaration]) -> Result<()> {
    let against = args.against.clone().unwrap_or(Against::Own);
    let mut terminated = signal(SignalKind::terminate())?;
    let mut outcomes: Vec<(String, Outcome)> = Vec::new();
    for drill in drills {
        let rounds = rounds(args, drill);
        let outcome = match against.refuses(drill).await {
            Some(reason) => Outcome::Refused(reason),
            None => tokio::select! {
                outcome = run::run(drill, &against, rounds) => {
                    outcome.map_or_else(|error| Outcome::Failed(format!("{error:#}")), |report| Outcome::Run(Box::new(report)))
                }
                _ = tokio::signal::ctrl_c() => bail!(BROKEN_OFF),
                _ = terminated.recv() => bail!(BROKEN_OFF),
            },
        };
        match &outcome {
            Outcome::Run(report) => show::print(report.text())?,
            Outcome::Refused(reason) => show::print(format!("{}: not run: {reason}\n", drill.name))?,
            Outcome::Failed(reason) => show::print(format!("{}: FAILED: {reason}\n", drill.name))?,
        }
        outcomes.push((drill.name.clone(), outcome));
    }
    write_reports(args, &outcomes)?;
    conclude(&args.names, &outcomes)
}

fn write_reports(args: &DrillArgs, outcomes: &[(String, Outcome)]) -> Result<()> {
    let write = |path: &PathBuf, text: String| std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
    if let Some(path) = &args.json {
        write(path, serde_json::to_string_pretty(&report::to_json(outcomes))? + "\n")?;
    }
    if let Some(path) = &args.html {
        write(path, page::page(outcomes))?;
    }
    Ok(())
}

/// Says how all went. An error if one was bad, or one that was asked for by name could not be run.
fn conclude(asked_for: &[String], outcomes: &[(String, Outcome)]) -> Result<()> {
    if outcomes.len() > 1 {
        show::print(report::summary(outcomes))?;
    }
    if outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Run(_))) {
        show::print("\nWhat the numbers mean:")?;
        report::MEANINGS.iter().try_for_each(|(name, meaning)| show::print(format!("  {name}: {meaning}")))?;
    }
    let named = |is: &dyn Fn(&Outcome) -> bool| {
        let names = outcomes.iter().filter(|(_, outcome)| is(outcome)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>()
    };
    let failed = named(&|outcome| !report::is_good(outcome));
    if !failed.is_empty() {
        bail!("{} of {} drills failed: {}", failed.len(), outcomes.len(), failed.join(", "));
    }
    let refused = named(&|outcome| matches!(outcome, Outcome::Refused(_)));
    if refused.len() == outcomes.len() || (!asked_for.is_empty() && !refused.is_empty()) {
        bail!("not run: {} (the reasons stand above)", refused.join(", "));
    }
    Ok(())
}
