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
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId, Rng};

use crate::config::{AntiEntropy, Config};
use crate::gossip::Queue;
use crate::health::Health;
use crate::inquiry::Inquiry;
use crate::join::Lifecycle;
use crate::limits::{DATAGRAM_BYTES, METADATA_BYTES, STREAM_BYTES};
use crate::member::{Incarnation, Profile, Record, State};
use crate::message::{Header, Message, Packet, PacketError};
use crate::output::{Event, Outputs};
use crate::probe::Probes;
use crate::sync::Sync;
use crate::table::{Slot, Table};
use crate::timers::{Timer, Timers};

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
    pub(crate) failures: (Instant, usize),
    /// A gossip tick is due.
    pub(crate) gossiping: bool,
    /// What is being taken in is told on.
    pub(crate) is_news: bool,
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
                if is_planted(Bug::SenderRevives)
                    && state == State::Failed
                    && let Some(slot) = self.table.slot(header.from)
                {
                    self.table.set(slot, header.incarnation, State::Alive, self.now, &mut self.rng);
                    return self.on_changed(slot, state, false);
                }
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

    pub(crate) fn watch_dead(&mut self) {
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
