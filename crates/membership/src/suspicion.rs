//! Suspicion as SWIM has it (section 4.2): told to everybody, taken back by the suspect in a new incarnation, and ending in failure by time.
//!
//! With Lifeguard (section 4.2 there) it lasts longest while one member alone has doubts, and shrinks with each that has probed the suspect in vain too.

use alloc::vec;

use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use crate::config::Judgement;
use crate::member::{Incarnation, Record, State};
use crate::membership::Membership;
use crate::table::{Merge, Slot};
use crate::timers::Timer;

impl Membership {
    /// Says that a member did not answer this one.
    pub(crate) fn suspect(&mut self, slot: Slot) {
        if self.health.is_quiet(self.now) {
            return;
        }
        let member = self.table.member(slot);
        let (id, incarnation) = (member.profile.id, member.incarnation);
        let record = Record { id, incarnation, state: State::Suspect, witnesses: vec![self.own], profile: None };
        match self.table.merge(&record, self.now, &mut self.rng) {
            Merge::Changed(slot, before) => self.on_changed(slot, before, false),
            Merge::Added(slot) => self.on_added(slot, State::Suspect, false),
            Merge::Stale | Merge::Unknown | Merge::BelowFloor | Merge::New(_) => {}
        }
    }

    /// Sets the suspicion's timer, or an earlier one when there are more words.
    pub(crate) fn begin_suspicion(&mut self, slot: Slot) {
        let member = self.table.member(slot);
        let (id, incarnation) = (member.profile.id, member.incarnation);
        let began = *self.suspected_at.entry(id).or_insert(self.now);
        self.timers.set(began + self.suspicion_time(slot), Timer::Suspicion(id, incarnation));
    }

    fn suspicion_time(&self, slot: Slot) -> Duration {
        let (multiplier, stretch) = match self.config.judgement {
            Judgement::Suspicion { multiplier, stretch } => (multiplier, stretch),
            // Told by a member that is configured otherwise: as long as it would last there.
            Judgement::Inquiry { .. } => (4, 1),
        };
        let others = self.table.others();
        let digits_permille = log10_permille(others as u64 + 1).max(1000);
        let least = self.config.probe_interval * multiplier * digits_permille / 1000;
        let expected = multiplier.saturating_sub(2);
        if stretch <= 1 || others < expected as usize + 1 {
            return least;
        }
        let confirmations = self.table.witnesses(slot).len().saturating_sub(1) as u64;
        let share = log10_permille(confirmations + 1) * 1000 / log10_permille(u64::from(expected) + 1).max(1);
        least + least * (stretch - 1) * (1000 - share.min(1000)) / 1000
    }

    pub(crate) fn on_suspicion_over(&mut self, id: NodeId, incarnation: Incarnation) {
        let Some(slot) = self.table.slot(id) else { return };
        let member = self.table.member(slot);
        if member.state == State::Suspect && member.incarnation == incarnation {
            let witnesses = self.table.witnesses(slot).to_vec();
            self.condemn(slot, &witnesses);
        }
    }
}

/// A thousand times the decimal logarithm, by squaring: cores have no floating-point functions.
fn log10_permille(number: u64) -> u32 {
    const BITS: u32 = 16;
    const LOG10_OF_2_MILLIONTHS: u64 = 301_030;
    let whole = number.max(1).ilog2();
    // The mantissa, from 1 up to 2, with 32 bits behind the point.
    let mut mantissa = (u128::from(number.max(1)) << 32) >> whole;
    let mut log2 = u64::from(whole);
    for _ in 0..BITS {
        mantissa = (mantissa * mantissa) >> 32;
        log2 <<= 1;
        if mantissa >= 2 << 32 {
            mantissa >>= 1;
            log2 += 1;
        }
    }
    (((log2 * LOG10_OF_2_MILLIONTHS) >> BITS) / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::log10_permille;

    #[test]
    fn logarithms_are_near_enough() {
        for (number, permille) in [(0, 0), (1, 0), (2, 301), (3, 477), (10, 1000), (100, 2000), (3162, 3500), (10_000, 4000)] {
            assert!(log10_permille(number).abs_diff(permille) <= 1, "{number}: {}", log10_permille(number));
        }
    }
}
