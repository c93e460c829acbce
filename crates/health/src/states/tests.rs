//! Health states under random verdicts.

use super::*;
use proptest::prelude::*;
use steadfast_types::NodeId;

const STATES: [HealthState; 5] = [Healthy, Recovering, Degraded, Suspect, Failed];

fn at(ms: u64) -> Moment {
    Moment { now: Instant(ms * 1_000), wall_ms: 0 }
}

fn health() -> Health {
    Health::new(Subject::Node(NodeId(1)), Config::default())
}

fn judge(health: &mut Health, ms: u64, state: HealthState) -> Vec<Event> {
    health.judge(at(ms), state, Rule::Well, Vec::new())
}

fn states(events: &[Event]) -> Vec<HealthState> {
    events.iter().map(|event| event.to).collect()
}

/// Healthy since long ago.
fn healthy() -> Health {
    let mut health = health();
    judge(&mut health, 0, Healthy);
    assert_eq!(states(&health.tick(at(15_000))), [Healthy]);
    health
}

#[test]
fn who_comes_back_from_the_dead_has_to_show_that_it_stays() {
    let mut health = healthy();
    assert_eq!(states(&judge(&mut health, 20_000, Failed)), [Failed]);
    assert_eq!(states(&judge(&mut health, 21_000, Healthy)), []);
    assert_eq!(states(&judge(&mut health, 26_000, Healthy)), [Recovering]);
    assert_eq!(states(&judge(&mut health, 40_000, Healthy)), []);
    assert_eq!(states(&judge(&mut health, 41_000, Healthy)), [Healthy]);
}

#[test]
fn worse_is_at_once_and_better_is_not() {
    let mut health = healthy();
    assert_eq!(states(&judge(&mut health, 20_000, Suspect)), [Suspect]);
    assert_eq!(states(&judge(&mut health, 21_000, Healthy)), []);
    assert_eq!(states(&judge(&mut health, 22_000, Suspect)), []);
    assert_eq!(states(&judge(&mut health, 23_000, Healthy)), [], "the break begins the wait anew");
    assert_eq!(states(&health.tick(at(27_999))), []);
    assert_eq!(states(&health.tick(at(28_000))), [Healthy]);
}

#[test]
fn who_changes_too_often_is_held_degraded_and_condemned_all_the_same() {
    let mut health = healthy();
    for turn in 0..3 {
        judge(&mut health, 20_000 + turn * 2_000, Suspect);
        judge(&mut health, 21_000 + turn * 2_000, Healthy);
    }
    assert!(health.is_flapping());
    assert_eq!(health.state(), Degraded);
    assert_eq!(health.history().last().unwrap().cause, Cause::Flapping);
    assert_eq!(states(&judge(&mut health, 30_000, Suspect)), []);
    assert_eq!(states(&judge(&mut health, 31_000, Failed)), [Failed]);
    let mut ms = 32_000;
    judge(&mut health, ms, Healthy);
    while health.state() != Healthy {
        let next = health.next_change(at(ms).now);
        assert_ne!(next, Instant::NEVER, "stays {} for ever", health.state());
        ms = next.0 / 1_000 + 1;
        health.tick(at(ms));
    }
    assert!(!health.is_flapping());
    assert!((200_000..632_000).contains(&ms), "free at {ms} ms");
}

#[test]
fn however_often_it_changed_it_is_free_after_the_longest_time() {
    let mut health = healthy();
    let mut ms = 20_000;
    for _ in 0..2_000 {
        judge(&mut health, ms, Suspect);
        judge(&mut health, ms + 500, Healthy);
        ms += 1_000;
    }
    health.tick(at(ms + 595_000));
    assert!(health.is_flapping());
    health.tick(at(ms + 600_000));
    assert!(!health.is_flapping());
}

proptest! {
    #[test]
    fn every_change_is_allowed_and_death_is_never_hidden(verdicts in prop::collection::vec((0..20_000u64, 0..5usize), 0..200)) {
        let mut health = health();
        let (mut ms, mut state) = (0, health.state());
        for (wait, verdict) in verdicts {
            ms += wait;
            for event in judge(&mut health, ms, STATES[verdict]) {
                prop_assert_eq!(event.from, state);
                prop_assert!(state.may_become(event.to));
                state = event.to;
            }
            prop_assert_eq!(state, health.state());
            prop_assert!(STATES[verdict] != Failed || state == Failed);
            prop_assert!(health.history().count() <= HISTORY_EVENTS);
        }
        let numbers: Vec<u64> = health.history().map(|event| event.number).collect();
        prop_assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }

    #[test]
    fn a_steady_verdict_is_reached_at_the_times_that_are_named(verdicts in prop::collection::vec((0..20_000u64, 0..5usize), 0..50), last in 0..5usize) {
        let mut health = health();
        let mut ms = 0;
        for (wait, verdict) in verdicts {
            ms += wait;
            judge(&mut health, ms, STATES[verdict]);
        }
        judge(&mut health, ms, STATES[last]);
        let mut now = at(ms).now;
        for _ in 0..20 {
            now = health.next_change(now);
            if now == Instant::NEVER {
                break;
            }
            health.tick(Moment { now, wall_ms: 0 });
        }
        prop_assert_eq!(now, Instant::NEVER, "it keeps wanting to be asked");
        // A verdict of recovering says no more than that it has been condemned, which the state knows itself.
        prop_assert!(health.state() == STATES[last] || STATES[last] == Recovering);
    }

    #[test]
    fn a_flapping_subject_makes_few_events(period_ms in 100..30_000u64) {
        let config = Config { hold: Duration::ZERO, hold_recovering: Duration::ZERO, ..Config::default() };
        let mut health = Health::new(Subject::Node(NodeId(1)), config);
        let turns = 3_600_000 / period_ms;
        let events: usize = (0..turns).map(|turn| judge(&mut health, turn * period_ms, if turn % 2 == 0 { Healthy } else { Suspect }).len()).sum();
        // Without damping each turn is an event: 120 to 36,000 in this hour.
        prop_assert!(events <= 12, "{events} events");
    }
}
