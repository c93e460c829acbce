//! What is to be told on: who is in the queue, how often each was told, and packets filled with it.
//!
//! The queue holds *whom* something is to be told about; *what* is read from the table as it is sent, so it is always the newest. What was told least often
//! goes first, and nothing more often than a multiple of the logarithm of the size (SWIM, section 4.1).
//!
//! What is new goes out in datagrams of its own; what was told a few times is known to most by then, and goes with pings and answers, which are sent anyway. And what
//! others are heard to tell counts as told (the feedback of Demers et al. 1987, section 1.4).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::limits::DATAGRAM_BYTES;
use crate::table::{Slot, Table};

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Slots by how often they were told. A slot whose member says that it waits elsewhere is left from before.
    levels: Vec<VecDeque<Slot>>,
    waiting: usize,
}

impl Queue {
    /// How many members wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// How many members wait that were told about fewer times than this.
    pub(crate) fn fresh(&self, table: &Table, times: usize) -> usize {
        let waits = |slot: &&Slot, level: usize| table.get(**slot).is_some_and(|member| usize::from(member.level) == level + 1);
        let fresh = self.levels.iter().enumerate().take(times);
        fresh.map(|(level, slots)| slots.iter().filter(|slot| waits(slot, level)).count()).sum()
    }

    /// Something about this member is news.
    pub(crate) fn push(&mut self, table: &mut Table, slot: Slot, with_profile: bool) {
        let member = table.member_mut(slot);
        member.tell_profile |= with_profile;
        if member.level == 0 {
            self.waiting += 1;
        }
        self.put(table, slot, 0);
    }

    fn put(&mut self, table: &mut Table, slot: Slot, level: usize) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, VecDeque::new);
        }
        table.member_mut(slot).level = level as u8 + 1;
        self.levels[level].push_back(slot);
    }

    /// Fills a packet up to a datagram's length, with at most `most` members, each once; how many it were. Told `limit` times, it is told no more.
    pub(crate) fn fill(&mut self, table: &mut Table, out: &mut Vec<u8>, limit: usize, most: usize) -> usize {
        let mut told: Vec<(Slot, usize)> = Vec::new();
        'full: for level in 0..self.levels.len() {
            while told.len() < most
                && let Some(slot) = self.levels[level].pop_front()
            {
                let Some(member) = table.get(slot) else { continue };
                if usize::from(member.level) != level + 1 {
                    continue;
                }
                let (length, with_profile) = (out.len(), member.tell_profile);
                table.put_record(slot, with_profile, out);
                if out.len() > DATAGRAM_BYTES {
                    out.truncate(length);
                    self.levels[level].push_front(slot);
                    break 'full;
                }
                told.push((slot, level + 1));
                // Until it is put back: it is told once in each packet.
                table.member_mut(slot).level = u8::MAX;
            }
        }
        let count = told.len();
        for (slot, times) in told {
            if times < limit {
                self.put(table, slot, times);
            } else {
                self.finish(table, slot);
            }
        }
        count
    }

    /// Another told what waits here to be told: that counts as once.
    pub(crate) fn heard(&mut self, table: &mut Table, slot: Slot, limit: usize) {
        let level = usize::from(table.member(slot).level);
        match level {
            0 => {}
            _ if level < limit => self.put(table, slot, level),
            _ => self.finish(table, slot),
        }
    }

    /// It was told often enough.
    fn finish(&mut self, table: &mut Table, slot: Slot) {
        let member = table.member_mut(slot);
        (member.level, member.tell_profile) = (0, false);
        self.waiting -= 1;
    }

    /// A member was forgotten, or its news is no news any more.
    pub(crate) fn recount(&mut self, table: &Table) {
        self.waiting = table.slots().filter(|(_, member)| member.level > 0).count();
    }
}

/// How often one thing is told by one member: `multiplier` times the digits of the cluster's size, as memberlist counts them.
pub(crate) fn retransmissions(multiplier: usize, members: usize) -> usize {
    let digits = members.checked_ilog10().map_or(1, |log| log as usize + 1);
    (multiplier * digits).min(usize::from(u8::MAX) - 2)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::sync::Arc;
    use core::net::SocketAddr;

    use steadfast_types::{Instant, NodeId, Rng};

    use super::*;
    use crate::member::{Incarnation, Profile, Record, Role, State};

    fn profile(id: u64) -> Arc<Profile> {
        let (name, address) = (format!("n{id}"), SocketAddr::from(([127, 0, 0, 1], 1000 + id as u16)));
        let (version, metadata) = (Incarnation(1), bytes::Bytes::new());
        Arc::new(Profile { id: NodeId(id), name, address, role: Role::Agent, born: 0, version, metadata })
    }

    /// A table of so many others, all of which are news.
    fn queue_of(others: u64) -> (Table, Queue, Vec<Slot>) {
        let mut table = Table::new(profile(0), Incarnation(1), Instant(0));
        let (mut queue, mut rng) = (Queue::default(), Rng::with_seed(1));
        for id in 1..=others {
            let (incarnation, profile) = (Incarnation(1), Some(profile(id)));
            table.merge(&Record { id: NodeId(id), incarnation, state: State::Alive, witnesses: Vec::new(), profile }, Instant(0), &mut rng);
        }
        let slots: Vec<Slot> = (1..=others).filter_map(|id| table.slot(NodeId(id))).collect();
        slots.iter().for_each(|slot| queue.push(&mut table, *slot, false));
        (table, queue, slots)
    }

    #[test]
    fn what_is_heard_counts_as_told() {
        let (mut table, mut queue, slots) = queue_of(2);
        for _ in 0..3 {
            assert_eq!(queue.fill(&mut table, &mut Vec::new(), 5, usize::MAX), 2);
        }
        (0..2).for_each(|_| queue.heard(&mut table, slots[0], 5));
        assert_eq!(queue.fill(&mut table, &mut Vec::new(), 5, usize::MAX), 1, "five times: thrice told, twice heard");
        assert_eq!((queue.fill(&mut table, &mut Vec::new(), 5, usize::MAX), queue.len()), (1, 0));
        queue.heard(&mut table, slots[0], 5);
        assert_eq!(queue.len(), 0, "what waits nowhere is told no more");
    }

    #[test]
    fn news_is_fresh_until_it_was_told_a_few_times() {
        let (mut table, mut queue, slots) = queue_of(3);
        assert_eq!(queue.fresh(&table, 2), 3);
        queue.fill(&mut table, &mut Vec::new(), 9, usize::MAX);
        queue.heard(&mut table, slots[1], 9);
        assert_eq!((queue.fresh(&table, 2), queue.len()), (2, 3));
        queue.push(&mut table, slots[1], false);
        assert_eq!(queue.fresh(&table, 2), 3, "it is news again");
    }
}
