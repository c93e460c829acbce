//! What can be said of a request without looking at the state: the API checks it before it proposes anything.
//!
//! Every replica must be able to apply whatever is in the log, so `apply` survives requests that fail here; it never sees them from an API
//! that calls these functions. [`txn`] above all: a transaction nested deeper than the codec allows would make the whole entry unreadable.

use alloc::collections::{BTreeMap, BTreeSet};
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::limits::{LEASE_MAX_TTL_S, LEASE_MIN_TTL_S, TRANSACTION_OPERATIONS};

use crate::command::{DeleteRange, KeySpan, Operation, Put, Range, SortOrder, SortTarget, Txn};
use crate::nesting::TRANSACTION_NESTING;

/// What is wrong with a request. The text is etcd's, after `etcdserver: `; all but the last are of code InvalidArgument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// An empty key.
    #[error("key is not provided")]
    EmptyKey,
    /// A value beside `ignore_value`.
    #[error("value is provided")]
    ValueProvided,
    /// A lease beside `ignore_lease`.
    #[error("lease is provided")]
    LeaseProvided,
    /// A transaction longer or deeper than allowed.
    #[error("too many operations in txn request")]
    TooManyOperations,
    /// A transaction that writes one key twice.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// A sort order or target that does not exist.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// A lease longer than allowed; of code OutOfRange.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
}

/// A sort order by its number in the protocol.
///
/// # Errors
/// There is none of that number.
pub fn sort_order(number: i32) -> Result<SortOrder, CheckError> {
    match number {
        0 => Ok(SortOrder::None),
        1 => Ok(SortOrder::Ascend),
        2 => Ok(SortOrder::Descend),
        _ => Err(CheckError::InvalidSortOption),
    }
}

/// A sort target by its number in the protocol.
///
/// # Errors
/// There is none of that number.
pub fn sort_target(number: i32) -> Result<SortTarget, CheckError> {
    match number {
        0 => Ok(SortTarget::Key),
        1 => Ok(SortTarget::Version),
        2 => Ok(SortTarget::CreateRevision),
        3 => Ok(SortTarget::ModRevision),
        4 => Ok(SortTarget::Value),
        _ => Err(CheckError::InvalidSortOption),
    }
}

/// Checks a range.
///
/// # Errors
/// An empty key.
pub fn range(range: &Range) -> Result<(), CheckError> {
    key(&range.keys.key)
}

/// Checks a put.
///
/// # Errors
/// An empty key; a value or a lease that is also to be ignored.
pub fn put(put: &Put) -> Result<(), CheckError> {
    key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(CheckError::ValueProvided);
    }
    if put.ignore_lease && put.lease.0 != 0 {
        return Err(CheckError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// An empty key.
pub fn delete_range(delete: &DeleteRange) -> Result<(), CheckError> {
    key(&delete.keys.key)
}

/// Checks a transaction, and all inside it.
///
/// # Errors
/// As the other checks; also too many operations, or too deep; or two writes of one key that may both happen.
pub fn txn(txn: &Txn) -> Result<(), CheckError> {
    check_lists(txn, TRANSACTION_OPERATIONS, TRANSACTION_NESTING)?;
    Writes::of(&txn.success)?;
    Writes::of(&txn.failure)?;
    Ok(())
}

/// The seconds a lease is granted for: what is asked for, but not less than the shortest.
///
/// # Errors
/// More than the longest.
pub fn lease_ttl(ttl_s: i64) -> Result<i64, CheckError> {
    if ttl_s > LEASE_MAX_TTL_S { Err(CheckError::LeaseTtlTooLarge) } else { Ok(ttl_s.max(LEASE_MIN_TTL_S)) }
}

fn key(key: &Bytes) -> Result<(), CheckError> {
    if key.is_empty() { Err(CheckError::EmptyKey) } else { Ok(()) }
}

/// Lengths and single requests. As in etcd, an inner transaction has only what the lists around it leave of the operations.
fn check_lists(txn: &Txn, operations: usize, levels: usize) -> Result<(), CheckError> {
    let longest = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    let left = operations.checked_sub(longest).ok_or(CheckError::TooManyOperations)?;
    let below = levels.checked_sub(1).ok_or(CheckError::TooManyOperations)?;
    txn.compare.iter().try_for_each(|compare| key(&compare.keys.key))?;
    txn.success.iter().chain(&txn.failure).try_for_each(|operation| match operation {
        Operation::Range(inner) => range(inner),
        Operation::Put(inner) => put(inner),
        Operation::DeleteRange(inner) => delete_range(inner),
        Operation::Txn(inner) => check_lists(inner, left, below),
    })
}

/// The keys that a list of operations may write.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Spans,
}

impl Writes {
    /// In etcd's order: this level's deletes, the inner transactions one by one, this level's puts.
    fn of(operations: &[Operation]) -> Result<Self, CheckError> {
        let mut writes = Writes::default();
        for operation in operations {
            if let Operation::DeleteRange(delete) = operation {
                writes.deletes.insert(&delete.keys);
            }
        }
        for operation in operations {
            if let Operation::Txn(inner) = operation {
                writes.add_inner(Writes::of(&inner.success)?, Writes::of(&inner.failure)?)?;
            }
        }
        for operation in operations {
            if let Operation::Put(put) = operation {
                writes.add_put(put.key.clone())?;
            }
        }
        Ok(writes)
    }

    fn add_put(&mut self, key: Bytes) -> Result<(), CheckError> {
        if self.deletes.contains(&key) || !self.puts.insert(key) { Err(CheckError::DuplicateKey) } else { Ok(()) }
    }

    /// Only one of the two lists will be carried out, so both may put the same key.
    fn add_inner(&mut self, success: Writes, failure: Writes) -> Result<(), CheckError> {
        success.puts.iter().try_for_each(|key| self.add_put(key.clone()))?;
        for key in failure.puts {
            if self.deletes.contains(&key) || (self.puts.contains(&key) && !success.puts.contains(&key)) {
                return Err(CheckError::DuplicateKey);
            }
            self.puts.insert(key);
        }
        self.deletes.merge(success.deletes);
        self.deletes.merge(failure.deletes);
        Ok(())
    }
}

/// Deleted spans: disjoint, by start, with their exclusive ends. A single key ends just above itself.
#[derive(Default)]
struct Spans(BTreeMap<Bytes, Bytes>);

impl Spans {
    /// A delete of all keys from some key on is left out: etcd does not count it, and clients may lean on that.
    fn insert(&mut self, keys: &KeySpan) {
        if keys.is_empty() || keys.is_unbounded() {
            return;
        }
        let end = if keys.is_single() { [keys.key.as_ref(), &[0]].concat().into() } else { keys.range_end.clone() };
        self.insert_range(keys.key.clone(), end);
    }

    fn insert_range(&mut self, mut start: Bytes, mut end: Bytes) {
        while let Some((from, to)) = self.0.range::<Bytes, _>((Bound::Unbounded, Bound::Included(&end))).next_back() {
            if *to < start {
                break;
            }
            let from = from.clone();
            if let Some(to) = self.0.remove(&from) {
                start = start.min(from);
                end = end.max(to);
            }
        }
        self.0.insert(start, end);
    }

    fn contains(&self, key: &Bytes) -> bool {
        self.0.range::<Bytes, _>((Bound::Unbounded, Bound::Included(key))).next_back().is_some_and(|(_, end)| key < end)
    }

    fn merge(&mut self, other: Spans) {
        other.0.into_iter().for_each(|(start, end)| self.insert_range(start, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Compare, Operand, Relation};
    use alloc::{string::ToString, vec, vec::Vec};
    use steadfast_types::LeaseId;

    fn span(key: &'static str, end: &'static str) -> KeySpan {
        KeySpan { key: key.into(), range_end: end.into() }
    }

    fn puts(key: &'static str) -> Operation {
        Operation::Put(Put { key: key.into(), ..Put::default() })
    }

    fn deletes(key: &'static str, end: &'static str) -> Operation {
        Operation::DeleteRange(DeleteRange { keys: span(key, end), prev_kv: false })
    }

    fn inner(success: Vec<Operation>, failure: Vec<Operation>) -> Operation {
        Operation::Txn(Txn { compare: vec![], success, failure })
    }

    fn check(success: Vec<Operation>) -> Result<(), CheckError> {
        txn(&Txn { success, ..Txn::default() })
    }

    #[test]
    fn single_requests_are_checked() {
        assert_eq!(range(&Range::default()), Err(CheckError::EmptyKey));
        assert_eq!(delete_range(&DeleteRange::default()), Err(CheckError::EmptyKey));
        let ok = Put { key: "k".into(), value: "v".into(), lease: LeaseId(1), ..Put::default() };
        assert_eq!(put(&ok), Ok(()));
        assert_eq!(put(&Put { key: Bytes::new(), ..ok.clone() }), Err(CheckError::EmptyKey));
        assert_eq!(put(&Put { ignore_value: true, ..ok.clone() }), Err(CheckError::ValueProvided));
        assert_eq!(put(&Put { ignore_lease: true, ..ok }), Err(CheckError::LeaseProvided));
        assert_eq!((sort_order(3), sort_target(-1)), (Err(CheckError::InvalidSortOption), Err(CheckError::InvalidSortOption)));
        assert_eq!((lease_ttl(-5), lease_ttl(60), lease_ttl(9_000_000_000)), (Ok(2), Ok(60), Ok(9_000_000_000)));
        assert_eq!(lease_ttl(9_000_000_001).unwrap_err().to_string(), "too large lease TTL");
        let compare = Compare { keys: span("", ""), relation: Relation::Equal, operand: Operand::Version(0) };
        assert_eq!(txn(&Txn { compare: vec![compare], ..Txn::default() }), Err(CheckError::EmptyKey));
        assert_eq!(check(vec![inner(vec![], vec![puts("")])]), Err(CheckError::EmptyKey));
    }

    #[test]
    fn operations_are_counted_along_the_nesting() {
        let many = |n: usize| vec![deletes("a", ""); n];
        assert_eq!(check(many(128)), Ok(()));
        assert_eq!(check(many(129)), Err(CheckError::TooManyOperations));
        assert_eq!(check(vec![inner(many(127), vec![])]), Ok(()));
        assert_eq!(check(vec![inner(many(128), vec![])]), Err(CheckError::TooManyOperations));
        let deep = |levels| (1..levels).fold(vec![puts("a")], |list, _| vec![inner(list, vec![])]);
        assert_eq!(check(deep(TRANSACTION_NESTING)), Ok(()));
        assert_eq!(check(deep(TRANSACTION_NESTING + 1)), Err(CheckError::TooManyOperations));
    }

    #[test]
    fn what_may_be_written_twice_is_a_duplicate_as_in_etcd() {
        let duplicate = Err(CheckError::DuplicateKey);
        assert_eq!(check(vec![puts("a"), puts("b")]), Ok(()));
        assert_eq!(check(vec![puts("a"), puts("a")]), duplicate);
        assert_eq!(check(vec![puts("b"), deletes("a", "c")]), duplicate);
        assert_eq!(check(vec![puts("a"), deletes("a", "")]), duplicate);
        assert_eq!(check(vec![puts("c"), deletes("a", "c"), deletes("b", "c"), deletes("a", "")]), Ok(()));
        assert_eq!(check(vec![puts("b"), inner(vec![puts("b")], vec![])]), duplicate);
        assert_eq!(check(vec![inner(vec![puts("b")], vec![puts("b")])]), Ok(()));
        assert_eq!(check(vec![inner(vec![puts("b")], vec![]), inner(vec![], vec![puts("b")])]), duplicate);
        assert_eq!(check(vec![inner(vec![deletes("b", "")], vec![]), inner(vec![puts("b")], vec![])]), duplicate);
        // etcd's gaps, verified against it.
        assert_eq!(check(vec![inner(vec![puts("b")], vec![]), inner(vec![deletes("b", "")], vec![])]), Ok(()));
        assert_eq!(check(vec![puts("b"), deletes("a", "\0")]), Ok(()));
        assert_eq!(check(vec![puts("b"), deletes("c", "a")]), Ok(()));
    }

    #[test]
    fn spans_that_touch_or_overlap_become_one() {
        let mut spans = Spans::default();
        for (start, end) in [("c", "d"), ("g", "h"), ("a", "b"), ("b", "c"), ("f", "z"), ("m", "n")] {
            spans.insert_range(start.into(), end.into());
        }
        let all: Vec<_> = spans.0.into_iter().collect();
        assert_eq!(all, vec![("a".into(), "d".into()), ("f".into(), "z".into())]);
    }
}
