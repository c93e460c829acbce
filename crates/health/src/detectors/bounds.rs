//! From when on a span is suspect, and from when on it is hard.

use core::time::Duration;
use steadfast_types::Instant;

use crate::evidence::Suspicion;

/// Two bounds of a span, `suspect` at most `hard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    suspect: Duration,
    hard: Duration,
}

impl Bounds {
    /// Suspect from `suspect` on, hard from `hard` on (or from `suspect` on, if that is later).
    #[must_use]
    pub fn new(suspect: Duration, hard: Duration) -> Self {
        Bounds { suspect, hard: hard.max(suspect) }
    }

    /// The bound from which on a span is hard.
    #[must_use]
    pub fn hard(&self) -> Duration {
        self.hard
    }

    /// What a span of this length is; `None` if it is within the bounds.
    #[must_use]
    pub fn judge(&self, span: Duration) -> Option<Suspicion> {
        match span {
            span if span >= self.hard => Some(Suspicion::Hard),
            span if span >= self.suspect => Some(Suspicion::Suspect),
            _ => None,
        }
    }

    /// When a span that began at `start` next crosses a bound, after `now`.
    #[must_use]
    pub fn next_change(&self, start: Instant, now: Instant) -> Instant {
        let crossings = [start + self.suspect, start + self.hard];
        crossings.into_iter().find(|crossing| *crossing > now).unwrap_or(Instant::NEVER)
    }
}
