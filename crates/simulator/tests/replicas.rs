//! Worlds of available state over many seeds. `cargo run --release -p steadfast-simulator -- run --world available` goes further.

use steadfast_simulator::available::{Report, Swarm, run, run_swarm};
use steadfast_simulator::world::TraceMode;
use steadfast_types::Rng;

fn passes(report: Report) -> Report {
    assert!(report.outcome.is_ok(), "{}\n{report}", report.swarm);
    report
}

#[test]
fn replicas_keep_their_promises_under_every_kind_of_fault() {
    let reports: Vec<Report> = (0..200).map(|seed| passes(run(seed, TraceMode::Hash))).collect();
    let total = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    for (kind, count) in [
        ("commands", total(|report| report.counts.acknowledged / 50)),
        ("waits of sessions", total(|report| report.counts.session_waits)),
        ("waits for holders", total(|report| report.counts.holder_waits)),
        ("kills", total(|report| report.counts.kills)),
        ("power failures", total(|report| report.counts.power_failures)),
        ("wiped disks", total(|report| report.counts.wiped)),
        ("disk failures", total(|report| report.counts.disk_failures)),
        ("clock jumps", total(|report| report.counts.clock_jumps)),
        ("partitions", total(|report| report.counts.partitions)),
        ("sessions", total(|report| report.counts.sessions)),
        ("lost writes", total(|report| report.counts.lost)),
    ] {
        assert!(count > 50, "{kind}: {count}");
    }
}

#[test]
fn a_calm_world_answers_every_command() {
    for nodes in [2, 3, 5] {
        let report = passes(run_swarm(0, Swarm::calm(nodes), Rng::with_seed(7), TraceMode::Hash));
        assert!(report.counts.acknowledged > 400 && report.counts.unknown == 0 && report.counts.lost == 0, "{report}");
        assert_eq!(report.counts.starts, nodes as u64);
    }
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in 1_000..1_010 {
        let [a, b] = [TraceMode::Hash, TraceMode::Record].map(|mode| run(seed, mode));
        assert_eq!((a.trace_hash, a.counts), (b.trace_hash, b.counts), "seed {seed}");
    }
}
