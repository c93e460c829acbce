//! The leader's side of forwarding: takes other nodes' commands in the order of their streams, each exactly once, and gathers them with its own
//! into entries.
//!
//! Invariants:
//! 1. Only commands forwarded in this node's own current term are taken; the queue is emptied when the term or leadership ends.
//! 2. Of each node's process life, places are taken from 0, without gaps or repeats.
//! 3. The queue is bounded: what finds no room is not taken, and comes again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use steadfast_state::command::Proposal;
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{NodeId, Term, limits};

use crate::proposals::pack;

/// What a leader has been handed and not yet proposed.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    term: Term,
    streams: BTreeMap<NodeId, (u64, u64)>,
    queue: VecDeque<Bytes>,
    bytes: usize,
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

    /// Takes a frame of the stream of `from`'s process life `incarnation`.
    ///
    /// # Errors
    /// The batch is malformed; nothing was taken.
    pub(crate) fn take(&mut self, from: NodeId, incarnation: u64, first: u64, batch: Bytes) -> Result<Taken, WireError> {
        let stream = self.streams.entry(from).or_insert((incarnation, 0));
        if stream.0 != incarnation {
            *stream = (incarnation, 0);
        }
        if first > stream.1 {
            return Ok(Taken::Gap(stream.1));
        }
        if self.bytes > limits::QUEUED_REQUEST_BYTES || self.queue.len() > 4 * limits::QUEUED_REQUESTS {
            return Ok(Taken::Full);
        }
        let proposals = split(batch)?;
        let known = usize::try_from(stream.1 - first).unwrap_or(usize::MAX);
        for proposal in proposals.into_iter().skip(known) {
            stream.1 += 1;
            self.bytes += proposal.len();
            self.queue.push_back(proposal);
        }
        Ok(Taken::Yes)
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
