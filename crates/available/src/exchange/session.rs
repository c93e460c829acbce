//! Sessions, on the side that leads them.
//!
//! A session is a list of ranges on which the two sides are not known to agree. Some of them make a request; the answer ends some, splits others.
//! Those that the other had no room for are asked for again.
//!
//! Invariants:
//! 1. Every hash is in a range of the list, or was, at a moment since the session began, joined here with what the other held at a moment since, and
//!    the other way round; but for what an answer that is under way will do.
//! 2. One request is under way at a time. The list has at most `FAN_OUT` ranges for each level of splitting and each item of a request.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use steadfast_crdt::VersionVector;
use steadfast_types::wire::WireError;
use steadfast_types::{Instant, NodeId};

use super::limits::{ITEMS, PIECES, SESSION_TICKS};
use super::message::{Ask, Contexts, Message, Piece, Reply, States, Turn};
use super::range::HashRange;
use super::record::Record;
use super::{Digest, Exchange, Replica};

/// What is to be done about a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Compare digests.
    Compare,
    /// Ask for the states, as the digest here changes too often.
    Fetch,
    /// The other's states were joined, and it seems that it has nothing to learn: compare.
    Confirm,
    /// The other's states were joined: send what is here.
    Give,
}

#[derive(Debug)]
struct Session {
    number: u64,
    /// The other's vector when the session began.
    theirs: VersionVector,
    /// The next one last.
    left: Vec<(HashRange, Work)>,
    /// What was asked, with the digest of it here at that time.
    asked: Vec<(HashRange, Work, Digest)>,
    ticks: u32,
}

/// The sessions that are led here.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    running: BTreeMap<NodeId, Session>,
    wished: BTreeSet<NodeId>,
    last: u64,
    /// Who had the last one.
    last_peer: Option<NodeId>,
}

impl Sessions {
    pub(crate) fn wish(&mut self, peer: NodeId) {
        if !self.running.contains_key(&peer) {
            self.wished.insert(peer);
        }
    }

    pub(crate) fn forget(&mut self, peer: NodeId) {
        self.running.remove(&peer);
        self.wished.remove(&peer);
    }

    pub(crate) fn has(&self, peer: NodeId) -> bool {
        self.running.contains_key(&peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// The peer that wished for a session, and whose turn it is.
    fn next_wish(&mut self) -> Option<NodeId> {
        let after = self.last_peer.and_then(|last| self.wished.iter().find(|peer| **peer > last));
        let peer = after.or(self.wished.first()).copied()?;
        self.wished.remove(&peer);
        self.last_peer = Some(peer);
        Some(peer)
    }
}

impl Exchange {
    /// Gives up sessions that have no answer, and begins new ones.
    pub(super) fn tick_sessions(&mut self, replica: &mut impl Replica) {
        self.sessions.running.values_mut().for_each(|session| session.ticks += 1);
        self.sessions.running.retain(|_, session| session.ticks < SESSION_TICKS);
        while self.sessions.len() < self.limits.sessions {
            let Some(id) = self.sessions.next_wish() else { return };
            let Some(peer) = self.peers.get(&id).filter(|peer| peer.actor > Some(self.own)) else { continue };
            self.sessions.last += 1;
            let left = Vec::from([(HashRange::ALL, Work::Compare)]);
            let session = Session { number: self.sessions.last, theirs: peer.known.clone(), left, asked: Vec::new(), ticks: 0 };
            self.sessions.running.insert(id, session);
            self.out.counters.sessions_begun += 1;
            self.request(replica, id);
        }
    }

    /// Sends the next request of a session, or ends it if nothing is left.
    fn request(&mut self, replica: &mut impl Replica, id: NodeId) {
        let Some(session) = self.sessions.running.get_mut(&id) else { return };
        let (mut contexts, mut items, mut bytes) = (Contexts::default(), Vec::new(), 0);
        while items.len() < ITEMS && bytes < self.limits.frame_bytes {
            let Some((range, work)) = session.left.pop() else { break };
            let digest = replica.digest(range);
            let item = match work {
                Work::Give => {
                    let room = Room { bytes: self.limits.frame_bytes.saturating_sub(bytes), is_empty: items.is_empty() };
                    give(replica, range, room, &mut contexts)
                }
                Work::Compare | Work::Fetch | Work::Confirm => pieces(replica, range, &mut contexts)
                    .map(|pieces| Ask::Compare { range, digest, pieces, whole: work == Work::Fetch })
                    .ok_or(true),
            };
            match item {
                Ok(item) => {
                    if let Ask::Give { pieces, .. } = &item {
                        bytes += pieces.iter().map(|piece| piece.states.len()).sum::<usize>();
                    }
                    items.push(item);
                    session.asked.push((range, work, digest));
                }
                Err(true) => session.left.extend(range.split().rev().map(|part| (part, work))),
                Err(false) => {
                    session.left.push((range, work));
                    break;
                }
            }
        }
        if !items.is_empty() {
            let turn = Turn { session: session.number, contexts, items };
            self.out.send(id, &Message::Request(turn));
            return;
        }
        assert!(session.left.is_empty() && session.asked.is_empty(), "what is left of a session is asked");
        self.out.counters.sessions_short += u64::from(!replica.vector().includes(&session.theirs));
        self.out.counters.sessions_ended += 1;
        self.sessions.running.remove(&id);
        self.acknowledge(replica, id, false, false);
    }

    pub(super) fn on_answer(&mut self, replica: &mut impl Replica, from: NodeId, turn: Turn<Reply>, now: Instant) -> Result<(), WireError> {
        let seen = turn.contexts.0.iter().any(|context| self.fence_if_behind(replica, context));
        let Some(session) = self.sessions.running.get_mut(&from).filter(|session| session.number == turn.session && !seen) else {
            return Ok(());
        };
        session.ticks = 0;
        let asked = core::mem::take(&mut session.asked);
        let left = self.take_answer(replica, asked, &turn.contexts, turn.items);
        match (left, self.sessions.running.get_mut(&from)) {
            (Ok(left), Some(session)) => session.left.extend(left),
            (Ok(_), None) => {}
            (Err(error), _) => {
                self.sessions.forget(from);
                return Err(error);
            }
        }
        self.deliver_waiting(replica, now);
        self.request(replica, from);
        self.push_to_all();
        Ok(())
    }

    /// What is left to do of what was asked.
    fn take_answer(
        &mut self,
        replica: &mut impl Replica,
        mut asked: Vec<(HashRange, Work, Digest)>,
        contexts: &Contexts,
        replies: Vec<Reply>,
    ) -> Result<Vec<(HashRange, Work)>, WireError> {
        if replies.is_empty() {
            return Err(WireError::Invalid("answer"));
        }
        let mut left = Vec::new();
        for reply in replies {
            let place =
                asked.iter().position(|(range, ..)| *range == reply.range()).ok_or(WireError::Invalid("range that was not asked"))?;
            let (range, work, digest) = asked.swap_remove(place);
            match self.take_reply(replica, work, digest, contexts, reply)? {
                Next::Nothing => {}
                Next::Do(work) => left.push((range, work)),
                Next::Split => left.extend(range.split().rev().map(|part| (part, Work::Compare))),
            }
        }
        left.extend(asked.into_iter().map(|(range, work, _)| (range, work)));
        Ok(left)
    }

    fn take_reply(
        &mut self,
        replica: &mut impl Replica,
        work: Work,
        asked: Digest,
        contexts: &Contexts,
        reply: Reply,
    ) -> Result<Next, WireError> {
        match reply {
            Reply::Same { range, pieces } => {
                let theirs = contexts.of(range, pieces.iter())?;
                // The other had the digest that was asked about; has this side still?
                if replica.digest(range) == asked {
                    self.saw(replica, theirs);
                    return Ok(Next::Nothing);
                }
                // What was joined before needs no more than that the other has taken in what is here, and it has.
                Ok(if work == Work::Confirm { Next::Nothing } else { Next::Do(Work::Fetch) })
            }
            Reply::Differs { range } => match work {
                _ if range.is_single() => Err(WireError::Invalid("one hash differs in many keys")),
                Work::Give => Err(WireError::Invalid("answer")),
                _ => Ok(Next::Split),
            },
            Reply::States { range, digest, pieces } => {
                self.out.counters.ranges_differing += 1;
                self.join(replica, range, contexts, pieces)?;
                let may_be_theirs = work == Work::Compare && replica.digest(range) == digest;
                Ok(Next::Do(if may_be_theirs { Work::Confirm } else { Work::Give }))
            }
            Reply::Taken { .. } if work == Work::Give => Ok(Next::Nothing),
            Reply::Taken { .. } => Err(WireError::Invalid("answer")),
        }
    }

    /// Joins what the other has sent of a range.
    pub(super) fn join(
        &mut self,
        replica: &mut impl Replica,
        range: HashRange,
        contexts: &Contexts,
        pieces: Vec<States>,
    ) -> Result<(), WireError> {
        let theirs = contexts.of(range, pieces.iter().map(|piece| &piece.piece))?;
        for ((range, theirs), piece) in theirs.into_iter().zip(&pieces) {
            replica.join_states(range, piece.states.clone(), theirs)?;
            self.out.counters.ranges_joined += 1;
            self.out.record(Record::Joined { range, theirs: theirs.clone(), states: piece.states.clone() });
        }
        Ok(())
    }

    /// The other was found to hold the same.
    pub(super) fn saw(&mut self, replica: &mut impl Replica, pieces: Vec<(HashRange, &VersionVector)>) {
        for (range, theirs) in pieces {
            if replica.contexts(range).iter().all(|(_, mine)| mine.includes(theirs)) {
                continue;
            }
            replica.saw_range(range, theirs);
            self.out.record(Record::Saw { range, theirs: theirs.clone() });
        }
    }
}

/// What is to be done about a range after an answer.
enum Next {
    Nothing,
    Do(Work),
    Split,
}

/// The pieces of a range, unless there are too many; then it is to be split.
pub(super) fn pieces(replica: &impl Replica, range: HashRange, contexts: &mut Contexts) -> Option<Vec<Piece>> {
    let mine = replica.contexts(range);
    (mine.len() <= PIECES).then(|| mine.into_iter().map(|(range, context)| contexts.piece(range, context)).collect())
}

/// The states of a range, each piece with its context; `None` if they take more than `limit` bytes.
pub(super) fn states(replica: &mut impl Replica, range: HashRange, mut limit: usize, contexts: &mut Contexts) -> Option<Vec<States>> {
    let mine = replica.contexts(range);
    if mine.len() > PIECES {
        return None;
    }
    let mut pieces = Vec::new();
    for (range, context) in mine {
        let states = replica.states(range, limit)?;
        limit = limit.saturating_sub(states.len());
        pieces.push(States { piece: contexts.piece(range, context), states });
    }
    Some(pieces)
}

/// What a message has room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) bytes: usize,
    /// Nothing is in it yet.
    pub(super) is_empty: bool,
}

impl Room {
    /// How many bytes the states of a range may take: what can't be split has a message of its own, whatever it takes.
    pub(super) fn limit(self, range: HashRange) -> usize {
        if self.is_empty && range.is_single() { usize::MAX } else { self.bytes }
    }
}

/// The item that gives a range's states; or whether it is to be split first, or has to wait for the next message.
fn give(replica: &mut impl Replica, range: HashRange, room: Room, contexts: &mut Contexts) -> Result<Ask, bool> {
    match states(replica, range, room.limit(range), contexts) {
        Some(pieces) => Ok(Ask::Give { range, pieces }),
        None => Err(room.is_empty),
    }
}
