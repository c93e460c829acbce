//! Which check is due when: with jitter, one run of a check at a time, and a run that hangs is ended.
//!
//! 1. At most one run of a check and [`RUNNING_CHECKS`] runs in all are under way. Whoever waits longest goes first.
//! 2. A run that is not back at its deadline has failed, and whatever comes of it later is ignored: results carry their run's number.
//! 3. After a pause of the loop each check is run once, not once for each interval that was missed.
//! 4. A heartbeat check runs nothing: it fails once for each interval and lateness in which no beat came.
//!
//! The shell calls [`Scheduler::turn`] at [`Scheduler::next_turn`] or earlier, starts what it says, ends what it says, and hands results in by
//! [`Scheduler::finished`] and [`Scheduler::beat`].

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use steadfast_types::{Instant, Rng};

use super::definition::Check;
use super::tally::Outcome;
use crate::limits::{CHECKS, RUNNING_CHECKS};

/// The number of a run; no two runs of a scheduler share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunNumber(pub u64);

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number, to be handed in with the result.
    pub number: RunNumber,
    /// The check.
    pub check: String,
    /// When it has failed.
    pub deadline: Instant,
}

/// What the shell has to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Runs that hang: end them.
    pub end: Vec<RunNumber>,
    /// Runs to start.
    pub start: Vec<Run>,
    /// Results without a run: of what hung, and of hearts that did not beat.
    pub results: Vec<(String, Outcome)>,
}

/// There are as many checks as may be. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node runs {CHECKS} checks already: remove some, or declare them on another node")]
pub struct TooManyChecks;

#[derive(Clone, Debug)]
struct Scheduled {
    check: Check,
    /// When it is run next, or when a heartbeat fails.
    due: Instant,
    running: Option<(RunNumber, Instant)>,
}

/// The checks of one node.
#[derive(Clone, Debug, Default)]
pub struct Scheduler {
    checks: BTreeMap<String, Scheduled>,
    runs: u64,
}

impl Scheduler {
    /// Takes a check, in place of one of the same name, whose run is then nobody's. The first run comes within an interval, at a random time, so
    /// that many checks do not run all at once.
    ///
    /// # Errors
    /// If there are too many.
    pub fn add(&mut self, now: Instant, check: Check, rng: &mut Rng) -> Result<(), TooManyChecks> {
        let name = check.definition().name.clone();
        if self.checks.len() >= CHECKS && !self.checks.contains_key(&name) {
            return Err(TooManyChecks);
        }
        let due = match check.is_heartbeat() {
            true => now + check.interval() + check.timeout(),
            false => now + random_below(check.interval(), rng),
        };
        self.checks.insert(name, Scheduled { check, due, running: None });
        Ok(())
    }

    /// Forgets a check; the number of its run, to be ended.
    pub fn remove(&mut self, name: &str) -> Option<RunNumber> {
        self.checks.remove(name)?.running.map(|(number, _)| number)
    }

    /// A service says that it lives. False if no heartbeat check of this name is there.
    pub fn beat(&mut self, now: Instant, name: &str) -> bool {
        let Some(scheduled) = self.checks.get_mut(name).filter(|scheduled| scheduled.check.is_heartbeat()) else { return false };
        scheduled.due = now + scheduled.check.interval() + scheduled.check.timeout();
        true
    }

    /// A run is back. False if it is not the one that the check waits for: then the result counts for nothing.
    pub fn finished(&mut self, name: &str, number: RunNumber) -> bool {
        let Some(scheduled) = self.checks.get_mut(name) else { return false };
        let is_awaited = scheduled.running.is_some_and(|(running, _)| running == number);
        if is_awaited {
            scheduled.running = None;
        }
        is_awaited
    }

    /// When something is to be done next.
    #[must_use]
    pub fn next_turn(&self) -> Instant {
        let is_full = self.running() >= RUNNING_CHECKS;
        let due = |scheduled: &Scheduled| match scheduled.running {
            Some((_, deadline)) => deadline,
            None if is_full && !scheduled.check.is_heartbeat() => Instant::NEVER,
            None => scheduled.due,
        };
        self.checks.values().map(due).min().unwrap_or(Instant::NEVER)
    }

    fn running(&self) -> usize {
        self.checks.values().filter(|scheduled| scheduled.running.is_some()).count()
    }

    /// What is to be done at `now`.
    pub fn turn(&mut self, now: Instant, rng: &mut Rng) -> Turn {
        let mut turn = Turn::default();
        self.end_hung(now, &mut turn);
        self.miss_beats(now, &mut turn);
        self.start_due(now, rng, &mut turn);
        turn
    }

    fn end_hung(&mut self, now: Instant, turn: &mut Turn) {
        for (name, scheduled) in &mut self.checks {
            if let Some((number, deadline)) = scheduled.running
                && deadline <= now
            {
                scheduled.running = None;
                turn.end.push(number);
                let text = alloc::format!("no answer within {} ms", scheduled.check.definition().timeout_ms);
                turn.results.push((name.clone(), Outcome::Failed(text)));
            }
        }
    }

    fn miss_beats(&mut self, now: Instant, turn: &mut Turn) {
        for (name, scheduled) in self.checks.iter_mut().filter(|(_, scheduled)| scheduled.check.is_heartbeat() && scheduled.due <= now) {
            scheduled.due = now + scheduled.check.interval();
            turn.results.push((name.clone(), Outcome::Failed("no heartbeat came".into())));
        }
    }

    fn start_due(&mut self, now: Instant, rng: &mut Rng, turn: &mut Turn) {
        let is_due = |scheduled: &Scheduled| scheduled.due <= now && scheduled.running.is_none() && !scheduled.check.is_heartbeat();
        let mut due: Vec<(Instant, String)> =
            self.checks.iter().filter(|(_, scheduled)| is_due(scheduled)).map(|(name, scheduled)| (scheduled.due, name.clone())).collect();
        due.sort();
        let room = RUNNING_CHECKS.saturating_sub(self.running());
        for (_, name) in due.into_iter().take(room) {
            let Some(scheduled) = self.checks.get_mut(&name) else { continue };
            self.runs += 1;
            let (number, deadline) = (RunNumber(self.runs), now + scheduled.check.timeout());
            scheduled.running = Some((number, deadline));
            // A little later than the interval, by chance: checks that once met part again.
            scheduled.due = now + scheduled.check.interval() + random_below(scheduled.check.interval() / 20, rng);
            turn.start.push(Run { number, check: name, deadline });
        }
    }
}

fn random_below(span: Duration, rng: &mut Rng) -> Duration {
    let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(rng.u64(0..span))
}

#[cfg(test)]
mod tests {
    use super::super::definition::{Definition, Kind};
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;
    use proptest::prelude::*;
    use steadfast_types::Rng;

    fn check(name: &str, kind: Kind) -> Check {
        Definition { interval_ms: 1_000, timeout_ms: 500, ..Definition::new(name, "orders", kind) }.validate().unwrap()
    }

    fn tcp(name: &str) -> Check {
        check(name, Kind::Tcp { address: "localhost:80".into() })
    }

    fn ms(ms: u64) -> Instant {
        Instant(ms * 1_000)
    }

    #[test]
    fn a_check_that_hangs_has_failed_and_its_late_result_counts_for_nothing() {
        let (mut scheduler, mut rng) = (Scheduler::default(), Rng::with_seed(1));
        scheduler.add(ms(0), tcp("a"), &mut rng).unwrap();
        let run = scheduler.turn(ms(1_000), &mut rng).start.remove(0);
        assert_eq!(scheduler.turn(ms(1_499), &mut rng), Turn::default());
        let turn = scheduler.turn(ms(1_500), &mut rng);
        assert_eq!(turn.end, [run.number]);
        assert_eq!(turn.results, [("a".into(), Outcome::Failed("no answer within 500 ms".into()))]);
        assert!(!scheduler.finished("a", run.number), "late");
        let next = scheduler.turn(ms(2_100), &mut rng).start.remove(0);
        assert!(!scheduler.finished("a", run.number), "late, while the next is under way");
        assert!(scheduler.finished("a", next.number));
        assert!(!scheduler.finished("a", next.number), "a copy");
    }

    #[test]
    fn a_run_of_a_check_that_was_replaced_is_nobodys() {
        let (mut scheduler, mut rng) = (Scheduler::default(), Rng::with_seed(1));
        scheduler.add(ms(0), tcp("a"), &mut rng).unwrap();
        let run = scheduler.turn(ms(1_000), &mut rng).start.remove(0);
        scheduler.add(ms(1_100), tcp("a"), &mut rng).unwrap();
        assert!(!scheduler.finished("a", run.number));
    }

    #[test]
    fn a_heart_that_does_not_beat_fails_once_an_interval() {
        let (mut scheduler, mut rng) = (Scheduler::default(), Rng::with_seed(1));
        scheduler.add(ms(0), check("a", Kind::Heartbeat), &mut rng).unwrap();
        assert!(scheduler.beat(ms(1_000), "a"));
        let fails = |scheduler: &mut Scheduler, at| scheduler.turn(ms(at), &mut Rng::with_seed(1)).results.len();
        assert_eq!([2_499, 2_500, 3_499, 3_500].map(|at| fails(&mut scheduler, at)), [0, 1, 0, 1]);
        assert!(scheduler.beat(ms(4_000), "a"));
        assert_eq!([4_500, 5_499].map(|at| fails(&mut scheduler, at)), [0, 0]);
    }

    proptest! {
        #[test]
        fn one_run_of_a_check_and_few_in_all(count in 1..200usize, steps in prop::collection::vec((0..700u64, any::<u16>()), 1..60), seed in any::<u64>()) {
            let (mut scheduler, mut rng) = (Scheduler::default(), Rng::with_seed(seed));
            for n in 0..count {
                scheduler.add(ms(0), tcp(&format!("c{n}")), &mut rng).unwrap();
            }
            let mut under_way: BTreeMap<RunNumber, Run> = BTreeMap::new();
            let mut now = 0;
            for (wait, finish) in steps {
                now += wait;
                let turn = scheduler.turn(ms(now), &mut rng);
                turn.end.iter().for_each(|number| drop(under_way.remove(number)));
                under_way.extend(turn.start.into_iter().map(|run| (run.number, run)));
                let names: BTreeSet<&String> = under_way.values().map(|run| &run.check).collect();
                prop_assert_eq!(names.len(), under_way.len(), "two runs of one check");
                prop_assert!(under_way.len() <= RUNNING_CHECKS);
                prop_assert!(under_way.values().all(|run| run.deadline > ms(now)), "one that hangs is under way");
                for number in under_way.keys().copied().filter(|number| number.0 % 7 < u64::from(finish % 7)).collect::<Vec<_>>() {
                    let run = under_way.remove(&number).unwrap();
                    prop_assert!(scheduler.finished(&run.check, number));
                }
            }
        }

        #[test]
        fn each_check_is_run_about_once_an_interval_and_turns_are_named(seed in any::<u64>(), pause_ms in 0..10_000u64) {
            let (mut scheduler, mut rng) = (Scheduler::default(), Rng::with_seed(seed));
            (0..20).for_each(|n| scheduler.add(ms(0), tcp(&format!("c{n}")), &mut rng).unwrap());
            let (mut runs, mut now) = (BTreeMap::<String, u32>::new(), ms(0));
            while now < ms(20_000) {
                now = scheduler.next_turn().max(now);
                let turn = scheduler.turn(now, &mut rng);
                prop_assert!(!turn.start.is_empty() || !turn.end.is_empty(), "woken for nothing");
                for run in turn.start {
                    *runs.entry(run.check.clone()).or_default() += 1;
                    scheduler.finished(&run.check, run.number);
                }
            }
            prop_assert!(runs.len() == 20 && runs.values().all(|runs| (19..=21).contains(runs)), "{runs:?}");
            let turn = scheduler.turn(now + Duration::from_millis(1_200 + pause_ms), &mut rng);
            prop_assert_eq!(turn.start.len(), 20, "once each, however long the pause");
        }
    }
}
