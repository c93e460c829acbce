//! A loop's inbox: what many put in and one takes out, all at once.
//!
//! One lock per item put in and one per turn; the loop is woken only if it waits. Client requests are bounded by count, and refused beyond
//! it. Peer frames are bounded by bytes: beyond it their connections are not read. Completions are not bounded here: there are never more of
//! them than of what was asked for.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_types::limits;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes of peer frames that may wait.
const FRAME_BYTES: usize = 4 * limits::PEER_FRAME_BYTES;

/// Nobody waits longer at once.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Wakes a loop when it is time. Its time changes with each turn, mostly to a later one, so the timer is set only when it must go off earlier
/// than it would, or has gone off too early.
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    pub(crate) fn new() -> Self {
        Alarm(Box::pin(sleep(LONGEST_WAIT)))
    }

    fn poll(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        if until < self.0.deadline() {
            self.0.as_mut().reset(until);
        }
        while self.0.as_mut().poll(context).is_ready() {
            if self.0.deadline() >= until {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(until);
        }
        Poll::Pending
    }
}

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
    drained: Notify,
}

struct Waiting<I> {
    items: Vec<I>,
    requests: usize,
    frame_bytes: usize,
    /// The loop, while it waits.
    sleeper: Option<Waker>,
    awake_anyway: bool,
}

impl<I> Inbox<I> {
    pub(crate) fn new() -> Self {
        let waiting = Waiting { items: Vec::new(), requests: 0, frame_bytes: 0, sleeper: None, awake_anyway: false };
        Inbox { shared: Arc::new(Shared { waiting: Mutex::new(waiting), drained: Notify::new() }) }
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
        let sleeper = waiting.sleeper.take();
        drop(waiting);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Makes the next [`Inbox::wait`] return at once.
    pub(crate) fn wake(&self) {
        let mut waiting = self.shared.waiting.lock();
        waiting.awake_anyway = true;
        let sleeper = waiting.sleeper.take();
        drop(waiting);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Waits for the first item, at most for `timeout`.
    pub(crate) async fn wait(&self, alarm: &mut Alarm, timeout: Duration) {
        if timeout.is_zero() {
            return;
        }
        let until = Instant::now() + timeout.min(LONGEST_WAIT);
        poll_fn(|context| {
            {
                let mut waiting = self.shared.waiting.lock();
                if !waiting.items.is_empty() || waiting.awake_anyway {
                    return Poll::Ready(());
                }
                waiting.sleeper = Some(context.waker().clone());
            }
            alarm.poll(until, context)
        })
        .await;
    }

    /// Everything that is there, moved to `into` (which is empty).
    pub(crate) fn take_all(&self, into: &mut Vec<I>) {
        let mut waiting = self.shared.waiting.lock();
        waiting.awake_anyway = false;
        waiting.sleeper = None;
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
        inbox.take_all(&mut items);
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
        inbox.take_all(&mut items);
        assert_eq!(items, [1]);
        second.await.unwrap();
        let mut items = Vec::new();
        inbox.wait(&mut Alarm::new(), Duration::from_secs(10)).await;
        inbox.take_all(&mut items);
        assert_eq!(items, [2]);
    }
}
