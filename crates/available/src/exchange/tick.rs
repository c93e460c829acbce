//! What is done from time to time: waiting is noticed, what was seen is told, roots are compared, sessions begin.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use steadfast_crdt::{Covers, Version, VersionVector};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Instant, NodeId};

use super::limits::WISH_TICKS;
use super::message::{Gossip, Message, Root};
use super::range::HashRange;
use super::{Exchange, Record, Replica};

impl Exchange {
    /// Time passes: to be called a few times a second, and at least once in the time after which an idle replica shall hear of what it lacks.
    pub fn tick(&mut self, replica: &mut impl Replica, now: Instant) {
        if self.is_fenced {
            return;
        }
        let to_give = self.to_give(replica);
        let accepted = self.peers.iter().filter(|(_, peer)| peer.actor.is_some()).map(|(id, _)| *id).collect::<Vec<_>>();
        for id in &accepted {
            self.tend(replica, *id, &to_give);
        }
        self.compare_roots(replica, &accepted);
        self.stability.settle(replica.vector());
        let stable = self.stable(replica);
        if stable != self.stability.collected && stable.includes(&self.stability.collected) {
            replica.collect(&stable);
            self.stability.collected = stable.clone();
        }
        // A peer that has not said so itself would seem to lack it.
        let peers = &self.peers;
        let has_all = |version: Version| peers.values().all(|peer| peer.actor.is_none() || peer.known.covers(version));
        self.kept.drop_while(|version| stable.covers(version) && has_all(version));
        self.let_go(replica);
        self.tick_sessions(replica);
        self.deliver_waiting(replica, now);
    }

    /// What others can have of this replica: what it has seen, and of its own what was given out.
    fn to_give(&self, replica: &impl Replica) -> VersionVector {
        let mut seen = replica.vector().clone();
        seen.forget(self.own);
        seen.iter().chain(self.released.map(|time| Version::new(time, self.own))).collect()
    }

    fn tend(&mut self, replica: &impl Replica, id: NodeId, to_give: &VersionVector) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.wish_ticks = peer.wish_ticks.saturating_sub(1);
        let has_waited = peer.notice_stalls(to_give);
        let ask_again = peer.dropped && (self.waiting.has_room() || peer.asked_at != *replica.vector());
        if ask_again {
            peer.dropped = false;
            peer.asked_at = replica.vector().clone();
        }
        if has_waited {
            self.push_again(id);
        }
        if ask_again {
            self.acknowledge(replica, id, true, false);
        }
        let Some(peer) = self.peers.get(&id) else { return };
        let lacks =
            to_give.iter().map(Version::actor).filter(|writer| peer.sent.of(*writer) < to_give.of(*writer) && peer.actor != Some(*writer));
        let cant_serve = |writer| peer.depends_on_us(writer, self.own) && !self.kept.follows(writer, peer.sent.of(writer));
        if lacks.into_iter().any(cant_serve) {
            self.reconcile(id);
        }
        let links = self.links();
        let is_news = |peer: &super::Peer| {
            let has_told = (&peer.told_vector, peer.told_set) == (replica.vector(), self.stability.set());
            !has_told || peer.told_generation != self.stability.generation || peer.told_links != links
        };
        if self.peers.get(&id).is_some_and(|peer| !peer.awaiting && is_news(peer)) {
            self.gossip(replica, id);
        }
    }

    /// Tells a peer what was seen here, and what others have told.
    pub(super) fn gossip(&mut self, replica: &impl Replica, to: NodeId) {
        let links = self.links();
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let told = self.stability.since(peer.told_generation);
        let gossip = Gossip { vector: replica.vector().clone(), links: links.iter().copied().collect(), told, set: self.stability.set() };
        peer.told_generation = self.stability.generation;
        (peer.told_vector, peer.told_set, peer.told_links, peer.awaiting) = (gossip.vector.clone(), gossip.set, links, true);
        self.out.send(to, &Message::Gossip(gossip));
    }

    /// Compares roots with the peer whose turn it is, if it has seen the same.
    fn compare_roots(&mut self, replica: &mut impl Replica, accepted: &[NodeId]) {
        let Some(id) = accepted.iter().copied().find(|id| *id >= self.next_root).or(accepted.first().copied()) else { return };
        self.next_root = NodeId(id.0.wrapping_add(1));
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.awaiting && peer.known == *replica.vector()) else { return };
        if !replica.is_even() {
            return;
        }
        peer.awaiting = true;
        let (vector, collected) = (replica.vector().clone(), self.stability.collected.clone());
        self.out.send(id, &Message::Root(Root { vector, collected, digest: replica.digest(HashRange::ALL) }));
    }

    /// Who ends in the middle of a session, and loses its memory, may leave writes of which others hold a part: ranges are ahead by what nobody can give for the
    /// other ranges any more. Once it is none of the replicas, and all of those say that they have seen no more of it than this one has of all ranges, nothing
    /// of it is there that is not here: so it was seen of all ranges. What it had seen may come later than that: of what was let go nothing is shown before it.
    ///
    /// A writer that is not known *yet* looks the same, to one who has not heard of the last set of replicas. But whoever has taken something of such a writer knows of
    /// it, and never speaks under a set without it again. So all others must say so themselves, under the set that is known here, asked after the part was here.
    fn let_go(&mut self, replica: &mut impl Replica) {
        let theirs = self.lost(replica);
        if theirs != self.giving_up {
            self.ask_anew(theirs.clone());
        }
        if theirs == VersionVector::default() {
            return;
        }
        // One does so, lest two who hold different parts have seen the same then. Others give it their part first.
        let first = self.stability.first();
        if first == Some(self.own) {
            let agree = self.peers.values().filter(|peer| peer.agrees).filter_map(|peer| peer.actor).collect::<BTreeSet<_>>();
            if self.stability.others(self.own).all(|actor| agree.contains(&actor)) || is_planted(Bug::LetGoOfTheNew) {
                replica.saw_range(HashRange::ALL, &theirs);
                self.out.record(Record::Saw { range: HashRange::ALL, theirs });
                self.ask_anew(VersionVector::default());
            } else {
                self.ask_whether_lost(replica);
            }
        } else if let Some(id) = self.peers.iter().find(|(_, peer)| first.is_some() && peer.actor == first).map(|(id, _)| *id) {
            self.reconcile(id);
        }
    }

    /// What seems to be lost but for the part that is here.
    fn lost(&self, replica: &impl Replica) -> VersionVector {
        if replica.is_even() {
            return VersionVector::default();
        }
        let ahead = replica.contexts(HashRange::ALL).into_iter().flat_map(|(_, seen)| seen.iter().collect::<Vec<_>>());
        let is_lost = |version: &Version| {
            let (writer, vector) = (version.actor(), replica.vector());
            !vector.covers(*version) && self.stability.is_gone(self.own, writer, vector.of(writer))
        };
        ahead.filter(is_lost).collect()
    }

    /// What is to be given up is this from now on: nobody has said anything of it.
    pub(super) fn ask_anew(&mut self, giving_up: VersionVector) {
        self.giving_up = giving_up;
        self.peers.values_mut().for_each(|peer| (peer.asked, peer.agrees) = (false, false));
    }

    /// Has all others say what they have seen, and under which set of replicas.
    fn ask_whether_lost(&mut self, replica: &impl Replica) {
        let to_ask = self.peers.iter().filter(|(_, peer)| peer.actor.is_some() && !peer.asked && !peer.agrees && !peer.awaiting);
        for id in to_ask.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.gossip(replica, id);
            self.peers.entry(id).and_modify(|peer| peer.asked = true);
        }
    }

    /// Has a session with a peer begin, by whoever of the two leads it.
    pub(super) fn reconcile(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.actor > Some(self.own) {
            self.sessions.wish(id);
        } else if peer.wish_ticks == 0 && !peer.awaiting {
            (peer.wish_ticks, peer.awaiting) = (WISH_TICKS, true);
            self.out.send(id, &Message::Wish);
        }
    }
}
