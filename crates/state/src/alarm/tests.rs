//! Alarms: many commands at random against the plainest model, on two replicas; and who is condemned.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use steadfast_types::tables::memory::MemoryTables;
use steadfast_types::{Configuration, LeaseId, Level, NodeId, Revision};

use super::*;
use crate::auth::{AuthChange, AuthError, Authorized, ROOT};
use crate::command::{DeleteRange, KeySpan, Member, Put};
use crate::event::Gather;
use crate::state::tests::{ANSWER, apply_all};
use crate::state::{Answer, Applied, State};

type TestState = State<MemoryTables>;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn member(id: NodeId) -> Member {
    Member { id, peer_urls: vec![id.0.to_string()], ..Member::default() }
}

/// Three voters, and node 4 that learns.
fn open() -> TestState {
    let mut state = State::open(MemoryTables::default()).unwrap();
    let configuration = Configuration { learners: [NodeId(4)].into(), ..Configuration::of_voters([ONE, TWO, THREE]) };
    state.bootstrap(configuration, [1, 2, 3, 4].map(|id| member(NodeId(id))).into(), Level::NEWEST);
    state
}

fn corrupt(member: NodeId) -> Alarm {
    Alarm { kind: AlarmKind::Corrupt, member }
}

fn no_space(member: NodeId) -> Alarm {
    Alarm { kind: AlarmKind::NoSpace, member }
}

fn raise(alarm: Alarm) -> Command {
    Command::Alarm(AlarmChange::Raise { alarm, by_hand: false })
}

fn clear(alarm: Alarm, raised_at: Option<LogIndex>) -> Command {
    Command::Alarm(AlarmChange::Clear { alarm, raised_at })
}

fn result(applied: &Applied) -> Result<Outcome, CommandError> {
    applied.outcomes[0].1.result.clone()
}

fn does(state: &mut TestState, command: Command) -> Result<Outcome, CommandError> {
    result(&apply_all(state, vec![command], ANSWER))
}

fn put() -> Command {
    Command::Put(Put { key: "k".into(), value: "v".into(), ..Put::default() })
}

fn delete() -> DeleteRange {
    DeleteRange { keys: KeySpan::single("k".into()), prev_kv: false }
}

fn txn(success: Vec<Operation>, failure: Vec<Operation>) -> Command {
    Command::Txn(Txn { compare: vec![], success, failure })
}

#[test]
fn without_space_what_takes_some_is_refused_and_what_gives_some_back_is_not() {
    let mut state = open();
    assert!(does(&mut state, put()).is_ok());
    assert_eq!(does(&mut state, raise(no_space(TWO))), Ok(Outcome::Alarms(vec![no_space(TWO)])));
    let put_inside = || Operation::Put(Put { key: "x".into(), ..Put::default() });
    let inner = Txn { success: vec![put_inside()], ..Txn::default() };
    let grant = || Command::LeaseGrant { id: LeaseId(7), ttl_s: 60 };
    for refused in [put(), grant(), txn(vec![], vec![put_inside()]), txn(vec![Operation::Txn(inner)], vec![])] {
        assert!(refused.takes_space());
        assert_eq!(does(&mut state, refused), Err(CommandError::NoSpace));
    }
    for done in [txn(vec![Operation::DeleteRange(delete())], vec![]), Command::Compact { revision: state.revision() }, Command::Noop] {
        assert!(!done.takes_space() && does(&mut state, done).is_ok());
    }
    assert_eq!(does(&mut state, clear(no_space(TWO), None)), Ok(Outcome::Alarms(vec![no_space(TWO)])));
    assert!(does(&mut state, grant()).is_ok() && does(&mut state, put()).is_ok());
}

#[test]
fn who_is_corrupt_is_condemned_and_the_others_go_on() {
    let mut state = open();
    for (member, node) in [(TWO, ONE), (ONE, TWO)] {
        let applied = apply_all(&mut state, vec![raise(corrupt(member))], Answer { node, ..ANSWER });
        assert!(applied.alarms == [(corrupt(member), true)] && state.condemned().is_none(), "it is about another");
        assert!(does(&mut state, clear(corrupt(member), None)).is_ok());
    }
    let hash = {
        let mut other = State::open(state.tables().clone()).unwrap();
        apply_all(&mut other, vec![raise(corrupt(ONE)), put()], Answer { node: TWO, ..ANSWER });
        other.hash()
    };
    let applied = apply_all(&mut state, vec![raise(corrupt(ONE)), put()], ANSWER);
    assert_eq!((state.condemned(), state.hash()), (Some(state.applied().index), hash), "the hash is the others'");
    assert!(applied.outcomes[1].1.result.is_ok(), "two voters are well");
    let again = State::open(state.tables().clone()).unwrap();
    assert_eq!((again.condemned(), again.alarms()), (state.condemned(), state.alarms()), "it is remembered");
}

#[test]
fn a_learner_is_condemned_and_counts_for_nothing() {
    let mut state = open();
    let learner = Answer { node: NodeId(4), ..ANSWER };
    apply_all(&mut state, vec![raise(corrupt(NodeId(4))), raise(corrupt(ONE))], learner);
    assert!(state.condemned().is_some() && does(&mut state, put()).is_ok());
}

#[test]
fn without_an_intact_majority_nobody_is_condemned_and_keys_stay_as_they_are() {
    let mut state = open();
    apply_all(&mut state, vec![raise(corrupt(TWO)), raise(corrupt(ONE))], ANSWER);
    assert_eq!(state.condemned(), None);
    let revoke = Command::LeaseRevoke { id: LeaseId(7) };
    let compact = Command::Compact { revision: Revision(1) };
    for refused in [put(), Command::DeleteRange(delete()), txn(vec![], vec![]), compact, revoke] {
        assert_eq!(does(&mut state, refused), Err(CommandError::Corrupt));
    }
    // What is needed to help goes on.
    assert!(does(&mut state, Command::MemberUpdate { id: ONE, peer_urls: vec!["9".into()] }).is_ok());
    assert!(does(&mut state, clear(corrupt(TWO), None)).is_ok());
    assert!(does(&mut state, put()).is_ok());
}

#[test]
fn an_alarm_that_was_raised_again_is_not_cleared_by_who_meant_the_earlier_one() {
    let mut state = open();
    let _ = does(&mut state, raise(no_space(ONE)));
    let first = state.alarms().get(no_space(ONE)).unwrap().at;
    let _ = does(&mut state, clear(no_space(ONE), Some(first)));
    let _ = does(&mut state, raise(no_space(ONE)));
    assert_eq!(does(&mut state, clear(no_space(ONE), Some(first))), Ok(Outcome::Alarms(vec![])));
    assert!(state.alarms().is_any(AlarmKind::NoSpace));
}

#[test]
fn only_root_changes_alarms() {
    let mut state = open();
    let user = |name: &str| AuthChange::UserAdd { name: name.into(), password: Some("hash".into()) };
    for change in [user(ROOT), user("u"), AuthChange::UserGrantRole { name: ROOT.into(), role: ROOT.into() }, AuthChange::Enable] {
        assert!(does(&mut state, Command::Auth(change)).is_ok());
    }
    for (name, expected) in [("u", Err(AuthError::PermissionDenied.into())), (ROOT, Ok(Outcome::Alarms(vec![no_space(ONE)])))] {
        let command = Authorized::command(state.auth().caller(name), raise(no_space(ONE)));
        assert_eq!(does(&mut state, command), expected);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Raise(Alarm, bool),
    Clear(Alarm, Option<u64>),
    Remove(NodeId),
    Add(NodeId),
    Put,
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    let alarm = || {
        let kind = prop_oneof![Just(AlarmKind::NoSpace), Just(AlarmKind::Corrupt)];
        (kind, 1u64..7).prop_map(|(kind, id)| Alarm { kind, member: NodeId(id) })
    };
    prop_oneof![
        4 => (alarm(), any::<bool>()).prop_map(|(alarm, by_hand)| Step::Raise(alarm, by_hand)),
        3 => (alarm(), prop::option::of(1u64..40)).prop_map(|(alarm, at)| Step::Clear(alarm, at)),
        1 => (1u64..7).prop_map(|id| Step::Remove(NodeId(id))),
        1 => (1u64..7).prop_map(|id| Step::Add(NodeId(id))),
        2 => Just(Step::Put),
        1 => Just(Step::Delete),
    ]
}

fn command(step: &Step) -> Command {
    match step {
        Step::Raise(alarm, by_hand) => Command::Alarm(AlarmChange::Raise { alarm: *alarm, by_hand: *by_hand }),
        Step::Clear(alarm, at) => clear(*alarm, at.map(LogIndex)),
        Step::Remove(id) => Command::MemberRemove { id: *id },
        Step::Add(id) => Command::MemberAdd(member(*id)),
        Step::Put => put(),
        Step::Delete => Command::DeleteRange(delete()),
    }
}

proptest! {
    #[test]
    fn alarms_are_as_in_the_model_on_every_replica(steps in prop::collection::vec(step(), 1..60)) {
        let (mut state, mut other) = (open(), open());
        let mut members: BTreeSet<NodeId> = [1, 2, 3, 4].map(NodeId).into();
        let mut model: BTreeMap<Alarm, Raised> = BTreeMap::new();
        for step in &steps {
            let at = state.applied().index.next();
            let got = result(&apply_all(&mut state, vec![command(step)], ANSWER));
            apply_all(&mut other, vec![command(step)], Answer { node: TWO, incarnation: 1, events: Gather::Nothing });
            prop_assert_eq!(state.hash(), other.hash());
            let ill = |id: &&NodeId| model.contains_key(&corrupt(**id));
            let stopped = [ONE, TWO, THREE].iter().filter(ill).count() > 1;
            let short = model.keys().any(|alarm| alarm.kind == AlarmKind::NoSpace);
            match step {
                Step::Raise(alarm, _) if !members.contains(&alarm.member) => prop_assert_eq!(got, Err(CommandError::MemberNotFound)),
                Step::Raise(alarm, by_hand) => {
                    model.entry(*alarm).or_insert(Raised { at, by_hand: *by_hand });
                    prop_assert_eq!(got, Ok(Outcome::Alarms(vec![*alarm])));
                }
                Step::Clear(alarm, raised_at) => {
                    let gone = model.remove_if(alarm, *raised_at);
                    prop_assert_eq!(got, Ok(Outcome::Alarms(if gone { vec![*alarm] } else { vec![] })));
                }
                Step::Remove(id) => {
                    members.remove(id);
                    model.retain(|alarm, _| alarm.member != *id);
                }
                Step::Add(id) => drop(members.insert(*id)),
                Step::Put => prop_assert_eq!(got.err(), if stopped { Some(CommandError::Corrupt) } else if short { Some(CommandError::NoSpace) } else { None }),
                Step::Delete => prop_assert_eq!(got.err(), stopped.then_some(CommandError::Corrupt)),
            }
            let expected: Vec<(Alarm, Raised)> = model.iter().map(|(alarm, raised)| (*alarm, *raised)).collect();
            prop_assert_eq!(state.alarms().all().collect::<Vec<_>>(), expected);
            prop_assert!(model.keys().all(|alarm| members.contains(&alarm.member)));
            prop_assert_eq!(&state.reader().alarms().unwrap(), state.alarms());
        }
        let again = State::open(state.tables().clone()).unwrap();
        prop_assert_eq!(again.alarms(), state.alarms());
    }
}

trait RemoveIf {
    fn remove_if(&mut self, alarm: &Alarm, raised_at: Option<u64>) -> bool;
}

impl RemoveIf for BTreeMap<Alarm, Raised> {
    fn remove_if(&mut self, alarm: &Alarm, raised_at: Option<u64>) -> bool {
        let is_meant = self.get(alarm).is_some_and(|raised| raised_at.is_none_or(|at| LogIndex(at) == raised.at));
        is_meant && self.remove(alarm).is_some()
    }
}

#[test]
fn stored_forms_are_as_released() {
    assert_eq!(key(corrupt(NodeId(258))), vec![2, 0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(Raised { at: LogIndex(300), by_hand: true }.to_wire(), [0xac, 2, 1]);
    assert_eq!(raise(no_space(NodeId(7))).to_wire(), [17, 0, 1, 7, 0]);
    assert_eq!(clear(no_space(NodeId(7)), None).to_wire(), [17, 1, 1, 7, 0]);
}
