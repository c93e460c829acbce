//! Tests of `linearizability`.
use super::*;
use crate::history::{Change, Seen, Span, Transaction, Version};

/// Builds histories, mostly of one key `k`, step by step.
#[derive(Default)]
struct Book(History);

/// The key as it was seen: nothing, or its revision and value.
type Key = Option<(i64, &'static str)>;

impl Book {
    fn changed(self, revision: i64, value: Option<&'static str>) -> Self {
        self.all_changed(revision, &[("k", value)])
    }

    fn all_changed(mut self, revision: i64, changes: &[(&'static str, Option<&'static str>)]) -> Self {
        let change =
            |(key, value): &(&'static str, Option<&'static str>)| Change { key: (*key).into(), value: value.map(Bytes::from), lease: 0 };
        self.0.changes.insert(Revision(revision), Revised { seen: Time(0), changes: changes.iter().map(change).collect() });
        self
    }

    fn unanswered(mut self, invoked: u64, request: Request) -> Self {
        self.0.operations.push(Operation { client: 0, request, invoked: Time(invoked), answer: None });
        self
    }

    /// `seen`: `None`: the answer does not say.
    fn answered(self, times: (u64, u64), request: Request, revision: i64, changed: bool, seen: Option<Key>) -> Self {
        let Request::Transaction(transaction) = &request else { unreachable!("only leases are no transactions") };
        let succeeded = transaction.conditions.is_empty() || changed;
        let seen = vec![seen.map(seen_key)];
        self.told(times, request, Answer::Done { revision: Revision(revision), changed, succeeded, seen })
    }

    fn told(mut self, times: (u64, u64), request: Request, answer: Answer) -> Self {
        self.0.operations.push(Operation { client: 0, request, invoked: Time(times.0), answer: Some((Time(times.1), answer)) });
        self
    }

    fn check_ok(self) -> bool {
        check(&self.0).is_ok()
    }
}

fn seen_key(key: Key) -> Seen {
    key.into_iter().map(|(revision, value)| ("k".into(), Version { revision: Revision(revision), value: value.into() })).collect()
}

fn one(step: Step) -> Request {
    Request::Transaction(Transaction::of(step))
}
fn span() -> Span {
    Span::one("k".into())
}
fn get() -> Request {
    one(Step::Read(span()))
}
fn put(value: &'static str) -> Request {
    one(Step::Put { key: "k".into(), value: value.into(), lease: 0, asks: true })
}
fn delete() -> Request {
    one(Step::Delete(span()))
}
fn compare(expected: i64, value: &'static str) -> Request {
    Request::Transaction(Transaction::compare_and_put("k".into(), Revision(expected), value.into()))
}
fn present(revision: i64, value: &'static str) -> Option<Key> {
    Some(Some((revision, value)))
}
const ABSENT: Option<Key> = Some(None);
const UNKNOWN: Option<Key> = None;

/// `x` at 2, answered at time 10.
fn one_put() -> Book {
    Book::default().changed(2, Some("x")).answered((0, 10), put("x"), 2, true, ABSENT)
}

#[test]
fn reads_see_the_present_value() {
    assert!(one_put().answered((11, 12), get(), 2, false, present(2, "x")).check_ok());
    assert!(one_put().answered((5, 12), get(), 1, false, ABSENT).check_ok(), "concurrent with the put");
    assert!(!one_put().answered((11, 12), get(), 1, false, ABSENT).check_ok(), "stale");
    assert!(!one_put().answered((11, 12), get(), 2, false, present(2, "y")).check_ok(), "never written");
    assert!(!one_put().answered((11, 12), get(), 2, false, ABSENT).check_ok(), "lost");
}

#[test]
fn a_write_follows_what_was_answered_before_it() {
    let two = |invoked, revisions: (i64, i64)| {
        Book::default()
            .changed(revisions.0, Some("x"))
            .changed(revisions.1, Some("y"))
            .answered((0, 10), put("x"), revisions.0, true, UNKNOWN)
            .answered((invoked, 20), put("y"), revisions.1, true, UNKNOWN)
            .check_ok()
    };
    assert!(two(11, (2, 3)));
    assert!(two(9, (3, 2)), "concurrent");
    assert!(!two(11, (3, 2)));
}

#[test]
fn an_unanswered_put_takes_effect_late_or_never_but_once_and_not_before_it_was_sent() {
    assert!(one_put().unanswered(11, put("y")).check_ok());
    assert!(one_put().unanswered(11, put("y")).changed(3, Some("y")).check_ok());
    assert!(!one_put().unanswered(11, put("y")).changed(3, Some("y")).changed(4, Some("y")).check_ok(), "twice");
    let early = one_put().changed(3, Some("y")).answered((11, 12), get(), 3, false, present(3, "y"));
    assert!(!early.unanswered(13, put("y")).check_ok(), "seen before it was sent");
}

#[test]
fn a_change_without_a_request_is_found() {
    assert!(!one_put().changed(3, Some("z")).check_ok());
    assert!(!one_put().changed(3, None).check_ok());
}

#[test]
fn unanswered_deletes_explain_one_change_each() {
    assert!(one_put().changed(3, None).unanswered(11, delete()).check_ok());
    let twice = || one_put().changed(3, None).changed(4, Some("y")).unanswered(0, put("y")).changed(5, None);
    assert!(!twice().unanswered(11, delete()).check_ok());
    assert!(twice().unanswered(11, delete()).unanswered(12, delete()).check_ok());
    let late = twice().answered((20, 21), get(), 5, false, ABSENT);
    assert!(!late.unanswered(11, delete()).unanswered(22, delete()).check_ok(), "the second was sent too late");
}

#[test]
fn a_refused_request_has_no_effect() {
    assert!(!one_put().changed(3, Some("y")).told((11, 12), put("y"), Answer::Refused).check_ok());
}

#[test]
fn comparisons_decide_by_the_state_at_their_revision() {
    let swapped = |expected| one_put().changed(3, Some("y")).answered((11, 12), compare(expected, "y"), 3, true, present(2, "x"));
    assert!(swapped(2).check_ok());
    assert!(!swapped(0).check_ok());
    assert!(one_put().answered((11, 12), compare(0, "y"), 2, false, present(2, "x")).check_ok());
    assert!(!one_put().answered((11, 12), compare(2, "y"), 2, false, present(2, "x")).check_ok(), "it held");
    assert!(one_put().changed(3, Some("y")).unanswered(11, compare(2, "y")).check_ok());
    assert!(!one_put().changed(3, Some("y")).unanswered(11, compare(7, "y")).check_ok());
}

#[test]
fn deletes_say_what_was_there() {
    assert!(one_put().changed(3, None).answered((11, 12), delete(), 3, true, present(2, "x")).check_ok());
    assert!(!one_put().answered((11, 12), delete(), 2, false, UNKNOWN).check_ok(), "something was there");
    assert!(Book::default().answered((11, 12), delete(), 1, false, ABSENT).check_ok());
}

/// Puts `a` and `b`, or reads both.
fn both(expected: i64) -> Request {
    let put = |key: &'static str, value: &'static str| Step::Put { key: key.into(), value: value.into(), lease: 0, asks: true };
    let all = Span { first: "a".into(), end: Some("c".into()) };
    let (then, otherwise) = (vec![put("a", "1"), put("b", "2"), Step::Read(all.clone())], vec![Step::Read(all)]);
    Request::Transaction(Transaction { conditions: vec![("a".into(), Revision(expected))], then, otherwise })
}

#[test]
fn a_transaction_happens_whole() {
    let version = |revision, value: &'static str| Version { revision: Revision(revision), value: value.into() };
    let seen = |revision| Seen::from([("a".into(), version(revision, "1")), ("b".into(), version(revision, "2"))]);
    let done = |read: Seen| Answer::Done { revision: Revision(2), changed: true, succeeded: true, seen: vec![None, None, Some(read)] };
    let whole = || Book::default().all_changed(2, &[("a", Some("1")), ("b", Some("2"))]);
    assert!(whole().told((0, 1), both(0), done(seen(2))).check_ok());
    assert!(!whole().told((0, 1), both(0), done(seen(1))).check_ok(), "it reads its own writes");
    assert!(whole().unanswered(0, both(0)).check_ok());
    assert!(!whole().unanswered(0, both(7)).check_ok(), "its condition does not hold");
    let torn = || Book::default().all_changed(2, &[("a", Some("1"))]);
    assert!(!torn().told((0, 1), both(0), done(seen(2))).check_ok());
    assert!(!torn().unanswered(0, both(0)).check_ok());
    let mixed = whole().all_changed(3, &[("b", Some("x"))]).unanswered(0, both(0));
    assert!(!mixed.unanswered(0, put("x")).check_ok(), "put writes another key");
}

#[test]
fn unanswered_deletes_are_assigned_so_that_all_is_explained() {
    let all = || one(Step::Delete(Span { first: "a".into(), end: Some("z".into()) }));
    let book =
        || Book::default().changed(2, Some("x")).changed(3, None).changed(4, Some("y")).unanswered(0, put("x")).unanswered(0, put("y"));
    // The delete of everything can have made both revisions, the delete of `k` the first alone.
    let late = |book: Book| book.answered((10, 11), get(), 4, false, present(4, "y"));
    assert!(late(book().unanswered(0, all()).unanswered(0, delete()).changed(5, None)).check_ok());
    assert!(!late(book().unanswered(0, all()).changed(5, None)).check_ok());
}

/// Against a search over all orders: random small histories, some of them wrong.
#[test]
fn it_agrees_with_an_exhaustive_search() {
    let mut rng = steadfast_types::Rng::with_seed(5);
    let mut verdicts = [0, 0];
    for _ in 0..3_000 {
        let history = random_history(&mut rng);
        let expected = some_order_is_right(&history);
        assert_eq!(check(&history).is_ok(), expected, "{history:#?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts[0] > 300 && verdicts[1] > 300, "both verdicts are common: {verdicts:?}");
}

/// Up to five requests with effects in a random order that may contradict their times, and sometimes a spoilt answer.
fn random_history(rng: &mut steadfast_types::Rng) -> History {
    const VALUES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut book = Book::default();
    let (mut revision, mut state): (i64, Key) = (1, None);
    let mut clock = 0;
    for value in VALUES.iter().take(rng.usize(1..=5)) {
        clock += rng.u64(0..10);
        // Mostly in the order of effects; sometimes a request claims to be from earlier or later.
        let shift = if rng.u8(0..4) == 0 { rng.u64(0..20) } else { 0 };
        let times = (clock + shift, clock + shift + rng.u64(1..12));
        let request = [get(), put(value), delete(), compare(rng.i64(0..4), value)][rng.usize(0..4)].clone();
        let after = effect(&request, &state_of(state)).map(|written| written.map(|_| *value));
        let mut seen = state;
        if let Some(after) = after {
            revision += 1;
            book = book.changed(revision, after);
            state = after.map(|value| (revision, value));
        }
        if rng.u8(0..12) == 0 {
            seen = None;
        }
        book = match rng.u8(0..5) {
            0 => book.unanswered(times.0, request),
            _ => book.answered(times, request, revision, after.is_some(), Some(seen)),
        };
    }
    book.0
}

/// The key's value in the search: its revision and value.
type State = Option<(Revision, Bytes)>;

fn state_of(key: Key) -> State {
    key.map(|(revision, value)| (Revision(revision), value.into()))
}

/// What a request of one step does to the key: nothing, or its new value.
fn effect(request: &Request, state: &State) -> Option<Option<Bytes>> {
    let Request::Transaction(transaction) = request else { unreachable!("only leases are no transactions") };
    let revision = state.as_ref().map_or(Revision(0), |(revision, _)| *revision);
    if transaction.conditions.iter().any(|(_, expected)| *expected != revision) {
        return None;
    }
    match &transaction.then[0] {
        Step::Read(_) => None,
        Step::Put { value, .. } => Some(Some(value.clone())),
        Step::Delete(_) => state.is_some().then_some(None),
    }
}

/// Tries every order of the requests (and, for those without an answer, leaving them out) that respects real time.
fn some_order_is_right(history: &History) -> bool {
    let numbers: Vec<usize> = (0..history.operations.len()).collect();
    search(history, &numbers, Revision(1), &None)
}

fn search(history: &History, left: &[usize], revision: Revision, state: &State) -> bool {
    let operations = &history.operations;
    let all_done = left.iter().all(|number| operations[*number].answer.is_none());
    let last = history.changes.keys().next_back().copied().unwrap_or(Revision(1));
    if all_done && revision == last {
        return true;
    }
    left.iter().any(|next| {
        let waits = |other: &usize| operations[*other].answer.as_ref().is_some_and(|(at, _)| *at < operations[*next].invoked);
        if left.iter().any(waits) {
            return false;
        }
        let rest: Vec<usize> = left.iter().copied().filter(|number| number != next).collect();
        match step(history, &operations[*next], revision, state) {
            Some((revision, state)) => search(history, &rest, revision, &state),
            None => false,
        }
    })
}

/// The state after `operation`, if its answer and the changes allow it here.
fn step(history: &History, operation: &Operation, revision: Revision, state: &State) -> Option<(Revision, State)> {
    let effect = effect(&operation.request, state);
    let after = match &effect {
        None => (revision, state.clone()),
        Some(value) => {
            let revision = Revision(revision.0 + 1);
            let change = Change { key: "k".into(), value: value.clone(), lease: 0 };
            if history.changes.get(&revision).map(|revised| &revised.changes) != Some(&vec![change]) {
                return None;
            }
            (revision, value.clone().map(|value| (revision, value)))
        }
    };
    let Some((_, Answer::Done { revision: answered, changed, seen, .. })) = &operation.answer else { return Some(after) };
    let was: Seen = state.iter().map(|(revision, value)| ("k".into(), Version { revision: *revision, value: value.clone() })).collect();
    (*answered == after.0 && *changed == effect.is_some() && *seen == [Some(was)]).then_some(after)
}
