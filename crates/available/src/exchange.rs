//! The exchange: what the replicas of one keyspace say to each other so that they agree (arXiv 1410.2803, 1603.01529; 2212.13567 for sessions).
//!
//! It is a pure state machine: messages and the time come in, messages, records and events go out ([`Outputs`]). The keys are behind [`Replica`], which
//! is handed to every call that needs it.
//!
//! # How replicas agree
//! 1. **Deltas.** The end of a turn gives a delta, which goes to every connected peer and is kept, within bounds, with those of others. What a
//!    peer has in flight is bounded; a slow one gets the rest when it acknowledges. A delta is applied when everything that its writer had seen
//!    is; until then it waits, within bounds, or is dropped and asked for again. A replica sends *others'* deltas only to a peer that is not
//!    connected to their writer, or that has waited long enough for them; so chains work, and the dead are spread by whoever heard them, and
//!    yet without faults each delta goes to each peer once.
//! 2. **Sessions.** A peer that lacks something which is kept no more is reconciled. Of two peers the one with the lower actor leads: it sends
//!    digests of ranges of hashes. The other compares them with its own: what is equal is done, what differs in many keys is split by the
//!    leader, of what differs in few both send all states, and join them. The one who answers keeps nothing of a session, the leader a list of
//!    what is left to do, so a session that was cut begins anew and finds equal what was joined before.
//! 3. **Roots.** Peers that have seen the same compare the digests of all they hold, one at each tick. If they differ, there is a bug or memory
//!    failed; a session makes them equal again, but no rule says who is right: what one of them lost then is lost by both.
//! 4. **Stability.** Replicas tell what they have seen, and what others have told. What all of [`Exchange::set_replicas`] have seen is stable.
//!
//! # Invariants
//! 1. A replica's state of a key is that of exactly the key's context ([`Replica`]). All that goes out is said with the context it is of, taken
//!    at the same moment, and any two states with their contexts may be joined, whatever was written, delivered or joined meanwhile here, there
//!    or by sessions with others. So it does not matter where a session is cut or which others go on beside it.
//! 2. Equal digests stand for a join only if both are of now: whoever is told of a digest compares it with its present one.
//! 3. The vector is what the contexts of all ranges have in common. It never shrinks, and is what the replica tells: at the end of a session it
//!    includes what the other's vector was when the session began, as every range was compared or joined after that.
//! 4. A delta is applied at most once, after the one before it of its writer and after all that it depends on. The dependencies are of all that
//!    the writer had seen of *any* key, ahead or not: a write in a range that is ahead may observe what the vector does not cover.
//! 5. What is here for a peer is bounded: deltas in flight by the window, one gossip, root or wish, one request, one answer for each request.
//!
//! # What the shell does
//! * Calls come between turns, when the replica's own entry in its vector is the end of a turn. After each call [`Exchange::outputs`] are taken
//!   and done in their order. A connection keeps messages in order; after [`Exchange::disconnected`] nothing of it is handed in any more. If
//!   [`Exchange::receive`] fails, the connection is closed.
//! * **Journal.** The records go into the journal in the order in which they were given out, and the delta of an own turn ([`Record::Delta`])
//!   after those of before the turn and before those of after it. All of it, in order, is handed to [`Exchange::replay`] at the start.
//! * **Durability.** Own deltas go out when [`Exchange::turn_ended`] is called: after the journal has them, or at once; that is for the shell to
//!   choose. A session sends what the replica holds, though, and a vector tells what it has seen: that may be more than what is durable.
//! * **Identity.** Who lost its own writes that others have seen would give the same versions, or the same gaps, to other writes; and who has
//!   lost what it told to have seen may do again what stable writes are known to be past. Such a replica must come back as a *new actor*. A
//!   shell that can't be sure that its journal is whole (its process or machine ended otherwise than by a proper stop, and it does not sync
//!   before messages go out) takes a new one at each start. If it should be wrong, it learns that from [`Event::Fenced`]: a peer knows more of
//!   this replica than the replica itself. Writes that were made since the start are then to be written again under the new actor, on top of
//!   the journal without them. It is a net under the rule, and no replacement: if the clock went back too, what was lost may lie among the
//!   times of what was written since, and is not noticed.
//! * **Membership.** The exchange speaks only with members of the set of replicas, and what they have not seen is never stable. Whether a
//!   replica that is gone holds up collection is the shell's decision, by taking it out of the set. It must be out of the set of *all* the
//!   others before one of them collects (the set is changed first, and known to all), and it never comes back as the same actor: what it wrote
//!   alone and unheard meanwhile is to be written again under a new one, and its state joins by a session like anybody's.
//!
//! Left out: the sizes of single deltas and single keys are not bounded here, and a message carries one whole; actors that nothing bears the
//! dot of any more are not forgotten. Peers are trusted not to lie, yet no message can make an exchange panic, or hold more than in proportion
//! to the message's size.

use alloc::collections::{BTreeMap, BTreeSet};

use steadfast_crdt::{Actor, Covers, Time, Version, VersionVector};
use steadfast_types::wire::WireError;
use steadfast_types::{Instant, NodeId};

mod answer;
mod counters;
mod delta;
mod inbound;
mod kept;
mod limits;
mod message;
mod outbox;
mod peer;
mod push;
mod range;
mod record;
mod replica;
mod session;
mod stability;
mod tick;
mod waiting;

pub use counters::{Counters, PeerStatus};
pub use delta::Delta;
pub use limits::Limits;
pub use outbox::{Event, Outputs};
pub use range::HashRange;
pub use record::Record;
pub use replica::{Digest, Replica};

use kept::Kept;
use message::{Hello, Message};
use outbox::Outbox;
use peer::Peer;
use session::Sessions;
use stability::Stability;
use waiting::Waiting;

/// One replica's side of what is said.
#[derive(Debug)]
pub struct Exchange {
    own: Actor,
    limits: Limits,
    kept: Kept,
    waiting: Waiting,
    peers: BTreeMap<NodeId, Peer>,
    sessions: Sessions,
    stability: Stability,
    /// The end of the last own delta that was given out.
    released: Option<Time>,
    /// What that was at the start.
    resumed: Option<Time>,
    /// The end of the first own delta after that.
    first_since: Option<Time>,
    /// Whose turn it is to compare roots.
    next_root: NodeId,
    /// What seems to be lost, and is let go once all others agree.
    giving_up: VersionVector,
    is_fenced: bool,
    out: Outbox,
}

impl Exchange {
    /// The exchange of a replica that writes as `own`, and that has what its snapshot had.
    pub fn new(own: Actor, limits: Limits, replica: &impl Replica) -> Self {
        let released = replica.vector().of(own);
        Self {
            own,
            kept: Kept::new(limits.kept_bytes),
            waiting: Waiting::new(limits.waiting_bytes),
            limits,
            peers: BTreeMap::new(),
            sessions: Sessions::default(),
            stability: Stability::default(),
            released,
            resumed: released,
            first_since: None,
            next_root: NodeId(0),
            giving_up: VersionVector::default(),
            is_fenced: false,
            out: Outbox::default(),
        }
    }

    /// Does again what the journal says was done, at the start, before anything else. What the replica has already changes nothing.
    ///
    /// # Errors
    /// If the record does not follow what the replica has: the journal is not whole.
    pub fn replay(&mut self, replica: &mut impl Replica, record: Record, now: Instant) -> Result<(), WireError> {
        match record {
            Record::Delta(delta) => {
                if !replica.vector().covers(delta.version()) {
                    if replica.vector().of(delta.writer) != delta.previous() {
                        return Err(WireError::Invalid("journal: something lacks"));
                    }
                    replica.apply(&delta)?;
                }
                self.kept.push(delta, now);
            }
            Record::Joined { range, theirs, states } => replica.join_states(range, states, &theirs)?,
            Record::Saw { range, theirs } => replica.saw_range(range, &theirs),
        }
        self.released = replica.vector().of(self.own);
        self.resumed = self.released;
        Ok(())
    }

    /// A turn of this replica ended, and these are its writes; they are sent now, unless the replica is fenced. They are in the replica already.
    ///
    /// # Panics
    /// If it is not this replica's next delta.
    pub fn turn_ended(&mut self, replica: &impl Replica, delta: Delta, now: Instant) {
        if self.is_fenced {
            return;
        }
        assert_eq!((delta.writer, delta.previous()), (self.own, self.released), "own deltas come in order and without gaps");
        assert!(replica.vector().covers(delta.version()), "own writes are in the replica before they go out");
        self.released = Some(delta.last);
        self.first_since.get_or_insert(delta.last);
        self.kept.push(delta, now);
        self.push_to_all();
    }

    /// A connection to a peer begins; whatever was of an earlier one is over.
    pub fn connected(&mut self, replica: &impl Replica, peer: NodeId) {
        self.disconnected(peer);
        if self.is_fenced {
            return;
        }
        let hello = Hello { actor: self.own, vector: replica.vector().clone(), links: self.links().into_iter().collect() };
        let told_vector = hello.vector.clone();
        let told_links = self.links();
        self.out.send(peer, &Message::Hello(hello));
        self.peers.insert(peer, Peer { told_vector, told_links, ..Peer::default() });
    }

    /// The connection to a peer has ended.
    pub fn disconnected(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
        self.sessions.forget(peer);
        self.out.outputs.messages.retain(|(to, _)| *to != peer);
    }

    /// The replicas that there are, by the actors they write as, this one among them. Until it is set, everybody is taken for one, and nothing is stable.
    pub fn set_replicas(&mut self, replica: &impl Replica, replicas: BTreeSet<Actor>) {
        self.stability.set_replicas(replicas);
        // What was said under another set says nothing of what is lost.
        self.ask_anew(VersionVector::default());
        // From now on, what of a replica that was removed is not here comes from those that have applied it.
        if self.waiting.drop_others(|writer| self.stability.is_replica(writer)) {
            self.peers.values_mut().for_each(|peer| peer.dropped = true);
        }
        let refused = self.peers.iter_mut().filter_map(|(id, peer)| Some((*id, peer.refused.take()?))).collect::<alloc::vec::Vec<_>>();
        for (id, hello) in refused {
            self.accept_late(replica, id, hello);
        }
        for (id, peer) in &mut self.peers {
            if peer.actor.is_some_and(|actor| !self.stability.is_replica(actor)) {
                peer.actor = None;
                self.sessions.forget(*id);
                self.out.send(*id, &Message::Refused);
            }
        }
    }

    /// What is to be done; each thing is given once.
    pub fn outputs(&mut self) -> Outputs {
        core::mem::take(&mut self.out.outputs)
    }

    /// What all replicas are known to have seen.
    pub fn stable(&self, replica: &impl Replica) -> VersionVector {
        self.stability.stable(self.own, replica.vector())
    }

    /// How many other replicas have said that they have seen everything of this write's actor up to it.
    pub fn acknowledged(&self, version: Version) -> usize {
        self.stability.acknowledged(self.own, version)
    }

    /// For each other replica that has ever said what it has seen: up to when it has seen what was written here.
    pub fn acknowledgements(&self) -> impl Iterator<Item = Option<Time>> {
        self.stability.acknowledgements(self.own)
    }

    /// How many other replicas have ever said what they have seen.
    pub fn heard_of(&self) -> usize {
        self.stability.heard_of(self.own)
    }

    /// Whether this replica must come back as another actor ([`Event::Fenced`]).
    pub fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.out.counters
    }

    /// How many deltas are kept for peers, and their bytes.
    pub fn kept(&self) -> (usize, usize) {
        (self.kept.len(), self.kept.bytes())
    }

    /// How many deltas wait for others, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting.bytes())
    }

    /// How many sessions this side leads.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The peers whose connections stand.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    /// The actors that the connected peers write as, once they have said so.
    pub fn connected_actors(&self) -> impl Iterator<Item = Actor> {
        self.peers.values().filter_map(|peer| peer.actor)
    }

    /// How things stand with a connected peer.
    pub fn peer(&self, replica: &impl Replica, id: NodeId, now: Instant) -> Option<PeerStatus> {
        let peer = self.peers.get(&id)?;
        let lacking = self.kept.iter().find(|entry| !peer.known.covers(entry.delta.version()));
        let oldest = lacking.or_else(|| self.kept.iter().next().filter(|_| !peer.known.includes(replica.vector())));
        let has_all = peer.known.includes(replica.vector());
        Some(PeerStatus {
            actor: peer.actor,
            vector: peer.known.clone(),
            in_flight_bytes: peer.in_flight(),
            lag: (!has_all).then(|| oldest.map_or(core::time::Duration::ZERO, |entry| now.since(entry.at))),
            in_session: self.sessions.has(id),
        })
    }

    fn links(&self) -> BTreeSet<Actor> {
        self.connected_actors().collect()
    }
}
