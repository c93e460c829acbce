//! Turns in waiting lines, which locks and elections are made of: whoever is given one is at the head of its line.
//!
//! At the revision at which a turn was seen, the key of its holder is there, created at the revision that is its fencing token, and no key of
//! the line was created before it. So no two hold one line at one revision, tokens grow from turn to turn, and a lease that has ended gives
//! no turn: its key is gone.
//!
//! A holder that goes on after it has lost its turn no store can prevent. That is what the token is for: the resource that the lock guards
//! admits nobody after it has admitted a later holder, and everybody else.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_types::Revision;

use crate::Violation;
use crate::history::{Revised, Span};
use crate::store::Store;

/// A turn that somebody was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The keys of the line.
    pub line: Span,
    /// The holder's.
    pub key: Bytes,
    /// Its fencing token.
    pub token: Revision,
    /// The revision at which it was seen.
    pub seen: Revision,
}

/// What a holder, or one that took itself for it, tried on the resource that the line guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The token it showed.
    pub token: Revision,
    /// Whether the resource let it.
    pub admitted: bool,
}

/// Checks all uses of one resource, in the order in which they reached it.
///
/// # Errors
/// One was admitted after a later holder, or refused without one.
pub fn check_uses(uses: &[Use]) -> Result<(), Violation> {
    let mut newest = Revision(0);
    for (at, Use { token, admitted }) in uses.iter().enumerate() {
        if *admitted != (*token >= newest) {
            let how = if *admitted { "admitted" } else { "refused" };
            return Err(Violation::new("locks", format!("use {at}, with token {token}, was {how}; the newest before it was {newest}")));
        }
        newest = newest.max(*token);
    }
    Ok(())
}

/// Checks all turns.
///
/// # Errors
/// One was given to somebody who was not at the head of the line.
pub fn check(turns: &[Turn], changes: &BTreeMap<Revision, Revised>) -> Result<(), Violation> {
    let store = Store::new(changes)?;
    for turn in turns {
        let waiting = store.read(&turn.line, turn.seen);
        let created = waiting.keys().filter_map(|key| Some((store.created(key, turn.seen)?, key)));
        let head = created.min();
        if head != Some((turn.token, &turn.key)) {
            return Err(Violation::new("locks", format!("{turn:?} was given, and at the head of the line was {head:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Change;
    use crate::time::Time;

    /// `l/a` comes at 2 and `l/b` at 3, `l/a` writes again at 4 and goes at 5, `l/b` goes at 6.
    fn given(key: &'static str, token: i64, seen: i64) -> bool {
        let changes = [(2, "l/a", true), (3, "l/b", true), (4, "l/a", true), (5, "l/a", false), (6, "l/b", false)];
        let changes = changes.into_iter().map(|(revision, key, is_there)| {
            let change = Change { key: key.into(), value: is_there.then(|| format!("{revision}").into()), lease: 0 };
            (Revision(revision), Revised { seen: Time(0), changes: vec![change] })
        });
        let line = Span { first: "l/".into(), end: Some("l0".into()) };
        let turn = Turn { line, key: key.into(), token: Revision(token), seen: Revision(seen) };
        check(&[turn], &changes.collect()).is_ok()
    }

    #[test]
    fn a_resource_admits_nobody_after_a_later_holder() {
        let uses = |uses: &[(i64, bool)]| {
            let uses: Vec<Use> = uses.iter().map(|(token, admitted)| Use { token: Revision(*token), admitted: *admitted }).collect();
            check_uses(&uses).is_ok()
        };
        assert!(uses(&[(2, true), (2, true), (5, true), (2, false), (5, true)]));
        assert!(!uses(&[(2, true), (5, true), (2, true)]) && !uses(&[(2, true), (2, false)]));
    }

    #[test]
    fn only_the_head_of_the_line_has_its_turn() {
        assert!(given("l/a", 2, 3) && given("l/a", 2, 4) && given("l/b", 3, 5));
        assert!(!given("l/b", 3, 4), "another is before it");
        assert!(!given("l/b", 3, 6), "its key is gone");
        assert!(!given("l/a", 4, 4), "not the revision that created it");
    }
}
