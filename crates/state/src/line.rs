//! A waiting line: what locks and elections are made of, in the form that etcd's clients know.
//!
//! Whoever waits writes a key of its own under a common prefix, under its lease: `PREFIX/LEASE`, the lease in hexadecimal. The one whose key was
//! created first has its turn; the others wait, each for the one right before it alone, so that a turn that ends wakes one and not all. The
//! revision that created the key is the fencing token: it grows from turn to turn.
//!
//! [`Waiter`] says step by step what to do next, and is told what came of it; it does nothing itself.
//!
//! 1. It is somebody's turn only if at one linearizable read nobody is before it *and* its own key is still there, created at the same
//!    revision: a lease that ended while its holder waited gives no turn (etcd-io/etcd issue 11456).
//! 2. A waiter never deletes a key that it did not write.
//!
//! Left out: the client's patience, and its lease's renewal.

mod fence;

pub use fence::{Fence, TurnIsOver};

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{LeaseId, Revision};

use crate::command::{
    Command, Compare, DeleteRange, KeySpan, Operand, Operation, Outcome, Put, Range, Relation, SortOrder, SortTarget, Txn, TxnResult,
};

/// One who waits for its turn.
#[derive(Clone, Debug)]
pub struct Waiter {
    prefix: Bytes,
    key: Bytes,
    lease: LeaseId,
    value: Bytes,
    stage: Stage,
    /// Whether this waiter wrote the key, and not an earlier one under the same lease.
    wrote: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Outside,
    /// In line since `created`, with something new to look at.
    Looking {
        created: Revision,
    },
    /// Someone is before it, who was there at `seen`.
    Behind {
        created: Revision,
        before: Bytes,
        seen: Revision,
    },
    Ended(Turn),
}

/// What a waiter does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Have this replicated, and tell [`Waiter::stood`].
    Stand(Command),
    /// Read this linearizably, all at one revision, and tell [`Waiter::looked`].
    Look(Txn),
    /// Wait until one of these keys is deleted at or after this revision, and tell [`Waiter::changed`].
    Await(Vec<Bytes>, Revision),
    /// It has ended.
    Ended(Turn),
}

/// How the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is its turn.
    Mine {
        /// The fencing token: the revision that created the key.
        token: Revision,
        /// The revision at which that was seen.
        seen: Revision,
    },
    /// Its key is gone: its lease has ended, or somebody has deleted it.
    Lost,
}

/// Another answer than the one to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is another request's")]
pub struct Mismatch;

impl Waiter {
    /// Will wait in the line of `name` under `lease`, with `value` as its key's.
    pub fn new(name: &[u8], lease: LeaseId, value: Bytes) -> Self {
        let prefix = prefix(name);
        let key = [&prefix[..], format!("{:x}", lease.0).as_bytes()].concat().into();
        Waiter { prefix, key, lease, value, stage: Stage::Outside, wrote: false }
    }

    /// Its key.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// Its lease.
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Its key's value.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// The revision that created its place in line, while it waits.
    pub fn created(&self) -> Option<Revision> {
        match self.stage {
            Stage::Looking { created } | Stage::Behind { created, .. } => Some(created),
            Stage::Outside | Stage::Ended(_) => None,
        }
    }

    /// Whether its place was its own to make: nobody had it before under this lease.
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        match &self.stage {
            Stage::Outside => Step::Stand(self.stand()),
            Stage::Looking { created } => Step::Look(self.look(*created)),
            Stage::Behind { before, seen, .. } => Step::Await(vec![self.key.clone(), before.clone()], Revision(seen.0 + 1)),
            Stage::Ended(turn) => Step::Ended(*turn),
        }
    }

    fn stand(&self) -> Command {
        let put = Put { key: self.key.clone(), value: self.value.clone(), lease: self.lease, ..Put::default() };
        Command::Txn(Txn {
            compare: vec![created_at(&self.key, Revision(0))],
            success: vec![Operation::Put(put)],
            failure: vec![Operation::Range(one(&self.key))],
        })
    }

    /// The own key, and the last one before it.
    fn look(&self, created: Revision) -> Txn {
        let before = Range {
            keys: line(&self.prefix),
            limit: 1,
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::CreateRevision,
            keys_only: true,
            max_create_revision: Revision(created.0 - 1),
            ..Range::default()
        };
        Txn { success: vec![Operation::Range(one(&self.key)), Operation::Range(before)], ..Txn::default() }
    }

    /// What came of [`Step::Stand`]: the revision after it, and the outcome. Gives the value that the key has under this lease from before, if
    /// it has one.
    ///
    /// # Errors
    /// It is no answer to that.
    pub fn stood(&mut self, revision: Revision, outcome: Outcome) -> Result<Option<Bytes>, Mismatch> {
        let Outcome::Txn(TxnResult { succeeded, responses }) = outcome else { return Err(Mismatch) };
        self.wrote = succeeded;
        if succeeded {
            self.stage = Stage::Looking { created: revision };
            return Ok(None);
        }
        let Some(Outcome::Range(range)) = responses.into_iter().next() else { return Err(Mismatch) };
        let own = range.kvs.into_iter().next().ok_or(Mismatch)?;
        self.stage = Stage::Looking { created: own.create_revision };
        Ok(Some(own.value))
    }

    /// What came of [`Step::Look`].
    ///
    /// # Errors
    /// It is no answer to that.
    pub fn looked(&mut self, revision: Revision, result: TxnResult) -> Result<(), Mismatch> {
        let Stage::Looking { created } = self.stage else { return Err(Mismatch) };
        let [Outcome::Range(own), Outcome::Range(before)] = &result.responses[..] else { return Err(Mismatch) };
        let is_there = own.kvs.iter().any(|own| own.create_revision == created) || is_planted(Bug::TurnWithoutLease);
        self.stage = match before.kvs.first() {
            _ if !is_there => Stage::Ended(Turn::Lost),
            Some(before) => Stage::Behind { created, before: before.key.clone(), seen: revision },
            None => Stage::Ended(Turn::Mine { token: created, seen: revision }),
        };
        Ok(())
    }

    /// One of the keys of [`Step::Await`] was deleted, or nobody knows.
    pub fn changed(&mut self) {
        if let Stage::Behind { created, .. } = self.stage {
            self.stage = Stage::Looking { created };
        }
    }

    /// How to leave the line, for who has waited enough; `None`: it wrote nothing.
    pub fn leave(&self) -> Option<Command> {
        match self.stage {
            Stage::Looking { created } | Stage::Behind { created, .. } if self.wrote => Some(leave(&self.key, created)),
            Stage::Outside | Stage::Looking { .. } | Stage::Behind { .. } | Stage::Ended(_) => None,
        }
    }
}

/// Deletes a place in line: the key if it was created at this revision.
pub fn leave(key: &Bytes, created: Revision) -> Command {
    let delete = DeleteRange { keys: KeySpan { key: key.clone(), ..KeySpan::default() }, prev_kv: false };
    Command::Txn(Txn { compare: vec![created_at(key, created)], success: vec![Operation::DeleteRange(delete)], failure: vec![] })
}

/// Writes a new value to a place in line, if it is still the one created at this revision; under the same lease.
pub fn proclaim(key: &Bytes, created: Revision, value: Bytes) -> Txn {
    let put = Put { key: key.clone(), value, ignore_lease: true, ..Put::default() };
    Txn { compare: vec![created_at(key, created)], success: vec![Operation::Put(put)], failure: vec![] }
}

/// Reads whose turn it is.
pub fn head(name: &[u8]) -> Range {
    Range {
        keys: line(&prefix(name)),
        limit: 1,
        sort_order: SortOrder::Ascend,
        sort_target: SortTarget::CreateRevision,
        ..Range::default()
    }
}

fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// All keys with the prefix, which ends with a slash.
fn line(prefix: &Bytes) -> KeySpan {
    let mut range_end = prefix.to_vec();
    *range_end.last_mut().expect("it ends with a slash") += 1;
    KeySpan { key: prefix.clone(), range_end: range_end.into() }
}

fn one(key: &Bytes) -> Range {
    Range { keys: KeySpan { key: key.clone(), ..KeySpan::default() }, ..Range::default() }
}

fn created_at(key: &Bytes, revision: Revision) -> Compare {
    let keys = KeySpan { key: key.clone(), ..KeySpan::default() };
    Compare { keys, relation: Relation::Equal, operand: Operand::CreateRevision(revision) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{KeyValue, RangeResult};

    fn there(key: &Bytes, created: i64) -> KeyValue {
        KeyValue { key: key.clone(), create_revision: Revision(created), mod_revision: Revision(created), ..KeyValue::default() }
    }

    fn seen(own: Option<KeyValue>, before: Option<KeyValue>) -> TxnResult {
        let range = |kv: Option<KeyValue>| Outcome::Range(RangeResult { kvs: kv.into_iter().collect(), ..RangeResult::default() });
        TxnResult { succeeded: true, responses: vec![range(own), range(before)] }
    }

    fn in_line(created: i64) -> Waiter {
        let mut waiter = Waiter::new(b"name", LeaseId(0xab), Bytes::new());
        assert_eq!(waiter.key(), &Bytes::from("name/ab"));
        assert!(matches!(waiter.step(), Step::Stand(Command::Txn(_))));
        let outcome = Outcome::Txn(TxnResult { succeeded: true, responses: vec![] });
        assert_eq!(waiter.stood(Revision(created), outcome), Ok(None));
        waiter
    }

    #[test]
    fn the_first_in_line_has_its_turn() {
        let mut waiter = in_line(7);
        assert!(matches!(waiter.step(), Step::Look(_)));
        waiter.looked(Revision(9), seen(Some(there(waiter.key(), 7)), None)).expect("an answer");
        assert_eq!(waiter.step(), Step::Ended(Turn::Mine { token: Revision(7), seen: Revision(9) }));
        assert_eq!(waiter.leave(), None, "what has its turn is not left by mistake");
    }

    #[test]
    fn another_waits_for_the_one_before_it_or_its_own_end() {
        let mut waiter = in_line(7);
        let before = Bytes::from("name/1");
        waiter.looked(Revision(9), seen(Some(there(waiter.key(), 7)), Some(there(&before, 3)))).expect("an answer");
        assert_eq!(waiter.step(), Step::Await(vec![waiter.key().clone(), before], Revision(10)));
        assert_eq!(waiter.leave(), Some(leave(waiter.key(), Revision(7))));
        waiter.changed();
        assert!(matches!(waiter.step(), Step::Look(_)));
    }

    #[test]
    fn who_lost_its_key_gets_no_turn_even_if_nobody_is_before_it() {
        for own in [None, Some(there(&Bytes::from("name/ab"), 8))] {
            let mut waiter = in_line(7);
            waiter.looked(Revision(9), seen(own, None)).expect("an answer");
            assert_eq!(waiter.step(), Step::Ended(Turn::Lost));
        }
    }

    #[test]
    fn a_second_wait_under_the_same_lease_has_the_first_ones_place() {
        let mut waiter = Waiter::new(b"name", LeaseId(1), "new".into());
        let own = KeyValue { value: "old".into(), ..there(waiter.key(), 4) };
        let range = Outcome::Range(RangeResult { kvs: vec![own.clone()], ..RangeResult::default() });
        let outcome = Outcome::Txn(TxnResult { succeeded: false, responses: vec![range] });
        assert_eq!(waiter.stood(Revision(9), outcome), Ok(Some("old".into())));
        assert_eq!(waiter.leave(), None, "it is not this one's to delete");
        waiter.looked(Revision(9), seen(Some(own), None)).expect("an answer");
        assert_eq!(waiter.step(), Step::Ended(Turn::Mine { token: Revision(4), seen: Revision(9) }));
    }
}
