//! An observer's own pauses: whoever stood still has heard nobody, and must not hold that against them.
//!
//! The loop says when it turns. A turn that comes much later than the loop meant to wait is a pause: of the process, the machine or its disk.
//! 1. A pause is given out once, so that detectors can forgive it.
//! 2. From its notice on the observer has no say for [`Config::quiet`]: what queued up meanwhile is taken first.
//! 3. Pauses that follow each other closely lengthen the silence, never shorten it: who keeps stumbling does not judge.

use core::time::Duration;
use steadfast_types::Instant;

/// What counts as a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How much later than meant a turn must come.
    pub tolerated: Duration,
    /// For how long after a pause the observer has no say.
    pub quiet: Duration,
}

impl Default for Config {
    /// Half a second is a missed half of a heartbeat; five seconds hear everybody again.
    fn default() -> Self {
        Config { tolerated: Duration::from_millis(500), quiet: Duration::from_secs(5) }
    }
}

/// Watches the observer's own loop.
#[derive(Clone, Debug)]
pub struct OwnPause {
    config: Config,
    /// When the next turn was meant to come, at the latest.
    meant: Instant,
    /// Until when the observer has no say.
    quiet_until: Instant,
}

impl OwnPause {
    /// A loop that begins at `now`. It has heard nobody yet, and no say for a while.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        OwnPause { config, meant: Instant::NEVER, quiet_until: now + config.quiet }
    }

    /// The loop turns at `now`, and means to turn again by `next`. Returns how long it stood still, if it did.
    pub fn turn(&mut self, now: Instant, next: Instant) -> Option<Duration> {
        let late = now.since(self.meant);
        self.meant = next.max(now);
        if late <= self.config.tolerated {
            return None;
        }
        self.quiet_until = self.quiet_until.max(now + self.config.quiet);
        Some(late)
    }

    /// Whether what the observer says now counts.
    #[must_use]
    pub fn has_say(&self, now: Instant) -> bool {
        now >= self.quiet_until && now.since(self.meant) <= self.config.tolerated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn who_paused_has_no_say(turns in prop::collection::vec((0..3_000u64, 0..2_000u64), 1..50)) {
            let mut own = OwnPause::new(Instant(0), Config::default());
            let (mut now, mut meant, mut quiet_until) = (Instant(0), Instant::NEVER, Instant(5_000_000));
            for (waited_ms, next_ms) in turns {
                now = now + Duration::from_millis(waited_ms);
                let late = now.since(meant);
                let expected = (late > Duration::from_millis(500)).then_some(late);
                prop_assert_eq!(own.turn(now, now + Duration::from_millis(next_ms)), expected);
                if expected.is_some() {
                    quiet_until = now + Duration::from_secs(5);
                }
                meant = now + Duration::from_millis(next_ms);
                prop_assert_eq!(own.has_say(now), now >= quiet_until);
            }
        }

        #[test]
        fn a_loop_that_has_not_turned_has_no_say_either(late_ms in 0..10_000u64) {
            let mut own = OwnPause::new(Instant(0), Config::default());
            let now = Instant(20_000_000);
            own.turn(now, now + Duration::from_secs(1));
            prop_assert_eq!(own.has_say(now + Duration::from_millis(1_000 + late_ms)), late_ms <= 500);
        }
    }
}
