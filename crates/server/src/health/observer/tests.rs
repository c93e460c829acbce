//! An observer as a whole: what it is told and sees, and what it says.

use super::*;
use steadfast_health::Way;

fn at(ms: u64) -> Instant {
    Instant(1_000_000 + ms * 1_000)
}

/// Two peers that are heard and answer, until `until`; the loop looks at its times.
fn watched(until_ms: u64) -> Detectors {
    let observer = Observer::new(NodeId(1), at(0));
    let mut detectors = Arc::into_inner(observer.0).expect("the only one").into_inner();
    watch(&mut detectors, 0, until_ms, &[2, 3]);
    detectors
}

fn watch(detectors: &mut Detectors, from_ms: u64, until_ms: u64, heard: &[u64]) {
    let known = BTreeSet::from([NodeId(2), NodeId(3)]);
    for ms in (from_ms..until_ms).step_by(500) {
        detectors.look(at(ms), &known);
        heard.iter().for_each(|peer| detectors.notice(at(ms), NodeId(*peer), Noticed::Heard));
    }
}

#[test]
fn who_is_silent_is_named_with_how_long_it_has_been() {
    let mut detectors = watched(20_000);
    let quiet = detectors.observed(at(20_000));
    assert!(quiet.has_say && quiet.against.is_empty() && quiet.own.is_empty(), "{quiet:?}");
    watch(&mut detectors, 20_000, 40_000, &[2]);
    let observed = detectors.observed(at(39_999));
    assert_eq!(observed.against.len(), 1);
    let Against { node, assessments } = &observed.against[0];
    assert_eq!((*node, assessments.len(), assessments[0].way), (NodeId(3), 1, Way::Heartbeat));
    assert!(
        assessments[0].suspicion == Suspicion::Hard && assessments[0].evidence.iter().all(|one| one.lasting_ms > 19_000),
        "{observed:?}"
    );
}

#[test]
fn who_stood_still_itself_has_no_say_and_holds_nothing_against_anybody() {
    let mut detectors = watched(20_000);
    detectors.look(at(80_000), &BTreeSet::from([NodeId(2), NodeId(3)]));
    let observed = detectors.observed(at(80_000));
    assert!(!observed.has_say && observed.against.is_empty(), "{observed:?}");
}

#[test]
fn who_is_no_peer_any_more_is_forgotten_and_there_are_only_so_many() {
    let mut detectors = watched(20_000);
    detectors.look(at(20_000), &BTreeSet::from([NodeId(2)]));
    assert_eq!(detectors.peers.len(), 1);
    (0..10_000).for_each(|peer| detectors.notice(at(20_001), NodeId(peer), Noticed::Dialled));
    assert_eq!(detectors.peers.len(), PEERS);
}
