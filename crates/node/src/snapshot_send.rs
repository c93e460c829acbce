//! The sending side of a snapshot: a checkpoint of the tables, in chunks, a few under way at a time.
//!
//! A checkpoint is the tables' latest durable files, pinned; the log holds everything after it, so that no snapshot has to be *made*.

use std::sync::Arc;

use bytes::Bytes;
use steadfast_storage::tables::Checkpoint;
use steadfast_types::disk::Disk;
use steadfast_types::{Instant, LogPosition, NodeId, limits, time::Duration};

use crate::PeerMessage;
use crate::jobs::{Job, Kind};

/// A hand-over of which the receiver says nothing for this long is given up.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A chunk unanswered for this long is sent again; so is the last one, while the receiver has not said that it is done.
const RESEND: Duration = Duration::from_secs(2);

/// Each chunk but the last has so many bytes.
const CHUNK: u64 = limits::SNAPSHOT_CHUNK_BYTES as u64;

/// So many bytes may be under way.
const WINDOW: u64 = limits::SNAPSHOT_INFLIGHT_CHUNKS as u64 * CHUNK;

/// One hand-over.
pub(crate) struct Sending<D: Disk> {
    pub(crate) to: NodeId,
    pub(crate) transfer: u64,
    pub(crate) position: LogPosition,
    checkpoint: Arc<Checkpoint<D>>,
    total: u64,
    /// Bytes the follower has.
    received: u64,
    /// Where the next chunk to read begins.
    next: u64,
    /// Whether a read is out: one at a time, for jobs may end in any order, and chunks go out in theirs.
    is_reading: bool,
    last_heard: Instant,
    last_sent: Instant,
}

impl<D: Disk> Sending<D> {
    pub(crate) fn new(to: NodeId, transfer: u64, checkpoint: Checkpoint<D>, now: Instant) -> Self {
        let (position, total) = (checkpoint.applied(), checkpoint.total_bytes());
        Sending {
            to,
            transfer,
            position,
            checkpoint: Arc::new(checkpoint),
            total,
            received: 0,
            next: 0,
            is_reading: false,
            last_heard: now,
            last_sent: now,
        }
    }

    /// Looks whether it is whole.
    pub(crate) fn verification(&self) -> Job<D> {
        Job(Kind::VerifySnapshot { checkpoint: self.checkpoint.clone() })
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Reads the next chunk, if the window allows.
    pub(crate) fn job(&mut self, now: Instant) -> Option<Job<D>> {
        if self.is_reading {
            return None;
        }
        if now.since(self.last_sent) >= RESEND {
            let last = self.total.saturating_sub(1) / CHUNK * CHUNK;
            self.next = self.received.min(last);
        }
        if self.next >= self.total || self.next >= self.received + WINDOW {
            return None;
        }
        let job = Kind::ReadSnapshot { to: self.to, transfer: self.transfer, checkpoint: self.checkpoint.clone(), offset: self.next };
        self.next += CHUNK;
        self.is_reading = true;
        self.last_sent = now;
        Some(Job(job))
    }

    /// A chunk was read: what to send.
    pub(crate) fn chunk_read(&mut self, offset: u64, bytes: Bytes) -> PeerMessage {
        self.is_reading = false;
        PeerMessage::SnapshotChunk { transfer: self.transfer, position: self.position, total: self.total, offset, bytes }
    }

    pub(crate) fn progress(&mut self, received: u64, now: Instant) {
        self.last_heard = now;
        if received > self.received {
            self.received = received.min(self.total);
            self.next = self.next.max(self.received);
            self.last_sent = now;
        }
    }

    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        now.since(self.last_heard) > GIVE_UP
    }
}
