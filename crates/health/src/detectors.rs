//! The ways to notice a failure, one file each, behind one small interface.
//!
//! | detector | sees | blind to |
//! | --- | --- | --- |
//! | [`timeout`] | a silent peer | the difference between slow and dead |
//! | [`heartbeat`] | the death of a process or host | one-way network faults, if only one observer has it |
//! | [`checkpoint`] | work that no longer advances though its process lives | what happens between checkpoints |
//! | [`probe`] | a log or a store that no longer moves data, and at which stage | the node behind it |
//! | [`transport`] | resets, refusals, retransmissions, reordered bytes | a hung process behind a live socket |
//! | [`phi`] | a silence that is improbable after what was usual; laid over any of the others | what that one is blind to |
//!
//! Invariants of every detector, tested for each in `detectors/tests.rs`:
//! 1. Only differences of time count: if all times are moved by the same span, it says the same.
//! 2. In silence nothing gets better: what is clear becomes unknown or worse, what is held against the subject stays or grows. It changes at
//!    [`Detector::next_change`] and at no earlier time.
//! 3. A pause of the observer that it [forgives](Detector::forgive) counts as no silence.
//! 4. It takes bounded memory, whatever it is told.
//!
//! Left out: whether a subject has failed. That is for the verdict, which has several observers and several ways.

use core::time::Duration;
use steadfast_types::Instant;

use crate::evidence::{Assessment, Way};

pub mod checkpoint;
pub mod heartbeat;
pub mod phi;
pub mod probe;
pub mod timeout;
pub mod transport;

mod bounds;
#[cfg(test)]
mod tests;

pub use bounds::Bounds;

/// Whether the subject itself was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It was: only it can have caused this.
    Life,
    /// It was not: this came from the observer, from a kernel, or late.
    None,
}

/// One observer's view of one subject by one way.
pub trait Detector {
    /// What it is told.
    type Observation;

    /// Which way this is.
    fn way(&self) -> Way;

    /// Which way the absence of its signs of life counts as.
    fn silent_way(&self) -> Way {
        self.way()
    }

    /// Takes what was noticed at `now`, and says whether it is a sign of life.
    fn observe(&mut self, now: Instant, observation: Self::Observation) -> Sign;

    /// What it has against the subject at `now`.
    fn assess(&self, now: Instant) -> Assessment;

    /// The earliest time after `now` at which suspicion may change though nothing is observed.
    fn next_change(&self, now: Instant) -> Instant;

    /// The observer stood still for `pause`, up to `now`: that time counts as no silence.
    fn forgive(&mut self, now: Instant, pause: Duration);
}

/// `mark`, moved by a forgiven pause, but not into the future: what was noticed after the pause needs no forgiveness.
fn forgiven(mark: Instant, now: Instant, pause: Duration) -> Instant {
    (mark + pause).min(now).max(mark)
}
