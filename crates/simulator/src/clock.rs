//! A node's monotonic clock: it starts anywhere at each process life, and runs a little fast or slow.

use steadfast_types::Instant;

use crate::world::Time;

/// The clock of one process life.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Time,
    origin: Instant,
    drift_ppm: i64,
}

impl Clock {
    /// A clock that shows `origin` at `started` and runs `drift_ppm` parts in a million fast (negative: slow).
    pub fn new(started: Time, origin: Instant, drift_ppm: i64) -> Self {
        assert!(drift_ppm > -1_000_000, "a monotonic clock runs forward");
        Clock { started, origin, drift_ppm }
    }

    /// What the clock shows at `time`.
    pub fn shows(&self, time: Time) -> Instant {
        let elapsed = i128::from(time.0.saturating_sub(self.started.0));
        let shown = elapsed * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        Instant(self.origin.0.saturating_add(u64::try_from(shown).expect("elapsed time is positive")))
    }

    /// The earliest time at which the clock shows `instant` or later; `None` if that never comes.
    pub fn when(&self, instant: Instant) -> Option<Time> {
        if instant == Instant::NEVER {
            return None;
        }
        let rate = i128::from(1_000_000 + self.drift_ppm);
        let shown = i128::from(instant.0.saturating_sub(self.origin.0));
        let elapsed = (shown * 1_000_000 + rate - 1) / rate;
        Some(Time(self.started.0.saturating_add(u64::try_from(elapsed).ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_rings_when_the_clock_shows_it_and_no_earlier() {
        for drift in [-20_000, -3, 0, 7, 20_000] {
            let clock = Clock::new(Time(1_000), Instant(5_555), drift);
            for after in [0, 1, 2, 999_999, 1_234_567] {
                let instant = Instant(5_555 + after);
                let time = clock.when(instant).unwrap();
                assert!(clock.shows(time) >= instant);
                assert!(time == Time(1_000) || clock.shows(Time(time.0 - 1)) < instant, "drift {drift}, after {after}");
            }
            assert_eq!(clock.when(Instant::NEVER), None);
        }
    }

    #[test]
    fn drift_is_relative_to_the_world() {
        let clock = Clock::new(Time(0), Instant(0), 10_000);
        assert_eq!(clock.shows(Time(1_000_000)), Instant(1_010_000));
    }
}
