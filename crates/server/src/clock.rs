//! The real monotonic clock, as the cores see it. The one place that reads it.
#![allow(clippy::disallowed_methods, reason = "this is the place")]

use std::time::{Duration, Instant as StdInstant};

use steadfast_types::Instant;

/// Microseconds since this process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: StdInstant,
}

impl Clock {
    /// A clock that begins at one second, so that "long ago" can be told from zero.
    pub(crate) fn new() -> Self {
        Clock { began: StdInstant::now() }
    }

    /// The time now.
    pub(crate) fn now(self) -> Instant {
        Instant(1_000_000 + u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX / 2))
    }

    /// Measures from now until it is called.
    pub(crate) fn stopwatch() -> impl Fn() -> Duration {
        let began = StdInstant::now();
        move || began.elapsed()
    }
}
