//! Anti-entropy: what gossip did not bring is found by comparing digests, and repaired bucket by bucket.
//!
//! Each ping and each answer carries the digest of its sender's table. Tables differ while news spreads; that lasts about a second. If one differs from
//! all that it meets for longer, it sends the sums of its 256 buckets; the other lists some of the buckets that differ; the first asks for what it
//! lacks, and pushes what the other lacks. What it costs depends on the difference, not on the size.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};

use crate::config::AntiEntropy;
use crate::limits::{DATAGRAM_BYTES, SYNC_DATAGRAMS};
use crate::member::{Incarnation, Record, State};
use crate::membership::{Membership, Sender, Way};
use crate::message::{Listing, Message};
use crate::table::{BUCKETS, Member, Slot, bucket_of};
use crate::timers::Timer;

/// The most bytes that an entry of a listing takes: an id and two varints.
const ENTRY_BYTES: usize = 28;

/// What a listing takes besides, with some room: a bucket, two ids, a count.
const LISTING_BYTES: usize = 20;

/// Bytes of listings in one datagram.
const DATAGRAM_ROOM: usize = DATAGRAM_BYTES - 64;

/// Entries in one listing: two fit in a datagram.
const LISTING_ENTRIES: usize = (DATAGRAM_ROOM / 2 - LISTING_BYTES) / ENTRY_BYTES;

#[derive(Debug)]
pub(crate) struct Sync {
    /// Since when all digests that came differed from one's own, which has not changed.
    differs_since: Option<Instant>,
    agreed_at: Instant,
    compared_at: Instant,
}

impl Sync {
    pub(crate) fn new(now: Instant) -> Self {
        Sync { differs_since: None, agreed_at: now, compared_at: now }
    }
}

impl Membership {
    /// One's own table has changed: digests are compared from here on.
    pub(crate) fn note_change(&mut self) {
        self.sync.differs_since = None;
    }

    pub(crate) fn compare_digest(&mut self, sender: Sender, digest: u32) {
        let AntiEntropy::Digest { after, at_least_every } = self.config.anti_entropy else { return };
        let Sync { differs_since, agreed_at, compared_at } = &mut self.sync;
        if digest == self.table.digest() {
            (*differs_since, *agreed_at) = (None, self.now);
            return;
        }
        let since = *differs_since.get_or_insert(self.now);
        let is_due = self.now.since(since) >= after || self.now.since(*agreed_at) >= at_least_every;
        if is_due && self.now.since(*compared_at) >= after {
            (*differs_since, *compared_at) = (None, self.now);
            let packet = self.bare_packet(&Message::Sums(self.table.sums().to_vec()));
            self.send(sender.address, Way::Datagram, packet);
        }
    }

    /// Lists some of the buckets that differ, chosen at random: as many as a few datagrams hold.
    pub(crate) fn on_sums(&mut self, sender: Sender, sums: &[u32]) {
        let differs = |bucket: usize| sums.get(bucket) != self.table.sums().get(bucket);
        let mut buckets: BTreeMap<usize, BTreeMap<NodeId, (Incarnation, Incarnation)>> =
            (0..BUCKETS).filter(|bucket| differs(*bucket)).map(|bucket| (bucket, BTreeMap::new())).collect();
        for (_, member) in self.active_slots() {
            if let Some(entries) = buckets.get_mut(&bucket_of(member.profile.id)) {
                entries.insert(member.profile.id, (member.incarnation, member.profile.version));
            }
        }
        let mut listings: Vec<Listing> = buckets.into_iter().flat_map(|(bucket, entries)| ranges(bucket as u8, &entries)).collect();
        self.rng.shuffle(&mut listings);
        for listings in packed(listings).into_iter().take(SYNC_DATAGRAMS) {
            let packet = self.bare_packet(&Message::Listings(listings));
            self.send(sender.address, sender.way, packet);
        }
    }

    /// Oneself included.
    fn active_slots(&self) -> impl Iterator<Item = (Slot, &Member)> {
        self.table.slots().filter(|(_, member)| member.state.is_active())
    }

    pub(crate) fn on_listings(&mut self, sender: Sender, listings: &[Listing]) {
        let (mut lacking, mut ahead) = (Vec::new(), Vec::new());
        let mut listed = BTreeSet::new();
        for (id, incarnation, version) in listings.iter().flat_map(|listing| &listing.entries) {
            listed.insert(*id);
            let Some(slot) = self.table.slot(*id) else {
                lacking.push(*id);
                continue;
            };
            let member = self.table.member(slot);
            let (held, said) = ((member.incarnation, member.profile.version), (*incarnation, *version));
            let is_dead = !member.state.is_active() && member.incarnation >= *incarnation;
            if is_dead || (member.state.is_active() && (held.0 > said.0 || held.1 > said.1)) {
                ahead.push(slot);
            } else if held.0 < said.0 || held.1 < said.1 {
                lacking.push(*id);
            }
        }
        let covers =
            |listing: &Listing, id: NodeId| usize::from(listing.bucket) == bucket_of(id) && (listing.first..=listing.last).contains(&id);
        let unlisted = |id: NodeId| !listed.contains(&id) && listings.iter().any(|listing| covers(listing, id));
        ahead.extend(self.active_slots().filter(|(_, member)| unlisted(member.profile.id)).map(|(slot, _)| slot));
        if !lacking.is_empty() {
            self.want(sender, &lacking);
        }
        self.send_records(sender.address, sender.way, &Message::Push, &ahead);
    }

    /// Asks for records.
    pub(crate) fn want(&mut self, sender: Sender, ids: &[NodeId]) {
        let ids = ids[..ids.len().min(DATAGRAM_BYTES / 8 - 8)].to_vec();
        let packet = self.bare_packet(&Message::Want(ids));
        self.send(sender.address, sender.way, packet);
    }

    pub(crate) fn on_want(&mut self, sender: Sender, ids: &[NodeId]) {
        self.tell(sender, ids);
    }

    /// Tells what is held of these.
    pub(crate) fn tell(&mut self, sender: Sender, ids: &[NodeId]) {
        let slots: Vec<Slot> = ids.iter().filter_map(|id| self.table.slot(*id)).collect();
        self.send_records(sender.address, sender.way, &Message::Gossip, &slots);
    }

    /// Sends records with their profiles, in a few datagrams at most.
    fn send_records(&mut self, to: SocketAddr, way: Way, message: &Message, slots: &[Slot]) {
        let mut slots = slots.iter().peekable();
        for _ in 0..SYNC_DATAGRAMS {
            if slots.peek().is_none() {
                return;
            }
            let mut packet = self.bare_packet(message);
            while let Some(slot) = slots.peek() {
                let length = packet.len();
                self.table.put_record(**slot, true, &mut packet);
                if packet.len() > DATAGRAM_BYTES {
                    packet.truncate(length);
                    break;
                }
                slots.next();
            }
            self.send(to, way, packet);
        }
    }

    /// Somebody pushed what is out of date: it is told what holds.
    pub(crate) fn answer_outdated(&mut self, sender: Sender, record: &Record, is_push: bool) {
        let Some(member) = self.table.find(record.id) else { return };
        if is_push && (record.incarnation, record.state) < (member.incarnation, member.state) {
            self.tell(sender, &[record.id]);
        }
    }

    /// Somebody speaks of one that may have been forgotten as dead: as far as is known here it has left. If it lives, it will say so, in an
    /// incarnation above all that were forgotten.
    pub(crate) fn answer_forgotten(&mut self, sender: Sender, record: &Record) {
        if !record.state.is_active() {
            return;
        }
        let mut packet = self.bare_packet(&Message::Gossip);
        Record::put(&mut packet, record.id, self.table.floor(), State::Left, &[], None);
        if let Some(profile) = &record.profile {
            self.out.datagrams.push((profile.address, packet.clone()));
        }
        self.send(sender.address, sender.way, packet);
    }

    /// All of the table, for one message by stream.
    pub(crate) fn whole_table(&self, message: &Message) -> Vec<u8> {
        let mut packet = self.bare_packet(message);
        self.table.slots().for_each(|(slot, _)| self.table.put_record(slot, true, &mut packet));
        packet
    }

    pub(crate) fn on_exchange_turn(&mut self) {
        let AntiEntropy::Full { interval } = self.config.anti_entropy else { return };
        self.timers.set(self.now + self.exchange_interval(interval), Timer::Exchange);
        for slot in self.table.sample(1, &mut self.rng, |_| true) {
            let packet = self.whole_table(&Message::Exchange { floor: self.table.floor() });
            self.send(self.table.member(slot).profile.address, Way::Stream, packet);
        }
    }

    pub(crate) fn on_exchange(&mut self, sender: Sender, floor: Incarnation) {
        self.table.raise_floor(floor);
        if sender.way == Way::Stream {
            let packet = self.whole_table(&Message::Table { floor: self.table.floor() });
            self.send(sender.address, Way::Stream, packet);
        }
    }

    /// From 32 members on, longer with each doubling, as memberlist does.
    pub(crate) fn exchange_interval(&self, interval: Duration) -> Duration {
        let members = self.table.others() as u32 + 1;
        if members <= 32 { interval } else { interval * ((members - 1).ilog2() + 1 - 5 + 1) }
    }
}

/// A bucket's members as listings that together cover all ids.
fn ranges(bucket: u8, entries: &BTreeMap<NodeId, (Incarnation, Incarnation)>) -> Vec<Listing> {
    let entries: Vec<_> = entries.iter().map(|(id, (incarnation, version))| (*id, *incarnation, *version)).collect();
    let mut listings: Vec<Listing> = vec![];
    for part in entries.chunks(LISTING_ENTRIES) {
        let first = listings.last_mut().map_or(NodeId(0), |before| {
            before.last = NodeId(part[0].0.0 - 1);
            part[0].0
        });
        listings.push(Listing { bucket, first, last: NodeId(u64::MAX), entries: part.to_vec() });
    }
    if listings.is_empty() {
        listings.push(Listing { bucket, first: NodeId(0), last: NodeId(u64::MAX), entries });
    }
    listings
}

/// Listings in parts that fit into a datagram each.
fn packed(listings: Vec<Listing>) -> Vec<Vec<Listing>> {
    let mut parts: Vec<Vec<Listing>> = vec![];
    let mut room = 0;
    for listing in listings {
        let takes = LISTING_BYTES + listing.entries.len() * ENTRY_BYTES;
        if parts.is_empty() || takes > room {
            parts.push(vec![]);
            room = DATAGRAM_ROOM;
        }
        room -= takes;
        if let Some(part) = parts.last_mut() {
            part.push(listing);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_cover_every_id_once_and_fit_in_datagrams() {
        for count in [0, 1, LISTING_ENTRIES, LISTING_ENTRIES + 1, 5 * LISTING_ENTRIES] {
            let entries =
                (0..count as u64).map(|number| (NodeId(number * 7 + 3), (Incarnation(u64::MAX), Incarnation(u64::MAX)))).collect();
            let listings = ranges(9, &entries);
            assert_eq!((listings[0].first, listings[listings.len() - 1].last), (NodeId(0), NodeId(u64::MAX)));
            assert!(listings.windows(2).all(|pair| pair[0].last.0 + 1 == pair[1].first.0));
            let within = |listing: &Listing| listing.entries.iter().all(|entry| (listing.first..=listing.last).contains(&entry.0));
            assert!(listings.iter().all(within));
            assert_eq!(listings.iter().map(|listing| listing.entries.len()).sum::<usize>(), count);
            for part in packed(listings) {
                let mut bytes = Vec::new();
                steadfast_types::wire::Wire::encode(&Message::Listings(part), &mut bytes);
                assert!(bytes.len() + 32 <= DATAGRAM_BYTES, "{} bytes", bytes.len());
            }
        }
    }
}
