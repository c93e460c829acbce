//! What is found in which facts.

use super::*;
use alloc::vec;
use proptest::prelude::*;

fn rules_of(facts: &Facts) -> Vec<&'static str> {
    diagnose(facts).iter().map(|finding| finding.rule).collect()
}

fn view(peer: &str, hears: bool, is_heard: bool) -> PeerView {
    PeerView { peer: peer.into(), hears, is_heard }
}

#[test]
fn a_good_node_has_no_findings() {
    let facts = Facts {
        descriptors: Some((100, 1_024)),
        memory: Some((1, 10)),
        memory_kills: Some(0),
        peers: vec![view("b", true, true)],
        threads: vec![Thread { uninterruptible: true, for_ms: 3, ..Thread::default() }],
        ..Facts::default()
    };
    assert!(diagnose(&facts).is_empty());
    assert!(diagnose(&Facts::default()).is_empty());
}

#[test]
fn the_cause_comes_before_its_effects() {
    let group = Group { pattern: "sync took <n> ms".into(), count: 7, first_ms: 0, last_ms: 1 };
    let figures = NodeFigures { sync_p99_us: Some(400_000), disk_used_per_mille: Some(990), ..NodeFigures::default() };
    let stuck =
        Thread { name: "log-writer".into(), uninterruptible: true, waits_for: "io_schedule".into(), for_ms: 8_000, ..Thread::default() };
    let facts = Facts { log: vec![group], threads: vec![stuck], figures, ..Facts::default() };
    assert_eq!(rules_of(&facts), ["threads stuck in the kernel", "soft error", "soft error", "errors in its log"]);
}

#[test]
fn a_thread_that_is_stuck_waits_or_is_busy_is_named_with_the_function_that_it_is_in() {
    let place = "steadfast_storage::log::sync (storage/src/log.rs:7)";
    let thread = |name: &str| Thread { name: name.into(), place: place.into(), is_unmoved: true, ..Thread::default() };
    let stuck = Thread { uninterruptible: true, waits_for: "jbd2".into(), for_ms: 1_050, waited_twice: true, ..thread("log-writer") };
    let waiting = Thread { uninterruptible: true, waited_twice: true, ..thread("table-jobs") };
    let busy = Thread { busy_ms: 950, is_unmoved: false, ..thread("core") };
    let findings = diagnose(&Facts { threads: vec![busy, waiting, stuck, thread("idle")], ..Facts::default() });
    let evidence: Vec<&str> = findings.iter().map(|finding| finding.evidence.as_str()).collect();
    let expected = [
        format!("log-writer waits in jbd2 for 1050 ms, both times in {place}"),
        format!("table-jobs did so at two looks a second apart, both times in {place}"),
        format!("core ran for 950 ms of a second, at last in {place}"),
    ];
    assert_eq!(evidence, expected);
}

#[test]
fn the_views_of_peers_tell_a_cut_from_a_one_way_fault() {
    let facts = |peers| Facts { peers, ..Facts::default() };
    assert_eq!(rules_of(&facts(vec![view("b", false, false), view("c", false, false)])), ["cut off"]);
    assert_eq!(rules_of(&facts(vec![view("b", true, false), view("c", true, true)])), ["heard one way only"]);
    assert_eq!(rules_of(&facts(vec![view("b", false, false), view("c", true, true)])), ["heard by some"]);
}

#[test]
fn what_it_went_through_is_told() {
    let change = |number, to, why: &str| Past { number, to, why: why.into() };
    let failed = change(4, HealthState::Failed, "condemned: silent for 5 s");
    let history = vec![failed, change(5, HealthState::Recovering, "returned"), change(6, HealthState::Degraded, "flapping")];
    let findings = diagnose(&Facts { history, ..Facts::default() });
    assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["flapping", "failed before"]);
    assert_eq!(findings[1].evidence, "change 4: condemned: silent for 5 s");
}

proptest! {
    #[test]
    fn findings_are_ranked_bounded_and_without_secrets(used in any::<u64>(), limit in any::<u64>(), peers in prop::collection::vec(any::<(bool, bool)>(), 0..300)) {
        let log = vec![Group { pattern: "login failed: password=XYZZY".into(), count: 1, first_ms: 0, last_ms: 0 }];
        let peers = peers.into_iter().map(|(hears, is_heard)| view("token=XYZZY", hears, is_heard)).collect();
        let findings = diagnose(&Facts { log, peers, descriptors: Some((used, limit)), memory: Some((limit, used)), ..Facts::default() });
        prop_assert!(findings.len() <= FINDINGS);
        prop_assert!(findings.is_sorted_by_key(|finding| Reverse(finding.severity)));
        prop_assert!(findings.iter().all(|finding| !finding.evidence.contains("XYZZY")));
    }
}
