//! How many keys go out of memory, and when.

use core::mem;

use crate::table::Table;

/// What came of letting keys go out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// No more is used than may be.
    Enough,
    /// More is used, and there is more to look at.
    More,
    /// More is used, and what could go is used all the time, or was written to since the last checkpoint began: after the next one it may go.
    NeedsCheckpoint,
}

/// Whenever so many keys went or could not go before the next checkpoint, it is looked at which were more.
const MET: usize = 16384;

/// What the clock's hand has met since something was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    /// Rounds without a key that went.
    idle: usize,
    evicted: usize,
    changed: usize,
}

impl Table {
    /// Lets keys go out of memory until `is_enough`, and looks at no more than about `limit`.
    pub(crate) fn evict(&mut self, rounds: &mut Rounds, limit: usize, is_enough: impl Fn(&Self) -> bool) -> Eviction {
        self.take_fetched();
        let mut looked = 0;
        while !is_enough(self) {
            if looked >= limit {
                return Eviction::More;
            }
            let (swept, is_round) = self.sweep();
            // A part without keys is work too.
            looked += swept.looked.max(8);
            rounds.evicted += swept.evicted;
            rounds.changed += swept.changed;
            rounds.idle = if swept.evicted > 0 { 0 } else { rounds.idle + usize::from(is_round) };
            // The first round may begin in the middle, and the second only takes away what the keys were used before.
            let is_stuck = rounds.idle > 2;
            if is_stuck || rounds.changed + rounds.evicted >= MET {
                let met = mem::take(rounds);
                if is_stuck || met.changed > met.evicted {
                    return Eviction::NeedsCheckpoint;
                }
            }
        }
        Eviction::Enough
    }
}
