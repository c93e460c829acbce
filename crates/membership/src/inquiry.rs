//! Before a member is declared failed, witnesses are asked.
//!
//! Whoever gets no answer from a member holds an inquiry: in rounds it pings the member once more and asks others at random, each time new ones, to ping it too. Each of
//! them says "it answered" or "it was silent", from its own place in the network. That is the idea of Rapid (ATC 2018), that several observers must agree,
//! with observers who are drawn when they are needed; so none must be kept, and it does not matter how many die at once.
//!
//! Invariants:
//! 1. A verdict names its witnesses: at least as many distinct members as are configured pinged it and got no answer, this one included. Fewer
//!    only where fewer are left that are not under suspicion.
//! 2. In the last rounds nobody reached it: the word of one whom it answers outweighs any number of silences.
//!    When more come to know of it, those who can't reach it either add their words (`may_add_word`): others may ask for more than one.
//! 3. A member that hears from no witness, or has paused, or is declared failed itself, accuses nobody. So one with bad links condemns nobody.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use steadfast_types::NodeId;
use steadfast_types::planted::{Bug, is_planted};

use crate::config::Judgement;
use crate::limits::INQUIRIES;
use crate::member::{Incarnation, Record, State};
use crate::membership::Membership;
use crate::message::Message;
use crate::output::Event;
use crate::probe::Probe;
use crate::table::{Member, Merge, Slot};
use crate::timers::Timer;

/// After so many rounds without a verdict it is left to others and to the next probe.
const MOST_ROUNDS: u32 = 9;

/// Who came back from a verdict before gets a round more for each time, up to so many: a slow member is not declared failed again and again.
const MOST_PATIENCE: u64 = 4;

/// What is known of a silent member.
#[derive(Debug)]
pub(crate) struct Inquiry {
    incarnation: Incarnation,
    /// Who pinged it in vain, in any round.
    silent: BTreeSet<NodeId>,
    round: u32,
    /// Rounds up to now, without a break, in which nobody reached it and somebody said so.
    clean_rounds: u8,
}

impl Membership {
    /// A probe got no answer. Its relays are the first witnesses.
    pub(crate) fn open_inquiry(&mut self, slot: Slot, probe: &Probe, is_alone: bool) {
        if is_planted(Bug::VerdictOnOneWord) {
            return self.condemn(slot, &[self.own]);
        }
        if is_alone || !self.may_testify() || self.inquiries.len() >= INQUIRIES || self.inquiries.contains_key(&probe.target) {
            return;
        }
        let silent = probe.silent.iter().copied().chain([self.own]).collect();
        self.inquiries.insert(probe.target, Inquiry { incarnation: probe.incarnation, silent, round: 0, clean_rounds: 0 });
        self.out.events.push(Event::Suspected(probe.target));
        self.schedule_round(probe.target, 0);
    }

    fn schedule_round(&mut self, id: NodeId, round: u32) {
        if let Judgement::Inquiry { pause, .. } = self.config.judgement {
            self.timers.set(self.now + pause, Timer::InquiryRound(id, round));
        }
    }

    pub(crate) fn on_inquiry_round(&mut self, id: NodeId, round: u32) {
        let Judgement::Inquiry { witnesses, .. } = self.config.judgement else { return };
        let Some(incarnation) = self.inquiries.get(&id).filter(|inquiry| inquiry.round == round).map(|inquiry| inquiry.incarnation) else {
            return;
        };
        let current = |slot: &Slot| self.table.member(*slot).incarnation == incarnation && self.table.member(*slot).state.is_active();
        let Some(slot) = self.table.slot(id).filter(current) else { return self.acquit(id) };
        let Some(number) = self.begin_probe(slot, true) else { return self.acquit(id) };
        self.ask_relays(number, id, witnesses);
        self.timers.set(self.now + self.health.stretch(self.config.probe_timeout * 2), Timer::ProbeEnd(number));
    }

    pub(crate) fn on_round_end(&mut self, probe: Probe) {
        let Judgement::Inquiry { rounds, .. } = self.config.judgement else { return };
        let (may_testify, needed, own) = (self.may_testify(), self.words_needed(), self.own);
        let Some(inquiry) = self.inquiries.get_mut(&probe.target).filter(|inquiry| inquiry.incarnation == probe.incarnation) else {
            return;
        };
        inquiry.silent.extend(probe.silent.iter().copied().chain([own]));
        probe.reached.iter().for_each(|witness| {
            inquiry.silent.remove(witness);
        });
        let is_alone = probe.silent.is_empty() && probe.reached.is_empty() && !probe.asked.is_empty();
        let is_clean = probe.reached.is_empty() && !is_alone;
        inquiry.clean_rounds = if is_clean { inquiry.clean_rounds + 1 } else { 0 };
        inquiry.round += 1;
        let (round, silent) = (inquiry.round, inquiry.silent.len());
        let patience = inquiry.incarnation.in_this_life().min(MOST_PATIENCE) as u8;
        let is_proved = inquiry.clean_rounds >= rounds.saturating_add(patience) && silent >= needed;
        let is_over = round > MOST_ROUNDS || probe.reached.len() > probe.silent.len() || !may_testify;
        if is_alone {
            self.health.worse(1);
        }
        match self.table.slot(probe.target) {
            Some(slot) if is_proved && may_testify => self.convict(slot, needed),
            Some(_) if !is_over => self.schedule_round(probe.target, round),
            Some(_) | None => self.acquit(probe.target),
        }
    }

    /// How many must have found a member silent: as configured, or all that are not under suspicion themselves.
    pub(crate) fn words_needed(&self) -> usize {
        let Judgement::Inquiry { words, .. } = self.config.judgement else { return 1 };
        let unsuspected = (self.table.others() + 1).saturating_sub(self.inquiries.len());
        words.min(unsuspected).max(1)
    }

    /// Whether a member was declared failed by fewer than it takes now, and this member, which is well, is not one of them.
    pub(crate) fn may_add_word(&self, slot: Slot) -> bool {
        let said = self.table.witnesses(slot);
        let is_asked =
            matches!(self.config.judgement, Judgement::Inquiry { .. }) && said.len() < self.words_needed() && !said.contains(&self.own);
        is_asked && self.health.is_steady() && self.may_testify()
    }

    /// Pings one that others have found dead.
    pub(crate) fn begin_last_probe(&mut self, slot: Slot) {
        if let Some(number) = self.begin_probe(slot, false) {
            self.timers.set(self.now + self.config.probe_end, Timer::ProbeEnd(number));
        }
    }

    /// Nobody else was asked, and its target is held failed as it was at the beginning.
    pub(crate) fn is_last(&self, probe: &Probe) -> bool {
        let is_dead = |member: &Member| member.state == State::Failed && member.incarnation == probe.incarnation;
        !probe.is_inquiry && probe.asked.is_empty() && self.table.find(probe.target).is_some_and(is_dead)
    }

    /// It was silent for this member too.
    pub(crate) fn add_word(&mut self, probe: &Probe) {
        let Some(slot) = self.table.slot(probe.target).filter(|slot| self.may_add_word(*slot)) else { return };
        let record =
            Record { id: probe.target, incarnation: probe.incarnation, state: State::Failed, witnesses: vec![self.own], profile: None };
        if self.table.merge(&record, self.now, &mut self.rng) == Merge::Added(slot) {
            self.tell_on(slot, false);
        }
    }

    fn convict(&mut self, slot: Slot, needed: usize) {
        let id = self.table.member(slot).profile.id;
        let Some(inquiry) = self.inquiries.remove(&id) else { return };
        // As many as it takes: each costs eight bytes wherever the verdict is told.
        let witnesses: Vec<NodeId> = inquiry.silent.into_iter().take(needed).collect();
        self.condemn(slot, &witnesses);
    }

    /// Declares a member failed, on the word of `witnesses`, and tells it so: it may answer.
    pub(crate) fn condemn(&mut self, slot: Slot, witnesses: &[NodeId]) {
        let member = self.table.member(slot);
        let (id, incarnation) = (member.profile.id, member.incarnation);
        let record = Record { id, incarnation, state: State::Failed, witnesses: witnesses.to_vec(), profile: None };
        if let Merge::Changed(slot, before) = self.table.merge(&record, self.now, &mut self.rng) {
            self.on_changed(slot, before, false);
            if self.table.get(slot).is_some() {
                self.send_about(slot, &Message::Gossip);
            }
        }
    }

    /// It answered, or nothing can be proved.
    pub(crate) fn acquit(&mut self, id: NodeId) {
        if self.inquiries.remove(&id).is_some() {
            self.out.events.push(Event::Cleared(id));
        }
    }

    /// It is known to be dead by other means.
    pub(crate) fn close_inquiry(&mut self, id: NodeId) {
        self.inquiries.remove(&id);
    }
}
