//! The invariants that every detector keeps, tried on each with random histories.

use alloc::vec::Vec;
use core::time::Duration;
use proptest::prelude::*;
use steadfast_types::Instant;

use super::{Bounds, Detector, checkpoint, heartbeat, phi, probe, timeout, transport};
use crate::evidence::{Assessment, Figures, Stage, Suspicion, Way};

/// What happens to a detector: a wait in ms, then an observation made of a number.
type History = Vec<(u64, u64)>;

fn histories() -> impl Strategy<Value = History> {
    prop::collection::vec((0..4_000u64, any::<u64>()), 0..40)
}

fn seconds(suspect: u64, hard: u64) -> Bounds {
    Bounds::new(Duration::from_secs(suspect), Duration::from_secs(hard))
}

fn heartbeat_at(now: Instant) -> heartbeat::Heartbeat {
    heartbeat::Heartbeat::new(now, heartbeat::Config::default())
}

fn checkpoint_at(now: Instant) -> checkpoint::Checkpoint {
    checkpoint::Checkpoint::new(now, checkpoint::Config { heartbeat: heartbeat::Config::default(), stall: seconds(2, 4) })
}

fn probe_at(_: Instant) -> probe::Probe {
    probe::Probe::new(probe::Config { slow: Duration::from_secs(1), stuck: seconds(2, 5) })
}

fn timeout_at(_: Instant) -> timeout::Timeout {
    timeout::Timeout::new(timeout::Config::default())
}

fn transport_at(_: Instant) -> transport::Transport {
    transport::Transport::new(transport::Config::default())
}

fn beat(_: u64) -> heartbeat::Beat {
    heartbeat::Beat
}

fn progress(n: u64) -> checkpoint::Progress {
    checkpoint::Progress { life: n % 3, at: n / 3 % 5, idle: n.is_multiple_of(7) }
}

fn mark(n: u64) -> probe::Mark {
    let number = probe::ProbeNumber(n / 8 % 6);
    match Stage::ALL.get((n % 8) as usize) {
        Some(stage) => probe::Mark::Passed(number, *stage),
        None => probe::Mark::Started(number),
    }
}

fn request(n: u64) -> timeout::Request {
    let number = timeout::RequestNumber(n / 3 % 20);
    if n.is_multiple_of(3) { timeout::Request::Answered(number) } else { timeout::Request::Asked(number) }
}

fn event(n: u64) -> transport::Event {
    match n % 6 {
        0 => transport::Event::Connected,
        1 => transport::Event::Received,
        2 => transport::Event::Reset,
        3 => transport::Event::Refused,
        _ => {
            let sent = n / 6 % 10_000;
            let counters = transport::Counters { sent, retransmitted: sent / 10, received: sent, reordered: sent / 11 };
            transport::Event::Counted(counters)
        }
    }
}

/// Runs `history` from `start` on; the detector, and the time at its end.
fn run<D: Detector>(start: Instant, history: &History, new: fn(Instant) -> D, observation: fn(u64) -> D::Observation) -> (D, Instant) {
    let mut detector = new(start);
    let mut now = start;
    for (wait, n) in history {
        now = now + Duration::from_millis(*wait);
        detector.observe(now, observation(*n));
    }
    (detector, now)
}

/// Whether silence alone may lead from one to the other.
fn may_follow_in_silence(before: Suspicion, after: Suspicion) -> bool {
    after >= before || (before, after) == (Suspicion::Clear, Suspicion::Unknown)
}

fn keeps_the_invariants<D: Detector + Clone>(
    history: &History,
    shift: u64,
    new: fn(Instant) -> D,
    observation: fn(u64) -> D::Observation,
) -> Result<(), TestCaseError> {
    let (detector, end) = run(Instant(7), history, new, observation);
    let (shifted, shifted_end) = run(Instant(7 + shift), history, new, observation);

    // Only differences of time count, and silence makes nothing better.
    let mut before = detector.assess(end).suspicion;
    for silence_ms in (0..120_000).step_by(97) {
        let silence = Duration::from_millis(silence_ms);
        let assessment = detector.assess(end + silence);
        prop_assert_eq!(&assessment, &shifted.assess(shifted_end + silence));
        prop_assert!(may_follow_in_silence(before, assessment.suspicion), "{before:?} to {:?} in silence", assessment.suspicion);
        let ways = [detector.way(), detector.silent_way()];
        prop_assert!(assessment.evidence.iter().all(|evidence| ways.contains(&evidence.way)));
        before = assessment.suspicion;
    }

    // It changes when it says that it will.
    let (mut now, mut suspicion) = (end, detector.assess(end).suspicion);
    for _ in 0..1_000 {
        let next = detector.next_change(now);
        prop_assert!(next > now);
        let just_before = if next == Instant::NEVER { now + Duration::from_secs(1_000_000) } else { Instant(next.0 - 1) };
        prop_assert_eq!(detector.assess(just_before.max(now)).suspicion, suspicion);
        if next == Instant::NEVER {
            break;
        }
        (now, suspicion) = (next, detector.assess(next).suspicion);
    }
    prop_assert_eq!(detector.next_change(now), Instant::NEVER, "endless changes in silence");

    // A forgiven pause is no silence.
    let pause = Duration::from_secs(3_600);
    let mut paused = detector.clone();
    paused.forgive(end + pause, pause);
    for silence_ms in [0, 1_234, 9_999, 77_777] {
        let silence = Duration::from_millis(silence_ms);
        let expected = detector.assess(end + silence);
        prop_assert_eq!(paused.assess(end + pause + silence), expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn timeout_keeps_them(history in histories(), shift in 0..u64::MAX / 2) {
        keeps_the_invariants(&history, shift, timeout_at, request)?;
    }

    #[test]
    fn heartbeat_keeps_them(history in histories(), shift in 0..u64::MAX / 2) {
        keeps_the_invariants(&history, shift, heartbeat_at, beat)?;
    }

    #[test]
    fn checkpoint_keeps_them(history in histories(), shift in 0..u64::MAX / 2) {
        keeps_the_invariants(&history, shift, checkpoint_at, progress)?;
    }

    #[test]
    fn probe_keeps_them(history in histories(), shift in 0..u64::MAX / 2) {
        keeps_the_invariants(&history, shift, probe_at, mark)?;
    }

    #[test]
    fn transport_keeps_them(history in histories(), shift in 0..u64::MAX / 2) {
        keeps_the_invariants(&history, shift, transport_at, event)?;
    }

    #[test]
    fn phi_over_each_keeps_them(history in histories(), shift in 0..u64::MAX / 2) {
        keeps_the_invariants(&history, shift, |now| phi::Accrual::new(heartbeat_at(now), phi::Config::default()), beat)?;
        keeps_the_invariants(&history, shift, |now| phi::Accrual::new(checkpoint_at(now), phi::Config::default()), progress)?;
        keeps_the_invariants(&history, shift, |now| phi::Accrual::new(timeout_at(now), phi::Config::default()), request)?;
        keeps_the_invariants(&history, shift, |now| phi::Accrual::new(probe_at(now), phi::Config::default()), mark)?;
        keeps_the_invariants(&history, shift, |now| phi::Accrual::new(transport_at(now), phi::Config::default()), event)?;
    }
}

/// `after_ms` of silence after the observations at their times, ms.
fn assessed<D: Detector>(mut detector: D, observations: Vec<(u64, D::Observation)>, at_ms: u64) -> Assessment {
    for (ms, observation) in observations {
        detector.observe(Instant(ms * 1_000), observation);
    }
    detector.assess(Instant(at_ms * 1_000))
}

#[test]
fn work_that_stands_still_in_a_living_process_is_seen_by_the_checkpoint_alone() {
    let beats = |make: fn(u64) -> checkpoint::Progress| (0..10u64).map(|s| (s * 1_000, make(s))).collect::<Vec<_>>();
    let stuck = assessed(checkpoint_at(Instant(0)), beats(|_| checkpoint::Progress { life: 1, at: 5, idle: false }), 9_500);
    assert_eq!(stuck.suspicion, Suspicion::Hard);
    assert_eq!(stuck.evidence[0].figures, Figures::NoProgress { at: 5, stalled_ms: 9_000, bound_ms: 4_000 });
    let idle = assessed(checkpoint_at(Instant(0)), beats(|_| checkpoint::Progress { life: 1, at: 5, idle: true }), 9_500);
    assert_eq!(idle, Assessment::clear(Way::Checkpoint));
    let backwards = assessed(checkpoint_at(Instant(0)), beats(|s| checkpoint::Progress { life: 1, at: 50 - s, idle: false }), 9_500);
    assert_eq!(backwards.suspicion, Suspicion::Hard);
    let hearts = assessed(heartbeat_at(Instant(0)), (0..10).map(|s| (s * 1_000, heartbeat::Beat)).collect(), 9_500);
    assert_eq!(hearts.suspicion, Suspicion::Clear);
}

#[test]
fn a_probe_names_the_stage_that_stands_still() {
    let number = probe::ProbeNumber(1);
    for (passed, waits_for) in [(Stage::Proposed, Stage::Durable), (Stage::Durable, Stage::Committed), (Stage::Applied, Stage::Returned)] {
        let marks = alloc::vec![(0, probe::Mark::Started(number)), (10, probe::Mark::Passed(number, passed))];
        let assessment = assessed(probe_at(Instant(0)), marks, 6_000);
        let figures = Figures::ProbeStuck { stage: waits_for, waited_ms: 6_000, bound_ms: 5_000 };
        assert_eq!(assessment.evidence[0].figures, figures);
    }
}

#[test]
fn new_probes_do_not_make_a_store_that_stands_still_look_young() {
    let marks = (0..10).map(|s| (s * 1_000, probe::Mark::Started(probe::ProbeNumber(s)))).collect();
    assert_eq!(assessed(probe_at(Instant(0)), marks, 9_500).suspicion, Suspicion::Hard);
}

#[test]
fn an_answer_after_its_timeout_is_slow_and_not_dead() {
    let (asked, answered) = (timeout::Request::Asked, timeout::Request::Answered);
    let number = timeout::RequestNumber;
    let late = alloc::vec![(0, asked(number(1))), (900, answered(number(1)))];
    assert_eq!(assessed(timeout_at(Instant(0)), late, 1_000).suspicion, Suspicion::Soft);
    let silent = alloc::vec![(0, asked(number(1))), (100, asked(number(2))), (200, asked(number(3)))];
    assert_eq!(assessed(timeout_at(Instant(0)), silent.clone(), 650).suspicion, Suspicion::Suspect);
    assert_eq!(assessed(timeout_at(Instant(0)), silent, 700).suspicion, Suspicion::Hard);
}

#[test]
fn an_answer_clears_what_was_asked_before_it() {
    let (asked, answered) = (timeout::Request::Asked, timeout::Request::Answered);
    let number = timeout::RequestNumber;
    let history = alloc::vec![(0, asked(number(1))), (100, asked(number(2))), (200, asked(number(3))), (300, answered(number(2)))];
    assert_eq!(assessed(timeout_at(Instant(0)), history.clone(), 699).suspicion, Suspicion::Clear);
    assert_eq!(assessed(timeout_at(Instant(0)), history, 700).suspicion, Suspicion::Suspect, "the third is still open");
}

#[test]
fn an_answer_that_nobody_waits_for_is_no_sign_of_life() {
    let mut detector = timeout_at(Instant(0));
    detector.observe(Instant(0), timeout::Request::Asked(timeout::RequestNumber(1)));
    assert_eq!(detector.observe(Instant(1), timeout::Request::Answered(timeout::RequestNumber(2))), super::Sign::None);
    assert_eq!(detector.assess(Instant(600_000)).suspicion, Suspicion::Suspect);
}

#[test]
fn refusals_are_hard_only_while_nothing_comes() {
    use transport::Event::{Connected, Counted, Received, Refused};
    let refused = alloc::vec![(0, Received), (1_000, Refused), (2_000, Refused), (3_000, Refused)];
    assert_eq!(assessed(transport_at(Instant(0)), refused.clone(), 3_000).suspicion, Suspicion::Hard);
    let still_connects = [refused.clone(), alloc::vec![(3_500, Connected)]].concat();
    assert_eq!(assessed(transport_at(Instant(0)), still_connects, 4_000).suspicion, Suspicion::Hard, "its kernel lives, not its process");
    let came = [refused, alloc::vec![(3_500, Received)]].concat();
    assert_eq!(assessed(transport_at(Instant(0)), came, 4_000).suspicion, Suspicion::Clear);

    let lossy = transport::Counters { sent: 1_000, retransmitted: 300, received: 1_000, reordered: 0 };
    let lossy = alloc::vec![(0, Received), (100, Counted(lossy))];
    assert_eq!(assessed(transport_at(Instant(0)), lossy, 200).suspicion, Suspicion::Soft, "however much is lost");
}
