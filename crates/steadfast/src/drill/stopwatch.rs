//! The time of a drill: microseconds since its load began to be prepared, by this machine's monotonic clock.

use steadfast_proof::time::Time;
use tokio::time::Instant;

/// Counts from one moment; copies count from the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    pub(super) fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// The time now.
    pub(super) fn now(self) -> Time {
        Time(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The moment of a time.
    pub(super) fn moment(self, time: Time) -> Instant {
        self.0 + std::time::Duration::from_micros(time.0)
    }
}
