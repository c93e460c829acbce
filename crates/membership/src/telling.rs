//! What is told on: when, to whom, how often, and in which packets.

use alloc::vec::Vec;
use core::net::SocketAddr;

use steadfast_types::time::Duration;

use crate::gossip::retransmissions;
use crate::limits::DATAGRAM_BYTES;
use crate::member::Record;
use crate::membership::{Membership, Way};
use crate::message::{Header, Message, begin};
use crate::table::{Member, Slot};
use crate::timers::Timer;

/// Failures within this time say how many more there may be.
const LATELY: Duration = Duration::from_secs(20);

/// As many records as one datagram holds, about.
const ONE_DATAGRAM: usize = 32;

impl Membership {
    pub(crate) fn counts_as_told(&self, member: &Member, record: &Record) -> bool {
        let is_same = (member.incarnation, member.state) == (record.incarnation, record.state);
        let is_whole = record.profile.is_some() || !member.tell_profile;
        self.config.feedback && is_same && is_whole && !self.has_much_to_tell()
    }

    /// When many come or go at once, much of what is told is lost on the dead, or on the few that newcomers know: then nothing is spared.
    pub(crate) fn has_much_to_tell(&self) -> bool {
        self.queue.len() > ONE_DATAGRAM || self.failed_lately() * 10 > self.table.others()
    }

    /// Tells on what was heard, if others may not have heard it.
    pub(crate) fn pass_on(&mut self, slot: Slot, with_profile: bool) {
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

    pub(crate) fn on_gossip_turn(&mut self) {
        let times = if self.has_much_to_tell() { usize::MAX } else { self.config.gossip_times };
        let fresh = self.queue.fresh(&self.table, times);
        self.gossiping = fresh > 0;
        if !self.gossiping {
            return;
        }
        self.timers.set(self.now + self.config.gossip_interval, Timer::Gossip);
        for slot in self.table.sample(self.config.gossip_fanout, &mut self.rng, |_| true) {
            let address = self.table.member(slot).profile.address;
            // All that is fresh once, in as many datagrams as that takes: what is told twice to one is not told to another.
            let mut left = fresh;
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
    pub(crate) fn times_to_tell(&self) -> usize {
        let times = retransmissions(self.config.retransmit_multiplier, self.table.others() + 1).max(self.config.retransmit_least);
        let (lost, others) = (self.failed_lately(), self.table.others());
        if self.config.retransmit_least > 1 { times + times * lost / (others + lost).max(1) } else { times }
    }

    /// How many were found dead since the first of a row, which ends after [`LATELY`].
    pub(crate) fn failed_lately(&self) -> usize {
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
}
