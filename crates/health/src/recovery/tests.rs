//! Random histories of failures, returns, crashes, repeats and overlapping planners: what the recovery promises holds after every step.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;
use proptest::prelude::*;
use steadfast_types::wire::Wire;
use steadfast_types::{NodeId, Revision};

use super::observed::{Epoch, Observed, Role, Seen};
use super::plan::{Kind, Plan, PlanError, PlanId, PlanState};
use super::planner::{Change, Decision, Recorded, Records, Withheld, decide};
use super::policy::{Mode, Policy};
use super::step::{Effect, StepName};
use crate::states::HealthState;
use crate::subject::Subject;

const VOTERS: u64 = 5;
const SPARES: u64 = 4;

/// The cluster, its strong state, and what was done to it.
#[derive(Clone)]
struct World {
    observed: Observed,
    records: Records,
    revision: i64,
    policy: Policy,
    /// Which voter was replaced how often.
    replaced: BTreeMap<NodeId, u32>,
    begins: BTreeMap<PlanId, u32>,
}

fn subject(n: u64) -> Subject {
    match n {
        1000.. => Subject::Service { node: NodeId(n % 1000), name: "orders".into() },
        _ => Subject::Node(NodeId(n)),
    }
}

fn policy() -> Policy {
    let mut policy = Policy { attempts: 3, ..Policy::default() };
    for rule in [&mut policy.voters, &mut policy.others, &mut policy.agents, &mut policy.services] {
        rule.delay = Duration::ZERO;
    }
    policy
}

impl World {
    /// Voters 1 to 5, spares 6 to 9, agents 10 to 19, a service on each of agents 10 to 12.
    fn new(policy: Policy) -> World {
        let seen = |role| Seen { role, state: HealthState::Healthy, failed_for: Duration::ZERO, epoch: Epoch(0), cause: "test".into() };
        let role = |n: u64| match n {
            1..=VOTERS => Role::Voter,
            6..=9 => Role::Spare,
            1000.. => Role::Service,
            _ => Role::Agent,
        };
        let numbers = (1..=VOTERS + SPARES + 10).chain(1010..=1012);
        let subjects = numbers.map(|n| (subject(n), seen(role(n)))).collect();
        let (records, replaced, begins) = (Records::default(), BTreeMap::new(), BTreeMap::new());
        World { observed: Observed { subjects }, records, revision: 1, policy, replaced, begins }
    }

    fn set(&mut self, n: u64, state: HealthState) {
        if let Some(seen) = self.observed.subjects.get_mut(&subject(n)) {
            seen.state = state;
        }
    }

    fn next_revision(&mut self) -> Revision {
        self.revision += 1;
        Revision(self.revision)
    }

    /// Writes a decision, if nothing that it rests on has changed: all of it or nothing.
    fn commit(&mut self, decision: Decision) -> bool {
        let unchanged =
            |id: &PlanId, revision: &Revision| self.records.plans.get(id).is_some_and(|recorded| recorded.revision == *revision);
        let holds = decision.changes.iter().all(|change| match change {
            Change::Create(plan) => !self.records.plans.contains_key(&plan.id),
            Change::Update { plan, if_revision } => unchanged(&plan.id, if_revision),
            Change::Delete { id, if_revision } => unchanged(id, if_revision),
        });
        if decision.head != self.records.head || !holds {
            return false;
        }
        let revision = self.next_revision();
        self.records.head = revision;
        for change in decision.changes {
            match change {
                Change::Create(plan) | Change::Update { plan, .. } => {
                    assert_eq!(Plan::from_wire(plan.to_wire().into()), Ok(plan.clone()));
                    self.records.plans.insert(plan.id.clone(), Recorded { plan, revision });
                }
                Change::Delete { id, .. } => {
                    self.records.plans.remove(&id);
                }
            }
        }
        true
    }

    fn plan(&mut self) -> Decision {
        let decision = decide(&self.observed, &self.records, &self.policy);
        assert!(self.commit(decision.clone()), "a decision of what is there is void");
        decision
    }

    /// An executor's write of a record by revision.
    fn write(&mut self, plan: Plan, if_revision: Revision) -> Option<Revision> {
        let recorded = self.records.plans.get(&plan.id).filter(|recorded| recorded.revision == if_revision)?;
        assert!(recorded.plan.is_open(), "a plan that has ended never changes");
        let revision = self.next_revision();
        self.records.plans.insert(plan.id.clone(), Recorded { plan, revision });
        Some(revision)
    }

    fn epoch_of(&mut self, subject: &Subject, epoch: Epoch) {
        if let Some(seen) = self.observed.subjects.get_mut(subject) {
            seen.epoch = seen.epoch.max(epoch);
        }
    }

    fn alive_majority(&self) -> bool {
        let voters = self.observed.voters();
        voters.iter().filter(|voter| self.observed.node(**voter).unwrap().is_alive()).count() > voters.len() / 2
    }

    /// Carries an effect out. Whatever it finds, a second time must do no harm.
    fn carry_out(&mut self, effect: &Effect) -> Result<(), &'static str> {
        let state = |world: &World, subject: &Subject| world.observed.subjects.get(subject).map(|seen| seen.state);
        match effect {
            Effect::ConfirmFailed(subject) => (state(self, subject) == Some(HealthState::Failed)).then_some(()).ok_or("not failed"),
            Effect::RaiseEpoch { subject, epoch } => {
                self.epoch_of(subject, *epoch);
                Ok(())
            }
            Effect::RevokeHeld { .. } | Effect::SaveCheckpoint { .. } => Ok(()),
            Effect::AddLearner(node) => {
                let seen = self.observed.subjects.get_mut(&Subject::Node(*node)).ok_or("no such node")?;
                assert_ne!(seen.role, Role::Agent);
                if seen.role == Role::Spare {
                    seen.role = Role::Learner;
                }
                Ok(())
            }
            Effect::AwaitCaughtUp(node) => self.observed.node(*node).filter(|seen| seen.is_alive()).map(|_| ()).ok_or("silent"),
            Effect::SwapVoters { remove, add } => self.swap(*remove, *add),
            Effect::RemoveNode(node) => match self.observed.node(*node).map(|seen| seen.role) {
                Some(Role::Voter) => Err("it votes"),
                Some(_) | None => {
                    self.observed.subjects.retain(|subject, _| subject.node() != *node);
                    Ok(())
                }
            },
            Effect::StartService { subject, .. } => {
                self.observed.subjects.get_mut(subject).ok_or("no such service")?.state = HealthState::Healthy;
                Ok(())
            }
            Effect::AwaitFit(subject) => self.observed.subjects.get(subject).filter(|seen| seen.is_fit()).map(|_| ()).ok_or("not well"),
            Effect::ConfirmGone(node) => self.observed.node(*node).is_none().then_some(()).ok_or("still there"),
        }
    }

    /// What consensus does with the change: it needs a majority of the old voters and of the new.
    fn swap(&mut self, remove: NodeId, add: NodeId) -> Result<(), &'static str> {
        let voters = self.observed.voters();
        if !voters.contains(&remove) {
            return voters.contains(&add).then_some(()).ok_or("no such voter");
        }
        assert!(self.alive_majority(), "a change of voters without a majority");
        *self.replaced.entry(remove).or_default() += 1;
        self.observed.subjects.get_mut(&Subject::Node(add)).ok_or("no such node")?.role = Role::Voter;
        self.observed.subjects.remove(&Subject::Node(remove));
        assert!(self.alive_majority(), "the planner's own hand took the majority");
        Ok(())
    }

    /// One turn of an executor on an open plan as it read it, which may be long ago; it crashes after `crash` of its three writes and effects.
    fn execute(&mut self, read: &Recorded, crash: u32, repeat: bool) {
        let Ok(begun) = read.plan.clone().begin() else { return };
        let Some(revision) = self.write(begun.clone(), read.revision) else { return };
        let Some(step) = begun.current().cloned() else { return };
        *self.begins.entry(begun.id.clone()).or_default() += 1;
        if crash == 0 {
            return;
        }
        let mut result = if step.precondition.holds(&self.observed) { self.carry_out(&step.effect) } else { Err("precondition") };
        if result.is_ok() && repeat {
            result = self.carry_out(&step.effect);
            assert!(result.is_ok(), "{} fails when repeated: {result:?}", step.effect);
        }
        if crash == 1 {
            return;
        }
        let written = match result {
            Ok(()) => begun.finish(),
            Err(trouble) => begun.fail_attempt(trouble),
        };
        self.write(written.expect("a begun step ends"), revision);
    }

    fn check(&self) {
        let open: Vec<&Plan> = self.records.plans.values().map(|recorded| &recorded.plan).filter(|plan| plan.is_open()).collect();
        let mut parties = BTreeSet::new();
        for plan in &open {
            assert!(parties.insert(plan.id.subject.clone()), "two plans for {}", plan.id.subject);
            if let Kind::ReplaceVoter { spare } = plan.kind {
                assert!(parties.insert(Subject::Node(spare)), "two plans count on {spare}");
            }
        }
        let at_work = open.iter().filter(|plan| !plan.is_waiting());
        assert!(at_work.clone().count() <= self.policy.concurrent, "the brake");
        assert!(at_work.filter(|plan| matches!(plan.kind, Kind::ReplaceVoter { .. })).count() <= 1, "two voters at once");
        assert_eq!(self.observed.voters().len() as u64, VOTERS);
        assert!(self.replaced.values().all(|times| *times == 1), "replaced twice: {:?}", self.replaced);
        let steps = self.records.plans.values().flat_map(|recorded| &recorded.plan.steps);
        assert!(steps.clone().all(|step| step.attempts <= 3), "a step without end");
        for (id, begins) in &self.begins {
            assert!(*begins <= 3 * 8, "{} without end", id.subject);
        }
    }
}

#[derive(Clone, Debug)]
enum Action {
    Fail(u64),
    Return(u64),
    Plan,
    /// A planner looks.
    Look,
    /// The planner that looked writes what it decided then.
    PlanLate,
    /// An executor reads plan `which` of the open ones.
    Read(usize),
    /// The executor that read goes on with what it read.
    ExecuteLate {
        crash: u32,
    },
    Execute {
        which: usize,
        crash: u32,
        repeat: bool,
    },
    Approve(usize),
    Refuse(usize),
}

fn subjects() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..=VOTERS + SPARES, 1 => 10..20u64, 1 => 1010..=1012u64]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let which = 0..4usize;
    let action = prop_oneof![
        2 => subjects().prop_map(Action::Fail),
        2 => subjects().prop_map(Action::Return),
        4 => Just(Action::Plan),
        1 => Just(Action::Look),
        1 => Just(Action::PlanLate),
        1 => which.clone().prop_map(Action::Read),
        1 => (0..3u32).prop_map(|crash| Action::ExecuteLate { crash }),
        12 => (which.clone(), prop_oneof![1 => Just(0), 1 => Just(1), 4 => Just(2)], any::<bool>())
            .prop_map(|(which, crash, repeat)| Action::Execute { which, crash, repeat }),
        1 => which.clone().prop_map(Action::Approve),
        1 => which.prop_map(Action::Refuse),
    ];
    prop::collection::vec(action, 0..250)
}

fn open(world: &World) -> Vec<Recorded> {
    world.records.plans.values().filter(|recorded| recorded.plan.is_open()).cloned().collect()
}

fn act(world: &mut World, action: Action, looked: &mut Option<Decision>, read: &mut Option<Recorded>) {
    let nth = |world: &World, which: usize| {
        let open = open(world);
        open.get(which % open.len().max(1)).cloned()
    };
    let decide_by_hand = |world: &mut World, which, decision: fn(Plan) -> Result<Plan, PlanError>| {
        if let Some(recorded) = nth(world, which)
            && let Ok(plan) = decision(recorded.plan)
        {
            world.write(plan, recorded.revision);
        }
    };
    match action {
        Action::Fail(n) => world.set(n, HealthState::Failed),
        Action::Return(n) => world.set(n, HealthState::Healthy),
        Action::Plan => drop(world.plan()),
        Action::Look => *looked = Some(decide(&world.observed, &world.records, &world.policy)),
        Action::PlanLate => drop(looked.take().map(|decision| world.commit(decision))),
        Action::Read(which) => *read = nth(world, which),
        Action::ExecuteLate { crash } => drop(read.take().map(|read| world.execute(&read, crash, false))),
        Action::Execute { which, crash, repeat } => drop(nth(world, which).map(|recorded| world.execute(&recorded, crash, repeat))),
        Action::Approve(which) => decide_by_hand(world, which, Plan::approve),
        Action::Refuse(which) => decide_by_hand(world, which, |plan| plan.cancel("refused")),
    }
}

/// Without further faults and with a person who agrees to all, everything ends.
fn settle(world: &mut World) {
    for _ in 0..2_000 {
        let before = world.revision;
        let decision = world.plan();
        for recorded in open(world) {
            match recorded.plan.is_waiting() && !recorded.plan.approved {
                true => drop(world.write(recorded.plan.approve().unwrap(), recorded.revision)),
                false => world.execute(&recorded, 2, true),
            }
        }
        world.check();
        if decision.changes.is_empty() && world.revision == before + 1 {
            return;
        }
    }
    panic!("plans without end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn recovery_keeps_its_promises(actions in actions(), waits in any::<bool>(), concurrent in 1..4usize) {
        let mut policy = Policy { concurrent, ..policy() };
        if waits {
            policy.voters.mode = Mode::AfterApproval;
        }
        let mut world = World::new(policy);
        let (mut looked, mut read) = (None, None);
        for action in actions {
            act(&mut world, action, &mut looked, &mut read);
            world.check();
        }
        settle(&mut world);
        // What is left waits, agreed to, for the brake.
        prop_assert!(open(&world).iter().all(|recorded| recorded.plan.is_waiting() && recorded.plan.approved));
        // Whoever is failed in the end is so for a reason that is named.
        let decision = world.plan();
        let failed: BTreeSet<Subject> =
            world.observed.subjects.iter().filter(|(_, seen)| seen.state == HealthState::Failed).map(|(subject, _)| subject.clone()).collect();
        let named: BTreeSet<Subject> = decision.withheld.iter().map(|(subject, _)| subject.clone()).collect();
        prop_assert_eq!(failed, named);
    }

    #[test]
    fn every_failed_voter_is_replaced_if_the_rest_is_well(failed in prop::collection::btree_set(1..=VOTERS, 0..=2)) {
        let mut world = World::new(policy());
        failed.iter().for_each(|n| world.set(*n, HealthState::Failed));
        settle(&mut world);
        let voters = world.observed.voters();
        prop_assert!(voters.iter().all(|voter| world.observed.node(*voter).unwrap().is_fit()));
        prop_assert_eq!(world.replaced.len(), failed.len());
    }
}

/// Carries out the first open plan until `name` is next.
fn run_until(world: &mut World, name: StepName) {
    for _ in 0..100 {
        let recorded = open(world).remove(0);
        if recorded.plan.current().unwrap().name == name {
            return;
        }
        world.execute(&recorded, 2, false);
    }
    panic!("never comes to {name}");
}

#[test]
fn a_plan_whose_subject_is_back_is_cancelled_before_its_fence_and_by_nobody_after_it() {
    let mut world = World::new(policy());
    world.set(2, HealthState::Failed);
    world.plan();
    run_until(&mut world, StepName::Fence);
    let mut fenced = world.clone();

    world.set(2, HealthState::Recovering);
    world.plan();
    assert!(open(&world).is_empty());
    assert_eq!(world.records.plans.values().next().unwrap().plan.state, PlanState::Cancelled);

    run_until(&mut fenced, StepName::Stop);
    assert_eq!(open(&fenced)[0].plan.clone().cancel("a person's word comes too late"), Err(PlanError::Fenced));
    settle(&mut fenced);
    assert!(!fenced.observed.voters().contains(&NodeId(2)));
}

#[test]
fn who_is_back_in_the_middle_of_its_fence_holds_up_nobody() {
    for crash in [0, 1] {
        let mut world = World::new(policy());
        world.set(2, HealthState::Failed);
        world.plan();
        run_until(&mut world, StepName::Fence);
        let begun = open(&world).remove(0);
        world.execute(&begun, crash, false);
        world.set(2, HealthState::Healthy);
        world.set(3, HealthState::Failed);
        world.plan();
        let subjects: Vec<Subject> = open(&world).into_iter().map(|recorded| recorded.plan.id.subject).collect();
        assert_eq!(subjects, [subject(3)], "crash after {crash}");
    }
}

/// Consensus would refuse the exchange for as long as the voter answers.
#[test]
fn a_voter_that_is_back_before_its_place_was_taken_keeps_it() {
    let mut world = World::new(policy());
    world.set(2, HealthState::Failed);
    world.plan();
    run_until(&mut world, StepName::Replace);
    world.set(2, HealthState::Suspect);
    world.plan();
    assert_eq!(open(&world).len(), 1, "it does not answer yet");
    world.set(2, HealthState::Healthy);
    world.plan();
    assert!(open(&world).is_empty());
    let plan = &world.records.plans.values().next().unwrap().plan;
    assert_eq!(plan.end.as_deref(), Some("the voter came back before its place was taken"));
}

#[test]
fn an_executor_that_crashes_each_time_comes_to_an_end() {
    let mut world = World::new(policy());
    world.set(2, HealthState::Failed);
    world.plan();
    for _ in 0..4 {
        world.check();
        let recorded = open(&world).remove(0);
        world.execute(&recorded, 1, false);
    }
    let plan = &world.records.plans.values().next().unwrap().plan;
    assert_eq!((plan.state, plan.end.as_deref()), (PlanState::Failed, Some("identify: given up after 3 attempts")));
}

#[test]
fn a_cancellation_does_not_overtake_a_fence() {
    let mut world = World::new(policy());
    world.set(2, HealthState::Failed);
    world.plan();
    run_until(&mut world, StepName::Fence);
    let executor = open(&world).remove(0);
    world.set(2, HealthState::Healthy);
    let cancels = decide(&world.observed, &world.records, &world.policy);
    assert_eq!(cancels.changes.len(), 1);
    world.set(2, HealthState::Failed);
    world.execute(&executor, 1, false);
    assert!(!world.commit(cancels), "cancelled beside its fence");
}

#[test]
fn another_spare_takes_over_if_the_first_fails() {
    let mut world = World::new(policy());
    world.set(2, HealthState::Failed);
    world.plan();
    run_until(&mut world, StepName::CatchUp);
    let Kind::ReplaceVoter { spare } = open(&world)[0].plan.kind else { panic!("a voter is replaced") };
    world.set(spare.0, HealthState::Failed);
    world.plan();
    let first = world.records.plans.values().next().unwrap();
    assert_eq!((first.plan.state, open(&world).len()), (PlanState::Failed, 2), "the next spare is taken at once, and the first removed");
    settle(&mut world);
    assert!(!world.observed.voters().contains(&NodeId(2)));
    assert!(!world.observed.voters().contains(&spare));
    assert_eq!(world.replaced.len(), 1);
}

#[test]
fn nothing_is_done_where_it_would_do_harm_and_it_is_said_why() {
    let why = |fails: &[u64], n: u64| {
        let mut world = World::new(policy());
        fails.iter().for_each(|n| world.set(*n, HealthState::Failed));
        let decision = world.plan();
        decision.withheld.into_iter().find(|(withheld, _)| *withheld == subject(n)).map(|(_, why)| why)
    };
    assert_eq!(why(&[1, 2, 3], 1), Some(Withheld::NoQuorum));
    assert_eq!(why(&[1, 2], 2), Some(Withheld::OtherVoter));
    assert_eq!(why(&[1, 6, 7, 8, 9], 1), Some(Withheld::MassFailure), "of the servers, however many agents live");
    let mut world = World::new(policy());
    (6..=9).for_each(|n| world.set(n, HealthState::Suspect));
    world.set(1, HealthState::Failed);
    assert_eq!(world.plan().withheld, [(subject(1), Withheld::NoSpare)]);
    assert_eq!(why(&[10, 1010, 11, 12], 1010), Some(Withheld::Brake));
    assert_eq!(why(&(5..=19).collect::<Vec<u64>>(), 5), Some(Withheld::MassFailure));
    assert_eq!(why(&[10, 1010], 1010), Some(Withheld::NodeDown));
    assert_eq!(why(&[2], 2), None);
}

#[test]
fn a_service_whose_plans_fail_is_started_anew_ever_less_often_until_a_person_looks() {
    let delay = Duration::from_secs(5);
    let rule = super::policy::Rule { mode: Mode::Automatic, delay };
    let mut world = World::new(Policy { services: rule, ..policy() });
    world.set(1010, HealthState::Failed);
    for wait in [1, 2, 4].map(|times| delay * times) {
        let after = |world: &mut World, failed_for| {
            world.observed.subjects.get_mut(&subject(1010)).unwrap().failed_for = failed_for;
            world.plan()
        };
        let early = after(&mut world, wait - Duration::from_millis(1));
        assert_eq!(early.withheld, [(subject(1010), Withheld::Delay)]);
        assert_eq!(after(&mut world, wait).changes.len(), 1);
        let begun = open(&world).remove(0);
        let revision = world.write(begun.plan.begin().unwrap(), begun.revision).unwrap();
        let begun = world.records.plans.values().find(|recorded| recorded.plan.is_open()).unwrap().plan.clone();
        world.write(begun.give_up_at("no such unit").unwrap(), revision).unwrap();
    }
    world.observed.subjects.get_mut(&subject(1010)).unwrap().failed_for = Duration::MAX;
    assert_eq!(world.plan().withheld, [(subject(1010), Withheld::NeedsPerson)]);
}

#[test]
fn a_plan_that_waits_is_not_carried_out() {
    let mut world = World::new(Policy { voters: super::policy::Rule { mode: Mode::AfterApproval, delay: Duration::ZERO }, ..policy() });
    world.set(2, HealthState::Failed);
    world.plan();
    run_until(&mut world, StepName::Fence);
    let waiting = open(&world).remove(0);
    assert_eq!(waiting.plan.clone().begin(), Err(PlanError::WaitsForApproval));
    world.write(waiting.plan.approve().unwrap(), waiting.revision);
    assert_eq!(open(&world)[0].plan.clone().begin(), Err(PlanError::WaitsForApproval), "the brake comes after the person");
    settle(&mut world);
    assert_eq!(world.replaced.len(), 1);
}
