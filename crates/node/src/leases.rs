//! The leader's clock over leases. A new leader gives every lease its full time again, so a time to live is a lower bound whatever happens to
//! leaders; a follower keeps no times at all.

use steadfast_state::LeaseChange;
use steadfast_state::lease::Expiry;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Instant, LeaseId, time::Duration};

/// How many leases are ended in one turn.
const ENDED_PER_TURN: usize = 1000;

/// A gap between turns that means this process did not run: renewals sent meanwhile may still wait in its queue.
const PAUSE: Duration = Duration::from_millis(1000);

/// Times of all leases while this node is the established leader, nothing otherwise.
#[derive(Debug, Default)]
pub(crate) struct LeaseClock {
    running: Option<Expiry>,
    last_turn: Instant,
}

impl LeaseClock {
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// This node has become the established leader.
    pub(crate) fn start(&mut self, now: Instant, leases: impl IntoIterator<Item = (LeaseId, i64)>) {
        let mut expiry = Expiry::default();
        let left = |ttl_s: i64| if is_planted(Bug::LeaseTimeRunsOn) { ttl_s / 2 } else { ttl_s };
        expiry.start(now, leases.into_iter().map(|(id, ttl_s)| (id, left(ttl_s))));
        self.running = Some(expiry);
        self.last_turn = now;
    }

    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    pub(crate) fn apply(&mut self, now: Instant, changes: &[LeaseChange]) {
        let Some(expiry) = &mut self.running else { return };
        for change in changes {
            match change {
                LeaseChange::Granted { id, ttl_s } => expiry.grant(*id, *ttl_s, now),
                LeaseChange::Revoked { id } => expiry.revoke(*id),
            }
        }
    }

    /// Gives a lease its full time again: how much that is, in seconds; `None` if there is no such lease.
    pub(crate) fn renew(&mut self, id: LeaseId, now: Instant) -> Option<i64> {
        self.running.as_mut()?.renew(id, now)
    }

    /// Seconds left, rounded up; `None` if there is no such lease.
    pub(crate) fn remaining_s(&self, id: LeaseId, now: Instant) -> Option<i64> {
        let (remaining, _) = self.running.as_ref()?.remaining(id, now)?;
        Some(i64::try_from(remaining.as_micros().div_ceil(1_000_000)).unwrap_or(i64::MAX))
    }

    /// Leases whose time is over, each again after a while until its end is applied.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<LeaseId> {
        self.running.as_mut().map_or_else(Vec::new, |expiry| expiry.due(now, ENDED_PER_TURN))
    }

    /// A turn begins; an idle node has one every `longest_idle`. After a pause of this process the clock stops, so that it starts anew and every
    /// lease has its full time again.
    pub(crate) fn turn(&mut self, now: Instant, longest_idle: Duration) {
        if now.since(self.last_turn) > PAUSE.max(3 * longest_idle) {
            self.running = None;
        }
        self.last_turn = now;
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.running.as_ref().and_then(Expiry::next_deadline).unwrap_or(Instant::NEVER)
    }
}
