//! Linearizability of a history over all keys together, exactly and in linear time (apart from the sorting).
//!
//! Deciding linearizability is hard in general because the order of concurrent requests must be guessed. Here it needs no guess: the store
//! numbers its states, and every answer names the number of the state it was decided at. So there is one candidate order, and the history
//! is linearizable in the order the store claims if and only if that order is right:
//!
//! 1. *Order*: requests by revision; at one revision the write that made it, then everything decided at it, by time of invocation.
//! 2. *Meaning*: every answer is what the changes up to its revision say: a write stands at its own revision and saw what was there just
//!    before; a read, a failed comparison and a delete of nothing saw what is there at their revision.
//! 3. *Real time*: a request invoked after another was answered comes after it in the order: its revision is no lower, and higher if it is
//!    a write. It suffices to compare with the highest revision answered before the invocation.
//! 4. *Origin*: every change comes from one request, and every request makes at most one change (so a repeated proposal that is applied
//!    twice is found); of a request without an answer nothing is known but that it was invoked, so rule 3 bounds it from below only. A put is
//!    known by its value. Deletes of one key without an answer are alike: each unexplained delete takes one that was invoked early enough;
//!    taking them in order finds an assignment if there is one, because an unanswered request can take effect at any later time.
//!
//! Left out: requests over several keys.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_types::Revision;

use super::Violation;
use crate::history::{Action, Answer, Change, History, Operation, Seen};
use crate::world::Time;

/// Checks a history.
///
/// # Errors
/// It is not linearizable in the order of its revisions.
pub fn check(history: &History) -> Result<(), Violation> {
    let states = States::of(&history.changes)?;
    for operation in &history.operations {
        meaning(operation, &states)?;
    }
    let floors = real_time(&history.operations)?;
    origin(history, &floors, &states)
}

fn violation(message: String) -> Violation {
    Violation::new("linearizability", message)
}

/// Every key's values over the revisions.
struct States<'a>(BTreeMap<&'a Bytes, BTreeMap<Revision, Option<&'a Bytes>>>);

impl<'a> States<'a> {
    fn of(changes: &'a BTreeMap<Revision, Vec<Change>>) -> Result<Self, Violation> {
        let mut states: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (revision, changes) in changes {
            for Change { key, value } in changes {
                if states.entry(key).or_default().insert(*revision, value.as_ref()).is_some() {
                    return Err(violation(format!("revision {revision} writes key {key:?} twice")));
                }
            }
        }
        Ok(States(states))
    }

    fn at(&self, key: &Bytes, revision: Revision) -> Seen {
        match self.0.get(key).and_then(|values| values.range(..=revision).next_back()) {
            Some((revision, Some(value))) => Seen::Present(*revision, (*value).clone()),
            Some((_, None)) | None => Seen::Absent,
        }
    }

    /// The change of `key` at exactly `revision`: none, a delete, or a value.
    fn change(&self, key: &Bytes, revision: Revision) -> Option<Option<&'a Bytes>> {
        self.0.get(key)?.get(&revision).copied()
    }
}

/// Rule 2.
fn meaning(operation: &Operation, states: &States) -> Result<(), Violation> {
    let Some((_, Answer::Done { revision, changed, seen })) = &operation.answer else { return Ok(()) };
    let key = operation.action.key();
    let before = states.at(key, Revision(revision.0 - i64::from(*changed)));
    if *seen != Seen::Unknown && *seen != before {
        return Err(violation(format!("{operation:?} saw {seen:?}, but there was {before:?}")));
    }
    let possible = match &operation.action {
        Action::Get { .. } => !changed,
        Action::Put { value, .. } => *changed && states.change(key, *revision) == Some(Some(value)),
        Action::Delete { .. } if *changed => before != Seen::Absent && states.change(key, *revision) == Some(None),
        Action::Delete { .. } => before == Seen::Absent,
        Action::CompareAndPut { expected, value, .. } => {
            *changed == holds(*expected, &before) && (!changed || states.change(key, *revision) == Some(Some(value)))
        }
    };
    if possible { Ok(()) } else { Err(violation(format!("{operation:?} can't be: before it there was {before:?}"))) }
}

/// Whether the key was last written at `expected`.
fn holds(expected: Revision, state: &Seen) -> bool {
    match state {
        Seen::Present(revision, _) => *revision == expected,
        Seen::Absent => expected == Revision(0),
        Seen::Unknown => false,
    }
}

/// Rule 3 for all that were answered. Gives for each request the highest revision that was answered before it was invoked.
fn real_time(operations: &[Operation]) -> Result<Vec<Revision>, Violation> {
    // At equal times answers come last: two requests that touch in time may be in either order.
    let mut moments: Vec<(Time, bool, usize)> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        moments.push((operation.invoked, false, number));
        if let Some((answered, Answer::Done { .. })) = operation.answer {
            moments.push((answered, true, number));
        }
    }
    moments.sort_unstable();
    let mut highest = Revision(0);
    let mut floors = vec![Revision(0); operations.len()];
    for (_, is_answer, number) in moments {
        match &operations[number].answer {
            Some((_, Answer::Done { revision, changed, .. })) if is_answer => {
                let floor = floors[number];
                if *revision < floor || (*changed && *revision == floor) {
                    let message = format!("{:?} was invoked after revision {floor} had been answered", operations[number]);
                    return Err(violation(message));
                }
                highest = highest.max(*revision);
            }
            _ => floors[number] = highest,
        }
    }
    Ok(floors)
}

/// Rule 4.
fn origin(history: &History, floors: &[Revision], states: &States) -> Result<(), Violation> {
    let mut writers: BTreeMap<&Bytes, usize> = BTreeMap::new();
    let mut unanswered_deletes: BTreeMap<&Bytes, Vec<Revision>> = BTreeMap::new();
    let mut answered_deletes: BTreeSet<(&Bytes, Revision)> = BTreeSet::new();
    for (number, operation) in history.operations.iter().enumerate() {
        match (&operation.action, &operation.answer) {
            (Action::Get { .. }, _) => {}
            (Action::Put { value, .. } | Action::CompareAndPut { value, .. }, _) => {
                assert!(writers.insert(value, number).is_none(), "the history's values are unique");
            }
            (Action::Delete { key }, None) => unanswered_deletes.entry(key).or_default().push(floors[number]),
            (Action::Delete { key }, Some((_, Answer::Done { revision, changed: true, .. }))) => {
                if !answered_deletes.insert((key, *revision)) {
                    return Err(violation(format!("two deletes of {key:?} were answered with revision {revision}")));
                }
            }
            (Action::Delete { .. }, Some(_)) => {}
        }
    }
    for unanswered in unanswered_deletes.values_mut() {
        unanswered.sort_unstable_by(|a, b| b.cmp(a));
    }
    for (revision, changes) in &history.changes {
        for change in changes {
            let explained = match &change.value {
                Some(value) => writers
                    .remove(value)
                    .is_some_and(|number| wrote(&history.operations[number], floors[number], *revision, change, states)),
                None if answered_deletes.contains(&(&change.key, *revision)) => true,
                // The earliest-invoked first: it is the last of the descending list.
                None => unanswered_deletes.get_mut(&change.key).and_then(|floors| floors.pop_if(|floor| *floor < *revision)).is_some(),
            };
            if !explained {
                return Err(violation(format!("no request explains {change:?} at revision {revision}")));
            }
        }
    }
    Ok(())
}

/// Whether `operation` can have made `change` at `revision`.
fn wrote(operation: &Operation, floor: Revision, revision: Revision, change: &Change, states: &States) -> bool {
    if *operation.action.key() != change.key {
        return false;
    }
    match (&operation.answer, &operation.action) {
        (Some((_, Answer::Refused)), _) => false,
        (Some((_, Answer::Done { revision: answered, changed, .. })), _) => *changed && *answered == revision,
        (None, Action::CompareAndPut { expected, .. }) => {
            floor < revision && holds(*expected, &states.at(&change.key, Revision(revision.0 - 1)))
        }
        (None, _) => floor < revision,
    }
}

#[cfg(test)]
mod tests;
