//! Frames that wait for one peer's connection: bounded in number and bytes, filled by any thread, emptied by the connection's writer.
//!
//! When it is full, the frame that comes is dropped: the protocols above send again. Without a connection only the newest few are kept, so
//! that a peer that returns hears of now and not of then.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use steadfast_types::limits;
use tokio::sync::Notify;

/// Bytes waiting for one peer's connection: what may be under way to a follower, with a snapshot's chunks, and room for the rest.
pub const QUEUE_BYTES: usize = 2 * limits::INFLIGHT_BYTES;

/// Frames kept for a peer without a connection: the votes and appends of the last moment.
pub const UNCONNECTED_FRAMES: usize = 16;

/// The queue of one peer.
#[derive(Debug, Default)]
pub(super) struct PeerQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
    connected: bool,
}

impl PeerQueue {
    /// Adds a frame. Returns how many frames were dropped for it, itself perhaps.
    pub(super) fn push(&self, frame: Bytes) -> u64 {
        let dropped = self.waiting.lock().push(frame);
        self.filled.notify_one();
        dropped
    }

    /// Waits for frames and takes them all, in order.
    pub(super) async fn take_all(&self, into: &mut VecDeque<Bytes>) {
        loop {
            self.take_waiting(into);
            if !into.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Takes what waits, in order, into the empty `into`.
    pub(super) fn take_waiting(&self, into: &mut VecDeque<Bytes>) {
        let mut waiting = self.waiting.lock();
        std::mem::swap(&mut waiting.frames, into);
        waiting.bytes = 0;
    }

    /// A connection is there, or is gone. Returns how many frames were dropped.
    pub(super) fn set_connected(&self, connected: bool) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.connected = connected;
        if connected { 0 } else { waiting.keep_newest(UNCONNECTED_FRAMES) }
    }

    /// How many frames wait.
    pub(super) fn length(&self) -> usize {
        self.waiting.lock().frames.len()
    }
}

impl Waiting {
    fn push(&mut self, frame: Bytes) -> u64 {
        let dropped = if self.connected { 0 } else { self.keep_newest(UNCONNECTED_FRAMES - 1) };
        // An empty queue takes a frame of any size: it is within the limit of frames.
        let full = self.frames.len() >= limits::PEER_QUEUE_FRAMES || self.bytes + frame.len() > QUEUE_BYTES;
        if full && !self.frames.is_empty() {
            return dropped + 1;
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        dropped
    }

    fn keep_newest(&mut self, count: usize) -> u64 {
        let excess = self.frames.len().saturating_sub(count);
        for frame in self.frames.drain(..excess) {
            self.bytes -= frame.len();
        }
        excess as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Bytes {
        Bytes::from(number.to_string())
    }

    fn taken(queue: &PeerQueue) -> VecDeque<Bytes> {
        let mut frames = VecDeque::new();
        queue.take_waiting(&mut frames);
        frames
    }

    #[test]
    fn a_connected_queue_drops_the_newest_beyond_its_bounds() {
        let queue = PeerQueue::default();
        queue.set_connected(true);
        let dropped: u64 = (0..limits::PEER_QUEUE_FRAMES + 5).map(|number| queue.push(numbered(number))).sum();
        assert_eq!(dropped, 5);
        assert_eq!(taken(&queue)[0], numbered(0));
        let large = Bytes::from(vec![0; QUEUE_BYTES / 2]);
        assert_eq!([queue.push(large.clone()), queue.push(large.clone()), queue.push(large)], [0, 0, 1]);
        assert_eq!(taken(&queue).len(), 2);
        assert_eq!(queue.push(numbered(0)), 0, "taking makes room");
    }

    #[test]
    fn an_unconnected_queue_keeps_the_newest() {
        let queue = PeerQueue::default();
        let dropped: u64 = (0..UNCONNECTED_FRAMES + 3).map(|number| queue.push(numbered(number))).sum();
        assert_eq!(dropped, 3);
        assert_eq!(taken(&queue)[0], numbered(3));
        queue.set_connected(true);
        (0..100).for_each(|number| assert_eq!(queue.push(numbered(number)), 0));
        assert_eq!(queue.set_connected(false), 100 - UNCONNECTED_FRAMES as u64);
    }
}
