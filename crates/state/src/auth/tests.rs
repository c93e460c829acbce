//! Users and roles: many changes at random against the model, and what the state machine makes of them.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;
use steadfast_types::tables::memory::MemoryTables;
use steadfast_types::wire::Wire;
use steadfast_types::{Entry, LeaseId, NodeId, Payload, Revision, Term};

use super::model::Model;
use super::*;
use crate::command::{
    Batch, Command, CommandError, Compare, DeleteRange, Operand, Operation, Origin, Outcome, Proposal, Put, Range, Relation, Txn,
};
use crate::state::tests::{ANSWER, apply_all};
use crate::state::{Applied, State};

type TestState = State<MemoryTables>;

fn open() -> TestState {
    State::open(MemoryTables::default()).unwrap()
}

fn span(key: &'static str, end: &'static str) -> KeySpan {
    KeySpan { key: key.into(), range_end: end.into() }
}

fn put(key: &'static str) -> Put {
    Put { key: key.into(), value: "v".into(), ..Put::default() }
}

fn one(applied: &Applied) -> Result<Outcome, CommandError> {
    assert_eq!(applied.outcomes.len(), 1);
    applied.outcomes[0].1.result.clone()
}

/// What a command of this user comes to; "": of nobody.
fn by(state: &mut TestState, user: &str, command: Command) -> Result<Outcome, CommandError> {
    let command = if user.is_empty() { command } else { Authorized::command(state.auth().caller(user), command) };
    one(&apply_all(state, vec![command], ANSWER))
}

fn root(state: &mut TestState, change: AuthChange) -> Applied {
    let command = Authorized::command(state.auth().caller(ROOT), Command::Auth(change));
    let applied = apply_all(state, vec![command], ANSWER);
    assert_eq!(one(&applied), Ok(Outcome::Done));
    applied
}

fn add(name: &str) -> AuthChange {
    AuthChange::UserAdd { name: name.into(), password: Some("hash".into()) }
}

fn grant_role(name: &str, role: &str) -> AuthChange {
    AuthChange::UserGrantRole { name: name.into(), role: role.into() }
}

fn grant(role: &str, access: Access, keys: KeySpan) -> AuthChange {
    AuthChange::RoleGrantPermission { name: role.into(), permission: Some(Permission { access, keys }) }
}

/// Enabled, with `root`, and `ann` who may read and write [a, c), write [c, e) and read [e, g).
fn enabled() -> TestState {
    let mut state = open();
    for change in [
        add(ROOT),
        grant_role(ROOT, ROOT),
        add("ann"),
        AuthChange::RoleAdd { name: "r".into() },
        grant("r", Access::ReadWrite, span("a", "c")),
        grant("r", Access::Write, span("c", "e")),
        grant("r", Access::Read, span("e", "g")),
        grant_role("ann", "r"),
        AuthChange::Enable,
    ] {
        root(&mut state, change);
    }
    state
}

const NAMES: [&str; 4] = ["", "root", "ann", "bob"];
const KEYS: [&str; 5] = ["\0", "a", "b", "ba", "c"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(String::from)
}

fn some_span() -> impl Strategy<Value = KeySpan> {
    let key = prop::sample::select(vec!["", "\0", "a", "b", "c"]);
    let end = prop::sample::select(vec!["", "\0", "a", "b", "c"]);
    (key, end).prop_map(|(key, end)| span(key, end))
}

fn change() -> impl Strategy<Value = AuthChange> {
    let access = prop::sample::select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    let permission = prop::option::weighted(0.9, (access, some_span()).prop_map(|(access, keys)| Permission { access, keys }));
    prop_oneof![
        2 => Just(AuthChange::Enable),
        1 => Just(AuthChange::Disable),
        4 => (name(), prop::option::weighted(0.8, Just(Bytes::from("hash")))).prop_map(|(name, password)| AuthChange::UserAdd { name, password }),
        1 => name().prop_map(|name| AuthChange::UserDelete { name }),
        1 => name().prop_map(|name| AuthChange::UserChangePassword { name, password: "other".into() }),
        6 => (name(), name()).prop_map(|(name, role)| AuthChange::UserGrantRole { name, role }),
        1 => (name(), name()).prop_map(|(name, role)| AuthChange::UserRevokeRole { name, role }),
        4 => name().prop_map(|name| AuthChange::RoleAdd { name }),
        1 => name().prop_map(|name| AuthChange::RoleDelete { name }),
        6 => (name(), permission).prop_map(|(name, permission)| AuthChange::RoleGrantPermission { name, permission }),
        1 => (name(), some_span()).prop_map(|(name, keys)| AuthChange::RoleRevokePermission { name, keys }),
    ]
}

fn assert_same(state: &TestState, model: &Model) {
    let auth = state.auth();
    assert_eq!((auth.is_enabled(), auth.revision()), (model.enabled, model.revision));
    let users: Vec<_> = auth.users().map(|name| auth.user(name).unwrap().clone()).collect();
    let expected: Vec<_> = model
        .users
        .iter()
        .map(|(name, user)| User {
            name: name.clone(),
            password: user.password.clone().unwrap_or_default(),
            no_password: user.password.is_none(),
            roles: user.roles.iter().cloned().collect(),
        })
        .collect();
    assert_eq!(users, expected);
    assert!(auth.roles().eq(model.roles.keys()));
    for name in auth.roles() {
        let has = &auth.role(name).unwrap().permissions;
        assert!(has.is_sorted_by_key(|permission| permission.keys.key.clone()), "{has:?}");
        let mut has: Vec<_> = has.iter().map(|p| ((p.keys.key.clone(), p.keys.range_end.clone()), p.access)).collect();
        has.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(has.iter().map(|(span, access)| (span, access)).eq(&model.roles[name]));
    }
    for user in NAMES {
        for key in KEYS {
            let asked = KeySpan::single(key.into());
            for caller in [None, Some(Caller { user: user.into(), auth_revision: model.revision })] {
                assert_eq!(auth.permit_read(caller.as_ref(), &asked), model.may(caller.as_ref(), false, key), "{caller:?} {key:?}");
                assert_eq!(auth.permit_write(caller.as_ref(), &asked), model.may(caller.as_ref(), true, key), "{caller:?} {key:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn users_and_roles_are_as_the_model_has_them(changes in prop::collection::vec(change(), 1..60)) {
        let (mut state, mut model) = (open(), Model::new());
        for change in changes {
            let expected = model.change(&change).map(|()| Outcome::Done).map_err(CommandError::Auth);
            // Proposed by a node, so that everything is tried whoever may.
            let applied = apply_as_node(&mut state, Command::Auth(change.clone()));
            prop_assert_eq!(applied, expected, "{:?}", change);
            assert_same(&state, &model);
        }
        let revision = state.auth().revision();
        state.reload().unwrap();
        prop_assert_eq!(state.auth().revision(), revision);
        assert_same(&state, &model);
        assert_eq!(state.reader().auth().revision(), revision);
    }
}

/// The outcome of what a node proposes is nobody's; whether it was refused shows in the state.
fn apply_as_node(state: &mut TestState, command: Command) -> Result<Outcome, CommandError> {
    let mut auth = state.auth().clone();
    let Command::Auth(change) = &command else { unreachable!("only these") };
    let expected = auth.change(change);
    let proposal = Proposal { origin: Origin::default(), command: command.clone() };
    let payload = Payload::Batch(Batch { proposals: vec![proposal] }.to_wire().into());
    let entry = Entry { term: Term(1), index: state.applied().index.next(), payload };
    state.apply(&entry, ANSWER).unwrap();
    expected.map(|_| Outcome::Done).map_err(CommandError::Auth)
}

#[test]
fn nobody_and_everybody_does_what_they_may() {
    let mut state = enabled();
    let denied = Err(CommandError::Auth(AuthError::PermissionDenied));
    assert_eq!(by(&mut state, "", Command::Put(put("a"))), Err(AuthError::UserEmpty.into()));
    assert_eq!(by(&mut state, "ann", Command::Put(put("a"))), Ok(Outcome::Put { prev_kv: None }));
    assert_eq!(by(&mut state, "ann", Command::Put(put("e"))), denied);
    assert_eq!(by(&mut state, "eve", Command::Put(put("a"))), denied);
    assert_eq!(by(&mut state, "root", Command::Put(put("z"))), Ok(Outcome::Put { prev_kv: None }));
    assert_eq!(by(&mut state, "ann", Command::Put(Put { prev_kv: true, ..put("d") })), denied, "what was there may not be read");
    let delete = |keys, prev_kv| Command::DeleteRange(DeleteRange { keys, prev_kv });
    assert_eq!(by(&mut state, "ann", delete(span("b", "e"), false)), Ok(Outcome::Deleted { deleted: 0, prev_kvs: vec![] }));
    assert_eq!(by(&mut state, "ann", delete(span("b", "e"), true)), denied);
    assert_eq!(by(&mut state, "ann", delete(span("b", "f"), false)), denied);
    assert_eq!(by(&mut state, "ann", Command::Auth(AuthChange::Disable)), denied);
    assert_eq!(by(&mut state, "", Command::Auth(AuthChange::Disable)), Err(AuthError::UserEmpty.into()));
    assert_eq!(by(&mut state, "", Command::Compact { revision: Revision(2) }), Ok(Outcome::Done));
    assert_eq!(state.revision(), Revision(3), "what is refused changes nothing");
}

#[test]
fn a_transaction_is_refused_for_what_it_could_do_anywhere() {
    let mut state = enabled();
    let range = |keys| Operation::Range(Range { keys, ..Range::default() });
    let nested = |operation| Operation::Txn(Txn { failure: vec![operation], ..Txn::default() });
    let compare = |keys| Compare { keys, relation: Relation::Equal, operand: Operand::Version(0) };
    let allowed = Txn {
        compare: vec![compare(span("a", "c")), compare(span("e", "g"))],
        success: vec![Operation::Put(put("d")), range(span("f", ""))],
        failure: vec![nested(Operation::Put(Put { prev_kv: true, ..put("b") }))],
    };
    assert!(by(&mut state, "ann", Command::Txn(allowed.clone())).is_ok());
    for refused in [
        Txn { compare: vec![compare(span("d", ""))], ..Txn::default() },
        Txn { success: vec![Operation::Put(put("e"))], ..Txn::default() },
        Txn { failure: vec![Operation::Put(put("e"))], ..Txn::default() },
        Txn { failure: vec![nested(nested(Operation::Put(put("e"))))], ..Txn::default() },
        Txn { success: vec![nested(range(span("d", "")))], ..Txn::default() },
        Txn { success: vec![Operation::Put(Put { prev_kv: true, ..put("d") })], ..Txn::default() },
    ] {
        let both = Txn { success: [allowed.success.clone(), refused.success].concat(), ..refused };
        assert_eq!(by(&mut state, "ann", Command::Txn(both.clone())), Err(AuthError::PermissionDenied.into()), "{both:?}");
        assert!(by(&mut state, "root", Command::Txn(both)).is_ok());
    }
}

#[test]
fn a_lease_is_as_protected_as_its_keys() {
    let mut state = enabled();
    let lease = LeaseId(7);
    assert!(by(&mut state, "", Command::LeaseGrant { id: lease, ttl_s: 60 }).is_ok());
    assert!(by(&mut state, "root", Command::Put(Put { lease, ..put("z") })).is_ok());
    let denied = Err(CommandError::Auth(AuthError::PermissionDenied));
    assert_eq!(by(&mut state, "ann", Command::LeaseRevoke { id: lease }), denied);
    assert_eq!(by(&mut state, "", Command::LeaseRevoke { id: lease }), Err(AuthError::UserEmpty.into()));
    assert_eq!(by(&mut state, "ann", Command::Put(Put { lease, ..put("a") })), denied);
    let inner = Txn { success: vec![Operation::Put(Put { lease, ..put("a") })], ..Txn::default() };
    assert_eq!(by(&mut state, "ann", Command::Txn(inner)), denied);
    // It expires whoever may.
    let proposal = Proposal { origin: Origin::default(), command: Command::LeaseRevoke { id: lease } };
    let payload = Payload::Batch(Batch { proposals: vec![proposal] }.to_wire().into());
    state.apply(&Entry { term: Term(1), index: state.applied().index.next(), payload }, ANSWER).unwrap();
    assert_eq!(state.reader().lease(lease), Ok(None));
}

#[test]
fn a_permission_taken_away_before_in_the_log_holds() {
    let mut state = enabled();
    let caller = state.auth().caller("ann");
    let revoke = Command::Auth(AuthChange::UserRevokeRole { name: "ann".into(), role: "r".into() });
    let commands =
        vec![Authorized::command(state.auth().caller(ROOT), revoke), Authorized::command(caller.clone(), Command::Put(put("a")))];
    let applied = apply_all(&mut state, commands, ANSWER);
    assert_eq!(applied.outcomes[1].1.result, Err(AuthError::OldRevision.into()));
    assert_eq!(by(&mut state, "ann", Command::Put(put("a"))), Err(AuthError::PermissionDenied.into()));
    let nobody = Caller { auth_revision: 0, ..caller };
    let put = Authorized::command(nobody, Command::Put(put("a")));
    assert_eq!(one(&apply_all(&mut state, vec![put], ANSWER)), Err(AuthError::UserEmpty.into()));
}

#[test]
fn tokens_come_and_go_with_what_they_stand_for() {
    let mut state = enabled();
    let token = |auth_revision, user: &str| Command::IssueToken(Token { user: user.into(), digest: "d".into(), auth_revision });
    let revision = state.auth().revision();
    let issued = apply_all(&mut state, vec![token(revision, "ann")], ANSWER);
    assert_eq!(issued.auth, [AuthEvent::TokenIssued { user: "ann".into(), digest: "d".into() }]);
    assert_eq!(by(&mut state, "", token(revision - 1, "ann")), Err(AuthError::OldRevision.into()));
    assert_eq!(by(&mut state, "", token(revision, "eve")), Err(AuthError::Failed.into()));
    let ended = AuthEvent::TokensEnded { user: "ann".into() };
    let password = AuthChange::UserChangePassword { name: "ann".into(), password: "p".into() };
    let mut events_of = |change| {
        let events = root(&mut state, change).auth;
        (events, AuthEvent::RightsChanged { revision: state.revision(), auth: state.reader().auth() })
    };
    let (events, changed) = events_of(password);
    assert_eq!(events, [ended.clone(), changed]);
    let (events, changed) = events_of(AuthChange::UserDelete { name: "ann".into() });
    assert_eq!(events, [ended, changed]);
    let (events, changed) = events_of(AuthChange::Disable);
    assert_eq!(events, [AuthEvent::AllTokensEnded, changed]);
    let revision = state.auth().revision();
    assert_eq!(by(&mut state, "", token(revision, "root")), Err(AuthError::NotEnabled.into()));
    assert_eq!(root(&mut state, AuthChange::Disable).auth, [], "nothing changes twice");
}

#[test]
fn readers_see_other_rights_when_they_change() {
    let mut state = open();
    let reader = state.reader();
    let before = reader.auth();
    assert!(!reader.is_auth_enabled() && !before.is_enabled());
    root(&mut state, add(ROOT));
    root(&mut state, grant_role(ROOT, ROOT));
    let between = reader.auth();
    assert!(!Arc::ptr_eq(&before, &between) && !reader.is_auth_enabled());
    apply_all(&mut state, vec![Command::Put(put("k"))], ANSWER);
    assert!(Arc::ptr_eq(&between, &reader.auth()));
    root(&mut state, AuthChange::Enable);
    assert!(reader.is_auth_enabled() && reader.auth().is_enabled());
    assert_eq!(reader.auth().permit_read(None, &span("a", "")), Err(AuthError::UserEmpty));
    assert_eq!(reader.auth().permit_known(None), Err(AuthError::UserEmpty));
}

#[test]
fn replicas_agree_and_a_change_shows_in_the_hash() {
    let (mut one, mut other) = (enabled(), enabled());
    assert_eq!(one.hash(), other.hash());
    root(&mut one, grant("r", Access::Read, span("x", "")));
    root(&mut other, grant("r", Access::Write, span("x", "")));
    assert_ne!(one.hash(), other.hash());
}

/// The forms on the disk. If this test fails, old data directories can no longer be read.
#[test]
fn stored_forms_are_as_released() {
    let user = User { name: "u".into(), password: "p".into(), no_password: false, roles: vec!["r".to_string()] };
    assert_eq!(user.to_wire(), [1, b'u', 1, b'p', 0, 1, 1, b'r']);
    let role = Role { name: "r".into(), permissions: vec![Permission { access: Access::Write, keys: span("a", "b") }] };
    assert_eq!(role.to_wire(), [1, b'r', 1, 1, 1, b'a', 1, b'b']);
    let signed = Authorized::command(Caller { user: "u".into(), auth_revision: 3 }, Command::Noop);
    assert_eq!(signed.to_wire(), [14, 1, b'u', 3, 0]);
    assert_eq!(Command::from_wire(signed.to_wire().into()), Ok(signed.clone()));
    let twice = Authorized::command(Caller::default(), signed).to_wire();
    assert!(Command::from_wire(twice.into()).is_err());
    assert_eq!(Command::Auth(AuthChange::Enable).to_wire(), [15, 0]);
    assert_eq!(Command::IssueToken(Token { user: "u".into(), digest: "d".into(), auth_revision: 1 }).to_wire(), [16, 1, b'u', 1, b'd', 1]);
    let origin = Origin { node: NodeId(1), incarnation: 2, request: 3 };
    assert_eq!(Proposal { origin, command: Command::Noop }.to_wire().len(), 4, "who says not who it is pays nothing");
}
