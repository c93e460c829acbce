//! Probe through the log and the store: a written mark must come back through consensus and apply within a bound.
//!
//! It sees a log, queue or store that no longer moves data, and at which stage. Blind to the node behind it: a quorum that is gone, a full
//! disk and a dead leader look alike from outside.
//!
//! 1. One probe is under way at a time; the shell starts the next one when it has returned, or gives it up for a newer one.
//! 2. A probe that is given up before it returned leaves its start behind: a store that stands still does not look young with every new probe.
//! 3. Marks of a probe that is not the newest are ignored, except its return: data moves.

use core::time::Duration;
use steadfast_types::Instant;

use super::{Bounds, Detector, Sign, forgiven};
use crate::evidence::{Assessment, Figures, Stage, Suspicion, Way, milliseconds};

/// How long a probe may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A probe that took this long and came back is slow.
    pub slow: Duration,
    /// From when on a probe that has not come back is suspect, and hard.
    pub stuck: Bounds,
}

/// A probe's number; numbers grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeNumber(pub u64);

/// What happened to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It was written.
    Started(ProbeNumber),
    /// It passed a stage.
    Passed(ProbeNumber, Stage),
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: ProbeNumber,
    /// Since when nothing has come back.
    since: Instant,
    passed: Option<Stage>,
}

/// Watches the probes through one log and its store.
#[derive(Clone, Debug)]
pub struct Probe {
    config: Config,
    under_way: Option<UnderWay>,
    /// How long the last one that came back took.
    last_took: Option<Duration>,
}

impl Probe {
    /// A detector without any probe yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Probe { config, under_way: None, last_took: None }
    }

    fn started(&mut self, number: ProbeNumber, now: Instant) {
        let since = match self.under_way {
            Some(older) if older.number >= number => return,
            Some(older) => older.since,
            None => now,
        };
        self.under_way = Some(UnderWay { number, since, passed: None });
    }

    fn passed(&mut self, number: ProbeNumber, stage: Stage, now: Instant) -> Sign {
        let Some(probe) = self.under_way.as_mut().filter(|probe| number <= probe.number) else { return Sign::None };
        if stage == Stage::Returned {
            self.last_took = Some(now.since(probe.since));
            // An older probe that came back after all: the newer one is still under way, and waits from now on.
            match probe.number == number {
                true => self.under_way = None,
                false => probe.since = now,
            }
            return Sign::Life;
        }
        if probe.number == number {
            probe.passed = probe.passed.max(Some(stage));
        }
        Sign::None
    }

    /// The stage that a probe waits for.
    fn next_stage(passed: Option<Stage>) -> Stage {
        Stage::ALL.into_iter().find(|stage| Some(*stage) > passed).unwrap_or(Stage::Returned)
    }
}

impl Detector for Probe {
    type Observation = Mark;

    fn way(&self) -> Way {
        Way::Probe
    }

    fn observe(&mut self, now: Instant, mark: Mark) -> Sign {
        match mark {
            Mark::Started(number) => {
                self.started(number, now);
                Sign::None
            }
            Mark::Passed(number, stage) => self.passed(number, stage, now),
        }
    }

    fn assess(&self, now: Instant) -> Assessment {
        if let Some(probe) = self.under_way {
            let waited = now.since(probe.since);
            let stage = Probe::next_stage(probe.passed);
            let bound_ms = milliseconds(self.config.stuck.hard());
            let figures = Figures::ProbeStuck { stage, waited_ms: milliseconds(waited), bound_ms };
            if let Some(strength) = self.config.stuck.judge(waited) {
                return Assessment::held(self.way(), strength, waited, figures);
            }
        }
        match self.last_took {
            Some(took) if took >= self.config.slow => {
                let figures = Figures::ProbeSlow { took_ms: milliseconds(took), bound_ms: milliseconds(self.config.slow) };
                Assessment::held(self.way(), Suspicion::Soft, Duration::ZERO, figures)
            }
            Some(_) => Assessment::clear(self.way()),
            None => Assessment::unknown(self.way()),
        }
    }

    fn next_change(&self, now: Instant) -> Instant {
        self.under_way.map_or(Instant::NEVER, |probe| self.config.stuck.next_change(probe.since, now))
    }

    fn forgive(&mut self, now: Instant, pause: Duration) {
        if let Some(probe) = &mut self.under_way {
            probe.since = forgiven(probe.since, now, pause);
        }
    }
}
