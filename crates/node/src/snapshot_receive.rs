//! The receiving side of a snapshot: chunks in order to files beside the tables, then all at once in their place.
//!
//! Invariants:
//! 1. At most one hand-over is received at a time, and at most one job of it is out.
//! 2. Chunks are taken strictly in order, so that the queue holds at most the sender's window; others are dropped and come again.
//! 3. While it is being installed the node applies nothing and starts no other job on the tables.

use bytes::Bytes;
use steadfast_storage::tables::{Incoming, IncomingError, Retired, TablesOptions};
use steadfast_types::disk::Disk;
use steadfast_types::{Instant, LogPosition, NodeId, limits, time::Duration};

use crate::PeerMessage;
use crate::jobs::{Job, Kind};

/// A hand-over that another sender may displace after this long without a chunk.
const IDLE: Duration = Duration::from_secs(5);

/// One hand-over.
pub(crate) struct Receiving<D: Disk> {
    pub(crate) from: NodeId,
    pub(crate) transfer: u64,
    pub(crate) position: LogPosition,
    total: u64,
    /// Bytes taken in order, written or queued.
    taken: u64,
    queue: Vec<(u64, Bytes)>,
    stage: Stage<D>,
    last_chunk: Instant,
}

enum Stage<D: Disk> {
    /// Between jobs; nothing is written yet if `None`.
    Idle(Option<Incoming<D>>),
    /// A job holds the files.
    Writing,
    Installing,
}

/// A piece of a snapshot as it came.
pub(crate) struct Chunk {
    pub(crate) transfer: u64,
    pub(crate) position: LogPosition,
    pub(crate) total: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

impl<D: Disk> Receiving<D> {
    /// Takes a chunk, if it belongs to the hand-over that is received or begins one that may. Gives what the sender is told; nothing, if it is to
    /// wait.
    pub(crate) fn on_chunk(receiving: &mut Option<Self>, from: NodeId, chunk: Chunk, now: Instant) -> Option<PeerMessage> {
        let transfer = chunk.transfer;
        match receiving {
            Some(current) if current.transfer == transfer && current.from == from => {}
            Some(current) if !current.may_be_displaced(from, now) => return None,
            Some(_) | None if chunk.offset > 0 => return Some(PeerMessage::SnapshotUnknown { transfer }),
            Some(_) | None => *receiving = Some(Receiving::new(from, &chunk, now)),
        }
        let current = receiving.as_mut()?;
        current.take(chunk, now);
        Some(PeerMessage::SnapshotProgress { transfer, received: current.taken, done: false })
    }

    fn new(from: NodeId, chunk: &Chunk, now: Instant) -> Self {
        Receiving {
            from,
            transfer: chunk.transfer,
            position: chunk.position,
            total: chunk.total,
            taken: 0,
            queue: Vec::new(),
            stage: Stage::Idle(None),
            last_chunk: now,
        }
    }

    /// Whether another hand-over from `sender` may take this one's place. A sender has one at a time: if it begins another, this one is over.
    fn may_be_displaced(&self, sender: NodeId, now: Instant) -> bool {
        self.is_between_jobs() && (sender == self.from || now.since(self.last_chunk) > IDLE)
    }

    /// Takes the chunk if it is the next one and there is room.
    fn take(&mut self, chunk: Chunk, now: Instant) {
        self.last_chunk = now;
        let end = chunk.offset.checked_add(chunk.bytes.len() as u64);
        let has_room = self.queue.len() < 2 * limits::SNAPSHOT_INFLIGHT_CHUNKS;
        if chunk.offset == self.taken && has_room && end.is_some_and(|end| end <= self.total) {
            self.taken += chunk.bytes.len() as u64;
            self.queue.push((chunk.offset, chunk.bytes));
        }
    }

    /// Tells the sender why this hand-over ends.
    pub(crate) fn refusal(&self, error: &IncomingError) -> PeerMessage {
        let transfer = self.transfer;
        match error {
            IncomingError::Damaged(_) => PeerMessage::SnapshotDamaged { transfer },
            IncomingError::OutOfOrder { .. }
            | IncomingError::Incomplete { .. }
            | IncomingError::NewerFormat { .. }
            | IncomingError::Disk(_) => PeerMessage::SnapshotUnknown { transfer },
        }
    }

    /// The next job: writing what is queued, or installing once everything is written (and only if `may_install`; then `retire` ends the
    /// writing of the tables in place).
    pub(crate) fn job(
        &mut self,
        disk: &D,
        options: &TablesOptions,
        may_install: bool,
        retire: impl FnOnce() -> Option<Retired<D>>,
    ) -> Option<Job<D>> {
        let Stage::Idle(incoming) = &mut self.stage else { return None };
        let transfer = self.transfer;
        if !self.queue.is_empty() {
            let (incoming, chunks) = (incoming.take(), std::mem::take(&mut self.queue));
            self.stage = Stage::Writing;
            return Some(Job(Kind::WriteSnapshot { transfer, incoming, disk: disk.clone(), chunks }));
        }
        if self.taken < self.total || !may_install {
            return None;
        }
        let incoming = incoming.take()?;
        self.stage = Stage::Installing;
        Some(Job(Kind::Install { transfer, incoming, disk: disk.clone(), options: options.clone(), former: retire() }))
    }

    /// Whether all bytes have arrived, so that it waits to be installed.
    pub(crate) fn is_complete(&self) -> bool {
        self.taken >= self.total
    }

    pub(crate) fn is_installing(&self) -> bool {
        matches!(self.stage, Stage::Installing)
    }

    /// Whether no job holds its files.
    pub(crate) fn is_between_jobs(&self) -> bool {
        matches!(self.stage, Stage::Idle(_))
    }

    pub(crate) fn written(&mut self, incoming: Incoming<D>) {
        self.stage = Stage::Idle(Some(incoming));
    }
}
