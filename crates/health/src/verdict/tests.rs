//! Verdicts on random cases.

use super::*;
use crate::evidence::Figures;
use alloc::vec;
use proptest::prelude::*;

fn node() -> Subject {
    Subject::Node(NodeId(100))
}

fn service() -> Subject {
    Subject::Service { node: NodeId(100), name: "orders".into() }
}

fn held(way: Way, strength: Suspicion) -> Assessment {
    Assessment::held(way, strength, Duration::from_secs(3), Figures::Silent { silent_ms: 3_000, interval_ms: 1_000 })
}

fn report(observer: u64, assessments: Vec<Assessment>) -> Report {
    Report { observer: NodeId(observer), age: Duration::from_secs(1), has_say: true, assessments }
}

fn standing(count: u64) -> BTreeSet<NodeId> {
    (0..count).map(NodeId).collect()
}

fn verdict_of(subject: &Subject, state: HealthState, standing: &BTreeSet<NodeId>, reports: &[Report]) -> Verdict {
    let case = Case { subject, state, standing, reports, soft_errors: &[], judge_has_say: true };
    judge(&Policy::default(), &case).unwrap()
}

fn suspicion() -> impl Strategy<Value = Suspicion> {
    use Suspicion::{Clear, Hard, Soft, Suspect, Unknown};
    prop_oneof![Just(Unknown), Just(Clear), Just(Soft), Just(Suspect), Just(Hard)]
}

fn assessment() -> impl Strategy<Value = Assessment> {
    (0..Way::ALL.len(), suspicion()).prop_map(|(way, suspicion)| match suspicion {
        Suspicion::Unknown => Assessment::unknown(Way::ALL[way]),
        Suspicion::Clear => Assessment::clear(Way::ALL[way]),
        Suspicion::Soft | Suspicion::Suspect | Suspicion::Hard => held(Way::ALL[way], suspicion),
    })
}

/// Reports of observers 0 to 11 (of which a test may let stand only some), some late and some of observers that paused.
fn reports() -> impl Strategy<Value = Vec<Report>> {
    let report = (0..12u64, 0..20u64, prop::bool::weighted(0.9), prop::collection::vec(assessment(), 0..4)).prop_map(
        |(observer, age_s, has_say, assessments)| Report {
            observer: NodeId(observer),
            age: Duration::from_secs(age_s),
            has_say,
            assessments,
        },
    );
    prop::collection::vec(report, 0..30)
}

fn subjects() -> impl Strategy<Value = Subject> {
    prop_oneof![Just(node()), Just(service()), Just(Subject::Node(NodeId(3)))]
}

#[test]
fn all_observers_and_several_ways_are_named() {
    let reports: Vec<Report> =
        (0..10).map(|o| report(o, vec![held(Way::Heartbeat, Suspicion::Hard), held(Way::Timeout, Suspicion::Hard)])).collect();
    let verdict = verdict_of(&node(), HealthState::Healthy, &standing(10), &reports);
    assert_eq!((verdict.state, verdict.rule), (HealthState::Failed, Rule::Condemned));
    assert_eq!(verdict.observers, standing(10));
    assert_eq!(verdict.ways(), BTreeSet::from([Way::Timeout, Way::Heartbeat]));
    assert_eq!(verdict.lasting_ms, 4_000, "three seconds when it was said, a second ago");
}

#[test]
fn one_observer_that_hears_nobody_condemns_nobody() {
    for others in [1, 2, 9] {
        let mut reports = vec![report(0, vec![held(Way::Heartbeat, Suspicion::Hard), held(Way::Transport, Suspicion::Hard)])];
        reports.extend((1..=others).map(|observer| report(observer, vec![Assessment::clear(Way::Heartbeat)])));
        let verdict = verdict_of(&node(), HealthState::Healthy, &standing(others + 1), &reports);
        assert!(verdict.state < HealthState::Failed, "{others} others: {verdict}");
    }
}

#[test]
fn two_of_three_servers_condemn_the_third() {
    let reports: Vec<Report> = (0..2).map(|observer| report(observer, vec![held(Way::Heartbeat, Suspicion::Hard)])).collect();
    assert_eq!(verdict_of(&node(), HealthState::Suspect, &standing(2), &reports).state, HealthState::Failed);
}

#[test]
fn who_is_heard_again_recovers() {
    let reports: Vec<Report> = (0..10).map(|observer| report(observer, vec![Assessment::clear(Way::Heartbeat)])).collect();
    for (before, after) in [(HealthState::Failed, HealthState::Recovering), (HealthState::Suspect, HealthState::Healthy)] {
        assert_eq!(verdict_of(&node(), before, &standing(10), &reports).state, after);
    }
}

#[test]
fn the_node_of_a_service_condemns_it_alone_as_no_network_is_between() {
    let from = |observer| [report(observer, vec![held(Way::Checkpoint, Suspicion::Hard)])];
    let all = (0..=100).map(NodeId).collect();
    assert_eq!(verdict_of(&service(), HealthState::Healthy, &all, &from(100)).state, HealthState::Failed);
    assert!(verdict_of(&service(), HealthState::Healthy, &all, &from(1)).state < HealthState::Suspect);
}

#[test]
fn one_observer_can_not_be_made_enough() {
    assert!(Policy::new(10, 1, 0, Duration::ZERO).is_err());
    assert!(Policy::new(1, 1, 1, Duration::ZERO).is_err());
    assert!(Policy::new(10, 3, 3, Duration::ZERO).is_err());
    assert!(Policy::new(10, 11, 3, Duration::ZERO).is_err());
    assert_eq!(Policy::default().condemning(1), 2);
}

proptest! {
    /// Who is known to live is never condemned, whatever is held against it, and what is held is not lost.
    #[test]
    fn no_verdict_is_worse_than_what_is_known(subject in subjects(), reports in reports(), standing in 1..12u64) {
        let standing = super::tests::standing(standing);
        let case = Case { subject: &subject, state: HealthState::Healthy, standing: &standing, reports: &reports, soft_errors: &[], judge_has_say: true };
        let free = judge(&Policy::default(), &case).unwrap();
        for worst in [HealthState::Degraded, HealthState::Suspect, HealthState::Failed] {
            let bound = judge_up_to(&Policy::default(), &case, worst).unwrap();
            prop_assert!(bound.state <= worst && (bound.state == free.state || free.state > worst), "{bound} {free}");
            prop_assert_eq!(&bound.evidence, &free.evidence);
            prop_assert!(free.state <= HealthState::Degraded || bound.state >= HealthState::Degraded);
        }
    }

    #[test]
    fn a_failure_rests_on_enough_distinct_observers(subject in subjects(), reports in reports(), count in 0..12u64) {
        let standing = standing(count);
        let verdict = verdict_of(&subject, HealthState::Healthy, &standing, &reports);
        if verdict.state == HealthState::Failed {
            prop_assert!(verdict.observers.len() >= Policy::default().condemning(standing.len().saturating_sub(1)));
            prop_assert!(verdict.observers.is_subset(&standing));
            prop_assert!(!verdict.observers.contains(&NodeId(3)) || subject != Subject::Node(NodeId(3)), "its own witness");
        }
    }

    #[test]
    fn ways_that_are_blind_condemn_no_node_alone(way in 0..Way::ALL.len(), count in 2..12u64) {
        let blind = [Way::Timeout, Way::Probe, Way::Checkpoint, Way::Check, Way::SelfReport].contains(&Way::ALL[way]);
        let reports: Vec<Report> = (0..count).map(|observer| report(observer, vec![held(Way::ALL[way], Suspicion::Hard)])).collect();
        let verdict = verdict_of(&node(), HealthState::Healthy, &standing(count), &reports);
        prop_assert_eq!(verdict.state == HealthState::Failed, !blind);
    }

    #[test]
    fn nobody_is_a_witness_of_itself(count in 2..12u64, subject in 0..12u64) {
        let mut reports: Vec<Report> = (0..count).map(|observer| report(observer, vec![Assessment::clear(Way::Heartbeat)])).collect();
        reports.push(report(subject, vec![held(Way::Heartbeat, Suspicion::Hard)]));
        let verdict = verdict_of(&Subject::Node(NodeId(subject)), HealthState::Suspect, &standing(12), &reports);
        prop_assert_eq!(verdict.state, HealthState::Healthy);
        prop_assert_eq!(verdict.standing, 11);
    }

    #[test]
    fn who_has_no_say_changes_nothing(subject in subjects(), reports in reports(), count in 0..12u64, state in 0..5usize) {
        let states = [HealthState::Healthy, HealthState::Recovering, HealthState::Degraded, HealthState::Suspect, HealthState::Failed];
        let standing = standing(count);
        let counts = |report: &&Report| report.has_say && report.age < Duration::from_secs(10) && standing.contains(&report.observer);
        let those: Vec<Report> = reports.iter().filter(counts).cloned().collect();
        prop_assert_eq!(verdict_of(&subject, states[state], &standing, &reports), verdict_of(&subject, states[state], &standing, &those));
    }

    #[test]
    fn a_judge_that_paused_casts_none(reports in reports()) {
        let (subject, standing) = (node(), standing(12));
        let case = Case { subject: &subject, state: HealthState::Healthy, standing: &standing, reports: &reports, soft_errors: &[], judge_has_say: false };
        prop_assert_eq!(judge(&Policy::default(), &case), None);
    }

    #[test]
    fn soft_errors_degrade_at_most(offset_ms in any::<u64>(), count in 1..50usize, heard in any::<bool>()) {
        let figures = Figures::SoftError { rule: "clock offset".into(), value: offset_ms, bound: 100 };
        let soft = vec![Evidence { way: Way::SelfReport, strength: Suspicion::Soft, lasting_ms: offset_ms, figures }; count];
        let (subject, standing) = (node(), standing(10));
        let reports: Vec<Report> = if heard { (0..10).map(|o| report(o, vec![Assessment::clear(Way::Heartbeat)])).collect() } else { vec![] };
        let case = Case { subject: &subject, state: HealthState::Healthy, standing: &standing, reports: &reports, soft_errors: &soft, judge_has_say: true };
        prop_assert_eq!(judge(&Policy::default(), &case).unwrap().state, HealthState::Degraded);
        let case = Case { state: HealthState::Failed, ..case };
        let expected = if heard { HealthState::Degraded } else { HealthState::Failed };
        prop_assert_eq!(judge(&Policy::default(), &case).unwrap().state, expected, "a dead node's word that it has errors revives it");
    }

    #[test]
    fn more_evidence_makes_no_verdict_better(subject in subjects(), reports in reports(), at in any::<prop::sample::Index>(), more in assessment()) {
        prop_assume!(!reports.is_empty());
        let standing = standing(12);
        let before = verdict_of(&subject, HealthState::Healthy, &standing, &reports);
        let mut reports = reports;
        let at = at.index(reports.len());
        reports[at].assessments.push(more);
        prop_assert!(verdict_of(&subject, HealthState::Healthy, &standing, &reports).state >= before.state);
    }

    #[test]
    fn verdicts_survive_the_wire(subject in subjects(), reports in reports()) {
        use steadfast_types::wire::Wire;
        let verdict = verdict_of(&subject, HealthState::Healthy, &standing(12), &reports);
        prop_assert_eq!(Verdict::from_wire(verdict.to_wire().into()), Ok(verdict));
    }
}
