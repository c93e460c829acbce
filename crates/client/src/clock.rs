//! The process's clock, for holders of leases.

use steadfast_coordination::Time;
use steadfast_types::Instant;
use steadfast_types::time::Duration;
use tokio::time;

/// Tokio's clock, as it is handed to [`steadfast_coordination::Held`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: time::Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Clock { start: time::Instant::now() }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

impl Time for Clock {
    fn now(&self) -> Instant {
        Instant(0) + self.start.elapsed()
    }

    async fn sleep_until(&self, instant: Instant) {
        time::sleep_until(self.start + Duration::from_micros(instant.0)).await;
    }
}
