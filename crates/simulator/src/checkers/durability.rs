//! Nothing acknowledged is lost: each write that was answered stands in the store's changes at the revision that the answer named.
//!
//! Apart from [`super::linearizability`], which implies it, because a lost write deserves to be called one.

use steadfast_types::Revision;

use super::Violation;
use crate::history::{Action, Answer, Change, History, Operation};

/// Checks a history; its changes must be those of the surviving state, after everything healed.
///
/// # Errors
/// An acknowledged write is not there.
pub fn check(history: &History) -> Result<(), Violation> {
    let acknowledged = history.operations.iter().filter_map(|operation| Some((operation, acknowledged(operation)?)));
    for (operation, (revision, change)) in acknowledged {
        let found = history.changes.get(&revision);
        if !found.is_some_and(|changes| changes.contains(&change)) {
            let message = format!("{operation:?} was acknowledged at revision {revision}, where the store has {found:?}");
            return Err(Violation::new("durability", message));
        }
    }
    Ok(())
}

/// The change that an operation's answer vouches for.
fn acknowledged(operation: &Operation) -> Option<(Revision, Change)> {
    let Some((_, Answer::Done { revision, changed: true, .. })) = operation.answer else { return None };
    let (key, value) = match &operation.action {
        Action::Get { .. } => return None,
        Action::Put { key, value } | Action::CompareAndPut { key, value, .. } => (key, Some(value.clone())),
        Action::Delete { key } => (key, None),
    };
    Some((revision, Change { key: key.clone(), value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Seen;
    use crate::world::Time;

    #[test]
    fn a_lost_write_is_found() {
        let answer = Answer::Done { revision: Revision(2), changed: true, seen: Seen::Absent };
        let action = Action::Put { key: "k".into(), value: "v".into() };
        let mut history = History::default();
        history.operations.push(Operation { client: 0, action, invoked: Time(0), answer: Some((Time(1), answer)) });
        check(&history).unwrap_err();
        history.changes.insert(Revision(2), vec![Change { key: "k".into(), value: None }]);
        check(&history).unwrap_err();
        history.changes.insert(Revision(2), vec![Change { key: "k".into(), value: Some("v".into()) }]);
        check(&history).unwrap();
    }
}
