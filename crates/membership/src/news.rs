//! Records that were heard: what they change here, and what follows from that.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Judgement;
use crate::member::{Record, State};
use crate::membership::{Membership, Sender};
use crate::output::Event;
use crate::table::{Merge, Slot};

impl Membership {
    pub(crate) fn take_records(&mut self, sender: Sender, records: &[Record], is_push: bool) {
        let mut unknown = Vec::new();
        for record in records {
            if record.id == self.own {
                self.on_word_about_oneself(record);
            } else if self.take_record(sender, record, is_push) == Merge::Unknown {
                unknown.push(record.id);
            }
        }
        if !unknown.is_empty() {
            self.want(sender, &unknown);
        }
    }

    /// Takes a record about another in, and does what follows from it.
    pub(crate) fn take_record(&mut self, sender: Sender, record: &Record, is_push: bool) -> Merge {
        let held = self.table.find(record.id).map(|member| member.profile.version);
        let has_news = record.profile.as_ref().is_some_and(|profile| held.is_none_or(|held| held < profile.version));
        let merge = self.table.merge(record, self.now, &mut self.rng);
        match merge {
            Merge::Stale => self.on_known(sender, record, is_push),
            Merge::Unknown => {}
            Merge::BelowFloor => self.answer_forgotten(sender, record),
            Merge::New(slot) => self.on_new(slot, has_news),
            Merge::Changed(slot, before) => self.on_changed(slot, before, has_news),
            Merge::Added(slot) => self.on_added(slot, record.state, has_news),
        }
        merge
    }

    /// A record that tells nothing new: others know it too, or are to hear that it is out of date.
    fn on_known(&mut self, sender: Sender, record: &Record, is_push: bool) {
        if let Some(slot) = self.table.slot(record.id)
            && self.counts_as_told(self.table.member(slot), record)
        {
            let limit = self.times_to_tell();
            self.queue.heard(&mut self.table, slot, limit);
        }
        self.answer_outdated(sender, record, is_push);
    }

    fn on_new(&mut self, slot: Slot, has_profile: bool) {
        self.note_change();
        self.pass_on(slot, has_profile);
        let Some(member) = self.table.get(slot) else { return };
        if !member.state.is_active() {
            self.watch_dead();
            return;
        }
        let (profile, state) = (Arc::clone(&member.profile), member.state);
        self.out.events.push(Event::Joined(profile));
        self.check_name(slot);
        if state == State::Suspect {
            self.begin_suspicion(slot);
        }
    }

    pub(crate) fn on_changed(&mut self, slot: Slot, before: State, has_profile: bool) {
        self.note_change();
        self.pass_on(slot, has_profile);
        let member = self.table.member(slot);
        let (id, incarnation, state) = (member.profile.id, member.incarnation, member.state);
        match state {
            State::Alive => self.on_alive(slot, before, has_profile),
            State::Suspect => {
                self.out.events.push(Event::Suspected(id));
                self.begin_suspicion(slot);
            }
            State::Failed | State::Left => {
                self.failures = match self.failed_lately() {
                    0 => (self.now, 1),
                    some => (self.failures.0, some + 1),
                };
                self.close_inquiry(id);
                self.suspected_at.remove(&id);
                self.watch_dead();
                self.out.events.push(match state {
                    State::Left => Event::Left(id, incarnation),
                    State::Alive | State::Suspect | State::Failed => Event::Failed(id, incarnation),
                });
            }
        }
    }

    fn on_alive(&mut self, slot: Slot, before: State, has_profile: bool) {
        let (profile, incarnation) = (Arc::clone(&self.table.member(slot).profile), self.table.member(slot).incarnation);
        let id = profile.id;
        match before {
            State::Alive if has_profile => self.out.events.push(Event::Changed(profile)),
            State::Alive => {}
            State::Suspect => self.out.events.push(Event::Cleared(id)),
            State::Failed | State::Left => {
                self.out.events.push(Event::Returned(id, incarnation));
                self.check_name(slot);
            }
        }
        self.suspected_at.remove(&id);
        if self.inquiries.contains_key(&id) {
            self.close_inquiry(id);
            self.out.events.push(Event::Cleared(id));
        }
    }

    pub(crate) fn on_added(&mut self, slot: Slot, state: State, has_profile: bool) {
        if has_profile {
            self.note_change();
            self.pass_on(slot, true);
        }
        if state == State::Suspect && self.confirms() {
            self.pass_on(slot, false);
            self.begin_suspicion(slot);
        }
        // A word that was lacking; others are worth nothing to anybody.
        if state == State::Failed && self.table.witnesses(slot).len() <= self.words_needed() {
            self.pass_on(slot, false);
        }
    }

    /// Whether words of others shorten a suspicion.
    fn confirms(&self) -> bool {
        matches!(self.config.judgement, Judgement::Suspicion { stretch: 2.., .. })
    }
}
