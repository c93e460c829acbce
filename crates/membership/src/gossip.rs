//! What is to be told on: who is in the queue, how often each was told, and packets filled with it.
//!
//! The queue holds *whom* something is to be told about; *what* is read from the table as it is sent, so it is always the newest. What was told least often
//! goes first, and nothing more often than a multiple of the logarithm of the size (SWIM, section 4.1).

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
                let member = table.member_mut(slot);
                (member.level, member.tell_profile) = (0, false);
                self.waiting -= 1;
            }
        }
        count
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
