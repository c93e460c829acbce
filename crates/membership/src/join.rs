//! One's own way through life: to join, to be told of one's own death and to come back, to leave.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;
use steadfast_types::Instant;
use steadfast_types::time::Duration;

use crate::config::AntiEntropy;
use crate::limits::{JOIN_ADDRESSES, METADATA_BYTES};
use crate::member::{Incarnation, Profile, Record, State};
use crate::membership::{Membership, Sender, Way};
use crate::message::Message;
use crate::output::Event;
use crate::table::{Merge, Slot};
use crate::timers::{Timer, Timers};

/// Returns longer apart than this do not count as one row of failures.
const RETURNS_FORGOTTEN: Duration = Duration::from_secs(600);

/// Where a member is in its life.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    /// Whom to ask for admission, until it is granted.
    joining: Vec<SocketAddr>,
    is_leaving: bool,
    is_over: bool,
    /// Declared dead in this incarnation, not yet returned.
    returning_above: Option<Incarnation>,
    /// When it returns at the latest, whether it is heard or not.
    return_by: Instant,
    returns: u32,
    returned_at: Instant,
    /// A timer looks after the dead.
    pub(crate) dead_watched: bool,
}

impl Lifecycle {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(crate) fn is_returning(&self) -> bool {
        self.returning_above.is_some()
    }

    pub(crate) fn watch_dead(&mut self, at: Instant, timers: &mut Timers) {
        if !core::mem::replace(&mut self.dead_watched, true) {
            timers.set(at, Timer::Forget);
        }
    }

    /// How long to wait before coming back: whoever fails again and again is not told of to all others each time.
    fn backoff(&mut self, now: Instant, most: Duration) -> Duration {
        if now.since(self.returned_at) > RETURNS_FORGOTTEN {
            self.returns = 0;
        }
        let wait = if self.returns == 0 { Duration::ZERO } else { Duration::from_secs(1 << self.returns.min(16)).min(most) };
        (self.returns, self.returned_at) = (self.returns + 1, now + wait);
        wait
    }
}

impl Membership {
    /// Asks the members at these addresses for admission, one after the other, until one answers with its table. Then this member tells of itself,
    /// unless its name is taken.
    pub fn join(&mut self, now: Instant, addresses: &[SocketAddr]) {
        self.tick(now);
        self.life.joining = addresses[..addresses.len().min(JOIN_ADDRESSES)].to_vec();
        self.rng.shuffle(&mut self.life.joining);
        self.on_join_turn();
    }

    /// Whether admission has been asked for and not yet granted.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        !self.life.joining.is_empty()
    }

    pub(crate) fn on_join_turn(&mut self) {
        if self.life.joining.is_empty() || self.life.is_over {
            return;
        }
        self.life.joining.rotate_left(1);
        let packet = self.bare_packet(&Message::Join);
        self.send(self.life.joining[0], Way::Stream, packet);
        let again = self.jitter(self.config.join_retry) + self.config.join_retry;
        self.timers.set(again, Timer::Join);
    }

    pub(crate) fn on_join(&mut self, sender: Sender) {
        if sender.way == Way::Stream {
            let packet = self.whole_table(&Message::Table { floor: self.table.floor() });
            self.send(sender.address, Way::Stream, packet);
        }
    }

    /// The records have been taken in.
    pub(crate) fn on_table(&mut self, floor: Incarnation) {
        self.table.raise_floor(floor);
        if self.life.joining.is_empty() {
            return;
        }
        self.life.joining.clear();
        if !self.claim_name() {
            return;
        }
        self.out.events.push(Event::Admitted);
        self.tell_on(self.own_slot, true);
    }

    /// Whether this member may have its name. One that had it at this very address is an earlier one that is gone.
    fn claim_name(&mut self) -> bool {
        let own = Arc::clone(&self.table.member(self.own_slot).profile);
        let Some(other) = self.table.namesake(self.own_slot) else { return true };
        let (profile, incarnation) = (Arc::clone(&other.profile), other.incarnation);
        if profile.address == own.address {
            let record = Record { id: profile.id, incarnation, state: State::Left, witnesses: Vec::new(), profile: None };
            if let Merge::Changed(slot, before) = self.table.merge(&record, self.now, &mut self.rng) {
                self.on_changed(slot, before, false);
                self.tell_on(slot, false);
            }
            return true;
        }
        if profile.is_elder_than(&own) {
            self.yield_name(&profile);
        }
        own.is_elder_than(&profile)
    }

    /// A member came: two of one name are found out.
    pub(crate) fn check_name(&mut self, slot: Slot) {
        let Some(other) = self.table.namesake(slot) else { return };
        let (one, other) = (Arc::clone(&self.table.member(slot).profile), Arc::clone(&other.profile));
        if one.address == other.address {
            return;
        }
        let (elder, younger) = if one.is_elder_than(&other) { (one, other) } else { (other, one) };
        if younger.id == self.own && !self.is_joining() {
            self.yield_name(&elder);
        } else if younger.id != self.own {
            self.out.events.push(Event::NameConflict { elder: elder.id, younger: younger.id });
        }
    }

    fn yield_name(&mut self, elder: &Profile) {
        self.out.events.push(Event::NameTaken { by: elder.id });
        self.leave(self.now);
    }

    /// Says goodbye. [`Event::Departed`] comes when it has been told.
    pub fn leave(&mut self, now: Instant) {
        self.tick(now);
        if core::mem::replace(&mut self.life.is_leaving, true) {
            return;
        }
        let incarnation = self.incarnation();
        self.table.set(self.own_slot, incarnation, State::Left, self.now, &mut self.rng);
        self.tell_on(self.own_slot, false);
        self.timers.set(self.now + self.config.leave_linger, Timer::Departed);
    }

    pub(crate) fn on_departed(&mut self) {
        self.life.is_over = true;
        self.timers = Timers::default();
        self.out.events.push(Event::Departed);
    }

    /// Sets one's own metadata.
    ///
    /// # Panics
    /// If it is longer than 256 bytes.
    pub fn set_metadata(&mut self, now: Instant, metadata: Bytes) {
        assert!(metadata.len() <= METADATA_BYTES, "at most {METADATA_BYTES} bytes of metadata");
        self.tick(now);
        let version = self.incarnation().next();
        let old = &self.table.member(self.own_slot).profile;
        let profile = Arc::new(Profile { metadata, version, ..(**old).clone() });
        self.table.merge(&Record::alive(profile, version), self.now, &mut self.rng);
        self.note_change();
        self.tell_on(self.own_slot, true);
    }

    /// Somebody speaks of this member. If it is news to itself, it is wrong.
    pub(crate) fn on_word_about_oneself(&mut self, record: &Record) {
        let said = (record.incarnation, record.state);
        if self.life.is_leaving || said <= (self.incarnation(), State::Alive) {
            return;
        }
        match record.state {
            State::Alive => self.come_back(record.incarnation),
            State::Suspect => {
                self.health.worse(1);
                self.come_back(record.incarnation);
            }
            State::Failed | State::Left => self.on_own_death(record.incarnation),
        }
    }

    fn on_own_death(&mut self, incarnation: Incarnation) {
        if let Some(above) = &mut self.life.returning_above {
            *above = (*above).max(incarnation);
            return;
        }
        self.health.worse(1);
        self.life.returning_above = Some(incarnation);
        let most = self.config.return_backoff_max;
        self.life.return_by = self.jitter(most / 4) + most * 3 / 4;
        let wait = self.life.backoff(self.now, most);
        if wait.is_zero() {
            self.on_return();
        } else {
            let at = self.jitter(wait / 4) + wait;
            self.timers.set(at, Timer::Return);
        }
    }

    /// Takes its death back once it is heard again: if it were not, it would be found dead anew at once, and all would be told of both.
    pub(crate) fn on_return(&mut self) {
        let is_heard = self.health.is_steady() || self.table.others() == 0 || self.now >= self.life.return_by;
        if !is_heard {
            self.timers.set(self.now + self.config.probe_interval, Timer::Return);
        } else if let Some(above) = self.life.returning_above.take() {
            self.come_back(above);
        }
    }

    /// Takes back what was said of this member, in an incarnation above it.
    fn come_back(&mut self, above: Incarnation) {
        let incarnation = above.max(self.incarnation()).next();
        self.table.set(self.own_slot, incarnation, State::Alive, self.now, &mut self.rng);
        self.note_change();
        self.tell_on(self.own_slot, false);
        self.out.events.push(Event::Refuted(incarnation));
    }

    /// One of the failed is told so: it may live, on the other side of a cut that has healed.
    pub(crate) fn on_reconnect_turn(&mut self) {
        let Some(interval) = self.config.reconnect_interval else { return };
        let next = self.jitter(interval / 4) + interval;
        self.timers.set(next, Timer::Reconnect);
        let start = self.rng.u64(..);
        if let Some(slot) = self.table.sample_failed(start, |slot| self.may_add_word(slot)) {
            self.begin_last_probe(slot);
        } else if let Some(slot) = self.table.sample_failed(start, |_| true) {
            let target = self.table.member(slot).profile.id;
            self.send_about(slot, &Message::Ping { number: 0, target, is_accused: true });
        }
    }

    /// Whether what comes in this message is told on: a whole table is known to others.
    pub(crate) fn is_news(&self, message: &Message) -> bool {
        match message {
            Message::Table { .. } | Message::Exchange { .. } => matches!(self.config.anti_entropy, AntiEntropy::Full { .. }),
            Message::Join => false,
            Message::Ping { .. }
            | Message::Ack { .. }
            | Message::PingRequest { .. }
            | Message::Nack { .. }
            | Message::Gossip
            | Message::Sums(_)
            | Message::Listings(_)
            | Message::Push
            | Message::Want(_) => true,
        }
    }
}
