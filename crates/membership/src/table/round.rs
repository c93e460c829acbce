//! The active members in the order of the present probing round, and others drawn from them at random.

use alloc::vec::Vec;

use steadfast_types::Rng;

use super::{Member, NOWHERE, Slot, Table};

impl Table {
    pub(super) fn enter_active(&mut self, slot: Slot, rng: &mut Rng) {
        if self.member(slot).position != NOWHERE {
            return;
        }
        let end = self.active.len();
        self.active.push(slot);
        self.member_mut(slot).position = end as u32;
        self.swap_active(end, rng.usize(0..=end));
    }

    /// Those that are still to come in the round stay so.
    pub(super) fn leave_active(&mut self, slot: Slot) {
        let mut position = self.member(slot).position as usize;
        if position >= self.active.len() {
            return;
        }
        if position < self.cursor {
            self.cursor -= 1;
            self.swap_active(position, self.cursor);
            position = self.cursor;
        }
        self.swap_active(position, self.active.len() - 1);
        self.active.pop();
        self.member_mut(slot).position = NOWHERE;
    }

    fn swap_active(&mut self, one: usize, other: usize) {
        self.active.swap(one, other);
        for position in [one, other] {
            let slot = self.active[position];
            self.member_mut(slot).position = position as u32;
        }
    }

    /// Whose turn it is to be probed: each once a round, and each round in another order (SWIM, section 4.3).
    pub(crate) fn next_in_round(&mut self, rng: &mut Rng) -> Option<Slot> {
        if self.cursor >= self.active.len() {
            self.cursor = 0;
            rng.shuffle(&mut self.active);
            for position in 0..self.active.len() {
                let slot = self.active[position];
                self.member_mut(slot).position = position as u32;
            }
        }
        let slot = self.active.get(self.cursor).copied()?;
        self.cursor += 1;
        Some(slot)
    }

    /// Up to `count` distinct active members at random that `fits`.
    pub(crate) fn sample(&self, count: usize, rng: &mut Rng, fits: impl Fn(&Member) -> bool) -> Vec<Slot> {
        let mut chosen: Vec<Slot> = Vec::with_capacity(count);
        if self.active.len() <= 2 * count {
            chosen.extend(self.active.iter().filter(|slot| fits(self.member(**slot))));
            rng.shuffle(&mut chosen);
            chosen.truncate(count);
            return chosen;
        }
        for _ in 0..4 * count {
            let slot = self.active[rng.usize(0..self.active.len())];
            if chosen.len() < count && !chosen.contains(&slot) && fits(self.member(slot)) {
                chosen.push(slot);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::super::tests::{say, table};
    use crate::member::State;

    #[test]
    fn a_round_has_each_active_member_once_whatever_comes_and_goes() {
        let (mut table, mut rng) = table(50);
        for round in 0..20 {
            let mut seen = BTreeSet::new();
            for turn in 0..table.others() {
                let slot = table.next_in_round(&mut rng).unwrap();
                assert!(table.member(slot).state.is_active());
                assert!(seen.insert(slot), "twice in a round");
                if turn == 10 {
                    // One that has had its turn, and one that may not have had it.
                    let gone = table.member(slot).profile.id.0;
                    say(&mut table, gone, 1 + round, State::Failed, 1, &mut rng);
                    break;
                }
            }
            while table.cursor < table.active.len() {
                assert!(seen.insert(table.next_in_round(&mut rng).unwrap()), "twice in a round");
            }
            assert_eq!(seen.len(), 49 - round as usize);
        }
    }
}
