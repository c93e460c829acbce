//! What clients asked and were answered, and whether it can have happened one after the other.

use std::collections::HashSet;

use bytes::Bytes;

/// What a client wants of the key. A value is a list of the numbers of those who appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Append(u8),
    /// Writes the number if there is no value.
    SetIfAbsent(u8),
    Delete,
}

/// What was there before.
pub type Answer = Option<Bytes>;

impl Operation {
    /// What it makes of a value; `None` keeps it.
    pub fn apply(self, value: Option<&Bytes>) -> Option<Option<Bytes>> {
        match (self, value) {
            (Self::Read, _) | (Self::SetIfAbsent(_), Some(_)) => None,
            (Self::Append(number), value) => Some(Some(value.into_iter().flatten().copied().chain([number]).collect())),
            (Self::SetIfAbsent(number), None) => Some(Some(Bytes::copy_from_slice(&[number]))),
            (Self::Delete, _) => Some(None),
        }
    }
}

/// A client's call: when it began, and when it ended with what.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which of the keys.
    pub key: usize,
    pub operation: Operation,
    pub began: u64,
    pub ended: Option<(u64, Answer)>,
    /// It certainly never took effect.
    pub void: bool,
}

/// Whether some order of the calls, in which each stands between its beginning and its end, explains all answers (Wing and Gong's search, with the states
/// that were seen remembered). Calls without an answer may have happened at any time since they began, or never.
pub fn is_linearizable<'a>(calls: impl IntoIterator<Item = &'a Call>) -> bool {
    // Who read and was not answered is no part of it.
    let counts = |call: &&Call| !call.void && (call.ended.is_some() || call.operation != Operation::Read);
    let mut calls: Vec<&Call> = calls.into_iter().filter(counts).collect();
    assert!(calls.len() <= 64, "too many calls to search through");
    // The order most calls happened in is tried first.
    calls.sort_by_key(|call| call.ended.as_ref().map_or(u64::MAX, |(ended, _)| *ended));
    search(&calls, 0, None, &mut HashSet::new())
}

fn search(calls: &[&Call], done: u64, value: Option<Bytes>, seen: &mut HashSet<(u64, Option<Bytes>)>) -> bool {
    let left = || calls.iter().enumerate().filter(|(at, _)| done & 1 << at == 0);
    let Some(first_end) = left().find_map(|(_, call)| call.ended.as_ref().map(|(ended, _)| *ended)) else { return true };
    if !seen.insert((done, value.clone())) {
        return false;
    }
    left().filter(|(_, call)| call.began < first_end).any(|(at, call)| {
        let explains = call.ended.as_ref().is_none_or(|(_, answer)| *answer == value);
        explains && search(calls, done | 1 << at, call.operation.apply(value.as_ref()).unwrap_or_else(|| value.clone()), seen)
    })
}

#[test]
fn the_search_tells_what_can_be_from_what_cannot() {
    let call = |operation, began, ended, answer: Option<&[u8]>| Call {
        key: 0,
        operation,
        began,
        ended: Some((ended, answer.map(Bytes::copy_from_slice))),
        void: false,
    };
    let lost = Call { key: 0, operation: Operation::Append(1), began: 0, ended: None, void: false };
    assert!(is_linearizable(&[lost.clone(), call(Operation::Read, 1, 2, None), call(Operation::Read, 3, 4, Some(&[1]))]));
    assert!(!is_linearizable(&[lost.clone(), call(Operation::Read, 1, 2, Some(&[1])), call(Operation::Read, 3, 4, None)]));
    assert!(!is_linearizable(&[lost.clone(), call(Operation::Read, 1, 2, Some(&[1, 1]))]));
    // What has no answer did not happen before it began, but may have at any time after.
    let late = Call { began: 5, ..lost };
    assert!(!is_linearizable(&[late.clone(), call(Operation::Read, 1, 2, Some(&[1]))]));
    assert!(is_linearizable(&[late, call(Operation::Read, 1, 7, Some(&[1])), call(Operation::Read, 8, 9, Some(&[1]))]));
    // Two that overlap may have happened either way round, two that do not overlap in their order alone.
    let (delete, append) = (call(Operation::Delete, 1, 6, Some(&[2])), call(Operation::Append(2), 2, 5, None));
    assert!(is_linearizable(&[delete.clone(), append.clone(), call(Operation::Read, 7, 8, None)]));
    assert!(!is_linearizable(&[Call { ended: Some((2, None)), ..delete }, Call { began: 3, ..append }, call(Operation::Read, 7, 8, None)]));
}
