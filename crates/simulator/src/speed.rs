//! How fast simulated time passes, for three nodes and a hundred requests a simulated second.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use steadfast_simulator::run::run_swarm;
use steadfast_simulator::swarm::Swarm;
use steadfast_simulator::world::TraceMode;
use steadfast_types::Rng;

/// Five clients that wait 47.5 ms on average between two requests, of about 2.5 ms each.
const CLIENTS: usize = 5;
const THINK: Duration = Duration::from_millis(95);
/// Long, so that the beginning and the end of a run count for little.
const DURATION: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Reads, writes and compares of single keys, no fault.
    Plain,
    /// Ranges, transactions, leases and watches too.
    Whole,
    /// The same under faults, each as drawn.
    Faults,
}

/// Runs seeds one after the other on this thread.
#[expect(clippy::disallowed_methods, reason = "the speed of the real world")]
pub(crate) fn measure(seeds: u64) -> ExitCode {
    println!(
        "{:<10} {:>6} {:>12} {:>11} {:>9} {:>9} {:>17}",
        "runs", "seeds", "simulated s", "requests/s", "frames/s", "turns/s", "simulated/wall s"
    );
    let mut failed = false;
    for kind in [Kind::Plain, Kind::Whole, Kind::Faults] {
        let (began, mut simulated, mut requests, mut frames, mut turns) = (Instant::now(), Duration::ZERO, 0, 0, 0);
        for seed in 0..seeds {
            let mut rng = Rng::with_seed(seed);
            let drawn = match kind {
                Kind::Plain => Swarm { wide: false, queue: 0.0, leases: false, watchers: 0, lockers: 0, sessions: 0, ..Swarm::calm(3) },
                Kind::Whole => Swarm::calm(3),
                Kind::Faults => Swarm::draw(&mut rng, Some(3)),
            };
            let swarm = Swarm { clients: CLIENTS, think: THINK, duration: DURATION, ..drawn };
            let report = run_swarm(seed, swarm, rng, TraceMode::Hash);
            simulated += report.simulated;
            frames += report.counts.frames;
            turns += report.counts.turns;
            match report.outcome {
                Ok(summary) => requests += summary.operations,
                Err(violation) => {
                    eprintln!("{kind:?}, seed {seed}: {violation}");
                    failed = true;
                }
            }
        }
        let (simulated, took) = (simulated.as_secs_f64(), began.elapsed().as_secs_f64());
        let [requests, frames, turns] = [requests as u64, frames, turns].map(|count| count as f64 / simulated);
        let speed = simulated / took;
        println!("{:<10} {seeds:>6} {simulated:>12.0} {requests:>11.1} {frames:>9.0} {turns:>9.0} {speed:>17.0}", format!("{kind:?}"));
    }
    ExitCode::from(u8::from(failed))
}
