//! Worlds of available state, from the command line.

use std::process::ExitCode;

use steadfast_simulator::available::{Report, run};
use steadfast_simulator::world::TraceMode;

/// Runs many seeds.
pub(crate) fn run_many(seeds: std::ops::Range<u64>, keep_going: bool, verbose: bool) -> ExitCode {
    let (mut runs, mut violations) = (0, 0);
    for seed in seeds {
        let report = run(seed, TraceMode::Hash);
        runs += 1;
        if report.outcome.is_err() {
            violations += 1;
            // Once more with text: the same seed does the same.
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

/// Runs one seed again.
pub(crate) fn replay(seed: u64, trace: bool) -> ExitCode {
    let report = run(seed, if trace { TraceMode::Print } else { TraceMode::Record });
    if trace {
        eprintln!("seed {seed}: {}\n{report}", report.swarm);
    } else {
        print(&report);
    }
    ExitCode::from(u8::from(report.outcome.is_err()))
}

fn print(report: &Report) {
    println!("seed {}: {}", report.seed, report.swarm);
    if report.outcome.is_err() {
        report.timeline.iter().for_each(|line| println!("{line}"));
    }
    println!("{report}");
    if report.outcome.is_err() {
        println!("replay: cargo run --release -p steadfast-simulator -- replay --world available --seed {} --trace", report.seed);
    }
}
