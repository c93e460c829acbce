//! Whole clusters over many seeds. `cargo run --release -p steadfast-simulator -- run` goes further.

use steadfast_simulator::cluster::FAULT_NAMES;
use steadfast_simulator::run::{Report, Summary, run, run_swarm};
use steadfast_simulator::swarm::{Gossiping, Recovering, Recurring, Swarm};
use steadfast_simulator::world::TraceMode;
use steadfast_types::Rng;
use steadfast_types::time::Duration;

/// Runs seeds and fails with the report of the first violation.
fn run_all(seeds: std::ops::Range<u64>, nodes: Option<usize>) -> Vec<Report> {
    seeds.map(|seed| passes(run(seed, nodes, TraceMode::Hash))).collect()
}

fn passes(report: Report) -> Report {
    assert!(report.outcome.is_ok(), "{}\n{report}", report.swarm);
    report
}

fn total(reports: &[Report], count: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(count).sum()
}

fn summary(report: &Report) -> Summary {
    report.outcome.clone().expect("it passed")
}

#[test]
fn three_nodes_keep_their_promises() {
    let reports = run_all(0..150, Some(3));
    assert!(total(&reports, |report| summary(report).done as u64) > 150 * 50);
    assert!(total(&reports, |report| summary(report).unknown as u64) > 150, "clients are left in doubt");
}

#[test]
fn five_nodes_keep_their_promises() {
    run_all(1_000..1_080, Some(5));
}

#[test]
fn one_node_keeps_its_promises() {
    run_all(2_000..2_060, Some(1));
}

#[test]
fn every_kind_of_fault_happens() {
    let reports = run_all(3_000..3_100, None);
    assert!(total(&reports, |report| report.counts.starts - report.swarm.nodes as u64) > 60, "restarts");
    for (kind, count) in [
        ("snapshots", total(&reports, |report| report.counts.snapshots)),
        ("disk failures", total(&reports, |report| report.counts.disk_stops)),
        ("rotten sectors", total(&reports, |report| report.counts.corruptions)),
        ("repairs", total(&reports, |report| report.counts.repairs)),
    ] {
        assert!(count > 0, "no {kind}");
    }
}

#[test]
fn a_calm_world_does_every_request_and_elects_once() {
    for nodes in [1, 3, 5] {
        let report = passes(run_swarm(0, Swarm::calm(nodes), Rng::with_seed(7), TraceMode::Hash));
        let summary = summary(&report);
        assert!(summary.operations > 500, "{report}");
        // Each client may give up on what it asked before there was a leader, and of the node that one fault lasts for at the end.
        assert!(summary.unknown <= 2 * (6 + nodes) && report.counts.starts == nodes as u64, "{report}");
    }
}

/// What comes with users, members that change and a restored state meets in one run.
#[test]
fn members_rights_and_a_restored_state_go_together() {
    let everything = |seed| {
        let mut rng = Rng::with_seed(seed);
        let mut drawn = Swarm::draw(&mut rng, Some(3));
        // Plans would take what is removed here for decisions of somebody else.
        drawn.gossip.iter_mut().for_each(|gossip| gossip.recovery = None);
        let member_changes = Some(Recurring { every: Duration::from_millis(500), lasts: Duration::from_millis(1) });
        let swarm = Swarm {
            auth: true,
            restored: true,
            leases: true,
            lockers: 3,
            watchers: 3,
            member_changes,
            corruption: None,
            lost_logs: None,
            outages: None,
            ..drawn
        };
        passes(run_swarm(seed, swarm, rng, TraceMode::Hash))
    };
    let reports: Vec<Report> = (5_000..5_040).map(everything).collect();
    let all = |report: &&Report| {
        let member_changes = FAULT_NAMES.iter().position(|name| *name == "member change").expect("one of them");
        report.counts.rights_changes > 20 && report.counts.denied > 20 && report.counts.faults[member_changes] > 3
    };
    assert!(reports.iter().filter(all).count() > 5, "rights change and members too");
    assert!(total(&reports, |report| report.counts.snapshots) > 0, "who joins is given the restored state");
}

/// Voters lose their disks, and others are cut off: plans replace them, with members that gossip beside.
#[test]
fn voters_that_are_gone_are_replaced_by_plans() {
    let gone = |seed| {
        let mut rng = Rng::with_seed(seed);
        let drawn = Swarm::draw(&mut rng, Some(3));
        let gossip = Gossiping {
            agents: 2,
            spares: 2,
            strikes: Some(Duration::from_secs(2)),
            reconnect_interval: Duration::from_secs(2),
            return_backoff_max: Duration::from_secs(4),
            dead_age: Duration::from_secs(3600),
            recovery: Some(Recovering { delay: Duration::from_secs(1), concurrent: 2, halt_above_percent: 55 }),
        };
        let (member_changes, torn_changes, mixed, autopilot) = (None, false, false, Default::default());
        let lost_logs = Some(Recurring { every: Duration::from_secs(2), lasts: Duration::from_millis(1) });
        let (gossip, corruption) = (Some(gossip), None);
        let swarm = Swarm { gossip, member_changes, torn_changes, mixed, autopilot, lost_logs, corruption, ..drawn };
        passes(run_swarm(seed, swarm, rng, TraceMode::Hash))
    };
    let reports: Vec<Report> = (6_000..6_040).map(gone).collect();
    assert!(total(&reports, |report| report.counts.replaced) > 20, "plans replace voters");
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in 4_000..4_010 {
        let [a, b] = [TraceMode::Hash, TraceMode::Record].map(|mode| run(seed, None, mode));
        assert_eq!((a.trace_hash, a.counts), (b.trace_hash, b.counts), "seed {seed}");
    }
    assert_ne!(run(1, None, TraceMode::Hash).trace_hash, run(2, None, TraceMode::Hash).trace_hash);
}
