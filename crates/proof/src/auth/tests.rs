//! Small histories, right and wrong.

use super::*;
use crate::history::{Change as KeyChange, Revised};

/// `ann` may write and read `k` from 10 on, until 20, when the store is at revision 3; requests are checked from 5 on.
fn eras() -> Vec<Era> {
    let (user, role, keys) = ("ann".to_owned(), "r".to_owned(), Span::one("k".into()));
    let begin = [
        Change::AddUser(ROOT.into()),
        Change::GrantRole { user: ROOT.into(), role: ROOT.into() },
        Change::AddUser(user.clone()),
        Change::AddRole(role.clone()),
        Change::GrantRole { user, role: role.clone() },
    ];
    let rights = begin.iter().fold(Rights::default(), |rights, change| rights.after(change).unwrap());
    let mut eras = vec![Era { rights, revision: Revision(1), began: (Time(0), Time(0)) }];
    let grant = Change::Grant { role: role.clone(), keys: keys.clone(), access: Access { read: true, write: true } };
    for (at, revision, change) in [(5, 1, Change::Enable), (10, 1, grant), (20, 3, Change::Revoke { role, keys })] {
        let rights = eras[eras.len() - 1].rights.after(&change).unwrap();
        eras.push(Era { rights, revision: Revision(revision), began: (Time(at), Time(at)) });
    }
    eras
}

fn asked(request: Request, invoked: u64, answer: Option<(u64, Answer)>) -> Operation {
    Operation { client: 0, request, invoked: Time(invoked), answer: answer.map(|(at, answer)| (Time(at), answer)) }
}

/// What root asked to make those.
fn administration() -> Vec<Operation> {
    let keys = Span::one("k".into());
    let changes = [
        (4, 6, 1, Change::Enable),
        (9, 11, 1, Change::Grant { role: "r".into(), keys: keys.clone(), access: Access { read: true, write: true } }),
        (19, 21, 3, Change::Revoke { role: "r".into(), keys }),
    ];
    let asked = |(invoked, answered, revision, change)| {
        asked(Request::Administer(change), invoked, Some((answered, Answer::Accepted { revision: Revision(revision) })))
    };
    changes.into_iter().map(asked).collect()
}

fn judged(caller: Caller, request: Request, invoked: u64, answer: Option<(u64, Answer)>, denied: Option<Denial>) -> Result<(), Violation> {
    let change = |revision: i64, key: &'static str| {
        let changes = vec![KeyChange { key: key.into(), value: Some(format!("{revision}").into()), lease: 7 }];
        (Revision(revision), Revised { seen: Time(0), changes })
    };
    let mut operations = administration();
    operations.push(asked(request, invoked, answer));
    let history = History { operations, changes: [change(2, "other"), change(3, "k"), change(4, "k")].into() };
    check(&history, &[Attempt { operation: 3, caller, denied }], &eras())
}

fn ann() -> Caller {
    Caller::Named("ann".into())
}

fn token(revision: u64) -> Caller {
    Caller::Token { user: "ann".into(), revision }
}

fn put(key: &'static str, lease: i64) -> Request {
    Request::Transaction(Transaction::of(Step::Put { key: key.into(), value: "v".into(), lease, asks: true }))
}

fn read() -> Request {
    Request::Transaction(Transaction::of(Step::Read(Span::one("k".into()))))
}

fn done(at: u64, revision: i64, changed: bool) -> Option<(u64, Answer)> {
    Some((at, Answer::Done { revision: Revision(revision), changed, succeeded: true, seen: vec![None] }))
}

fn refused(at: u64) -> Option<(u64, Answer)> {
    Some((at, Answer::Refused))
}

#[test]
fn what_was_done_must_have_been_allowed_at_its_revision() {
    judged(ann(), put("k", 0), 12, done(30, 3, true), None).unwrap();
    judged(ann(), put("k", 0), 12, done(30, 4, true), None).expect_err("the right was gone at 4");
    judged(ann(), put("other", 0), 12, done(30, 2, true), None).expect_err("another key");
    judged(ann(), put("other", 0), 1, done(30, 2, true), None).expect_err("at 2 it was enabled, however early she asked");
    judged(Caller::Nobody, put("k", 0), 12, done(30, 3, true), None).expect_err("nobody may");
    judged(Caller::Named(ROOT.into()), put("other", 0), 12, done(30, 4, true), None).unwrap();
    judged(ann(), put("k", 7), 12, done(30, 3, true), None).expect_err("the lease has another key");
}

#[test]
fn what_was_read_must_have_been_allowed_between_call_and_answer() {
    judged(ann(), read(), 12, done(18, 2, false), None).unwrap();
    judged(ann(), read(), 18, done(25, 3, false), None).unwrap();
    judged(ann(), read(), 21, done(25, 3, false), None).expect_err("it was over");
    judged(ann(), read(), 18, done(25, 4, false), None).expect_err("at 4 it was over");
    judged(Caller::Nobody, read(), 1, done(4, 1, false), None).unwrap();
    judged(Caller::Nobody, read(), 6, done(9, 1, false), None).expect_err("nobody may");
}

#[test]
fn a_refusal_must_fit_a_state_between_call_and_answer() {
    let denied = Some(Denial::PermissionDenied);
    judged(ann(), put("k", 0), 12, refused(18), denied).expect_err("it was allowed all the time");
    judged(ann(), put("k", 0), 12, refused(20), denied).unwrap();
    judged(ann(), put("k", 0), 8, refused(18), denied).unwrap();
    judged(ann(), put("k", 0), 1, refused(4), denied).expect_err("nothing was checked");
    judged(ann(), put("k", 7), 12, refused(18), denied).unwrap();
    judged(ann(), put("k", 0), 8, refused(18), Some(Denial::Nobody)).expect_err("it was known who asks");
    judged(Caller::Nobody, put("k", 0), 8, refused(18), Some(Denial::Nobody)).unwrap();
    judged(Caller::Nobody, Request::KeepAlive { lease: 7 }, 8, refused(18), Some(Denial::Nobody)).expect_err("anybody may");
    judged(Caller::Nobody, Request::Administer(Change::Disable), 8, done(9, 1, false), None).expect_err("root may");
}

#[test]
fn a_token_is_good_for_its_auth_revision() {
    judged(token(6), put("k", 0), 12, done(18, 3, true), None).unwrap();
    judged(token(5), put("k", 0), 12, done(18, 3, true), None).expect_err("of before the grant");
    judged(token(5), put("k", 0), 12, refused(18), Some(Denial::OldRevision)).unwrap();
    judged(token(6), put("k", 0), 12, refused(18), Some(Denial::OldRevision)).expect_err("it is new");
    judged(token(5), put("k", 0), 12, refused(18), Some(Denial::PermissionDenied)).expect_err("it is old");
    let given = |revision| Some((18, Answer::Token { revision }));
    judged(ann(), Request::Authenticate, 12, given(6), None).unwrap();
    judged(ann(), Request::Authenticate, 12, given(5), None).expect_err("an old one");
    judged(Caller::Named("eve".into()), Request::Authenticate, 12, given(6), None).expect_err("there is no such user");
    judged(ann(), Request::Authenticate, 2, refused(4), Some(Denial::NotEnabled)).unwrap();
    judged(ann(), Request::Authenticate, 12, refused(18), Some(Denial::NotEnabled)).expect_err("it is enabled");
    judged(ann(), Request::Authenticate, 12, refused(18), Some(Denial::NoUser)).expect_err("she is there");
}

#[test]
fn every_state_comes_from_a_request_and_every_request_makes_one() {
    let judge = |operations| check(&History { operations, ..History::default() }, &[], &eras());
    judge(administration()).unwrap();
    let without = |at| [&administration()[..at], &administration()[at + 1..]].concat();
    judge(without(1)).expect_err("nobody asked for it");
    let mut unanswered = administration();
    unanswered[1].answer = None;
    judge(unanswered.clone()).unwrap();
    unanswered[1].answer = Some((Time(11), Answer::Refused));
    judge(unanswered).expect_err("it was refused");
    let mut late = administration();
    late[1].invoked = Time(11);
    judge(late).expect_err("before it was asked for");
    let lost = Request::Administer(Change::AddUser("eve".into()));
    let accepted = Some((8, Answer::Accepted { revision: Revision(1) }));
    let with = |operation| [&administration()[..], &[operation]].concat();
    judge(with(asked(lost.clone(), 7, accepted.clone()))).expect_err("answered, and not there");
    judge(with(asked(lost, 7, None))).unwrap();
    judge(with(asked(Request::Administer(Change::Enable), 7, accepted))).unwrap();
}
