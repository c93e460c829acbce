//! Linearizability of a history over all keys together, whole transactions included, exactly and nearly in linear time.
//!
//! Deciding linearizability is hard in general because the order of concurrent requests must be guessed. Here it needs no guess: the store
//! numbers its states, and every answer names the number of the state it was decided at. So there is one candidate order, and the history
//! is linearizable in the order the store claims if and only if that order is right:
//!
//! 1. *Order*: requests by revision; at one revision the write that made it, then everything decided at it, by time of invocation.
//! 2. *Meaning*: every answer is what the changes up to its revision say: a request that changed something stands at its own revision, made all
//!    of its changes and no other, and saw what was there just before; any other request saw what is there at its revision.
//! 3. *Real time*: a request invoked after another was answered comes after it in the order: its revision is no lower, and higher if it
//!    changed something. It suffices to compare with the highest revision answered before the invocation.
//! 4. *Origin*: every revision comes from one request, and every request makes at most one (so a repeated proposal that is applied twice is
//!    found); of a request without an answer nothing is known but that it was invoked, so rule 3 bounds it from below only. A write is known by
//!    its value. Deletes without an answer may be alike: each unexplained revision takes one that can have made it, if such an assignment
//!    exists (a bipartite matching). A revision that deletes just the keys of a lease may be its end; [`super::leases`] judges those.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_types::Revision;

use crate::Violation;
use crate::history::{Answer, History, Operation, Request, Revised, Step};
use crate::store::Store;
use crate::time::Time;

/// Checks a history.
///
/// # Errors
/// It is not linearizable in the order of its revisions.
pub fn check(history: &History) -> Result<(), Violation> {
    let store = Store::new(&history.changes)?;
    for operation in &history.operations {
        meaning(operation, &store)?;
    }
    let floors = real_time(&history.operations)?;
    Origins { history, floors: &floors, store: &store }.check()
}

fn violation(message: String) -> Violation {
    Violation::new("linearizability", message)
}

/// Rule 2.
fn meaning(operation: &Operation, store: &Store) -> Result<(), Violation> {
    match (&operation.request, &operation.answer) {
        (Request::Transaction(transaction), Some((_, Answer::Done { revision, changed, succeeded, seen }))) => {
            let effects = store.evaluate(transaction, Revision(revision.0 - i64::from(*changed)), *revision);
            let saw = seen.iter().zip(&effects.seen).all(|(seen, is)| seen.as_ref().is_none_or(|seen| seen == is));
            let is_whole = seen.len() == effects.seen.len() && *changed != effects.changes.is_empty();
            if *succeeded != effects.succeeded || !is_whole || !saw {
                return Err(violation(format!("{operation:?} can't be: it would have given {effects:?}")));
            }
            let made = store.changes_at(*revision);
            if *changed && made != effects.changes {
                return Err(violation(format!("{operation:?} was answered, and revision {revision} is {made:?}")));
            }
            Ok(())
        }
        (Request::Revoke { lease }, Some((_, Answer::Revoked { revision }))) => match store.attached(*lease, *revision) {
            left if left.is_empty() => Ok(()),
            left => Err(violation(format!("{operation:?} left {left:?}"))),
        },
        _ => Ok(()),
    }
}

/// The revision that an answer names, and whether it is the request's own.
fn decided_at(answer: &Answer) -> Option<(Revision, bool)> {
    match answer {
        Answer::Done { revision, changed, .. } => Some((*revision, *changed)),
        Answer::Revoked { revision } | Answer::Accepted { revision } => Some((*revision, false)),
        Answer::Refused | Answer::LeaseNotFound | Answer::Alive(_) | Answer::Token { .. } => None,
    }
}

/// Rule 3 for all that were answered. Gives for each request the highest revision that was answered before it was invoked.
fn real_time(operations: &[Operation]) -> Result<Vec<Revision>, Violation> {
    // At equal times answers come last: two requests that touch in time may be in either order.
    let mut moments: Vec<(Time, bool, usize)> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        moments.push((operation.invoked, false, number));
        if let Some((answered, answer)) = &operation.answer
            && decided_at(answer).is_some()
        {
            moments.push((*answered, true, number));
        }
    }
    moments.sort_unstable();
    let mut highest = Revision(0);
    let mut floors = vec![Revision(0); operations.len()];
    for (_, is_answer, number) in moments {
        match operations[number].answer.as_ref().and_then(|(_, answer)| decided_at(answer)) {
            Some((revision, changed)) if is_answer => {
                let floor = floors[number];
                if revision < floor || (changed && revision == floor) {
                    let message = format!("{:?} was invoked after revision {floor} had been answered", operations[number]);
                    return Err(violation(message));
                }
                highest = highest.max(revision);
            }
            _ => floors[number] = highest,
        }
    }
    Ok(floors)
}

/// Rule 4.
struct Origins<'a> {
    history: &'a History,
    floors: &'a [Revision],
    store: &'a Store<'a>,
}

impl Origins<'_> {
    fn check(&self) -> Result<(), Violation> {
        let operations = &self.history.operations;
        let (writers, answered) = (self.writers(), self.answered()?);
        let mut makers = BTreeSet::new();
        let mut open = Vec::new();
        for (revision, revised) in &self.history.changes {
            let by_value = revised.changes.iter().find_map(|change| change.value.as_ref());
            let maker = match by_value {
                Some(value) => writers.get(value).filter(|number| self.can_have_made(**number, *revision)).copied(),
                None => answered.get(revision).copied(),
            };
            match maker {
                Some(number) if makers.insert(number) => {}
                None if by_value.is_none() => {
                    if !self.is_end_of_lease(*revision, revised) {
                        open.push(*revision);
                    }
                }
                _ => return Err(violation(format!("no request explains revision {revision}: {:?}", revised.changes))),
            }
        }
        let deletes = |operation: &Operation| match &operation.request {
            Request::Transaction(transaction) => transaction.steps().any(|step| matches!(step, Step::Delete(_))),
            Request::Grant { .. } | Request::KeepAlive { .. } | Request::Revoke { .. } | Request::Administer(_) | Request::Authenticate => {
                false
            }
        };
        let free = (0..operations.len())
            .filter(|number| operations[*number].answer.is_none() && !makers.contains(number) && deletes(&operations[*number]));
        let free: Vec<usize> = free.collect();
        self.assign(&open, &free)
    }

    /// The requests by the values they write.
    fn writers(&self) -> BTreeMap<&Bytes, usize> {
        let mut writers = BTreeMap::new();
        for (number, operation) in self.history.operations.iter().enumerate() {
            let Request::Transaction(transaction) = &operation.request else { continue };
            for step in transaction.steps() {
                if let Step::Put { value, .. } = step {
                    assert!(writers.insert(value, number).is_none(), "the history's values are unique");
                }
            }
        }
        writers
    }

    /// The answered requests by the revisions they made.
    fn answered(&self) -> Result<BTreeMap<Revision, usize>, Violation> {
        let mut answered = BTreeMap::new();
        for (number, operation) in self.history.operations.iter().enumerate() {
            if let Some((_, Answer::Done { revision, changed: true, .. })) = operation.answer
                && answered.insert(revision, number).is_some()
            {
                return Err(violation(format!("two requests were answered with revision {revision} as theirs")));
            }
        }
        Ok(answered)
    }

    /// Whether this request can have made this revision, and nothing else.
    fn can_have_made(&self, number: usize, revision: Revision) -> bool {
        let operation = &self.history.operations[number];
        match &operation.answer {
            // That it is what the answer says, `meaning` has seen.
            Some((_, Answer::Done { revision: answered, changed, .. })) => *changed && *answered == revision,
            Some(_) => false,
            None => match &operation.request {
                Request::Transaction(transaction) if self.floors[number] < revision => {
                    let effects = self.store.evaluate(transaction, Revision(revision.0 - 1), revision);
                    effects.changes == self.store.changes_at(revision)
                }
                _ => false,
            },
        }
    }

    fn is_end_of_lease(&self, revision: Revision, revised: &Revised) -> bool {
        let before = Revision(revision.0 - 1);
        let deleted: BTreeSet<&Bytes> = revised.changes.iter().map(|change| &change.key).collect();
        let owner = revised.changes.first().and_then(|change| self.store.owner(&change.key, before));
        owner.is_some_and(|lease| lease != 0 && self.store.attached(lease, before) == deleted)
    }

    /// Gives each open revision a request of its own that can have made it (Kuhn's algorithm).
    fn assign(&self, open: &[Revision], free: &[usize]) -> Result<(), Violation> {
        let mut makers: BTreeMap<usize, Revision> = BTreeMap::new();
        for revision in open {
            if !self.find_maker(*revision, free, &mut makers, &mut BTreeSet::new()) {
                let changes = &self.history.changes[revision].changes;
                return Err(violation(format!("no request explains revision {revision}: {changes:?}")));
            }
        }
        Ok(())
    }

    fn find_maker(&self, revision: Revision, free: &[usize], makers: &mut BTreeMap<usize, Revision>, tried: &mut BTreeSet<usize>) -> bool {
        for number in free {
            if self.can_have_made(*number, revision) && tried.insert(*number) {
                let other = makers.get(number).copied();
                if other.is_none_or(|other| self.find_maker(other, free, makers, tried)) {
                    makers.insert(*number, revision);
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
