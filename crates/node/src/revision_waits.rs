//! Reads that wait for a revision: a client that saw it elsewhere must not see less here (session and causal reads).

use std::collections::BTreeMap;

use steadfast_types::{Instant, Revision};

/// Who waits, by the revision and then in order of arrival.
#[derive(Debug)]
pub(crate) struct RevisionWaits<S> {
    waiting: BTreeMap<(Revision, u64), (Instant, S)>,
    next: u64,
}

impl<S> RevisionWaits<S> {
    pub(crate) fn new() -> Self {
        RevisionWaits { waiting: BTreeMap::new(), next: 0 }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn add(&mut self, revision: Revision, slot: S, deadline: Instant) {
        self.waiting.insert((revision, self.next), (deadline, slot));
        self.next += 1;
    }

    /// Those who waited for no more than `revision`.
    pub(crate) fn reached(&mut self, revision: Revision) -> Vec<S> {
        if self.waiting.first_key_value().is_none_or(|((wanted, _), _)| *wanted > revision) {
            return Vec::new();
        }
        let later = self.waiting.split_off(&(Revision(revision.0.saturating_add(1)), 0));
        std::mem::replace(&mut self.waiting, later).into_values().map(|(_, slot)| slot).collect()
    }

    /// Those whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<S> {
        self.waiting.extract_if(.., |_, (deadline, _)| *deadline <= now).map(|(_, (_, slot))| slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_let_through_by_revision_and_expire_by_deadline() {
        let mut waits = RevisionWaits::new();
        for (revision, slot, deadline) in [(7, 'a', 90), (5, 'b', 90), (6, 'c', 20), (5, 'd', 90)] {
            waits.add(Revision(revision), slot, Instant(deadline));
        }
        assert!(waits.reached(Revision(4)).is_empty());
        assert_eq!(waits.reached(Revision(5)), ['b', 'd']);
        assert!(waits.expire(Instant(19)).is_empty());
        assert_eq!(waits.expire(Instant(20)), ['c']);
        assert_eq!((waits.reached(Revision(i64::MAX)), waits.len()), (vec!['a'], 0));
    }
}
