//! Figures of small runs that can be followed by hand.

use steadfast_proof::history::{Operation, Request, Transaction};

use super::super::declaration::Kind;
use super::*;

const MS: u64 = 1000;

fn record(client: usize, from_ms: u64, to_ms: u64, outcome: Outcome) -> Record {
    let (invoked, ended) = (Time(from_ms * MS), Time(to_ms * MS));
    let operation = Operation { client, request: Request::Transaction(Transaction::default()), invoked, answer: None };
    Record { client, scheduled: invoked, ended, outcome, wrote: outcome == Outcome::Good, operation }
}

fn view(id: u64, leader: u64, term: u64) -> Option<View> {
    Some(View { id, leads: id == leader, leader, term, applied: 0, learner: false })
}

fn measured<'a>(records: &'a [Record], marks: &'a [Mark], samples: &'a [Sample], names: &'a [String]) -> Measured<'a> {
    Measured { begin: Time(1000 * MS), end: Time(2000 * MS), clients: 2, rate: 10, records, marks, samples, names }
}

#[test]
fn wilsons_interval_is_that_of_the_books() {
    let interval = wilson(95, 100);
    assert!((interval.low - 0.8882).abs() < 1e-4 && (interval.high - 0.9785).abs() < 1e-4, "{interval:?}");
    let all_good = wilson(1000, 1000);
    assert!(all_good.high == 1.0 && (all_good.low - 0.99617).abs() < 1e-5, "{all_good:?}");
    assert_eq!((wilson(0, 0).low, wilson(0, 0).high), (0.0, 1.0));
    assert!(wilson(0, 10).low == 0.0 && wilson(0, 10).high > 0.2);
}

#[test]
fn the_longest_gap_counts_the_beginning_and_the_end() {
    use Outcome::*;
    let good = |client, at| record(client, at, at, Good);
    let records = [good(0, 1100), good(0, 1300), good(0, 1950), good(1, 1200), record(1, 1500, 1600, Bad), good(1, 1800)];
    let gap = measured(&records, &[], &[], &[]).longest_gap();
    assert_eq!((gap.ms, gap.client, gap.at_ms), (650.0, 0, 300.0));
    let gap = measured(&records[..4], &[], &[], &[]).longest_gap();
    assert_eq!((gap.ms, gap.client, gap.at_ms), (800.0, 1, 200.0), "nothing until the end");
    assert_eq!(measured(&[], &[], &[], &[]).longest_gap().ms, 1000.0);
}

#[test]
fn requests_are_counted_in_all_and_by_slot() {
    use Outcome::*;
    let records = [record(0, 1010, 1011, Good), record(0, 1020, 1025, Good), record(1, 1030, 1130, Unknown), record(0, 1990, 1995, Bad)];
    let figures = measured(&records, &[], &[], &[]).figures();
    assert_eq!(figures.requests, Requests { good: 2, bad: 1, unknown: 1 });
    assert_eq!(figures.availability.value, 0.5);
    assert_eq!((figures.timeline.len(), figures.slot_ms, figures.five_nines), (10, 100, None));
    assert_eq!(figures.timeline[0].requests, Requests { good: 2, bad: 0, unknown: 1 });
    assert_eq!((figures.timeline[0].median_ms, figures.timeline[0].worst_ms), (Some(1.0), Some(5.0)));
    assert_eq!((figures.timeline[9].requests.bad, figures.timeline[9].median_ms), (1, None));
    assert_eq!(figures.latency_ms, Latency { p50: 1.0, p99: 5.0, max: 5.0 });
}

#[test]
fn a_fault_is_noticed_and_mended() {
    use Outcome::*;
    let names = ["n1", "n2"].map(String::from);
    let sample = |at_ms: u64, node, view| Sample { at: Time(at_ms * MS), node, view };
    let samples = [
        sample(500, 0, view(1, 1, 3)),
        sample(500, 1, view(2, 1, 3)),
        sample(1205, 0, None),
        sample(1350, 1, view(2, 0, 3)),
        sample(1400, 1, view(2, 2, 4)),
    ];
    let marks = [Mark { kind: Kind::Kill, nodes: vec![0], began: Time(1200 * MS), ended: Some(Time(1600 * MS)), leader: Some((0, 1, 3)) }];
    let records = [record(0, 1100, 1250, Good), record(0, 1210, 1450, Good), record(1, 1300, 1440, Good), record(1, 1310, 1320, Bad)];
    let figures = measured(&records, &marks, &samples, &names).figures();
    let fault = &figures.faults[0];
    assert_eq!((fault.at_ms, fault.ended_ms, fault.of_leader), (200.0, Some(600.0), true));
    assert_eq!((fault.notice_ms, fault.elect_ms, fault.first_write_ms), (Some(150.0), Some(200.0), Some(240.0)));
    assert_eq!(figures.leader_changes, 1);
    let reigns: Vec<_> = figures.leaders.iter().map(|reign| (reign.leader.as_deref(), reign.from_ms, reign.to_ms)).collect();
    assert_eq!(reigns, [(Some("n1"), 0.0, 205.0), (None, 205.0, 400.0), (Some("n2"), 400.0, 1000.0)]);
    // One bad request at ten a second stands for 100 ms.
    let cost = figures.five_nines.expect("a fault");
    assert!((cost.lost_ms_per_fault - 100.0).abs() < 1e-9 && (cost.seconds_between_faults - 10_000.0).abs() < 1e-6, "{cost:?}");
}
