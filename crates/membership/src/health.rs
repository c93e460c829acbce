//! One's own health (Lifeguard, section 4.1): who gets no answers should first doubt itself.
//!
//! A score from 0, well, to the configured worst. It rises when a probe brings neither an answer nor any relay's word, when one must refute one's own
//! failure, and after a pause; it falls with each answer. At score s all own timeouts are s + 1 times as long. After a pause of its own a member is quiet
//! for a while: it neither accuses nor testifies.
//!
//! Who has answers to [`STEADY`] probes in a row hears others, and is heard: what was said of its death can be taken back to some purpose.

use steadfast_types::Instant;
use steadfast_types::time::Duration;

/// What a pause adds to the score.
const PAUSE_SCORE: u8 = 2;

/// Answered probes in a row. Where four of five packets are lost, one in seven probes is answered, by a relay or a stream if not straight.
const STEADY: u8 = 5;

#[derive(Debug)]
pub(crate) struct Health {
    score: u8,
    worst: u8,
    quiet_until: Instant,
    /// Probes in a row that were answered.
    answered: u8,
}

impl Health {
    pub(crate) fn new(worst: u8) -> Self {
        Health { score: 0, worst, quiet_until: Instant(0), answered: 0 }
    }

    pub(crate) fn score(&self) -> u8 {
        self.score
    }

    pub(crate) fn worse(&mut self, by: u8) {
        self.score = self.score.saturating_add(by).min(self.worst);
    }

    pub(crate) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// A probe was answered.
    pub(crate) fn heard(&mut self) {
        self.better();
        self.answered = self.answered.saturating_add(1);
    }

    /// A probe brought neither an answer nor any relay's word.
    pub(crate) fn unheard(&mut self) {
        self.worse(1);
        self.answered = 0;
    }

    pub(crate) fn is_steady(&self) -> bool {
        self.answered >= STEADY
    }

    pub(crate) fn paused(&mut self, quiet_until: Instant) {
        self.worse(PAUSE_SCORE);
        self.answered = 0;
        self.quiet_until = quiet_until;
    }

    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        now < self.quiet_until
    }

    /// Whether one's word about others is worth something.
    pub(crate) fn may_testify(&self, now: Instant) -> bool {
        !self.is_quiet(now) && (self.worst == 0 || self.score < self.worst.div_ceil(2))
    }

    pub(crate) fn stretch(&self, time: Duration) -> Duration {
        time * (u32::from(self.score) + 1)
    }
}
