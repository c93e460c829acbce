//! Heartbeats: signs of life at an expected interval. Their absence shows the death of a process or of its host.
//!
//! Blind to one-way network faults if only one observer has it: what does not arrive here may arrive elsewhere.

use core::time::Duration;
use steadfast_types::Instant;

use super::{Bounds, Detector, Sign, forgiven};
use crate::evidence::{Assessment, Figures, Way, milliseconds};

/// When a heart has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often it should beat.
    pub interval: Duration,
    /// For how many intervals it must be silent to be suspected.
    pub suspect_intervals: u32,
    /// For how many intervals it must be silent to be held for dead.
    pub hard_intervals: u32,
}

impl Default for Config {
    /// A beat a second; one lost beat is no news, five are.
    fn default() -> Self {
        Config { interval: Duration::from_secs(1), suspect_intervals: 3, hard_intervals: 5 }
    }
}

impl Config {
    fn bounds(&self) -> Bounds {
        Bounds::new(self.interval.saturating_mul(self.suspect_intervals), self.interval.saturating_mul(self.hard_intervals))
    }
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat;

/// Listens to one heart.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    config: Config,
    /// The last beat, or when listening began.
    last: Instant,
    /// Whether a beat was ever heard.
    heard: bool,
}

impl Heartbeat {
    /// Listens from `now` on.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        Heartbeat { config, last: now, heard: false }
    }

    /// When the last beat was heard, or listening began.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.last
    }
}

impl Detector for Heartbeat {
    type Observation = Beat;

    fn way(&self) -> Way {
        Way::Heartbeat
    }

    fn observe(&mut self, now: Instant, Beat: Beat) -> Sign {
        self.last = self.last.max(now);
        self.heard = true;
        Sign::Life
    }

    fn assess(&self, now: Instant) -> Assessment {
        let silent = now.since(self.last);
        let figures = || Figures::Silent { silent_ms: milliseconds(silent), interval_ms: milliseconds(self.config.interval) };
        match self.config.bounds().judge(silent) {
            Some(strength) => Assessment::held(self.way(), strength, silent, figures()),
            None if self.heard => Assessment::clear(self.way()),
            None => Assessment::unknown(self.way()),
        }
    }

    fn next_change(&self, now: Instant) -> Instant {
        self.config.bounds().next_change(self.last, now)
    }

    fn forgive(&mut self, now: Instant, pause: Duration) {
        self.last = forgiven(self.last, now, pause);
    }
}
