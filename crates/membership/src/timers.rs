//! What is due when. A timer carries what was true when it was set; a stale one is ignored, never cancelled.

use alloc::collections::BTreeMap;

use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};

use crate::member::Incarnation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Somebody is to be probed.
    Probe,
    /// News is to be told.
    Gossip,
    /// A ping of this number is not answered in time.
    PingLate(u32),
    /// A probe of this number ends.
    ProbeEnd(u32),
    /// A ping for somebody else ends.
    RelayEnd(u32),
    /// The next round of an inquiry.
    InquiryRound(NodeId, u32),
    /// A suspicion of this incarnation may have lasted long enough.
    Suspicion(NodeId, Incarnation),
    /// Whole tables are exchanged.
    Exchange,
    /// Somebody of the failed is tried.
    Reconnect,
    /// The dead may be old enough to forget.
    Forget,
    /// A join is tried again.
    Join,
    /// One's own return is due.
    Return,
    /// One's own goodbye has been told.
    Departed,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Instant, u64), Timer>,
    set: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.set += 1;
        self.due.insert((at, self.set), timer);
    }

    pub(crate) fn next(&self) -> Instant {
        self.due.first_key_value().map_or(Instant::NEVER, |((at, _), _)| *at)
    }

    /// The next one that is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Timer> {
        if self.next() > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }

    /// Puts all off: the time in between was nobody's.
    pub(crate) fn put_off(&mut self, by: Duration) {
        self.due = core::mem::take(&mut self.due).into_iter().map(|((at, number), timer)| ((at + by, number), timer)).collect();
    }
}
