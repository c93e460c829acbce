//! Leases live at least as long as they promise, across leader changes too, and end within a bound once nobody keeps them alive.
//!
//! 1. *No early end*: a lease whose grant or renewal was answered lives at least its time to live from the moment that the request was sent
//!    (it took effect then or later). If its keys vanish, or an answer says that it does not exist, earlier than that and without a revocation, it
//!    was ended too early.
//! 2. *An end*: what is left of it after its time and a stated grace must be nothing.
//! 3. A write under a lease is refused or the lease exists; keys of an ended lease do not come back, which
//!    [`super::linearizability`] and the writes' answers show.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_types::Revision;
use steadfast_types::time::Duration;

use crate::Violation;
use crate::history::{Answer, History, Lease, Operation, Request, Revised, Span, Step};
use crate::store::Store;
use crate::time::Time;

/// What is known of one lease.
#[derive(Debug, Default)]
struct Life {
    /// For each answered grant and renewal: when it was sent, when it was answered, and for how long.
    renewals: Vec<(Time, Time, Duration)>,
    /// When it was first asked to end.
    revoked: Option<Time>,
}

/// Checks rule 1. `tolerance`: by how much of a lease's time the clocks of those who keep it may run ahead of the history's, as a fraction.
///
/// # Errors
/// A lease ended too early.
pub fn check(history: &History, tolerance: f64) -> Result<(), Violation> {
    let lives = lives(&history.operations);
    let store = Store::new(&history.changes)?;
    for (lease, known, at, what) in ends(history, &store) {
        let Some(life) = lives.get(&lease) else { continue };
        life.may_have_ended(known, at, tolerance).map_err(|why| Violation::new("leases", format!("lease {lease}: {what}, {why}")))?;
    }
    Ok(())
}

/// Checks rule 2 at the end of a history, when `revision` is the newest. `settled`: from then on no request was under way.
///
/// # Errors
/// A lease still has keys `grace` after its time.
pub fn check_ended(history: &History, settled: Time, now: Time, revision: Revision, grace: Duration) -> Result<(), Violation> {
    let store = Store::new(&history.changes)?;
    for operation in &history.operations {
        let Request::Grant { lease, ttl } = operation.request else { continue };
        let left = store.attached(lease, revision);
        // Whatever kept it alive, answered or not, had done so by then.
        let due = settled + ttl + grace;
        if due < now && !left.is_empty() {
            return Err(Violation::new("leases", format!("lease {lease} should have ended by {due}, and still has {left:?} at {now}")));
        }
    }
    Ok(())
}

fn lives(operations: &[Operation]) -> BTreeMap<Lease, Life> {
    let mut lives: BTreeMap<Lease, Life> = BTreeMap::new();
    for operation in operations {
        match (&operation.request, &operation.answer) {
            (Request::Grant { lease, .. } | Request::KeepAlive { lease }, Some((answered, Answer::Alive(ttl)))) => {
                lives.entry(*lease).or_default().renewals.push((operation.invoked, *answered, *ttl));
            }
            (Request::Revoke { lease }, answer) if !matches!(answer, Some((_, Answer::Refused))) => {
                let life = lives.entry(*lease).or_default();
                life.revoked = Some(life.revoked.map_or(operation.invoked, |at| at.min(operation.invoked)));
            }
            _ => {}
        }
    }
    lives
}

/// What tells that a lease had ended: renewals answered before the first time of each came before the end, which came before the second.
fn ends(history: &History, store: &Store) -> Vec<(Lease, Time, Time, String)> {
    let mut ends = Vec::new();
    let explained = Deletes::of(&history.operations);
    for (revision, revised) in &history.changes {
        let before = Revision(revision.0 - 1);
        let Some(lease) = revised.changes.first().and_then(|change| store.owner(&change.key, before)).filter(|lease| *lease != 0) else {
            continue;
        };
        let attached = store.attached(lease, before);
        let is_whole = attached.len() == revised.changes.len()
            && revised.changes.iter().all(|change| change.value.is_none() && attached.contains(&change.key));
        if is_whole && !explained.can_have_made(*revision, revised) {
            ends.push((lease, revised.seen, revised.seen, format!("its keys were gone at {} (revision {revision})", revised.seen)));
        }
    }
    for operation in &history.operations {
        if let Some((answered, Answer::LeaseNotFound)) = &operation.answer {
            let ended = |lease| (lease, operation.invoked, *answered, format!("{operation:?} did not find it"));
            ends.extend(named(operation).into_iter().map(ended));
        }
    }
    ends
}

/// The deletes that clients asked for.
struct Deletes<'a> {
    /// The revisions of those that were answered.
    answered: BTreeSet<Revision>,
    /// The others: when each was sent, and what it deletes.
    unanswered: Vec<(Time, &'a Span)>,
}

impl<'a> Deletes<'a> {
    fn of(operations: &'a [Operation]) -> Self {
        let mut deletes = Deletes { answered: BTreeSet::new(), unanswered: Vec::new() };
        for operation in operations {
            let Request::Transaction(transaction) = &operation.request else { continue };
            let mut spans = transaction.steps().filter_map(|step| match step {
                Step::Delete(span) => Some(span),
                Step::Read(_) | Step::Put { .. } => None,
            });
            match &operation.answer {
                Some((_, Answer::Done { revision, changed: true, .. })) if spans.next().is_some() => {
                    deletes.answered.insert(*revision);
                }
                Some(_) => {}
                None => deletes.unanswered.extend(spans.map(|span| (operation.invoked, span))),
            }
        }
        deletes
    }

    /// Whether one of them can be behind a revision.
    fn can_have_made(&self, revision: Revision, Revised { seen, changes }: &Revised) -> bool {
        let covers = |(sent, span): &(Time, &Span)| sent < seen && changes.iter().any(|change| span.contains(&change.key));
        self.answered.contains(&revision) || self.unanswered.iter().any(covers)
    }
}

/// The leases that must exist for a request.
fn named(operation: &Operation) -> BTreeSet<Lease> {
    match &operation.request {
        Request::Grant { .. } | Request::Administer(_) | Request::Authenticate => BTreeSet::new(),
        Request::KeepAlive { lease } | Request::Revoke { lease } => [*lease].into(),
        Request::Transaction(transaction) => {
            let lease = |step: &Step| match step {
                Step::Put { lease, .. } if *lease != 0 => Some(*lease),
                Step::Put { .. } | Step::Read(_) | Step::Delete(_) => None,
            };
            transaction.steps().filter_map(lease).collect()
        }
    }
}

impl Life {
    /// Whether nothing is wrong if it had ended by `at`, after all that was answered by `known`; else why that is wrong.
    fn may_have_ended(&self, known: Time, at: Time, tolerance: f64) -> Result<(), String> {
        if self.revoked.is_some_and(|revoked| revoked <= at) {
            return Ok(());
        }
        for (sent, answered, ttl) in self.renewals.iter().filter(|(_, answered, _)| *answered <= known) {
            let until = *sent + ttl.mul_f64(1.0 - tolerance);
            if at < until {
                return Err(format!("and a renewal sent at {sent} and answered at {answered} lasts until {until}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Change, Revised};

    const TTL: Duration = Duration::from_secs(10);

    /// A lease granted at second 1, kept alive at second 5, with a key that is gone when seen at `gone`.
    fn history(gone: u64) -> History {
        let at = |seconds: u64| Time(seconds * 1_000_000);
        let operation = |request, sent, answer| Operation { client: 0, request, invoked: at(sent), answer: Some((at(sent + 1), answer)) };
        let operations = vec![
            operation(Request::Grant { lease: 7, ttl: TTL }, 1, Answer::Alive(TTL)),
            operation(Request::KeepAlive { lease: 7 }, 5, Answer::Alive(TTL)),
        ];
        let change = |value: Option<&'static str>| vec![Change { key: "k".into(), value: value.map(Into::into), lease: 7 }];
        let changes = [
            (Revision(2), Revised { seen: at(3), changes: change(Some("v")) }),
            (Revision(3), Revised { seen: at(gone), changes: change(None) }),
        ];
        History { operations, changes: changes.into() }
    }

    #[test]
    fn a_lease_that_ends_before_its_last_renewal_is_over_is_found() {
        check(&history(15), 0.0).unwrap();
        check(&history(14), 0.0).unwrap_err();
        check(&history(12), 0.2).unwrap_err();
        check(&history(13), 0.2).unwrap();
    }

    #[test]
    fn a_revoked_lease_may_end_at_once() {
        let mut history = history(8);
        history.operations.push(Operation { client: 0, request: Request::Revoke { lease: 7 }, invoked: Time(7_500_000), answer: None });
        check(&history, 0.0).unwrap();
    }

    #[test]
    fn a_lease_that_is_not_found_too_early_is_found() {
        let mut history = history(20);
        for (second, is_right) in [(14, false), (15, true)] {
            let answer = Some((Time(second * 1_000_000), Answer::LeaseNotFound));
            history.operations.push(Operation { client: 0, request: Request::KeepAlive { lease: 7 }, invoked: Time(7_000_000), answer });
            assert_eq!(check(&history, 0.0).is_ok(), is_right);
            history.operations.pop();
        }
    }

    #[test]
    fn a_lease_that_never_ends_is_found() {
        let mut history = history(20);
        history.changes.remove(&Revision(3));
        let ended = |now: u64| check_ended(&history, Time(6_000_000), Time(now * 1_000_000), Revision(2), Duration::from_secs(3));
        ended(19).unwrap();
        ended(20).unwrap_err();
    }
}
