//! The simulator's command line: runs seeds, and replays one.

mod replicas;
mod soak;
mod speed;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use steadfast_simulator::available;
use steadfast_simulator::run::{Report, run, run_cut};
use steadfast_simulator::shrink::{Cut, events, shrink};
use steadfast_simulator::world::TraceMode;
#[cfg(planted)]
use steadfast_types::planted::{BUGS, Bug};

// Runs are made of small buffers; the system's allocator is slower at those.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs whole clusters in a simulated world, and checks that they keep their promises.
#[derive(Parser)]
#[command(name = "steadfast-simulator")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What is simulated.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum World {
    /// A cluster that keeps strong state.
    Cluster,
    /// Replicas of available state.
    Available,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds; stops at the first violation.
    Run {
        /// Which seeds, such as 0..1000.
        #[arg(long, value_parser = parse_range, default_value = "0..100")]
        seeds: std::ops::Range<u64>,
        /// What is simulated.
        #[arg(long, value_enum, default_value_t = World::Cluster)]
        world: World,
        /// How many nodes of a cluster; drawn from the seed if not given.
        #[arg(long)]
        nodes: Option<usize>,
        /// Goes on after a violation.
        #[arg(long)]
        keep_going: bool,
        /// Prints a line for every seed.
        #[arg(long)]
        verbose: bool,
        /// A bug to plant, by its number.
        #[cfg(planted)]
        #[arg(long, value_parser = parse_bug)]
        planted: Option<Bug>,
    },
    /// Runs seeds on all cores for a while; stops at the first violation. Ends with a summary of all that was done to the clusters.
    Soak {
        /// How long, in minutes.
        #[arg(long, default_value_t = 1.0)]
        minutes: f64,
        /// The first seed.
        #[arg(long, default_value_t = 1_000_000)]
        first: u64,
        /// The summary as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measures how many simulated seconds pass in a wall second on one core: three nodes, 100 requests a simulated second, faults as drawn.
    Speed {
        /// How many seeds.
        #[arg(long, default_value_t = 300)]
        seeds: u64,
    },
    /// Plants a bug and runs seeds until a checker catches it; prints one line: its number, the checker, the seeds it took.
    #[cfg(planted)]
    Catch {
        /// Its number.
        #[arg(value_parser = parse_bug)]
        bug: Bug,
        /// How many seeds at most.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
    },
    /// Lists the bugs that can be planted: number, tab, what it is.
    #[cfg(planted)]
    Bugs,
    /// Leaves as much as possible out of a run that ends with a violation, and says how to replay what is left.
    Shrink {
        /// Which seed.
        #[arg(long)]
        seed: u64,
        /// As for the run.
        #[arg(long)]
        nodes: Option<usize>,
        /// How many runs it may take.
        #[arg(long, default_value_t = 500)]
        runs: u64,
        /// As for the run.
        #[cfg(planted)]
        #[arg(long, value_parser = parse_bug)]
        planted: Option<Bug>,
    },
    /// Runs one seed again.
    Replay {
        /// Which seed.
        #[arg(long)]
        seed: u64,
        /// What is simulated.
        #[arg(long, value_enum, default_value_t = World::Cluster)]
        world: World,
        /// As for the run.
        #[arg(long)]
        nodes: Option<usize>,
        /// Prints everything that happens.
        #[arg(long)]
        trace: bool,
        /// What to leave out, as `shrink` says.
        #[arg(long, default_value = "")]
        cut: Cut,
        /// As for the run.
        #[cfg(planted)]
        #[arg(long, value_parser = parse_bug)]
        planted: Option<Bug>,
    },
}

#[cfg(planted)]
fn parse_bug(text: &str) -> Result<Bug, String> {
    let bug = BUGS.iter().map(|(bug, _)| *bug).find(|bug| (*bug as u32).to_string() == text);
    bug.ok_or_else(|| format!("there is no bug {text}: one of {:?}", BUGS.iter().map(|(bug, _)| *bug as u32).collect::<Vec<_>>()))
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let bounds = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match bounds {
        Some((from, to)) if from < to => Ok(from..to),
        _ => Err(format!("{text:?} is not a range of seeds; write one such as 0..1000")),
    }
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    #[cfg(planted)]
    {
        if let Command::Run { planted, .. } | Command::Replay { planted, .. } | Command::Shrink { planted, .. } = &command {
            steadfast_types::planted::plant(*planted);
        }
    }
    match command {
        Command::Run { seeds, world: World::Available, keep_going, verbose, .. } => {
            run_many(seeds, (keep_going, verbose), available::run, |report| report.outcome.is_ok(), replicas::print)
        }
        Command::Replay { seed, world: World::Available, trace, .. } => replicas::replay(seed, trace),
        Command::Run { seeds, nodes, keep_going, verbose, .. } => {
            let run = |seed, mode| run(seed, nodes, mode);
            run_many(seeds, (keep_going, verbose), run, |report| report.outcome.is_ok(), |report| print(report, nodes, &Cut::default()))
        }
        #[cfg(planted)]
        Command::Catch { bug, seeds } => catch(bug, seeds),
        #[cfg(planted)]
        Command::Bugs => {
            println!("{}", steadfast_types::planted::MARKER);
            BUGS.iter().for_each(|(bug, what)| println!("{}\t{what}", *bug as u32));
            ExitCode::SUCCESS
        }
        Command::Speed { seeds } => speed::measure(seeds),
        Command::Soak { minutes, first, json } => soak::run_soak(minutes, first, json),
        Command::Shrink { seed, nodes, runs, .. } => shrink_seed(seed, nodes, runs),
        Command::Replay { seed, nodes, trace, cut, .. } => {
            let mode = if trace { TraceMode::Print } else { TraceMode::Record };
            let report = run_cut(seed, nodes, &cut, mode);
            if trace {
                // What was drawn and how it ended belong beside the trace, which is alone on the standard output.
                eprintln!("seed {seed}: {}\n{report}", report.swarm);
            } else {
                print(&report, nodes, &cut);
            }
            ExitCode::from(u8::from(report.outcome.is_err()))
        }
    }
}

/// Bugs of available state.
#[cfg(planted)]
const AVAILABLE: [std::ops::RangeInclusive<u32>; 2] = [26..=32, 125..=127];

#[cfg(planted)]
fn catch(bug: Bug, seeds: u64) -> ExitCode {
    use steadfast_types::planted::plant;
    let violation = |seed| match AVAILABLE.iter().any(|numbers| numbers.contains(&(bug as u32))) {
        true => available::run(seed, TraceMode::Hash).outcome.err(),
        false => run(seed, None, TraceMode::Hash).outcome.err(),
    };
    for seed in 0..seeds {
        plant(Some(bug));
        let Some(caught) = violation(seed) else { continue };
        // It counts only if nothing is wrong without it.
        plant(None);
        match violation(seed) {
            None => {
                println!("{}\tcaught\t{}\t{}", bug as u32, caught.checker, seed + 1);
                return ExitCode::SUCCESS;
            }
            Some(real) => eprintln!("seed {seed} ends with a violation without any bug: {real}"),
        }
    }
    println!("{}\tMISSED\t-\t{seeds}", bug as u32);
    ExitCode::FAILURE
}

/// Runs each seed, and those that end with a violation once more with text: the same seed does the same.
fn run_many<R: Display>(
    seeds: std::ops::Range<u64>,
    (keep_going, verbose): (bool, bool),
    run: impl Fn(u64, TraceMode) -> R,
    is_well: impl Fn(&R) -> bool,
    print: impl Fn(&R),
) -> ExitCode {
    let (mut runs, mut violations) = (0, 0);
    for seed in seeds {
        let report = run(seed, TraceMode::Hash);
        runs += 1;
        if !is_well(&report) {
            violations += 1;
            print(&run(seed, TraceMode::Record));
            if !keep_going {
                break;
            }
        } else if verbose {
            println!("{report}");
        }
    }
    println!("{runs} seeds, {violations} violations");
    ExitCode::from(u8::from(violations > 0))
}

fn shrink_seed(seed: u64, nodes: Option<usize>, most_runs: u64) -> ExitCode {
    let style = ProgressStyle::with_template("{elapsed} [{bar:40}] {pos}/{len} runs, {msg}").expect("a valid template");
    let progress = ProgressBar::new(most_runs).with_style(style.progress_chars("=> "));
    let whole = run(seed, nodes, TraceMode::Hash);
    let shrunk = shrink(seed, nodes, most_runs, &mut |runs, events| {
        progress.set_position(runs);
        progress.set_message(format!("{events} events"));
    });
    progress.finish_and_clear();
    let Some((cut, small)) = shrunk else {
        eprintln!("seed {seed} ends without a violation: there is nothing to shrink");
        return ExitCode::from(2);
    };
    print(&run_cut(seed, nodes, &cut, TraceMode::Record), nodes, &cut);
    println!("{} events of {} are left", events(&small), events(&whole));
    ExitCode::FAILURE
}

pub(crate) fn print(report: &Report, nodes: Option<usize>, cut: &Cut) {
    println!("seed {}: {}", report.seed, report.swarm);
    if report.outcome.is_err() {
        report.timeline.iter().for_each(|line| println!("{line}"));
    }
    println!("{report}");
    if report.outcome.is_err() {
        let nodes = nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
        let cut = if *cut == Cut::default() { String::new() } else { format!(" --cut {cut}") };
        println!("replay: cargo run --release -p steadfast-simulator -- replay --seed {}{nodes}{cut} --trace", report.seed);
        if cut.is_empty() {
            println!("shrink: cargo run --release -p steadfast-simulator -- shrink --seed {}{nodes}", report.seed);
        }
    }
}
