//! A hybrid logical clock: times that follow the wall clock, and never go back (Kulkarni et al., Logical Physical Clocks, 2014).

use steadfast_types::planted::{Bug, is_planted};

use crate::version::Time;

/// Gives times, each later than any that it gave or heard of, and as near to the wall clock as that allows.
#[derive(Clone, Debug, Default)]
pub struct HybridClock {
    last: Time,
}

impl HybridClock {
    /// A time for what happens now. `wall` is the wall clock's reading, which may be wrong in either direction.
    ///
    /// `None` if there are no more times: somebody's clock showed the year 2093 and was believed ([`HybridClock::heard`]).
    pub fn tick(&mut self, wall: Time) -> Option<Time> {
        self.last = self.last.next()?.max(wall);
        Some(self.last)
    }

    /// Somebody gave this time to something that was now seen: what happens here from now on is later. The caller decides how far ahead of its own
    /// wall clock it believes another's.
    pub fn heard(&mut self, time: Time) {
        if is_planted(Bug::WallClockWins) {
            return;
        }
        self.last = self.last.max(time);
    }

    /// The last time given or heard of.
    pub fn last(&self) -> Time {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_grow_whatever_the_wall_clock_shows_and_others_say(steps in proptest::collection::vec((any::<bool>(), 0..50_u64), 0..50)) {
            let (mut clock, mut greatest) = (HybridClock::default(), Time::default());
            for (ticks, ms) in steps {
                let shown = Time::at_unix_ms(Time::EPOCH_MS + ms);
                if ticks {
                    let given = clock.tick(shown).unwrap();
                    prop_assert!(given > greatest && given >= shown);
                    greatest = given;
                } else {
                    clock.heard(shown);
                    greatest = greatest.max(shown);
                }
                prop_assert_eq!(clock.last(), greatest);
            }
        }
    }

    #[test]
    fn after_the_last_time_there_is_none() {
        let mut clock = HybridClock::default();
        clock.heard(Time::MAX);
        assert_eq!((clock.tick(Time::default()), clock.last()), (None, Time::MAX));
    }
}
