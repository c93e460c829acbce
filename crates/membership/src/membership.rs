//! The core itself: its state, its inputs, and the dispatch of packets and timers. What each does is in the file of its concept.
//!
//! Invariants:
//! 1. Time never goes back.
//! 2. One's own record is the greatest that is known of oneself: whatever else is heard is answered with a greater incarnation.
//! 3. A packet takes effect as a whole or not at all.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId, Rng};

use crate::config::{AntiEntropy, Config, Judgement};
use crate::gossip::{Queue, retransmissions};
use crate::health::Health;
use crate::inquiry::Inquiry;
use crate::join::Lifecycle;
use crate::limits::{DATAGRAM_BYTES, METADATA_BYTES, STREAM_BYTES};
use crate::member::{Incarnation, Profile, Record, State};
use crate::message::{Header, Message, Packet, PacketError, begin};
use crate::output::{Event, Outputs};
use crate::probe::Probes;
use crate::sync::Sync;
use crate::table::{Merge, Slot, Table};
use crate::timers::{Timer, Timers};

/// Failures within this time say how many more there may be.
const LATELY: Duration = Duration::from_secs(20);

/// How a packet came, and how its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Datagram,
    Stream,
}

/// A packet's sender, and where answers to it go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) id: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) way: Way,
}

/// Own health, for whoever weighs this member's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnHealth {
    /// 0 is well.
    pub score: u8,
    /// It paused, and casts no verdicts yet.
    pub is_quiet: bool,
}

/// One member of a cluster. The crate's documentation says how to drive it.
#[derive(Debug)]
pub struct Membership {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) now: Instant,
    pub(crate) own: NodeId,
    pub(crate) own_slot: Slot,
    pub(crate) table: Table,
    pub(crate) queue: Queue,
    pub(crate) timers: Timers,
    pub(crate) probes: Probes,
    pub(crate) inquiries: BTreeMap<NodeId, Inquiry>,
    pub(crate) suspected_at: BTreeMap<NodeId, Instant>,
    pub(crate) health: Health,
    pub(crate) sync: Sync,
    pub(crate) life: Lifecycle,
    /// Since when so many were found dead.
    failures: (Instant, usize),
    /// A gossip tick is due.
    gossiping: bool,
    /// What is being taken in is told on.
    is_news: bool,
    pub(crate) out: Outputs,
}

impl Membership {
    /// A member that knows nobody yet. `incarnation` must be above all of its earlier lives ([`Incarnation::of_life`]).
    ///
    /// # Panics
    /// If the profile is not valid, or the probe's times contradict each other.
    #[must_use]
    pub fn new(config: Config, profile: Profile, incarnation: Incarnation, seed: u64, now: Instant) -> Self {
        assert!(profile.is_valid(), "a name of 1 to 63 bytes, and at most {METADATA_BYTES} bytes of metadata");
        let profile = Arc::new(Profile { version: incarnation, ..profile });
        let table = Table::new(profile, incarnation, now);
        Membership::with_table(config, table, seed, now)
    }

    /// A member that has been part of its cluster: its table says who it is.
    ///
    /// # Panics
    /// If the probe's times contradict each other.
    #[must_use]
    pub fn with_table(config: Config, table: Table, seed: u64, now: Instant) -> Self {
        assert!(config.probe_timeout < config.probe_end, "a ping's time must end before the probe");
        let own_slot = table.slot(table.own()).expect("the table's owner is in it");
        let mut member = Membership {
            rng: Rng::with_seed(seed),
            own: table.own(),
            own_slot,
            queue: Queue::default(),
            timers: Timers::default(),
            probes: Probes::default(),
            inquiries: BTreeMap::new(),
            suspected_at: BTreeMap::new(),
            health: Health::new(config.own_health_worst),
            sync: Sync::new(now),
            life: Lifecycle::default(),
            failures: (now, 0),
            gossiping: false,
            is_news: true,
            out: Outputs::default(),
            now,
            table,
            config,
        };
        member.start_timers();
        member
    }

    fn start_timers(&mut self) {
        let probe = self.jitter(self.config.probe_interval);
        self.timers.set(probe, Timer::Probe);
        if let AntiEntropy::Full { interval } = self.config.anti_entropy {
            let first = self.jitter(self.exchange_interval(interval));
            self.timers.set(first, Timer::Exchange);
        }
        if let Some(interval) = self.config.reconnect_interval {
            let first = self.jitter(interval);
            self.timers.set(first, Timer::Reconnect);
        }
    }

    /// A time within the next `interval`: members that start together must not stay in step.
    pub(crate) fn jitter(&mut self, interval: Duration) -> Instant {
        self.now + Duration::from_micros(self.rng.u64(..=(interval.as_micros() as u64)))
    }

    /// Everybody that is known, and who one is oneself.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// One's own id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.own
    }

    /// One's own incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.table.member(self.own_slot).incarnation
    }

    /// What is held of a member: suspect also while an inquiry about it goes on here.
    #[must_use]
    pub fn state(&self, id: NodeId) -> Option<State> {
        let state = self.table.find(id)?.state;
        Some(if state == State::Alive && self.inquiries.contains_key(&id) { State::Suspect } else { state })
    }

    /// How well this member is itself.
    #[must_use]
    pub fn own_health(&self) -> OwnHealth {
        OwnHealth { score: self.health.score(), is_quiet: self.health.is_quiet(self.now) }
    }

    /// When [`Membership::tick`] is to be called next, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.timers.next()
    }

    /// Moves time forward, and does what is due. A time earlier than the last one counts as that one.
    pub fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.notice_pause();
        while let Some(timer) = self.timers.take(self.now) {
            self.on_timer(timer);
        }
    }

    /// A turn that comes much later than it was due was a pause: whatever should have come in meanwhile still waits outside.
    fn notice_pause(&mut self) {
        let late = self.now.since(self.timers.next().min(self.now));
        if self.config.pause_limit.is_none_or(|limit| late <= limit) {
            return;
        }
        self.timers.put_off(late);
        self.health.paused(self.now + self.config.quiet_after_pause);
        self.abandon_probes();
        self.out.events.push(Event::Paused(late));
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Probe => self.on_probe_turn(),
            Timer::Gossip => self.on_gossip_turn(),
            Timer::PingLate(number) => self.on_ping_late(number),
            Timer::ProbeEnd(number) => self.on_probe_end(number),
            Timer::RelayEnd(number) => self.on_relay_end(number),
            Timer::InquiryRound(id, round) => self.on_inquiry_round(id, round),
            Timer::Suspicion(id, incarnation) => self.on_suspicion_over(id, incarnation),
            Timer::Exchange => self.on_exchange_turn(),
            Timer::Reconnect => self.on_reconnect_turn(),
            Timer::Forget => self.on_forget_turn(),
            Timer::Join => self.on_join_turn(),
            Timer::Return => self.on_return(),
            Timer::Departed => self.on_departed(),
        }
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// If it is none of this cluster's. Nothing but time has changed.
    pub fn receive_datagram(&mut self, now: Instant, from: SocketAddr, bytes: Bytes) -> Result<(), PacketError> {
        self.receive(now, from, bytes, Way::Datagram)
    }

    /// Takes a message that came by stream. Answers to it go to `from`, whatever that is to the shell.
    ///
    /// # Errors
    /// If it is none of this cluster's. Nothing but time has changed.
    pub fn receive_stream(&mut self, now: Instant, from: SocketAddr, bytes: Bytes) -> Result<(), PacketError> {
        self.receive(now, from, bytes, Way::Stream)
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: Bytes, way: Way) -> Result<(), PacketError> {
        self.tick(now);
        let most = match way {
            Way::Datagram => DATAGRAM_BYTES,
            Way::Stream => STREAM_BYTES,
        };
        if bytes.len() > most {
            return Err(PacketError::Length(bytes.len()));
        }
        let packet = Packet::decode(bytes, self.config.cluster)?;
        if packet.header.from == self.own {
            return Err(PacketError::Own);
        }
        if !self.life.is_over() {
            self.on_packet(Sender { id: packet.header.from, address: from, way }, packet);
        }
        Ok(())
    }

    fn on_packet(&mut self, sender: Sender, packet: Packet) {
        let Packet { header, message, records } = packet;
        let is_push = matches!(message, Message::Push);
        let compares = matches!(message, Message::Ping { .. } | Message::Ack { .. }) && sender.way == Way::Datagram;
        self.is_news = self.is_news(&message);
        self.hear_sender(sender, header, &message);
        self.take_records(sender, &records, is_push);
        match message {
            Message::Ping { number, target, is_accused } => self.on_ping(sender, number, target, is_accused),
            Message::Ack { number } => self.on_ack(sender, number),
            Message::PingRequest { number, target } => self.on_ping_request(sender, number, target),
            Message::Nack { number } => self.on_nack(sender, number),
            Message::Gossip | Message::Push => {}
            Message::Sums(sums) => self.on_sums(sender, &sums),
            Message::Listings(listings) => self.on_listings(sender, &listings),
            Message::Want(ids) => self.on_want(sender, &ids),
            Message::Join => self.on_join(sender),
            Message::Table { floor } => self.on_table(floor),
            Message::Exchange { floor } => self.on_exchange(sender, floor),
        }
        self.is_news = true;
        if compares {
            self.compare_digest(sender, header.digest);
        }
    }

    /// That a member speaks says that it lives in this incarnation, whatever is told about it.
    fn hear_sender(&mut self, sender: Sender, header: Header, message: &Message) {
        let record = Record { id: header.from, incarnation: header.incarnation, state: State::Alive, witnesses: Vec::new(), profile: None };
        match self.table.find(header.from).map(|member| (member.incarnation, member.state)) {
            Some((incarnation, _)) if incarnation < header.incarnation => {
                self.take_record(sender, &record, false);
            }
            Some((_, state)) if !state.is_active() => {
                if matches!(message, Message::Ping { .. } | Message::PingRequest { .. } | Message::Ack { .. }) {
                    // It does not know what is said of it.
                    self.tell(sender, &[header.from]);
                }
            }
            Some(_) => {}
            None if matches!(message, Message::Ping { .. } | Message::PingRequest { .. }) => {
                self.want(sender, &[header.from]);
            }
            None => {}
        }
    }

    fn take_records(&mut self, sender: Sender, records: &[Record], is_push: bool) {
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
    fn take_record(&mut self, sender: Sender, record: &Record, is_push: bool) -> Merge {
        let held = self.table.find(record.id).map(|member| member.profile.version);
        let has_news = record.profile.as_ref().is_some_and(|profile| held.is_none_or(|held| held < profile.version));
        let merge = self.table.merge(record, self.now, &mut self.rng);
        match merge {
            Merge::Stale => self.answer_outdated(sender, record, is_push),
            Merge::Unknown => {}
            Merge::BelowFloor => self.answer_forgotten(sender, record),
            Merge::New(slot) => self.on_new(slot, has_news),
            Merge::Changed(slot, before) => self.on_changed(slot, before, has_news),
            Merge::Added(slot) => self.on_added(slot, record.state, has_news),
        }
        merge
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
    }

    /// Whether words of others shorten a suspicion.
    fn confirms(&self) -> bool {
        matches!(self.config.judgement, Judgement::Suspicion { stretch: 2.., .. })
    }

    /// Tells on what was heard, if others may not have heard it.
    fn pass_on(&mut self, slot: Slot, with_profile: bool) {
        if self.is_news {
            self.tell_on(slot, with_profile);
        }
    }

    /// Puts a member's record into the queue.
    pub(crate) fn tell_on(&mut self, slot: Slot, with_profile: bool) {
        self.queue.push(&mut self.table, slot, with_profile);
        if !core::mem::replace(&mut self.gossiping, true) {
            let next = self.jitter(self.config.gossip_interval);
            self.timers.set(next, Timer::Gossip);
        }
    }

    fn on_gossip_turn(&mut self) {
        self.gossiping = self.queue.len() > 0;
        if !self.gossiping {
            return;
        }
        self.timers.set(self.now + self.config.gossip_interval, Timer::Gossip);
        for slot in self.table.sample(self.config.gossip_fanout, &mut self.rng, |_| true) {
            let address = self.table.member(slot).profile.address;
            // All that waits once, in as many datagrams as that takes: what is told twice to one is not told to another.
            let mut left = self.queue.len();
            for _ in 0..self.config.gossip_burst {
                let mut datagram = self.bare_packet(&Message::Gossip);
                let limit = self.times_to_tell();
                left -= self.queue.fill(&mut self.table, &mut datagram, limit, left);
                self.out.datagrams.push((address, datagram));
                if left == 0 {
                    break;
                }
            }
            if self.queue.len() == 0 {
                return;
            }
        }
    }

    /// A packet with what is to be told.
    pub(crate) fn packet(&mut self, message: &Message) -> Vec<u8> {
        let mut out = self.bare_packet(message);
        let limit = self.times_to_tell();
        self.queue.fill(&mut self.table, &mut out, limit, usize::MAX);
        out
    }

    /// How often one thing is told. When many have failed lately, others may be dead that are not known to be, and what they are told is lost: up to
    /// twice as often.
    fn times_to_tell(&self) -> usize {
        let times = retransmissions(self.config.retransmit_multiplier, self.table.others() + 1).max(self.config.retransmit_least);
        let (lost, others) = (self.failed_lately(), self.table.others());
        if self.config.retransmit_least > 1 { times + times * lost / (others + lost).max(1) } else { times }
    }

    /// How many were found dead since the first of a row, which ends after [`LATELY`].
    fn failed_lately(&self) -> usize {
        if self.now.since(self.failures.0) > LATELY { 0 } else { self.failures.1 }
    }

    /// A packet with nothing besides.
    pub(crate) fn bare_packet(&self, message: &Message) -> Vec<u8> {
        let mut out = Vec::with_capacity(if self.queue.len() > 0 { DATAGRAM_BYTES + 512 } else { 64 });
        let header = Header { from: self.own, incarnation: self.incarnation(), digest: self.table.digest() };
        begin(&mut out, self.config.cluster, header, message);
        out
    }

    pub(crate) fn send(&mut self, to: SocketAddr, way: Way, packet: Vec<u8>) {
        match way {
            Way::Datagram => self.out.datagrams.push((to, packet)),
            Way::Stream => self.out.streams.push((to, packet)),
        }
    }

    /// Sends a message by datagram to a member, with what is to be told.
    pub(crate) fn send_to(&mut self, slot: Slot, message: &Message) {
        let (address, datagram) = (self.table.member(slot).profile.address, self.packet(message));
        self.out.datagrams.push((address, datagram));
    }

    fn watch_dead(&mut self) {
        if self.table.dead() > self.config.dead_count {
            self.table.forget(self.now - self.config.dead_age, self.config.dead_count);
            self.queue.recount(&self.table);
        }
        if let Some(first) = self.table.first_death() {
            self.life.watch_dead(first + self.config.dead_age, &mut self.timers);
        }
    }

    fn on_forget_turn(&mut self) {
        self.life.dead_watched = false;
        self.table.forget(self.now - self.config.dead_age, self.config.dead_count);
        self.queue.recount(&self.table);
        self.watch_dead();
    }

    /// Moves everything that came out since the last call into `into`, whose own contents are dropped.
    pub fn take_outputs(&mut self, into: &mut Outputs) {
        into.clear();
        core::mem::swap(into, &mut self.out);
    }
}
