//! Checkpoint plus heartbeat: the process lives, but the number that its work reports no longer advances.
//!
//! It sees hung and looping work, which heartbeats alone do not. Blind to what happens between checkpoints: it is hard only after a whole bound
//! without any advance, which must be longer than the work takes from one checkpoint to the next.
//!
//! 1. Only a number above the highest of this process life advances. A new life starts anew.
//! 2. Work that says it is idle does not stall: there is nothing to do.
//! 3. A stall lasts up to the last beat: a silent process says nothing about its work, and its silence is evidence of the heartbeat alone.

use core::time::Duration;
use steadfast_types::Instant;

use super::{Bounds, Detector, Sign, forgiven, heartbeat};
use crate::evidence::{Assessment, Figures, Suspicion, Way, milliseconds};

/// When work stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The beats that carry the number.
    pub heartbeat: heartbeat::Config,
    /// From when on work that does not advance is suspect, and hard.
    pub stall: Bounds,
}

/// A sign of life that says how far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which life of the process: another number after each start.
    pub life: u64,
    /// How far its work is; it only grows within a life.
    pub at: u64,
    /// There is nothing to do.
    pub idle: bool,
}

/// Watches the work of one subject.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    config: Config,
    beats: heartbeat::Heartbeat,
    furthest: Option<Progress>,
    /// When it last advanced, was idle, or started.
    advanced: Instant,
}

impl Checkpoint {
    /// Watches from `now` on.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        Checkpoint { config, beats: heartbeat::Heartbeat::new(now, config.heartbeat), furthest: None, advanced: now }
    }

    /// What is held against the work, as far as its process lived to report it.
    fn judge_work(&self) -> Option<Assessment> {
        let furthest = self.furthest.filter(|furthest| !furthest.idle)?;
        let stalled = self.beats.last().since(self.advanced);
        let strength = self.config.stall.judge(stalled)?;
        let bound_ms = milliseconds(self.config.stall.hard());
        let figures = Figures::NoProgress { at: furthest.at, stalled_ms: milliseconds(stalled), bound_ms };
        Some(Assessment::held(self.way(), strength, stalled, figures))
    }

    fn advances(&self, progress: Progress) -> bool {
        self.furthest.is_none_or(|furthest| furthest.idle || progress.life != furthest.life || progress.at > furthest.at)
    }
}

impl Detector for Checkpoint {
    type Observation = Progress;

    fn way(&self) -> Way {
        Way::Checkpoint
    }

    fn silent_way(&self) -> Way {
        self.beats.way()
    }

    fn observe(&mut self, now: Instant, progress: Progress) -> Sign {
        if progress.idle || self.advances(progress) {
            self.advanced = self.advanced.max(now);
        }
        let same_life = self.furthest.filter(|furthest| furthest.life == progress.life);
        let at = same_life.map_or(progress.at, |furthest| progress.at.max(furthest.at));
        self.furthest = Some(Progress { at, ..progress });
        self.beats.observe(now, heartbeat::Beat)
    }

    fn assess(&self, now: Instant) -> Assessment {
        let beats = self.beats.assess(now);
        match self.judge_work() {
            Some(stalled) if beats.evidence.is_empty() => stalled,
            Some(stalled) => beats.with(stalled),
            None if beats.suspicion == Suspicion::Clear => Assessment::clear(self.way()),
            None => beats,
        }
    }

    fn next_change(&self, now: Instant) -> Instant {
        self.beats.next_change(now)
    }

    fn forgive(&mut self, now: Instant, pause: Duration) {
        self.beats.forgive(now, pause);
        self.advanced = forgiven(self.advanced, now, pause);
    }
}
