//! The scorecard's command line: runs scenarios, and makes the table and the drawing of what came of them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Parser, Subcommand};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use steadfast_scorecard::measure::Result as Outcome;
use steadfast_scorecard::peer::{Kind, Number};
use steadfast_scorecard::run::{START_UP_SIZE, run};
use steadfast_scorecard::scenario::{BEFORE_S, Scenario};
use steadfast_scorecard::{plot, table};

// Runs are made of small buffers; the system's allocator is slower at those.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures failure detection in simulated clusters.
#[derive(Parser)]
#[command(name = "steadfast-scorecard")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs scenarios and prints what came of them.
    Run {
        /// How many nodes; the start-up always has 2,000.
        #[arg(long, value_delimiter = ',', default_value = "100,1000")]
        sizes: Vec<Number>,
        /// Which scenarios; all if not given.
        #[arg(long, value_delimiter = ',', value_parser = parse_scenario)]
        scenarios: Vec<Scenario>,
        /// Which code; all but foca if not given.
        #[arg(long, value_delimiter = ',', value_parser = parse_kind)]
        kinds: Vec<Kind>,
        /// The seed of all choices.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many runs at a time. One of 10,000 nodes takes some 6 GB.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Adds each result to this file as a line of JSON.
        #[arg(long)]
        append: Option<PathBuf>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes the table, and the drawing, of results in files of JSON lines. Of results of the same run the last one counts.
    Report {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where the drawing goes.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// Plants a bug and runs scenarios until something is wrong; prints one line: its number, what was wrong, the runs it took.
    #[cfg(planted)]
    Catch {
        /// Its number.
        bug: u32,
        /// How many seeds at most.
        #[arg(long, default_value_t = 10)]
        seeds: u64,
    },
}

fn parse_scenario(text: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == text);
    found.ok_or_else(|| format!("no scenario {text:?}: one of {}", Scenario::ALL.map(Scenario::name).join(", ")))
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text && (*kind != Kind::Foca || cfg!(feature = "foca")));
    found.ok_or_else(|| format!("no {text:?}: one of {} (foca: with the feature of that name)", Kind::ALL.map(Kind::name).join(", ")))
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { sizes, scenarios, kinds, seed, jobs, append, json } => {
            let scenarios = if scenarios.is_empty() { Scenario::ALL.to_vec() } else { scenarios };
            let kinds = if kinds.is_empty() { vec![Kind::Steadfast, Kind::PlainSwim, Kind::Lifeguard] } else { kinds };
            let results = run_all(&plan(&scenarios, &sizes, &kinds), seed, jobs, append.as_ref());
            if json {
                println!("{}", Value::Array(results.iter().map(Outcome::to_json).collect()));
            } else {
                print!("{}", table::table(&results));
            }
            ExitCode::SUCCESS
        }
        Command::Report { files, svg } => report(&files, svg),
        #[cfg(planted)]
        Command::Catch { bug, seeds } => catch(bug, seeds),
    }
}

fn plan(scenarios: &[Scenario], sizes: &[Number], kinds: &[Kind]) -> Vec<(Kind, Scenario, Number)> {
    let mut runs = Vec::new();
    for scenario in scenarios {
        let sizes = if *scenario == Scenario::StartUp { &[START_UP_SIZE] } else { sizes };
        for size in sizes {
            runs.extend(kinds.iter().map(|kind| (*kind, *scenario, *size)));
        }
    }
    runs
}

fn run_all(runs: &[(Kind, Scenario, Number)], seed: u64, jobs: usize, append: Option<&PathBuf>) -> Vec<Outcome> {
    let (bars, next, results) = (MultiProgress::new(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let style = ProgressStyle::with_template("{elapsed} [{bar:40}] {pos}/{len} s {msg}").expect("a valid template").progress_chars("=> ");
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((kind, scenario, size)) = runs.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    let bar = bars.add(ProgressBar::new(BEFORE_S + scenario.lasts_s(size)).with_style(style.clone()));
                    bar.set_message(format!("{}, {size} nodes, {}", scenario.title(), kind.name()));
                    let result = run(kind, scenario, size, seed, &mut |second| bar.set_position(second));
                    bar.finish_and_clear();
                    if let Some(path) = append {
                        keep(path, &result);
                    }
                    results.lock().expect("no thread panics").push(result);
                }
            });
        }
    });
    results.into_inner().expect("no thread panics")
}

fn keep(path: &PathBuf, result: &Outcome) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{}", result.to_json())) {
        eprintln!("{}: {error}", path.display());
    }
}

fn report(files: &[PathBuf], svg: Option<PathBuf>) -> ExitCode {
    let mut results: Vec<Outcome> = Vec::new();
    for path in files {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::from(2);
            }
        };
        for result in text.lines().filter_map(|line| Outcome::from_json(&serde_json::from_str(line).ok()?)) {
            results.retain(|old| (old.kind, old.scenario, old.size, old.seed) != (result.kind, result.scenario, result.size, result.seed));
            results.push(result);
        }
    }
    print!("{}", table::table(&results));
    match svg.map(|path| std::fs::write(path, plot::draw(&results))) {
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
        Some(Ok(())) | None => ExitCode::SUCCESS,
    }
}

/// A run with something wrong in it that the goals forbid.
#[cfg(planted)]
fn catch(number: u32, seeds: u64) -> ExitCode {
    use steadfast_types::planted::{BUGS, plant};
    let Some((bug, _)) = BUGS.iter().find(|(bug, _)| *bug as u32 == number) else {
        eprintln!("there is no bug {number}");
        return ExitCode::from(2);
    };
    for seed in 0..seeds {
        for scenario in Scenario::ALL.into_iter().filter(|scenario| *scenario != Scenario::StartUp) {
            plant(Some(*bug));
            let Some(wrong) = run(Kind::Steadfast, scenario, 100, seed, &mut |_| {}).wrong() else { continue };
            // It counts only if nothing is wrong without it.
            plant(None);
            if run(Kind::Steadfast, scenario, 100, seed, &mut |_| {}).wrong().is_none() {
                println!("{number}\tcaught\t{wrong}\t{}", seed + 1);
                return ExitCode::SUCCESS;
            }
        }
    }
    println!("{number}\tMISSED\t-\t{seeds}");
    ExitCode::FAILURE
}
