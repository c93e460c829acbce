//! The core loop's inbox: what many threads put in and one takes out, all at once.
//!
//! One lock per item put in and one per turn; the loop is woken only if it sleeps. Client requests are bounded by count, and refused beyond
//! it. Peer frames are bounded by bytes: beyond it their connections are not read. Completions are not bounded here: there are never more of
//! them than of what was asked for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use steadfast_types::limits;
use tokio::sync::Notify;

/// Bytes of peer frames that may wait.
const FRAME_BYTES: usize = 4 * limits::PEER_FRAME_BYTES;

/// An inbox of `I`; clones share it.
pub(crate) struct Inbox<I> {
    shared: Arc<Shared<I>>,
}

impl<I> Clone for Inbox<I> {
    fn clone(&self) -> Self {
        Inbox { shared: self.shared.clone() }
    }
}

struct Shared<I> {
    waiting: Mutex<Waiting<I>>,
    arrived: Condvar,
    drained: Notify,
}

struct Waiting<I> {
    items: Vec<I>,
    requests: usize,
    frame_bytes: usize,
    asleep: bool,
    awake_anyway: bool,
}

impl<I> Inbox<I> {
    pub(crate) fn new() -> Self {
        let waiting = Waiting { items: Vec::new(), requests: 0, frame_bytes: 0, asleep: false, awake_anyway: false };
        Inbox { shared: Arc::new(Shared { waiting: Mutex::new(waiting), arrived: Condvar::new(), drained: Notify::new() }) }
    }

    /// Puts a client's request in, or gives it back if too many wait.
    pub(crate) fn request(&self, item: I) -> Result<(), I> {
        let mut waiting = self.shared.waiting.lock();
        if waiting.requests >= limits::QUEUED_REQUESTS {
            return Err(item);
        }
        waiting.requests += 1;
        self.put(waiting, item);
        Ok(())
    }

    /// Puts in anything that is bounded elsewhere.
    pub(crate) fn push(&self, item: I) {
        self.put(self.shared.waiting.lock(), item);
    }

    /// Puts a peer's frame in, as soon as there is room for it.
    pub(crate) async fn frame(&self, bytes: usize, item: I) {
        let mut item = Some(item);
        loop {
            let drained = self.shared.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let mut waiting = self.shared.waiting.lock();
                if waiting.frame_bytes < FRAME_BYTES {
                    waiting.frame_bytes += bytes;
                    if let Some(item) = item.take() {
                        self.put(waiting, item);
                    }
                    return;
                }
            }
            drained.await;
        }
    }

    fn put(&self, mut waiting: parking_lot::MutexGuard<'_, Waiting<I>>, item: I) {
        waiting.items.push(item);
        let wake = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if wake {
            self.shared.arrived.notify_one();
        }
    }

    /// Makes the next [`Inbox::take_all`] return at once.
    pub(crate) fn wake(&self) {
        let mut waiting = self.shared.waiting.lock();
        waiting.awake_anyway = true;
        drop(waiting);
        self.shared.arrived.notify_one();
    }

    /// Everything that waits, moved to `into` (which is empty), sleeping at most `timeout` for the first item.
    pub(crate) fn take_all(&self, into: &mut Vec<I>, timeout: Duration) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.items.is_empty() && !waiting.awake_anyway && !timeout.is_zero() {
            waiting.asleep = true;
            self.shared.arrived.wait_for(&mut waiting, timeout);
            waiting.asleep = false;
        }
        waiting.awake_anyway = false;
        waiting.requests = 0;
        let was_full = waiting.frame_bytes >= FRAME_BYTES;
        waiting.frame_bytes = 0;
        std::mem::swap(&mut waiting.items, into);
        drop(waiting);
        if was_full {
            self.shared.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_requests_are_bounded() {
        let inbox = Inbox::new();
        for i in 0..limits::QUEUED_REQUESTS {
            assert_eq!(inbox.request(i), Ok(()));
        }
        assert_eq!(inbox.request(7), Err(7));
        inbox.push(1_000_000);
        let mut items = Vec::new();
        inbox.take_all(&mut items, Duration::ZERO);
        assert_eq!(items.len(), limits::QUEUED_REQUESTS + 1);
        assert!(items.is_sorted());
        assert_eq!(inbox.request(7), Ok(()));
    }

    #[tokio::test]
    async fn frames_wait_for_room() {
        let inbox = Inbox::new();
        inbox.frame(FRAME_BYTES, 1).await;
        let second = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.frame(1, 2).await }
        });
        tokio::task::yield_now().await;
        let mut items = Vec::new();
        inbox.take_all(&mut items, Duration::ZERO);
        assert_eq!(items, [1]);
        second.await.unwrap();
        let mut items = Vec::new();
        inbox.take_all(&mut items, Duration::from_secs(10));
        assert_eq!(items, [2]);
    }
}
