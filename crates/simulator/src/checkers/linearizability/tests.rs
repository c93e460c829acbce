//! Tests of `linearizability`.
use super::*;

/// Builds histories of one key `k`, step by step.
#[derive(Default)]
struct Book(History);

impl Book {
    fn changed(mut self, revision: i64, value: Option<&'static str>) -> Self {
        let change = Change { key: "k".into(), value: value.map(Bytes::from) };
        self.0.changes.insert(Revision(revision), vec![change]);
        self
    }

    fn unanswered(mut self, invoked: u64, action: Action) -> Self {
        self.0.operations.push(Operation { client: 0, action, invoked: Time(invoked), answer: None });
        self
    }

    fn answered(mut self, times: (u64, u64), action: Action, revision: i64, changed: bool, seen: Seen) -> Self {
        let answer = Answer::Done { revision: Revision(revision), changed, seen };
        self.0.operations.push(Operation { client: 0, action, invoked: Time(times.0), answer: Some((Time(times.1), answer)) });
        self
    }

    fn check_ok(self) -> bool {
        check(&self.0).is_ok()
    }
}

fn get() -> Action {
    Action::Get { key: "k".into() }
}
fn put(value: &'static str) -> Action {
    Action::Put { key: "k".into(), value: value.into() }
}
fn delete() -> Action {
    Action::Delete { key: "k".into() }
}
fn compare(expected: i64, value: &'static str) -> Action {
    Action::CompareAndPut { key: "k".into(), expected: Revision(expected), value: value.into() }
}
fn present(revision: i64, value: &'static str) -> Seen {
    Seen::Present(Revision(revision), value.into())
}

/// `x` at 2, answered at time 10.
fn one_put() -> Book {
    Book::default().changed(2, Some("x")).answered((0, 10), put("x"), 2, true, Seen::Absent)
}

#[test]
fn reads_see_the_present_value() {
    assert!(one_put().answered((11, 12), get(), 2, false, present(2, "x")).check_ok());
    assert!(one_put().answered((5, 12), get(), 1, false, Seen::Absent).check_ok(), "concurrent with the put");
    assert!(!one_put().answered((11, 12), get(), 1, false, Seen::Absent).check_ok(), "stale");
    assert!(!one_put().answered((11, 12), get(), 2, false, present(2, "y")).check_ok(), "never written");
    assert!(!one_put().answered((11, 12), get(), 2, false, Seen::Absent).check_ok(), "lost");
}

#[test]
fn a_write_follows_what_was_answered_before_it() {
    let two = |invoked, revisions: (i64, i64)| {
        Book::default()
            .changed(revisions.0, Some("x"))
            .changed(revisions.1, Some("y"))
            .answered((0, 10), put("x"), revisions.0, true, Seen::Unknown)
            .answered((invoked, 20), put("y"), revisions.1, true, Seen::Unknown)
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
    let late = twice().answered((20, 21), get(), 5, false, Seen::Absent);
    assert!(!late.unanswered(11, delete()).unanswered(22, delete()).check_ok(), "the second was sent too late");
}

#[test]
fn a_refused_request_has_no_effect() {
    let mut book = one_put().changed(3, Some("y"));
    let answer = Some((Time(12), Answer::Refused));
    book.0.operations.push(Operation { client: 0, action: put("y"), invoked: Time(11), answer });
    assert!(!book.check_ok());
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
    assert!(!one_put().answered((11, 12), delete(), 2, false, Seen::Unknown).check_ok(), "something was there");
    assert!(Book::default().answered((11, 12), delete(), 1, false, Seen::Absent).check_ok());
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
    let (mut revision, mut state) = (1, Seen::Absent);
    let mut clock = 0;
    for value in VALUES.iter().take(rng.usize(1..=5)) {
        clock += rng.u64(0..10);
        // Mostly in the order of effects; sometimes a request claims to be from earlier or later.
        let shift = if rng.u8(0..4) == 0 { rng.u64(0..20) } else { 0 };
        let times = (clock + shift, clock + shift + rng.u64(1..12));
        let action = [get(), put(value), delete(), compare(rng.i64(0..4), value)][rng.usize(0..4)].clone();
        let after = match &action {
            Action::Get { .. } => None,
            Action::Put { .. } => Some(Some(*value)),
            Action::Delete { .. } => (state != Seen::Absent).then_some(None),
            Action::CompareAndPut { expected, .. } => holds(*expected, &state).then_some(Some(*value)),
        };
        let mut seen = state.clone();
        if let Some(after) = after {
            revision += 1;
            book = book.changed(revision, after);
            state = after.map_or(Seen::Absent, |value| present(revision, value));
        }
        if rng.u8(0..12) == 0 {
            seen = Seen::Absent;
        }
        book = match rng.u8(0..5) {
            0 => book.unanswered(times.0, action),
            _ => book.answered(times, action, revision, after.is_some(), seen),
        };
    }
    book.0
}

/// Tries every order of the requests (and, for those without an answer, leaving them out) that respects real time.
fn some_order_is_right(history: &History) -> bool {
    let numbers: Vec<usize> = (0..history.operations.len()).collect();
    search(history, &numbers, Revision(1), &Seen::Absent)
}

fn search(history: &History, left: &[usize], revision: Revision, state: &Seen) -> bool {
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
fn step(history: &History, operation: &Operation, revision: Revision, state: &Seen) -> Option<(Revision, Seen)> {
    let value = match &operation.action {
        Action::Get { .. } => None,
        Action::Put { value, .. } => Some(Some(value)),
        Action::Delete { .. } => (*state != Seen::Absent).then_some(None),
        Action::CompareAndPut { expected, value, .. } => holds(*expected, state).then_some(Some(value)),
    };
    let after = match value {
        None => (revision, state.clone()),
        Some(value) => {
            let revision = Revision(revision.0 + 1);
            let change = Change { key: "k".into(), value: value.cloned() };
            if history.changes.get(&revision) != Some(&vec![change]) {
                return None;
            }
            (revision, value.map_or(Seen::Absent, |value| Seen::Present(revision, value.clone())))
        }
    };
    let Some((_, Answer::Done { revision: answered, changed, seen })) = &operation.answer else { return Some(after) };
    (*answered == after.0 && *changed == value.is_some() && seen == state).then_some(after)
}
