//! What a planner is shown: the servers that take part, as the leader sees them.

use std::collections::BTreeMap;

use steadfast_consensus::Status;
use steadfast_health::evidence::{Assessment, Figures, Suspicion, Way};
use steadfast_health::recovery::observed::{Epoch, Observed, Role, Seen};
use steadfast_health::recovery::plan::{Kind, Plan, PlanState};
use steadfast_health::states::{self, Health, HealthState, Moment};
use steadfast_health::subject::Subject;
use steadfast_health::verdict::{self, Case, Report, judge};
use steadfast_membership::State;
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};

use super::Executor;
use super::records::Book;
use crate::checkers::recovery::UNHEARD_OF;
use crate::cluster::Cluster;
use crate::cluster::gossip::{AGENTS, Member, SPARES};

/// So many others watch over each.
const OBSERVERS: u32 = 10;

/// So many of them condemn.
const CONDEMNING: u32 = 2;

/// A spare or learner that takes no part is as little use as one that is dead; who is new has to show that it stays.
fn health_config() -> states::Config {
    states::Config { hold: Duration::from_millis(500), hold_recovering: Duration::from_secs(1), ..states::Config::default() }
}

impl Cluster {
    /// The servers that take part, as the leader sees them.
    pub(super) fn observe(&self, node: NodeId, status: &Status, book: &Book, executor: &mut Executor, now: Instant) -> Observed {
        let Some(member) = self.gossip.members.get(&node) else { return Observed::default() };
        let configuration = &status.configuration;
        let mut roles: BTreeMap<NodeId, Role> = configuration.learners.iter().map(|id| (*id, Role::Learner)).collect();
        roles.extend(configuration.voters.iter().map(|id| (*id, Role::Voter)));
        for view in member.core.table().iter().filter(|view| (SPARES..AGENTS).contains(&view.profile.id.0)) {
            let id = view.profile.id;
            let counts = view.state.is_active() || view.state == State::Failed && !was_removed(book, id);
            // One that was replaced is no spare again.
            if counts && !self.observer.recovery.replaced.contains_key(&id) {
                roles.entry(id).or_insert(Role::Spare);
            }
        }
        executor.health.retain(|id, _| roles.contains_key(id));
        let mut subjects = BTreeMap::new();
        for (id, role) in roles {
            let health = executor.health.entry(id).or_insert_with(|| Health::new(Subject::Node(id), health_config()));
            let witnesses = judge_member(member, status, (node, id), health, now);
            let state = health.state();
            if state != HealthState::Failed {
                executor.failing.remove(&id);
            } else if let Some(witnesses) = witnesses {
                executor.failing.entry(id).or_insert((now, witnesses));
            }
            let failing = executor.failing.get(&id);
            let (failed_for, cause) = failing.map_or_else(Default::default, |(since, words)| (now.since(*since), words.clone()));
            let epoch = book.epochs.get(&id).map_or(Epoch(0), |(epoch, _)| *epoch);
            subjects.insert(Subject::Node(id), Seen { role, state, failed_for, epoch, cause });
        }
        Observed { subjects }
    }
}

/// Whether a plan has removed it: it counts again once it is back.
fn was_removed(book: &Book, id: NodeId) -> bool {
    let removed = |plan: &Plan| plan.id.subject.node() == id && plan.kind == Kind::RemoveNode && plan.state == PlanState::Done;
    book.records.plans.values().any(|recorded| removed(&recorded.plan))
}

/// Judges a member by those who found it dead, and by whether it answers its leader `me`. Gives the witnesses, if they condemn it.
fn judge_member(member: &Member, status: &Status, (me, id): (NodeId, NodeId), health: &mut Health, now: Instant) -> Option<String> {
    let subject = Subject::Node(id);
    let table = member.core.table();
    let view = table.view(id);
    let witnesses: Vec<NodeId> = view.as_ref().map_or(Vec::new(), |view| view.witnesses.to_vec());
    let mut alive: Vec<NodeId> = table.iter().filter(|view| view.state == State::Alive).map(|view| view.profile.id).collect();
    // However many live, a few are its observers: whoever was asked about it is one.
    alive.sort_by_key(|id| !witnesses.contains(id));
    let standing = alive.into_iter().take(OBSERVERS as usize).collect();
    let answers = id == me || status.followers.iter().any(|follower| follower.id == id && follower.active);
    let moment = Moment { now, wall_ms: 0 };
    if view.is_none() && !answers && table.others() > 0 {
        // It failed before all who live began: its leader's silence must do, as in the server.
        health.judge(moment, HealthState::Failed, verdict::Rule::Condemned, Vec::new());
        return Some(UNHEARD_OF.into());
    }
    let silent = Figures::Silent { silent_ms: 1_000, interval_ms: 500 };
    let assess = |strength| match strength {
        Suspicion::Clear | Suspicion::Unknown => vec![Assessment::clear(Way::Heartbeat)],
        Suspicion::Soft | Suspicion::Suspect | Suspicion::Hard => {
            vec![Assessment::held(Way::Heartbeat, strength, Duration::from_secs(1), silent.clone())]
        }
    };
    let report = |observer, strength| Report { observer, age: Duration::ZERO, has_say: true, assessments: assess(strength) };
    let strength = match view.as_ref().map(|view| view.state) {
        // Who answers its leader is not dead, whatever is said.
        Some(State::Failed) if answers => Suspicion::Suspect,
        Some(State::Failed) => Suspicion::Hard,
        Some(State::Suspect | State::Left) | None => Suspicion::Suspect,
        Some(State::Alive) => Suspicion::Clear,
    };
    let others = witnesses.iter().filter(|witness| **witness != me).map(|witness| report(*witness, strength));
    let reports: Vec<Report> = others.chain([report(me, strength)]).collect();
    let verdict_policy = verdict::Policy::new(OBSERVERS, CONDEMNING, 1, Duration::from_secs(10)).expect("these are in order");
    let is_quiet = member.core.own_health().is_quiet;
    let case = Case {
        subject: &subject,
        state: health.state(),
        standing: &standing,
        reports: &reports,
        soft_errors: &[],
        judge_has_say: !is_quiet,
    };
    let Some(verdict) = judge(&verdict_policy, &case) else {
        health.tick(moment);
        return None;
    };
    let by: Vec<String> = verdict.observers.iter().map(NodeId::to_string).collect();
    // Of one that returned nobody has anything any more; how long it recovers until that counts is for the states.
    let state = if verdict.rule == verdict::Rule::Returned { HealthState::Healthy } else { verdict.state };
    health.judge(moment, state, verdict.rule, verdict.evidence);
    (verdict.state == HealthState::Failed).then(|| by.join(" "))
}
