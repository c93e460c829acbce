//! The judge by scripts: gossip shows, nodes report, time passes; what comes out is compared as lines.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::health::report::Against;
use crate::health::report::ServiceReport;
use proptest::prelude::*;
use steadfast_health::soft_errors::{NodeFigures, find};
use steadfast_health::{Assessment, Figures, Suspicion, Way};
use steadfast_membership::Incarnation;
use steadfast_types::ClusterId;

/// Servers n1 to n3, agents from a4 on; n1 leads.
struct Script {
    judge: Judge,
    members: Vec<Seen>,
    servers: BTreeSet<NodeId>,
    removed: BTreeSet<NodeId>,
    reports: BTreeMap<NodeId, Heard>,
    ms: u64,
    is_admitted: bool,
}

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000)
}

fn name(id: u64) -> String {
    if id <= 3 { format!("n{id}") } else { format!("a{id}") }
}

fn seen(id: u64) -> Seen {
    Seen {
        id: NodeId(id),
        name: name(id),
        role: if id <= 3 { Role::Server } else { Role::Agent },
        address: ([127, 0, 0, 1], 1).into(),
        state: State::Alive,
        since: at(0),
        witnesses: vec![],
        witness_ids: vec![],
        incarnation: Incarnation(1),
        born: 0,
    }
}

impl Script {
    /// So many nodes, and a judge that has been silent long enough.
    fn of(count: u64) -> Self {
        let mut script = Script {
            judge: Judge::begin(NodeId(1), at(1_000), BTreeMap::new()),
            members: (1..=count).map(seen).collect(),
            servers: (1..=count.min(3)).map(NodeId).collect(),
            removed: BTreeSet::new(),
            reports: BTreeMap::new(),
            ms: 1_000,
            is_admitted: true,
        };
        assert_eq!(script.pass(6), NOTHING);
        script
    }

    fn turn(&mut self) -> Vec<String> {
        let world = World {
            moment: Moment { now: at(self.ms), wall_ms: self.ms },
            members: &self.members,
            is_admitted: self.is_admitted,
            reports: &self.reports,
            servers: Some(&self.servers),
            removed: Some(&self.removed),
        };
        self.judge.turn(&world, at(self.ms + 500)).iter().map(line).collect()
    }

    /// So many seconds, judged twice a second.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..seconds * 2 {
            self.ms += 500;
            lines.extend(self.turn());
        }
        lines
    }

    fn set(&mut self, id: u64, state: State, witnesses: &[u64]) {
        let member = self.members.iter_mut().find(|member| member.id == NodeId(id)).unwrap();
        (member.state, member.since) = (state, at(self.ms));
        member.witness_ids = witnesses.iter().copied().map(NodeId).collect();
    }

    fn report(&mut self, id: u64, change: impl FnOnce(&mut NodeReport)) {
        let mut report = NodeReport {
            cluster: ClusterId(7),
            node: NodeId(id),
            has_say: true,
            soft_errors: vec![],
            services: vec![],
            against: vec![],
            checks_revision: 0,
            wall_ms: 0,
        };
        change(&mut report);
        self.reports.insert(NodeId(id), Heard { at: at(self.ms), ahead_ms: 0, report: Arc::new(report) });
    }

    /// Another judge takes over, with what this one has recorded and no report.
    fn change_leader(&mut self) {
        let known = |tracked: &Tracked| Known {
            state: tracked.health.state(),
            since_ms: tracked.since_ms,
            has_record: tracked.has_record,
            services: tracked.services.clone(),
            ..Known::healthy(tracked.id, tracked.role)
        };
        let known = self.judge.nodes.iter().map(|(name, tracked)| (name.clone(), known(tracked))).collect();
        self.judge = Judge::begin(NodeId(2), at(self.ms), known);
        self.reports.clear();
    }
}

const NOTHING: [&str; 0] = [];

fn line(decision: &Decision) -> String {
    match decision {
        Decision::Changed(ruling) => {
            let service = if ruling.service.is_empty() { String::new() } else { format!("/{}", ruling.service) };
            format!("{}{service} {} -> {}: {}", ruling.name, ruling.from, ruling.to, ruling.cause)
        }
        Decision::NodeGone(name) => format!("{name} gone"),
        Decision::ServiceGone(name, service) => format!("{name}/{service} gone"),
    }
}

fn full_disk() -> Vec<Evidence> {
    find(&NodeFigures { disk_used_per_mille: Some(900), ..NodeFigures::default() }).iter().map(|e| e.evidence(Duration::ZERO)).collect()
}

#[test]
fn a_dead_agent_has_failed_once_and_its_witnesses_are_named() {
    let mut script = Script::of(8);
    script.set(5, State::Failed, &[1, 3, 6]);
    assert_eq!(script.pass(1), ["a5 healthy -> failed: found dead: silent for n1, n3, a6"]);
    assert_eq!(script.pass(100), NOTHING);
}

#[test]
fn who_returns_recovers_first() {
    let mut script = Script::of(8);
    script.set(5, State::Failed, &[1, 3, 6]);
    script.pass(1);
    script.set(5, State::Alive, &[]);
    assert_eq!(script.pass(5), NOTHING, "one beat is none");
    assert_eq!(script.pass(1), ["a5 failed -> recovering: it answers again"]);
    assert_eq!(script.pass(14), NOTHING);
    assert_eq!(script.pass(2), ["a5 recovering -> healthy: it has answered for a while"]);
    assert_eq!(script.pass(60), NOTHING);
}

#[test]
fn a_change_of_leaders_writes_nothing_twice_and_undoes_nothing() {
    let mut script = Script::of(8);
    script.set(5, State::Failed, &[1, 3, 6]);
    script.report(6, |report| report.soft_errors = full_disk());
    assert_eq!(script.pass(1).len(), 2);
    script.change_leader();
    // Two witnesses die with the old leader: the verdict stands.
    script.set(1, State::Failed, &[2, 3, 7]);
    assert_eq!(script.pass(4), NOTHING, "a fresh judge is silent");
    assert_eq!(script.pass(2), ["n1 healthy -> failed: found dead: silent for n2, n3, a7"]);
    assert_eq!(script.pass(120), NOTHING, "a6 is degraded until it says otherwise");
    script.report(6, |_| ());
    assert_eq!(script.pass(6), ["a6 degraded -> healthy: nothing is held against it"]);
}

#[test]
fn whoever_gossip_has_not_taken_in_and_whoever_paused_is_silent() {
    let mut script = Script::of(8);
    script.is_admitted = false;
    script.set(5, State::Failed, &[1, 3, 6]);
    assert_eq!(script.pass(10), NOTHING);
    script.is_admitted = true;
    script.ms += 3_000;
    assert_eq!(script.pass(4), NOTHING, "it stood still for three seconds");
    assert_eq!(script.pass(2).len(), 1);
}

#[test]
fn of_three_servers_two_condemn_and_of_two_nobody_can() {
    let mut script = Script::of(3);
    script.set(3, State::Failed, &[1, 2]);
    assert_eq!(script.pass(1), ["n3 healthy -> failed: found dead: silent for n1, n2"]);
    let mut script = Script::of(2);
    script.set(2, State::Failed, &[1]);
    assert_eq!(script.pass(60), ["n2 healthy -> suspect: suspected: silent for n1"]);
}

#[test]
fn two_that_die_at_once_do_not_wait_for_each_others_word() {
    let mut script = Script::of(4);
    script.set(3, State::Failed, &[1, 2]);
    assert_eq!(script.pass(1), NOTHING, "a4 is still thought to be an observer");
    script.set(4, State::Failed, &[1, 2]);
    let lines = script.pass(1);
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("-> failed: found dead: silent for n1, n2")), "{lines:?}");
    assert!(!lines[0].contains("the network"), "two of four are not more than half: {lines:?}");
}

#[test]
fn the_word_of_the_condemned_counts_only_if_it_came_before() {
    // The side that was cut off comes back with its own verdicts.
    let mut script = Script::of(9);
    for id in 7..=9 {
        script.set(id, State::Failed, &[1, 2, 3]);
    }
    assert_eq!(script.pass(1).len(), 3);
    (7..=9).for_each(|id| script.set(id, State::Alive, &[]));
    script.set(4, State::Failed, &[7, 8, 9]);
    assert_eq!(script.pass(2), NOTHING);
    // But a witness that dies after its word was one.
    let mut script = Script::of(9);
    script.judge = Judge::begin(NodeId(1), at(script.ms), BTreeMap::new());
    script.set(4, State::Failed, &[1, 5, 6]);
    script.pass(1);
    script.set(5, State::Failed, &[1, 2, 3]);
    let lines = script.pass(6);
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().any(|line| line.starts_with("a4 healthy -> failed")), "{lines:?}");
}

#[test]
fn more_than_half_at_once_is_said_in_the_cause() {
    let mut script = Script::of(8);
    for id in 4..=8 {
        script.set(id, State::Failed, &[1, 2, 3]);
    }
    let lines = script.pass(1);
    assert!(lines.len() == 5 && lines.iter().all(|line| line.ends_with("5 of 8 nodes failed within 10 s: the network may be at fault")));
}

#[test]
fn a_soft_error_degrades_and_goes() {
    let mut script = Script::of(5);
    for id in [1, 4] {
        script.report(id, |report| report.soft_errors = full_disk());
        let cause = "impaired: its own report: disk used, of 1000: 900, bound 850";
        assert_eq!(script.pass(1), [format!("{} healthy -> degraded: {cause}", name(id))]);
        assert_eq!(script.pass(30), NOTHING);
        script.report(id, |_| ());
        assert_eq!(script.pass(6), [format!("{} degraded -> healthy: nothing is held against it", name(id))]);
    }
    // One that is alone.
    let mut script = Script::of(1);
    script.report(1, |report| report.soft_errors = full_disk());
    assert_eq!(script.pass(1).len(), 1);
    script.report(1, |_| ());
    assert_eq!(script.pass(6).len(), 1);
}

#[test]
fn what_one_node_holds_against_another_is_no_more_than_a_soft_error() {
    let mut script = Script::of(8);
    let broken = Assessment::held(Way::Transport, Suspicion::Hard, Duration::ZERO, Figures::Broken { resets: 3, refusals: 0 });
    script.report(8, |report| report.against = vec![Against { node: NodeId(5), assessments: vec![broken.clone()] }]);
    assert_eq!(script.pass(9), NOTHING, "what comes and goes is nobody's business");
    let lines = script.pass(2);
    assert!(lines.len() == 1 && lines[0].starts_with("a5 healthy -> degraded: impaired: a8 has transport: 3 resets"), "{lines:?}");
    script.report(8, |_| ());
    assert_eq!(script.pass(30), NOTHING, "it has not reported itself");
    script.report(5, |_| ());
    assert_eq!(script.pass(6), ["a5 degraded -> healthy: nothing is held against it"]);
    // From one that stood still it is nothing.
    let mut script = Script::of(8);
    script.report(6, |report| {
        report.has_say = false;
        report.against = vec![Against { node: NodeId(5), assessments: vec![broken] }];
    });
    assert_eq!(script.pass(30), NOTHING);
}

/// By every way at once, as hard as can be.
fn everything() -> Vec<Assessment> {
    let ways = Way::ALL.into_iter();
    ways.map(|way| Assessment::held(way, Suspicion::Hard, Duration::from_secs(60), Figures::Broken { resets: 3, refusals: 0 })).collect()
}

#[test]
fn who_answers_gossip_is_no_more_than_degraded_whatever_all_others_hold_against_it() {
    let mut script = Script::of(3);
    for id in [1, 2] {
        script.report(id, |report| report.against = vec![Against { node: NodeId(3), assessments: everything() }]);
    }
    let lines = script.pass(60);
    assert!(lines.len() == 1 && lines[0].starts_with("n3 healthy -> degraded: impaired: ") && lines[0].contains("n2 has"), "{lines:?}");
    script.set(3, State::Suspect, &[]);
    let lines = script.pass(30);
    assert!(lines.len() == 1 && lines[0].starts_with("n3 degraded -> suspect: suspected: "), "{lines:?}");
}

#[test]
fn what_was_held_against_one_that_was_dead_is_no_more_when_it_answers_again() {
    let mut script = Script::of(5);
    script.report(2, |report| report.against = vec![Against { node: NodeId(3), assessments: everything() }]);
    script.set(3, State::Failed, &[1, 2, 4]);
    assert_eq!(script.pass(1).len(), 1);
    script.set(3, State::Alive, &[]);
    assert_eq!(script.pass(4), NOTHING);
    script.report(2, |_| ());
    script.report(3, |_| ());
    assert_eq!(script.pass(2), ["n3 failed -> recovering: it answers again"]);
}

#[test]
fn what_a_witness_holds_besides_adds_to_its_word_and_does_not_take_it_back() {
    let mut script = Script::of(3);
    let late = Assessment::held(Way::Timeout, Suspicion::Suspect, Duration::ZERO, Figures::Unanswered { requests: 2, timeout_ms: 2_000 });
    script.report(2, |report| report.against = vec![Against { node: NodeId(3), assessments: vec![late] }]);
    script.set(3, State::Failed, &[1, 2]);
    let expected = "n3 healthy -> failed: found dead: silent for n1, n2; n2 has timeout: 2 requests unanswered for more than 2.000 s";
    assert_eq!(script.pass(1), [expected]);
}

#[test]
fn what_a_node_is_held_for_is_kept_up_to_date_without_an_event() {
    let mut script = Script::of(3);
    script.report(3, |report| report.soft_errors = full_disk());
    assert_eq!(script.pass(1).len(), 1);
    let late = Assessment::held(Way::Timeout, Suspicion::Suspect, Duration::ZERO, Figures::Unanswered { requests: 2, timeout_ms: 2_000 });
    script.report(2, |report| report.against = vec![Against { node: NodeId(3), assessments: vec![late] }]);
    assert_eq!(script.pass(19), NOTHING);
    let both = "n3 degraded -> degraded: impaired: n2 has timeout: 2 requests unanswered for more than 2.000 s; its own report: disk used, of 1000: 900, bound 850";
    assert_eq!(script.pass(2), [both]);
    assert_eq!(script.pass(30), NOTHING);
    script.report(2, |_| ());
    assert_eq!(script.pass(11).len(), 1);
}

#[test]
fn a_new_judge_heals_no_server_before_all_others_could_accuse_it_again() {
    let mut script = Script::of(3);
    let accuse = |report: &mut NodeReport| report.against = vec![Against { node: NodeId(3), assessments: everything() }];
    script.report(2, accuse);
    assert_eq!(script.pass(5).len(), 1);
    script.change_leader();
    script.report(3, |_| ());
    assert_eq!(script.pass(20), NOTHING, "n1 and n2 have not reported");
    script.report(2, accuse);
    script.report(1, |_| ());
    assert_eq!(script.pass(40), NOTHING, "it is as it was");
    script.report(2, |_| ());
    assert_eq!(script.pass(6), ["n3 degraded -> healthy: nothing is held against it"]);
}

#[test]
fn a_short_suspicion_is_nobodys_business_and_a_long_one_of_one_node_degrades() {
    let mut script = Script::of(8);
    script.set(5, State::Suspect, &[]);
    assert_eq!(script.pass(2), NOTHING);
    script.set(5, State::Alive, &[]);
    assert_eq!(script.pass(10), NOTHING);
    script.set(5, State::Suspect, &[]);
    assert_eq!(script.pass(11), ["a5 healthy -> degraded: impaired: silent for n1"]);
}

#[test]
fn who_comes_and_goes_is_held_degraded_and_condemned_all_the_same() {
    let mut script = Script::of(8);
    let mut lines = Vec::new();
    for _ in 0..4 {
        script.set(5, State::Failed, &[1, 2, 3]);
        lines.extend(script.pass(2));
        script.set(5, State::Alive, &[]);
        lines.extend(script.pass(12));
    }
    assert_eq!(lines.iter().filter(|line| line.contains("-> failed")).count(), 4, "{lines:?}");
    assert!(lines.last().unwrap().starts_with("a5 recovering -> degraded: it changes too often"), "{lines:?}");
    assert_eq!(script.pass(60), NOTHING);
}

#[test]
fn who_leaves_is_gone_and_has_not_failed() {
    let mut script = Script::of(8);
    script.set(5, State::Left, &[]);
    assert_eq!(script.pass(10), NOTHING, "it never had a record");
    script.set(6, State::Failed, &[1, 2, 3]);
    script.pass(1);
    script.set(6, State::Left, &[]);
    assert_eq!(script.pass(1), ["a6 gone"]);
}

#[test]
fn a_server_that_was_removed_goes_and_so_does_an_agent_that_nobody_has_seen_for_long() {
    let mut script = Script::of(8);
    script.set(3, State::Failed, &[1, 2, 4]);
    script.set(6, State::Failed, &[1, 2, 4]);
    assert_eq!(script.pass(1).len(), 2);
    script.servers.remove(&NodeId(3));
    assert_eq!(script.pass(1), ["n3 gone"]);
    assert_eq!(script.pass(1), NOTHING, "gossip still shows it dead");
    script.members.retain(|member| member.id != NodeId(6));
    assert_eq!(script.pass(3_590), NOTHING);
    assert_eq!(script.pass(20), ["a6 gone"]);
}

#[test]
fn another_node_of_the_same_name_begins_anew() {
    let mut script = Script::of(5);
    script.set(5, State::Failed, &[1, 2, 3]);
    script.pass(1);
    script.members.push(Seen { id: NodeId(50), born: 9, ..seen(5) });
    assert_eq!(script.pass(1), ["a5 gone"]);
    assert_eq!(script.pass(60), NOTHING);
}

fn service(name: &str, state: HealthState) -> ServiceReport {
    ServiceReport { service: name.into(), state, evidence: vec![] }
}

#[test]
fn services_are_as_their_node_says_and_fail_with_it() {
    let mut script = Script::of(6);
    script.report(5, |report| report.services = vec![service("db", HealthState::Healthy), service("web", HealthState::Failed)]);
    assert_eq!(
        script.pass(1),
        ["a5/db healthy -> healthy: nothing is held against it", "a5/web recovering -> failed: nothing is held against it"]
    );
    assert_eq!(script.pass(60), NOTHING);
    script.set(5, State::Failed, &[1, 2, 3]);
    assert_eq!(
        script.pass(10),
        ["a5 healthy -> failed: found dead: silent for n1, n2, n3", "a5/db healthy -> failed: its node a5 has failed"]
    );
    script.set(5, State::Alive, &[]);
    assert_eq!(script.pass(6), ["a5 failed -> recovering: it answers again"]);
    script.report(5, |report| report.services = vec![service("db", HealthState::Healthy)]);
    assert_eq!(script.pass(1), ["a5/web gone", "a5/db failed -> healthy: nothing is held against it"]);
}

proptest! {
    /// Whatever gossip shows: nobody fails without two observers in standing, and states follow each other as they may.
    #[test]
    fn nobody_fails_on_one_word(steps in prop::collection::vec((2..9u64, 0..4usize, prop::collection::btree_set(1..9u64, 0..4), 1..20u64), 1..40)) {
        let mut script = Script::of(8);
        let mut held: BTreeMap<String, HealthState> = BTreeMap::new();
        for (id, state, witnesses, seconds) in steps {
            let state = [State::Alive, State::Suspect, State::Failed, State::Left][state];
            let witnesses: Vec<u64> = witnesses.into_iter().filter(|witness| *witness != id).collect();
            script.set(id, state, &witnesses);
            for _ in 0..seconds {
                script.ms += 500;
                let world = World {
                    moment: Moment { now: at(script.ms), wall_ms: script.ms },
                    members: &script.members,
                    is_admitted: true,
                    reports: &script.reports,
                    servers: Some(&script.servers),
                    removed: Some(&script.removed),
                };
                for decision in script.judge.turn(&world, at(script.ms + 500)) {
                    match decision {
                        Decision::Changed(ruling) => {
                            let before = held.insert(ruling.name.clone(), ruling.to).unwrap_or(HealthState::Healthy);
                            prop_assert_eq!(before, ruling.from, "{:?}", ruling);
                            let is_other_cause = ruling.from == ruling.to && [HealthState::Degraded, HealthState::Suspect].contains(&ruling.to);
                            prop_assert!(is_other_cause || ruling.from.may_become(ruling.to), "{:?}", ruling);
                            prop_assert!(ruling.to != HealthState::Failed || ruling.observers.len() >= 2, "{:?}", ruling);
                        }
                        Decision::NodeGone(name) => drop(held.remove(&name)),
                        Decision::ServiceGone(..) => {}
                    }
                }
            }
        }
    }
}

/// Of three servers one died before gossip had shown it: the two that are left hold its silence against it, as `unshown` brings it in.
#[test]
fn a_server_that_gossip_never_showed_is_condemned_by_both_that_are_left() {
    let mut script = Script::of(2);
    script.servers.insert(NodeId(3));
    let mut dead = seen(3);
    (dead.state, dead.since) = (State::Failed, at(script.ms));
    script.members.push(dead);
    let silent = || {
        let figures = Figures::Silent { silent_ms: 9_000, interval_ms: 500 };
        let assessments = vec![Assessment::held(Way::Heartbeat, Suspicion::Hard, Duration::from_secs(9), figures)];
        vec![Against { node: NodeId(3), assessments }]
    };
    script.report(1, |report| report.against = silent());
    let lines = script.pass(1);
    assert!(lines.iter().all(|line| !line.contains("failed")), "one of two is not enough: {lines:?}");
    script.report(2, |report| report.against = silent());
    script.report(1, |report| report.against = silent());
    let lines = script.pass(1);
    assert!(lines.len() == 1 && lines[0].contains("-> failed: found dead: silent for n"), "{lines:?}");
}
