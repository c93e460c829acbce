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

/// A hand-over without progress for this long is given up.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A chunk unanswered for this long is sent again.
const RESEND: Duration = Duration::from_secs(2);

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
    last_progress: Instant,
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
            last_progress: now,
            last_sent: now,
        }
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Reads of further chunks, as far as the window allows.
    pub(crate) fn jobs(&mut self, now: Instant) -> Vec<Job<D>> {
        let window = (limits::SNAPSHOT_INFLIGHT_CHUNKS * limits::SNAPSHOT_CHUNK_BYTES) as u64;
        if now.since(self.last_sent) >= RESEND {
            self.next = self.received;
        }
        let mut jobs = Vec::new();
        while self.next < self.total && self.next < self.received + window {
            jobs.push(Job(Kind::ReadSnapshot {
                to: self.to,
                transfer: self.transfer,
                checkpoint: self.checkpoint.clone(),
                offset: self.next,
            }));
            self.next += limits::SNAPSHOT_CHUNK_BYTES as u64;
            self.last_sent = now;
        }
        jobs
    }

    pub(crate) fn frame(&self, offset: u64, bytes: Bytes) -> PeerMessage {
        PeerMessage::SnapshotChunk { transfer: self.transfer, position: self.position, total: self.total, offset, bytes }
    }

    pub(crate) fn progress(&mut self, received: u64, now: Instant) {
        if received > self.received {
            self.received = received.min(self.total);
            self.next = self.next.max(self.received);
            self.last_progress = now;
            self.last_sent = now;
        }
    }

    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        now.since(self.last_progress) > GIVE_UP
    }
}
