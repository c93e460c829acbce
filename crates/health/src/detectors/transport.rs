//! Transport: what the kernel says about the connections to a subject, in the numbers of its TCP information.
//!
//! Blind to a hung process behind a live socket: the kernel acknowledges for it. So a connection that stands says nothing, and only bytes that
//! the process itself wrote clear it. Resets and refusals with nothing else coming are hard; retransmissions and reordering are soft.
//!
//! 1. A reset or a refusal counts until bytes come. Several within [`Config::hard_span`] are one event of the network; it takes this long, and
//!    [`Config::hard_breaks`] of them, to be hard.
//! 2. Ratios are of [`Config::least_segments`] segments at least: one lost segment of three is chance.

use core::time::Duration;
use steadfast_types::Instant;

use super::{Detector, Sign, forgiven};
use crate::evidence::{Assessment, Figures, Suspicion, Way};

/// When a connection is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many resets and refusals in a row are hard evidence; fewer are suspect.
    pub hard_breaks: u32,
    /// How long after the first of them at the earliest: a restart of the process takes this long.
    pub hard_span: Duration,
    /// For how long after bytes came the subject is held for well.
    pub fresh: Duration,
    /// The fewest segments that a ratio is made of.
    pub least_segments: u64,
    /// Segments sent again, of a thousand, from which on that is a soft error.
    pub retransmitted_per_mille: u32,
    /// Segments out of order, of a thousand, from which on that is a soft error.
    pub reordered_per_mille: u32,
}

impl Default for Config {
    /// Retransmissions of a sound data centre are well below one of a thousand; at a few of a hundred throughput collapses.
    fn default() -> Self {
        Config {
            hard_breaks: 3,
            hard_span: Duration::from_secs(2),
            fresh: Duration::from_secs(3),
            least_segments: 200,
            retransmitted_per_mille: 20,
            reordered_per_mille: 50,
        }
    }
}

/// What a connection has counted since it was made (`tcpi_segs_out`, `tcpi_total_retrans`, `tcpi_segs_in`, `tcpi_rcv_ooopack` of Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Segments sent.
    pub sent: u64,
    /// Of these, sent again.
    pub retransmitted: u64,
    /// Segments received.
    pub received: u64,
    /// Of these, out of order.
    pub reordered: u64,
}

impl Counters {
    /// What was counted since `earlier`; all of it if the counters went back, which a new connection's do.
    fn since(self, earlier: Counters) -> Counters {
        let went_back = self.sent < earlier.sent
            || self.retransmitted < earlier.retransmitted
            || self.received < earlier.received
            || self.reordered < earlier.reordered;
        let earlier = if went_back { Counters::default() } else { earlier };
        Counters {
            sent: self.sent - earlier.sent,
            retransmitted: self.retransmitted - earlier.retransmitted,
            received: self.received - earlier.received,
            reordered: self.reordered - earlier.reordered,
        }
    }
}

/// `part` of `whole` in thousandths, at most 1000.
fn per_mille(part: u64, whole: u64) -> u32 {
    let thousandths = u128::from(part.min(whole)) * 1_000 / u128::from(whole.max(1));
    u32::try_from(thousandths).unwrap_or(1_000)
}

/// What happened to the connections to a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// One was made: its kernel lives.
    Connected,
    /// The process sent bytes.
    Received,
    /// The other side tore it down.
    Reset,
    /// The other side has nobody who listens.
    Refused,
    /// The kernel's counters, read now.
    Counted(Counters),
}

/// Resets and refusals with nothing since.
#[derive(Clone, Copy, Debug)]
struct Broken {
    since: Instant,
    resets: u32,
    refusals: u32,
}

/// Watches the connections to one subject.
#[derive(Clone, Debug)]
pub struct Transport {
    config: Config,
    broken: Option<Broken>,
    /// When bytes last came.
    received: Option<Instant>,
    /// The counters where the present ratio begins.
    baseline: Counters,
    /// The last complete ratios.
    retransmitted_per_mille: u32,
    reordered_per_mille: u32,
}

impl Transport {
    /// A detector that was told nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let baseline = Counters::default();
        Transport { config, broken: None, received: None, baseline, retransmitted_per_mille: 0, reordered_per_mille: 0 }
    }

    fn broke(&mut self, now: Instant, resets: u32, refusals: u32) {
        let broken = self.broken.get_or_insert(Broken { since: now, resets: 0, refusals: 0 });
        broken.resets = broken.resets.saturating_add(resets);
        broken.refusals = broken.refusals.saturating_add(refusals);
    }

    fn counted(&mut self, counters: Counters) {
        let counted = counters.since(self.baseline);
        if counted.sent.saturating_add(counted.received) < self.config.least_segments {
            return;
        }
        self.baseline = counters;
        self.retransmitted_per_mille = per_mille(counted.retransmitted, counted.sent);
        self.reordered_per_mille = per_mille(counted.reordered, counted.received);
    }

    fn judge_broken(&self, broken: Broken, now: Instant) -> Assessment {
        let lasting = now.since(broken.since);
        let count = broken.resets.saturating_add(broken.refusals);
        let hard = count >= self.config.hard_breaks && lasting >= self.config.hard_span;
        let strength = if hard { Suspicion::Hard } else { Suspicion::Suspect };
        Assessment::held(self.way(), strength, lasting, Figures::Broken { resets: broken.resets, refusals: broken.refusals })
    }

    /// The soft errors of a connection that carries bytes.
    fn judge_ratios(&self, assessment: Assessment) -> Assessment {
        let (again, again_bound) = (self.retransmitted_per_mille, self.config.retransmitted_per_mille);
        let (order, order_bound) = (self.reordered_per_mille, self.config.reordered_per_mille);
        let ratios = [
            (again >= again_bound, Figures::Retransmitted { per_mille: again, bound_per_mille: again_bound }),
            (order >= order_bound, Figures::Reordered { per_mille: order, bound_per_mille: order_bound }),
        ];
        let exceeded = ratios.into_iter().filter(|(exceeded, _)| *exceeded);
        exceeded.fold(assessment, |all, (_, figures)| all.with(Assessment::held(self.way(), Suspicion::Soft, Duration::ZERO, figures)))
    }
}

impl Detector for Transport {
    type Observation = Event;

    fn way(&self) -> Way {
        Way::Transport
    }

    fn observe(&mut self, now: Instant, event: Event) -> Sign {
        match event {
            Event::Connected => {}
            Event::Received => {
                self.broken = None;
                self.received = Some(now);
                return Sign::Life;
            }
            Event::Reset => self.broke(now, 1, 0),
            Event::Refused => self.broke(now, 0, 1),
            Event::Counted(counters) => self.counted(counters),
        }
        Sign::None
    }

    fn assess(&self, now: Instant) -> Assessment {
        let is_fresh = self.received.is_some_and(|received| now.since(received) < self.config.fresh);
        match self.broken {
            Some(broken) => self.judge_broken(broken, now),
            None if is_fresh => self.judge_ratios(Assessment::clear(self.way())),
            None => self.judge_ratios(Assessment::unknown(self.way())),
        }
    }

    fn next_change(&self, now: Instant) -> Instant {
        let mark = match (self.broken, self.received) {
            (Some(broken), _) => broken.since + self.config.hard_span,
            (None, Some(received)) => received + self.config.fresh,
            (None, None) => Instant::NEVER,
        };
        if mark > now { mark } else { Instant::NEVER }
    }

    fn forgive(&mut self, now: Instant, pause: Duration) {
        if let Some(broken) = &mut self.broken {
            broken.since = forgiven(broken.since, now, pause);
        }
        if let Some(received) = &mut self.received {
            *received = forgiven(*received, now, pause);
        }
    }
}
