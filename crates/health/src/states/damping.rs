//! Flap damping as BGP does it for routes (RFC 2439): each change costs, the cost halves with time, and who has run up too much is held.
//!
//! 1. The penalty never exceeds a ceiling, from which it falls to the reuse threshold within [`Config::longest`].
//! 2. Held from [`Config::suppress`] on, until it is below [`Config::reuse`]: two thresholds, so that the holding itself does not flap.

use core::time::Duration;

use steadfast_types::Instant;

use super::HealthState;

/// What is too often. The figures of RFC 2439 are for routes that flap for hours; with a shorter half-life the same figures suit nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The cost of a change to suspect or failed.
    pub loss: f64,
    /// The cost of a change to degraded.
    pub impairment: f64,
    /// Held from here on.
    pub suppress: f64,
    /// Free again below this.
    pub reuse: f64,
    /// In what time a penalty halves.
    pub half_life: Duration,
    /// For how long a subject is held at most after its last change.
    pub longest: Duration,
}

impl Default for Config {
    /// Three losses within a few minutes are too many; without another it takes about four minutes until it is free again.
    fn default() -> Self {
        Config {
            loss: 1_000.0,
            impairment: 500.0,
            suppress: 2_500.0,
            reuse: 750.0,
            half_life: Duration::from_secs(120),
            longest: Duration::from_secs(600),
        }
    }
}

/// A change of a verdict for the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Loss,
    Impairment,
}

impl Change {
    /// The change from one verdict to the next, if it is one for the worse.
    pub(super) fn between(before: HealthState, after: HealthState) -> Option<Change> {
        match after {
            HealthState::Suspect | HealthState::Failed if after > before => Some(Change::Loss),
            HealthState::Degraded if after > before => Some(Change::Impairment),
            HealthState::Healthy | HealthState::Recovering | HealthState::Degraded | HealthState::Suspect | HealthState::Failed => None,
        }
    }
}

/// The penalty of one subject.
#[derive(Clone, Debug)]
pub(super) struct Damping {
    config: Config,
    penalty: f64,
    /// When `penalty` was true.
    at: Instant,
    flapping: bool,
}

impl Damping {
    pub(super) fn new(config: Config) -> Self {
        Damping { config, penalty: 0.0, at: Instant(0), flapping: false }
    }

    pub(super) fn is_flapping(&self) -> bool {
        self.flapping
    }

    fn ceiling(&self) -> f64 {
        self.config.reuse * libm::exp2(self.config.longest.as_secs_f64() / self.half_life_s())
    }

    fn half_life_s(&self) -> f64 {
        self.config.half_life.as_secs_f64().max(1e-6)
    }

    pub(super) fn changed(&mut self, now: Instant, change: Change) {
        self.tick(now);
        let cost = match change {
            Change::Loss => self.config.loss,
            Change::Impairment => self.config.impairment,
        };
        self.penalty = (self.penalty + cost).min(self.ceiling());
        self.flapping |= self.penalty >= self.config.suppress;
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.penalty *= libm::exp2(-now.since(self.at).as_secs_f64() / self.half_life_s());
        self.at = self.at.max(now);
        self.flapping &= self.penalty >= self.config.reuse;
    }

    /// When it will be free again; never, if it is.
    pub(super) fn reuse_at(&self, now: Instant) -> Instant {
        if !self.flapping {
            return Instant::NEVER;
        }
        let halvings = libm::log2(self.penalty / self.config.reuse).max(0.0);
        // A little later rather than a little too early, which would ask again at once.
        let wait = Duration::from_secs_f64(halvings * self.half_life_s()) + Duration::from_millis(1);
        (self.at + wait).max(now + Duration::from_millis(1))
    }
}
