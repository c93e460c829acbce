//! The judge: from what the leader sees and is told, to the changes of everybody's health that are to be recorded. Runs on the leader alone, and is
//! pure: times and views are handed in, decisions come out.
//!
//! # Who condemns
//!
//! One place decides how many observers it takes: membership's inquiry, which finds witnesses. Its three are the K of the verdict here, so a verdict
//! of gossip's with three witnesses in standing is one of strong state's. A witness is in *standing* if it is not condemned or recovering itself, or
//! was not yet when this node learned what it had seen. Where fewer than three witnesses have standing, others that answer are counted as observers
//! that said nothing, so all three must, unless fewer are left; and never fewer than two:
//!
//! | left beside the dead one | what it takes |
//! | --- | --- |
//! | three or more | three witnesses |
//! | two (a cluster of three servers) | both |
//! | one (two nodes) | it can't be told from a cut line: suspect, never failed |
//!
//! # Invariants
//! 1. A condemned node is failed for as long as gossip holds it failed: only itself takes that back, by a new incarnation.
//! 2. A judge is silent until gossip has taken its node in, for [`pause::Config::quiet`] after its beginning, and after each pause of its own: it
//!    could take what it has not heard for silence. Its node has followed gossip before it led, so the few seconds are for what was on its way.
//! 3. It heals nobody by not having heard: who was recorded to be degraded stays so until a report says otherwise.
//! 4. Suspicion is gossip's own affair until it has lasted [`SUSPICION_LASTS`]: mostly it is over by then, one way or the other.
//! 5. Who left in order is gone, not failed; so is an agent that a plan removed, until it takes part again.
//! 6. What servers hold against each other (`observer`) adds to what gossip has found, and never goes beyond it: who answers gossip is degraded by it
//!    at most, and not before it has lasted for [`SUSPICION_LASTS`]; whom gossip suspects is suspect at most.
//!
//! What grows: one entry for each member that gossip shows or that has a record, and one for each service of theirs (`report::SERVICES` at most).
//! Records of agents that nobody has seen for [`UNSEEN`] go.
//! Servers of strong state that gossip has never shown come in as if it had found them dead, by nobody (`unshown`): observers alone can condemn them.

mod accusations;
mod causes;
mod observers;
mod ruling;
mod services;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_health::pause::{self, OwnPause};
use steadfast_health::states::{self, Event, Health, Moment};
use steadfast_health::verdict::{self, Case, Policy, Rule, Verdict};
use steadfast_health::{Evidence, HealthState, Subject};
use steadfast_membership::{Role, State};
use steadfast_types::{Instant, NodeId};

use super::cause;
use super::report::NodeReport;
use crate::gossip::Seen;

pub(crate) use ruling::{Decision, Known, Ruling};
pub(crate) use world::{Heard, World};

use accusations::{add, against, worst};
use causes::Causes;
use ruling::node_ruling;
use services::judge_services;
use world::{Turn, at_once, is_removed, is_taken_out};

/// Membership's witnesses.
const OBSERVERS: u32 = 3;

/// So many of them make suspect.
const SUSPECTING: u32 = 2;

/// What a node holds against others counts for so long.
const STALE_AFTER: Duration = Duration::from_secs(90);

/// How long a suspicion must last to be recorded: an inquiry is mostly through in three seconds.
pub(super) const SUSPICION_LASTS: Duration = Duration::from_secs(10);

/// After this time an agent that is not even among gossip's dead has no record any more.
pub(super) const UNSEEN: Duration = Duration::from_secs(3600);

/// A node that is judged.
struct Tracked {
    id: NodeId,
    role: Role,
    health: Health,
    /// Since when it is in its state, as is recorded.
    since_ms: u64,
    causes: Causes,
    services: BTreeMap<String, HealthState>,
    has_record: bool,
    /// Reports from before count no longer.
    deaf_until: Instant,
    last_seen: Instant,
}

impl Tracked {
    fn new(id: NodeId, role: Role, state: HealthState, now: Instant) -> Self {
        let health = Health::resume(Subject::Node(id), states::Config::default(), state);
        Tracked {
            id,
            role,
            health,
            since_ms: 0,
            causes: Causes::default(),
            services: BTreeMap::new(),
            has_record: false,
            deaf_until: Instant(0),
            last_seen: now,
        }
    }
}

/// The judge of one term of leadership.
pub(crate) struct Judge {
    me: NodeId,
    policy: Policy,
    began: Instant,
    own: OwnPause,
    /// By name: of two nodes with one name the one that takes part, or the younger, is meant.
    nodes: BTreeMap<String, Tracked>,
}

impl Judge {
    /// A judge that begins at `now` with what is recorded.
    pub(crate) fn begin(me: NodeId, now: Instant, known: BTreeMap<String, Known>) -> Self {
        let policy = Policy::new(OBSERVERS, OBSERVERS, SUSPECTING, STALE_AFTER).expect("in order");
        let tracked = |known: Known| Tracked {
            services: known.services,
            since_ms: known.since_ms,
            has_record: known.has_record,
            ..Tracked::new(known.id, known.role, known.state, now)
        };
        let nodes = known.into_iter().map(|(name, known)| (name, tracked(known))).collect();
        Judge { me, policy, began: now, own: OwnPause::new(now, pause::Config::default()), nodes }
    }

    /// Judges everybody, and means to do so again by `next`. What comes out must be recorded, or a new judge begin.
    pub(crate) fn turn(&mut self, world: &World<'_>, next: Instant) -> Vec<Decision> {
        let now = world.moment.now;
        self.own.turn(now, next);
        if !world.is_admitted || !self.own.has_say(now) {
            return Vec::new();
        }
        let turn = Turn::of(world);
        let mut decisions = self.forget(&turn);
        for seen in turn.members.values() {
            self.judge_node(&turn, seen, &mut decisions);
        }
        decisions
    }

    /// The turn takes longer than it should, for a reason that is not this node's: the judge is not to be silent after it.
    pub(crate) fn expect_wait(&mut self, now: Instant, until: Instant) {
        self.own.turn(now, until);
    }

    /// Those that are gone: left in order, removed from strong state, replaced by another of their name, or never seen for long.
    fn forget(&mut self, Turn { world, members, .. }: &Turn<'_>) -> Vec<Decision> {
        let now = world.moment.now;
        let is_gone = |name: &str, tracked: &mut Tracked| {
            let Some(seen) = members.get(name).filter(|seen| seen.id == tracked.id) else {
                let is_removed = is_taken_out(world, tracked.role, tracked.id);
                return members.contains_key(name) || is_removed || now.since(tracked.last_seen) >= UNSEEN;
            };
            tracked.last_seen = now;
            seen.state == State::Left || is_removed(world, seen)
        };
        let gone = self.nodes.extract_if(.., |name, tracked| is_gone(name, tracked));
        gone.filter(|(_, tracked)| tracked.has_record || !tracked.services.is_empty()).map(|(name, _)| Decision::NodeGone(name)).collect()
    }

    fn judge_node(&mut self, turn: &Turn<'_>, seen: &Seen, decisions: &mut Vec<Decision>) {
        let world = turn.world;
        if seen.state == State::Left || is_removed(world, seen) {
            return;
        }
        // Perhaps a plan has removed it: there is time to ask.
        let is_dead_agent = seen.role == Role::Agent && !seen.state.is_active();
        if is_dead_agent && world.removed.is_none() && !self.nodes.contains_key(&seen.name) {
            return;
        }
        let now = world.moment.now;
        let mut tracked = self.nodes.remove(&seen.name).unwrap_or_else(|| Tracked::new(seen.id, seen.role, HealthState::Healthy, now));
        let report = world.reports.get(&seen.id).filter(|heard| heard.at >= tracked.deaf_until).map(|heard| &*heard.report);
        let verdict = self.verdict(turn, seen, &tracked, report);
        let names = |id: NodeId| world.members.iter().find(|seen| seen.id == id).map_or_else(|| id.to_string(), |seen| seen.name.clone());
        let held = verdict.clone().filter(|verdict| matches!(verdict.state, HealthState::Degraded | HealthState::Suspect));
        let events = verdict.map(|verdict| apply(&mut tracked.health, world.moment, verdict)).unwrap_or_default();
        if let Some(held) = held.filter(|held| events.is_empty() && held.state == tracked.health.state())
            && tracked.causes.is_another(now, &held.evidence)
        {
            decisions.push(Decision::Changed(another_cause(seen, &held, tracked.since_ms, &names)));
        }
        for event in events {
            if event.to == HealthState::Failed {
                tracked.deaf_until = now;
            }
            tracked.has_record = true;
            tracked.since_ms = event.wall_ms;
            tracked.causes.told(&event.evidence);
            let warning = if event.to == HealthState::Failed { at_once(world) } else { None };
            decisions.push(Decision::Changed(node_ruling(seen, &event, &names, warning)));
        }
        judge_services(world.moment, seen, &mut tracked, report, decisions);
        self.nodes.insert(seen.name.clone(), tracked);
    }

    /// What is held of a node now; `None`: there is nothing new to be held.
    fn verdict(&self, turn: &Turn<'_>, seen: &Seen, tracked: &Tracked, report: Option<&NodeReport>) -> Option<Verdict> {
        let state = tracked.health.state();
        if seen.state == State::Failed && state == HealthState::Failed {
            return None;
        }
        let now = turn.world.moment.now;
        let subject = Subject::Node(seen.id);
        let (standing, mut reports) = self.observers(turn, seen);
        turn.accusers.iter().filter_map(|heard| against(heard, seen, now)).for_each(|accusation| add(&mut reports, accusation));
        let soft_errors: &[Evidence] = report.map_or(&[], |report| &report.soft_errors);
        let case = Case { subject: &subject, state, standing: &standing, reports: &reports, soft_errors, judge_has_say: true };
        let verdict = verdict::judge_up_to(&self.policy, &case, worst(seen.state)).filter(|verdict| verdict.rule != Rule::Unheard)?;
        let is_new = seen.state != State::Alive && now.since(seen.since) < SUSPICION_LASTS && verdict.state != HealthState::Failed;
        let is_better = state == HealthState::Degraded && verdict.state < state && !tracked.health.is_flapping();
        let is_unheard = is_better && (report.is_none() || self.may_be_accused(turn, seen));
        (!is_new && !is_unheard).then_some(verdict)
    }
}

/// The same state for another reason.
fn another_cause(seen: &Seen, held: &Verdict, since_ms: u64, names: cause::Names<'_>) -> Ruling {
    let (cause, evidence) = (states::Cause::Verdict(held.rule), held.evidence.clone());
    let event = Event { number: 0, subject: held.subject.clone(), from: held.state, to: held.state, cause, evidence, wall_ms: since_ms };
    node_ruling(seen, &event, names, None)
}

/// Of one that returned nobody has anything any more; how long it recovers until that counts is for the states.
fn apply(health: &mut Health, moment: Moment, verdict: Verdict) -> Vec<Event> {
    let state = if verdict.rule == Rule::Returned { HealthState::Healthy } else { verdict.state };
    let events = health.judge(moment, state, verdict.rule, verdict.evidence);
    debug_assert!(events.len() <= 2, "{events:?}");
    events
}
