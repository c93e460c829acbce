//! The health of one subject as a state machine: which state follows which, how fast, and what is remembered.
//!
//! | state | means | follows |
//! | --- | --- | --- |
//! | healthy | nothing is held against it | degraded, suspect, recovering |
//! | degraded | errors that are tolerated: recorded and reported | all but failed |
//! | suspect | too late, and not late enough | all but failed |
//! | failed | condemned; what it held may be taken | all |
//! | recovering | it is new or was condemned, was heard (again), and has to show that it stays | failed; it is the first state |
//!
//! 1. A change for the worse is made at once, one for the better once it has been so for a while without a break.
//! 2. Only `recovering` follows `failed`: nobody is healthy again by one beat.
//! 3. A subject that changes too often is held `degraded (flapping)`: each change of the *verdict* for the worse adds to a penalty that halves with
//!    time ([`damping`], RFC 2439). A flapping subject that is condemned is failed all the same: damping must not hide a death.
//! 4. Every change is an [`Event`] with its cause and evidence; the last [`HISTORY_EVENTS`] are kept.
//!
//! Left out: what the state is decided from (verdicts, checks), and keeping the events in strong state.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use steadfast_types::{Instant, wire_enum, wire_struct};

use crate::limits::HISTORY_EVENTS;
use crate::subject::Subject;
use crate::verdict::{Rule, Testimony};

pub mod damping;
use damping::{Change, Damping};

/// How a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthState {
    /// Nothing is held against it.
    Healthy,
    /// It has to show that it stays.
    Recovering,
    /// Errors that are tolerated.
    Degraded,
    /// Too late, and not late enough.
    Suspect,
    /// Condemned.
    Failed,
}
wire_enum!(HealthState { 1 => Healthy {}, 2 => Recovering {}, 3 => Degraded {}, 4 => Suspect {}, 5 => Failed {} });

use HealthState::{Degraded, Failed, Healthy, Recovering, Suspect};

/// Which state may follow which.
pub const ALLOWED: [(HealthState, &[HealthState]); 5] = [
    (Healthy, &[Degraded, Suspect, Failed]),
    (Recovering, &[Healthy, Degraded, Suspect, Failed]),
    (Degraded, &[Healthy, Suspect, Failed]),
    (Suspect, &[Healthy, Degraded, Failed]),
    (Failed, &[Recovering]),
];

impl HealthState {
    /// Whether `next` may follow.
    #[must_use]
    pub fn may_become(self, next: HealthState) -> bool {
        ALLOWED.iter().any(|(from, to)| *from == self && to.contains(&next))
    }

    /// The state to go to first, on the way to `target`; none if this is it already, or as near as the table allows.
    fn step_to(self, target: HealthState) -> Option<HealthState> {
        match (self, target) {
            (from, to) if from == to => None,
            (Failed, Healthy | Recovering | Degraded | Suspect) => Some(Recovering),
            // Who recovers is not healthier than the others say, and who was never condemned has nothing to recover from.
            (Healthy | Degraded | Suspect, Recovering) => None,
            (_, to) => Some(to),
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Healthy => "healthy",
            Recovering => "recovering",
            Degraded => "degraded",
            Suspect => "suspect",
            Failed => "failed",
        })
    }
}

/// A time, and what the wall clock said then: a label for people, which nothing is decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic time.
    pub now: Instant,
    /// Milliseconds since 1970 by the wall clock, which may be wrong by any amount.
    pub wall_ms: u64,
}

/// Why a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A verdict, by this rule.
    Verdict(Rule),
    /// The verdict has been better for long enough.
    Held(Rule),
    /// It changes too often.
    Flapping,
    /// It has changed less often for long enough.
    FlappingEnded,
}
wire_enum!(Cause { 1 => Verdict(rule), 2 => Held(rule), 3 => Flapping {}, 4 => FlappingEnded {} });

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which change of this subject, from 1.
    pub number: u64,
    /// Whose.
    pub subject: Subject,
    /// The state before.
    pub from: HealthState,
    /// The state after.
    pub to: HealthState,
    /// Why.
    pub cause: Cause,
    /// What that rests on.
    pub evidence: Vec<Testimony>,
    /// When, for people, in ms since 1970.
    pub wall_ms: u64,
}
wire_struct!(Event { number, subject, from, to, cause, evidence, wall_ms });

/// How fast a state changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// For how long a verdict must be better before the state is.
    pub hold: Duration,
    /// The same for one that recovers.
    pub hold_recovering: Duration,
    /// What is too often.
    pub damping: damping::Config,
}

impl Default for Config {
    fn default() -> Self {
        Config { hold: Duration::from_secs(5), hold_recovering: Duration::from_secs(15), damping: damping::Config::default() }
    }
}

/// What a subject should be, by the latest verdict or check.
#[derive(Clone, Debug)]
struct Opinion {
    state: HealthState,
    rule: Rule,
    evidence: Vec<Testimony>,
    /// Since when it has been no worse than this.
    since: Instant,
}

/// The health of one subject.
#[derive(Clone, Debug)]
pub struct Health {
    config: Config,
    subject: Subject,
    state: HealthState,
    opinion: Option<Opinion>,
    damping: Damping,
    changes: u64,
    history: VecDeque<Event>,
}

impl Health {
    /// A subject of which nothing is known: it begins as recovering.
    #[must_use]
    pub fn new(subject: Subject, config: Config) -> Self {
        let damping = Damping::new(config.damping);
        Health { config, subject, state: Recovering, opinion: None, damping, changes: 0, history: VecDeque::new() }
    }

    /// A subject of which it is recorded that it was in this state. What it changed before is not counted against it again.
    #[must_use]
    pub fn resume(subject: Subject, config: Config, state: HealthState) -> Self {
        Health { state, ..Health::new(subject, config) }
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// Whether it is held degraded because it changes too often.
    #[must_use]
    pub fn is_flapping(&self) -> bool {
        self.damping.is_flapping()
    }

    /// The last changes, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Event> {
        self.history.iter()
    }

    /// Takes the latest verdict or check; the changes that follow from it.
    pub fn judge(&mut self, moment: Moment, state: HealthState, rule: Rule, evidence: Vec<Testimony>) -> Vec<Event> {
        let before = self.opinion.as_ref().map_or(self.state, |opinion| opinion.state);
        if let Some(change) = Change::between(before, state) {
            self.damping.changed(moment.now, change);
        }
        // A state that gets better step by step is held from the last step on.
        let since = match &self.opinion {
            Some(opinion) if opinion.state == state => opinion.since,
            Some(_) | None => moment.now,
        };
        self.opinion = Some(Opinion { state, rule, evidence, since });
        self.tick(moment)
    }

    /// Time has passed; the changes that follow from it.
    pub fn tick(&mut self, moment: Moment) -> Vec<Event> {
        let was_flapping = self.damping.is_flapping();
        self.damping.tick(moment.now);
        let mut events = Vec::new();
        // At most from failed over recovering to what it is held at.
        while let Some((to, cause)) = self.next_step(moment.now, was_flapping) {
            events.push(self.change(moment, to, cause));
        }
        events
    }

    /// When [`Health::tick`] may change something next.
    #[must_use]
    pub fn next_change(&self, now: Instant) -> Instant {
        let held = self.opinion.as_ref().map_or(Instant::NEVER, |opinion| opinion.since + self.hold());
        let held = if held > now { held } else { Instant::NEVER };
        held.min(self.damping.reuse_at(now))
    }

    /// What it should be: the verdict, or held at degraded.
    fn target(&self, opinion: &Opinion) -> HealthState {
        match opinion.state {
            Failed => Failed,
            _ if self.damping.is_flapping() => Degraded,
            state => state,
        }
    }

    fn hold(&self) -> Duration {
        if self.state == Recovering { self.config.hold_recovering } else { self.config.hold }
    }

    fn next_step(&self, now: Instant, was_flapping: bool) -> Option<(HealthState, Cause)> {
        let opinion = self.opinion.as_ref()?;
        let target = self.target(opinion);
        let to = self.state.step_to(target)?;
        let is_held = now.since(opinion.since) >= self.hold();
        let is_flapping = self.damping.is_flapping();
        match () {
            () if is_flapping && target != opinion.state && self.state != Failed => Some((to, Cause::Flapping)),
            () if to > self.state => Some((to, Cause::Verdict(opinion.rule))),
            () if is_held && was_flapping && !is_flapping => Some((to, Cause::FlappingEnded)),
            () if is_held => Some((to, Cause::Held(opinion.rule))),
            () => None,
        }
    }

    fn change(&mut self, moment: Moment, to: HealthState, cause: Cause) -> Event {
        assert!(self.state.may_become(to), "{} may not become {to} from {}", self.subject, self.state);
        self.changes += 1;
        let evidence = self.opinion.as_ref().map_or(Vec::new(), |opinion| opinion.evidence.clone());
        let (number, subject, from) = (self.changes, self.subject.clone(), self.state);
        let event = Event { number, subject, from, to, cause, evidence, wall_ms: moment.wall_ms };
        // The time that it was better while failed is no proof that it stays.
        if to == Recovering
            && let Some(opinion) = &mut self.opinion
        {
            opinion.since = moment.now;
        }
        self.state = to;
        if self.history.len() == HISTORY_EVENTS {
            self.history.pop_front();
        }
        self.history.push_back(event.clone());
        event
    }
}

#[cfg(test)]
mod tests;
