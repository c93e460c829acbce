//! Nothing acknowledged is lost: each write that was answered stands in the store's changes at the revision that the answer named.
//!
//! Apart from [`super::linearizability`], which implies it, because a lost write deserves to be called one.

use crate::Violation;
use crate::history::{Answer, History, Operation, Request, Step};

/// Checks a history; its changes must be those of the surviving state, after everything healed.
///
/// # Errors
/// An acknowledged write is not there.
pub fn check(history: &History) -> Result<(), Violation> {
    history.operations.iter().try_for_each(|operation| is_there(operation, history))
}

fn is_there(operation: &Operation, history: &History) -> Result<(), Violation> {
    let Some((_, Answer::Done { revision, changed: true, succeeded, .. })) = &operation.answer else { return Ok(()) };
    let found = history.changes.get(revision).map(|revised| &revised.changes[..]);
    let lost = || Violation::new("durability", format!("{operation:?} was acknowledged, and revision {revision} holds {found:?}"));
    let changes = found.ok_or_else(lost)?;
    let Request::Transaction(transaction) = &operation.request else { return Ok(()) };
    let steps = if *succeeded { &transaction.then } else { &transaction.otherwise };
    let is_kept = |step: &Step| match step {
        Step::Put { key, value, .. } => changes.iter().any(|change| change.key == *key && change.value.as_ref() == Some(value)),
        Step::Read(_) | Step::Delete(_) => true,
    };
    if steps.iter().all(is_kept) { Ok(()) } else { Err(lost()) }
}

#[cfg(test)]
mod tests {
    use steadfast_types::Revision;

    use super::*;
    use crate::history::{Change, Revised, Transaction};
    use crate::time::Time;

    #[test]
    fn a_lost_write_is_found() {
        let answer = Answer::Done { revision: Revision(2), changed: true, succeeded: true, seen: vec![None] };
        let request = Request::Transaction(Transaction::of(Step::Put { key: "k".into(), value: "v".into(), lease: 0, asks: true }));
        let mut history = History::default();
        history.operations.push(Operation { client: 0, request, invoked: Time(0), answer: Some((Time(1), answer)) });
        check(&history).unwrap_err();
        for (value, is_kept) in [(None, false), (Some("other"), false), (Some("v"), true)] {
            let change = Change { key: "k".into(), value: value.map(Into::into), lease: 0 };
            history.changes.insert(Revision(2), Revised { seen: Time(1), changes: vec![change] });
            assert_eq!(check(&history).is_ok(), is_kept);
        }
    }
}
