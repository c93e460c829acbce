//! The dead: for how long they are remembered, and what stays of them when they are forgotten.

use steadfast_types::Instant;

use super::digest::mix;
use super::{Member, Slot, Table, hash_name};
use crate::member::{Incarnation, State};

impl Table {
    /// The greatest incarnation of all that was forgotten.
    #[must_use]
    pub fn floor(&self) -> Incarnation {
        self.floor
    }

    pub(crate) fn raise_floor(&mut self, floor: Incarnation) {
        self.floor = self.floor.max(floor);
    }

    /// One that failed, at random: it may only have been cut off.
    pub(crate) fn sample_failed(&self, start: u64, wanted: impl Fn(Slot) -> bool) -> Option<Slot> {
        let is_known = |member: &Member| member.state == State::Failed && !member.profile.name.is_empty();
        let fits = |slot: &Slot| is_known(self.member(*slot)) && wanted(*slot);
        let start = (start % self.dead.len().max(1) as u64) as usize;
        // From there on, and around: also where the longest dead is gone for good, the others have their turn.
        self.dead.iter().skip(start).chain(self.dead.iter().take(start)).map(|(_, slot)| *slot).find(fits)
    }

    /// Forgets who is dead since `limit` or longer, and the longest dead beyond `count`.
    pub(crate) fn forget(&mut self, limit: Instant, count: usize) {
        while let Some(&(since, slot)) = self.dead.first() {
            if since > limit && self.dead.len() <= count {
                return;
            }
            self.dead.remove(&(since, slot));
            self.remove(slot);
        }
    }

    /// How many dead are remembered.
    pub(crate) fn dead(&self) -> usize {
        self.dead.len()
    }

    /// When the longest dead died.
    pub(crate) fn first_death(&self) -> Option<Instant> {
        self.dead.first().map(|(since, _)| *since)
    }

    fn remove(&mut self, slot: Slot) {
        let Some(member) = self.members[slot as usize].take() else { return };
        self.floor = self.floor.max(member.incarnation);
        self.witnesses.remove(&slot);
        for (index, hash) in [(&mut self.by_id, mix(member.profile.id.0)), (&mut self.by_name, hash_name(&member.profile.name))] {
            if let Ok(entry) = index.find_entry(hash, |found| *found == slot) {
                entry.remove();
            }
        }
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::super::Merge;
    use super::super::tests::{say, table};
    use super::*;

    #[test]
    fn each_of_the_failed_is_tried_in_time() {
        let (mut table, mut rng) = table(10);
        assert_eq!(table.sample_failed(rng.u64(..), |_| true), None);
        for (number, state) in [(1, State::Failed), (2, State::Left), (3, State::Failed), (4, State::Failed)] {
            say(&mut table, number, 10, state, number, &mut rng);
        }
        let tried: BTreeSet<u64> =
            (0..100).filter_map(|_| table.sample_failed(rng.u64(..), |_| true)).map(|slot| table.member(slot).profile.id.0).collect();
        assert_eq!(tried, BTreeSet::from([1, 3, 4]));
    }

    #[test]
    fn the_longest_dead_are_forgotten_and_not_let_in_again() {
        let (mut table, mut rng) = table(10);
        (1..=5).for_each(|number| {
            say(&mut table, number, 10 + number, State::Failed, number, &mut rng);
        });
        table.forget(Instant(3), 100);
        assert_eq!((table.dead(), table.floor()), (2, Incarnation(13)));
        table.forget(Instant(0), 1);
        assert_eq!((table.dead(), table.floor()), (1, Incarnation(14)));
        assert_eq!(say(&mut table, 2, 12, State::Alive, 9, &mut rng), Merge::BelowFloor);
        assert_eq!(say(&mut table, 5, 15, State::Alive, 9, &mut rng), Merge::Stale);
        assert!(matches!(say(&mut table, 2, 15, State::Alive, 9, &mut rng), Merge::New(_)));
    }
}
