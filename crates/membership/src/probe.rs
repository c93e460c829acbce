//! Probing: each member pings one other an interval; who does not answer is pinged by relays and by stream (SWIM, section 4.1).
//!
//! A relay that got no answer says so, which is worth two things: whoever asked knows that it is not cut off itself (Lifeguard's nack), and has a witness.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use crate::config::Judgement;
use crate::limits::{PROBES, RELAYED_PINGS};
use crate::member::{Incarnation, State};
use crate::membership::{Membership, Sender, Way};
use crate::message::Message;
use crate::table::Slot;
use crate::timers::Timer;

/// A member that was pinged, and what came back.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) target: NodeId,
    pub(crate) incarnation: Incarnation,
    /// It is a round of an inquiry, not of the usual round.
    pub(crate) is_inquiry: bool,
    /// Who was asked to ping too.
    pub(crate) asked: Vec<NodeId>,
    /// Who of them reached it.
    pub(crate) reached: Vec<NodeId>,
    /// Who of them did not.
    pub(crate) silent: Vec<NodeId>,
}

/// A ping for somebody else.
#[derive(Debug)]
struct Relayed {
    asker: SocketAddr,
    number: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Probes {
    own: BTreeMap<u32, Probe>,
    relayed: BTreeMap<u32, Relayed>,
    number: u32,
}

impl Probes {
    fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    pub(crate) fn take(&mut self, number: u32) -> Option<Probe> {
        self.own.remove(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Probe> {
        self.own.get_mut(&number)
    }
}

impl Membership {
    pub(crate) fn on_probe_turn(&mut self) {
        self.timers.set(self.now + self.patient(self.config.probe_interval), Timer::Probe);
        let Some(slot) = self.table.next_in_round(&mut self.rng) else { return };
        if self.inquiries.contains_key(&self.table.member(slot).profile.id) {
            return;
        }
        if let Some(number) = self.begin_probe(slot, false) {
            self.timers.set(self.now + self.patient(self.config.probe_timeout), Timer::PingLate(number));
            self.timers.set(self.now + self.patient(self.config.probe_end), Timer::ProbeEnd(number));
        }
    }

    /// The worse one's own health, the longer others have to answer; but who was declared dead has to find out soon whether it is heard again, and accuses nobody.
    fn patient(&self, time: Duration) -> Duration {
        if self.life.is_returning() { time } else { self.health.stretch(time) }
    }

    /// Pings a member, and remembers it.
    pub(crate) fn begin_probe(&mut self, slot: Slot, is_inquiry: bool) -> Option<u32> {
        if self.probes.own.len() >= PROBES {
            return None;
        }
        let number = self.probes.next_number();
        let member = self.table.member(slot);
        let (target, incarnation, state) = (member.profile.id, member.incarnation, member.state);
        let probe = Probe { target, incarnation, is_inquiry, asked: Vec::new(), reached: Vec::new(), silent: Vec::new() };
        self.probes.own.insert(number, probe);
        let is_failed = state == State::Failed;
        let ping = Message::Ping { number, target, is_accused: is_inquiry || is_failed };
        if is_failed || state == State::Suspect && self.config.own_health_worst > 0 {
            // The suspect hears it first (Lifeguard, section 4.3).
            self.send_about(slot, &ping);
        } else {
            self.send_to(slot, &ping);
        }
        Some(number)
    }

    /// Sends a member a message together with what is held of it.
    pub(crate) fn send_about(&mut self, slot: Slot, message: &Message) {
        let mut packet = self.bare_packet(message);
        self.table.put_record(slot, false, &mut packet);
        let address = self.table.member(slot).profile.address;
        self.out.datagrams.push((address, packet));
    }

    pub(crate) fn on_ping_late(&mut self, number: u32) {
        let Some(target) = self.probes.own.get(&number).map(|probe| probe.target) else { return };
        let Some(slot) = self.table.slot(target) else { return };
        self.ask_relays(number, target, self.config.relays);
        if self.config.stream_ping {
            let packet = self.bare_packet(&Message::Ping { number, target, is_accused: false });
            let address = self.table.member(slot).profile.address;
            self.send(address, Way::Stream, packet);
        }
    }

    /// Asks others at random to ping `target` too: none that are under suspicion themselves.
    pub(crate) fn ask_relays(&mut self, number: u32, target: NodeId, count: usize) {
        let Membership { table, rng, inquiries, .. } = self;
        let fits = |id: NodeId| id != target && !inquiries.contains_key(&id);
        let relays = table.sample(count, rng, |member| member.state == State::Alive && fits(member.profile.id));
        let ids: Vec<NodeId> = relays.iter().map(|slot| self.table.member(*slot).profile.id).collect();
        if let Some(probe) = self.probes.get_mut(number) {
            probe.asked = ids;
        }
        for relay in relays {
            self.send_to(relay, &Message::PingRequest { number, target });
        }
    }

    pub(crate) fn on_ping(&mut self, sender: Sender, number: u32, target: NodeId, is_accused: bool) {
        if target != self.own {
            return;
        }
        let ack = match sender.way {
            Way::Datagram => self.packet(&Message::Ack { number }),
            Way::Stream => self.bare_packet(&Message::Ack { number }),
        };
        self.send(sender.address, sender.way, ack);
        if is_accused {
            self.out.events.push(crate::Event::Accused { by: sender.id });
        }
    }

    pub(crate) fn on_ping_request(&mut self, sender: Sender, number: u32, target: NodeId) {
        let Some(slot) = self.table.slot(target) else { return };
        let member = self.table.member(slot);
        let is_gone = member.state == State::Left || member.profile.name.is_empty();
        if is_gone || sender.way == Way::Stream || self.probes.relayed.len() >= RELAYED_PINGS {
            return;
        }
        let own_number = self.probes.next_number();
        self.probes.relayed.insert(own_number, Relayed { asker: sender.address, number });
        self.timers.set(self.now + self.config.probe_timeout, Timer::RelayEnd(own_number));
        self.send_to(slot, &Message::Ping { number: own_number, target, is_accused: false });
    }

    /// A relay's ping got no answer: it testifies, if it is well itself.
    pub(crate) fn on_relay_end(&mut self, number: u32) {
        let Some(relayed) = self.probes.relayed.remove(&number) else { return };
        if self.config.own_health_worst > 0 && self.may_testify() {
            let nack = self.packet(&Message::Nack { number: relayed.number });
            self.out.datagrams.push((relayed.asker, nack));
        }
    }

    /// Whether this member's word about others is worth something.
    pub(crate) fn may_testify(&self) -> bool {
        self.health.may_testify(self.now) && !self.life.is_returning()
    }

    pub(crate) fn on_ack(&mut self, sender: Sender, number: u32) {
        if let Some(relayed) = self.probes.relayed.remove(&number) {
            let ack = self.packet(&Message::Ack { number: relayed.number });
            self.out.datagrams.push((relayed.asker, ack));
            return;
        }
        let Some(probe) = self.probes.own.get_mut(&number) else { return };
        let (is_target, is_relay) = (probe.target == sender.id, probe.asked.contains(&sender.id));
        if probe.is_inquiry && is_relay && !probe.reached.contains(&sender.id) {
            probe.reached.push(sender.id);
        } else if is_target || is_relay {
            let target = probe.target;
            self.probes.own.remove(&number);
            self.health.heard();
            self.acquit(target);
        }
    }

    pub(crate) fn on_nack(&mut self, sender: Sender, number: u32) {
        let Some(probe) = self.probes.own.get_mut(&number) else { return };
        if probe.asked.contains(&sender.id) && !probe.silent.contains(&sender.id) {
            probe.silent.push(sender.id);
        }
    }

    pub(crate) fn on_probe_end(&mut self, number: u32) {
        let Some(probe) = self.probes.take(number) else { return };
        if probe.is_inquiry {
            return self.on_round_end(probe);
        }
        if self.is_last(&probe) {
            return self.add_word(&probe);
        }
        let is_alone = probe.silent.is_empty() && !probe.asked.is_empty();
        if is_alone {
            // Not one relay's word came: it may be this member that nobody hears.
            self.health.unheard();
        } else if probe.asked.is_empty() {
            // Nobody is left who could say that it is this member's fault; an earlier pause is not held against it for ever.
            self.health.better();
        }
        let Some(slot) = self.table.slot(probe.target) else { return };
        let member = self.table.member(slot);
        if member.incarnation != probe.incarnation || !member.state.is_active() {
            return;
        }
        match self.config.judgement {
            Judgement::Suspicion { .. } => self.suspect(slot),
            Judgement::Inquiry { .. } => self.open_inquiry(slot, &probe, is_alone),
        }
    }

    /// After a pause nothing that was under way says anything.
    pub(crate) fn abandon_probes(&mut self) {
        self.probes.own.clear();
        self.probes.relayed.clear();
        for (id, _) in core::mem::take(&mut self.inquiries) {
            self.out.events.push(crate::Event::Cleared(id));
        }
    }
}
