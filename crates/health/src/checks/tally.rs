//! What the results of one check say: thresholds to fall and to rise, and a start period in which failures do not count.
//!
//! 1. Failed after `fall` failures in a row, well again after `rise` passes in a row; in between it stays what it was, degraded while failures run up.
//! 2. In the start period, until the first pass, failures are seen and not counted. After it they count from one.
//! 3. A warning passes, and degrades.

use alloc::string::String;
use core::time::Duration;
use steadfast_types::Instant;

use super::definition::Check;
use crate::evidence::{Assessment, Figures, Suspicion, Way};
use crate::limits::{DETAIL_BYTES, cut};
use crate::states::HealthState;

/// How one run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Passed,
    /// Well enough, and this was said.
    Warned(String),
    /// Not well, for this reason.
    Failed(String),
}

/// The results of one check so far.
#[derive(Clone, Debug)]
pub struct Tally {
    rise: u32,
    fall: u32,
    /// Until when failures do not count, if nothing has passed.
    starting_until: Option<Instant>,
    passes: u32,
    failures: u32,
    failing_since: Option<Instant>,
    /// What was said last, if it was not a plain pass.
    said: Option<String>,
    state: HealthState,
}

impl Tally {
    /// Without results; it starts at `now`.
    #[must_use]
    pub fn new(now: Instant, check: &Check) -> Self {
        let starting_until = (check.start_period() > Duration::ZERO).then(|| now + check.start_period());
        let (rise, fall) = (check.definition().rise, check.definition().fall);
        Tally { rise, fall, starting_until, passes: 0, failures: 0, failing_since: None, said: None, state: HealthState::Recovering }
    }

    /// What the check says its service is.
    #[must_use]
    pub fn state(&self) -> HealthState {
        match self.state {
            HealthState::Healthy if self.failures > 0 || self.said.is_some() => HealthState::Degraded,
            state => state,
        }
    }

    /// Takes a result.
    pub fn take(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed(None),
            Outcome::Warned(text) => self.passed(Some(cut(&text, DETAIL_BYTES).into())),
            Outcome::Failed(text) => self.failed(now, cut(&text, DETAIL_BYTES).into()),
        }
    }

    fn passed(&mut self, said: Option<String>) {
        self.starting_until = None;
        self.failures = 0;
        self.failing_since = None;
        self.said = said;
        self.passes = self.passes.saturating_add(1);
        if self.passes >= self.rise || self.state != HealthState::Failed {
            self.state = HealthState::Healthy;
        }
    }

    fn failed(&mut self, now: Instant, said: String) {
        self.passes = 0;
        self.said = Some(said);
        if self.starting_until.is_some_and(|until| now < until) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        if self.failures >= self.fall {
            self.state = HealthState::Failed;
        }
    }

    /// What it has against its service, with its evidence.
    #[must_use]
    pub fn assess(&self, now: Instant) -> Assessment {
        let Some(last) = self.said.clone() else {
            return if self.state == HealthState::Healthy { Assessment::clear(Way::Check) } else { Assessment::unknown(Way::Check) };
        };
        let strength = if self.state == HealthState::Failed { Suspicion::Hard } else { Suspicion::Soft };
        let lasting = self.failing_since.map_or(Duration::ZERO, |since| now.since(since));
        Assessment::held(Way::Check, strength, lasting, Figures::ChecksFailed { failures: self.failures, needed: self.fall, last })
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition::{Definition, Kind};
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn tally(rise: u32, fall: u32, start_period_ms: u64) -> Tally {
        let definition = Definition { rise, fall, start_period_ms, ..Definition::new("a", "b", Kind::Heartbeat) };
        Tally::new(Instant(0), &definition.validate().unwrap())
    }

    fn outcome(passes: bool) -> Outcome {
        if passes { Outcome::Passed } else { Outcome::Failed("no".into()) }
    }

    /// The longest end of `results` that is all `passes`.
    fn run_at_end(results: &[bool], passes: bool) -> u32 {
        results.iter().rev().take_while(|result| **result == passes).count() as u32
    }

    proptest! {
        #[test]
        fn it_falls_and_rises_at_its_thresholds(results in prop::collection::vec(any::<bool>(), 1..60), rise in 1..5u32, fall in 1..5u32) {
            let mut tally = tally(rise, fall, 0);
            let mut failed = false;
            for end in 1..=results.len() {
                tally.take(Instant(end as u64), outcome(results[end - 1]));
                if run_at_end(&results[..end], false) >= fall {
                    failed = true;
                } else if run_at_end(&results[..end], true) >= rise {
                    failed = false;
                }
                prop_assert_eq!(tally.state() == HealthState::Failed, failed);
            }
        }

        #[test]
        fn the_start_period_forgives_until_the_first_pass(failures in prop::collection::vec(0..60_000u64, 0..40)) {
            let mut failures = failures;
            failures.sort_unstable();
            let mut tally = tally(1, 1, 30_000);
            for ms in failures {
                tally.take(Instant(ms * 1_000), outcome(false));
                prop_assert_eq!(tally.state() == HealthState::Failed, ms >= 30_000);
            }
        }
    }

    #[test]
    fn after_the_first_pass_the_start_is_over() {
        let mut tally = tally(1, 1, 30_000);
        let states: Vec<HealthState> = [false, true, false]
            .into_iter()
            .map(|passes| {
                tally.take(Instant(1), outcome(passes));
                tally.state()
            })
            .collect();
        assert_eq!(states, [HealthState::Recovering, HealthState::Healthy, HealthState::Failed]);
    }

    #[test]
    fn a_warning_degrades() {
        let mut tally = tally(1, 3, 0);
        tally.take(Instant(0), Outcome::Warned("disk 91 %".into()));
        assert_eq!(tally.state(), HealthState::Degraded);
        assert_eq!(tally.assess(Instant(0)).suspicion, Suspicion::Soft);
    }
}
