//! The leader's side of forwarding: takes other nodes' commands in the order of their streams, each exactly once, and gathers them with its own
//! into entries.
//!
//! Invariants:
//! 1. Only commands forwarded in this node's own current term are taken; the queue is emptied when the term or leadership ends.
//! 2. Of each stream, places are taken from 0, without gaps or repeats. Of a process life only the newest stream counts; lives are told apart
//!    for the whole term, so that a late frame of an earlier life repeats nothing and disturbs nobody.
//! 3. A membership change is taken once: requests of a life only in ascending order.
//! 4. The queue is bounded: what finds no room is not taken, and comes again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use steadfast_state::command::{Origin, Proposal};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{NodeId, Term, limits};

use crate::proposals::{Forwarding, pack};

/// What a leader has been handed and not yet proposed.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    term: Term,
    lives: BTreeMap<(NodeId, u64), Life>,
    queue: VecDeque<Bytes>,
    bytes: usize,
}

/// Process lives of other nodes that are told apart in one term. A node that restarts more often under one leader waits for the next term.
const LIVES: usize = 16 * 1024;

/// How far the commands of a process life are taken.
#[derive(Debug, Default)]
struct Life {
    stream: u64,
    next: u64,
    /// The newest membership change that was asked for.
    change: u64,
}

/// What became of a forwarded frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Taken, or ignored as a repeat.
    Yes,
    /// Places before it are missing: the next one that can be taken.
    Gap(u64),
    /// No room now.
    Full,
}

impl Intake {
    /// This node leads `term`.
    pub(crate) fn enter_term(&mut self, term: Term) {
        if self.term != term {
            *self = Intake { term, ..Intake::default() };
        }
    }

    /// This node does not lead.
    pub(crate) fn leave(&mut self) {
        self.enter_term(Term(0));
    }

    /// Takes a frame of a stream of `from`'s process life `incarnation`.
    ///
    /// # Errors
    /// The batch is malformed; nothing was taken.
    pub(crate) fn take(&mut self, from: NodeId, incarnation: u64, frame: Forwarding) -> Result<Taken, WireError> {
        let Forwarding { stream, first, batch } = frame;
        let has_room = self.has_room();
        let Some(life) = self.life(from, incarnation) else { return Ok(Taken::Full) };
        if stream < life.stream && !is_planted(Bug::ForwardedTwice) {
            return Ok(Taken::Yes);
        }
        if stream > life.stream {
            *life = Life { stream, next: 0, change: life.change };
        }
        if first > life.next {
            return Ok(Taken::Gap(life.next));
        }
        if !has_room {
            return Ok(Taken::Full);
        }
        let proposals = split(batch)?;
        let known = if is_planted(Bug::ForwardedTwice) { 0 } else { usize::try_from(life.next - first).unwrap_or(usize::MAX) };
        let new: Vec<Bytes> = proposals.into_iter().skip(known).collect();
        life.next += new.len() as u64;
        new.into_iter().for_each(|proposal| self.push(proposal));
        Ok(Taken::Yes)
    }

    /// Whether a membership change is asked for the first time in this term.
    pub(crate) fn is_new_change(&mut self, origin: Origin) -> bool {
        let Some(life) = self.life(origin.node, origin.incarnation) else { return false };
        let is_new = origin.request > life.change;
        life.change = life.change.max(origin.request);
        is_new
    }

    fn life(&mut self, node: NodeId, incarnation: u64) -> Option<&mut Life> {
        let has_room = self.lives.len() < LIVES;
        match self.lives.entry((node, incarnation)) {
            Entry::Occupied(life) => Some(life.into_mut()),
            Entry::Vacant(place) => has_room.then(|| place.insert(Life::default())),
        }
    }

    /// How many are queued.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether more can be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes <= limits::QUEUED_REQUEST_BYTES && self.queue.len() <= 4 * limits::QUEUED_REQUESTS
    }

    /// Queues one of the leader's own commands.
    pub(crate) fn push(&mut self, proposal: Bytes) {
        self.bytes += proposal.len();
        self.queue.push_back(proposal);
    }

    /// The next entry's batch; `None` when the queue is empty. [`Intake::proposed`] takes it off.
    pub(crate) fn next_batch(&mut self) -> Option<(Bytes, usize)> {
        (!self.queue.is_empty()).then(|| pack(self.queue.make_contiguous()))
    }

    /// The first `count` commands are in the log.
    pub(crate) fn proposed(&mut self, count: usize) {
        for proposal in self.queue.drain(..count) {
            self.bytes -= proposal.len();
        }
    }
}

/// The proposals of a batch, each still in wire form, all checked to be well formed: what is not must never enter the log.
fn split(batch: Bytes) -> Result<Vec<Bytes>, WireError> {
    let mut reader = Reader::new(batch.clone());
    let count = reader.varint()?;
    let mut proposals = Vec::new();
    for _ in 0..count {
        let start = batch.len() - reader.remaining();
        Proposal::decode(&mut reader)?;
        proposals.push(batch.slice(start..batch.len() - reader.remaining()));
    }
    match reader.remaining() {
        0 => Ok(proposals),
        left => Err(WireError::LeftOver(left)),
    }
}
