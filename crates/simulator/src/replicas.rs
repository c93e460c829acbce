//! Worlds of available state, from the command line.

use std::process::ExitCode;

use steadfast_simulator::available::{Report, run};
use steadfast_simulator::world::TraceMode;

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

/// What came of a run, with what led to a violation.
pub(crate) fn print(report: &Report) {
    println!("seed {}: {}", report.seed, report.swarm);
    if report.outcome.is_err() {
        report.timeline.iter().for_each(|line| println!("{line}"));
    }
    println!("{report}");
    if report.outcome.is_err() {
        println!("replay: cargo run --release -p steadfast-simulator -- replay --world available --seed {} --trace", report.seed);
    }
}
