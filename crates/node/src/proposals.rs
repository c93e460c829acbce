//! The commands of this node's own clients, from their arrival to their outcome.
//!
//! A command is *handed over* to the leader of a term: to this node's own consensus, or in a forward stream to another node. Only the leader
//! of that very term may put it in the log.
//!
//! Invariants:
//! 1. A command is applied at most once, however often leaders change: it is handed over again only when this node has applied an entry of
//!    a later term than the one it was handed over in and the command was not applied before that. Terms never go down along the log,
//!    so no entry of the earlier term can follow, and the command can't be in one.
//! 2. Places in a stream are given in order, without gaps, and a command keeps its place until its outcome or a later term: the leader takes
//!    them in order only, so that a lost frame is noticed and a doubled one ignored. Outcomes come in the order of the places.
//! 3. Each stream of a process life has a greater number than the one before: a new term begins one, and so does the loss of outcomes to a
//!    snapshot, which leaves places that can't be filled any more.
//! 4. Commands and bytes waiting here are bounded; beyond that clients are refused before anything is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use steadfast_state::command::{Command, Origin, Proposal};
use steadfast_types::wire::{Wire, put_varint};
use steadfast_types::{Instant, NodeId, Term, limits, time::Duration};

/// Frames sent again at once. The rest follows when these have arrived: a stream is never stuck behind them, and never floods a slow leader.
const RESENT_FRAMES: usize = 8;

/// The commands of one process life that wait for their outcome.
#[derive(Debug)]
pub(crate) struct Proposals<S> {
    node: NodeId,
    incarnation: u64,
    /// The number of the next request.
    next_request: u64,
    waiting: BTreeMap<u64, Waiting<S>>,
    bytes: usize,
    /// Requests to hand over.
    unsent: BTreeSet<u64>,
    stream: Stream,
}

#[derive(Debug)]
struct Waiting<S> {
    /// Taken when the client is answered.
    slot: Option<S>,
    deadline: Instant,
    /// The proposal in wire form; empty if somebody else proposes it.
    proposal: Bytes,
    /// The term it was handed over in.
    handed_over: Option<Term>,
}

/// The forward stream to the leader of `term`.
#[derive(Debug, Default)]
struct Stream {
    term: Term,
    number: u64,
    /// The place of the first of `requests`.
    first: u64,
    /// The requests in their places; those before have their outcome.
    requests: VecDeque<u64>,
    last_sent: Instant,
    /// What was sent again last, and when.
    resent: Option<(u64, Instant)>,
}

/// A forward frame's content: its stream, the place of the first command there, and a `Batch` in wire form.
#[derive(Clone, Debug)]
pub(crate) struct Forwarding {
    pub(crate) stream: u64,
    pub(crate) first: u64,
    pub(crate) batch: Bytes,
}

impl<S> Proposals<S> {
    pub(crate) fn new(node: NodeId, incarnation: u64) -> Self {
        Proposals {
            node,
            incarnation,
            next_request: 1,
            waiting: BTreeMap::new(),
            bytes: 0,
            unsent: BTreeSet::new(),
            stream: Stream::default(),
        }
    }

    /// Whether invariant 4 leaves room for another command.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < limits::QUEUED_REQUESTS && self.bytes < limits::QUEUED_REQUEST_BYTES
    }

    /// How many wait, those included whose client has gone.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in a client's command.
    pub(crate) fn add(&mut self, slot: S, command: Command, deadline: Instant) {
        let origin = self.reserve(slot, deadline);
        let proposal = Bytes::from(Proposal { origin, command }.to_wire());
        self.bytes += proposal.len();
        self.unsent.insert(origin.request);
        if let Some(waiting) = self.waiting.get_mut(&origin.request) {
            waiting.proposal = proposal;
        }
    }

    /// An origin whose outcome goes to `slot`, for a proposal that somebody else makes (the leader, for a membership change).
    pub(crate) fn reserve(&mut self, slot: S, deadline: Instant) -> Origin {
        let request = self.next_request;
        self.next_request += 1;
        self.waiting.insert(request, Waiting { slot: Some(slot), deadline, proposal: Bytes::new(), handed_over: None });
        Origin { node: self.node, incarnation: self.incarnation, request }
    }

    /// The outcome of `request` is known: who waits for it, if anyone still does.
    pub(crate) fn complete(&mut self, request: u64) -> Option<S> {
        let slot = self.remove(request);
        while self.stream.requests.front().is_some_and(|request| !self.waiting.contains_key(request)) {
            self.stream.requests.pop_front();
            self.stream.first += 1;
        }
        slot
    }

    fn remove(&mut self, request: u64) -> Option<S> {
        let waiting = self.waiting.remove(&request)?;
        self.bytes -= waiting.proposal.len();
        self.unsent.remove(&request);
        waiting.slot
    }

    /// Clients whose deadline has passed. Their commands stay handed over (invariant 2), but are not handed over for the first time any more.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<S> {
        let late: Vec<u64> = self.waiting.iter().filter(|(_, w)| w.slot.is_some() && w.deadline <= now).map(|(at, _)| *at).collect();
        let mut expired = Vec::new();
        for request in late {
            match self.waiting.get_mut(&request) {
                Some(waiting) if waiting.handed_over.is_some() => expired.extend(waiting.slot.take()),
                Some(_) | None => expired.extend(self.remove(request)),
            }
        }
        expired
    }

    /// This node has applied an entry of `term`, for the first time: what was handed over earlier and is not applied never will be.
    pub(crate) fn term_applied(&mut self, term: Term) {
        let earlier = self.handed_over_in(|handed| handed < term);
        for request in earlier {
            match self.waiting.get_mut(&request) {
                Some(waiting) if waiting.slot.is_some() => {
                    waiting.handed_over = None;
                    self.unsent.insert(request);
                }
                Some(_) | None => drop(self.remove(request)),
            }
        }
    }

    /// A snapshot replaced the log up to an entry of `term`: the outcomes of what was handed over by then are lost.
    pub(crate) fn outcomes_lost(&mut self, term: Term) -> Vec<S> {
        let lost = self.handed_over_in(|handed| handed <= term);
        if self.stream.term <= term {
            // Its places can't be filled any more: the next command begins another stream.
            self.stream = Stream { number: self.stream.number, ..Stream::default() };
        }
        lost.into_iter().filter_map(|request| self.remove(request)).collect()
    }

    fn handed_over_in(&self, is_meant: impl Fn(Term) -> bool) -> Vec<u64> {
        self.waiting.iter().filter(|(_, waiting)| waiting.handed_over.is_some_and(&is_meant)).map(|(request, _)| *request).collect()
    }

    /// Whether anything waits to be handed over.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Hands over to this node itself, the leader of `term`: the next proposal in wire form.
    pub(crate) fn hand_to_self(&mut self, term: Term) -> Option<Bytes> {
        self.hand_over(term).map(|(_, proposal)| proposal)
    }

    /// Hands over to the leader of `term`: everything not yet sent, in frames.
    pub(crate) fn hand_to_leader(&mut self, term: Term, now: Instant) -> Vec<Forwarding> {
        if self.stream.term != term {
            self.stream = Stream { term, number: self.stream.number + 1, ..Stream::default() };
        }
        let first = self.stream.first + self.stream.requests.len() as u64;
        let mut proposals = Vec::new();
        while let Some((request, proposal)) = self.hand_over(term) {
            self.stream.requests.push_back(request);
            proposals.push(proposal);
        }
        if !proposals.is_empty() {
            self.stream.last_sent = now;
        }
        frames(self.stream.number, first, &proposals)
    }

    fn hand_over(&mut self, term: Term) -> Option<(u64, Bytes)> {
        let request = self.unsent.pop_first()?;
        let waiting = self.waiting.get_mut(&request).expect("what is to be handed over waits for its outcome");
        waiting.handed_over = Some(term);
        Some((request, waiting.proposal.clone()))
    }

    /// The leader of `term` can take place `next` of the stream `number`: send from there again. Of many complaints about one gap, the first
    /// in a `patience` counts.
    pub(crate) fn resend_from(&mut self, term: Term, number: u64, next: u64, now: Instant, patience: Duration) -> Vec<Forwarding> {
        let heeded = self.stream.resent.is_some_and(|(place, at)| place == next && now.since(at) < patience);
        if self.stream.term != term || self.stream.number != number || heeded {
            return Vec::new();
        }
        self.stream.resent = Some((next, now));
        self.resend(next, now)
    }

    /// What was sent to the leader of `term` and has no outcome after `patience`: the frame may be lost.
    pub(crate) fn resend_overdue(&mut self, term: Term, now: Instant, patience: Duration) -> Vec<Forwarding> {
        if self.stream.term != term || now.since(self.stream.last_sent) < patience {
            return Vec::new();
        }
        self.resend(0, now)
    }

    fn resend(&mut self, next: u64, now: Instant) -> Vec<Forwarding> {
        self.stream.last_sent = now;
        let known = next.saturating_sub(self.stream.first);
        let again = self.stream.requests.iter().skip(usize::try_from(known).unwrap_or(usize::MAX));
        let proposals: Vec<Bytes> = again.map_while(|request| Some(self.waiting.get(request)?.proposal.clone())).collect();
        let mut again = frames(self.stream.number, self.stream.first + known, &proposals);
        again.truncate(RESENT_FRAMES);
        again
    }
}

/// Packs consecutive proposals into batches of bounded size.
fn frames(stream: u64, mut first: u64, proposals: &[Bytes]) -> Vec<Forwarding> {
    let mut frames = Vec::new();
    let mut rest = proposals;
    while !rest.is_empty() {
        let (batch, count) = pack(rest);
        frames.push(Forwarding { stream, first, batch });
        first += count as u64;
        rest = &rest[count..];
    }
    frames
}

/// As many proposals as one entry may hold, as a `Batch` in wire form, and how many they are (at least one).
pub(crate) fn pack(proposals: &[Bytes]) -> (Bytes, usize) {
    let mut bytes = 0;
    let count = proposals
        .iter()
        .take(limits::BATCH_COMMANDS)
        .take_while(|proposal| {
            bytes += proposal.len();
            bytes <= limits::BATCH_BYTES
        })
        .count()
        .max(1);
    let mut batch = Vec::with_capacity(proposals[..count].iter().map(Bytes::len).sum::<usize>() + 5);
    put_varint(&mut batch, count as u64);
    for proposal in &proposals[..count] {
        batch.extend_from_slice(proposal);
    }
    (batch.into(), count)
}

#[cfg(test)]
mod tests;
