//! What comes in: who is there, what they have seen, and deltas.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Covers, VersionVector};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{Instant, NodeId};

use super::message::{Ack, Gossip, Hello, Message, Root};
use super::outbox::Event;
use super::range::HashRange;
use super::stability::SetId;
use super::{Delta, Exchange, Record, Replica};

impl Exchange {
    /// A message of a peer.
    ///
    /// # Errors
    /// If it can't be read or says what can't be: the connection is to be closed. What was said before the fault has been taken in.
    pub fn receive(&mut self, replica: &mut impl Replica, from: NodeId, message: Bytes, now: Instant) -> Result<(), WireError> {
        if self.is_fenced || !self.peers.contains_key(&from) {
            return Ok(());
        }
        self.out.counters.messages_received += 1;
        self.out.counters.bytes_received += message.len() as u64;
        let length = message.len() as u64;
        let result = Message::from_wire(message).and_then(|message| self.dispatch(replica, from, message, length, now));
        if result.is_err() {
            self.out.counters.messages_refused += 1;
        }
        result
    }

    fn dispatch(&mut self, replica: &mut impl Replica, from: NodeId, message: Message, length: u64, now: Instant) -> Result<(), WireError> {
        let is_accepted = self.peers.get(&from).is_some_and(|peer| peer.actor.is_some());
        match message {
            Message::Hello(hello) => self.on_hello(replica, from, hello),
            Message::Refused => self.out.event(Event::Refused(from)),
            message if !is_accepted => self.on_early(replica, from, message, length),
            Message::Deltas(deltas) => return self.on_deltas(replica, from, deltas.0, length, now),
            Message::Ack(ack) => return self.on_ack(replica, from, &ack),
            Message::Gossip(gossip) => self.on_gossip(replica, from, &gossip),
            Message::Root(root) => self.on_root(replica, from, &root),
            Message::Wish => {
                self.sessions.wish(from);
                self.acknowledge(replica, from, false, true);
            }
            Message::Request(turn) => return self.on_request(replica, from, turn, now),
            Message::Answer(turn) => return self.on_answer(replica, from, turn, now),
        }
        Ok(())
    }

    /// What a peer says that is not accepted, or not yet. It may have accepted this side, and then counts on acknowledgements.
    fn on_early(&mut self, replica: &impl Replica, from: NodeId, message: Message, length: u64) {
        match message {
            Message::Gossip(gossip) => {
                if !self.fence_if_told(replica, &gossip) {
                    self.acknowledge(replica, from, false, true);
                    self.on_late_vector(replica, from, &gossip.vector);
                }
            }
            Message::Ack(ack) => self.on_late_vector(replica, from, &ack.vector),
            Message::Root(_) | Message::Wish => self.acknowledge(replica, from, false, true),
            Message::Deltas(_) => {
                self.peers.entry(from).and_modify(|peer| peer.received_bytes += length);
                self.acknowledge(replica, from, false, false);
            }
            Message::Hello(_) | Message::Refused | Message::Request(_) | Message::Answer(_) => {}
        }
    }

    pub(super) fn on_hello(&mut self, replica: &impl Replica, from: NodeId, hello: Hello) {
        if hello.actor == self.own {
            return self.out.event(Event::SameActor(from));
        }
        if self.fence_if_behind(replica, &hello.vector) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !self.stability.is_replica(hello.actor) {
            self.out.event(Event::Stranger(from, hello.actor));
            self.out.send(from, &Message::Refused);
            peer.refused = Some(hello);
            return;
        }
        // If it has forgotten what it told, it learns that from the gossip, and is not to be spoken with; if only its greeting is old, it says so.
        if self.stability.of(hello.actor).is_some_and(|told| !hello.vector.includes(told)) {
            peer.refused = Some(hello);
        } else {
            peer.actor = Some(hello.actor);
            peer.links = hello.links.into_iter().collect();
            (peer.known, peer.sent, peer.cursor) = (hello.vector.clone(), hello.vector.clone(), self.kept.first());
            self.stability.told(hello.actor, &hello.vector);
        }
        self.gossip(replica, from);
        self.push(from);
    }

    /// A peer that was refused has seen this: perhaps it is accepted now.
    fn on_late_vector(&mut self, replica: &impl Replica, from: NodeId, vector: &VersionVector) {
        let Some(mut hello) = self.peers.get_mut(&from).and_then(|peer| peer.refused.take()) else { return };
        let is_enough = self.stability.is_replica(hello.actor) && self.stability.of(hello.actor).is_none_or(|told| vector.includes(told));
        hello.vector.join(vector);
        if is_enough {
            self.accept_late(replica, from, hello);
        } else {
            self.peers.entry(from).and_modify(|peer| peer.refused = Some(hello));
        }
    }

    /// What a peer sent before it was accepted was not heard.
    pub(super) fn accept_late(&mut self, replica: &impl Replica, from: NodeId, hello: Hello) {
        self.on_hello(replica, from, hello);
        self.peers.entry(from).and_modify(|peer| peer.dropped = peer.actor.is_some());
    }

    fn on_deltas(&mut self, replica: &mut impl Replica, from: NodeId, deltas: Bytes, length: u64, now: Instant) -> Result<(), WireError> {
        let mut reader = Reader::new(deltas);
        while reader.remaining() > 0 {
            let mut delta = Delta::decode(&mut reader)?;
            // Not a piece of the frame, which would stay as long as any of its pieces.
            delta.body = Bytes::copy_from_slice(&delta.body);
            // Who sends it has it.
            self.peers.entry(from).and_modify(|peer| peer.has(delta.version()));
            if delta.writer == self.own && self.fence_if_behind(replica, &VersionVector::from_iter([delta.version()])) {
                return Ok(());
            }
            if replica.vector().covers(delta.version()) {
                self.out.counters.deltas_known += 1;
            } else if replica.vector().includes(&delta.dependencies)
                || is_planted(Bug::AppliedOutOfOrder) && replica.vector().of(delta.writer) == delta.previous()
            {
                self.deliver(replica, delta, now);
                self.deliver_waiting(replica, now);
            } else if !self.waiting.insert(delta) {
                self.out.counters.deltas_dropped += 1;
                self.peers.entry(from).and_modify(|peer| peer.dropped = true);
            }
        }
        self.peers.entry(from).and_modify(|peer| peer.received_bytes += length);
        self.acknowledge(replica, from, false, false);
        self.push_to_all();
        Ok(())
    }

    /// Applies a delta whose dependencies were seen.
    fn deliver(&mut self, replica: &mut impl Replica, delta: Delta, now: Instant) {
        let is_next = replica.vector().of(delta.writer) == delta.previous();
        if !is_next || replica.apply(&delta).is_err() {
            self.out.counters.deltas_refused += 1;
            return;
        }
        assert!(replica.vector().covers(delta.version()), "a replica has seen what it applied");
        self.out.counters.deltas_applied += 1;
        self.out.record(Record::Delta(delta.clone()));
        self.kept.push(delta, now);
    }

    /// Applies what waits for nothing any more.
    pub(super) fn deliver_waiting(&mut self, replica: &mut impl Replica, now: Instant) {
        while let Some(delta) = self.waiting.take_ready(replica.vector()) {
            self.deliver(replica, delta, now);
        }
    }

    /// Says what was seen, and what came of a peer.
    pub(super) fn acknowledge(&mut self, replica: &impl Replica, to: NodeId, again: bool, heard: bool) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let set = self.stability.set();
        (peer.told_vector, peer.told_set) = (replica.vector().clone(), set);
        let ack = Ack { vector: replica.vector().clone(), received: peer.received_bytes, again, heard, set };
        self.out.send(to, &Message::Ack(ack));
    }

    fn on_ack(&mut self, replica: &impl Replica, from: NodeId, ack: &Ack) -> Result<(), WireError> {
        if self.fence_if_behind(replica, &ack.vector) {
            return Ok(());
        }
        self.on_vector(from, &ack.vector, Some(ack.set));
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(()) };
        if ack.received < peer.acknowledged_bytes || ack.received > peer.sent_bytes {
            return Err(WireError::Invalid("acknowledgement"));
        }
        peer.acknowledged_bytes = ack.received;
        if ack.heard {
            peer.awaiting = false;
            peer.agrees |= core::mem::take(&mut peer.asked) && ack.set == self.stability.set();
        }
        if ack.again {
            peer.sent = peer.known.clone();
            self.push_again(from);
        } else {
            self.push(from);
        }
        Ok(())
    }

    /// A peer has said what it has seen, and, perhaps, under which set of replicas.
    fn on_vector(&mut self, from: NodeId, vector: &VersionVector, set: Option<SetId>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let look_again = peer.heard(vector);
        if let Some(set) = set.filter(|set| *set != peer.set) {
            // Under another set it heard nothing of what others have told.
            (peer.set, peer.told_generation) = (set, 0);
        }
        if let Some(actor) = peer.actor {
            self.stability.told(actor, vector);
            if let Some(set) = set {
                self.stability.told_under(set, actor, vector);
            }
        }
        if look_again {
            self.push_again(from);
        }
    }

    fn on_gossip(&mut self, replica: &impl Replica, from: NodeId, gossip: &Gossip) {
        if self.fence_if_behind(replica, &gossip.vector) || self.fence_if_told(replica, gossip) {
            return;
        }
        self.on_vector(from, &gossip.vector, Some(gossip.set));
        for (actor, vector) in gossip.told.iter().filter(|(actor, _)| *actor != self.own) {
            self.stability.told(*actor, vector);
            self.stability.told_under(gossip.set, *actor, vector);
        }
        let links = gossip.links.iter().copied().collect::<BTreeSet<_>>();
        let has_changed = self.peers.get(&from).is_some_and(|peer| peer.links != links);
        self.peers.entry(from).and_modify(|peer| peer.links = links);
        if has_changed {
            self.push_again(from);
        }
        self.acknowledge(replica, from, false, true);
    }

    fn on_root(&mut self, replica: &mut impl Replica, from: NodeId, root: &Root) {
        if self.fence_if_behind(replica, &root.vector) {
            return;
        }
        self.on_vector(from, &root.vector, None);
        let is_comparable = *replica.vector() == root.vector && self.stability.collected == root.collected && replica.is_even();
        if is_comparable && replica.digest(HashRange::ALL).sum != root.digest.sum {
            self.out.counters.divergences += 1;
            self.out.event(Event::Diverged(from));
            self.reconcile(from);
        }
        self.acknowledge(replica, from, false, true);
    }

    /// Somebody has seen this. If it is more of this replica than the replica has, or other than what it has: what others have seen was lost here.
    pub(super) fn fence_if_behind(&mut self, replica: &impl Replica, seen: &VersionVector) -> bool {
        let seen_of_us = seen.of(self.own);
        let is_more = seen_of_us > replica.vector().of(self.own);
        let is_other = seen_of_us > self.resumed && self.first_since.is_some_and(|first| seen_of_us < Some(first));
        if is_more || is_other {
            self.fence(seen.clone());
        }
        self.is_fenced
    }

    /// What this replica itself has told before: it must have seen that.
    fn fence_if_told(&mut self, replica: &impl Replica, gossip: &Gossip) -> bool {
        let told = gossip.told.iter().filter(|(actor, _)| *actor == self.own);
        if let Some((_, told)) = told.into_iter().find(|(_, told)| !replica.vector().includes(told)) {
            self.fence(told.clone());
        }
        self.is_fenced
    }

    fn fence(&mut self, known: VersionVector) {
        self.is_fenced = true;
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.disconnected(id);
        }
        self.out.event(Event::Fenced { known });
    }
}
