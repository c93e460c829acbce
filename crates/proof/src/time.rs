//! The time of a history.

use std::fmt;
use std::ops::Add;

use steadfast_types::time::Duration;

/// A moment, in microseconds since the history began: of the simulated world, or of the one machine that observed a real one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// How long before `self` `earlier` was.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:3}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
