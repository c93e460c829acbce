//! What a run has of membership and recovery.

use std::fmt;

use steadfast_types::Rng;
use steadfast_types::time::Duration;

use super::millis;

/// Members that gossip, beside strong state.
#[derive(Clone, Debug, PartialEq)]
pub struct Gossiping {
    /// How many members there are that only gossip.
    pub agents: u64,
    /// How many servers wait to take a voter's place.
    pub spares: u64,
    /// The mean time between two faults of agents and spares.
    pub strikes: Option<Duration>,
    /// How often one of the failed is tried.
    pub reconnect_interval: Duration,
    /// How long one that was declared failed again and again waits at most.
    pub return_backoff_max: Duration,
    /// How long the dead are remembered.
    pub dead_age: Duration,
    /// Whether recovery runs.
    pub recovery: Option<Recovering>,
}

/// The policy of recovery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovering {
    /// For how long a voter must have been failed.
    pub delay: Duration,
    /// So many plans may be at work at once.
    pub concurrent: usize,
    /// No plan is begun while a greater share of servers is failed.
    pub halt_above_percent: usize,
}

impl Gossiping {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let recovery = rng.bool().then(|| Recovering {
            delay: millis(rng, 0, 2_000),
            concurrent: rng.usize(1..=2),
            halt_above_percent: [34, 55][rng.usize(0..2)],
        });
        Gossiping {
            agents: if rng.u8(0..4) == 0 { rng.u64(8..=25) } else { rng.u64(0..=4) },
            spares: rng.u64(0..=2),
            strikes: rng.bool().then(|| millis(rng, 500, 5_000)),
            reconnect_interval: millis(rng, 1_000, 5_000),
            return_backoff_max: [Duration::ZERO, Duration::from_secs(4), Duration::from_secs(8)][rng.usize(0..3)],
            // Who is forgotten is not known to be dead any more: that takes longer than a plan.
            dead_age: if recovery.is_none() && rng.bool() { Duration::from_secs(5) } else { Duration::from_secs(24 * 3600) },
            recovery,
        }
    }
}

impl fmt::Display for Gossiping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gossip={}+{}/{:?}", self.agents, self.spares, self.strikes)?;
        match self.recovery {
            Some(Recovering { delay, concurrent, halt_above_percent }) => {
                write!(f, " recovery={delay:?}/{concurrent}/{halt_above_percent}%")
            }
            None => Ok(()),
        }
    }
}
