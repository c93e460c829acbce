//! Timeouts: requests that are not answered in time. Everybody can do it, and it sees a silent peer soonest.
//!
//! Blind to the difference between slow and dead: an answer that comes after its timeout shows that it was slow, and is soft evidence.
//!
//! 1. An answer clears every request that was asked before the one it answers: the subject lives, and those were lost on the way.
//! 2. Of more requests than are kept in view the newest are left out: the oldest ones decide.

use alloc::collections::VecDeque;
use core::time::Duration;
use steadfast_types::Instant;

use super::{Detector, Sign, forgiven};
use crate::evidence::{Assessment, Figures, Suspicion, Way, milliseconds};
use crate::limits::OUTSTANDING_REQUESTS;

/// When silence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many requests must be overdue at the same time to be hard evidence; one is suspect.
    pub hard_requests: u32,
}

impl Default for Config {
    /// Half a second, as memberlist's probes; three in a row.
    fn default() -> Self {
        Config { timeout: Duration::from_millis(500), hard_requests: 3 }
    }
}

/// The number that the observer gave a request. Numbers grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestNumber(pub u64);

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// It was sent.
    Asked(RequestNumber),
    /// Its answer came.
    Answered(RequestNumber),
}

/// Watches the requests to one subject.
#[derive(Clone, Debug)]
pub struct Timeout {
    config: Config,
    /// Unanswered requests and when they were asked, oldest first.
    outstanding: VecDeque<(RequestNumber, Instant)>,
    /// How long the last answer took.
    last_took: Option<Duration>,
}

impl Timeout {
    /// A detector that was told nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Timeout { config, outstanding: VecDeque::new(), last_took: None }
    }

    fn asked(&mut self, number: RequestNumber, now: Instant) {
        let is_newest = self.outstanding.back().is_none_or(|(newest, _)| number > *newest);
        if is_newest && self.outstanding.len() < OUTSTANDING_REQUESTS {
            self.outstanding.push_back((number, now));
        }
    }

    /// An answer to a request that is not kept in view, a copy or a forgery, is no sign of life.
    fn answered(&mut self, number: RequestNumber, now: Instant) -> Sign {
        let Some(at) = self.outstanding.iter().position(|(outstanding, _)| *outstanding == number) else { return Sign::None };
        let (_, asked) = self.outstanding[at];
        self.outstanding.drain(..=at);
        self.last_took = Some(now.since(asked));
        Sign::Life
    }

    fn overdue(&self, now: Instant) -> u32 {
        let overdue = self.outstanding.iter().take_while(|(_, asked)| now.since(*asked) >= self.config.timeout).count();
        u32::try_from(overdue).unwrap_or(u32::MAX)
    }

    fn silence(&self, requests: u32, now: Instant) -> Assessment {
        let strength = if requests >= self.config.hard_requests.max(1) { Suspicion::Hard } else { Suspicion::Suspect };
        let lasting = self.outstanding.front().map_or(Duration::ZERO, |(_, asked)| now.since(*asked));
        let figures = Figures::Unanswered { requests, timeout_ms: milliseconds(self.config.timeout) };
        Assessment::held(self.way(), strength, lasting, figures)
    }
}

impl Detector for Timeout {
    type Observation = Request;

    fn way(&self) -> Way {
        Way::Timeout
    }

    fn observe(&mut self, now: Instant, observation: Request) -> Sign {
        match observation {
            Request::Asked(number) => {
                self.asked(number, now);
                Sign::None
            }
            Request::Answered(number) => self.answered(number, now),
        }
    }

    fn assess(&self, now: Instant) -> Assessment {
        match (self.overdue(now), self.last_took) {
            (0, Some(took)) if took >= self.config.timeout => {
                let figures = Figures::LateAnswer { took_ms: milliseconds(took), timeout_ms: milliseconds(self.config.timeout) };
                Assessment::held(self.way(), Suspicion::Soft, Duration::ZERO, figures)
            }
            (0, Some(_)) => Assessment::clear(self.way()),
            (0, None) => Assessment::unknown(self.way()),
            (requests, _) => self.silence(requests, now),
        }
    }

    fn next_change(&self, now: Instant) -> Instant {
        let deadlines = self.outstanding.iter().map(|(_, asked)| *asked + self.config.timeout);
        deadlines.into_iter().find(|deadline| *deadline > now).unwrap_or(Instant::NEVER)
    }

    fn forgive(&mut self, now: Instant, pause: Duration) {
        for (_, asked) in &mut self.outstanding {
            *asked = forgiven(*asked, now, pause);
        }
    }
}
