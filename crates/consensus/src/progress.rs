//! How far one follower is, as its leader sees it, and how much may be sent to it.
//!
//! Three modes. *Probe*: the leader does not know where the logs meet; one append at a time. *Replicate*: they meet; appends follow each other
//! without waiting, inside a window. *Snapshot*: the follower needs what the log no longer has; nothing is sent until the shell is done.
//!
//! Invariants:
//! 1. `matched` never falls, and never exceeds what the follower itself said in this term.
//! 2. `matched < next`.
//! 3. No more than `INFLIGHT_BYTES` and `INFLIGHT_APPENDS` are under way; at most one fetch from disk is.

use alloc::collections::VecDeque;
use steadfast_types::{
    Instant, LogIndex,
    limits::{INFLIGHT_APPENDS, INFLIGHT_BYTES},
    time::Duration,
};

/// See the file's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `sent` is when the probe under way was sent.
    Probe {
        sent: Option<Instant>,
    },
    Replicate,
    Snapshot,
}

/// What the leader had sent when it sent a heartbeat: whoever answers that heartbeat has had the chance to get all of it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    round: u64,
    next: LogIndex,
}

/// See the file's documentation.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) matched: LogIndex,
    /// The next entry to send.
    pub(crate) next: LogIndex,
    pub(crate) mode: Mode,
    /// The last entry and the bytes of each append under way.
    inflight: VecDeque<(LogIndex, usize)>,
    inflight_bytes: usize,
    /// The first entry of the fetch under way.
    pub(crate) fetching: Option<LogIndex>,
    /// When the follower last answered anything.
    pub(crate) last_active: Instant,
    /// Whether it has answered in this term, and since its connection last broke.
    pub(crate) connected: bool,
    /// The commit index that it was last told.
    pub(crate) told_commit: LogIndex,
    /// It is to be asked how far it is, although there is nothing to send.
    pub(crate) prompt: bool,
    mark: Option<Mark>,
    /// The newest heartbeat round it answered, and when that was sent.
    pub(crate) round_answered: u64,
    pub(crate) round_sent: Option<Instant>,
}

impl Progress {
    /// A follower of which nothing is known; logs are hoped to meet before `next`.
    pub(crate) fn new(next: LogIndex, now: Instant) -> Self {
        Progress {
            matched: LogIndex(0),
            next,
            mode: Mode::Probe { sent: None },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            fetching: None,
            last_active: now,
            connected: false,
            told_commit: LogIndex(0),
            prompt: false,
            mark: None,
            round_answered: 0,
            round_sent: None,
        }
    }

    /// Whether it answered within the last `timeout`.
    pub(crate) fn is_active(&self, now: Instant, timeout: Duration) -> bool {
        now.since(self.last_active) < timeout
    }

    /// Whether another append may be sent.
    pub(crate) fn window_open(&self) -> bool {
        self.inflight_bytes < INFLIGHT_BYTES && self.inflight.len() < INFLIGHT_APPENDS
    }

    /// An append of `bytes` up to `last` was sent, after which the next one follows.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize) {
        self.inflight.push_back((last, bytes));
        self.inflight_bytes += bytes;
        self.next = last.next();
    }

    /// Starts over: the next append goes after the last entry before `next`, and waits for its answer.
    pub(crate) fn probe_from(&mut self, next: LogIndex) {
        self.next = next.max(self.matched.next());
        self.mode = Mode::Probe { sent: None };
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.mark = None;
        self.told_commit = LogIndex(0);
    }

    /// The follower holds everything up to `matched`, durably. `start` is the last entry that the leader's log no longer has.
    pub(crate) fn accepted(&mut self, matched: LogIndex, start: LogIndex) {
        self.matched = self.matched.max(matched);
        while self.inflight.front().is_some_and(|&(last, _)| last <= self.matched) {
            self.inflight_bytes -= self.inflight.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        self.next = self.next.max(self.matched.next());
        match self.mode {
            Mode::Probe { .. } => self.mode = Mode::Replicate,
            Mode::Snapshot if self.matched >= start => self.probe_from(self.matched.next()),
            Mode::Replicate | Mode::Snapshot => {}
        }
    }

    /// Whether a rejection of the append after `rejected` is news: not one of something long settled, or of an older probe.
    pub(crate) fn is_rejection_news(&self, rejected: LogIndex) -> bool {
        match self.mode {
            Mode::Probe { .. } => rejected.next() == self.next && rejected > self.matched,
            Mode::Replicate => rejected > self.matched && rejected < self.next,
            Mode::Snapshot => false,
        }
    }

    /// A heartbeat of `round` was sent.
    pub(crate) fn heartbeat_sent(&mut self, round: u64) {
        if self.mark.is_none() {
            self.mark = Some(Mark { round, next: self.next });
        }
    }

    /// The heartbeat of `round` was answered by a follower whose log meets the leader's up to `verified`: whatever was sent before the
    /// heartbeat and has left no trace is lost.
    pub(crate) fn heartbeat_answered(&mut self, round: u64, verified: LogIndex) {
        let Some(mark) = self.mark.filter(|mark| mark.round <= round) else { return };
        self.mark = None;
        if self.mode != Mode::Replicate {
            return;
        }
        if verified < mark.next.previous() {
            self.probe_from(verified.next());
        } else {
            // It has everything. If it did not say so yet, its answer may be lost: it is asked once more.
            self.prompt = self.matched < mark.next.previous();
        }
    }

    /// A heartbeat interval has passed: a probe without an answer may be repeated, and a follower that stopped answering is probed again
    /// when it does.
    pub(crate) fn heartbeat_due(&mut self, now: Instant, interval: Duration, timeout: Duration) {
        match self.mode {
            Mode::Probe { sent: Some(sent) } if now.since(sent) >= interval => self.mode = Mode::Probe { sent: None },
            Mode::Replicate if !self.is_active(now, timeout) => self.probe_from(self.matched.next()),
            Mode::Probe { .. } | Mode::Replicate | Mode::Snapshot => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(index: u64) -> LogIndex {
        LogIndex(index)
    }

    fn replicating() -> Progress {
        let mut progress = Progress::new(index(5), Instant(0));
        progress.accepted(index(4), index(0));
        progress.sent(index(6), 100);
        progress.sent(index(9), 200);
        progress
    }

    #[test]
    fn late_answers_never_move_matched_back() {
        let mut progress = replicating();
        progress.accepted(index(6), index(0));
        assert_eq!((progress.matched, progress.inflight_bytes), (index(6), 200));
        progress.accepted(index(4), index(0));
        assert_eq!((progress.matched, progress.next), (index(6), index(10)));
    }

    #[test]
    fn a_rejection_of_what_is_matched_is_no_news() {
        let progress = replicating();
        assert!(!progress.is_rejection_news(index(4)));
        assert!(progress.is_rejection_news(index(6)));
        assert!(!progress.is_rejection_news(index(10)), "never sent");
    }

    #[test]
    fn an_answered_heartbeat_tells_of_lost_appends() {
        let mut progress = replicating();
        progress.heartbeat_sent(1);
        progress.sent(index(12), 10);
        progress.heartbeat_answered(1, index(9));
        assert_eq!(progress.mode, Mode::Replicate, "only what was sent before the heartbeat counts");
        assert!(progress.prompt, "it has all, and has not said so");
        progress.heartbeat_sent(2);
        progress.heartbeat_answered(2, index(9));
        assert_eq!((progress.mode, progress.next), (Mode::Probe { sent: None }, index(10)));
    }

    #[test]
    fn the_window_closes_and_opens() {
        let mut progress = replicating();
        progress.sent(index(10), INFLIGHT_BYTES);
        assert!(!progress.window_open());
        progress.accepted(index(10), index(0));
        assert!(progress.window_open());
        for last in 11..11 + INFLIGHT_APPENDS as u64 {
            assert!(progress.window_open());
            progress.sent(index(last), 1);
        }
        assert!(!progress.window_open());
    }
}
