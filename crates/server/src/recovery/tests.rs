//! The executor over a store in memory, two of which believe to lead: paused and crashed between any two operations, with answers that get lost. What
//! holds in every history:
//! 1. A plan's steps are done in order, none is skipped, and what is done stays done.
//! 2. A plan that has ended never changes.
//! 3. A voter is replaced at most once, never while it lives, never before its fence, and a majority of the voters lives then.
//! 4. Without further faults every plan ends, and every failed voter is replaced as long as there are spares and a majority.
//! 5. A service is started anew only under an epoch that strong state has, once under each; who is asked is its node, while that lives.
//! 6. An agent is marked as removed only after its fence.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use steadfast_coordination::memory::{Fault, Memory, MemoryWatch};
use steadfast_coordination::{Batch, Coordination, Error, Keys, Lease, Outcome, Page, Read};
use steadfast_health::HealthState;
use steadfast_health::recovery::observed::{Epoch, Observed, Role, Seen};
use steadfast_health::recovery::plan::{Kind, Plan, PlanId, PlanState};
use steadfast_health::recovery::planner::Withheld;
use steadfast_health::recovery::policy::{Mode, Policy};
use steadfast_health::recovery::step::StepState;
use steadfast_health::subject::Subject;
use steadfast_types::time::Duration;
use steadfast_types::{ClusterId, Instant, LeaseId, NodeId, Revision};

use super::concerns::{ConcernKind, concerns};
use super::executor::{Executor, MemberChange, Times, Trouble, World};
use super::ledger::{Book, ChangeError, Ledger, plan_name};
use crate::admin::Metrics;

const VOTERS: u64 = 3;
const SPARES: u64 = 3;

/// Agents have numbers from here on; a service runs on the first, and on the first voter.
const AGENT: u64 = 20;
const AGENTS: u64 = 3;
const SERVICE: &str = "orders";

/// Two executors that take a step from each other without pause use some up.
const ATTEMPTS: u32 = 12;

/// Here a turn may be paused for any time, or crash.
async fn pause() {
    let mut is_paused = false;
    poll_fn(|_| match std::mem::replace(&mut is_paused, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// The store, with a pause before and after each operation.
#[derive(Clone)]
struct Slow(Memory);

impl Coordination for Slow {
    type Watch = MemoryWatch;

    async fn read(&self, read: Read) -> Result<Page, Error> {
        pause().await;
        let page = self.0.read(read).await;
        pause().await;
        page
    }

    async fn commit(&self, batch: Batch) -> Result<Outcome, Error> {
        pause().await;
        let outcome = self.0.commit(batch).await;
        pause().await;
        outcome
    }

    fn watch(&self, keys: Keys, from: Revision) -> MemoryWatch {
        self.0.watch(keys, from)
    }

    async fn grant(&self, ttl_s: i64) -> Result<Lease, Error> {
        self.0.grant(ttl_s).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        self.0.keep_alive(id).await
    }

    async fn remaining(&self, id: LeaseId) -> Result<Lease, Error> {
        self.0.remaining(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        self.0.revoke(id).await
    }
}

/// A service as its node has it.
#[derive(Clone, Debug)]
struct Service {
    state: HealthState,
    /// Under which epochs it was started anew.
    runs: Vec<Epoch>,
    /// Its command fails.
    is_broken: bool,
}

/// The servers: who there is, as what, and how; and who was replaced.
#[derive(Default)]
struct Servers {
    all: BTreeMap<NodeId, (Role, HealthState)>,
    replaced: BTreeSet<NodeId>,
    services: BTreeMap<NodeId, Service>,
    /// Where strong state's epochs are looked up.
    memory: Option<Memory>,
    /// The next changes fail.
    refusals: u32,
}

impl Servers {
    fn is_alive(&self, node: NodeId) -> bool {
        self.all.get(&node).is_some_and(|(_, state)| *state == HealthState::Healthy)
    }

    fn is_voter(&self, node: NodeId) -> bool {
        self.all.get(&node).is_some_and(|(role, _)| *role == Role::Voter)
    }

    fn voters(&self) -> Vec<NodeId> {
        self.all.keys().copied().filter(|node| self.is_voter(*node)).collect()
    }

    fn has_majority(&self) -> bool {
        let voters = self.voters();
        2 * voters.iter().filter(|voter| self.is_alive(**voter)).count() > voters.len()
    }

    fn swap(&mut self, remove: NodeId, add: NodeId) -> Result<(), String> {
        match (self.is_voter(remove), self.is_voter(add)) {
            (false, true) => return Ok(()),
            (false, false) | (true, true) => return Err("no such voter, or no such learner".to_owned()),
            (true, false) => {}
        }
        // As consensus judges it.
        if self.is_alive(remove) || !self.is_alive(add) || !self.has_majority() {
            return Err("the voter answers, or too few do".to_owned());
        }
        assert!(self.epoch(&Subject::Node(remove)) > Epoch(0), "{remove} is replaced before its fence");
        assert!(self.replaced.insert(remove), "{remove} is replaced twice");
        self.all.remove(&remove);
        self.all.insert(add, (Role::Voter, HealthState::Healthy));
        assert!(self.has_majority(), "the majority is lost by the plan's own hand");
        Ok(())
    }

    /// The epoch in strong state.
    fn epoch(&self, subject: &Subject) -> Epoch {
        let memory = self.memory.as_ref().expect("a history has one");
        finish(ledger(memory, 3).read()).unwrap().epochs.get(subject).copied().unwrap_or_default()
    }

    fn restart(&mut self, node: NodeId, service: &str, epoch: Epoch) -> Result<(), Trouble> {
        let subject = Subject::Service { node, name: service.to_owned() };
        assert!(self.epoch(&subject) >= epoch, "{subject} is started anew before its fence");
        if !self.is_alive(node) {
            return Err(Trouble::NotYet("no answer".to_owned()));
        }
        let service = self.services.get_mut(&node).expect("it is declared");
        match service.runs.last() {
            Some(last) if *last > epoch => return Err(Trouble::Never("outdated".to_owned())),
            Some(last) if *last == epoch => {}
            Some(_) | None => {
                service.runs.push(epoch);
                service.state = if service.is_broken { HealthState::Failed } else { HealthState::Healthy };
            }
        }
        if service.is_broken { Err(Trouble::Never("exit status 1".to_owned())) } else { Ok(()) }
    }

    fn change(&mut self, change: MemberChange) -> Result<(), String> {
        if self.refusals > 0 {
            self.refusals -= 1;
            return Err("another change is under way".to_owned());
        }
        let is_there = |node: &NodeId| if self.all.contains_key(node) { Ok(()) } else { Err("no member".to_owned()) };
        match change {
            MemberChange::Learn(node) | MemberChange::CatchUp(node) => is_there(&node),
            MemberChange::Swap { remove, add } => self.swap(remove, add),
            MemberChange::Remove(node) if self.is_voter(node) => Err("it votes".to_owned()),
            MemberChange::Remove(node) => {
                self.all.remove(&node);
                Ok(())
            }
        }
    }
}

#[derive(Clone, Default)]
struct Site(Arc<Mutex<Servers>>);

impl World for Site {
    fn observe(&self, book: &Book, _now: Instant) -> Option<Observed> {
        let servers = self.0.lock().unwrap();
        let seen = |(node, (role, state)): (&NodeId, &(Role, HealthState))| {
            let subject = Subject::Node(*node);
            let epoch = book.epochs.get(&subject).copied().unwrap_or_default();
            (subject, Seen { role: *role, state: *state, failed_for: Duration::ZERO, epoch, cause: format!("n{node} is {state:?}") })
        };
        // As the judge has it: of whom is marked nothing is recorded until it is back.
        let is_there =
            |(node, (_, state)): &(&NodeId, &(Role, HealthState))| !book.removed.contains(node) || *state == HealthState::Healthy;
        let nodes = servers.all.iter().filter(is_there).map(seen);
        let services = servers.services.iter().filter(|(node, _)| servers.all.contains_key(node)).map(|(node, service)| {
            let subject = Subject::Service { node: *node, name: SERVICE.to_owned() };
            let epoch = book.epochs.get(&subject).copied().unwrap_or_default();
            let (role, state) = (Role::Service, service.state);
            (subject, Seen { role, state, failed_for: Duration::ZERO, epoch, cause: format!("{SERVICE} is {state:?}") })
        });
        Some(Observed { subjects: nodes.chain(services).collect() })
    }

    async fn change(&self, change: MemberChange) -> Result<(), String> {
        pause().await;
        let result = self.0.lock().unwrap().change(change);
        pause().await;
        result
    }

    async fn restart(&self, node: NodeId, service: &str, epoch: Epoch) -> Result<(), Trouble> {
        pause().await;
        let result = self.0.lock().unwrap().restart(node, service, epoch);
        pause().await;
        result
    }
}

type Turn = Pin<Box<dyn Future<Output = Executor<Slow, Site>>>>;

/// A site with two executors, each in the middle of a turn.
struct History {
    memory: Memory,
    site: Site,
    policy: Policy,
    now: Instant,
    lives: u64,
    turns: [Turn; 2],
    plans: BTreeMap<PlanId, Plan>,
}

fn policy(mode: Mode) -> Policy {
    let mut policy = Policy { attempts: ATTEMPTS, ..Policy::default() };
    for rule in [&mut policy.voters, &mut policy.others, &mut policy.agents, &mut policy.services] {
        (rule.delay, rule.mode) = (Duration::ZERO, mode);
    }
    policy
}

fn ledger(memory: &Memory, seed: u64) -> Ledger<Slow> {
    Ledger::new(Slow(memory.clone()), ClusterId(7), seed).unwrap()
}

/// Runs what needs nobody else.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

async fn turn(mut executor: Executor<Slow, Site>, now: Instant) -> Executor<Slow, Site> {
    // An error is the store's: the next turn goes on.
    let _ = executor.turn(now).await;
    executor
}

impl History {
    fn new(mode: Mode) -> Self {
        let (memory, site, policy, now) = (Memory::new(), Site::default(), policy(mode), Instant(1_000_000));
        site.0.lock().unwrap().memory = Some(memory.clone());
        for node in 1..=VOTERS + SPARES {
            let role = if node <= VOTERS { Role::Voter } else { Role::Spare };
            site.0.lock().unwrap().all.insert(NodeId(node), (role, HealthState::Healthy));
        }
        for agent in AGENT..AGENT + AGENTS {
            site.0.lock().unwrap().all.insert(NodeId(agent), (Role::Agent, HealthState::Healthy));
        }
        for node in [1, AGENT] {
            let service = Service { state: HealthState::Healthy, runs: Vec::new(), is_broken: false };
            site.0.lock().unwrap().services.insert(NodeId(node), service);
        }
        let mut history = History {
            memory,
            site,
            policy,
            now,
            lives: 0,
            turns: [Box::pin(std::future::pending()), Box::pin(std::future::pending())],
            plans: BTreeMap::new(),
        };
        history.crash(0);
        history.crash(1);
        history
    }

    fn executor(&mut self) -> Executor<Slow, Site> {
        self.lives += 1;
        let times = Times { patience: Duration::from_secs(1), probation: Duration::from_secs(2) };
        Executor::new(ledger(&self.memory, 100 * self.lives), self.site.clone(), (self.policy, times), Metrics::new())
    }

    fn crash(&mut self, which: usize) {
        let executor = self.executor();
        self.turns[which] = Box::pin(turn(executor, self.now));
    }

    /// Lets an executor go on until its next pause.
    fn go_on(&mut self, which: usize) {
        if let Poll::Ready(executor) = self.turns[which].as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            self.now = self.now + Duration::from_millis(300);
            self.turns[which] = Box::pin(turn(executor, self.now));
        }
        self.check();
    }

    fn set(&mut self, node: u64, state: HealthState) {
        let mut servers = self.site.0.lock().unwrap();
        let majority_before = servers.has_majority();
        let Some(before) = servers.all.get_mut(&NodeId(node)).map(|(_, before)| std::mem::replace(before, state)) else { return };
        // Without a majority nothing is ever written.
        if majority_before && !servers.has_majority() {
            servers.all.get_mut(&NodeId(node)).unwrap().1 = before;
        }
    }

    fn set_service(&mut self, node: u64, state: HealthState) {
        self.site.0.lock().unwrap().services.get_mut(&NodeId(node)).unwrap().state = state;
    }

    fn service(&self, node: u64) -> Service {
        self.site.0.lock().unwrap().services[&NodeId(node)].clone()
    }

    fn book(&self) -> Book {
        finish(ledger(&self.memory, 1).read()).unwrap()
    }

    fn check(&mut self) {
        let book = self.book();
        for (id, kept) in &book.plans {
            check_steps(&kept.plan);
            if let Some(before) = self.plans.get(id) {
                check_change(before, &kept.plan);
            }
        }
        let replacing = book.plans.values().filter(|kept| kept.plan.is_open() && !kept.plan.is_waiting());
        assert!(replacing.filter(|kept| matches!(kept.plan.kind, Kind::ReplaceVoter { .. })).count() <= 1, "two voters at once");
        for agent in &book.removed {
            assert!(book.epochs.contains_key(&Subject::Node(*agent)), "{agent} is removed before its fence");
        }
        for service in self.site.0.lock().unwrap().services.values() {
            assert!(service.runs.is_sorted_by(|one, next| one < next), "twice under one epoch: {service:?}");
        }
        assert_eq!(self.site.0.lock().unwrap().voters().len() as u64, VOTERS);
        self.plans = book.plans.into_iter().map(|(id, kept)| (id, kept.plan)).collect();
    }

    fn agree_to_all(&self) {
        let ledger = ledger(&self.memory, 2);
        for (id, kept) in self.book().plans {
            if kept.plan.is_waiting() && !kept.plan.approved {
                let _ = finish(ledger.change(&plan_name(&id), Plan::approve));
            }
        }
    }

    /// One executor alone, without faults, until nothing is left to do.
    fn settle(&mut self) {
        self.site.0.lock().unwrap().refusals = 0;
        let mut executor = self.executor();
        for _ in 0..400 {
            self.agree_to_all();
            self.now = self.now + Duration::from_millis(300);
            let before = self.memory.revision();
            executor = finish(turn(executor, self.now));
            self.check();
            if self.memory.revision() == before && self.plans.values().all(|plan| !plan.is_open() || plan.is_waiting()) {
                return;
            }
        }
        panic!("plans without end: {:?}", self.plans);
    }
}

/// Done steps first, then at most one that has begun, then those that have not.
fn check_steps(plan: &Plan) {
    let done = plan.steps.iter().take_while(|step| step.state == StepState::Done).count();
    assert!(plan.steps.iter().skip(done + 1).all(|step| step.attempts == 0 && step.state != StepState::Done), "a step is skipped: {plan}");
    assert!(plan.steps.iter().all(|step| step.attempts <= ATTEMPTS), "a step without end: {plan}");
    assert_eq!(plan.state == PlanState::Done, done == plan.steps.len(), "{plan}");
}

fn check_change(before: &Plan, after: &Plan) {
    assert!(before.is_open() || before == after, "a plan that has ended changes: {before} {after}");
    let pairs = before.steps.iter().zip(&after.steps);
    assert!(pairs.clone().all(|(before, after)| before.effect == after.effect && before.attempts <= after.attempts), "{before} {after}");
    assert!(
        pairs.clone().all(|(before, after)| before.state != StepState::Done || before == after),
        "what is done is undone: {before} {after}"
    );
}

#[derive(Clone, Debug)]
enum Action {
    /// This executor goes on for so many pauses.
    GoOn(usize, u32),
    Crash(usize),
    Fail(u64),
    Return(u64),
    FailService(u64),
    ReturnService(u64),
    /// Whether its command fails from now on.
    Break(u64, bool),
    Store(Fault),
    Refuse(u32),
    Agree,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let node = prop_oneof![4 => 1..=VOTERS + SPARES, 1 => AGENT..AGENT + AGENTS];
    let with_service = prop_oneof![Just(1), Just(AGENT)];
    let fault = prop_oneof![Just(Fault::Refused), Just(Fault::RequestLost), Just(Fault::AnswerLost), Just(Fault::Delayed)];
    let action = prop_oneof![
        30 => (0..2usize, 1..20u32).prop_map(|(which, pauses)| Action::GoOn(which, pauses)),
        3 => (0..2usize).prop_map(Action::Crash),
        3 => node.clone().prop_map(Action::Fail),
        2 => node.prop_map(Action::Return),
        2 => with_service.clone().prop_map(Action::FailService),
        1 => with_service.clone().prop_map(Action::ReturnService),
        1 => (with_service, any::<bool>()).prop_map(|(node, is_broken)| Action::Break(node, is_broken)),
        3 => fault.prop_map(Action::Store),
        1 => (1..4u32).prop_map(Action::Refuse),
        2 => Just(Action::Agree),
    ];
    prop::collection::vec(action, 0..120)
}

fn act(history: &mut History, action: Action) {
    match action {
        Action::GoOn(which, pauses) => (0..pauses).for_each(|_| history.go_on(which)),
        Action::Crash(which) => history.crash(which),
        Action::Fail(node) => history.set(node, HealthState::Failed),
        Action::Return(node) => history.set(node, HealthState::Healthy),
        Action::FailService(node) => history.set_service(node, HealthState::Failed),
        Action::ReturnService(node) => history.set_service(node, HealthState::Healthy),
        Action::Break(node, is_broken) => history.site.0.lock().unwrap().services.get_mut(&NodeId(node)).unwrap().is_broken = is_broken,
        Action::Store(fault) => history.memory.plan_faults([fault]),
        Action::Refuse(times) => history.site.0.lock().unwrap().refusals += times,
        Action::Agree => history.agree_to_all(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn plans_are_carried_out_in_order_whoever_crashes(actions in actions(), waits in any::<bool>()) {
        let mut history = History::new(if waits { Mode::AfterApproval } else { Mode::Automatic });
        actions.into_iter().for_each(|action| act(&mut history, action));
        history.settle();
        let servers = history.site.0.lock().unwrap();
        prop_assert!(servers.has_majority());
    }

    /// One executor that crashes at one place of its way, and another one that takes over; both may go on from the same place.
    #[test]
    fn a_crash_at_any_place_is_taken_up(pauses in 0..220usize, beside in any::<bool>()) {
        let mut history = History::new(Mode::Automatic);
        history.set(2, HealthState::Failed);
        (0..pauses).for_each(|_| history.go_on(0));
        match beside {
            true => (0..400).for_each(|_| { history.go_on(1); history.go_on(0); }),
            false => history.crash(0),
        }
        history.settle();
        let servers = history.site.0.lock().unwrap();
        prop_assert_eq!(servers.replaced.iter().copied().collect::<Vec<_>>(), [NodeId(2)]);
        prop_assert!(servers.voters().iter().all(|voter| servers.is_alive(*voter)));
        prop_assert!(history.plans.values().any(|plan| plan.state == PlanState::Done));
    }

    #[test]
    fn a_service_is_started_anew_once_and_a_dead_agent_removed_whoever_crashes_where(pauses in 0..260usize, beside in any::<bool>()) {
        let mut history = History::new(Mode::Automatic);
        history.set_service(1, HealthState::Failed);
        history.set(AGENT + 1, HealthState::Failed);
        (0..pauses).for_each(|_| history.go_on(0));
        match beside {
            true => (0..100).for_each(|_| { history.go_on(1); history.go_on(0); }),
            false => history.crash(0),
        }
        history.settle();
        prop_assert_eq!(history.service(1).runs, [Epoch(1)]);
        prop_assert_eq!(history.book().removed, BTreeSet::from([NodeId(AGENT + 1)]));
        prop_assert_eq!(history.plans.values().filter(|plan| plan.state == PlanState::Done).count(), 2, "{:?}", history.plans);
    }
}

/// Why nothing is done, as an executor that has just begun says.
fn executor_said(history: &mut History) -> BTreeMap<Subject, Withheld> {
    let executor = history.executor();
    finish(turn(executor, history.now)).said
}

#[test]
fn a_service_that_falls_again_after_each_restart_ends_with_a_person_and_is_tried_again_on_its_word() {
    let mut history = History::new(Mode::Automatic);
    history.set_service(1, HealthState::Failed);
    let mut executor = history.executor();
    let mut run = |history: &mut History, turns: u32| {
        for _ in 0..turns {
            history.now = history.now + Duration::from_millis(300);
            let runs = history.service(1).runs.len();
            executor = finish(turn(std::mem::replace(&mut executor, history.executor()), history.now));
            let is_well = history.service(1).state == HealthState::Healthy;
            if is_well && runs == history.service(1).runs.len() {
                history.set_service(1, HealthState::Failed);
            }
            history.check();
        }
    };
    run(&mut history, 60);
    assert_eq!(history.service(1).runs, [1, 2, 3].map(Epoch));
    let ends: Vec<&str> = history.plans.values().filter_map(|plan| plan.end.as_deref()).collect();
    assert_eq!(ends, ["verify: it failed again: orders is Failed"; 3]);
    // Nothing more is done, until somebody says so.
    run(&mut history, 20);
    let told: Vec<ConcernKind> =
        concerns(&history.book(), &executor_said(&mut history), &BTreeMap::new()).iter().map(|concern| concern.kind).collect();
    assert_eq!(told, [ConcernKind::Withheld]);
    assert_eq!(history.plans.len(), 3);
    assert!(matches!(finish(ledger(&history.memory, 3).retry("1.orders-9")), Err(ChangeError::NoPlan(_))));
    assert_eq!(finish(ledger(&history.memory, 3).retry("1.orders-2")).unwrap(), 3);
    history.plans.clear();
    run(&mut history, 20);
    assert_eq!(history.service(1).runs[3], Epoch(4), "an epoch is never used again");
}

#[test]
fn a_command_that_fails_fails_its_plan_at_once() {
    let mut history = History::new(Mode::Automatic);
    history.site.0.lock().unwrap().services.get_mut(&NodeId(1)).unwrap().is_broken = true;
    history.set_service(1, HealthState::Failed);
    history.settle();
    assert_eq!(executor_said(&mut history).into_values().collect::<Vec<_>>(), [Withheld::NeedsPerson]);
    let ends: Vec<&str> = history.plans.values().filter_map(|plan| plan.end.as_deref()).collect();
    assert_eq!(ends, ["replace: exit status 1"; 3]);
    assert!(history.plans.values().all(|plan| plan.steps[4].attempts == 1), "{:?}", history.plans);
}

#[test]
fn an_agent_that_is_back_is_an_agent_as_before_whenever_it_comes() {
    for pauses in (0..200).step_by(5) {
        let mut history = History::new(Mode::Automatic);
        history.set(AGENT, HealthState::Failed);
        (0..pauses).for_each(|_| history.go_on(0));
        history.set(AGENT, HealthState::Healthy);
        history.settle();
        let book = history.book();
        let seen = history.site.observe(&book, history.now).expect("it leads");
        assert!(seen.node(NodeId(AGENT)).is_some_and(Seen::is_fit), "after {pauses}");
        // A fence that was begun may be there: such a plan can't be cancelled, and ends.
        let is_given_up = |plan: &Plan| plan.end.as_deref() == Some("the subject came back while it was being fenced");
        assert!(history.plans.values().all(|plan| plan.state != PlanState::Failed || is_given_up(plan)), "{:?}", history.plans);
    }
}

#[test]
fn people_speak_about_plans_by_their_names() {
    let mut history = History::new(Mode::AfterApproval);
    history.set(2, HealthState::Failed);
    (0..200).for_each(|_| history.go_on(0));
    let ledger = ledger(&history.memory, 3);
    assert!(matches!(finish(ledger.change("9-9", Plan::approve)), Err(ChangeError::NoPlan(name)) if name == "9-9"));
    let plan = finish(ledger.change("2-1", |plan| plan.cancel("by a person"))).unwrap();
    assert_eq!(plan.state, PlanState::Cancelled);
    assert!(matches!(finish(ledger.change("2-1", Plan::approve)), Err(ChangeError::Plan(_))));
    assert!(history.site.0.lock().unwrap().replaced.is_empty());
    assert_eq!(history.book().epochs, BTreeMap::new());
}
