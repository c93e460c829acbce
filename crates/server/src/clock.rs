//! The real monotonic clock, as the cores see it. The one place that reads it, and the wall clock: when a directory is made, and as a label on what people read.
#![allow(clippy::disallowed_methods, reason = "this is the place")]

use std::time::{Duration, Instant as StdInstant};

use steadfast_types::Instant;

use crate::fault_table::Faults;

/// Microseconds since this process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: StdInstant,
    faults: Faults,
}

impl Clock {
    /// A clock that begins at one second, so that "long ago" can be told from zero, and jumps when faults say so.
    pub(crate) fn new(faults: Faults) -> Self {
        Clock { began: StdInstant::now(), faults }
    }

    /// The time now.
    pub(crate) fn now(self) -> Instant {
        Instant(1_000_000 + self.faults.clock_ahead_micros() + u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX / 2))
    }

    /// Seconds since 1970. For what a directory notes once in its life.
    pub(crate) fn wall_seconds() -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Microseconds since 1970: what the hybrid clock of available state follows, and deadlines go by.
    pub(crate) fn wall_micros() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970: a label on records, for people. Nothing is decided by it.
    pub(crate) fn wall_ms() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Measures from now until it is called.
    pub(crate) fn stopwatch() -> impl Fn() -> Duration {
        let began = StdInstant::now();
        move || began.elapsed()
    }
}
