//! The commands of this node's own clients, from their arrival to their outcome.
//!
//! A command is *handed over* to the leader of a term: to this node's own consensus, or in that term's forward stream to another node. Only
//! the leader of that very term may put it in the log.
//!
//! Invariants:
//! 1. A command is applied at most once, however often leaders change: it is handed over again only when this node has applied an entry of
//!    a later term than the one it was handed over in and the command was not applied before that. Terms never go down along the log,
//!    so no entry of the earlier term can follow, and the command can't be in one.
//! 2. Places in a term's stream are given in order, without gaps, and stay occupied until the outcome or a later term: the leader takes them
//!    in order only, so that a lost frame is noticed and a doubled one ignored.
//! 3. Commands and bytes waiting here are bounded; beyond that clients are refused before anything is done.

use std::collections::VecDeque;

use bytes::Bytes;
use steadfast_state::command::{Command, Origin, Proposal};
use steadfast_types::wire::{Wire, put_varint};
use steadfast_types::{Instant, NodeId, Term, limits, time::Duration};

/// The commands of one process life that wait for their outcome.
#[derive(Debug)]
pub(crate) struct Proposals<S> {
    node: NodeId,
    incarnation: u64,
    /// The request number of the first of `waiting`.
    first_request: u64,
    waiting: VecDeque<Waiting<S>>,
    bytes: usize,
    /// Request numbers to hand over, ascending.
    unsent: VecDeque<u64>,
    stream: Stream,
}

#[derive(Debug)]
struct Waiting<S> {
    /// Taken when the client is answered.
    slot: Option<S>,
    deadline: Instant,
    /// The proposal in wire form; empty once the outcome is known.
    proposal: Bytes,
    handed_over: Option<HandedOver>,
}

#[derive(Clone, Copy, Debug)]
struct HandedOver {
    term: Term,
    /// The place in the term's stream; `None`: this node was the leader.
    place: Option<u64>,
}

/// The forward stream to the leader of `term`.
#[derive(Debug, Default)]
struct Stream {
    term: Term,
    next: u64,
    last_sent: Instant,
}

/// A forward frame's content: the place of the first command, and a `Batch` in wire form.
pub(crate) struct Forwarding {
    pub(crate) first: u64,
    pub(crate) batch: Bytes,
}

impl<S> Proposals<S> {
    pub(crate) fn new(node: NodeId, incarnation: u64) -> Self {
        Proposals {
            node,
            incarnation,
            first_request: 1,
            waiting: VecDeque::new(),
            bytes: 0,
            unsent: VecDeque::new(),
            stream: Stream::default(),
        }
    }

    /// Whether invariant 3 leaves room for another command.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < limits::QUEUED_REQUESTS && self.bytes < limits::QUEUED_REQUEST_BYTES
    }

    /// Takes in a client's command.
    pub(crate) fn add(&mut self, slot: S, command: Command, deadline: Instant) {
        let origin = self.reserve(slot, deadline);
        let proposal = Bytes::from(Proposal { origin, command }.to_wire());
        self.bytes += proposal.len();
        self.unsent.push_back(origin.request);
        if let Some(waiting) = self.waiting.back_mut() {
            waiting.proposal = proposal;
        }
    }

    /// An origin whose outcome goes to `slot`, for a proposal that somebody else makes (the leader, for a membership change).
    pub(crate) fn reserve(&mut self, slot: S, deadline: Instant) -> Origin {
        let request = self.first_request + self.waiting.len() as u64;
        self.waiting.push_back(Waiting { slot: Some(slot), deadline, proposal: Bytes::new(), handed_over: None });
        Origin { node: self.node, incarnation: self.incarnation, request }
    }

    /// The outcome of `request` is known: who waits for it, if anyone still does.
    pub(crate) fn complete(&mut self, request: u64) -> Option<S> {
        let at = usize::try_from(request.checked_sub(self.first_request)?).ok()?;
        let waiting = self.waiting.get_mut(at)?;
        self.bytes -= waiting.proposal.len();
        waiting.proposal = Bytes::new();
        let slot = waiting.slot.take();
        self.drop_finished();
        slot
    }

    fn drop_finished(&mut self) {
        while self.waiting.front().is_some_and(|w| w.slot.is_none() && w.proposal.is_empty()) {
            self.waiting.pop_front();
            self.first_request += 1;
        }
    }

    /// Clients whose deadline has passed. Their commands stay handed over (invariant 2), but are not handed over for the first time any more.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<S> {
        let mut expired = Vec::new();
        for waiting in self.waiting.iter_mut().take_while(|w| w.deadline <= now) {
            expired.extend(waiting.slot.take());
            if waiting.handed_over.is_none() {
                self.bytes -= waiting.proposal.len();
                waiting.proposal = Bytes::new();
            }
        }
        self.drop_finished();
        expired
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.waiting.iter().find(|w| w.slot.is_some()).map_or(Instant::NEVER, |w| w.deadline)
    }

    /// This node has applied an entry of `term`, for the first time: what was handed over earlier and is not applied never will be.
    pub(crate) fn term_applied(&mut self, term: Term) {
        let mut again = Vec::new();
        for (at, waiting) in self.waiting.iter_mut().enumerate() {
            if waiting.handed_over.is_some_and(|handed| handed.term < term) {
                waiting.handed_over = None;
                if waiting.slot.is_some() {
                    again.push(self.first_request + at as u64);
                } else {
                    self.bytes -= waiting.proposal.len();
                    waiting.proposal = Bytes::new();
                }
            }
        }
        again.extend(self.unsent.drain(..));
        again.sort_unstable();
        self.unsent = again.into();
        self.drop_finished();
    }

    /// A snapshot replaced the log up to an entry of `term`: the outcomes of what was handed over by then are lost.
    pub(crate) fn outcomes_lost(&mut self, term: Term) -> Vec<S> {
        let mut lost = Vec::new();
        for waiting in &mut self.waiting {
            if waiting.handed_over.is_some_and(|handed| handed.term <= term) {
                lost.extend(waiting.slot.take());
                self.bytes -= waiting.proposal.len();
                waiting.proposal = Bytes::new();
            }
        }
        self.drop_finished();
        lost
    }

    /// Whether anything waits to be handed over.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Hands over to this node itself, the leader of `term`: the next proposal in wire form.
    pub(crate) fn hand_to_self(&mut self, term: Term) -> Option<Bytes> {
        self.hand_over(HandedOver { term, place: None })
    }

    /// Hands over to the leader of `term`: everything not yet sent, in frames.
    pub(crate) fn hand_to_leader(&mut self, term: Term, now: Instant) -> Vec<Forwarding> {
        if self.stream.term != term {
            self.stream = Stream { term, next: 0, last_sent: now };
        }
        let first = self.stream.next;
        let mut proposals = Vec::new();
        while let Some(proposal) = self.hand_over(HandedOver { term, place: Some(self.stream.next) }) {
            self.stream.next += 1;
            proposals.push(proposal);
        }
        if !proposals.is_empty() {
            self.stream.last_sent = now;
        }
        frames(first, &proposals)
    }

    fn hand_over(&mut self, to: HandedOver) -> Option<Bytes> {
        while let Some(request) = self.unsent.pop_front() {
            let Some(at) = request.checked_sub(self.first_request) else { continue };
            let Some(waiting) = self.waiting.get_mut(at as usize) else { continue };
            if waiting.slot.is_some() && !waiting.proposal.is_empty() {
                waiting.handed_over = Some(to);
                return Some(waiting.proposal.clone());
            }
        }
        None
    }

    /// The leader of `term` can take place `next`: send from there again.
    pub(crate) fn resend_from(&mut self, term: Term, next: u64, now: Instant) -> Vec<Forwarding> {
        if self.stream.term != term {
            return Vec::new();
        }
        self.stream.last_sent = now;
        let place = |w: &Waiting<S>| w.handed_over.filter(|handed| handed.term == term).and_then(|handed| handed.place);
        let again: Vec<(u64, Bytes)> = self
            .waiting
            .iter()
            .filter(|w| !w.proposal.is_empty())
            .filter_map(|w| Some((place(w).filter(|place| *place >= next)?, w.proposal.clone())))
            .collect();
        let Some(&(first, _)) = again.first() else { return Vec::new() };
        let proposals: Vec<Bytes> = again.into_iter().map(|(_, proposal)| proposal).collect();
        frames(first, &proposals)
    }

    /// What was sent to the leader of `term` and has no outcome after `patience`: the frame may be lost.
    pub(crate) fn resend_overdue(&mut self, term: Term, now: Instant, patience: Duration) -> Vec<Forwarding> {
        if self.stream.term != term || now.since(self.stream.last_sent) < patience {
            return Vec::new();
        }
        self.resend_from(term, 0, now)
    }
}

/// Packs consecutive proposals into batches of bounded size.
fn frames(mut first: u64, proposals: &[Bytes]) -> Vec<Forwarding> {
    let mut frames = Vec::new();
    let mut rest = proposals;
    while !rest.is_empty() {
        let (batch, count) = pack(rest);
        frames.push(Forwarding { first, batch });
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
