//! When leases end: the leader's timers. Only a leader has them; what ends a lease for everyone is the revoke that it then proposes.
//!
//! 1. A lease is due no earlier than its time to live after it was granted, renewed, or taken over by this leader.
//! 2. A lease that was reported due is not renewed any more: its revoke may be under way. It is reported again, [`RETRY_AFTER`] later, until
//!    the revoke is applied or the leadership ends.
//! 3. Each lease has exactly one place in the queue. A renewal does not move it: whoever comes up before its time is put back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use steadfast_types::LeaseId;
use steadfast_types::limits::{LEASE_MAX_TTL_S, LEASE_MIN_TTL_S};
use steadfast_types::time::{Duration, Instant};

/// How long after a lease was reported due it is reported again, if its revoke has not been applied.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The timers of all leases.
#[derive(Debug, Default)]
pub struct Expiry {
    leases: BTreeMap<LeaseId, Timer>,
    queue: BTreeSet<(Instant, LeaseId)>,
}

/// One lease's time.
#[derive(Clone, Copy, Debug)]
struct Timer {
    ttl_s: i64,
    deadline: Instant,
    /// Its place in the queue; never later than the deadline until it was reported.
    queued_at: Instant,
    reported: bool,
}

impl Expiry {
    /// No leases: what a node has that does not lead.
    pub fn new() -> Self {
        Expiry::default()
    }

    /// Begins a leadership: every lease has its full time to live from now on, whatever was left of it under the last leader.
    pub fn start(&mut self, now: Instant, leases: impl IntoIterator<Item = (LeaseId, i64)>) {
        self.stop();
        leases.into_iter().for_each(|(id, ttl_s)| self.grant(id, ttl_s, now));
    }

    /// Ends a leadership: forgets all timers.
    pub fn stop(&mut self) {
        self.leases.clear();
        self.queue.clear();
    }

    /// A lease was granted, for so many seconds.
    pub fn grant(&mut self, id: LeaseId, ttl_s: i64, now: Instant) {
        self.revoke(id);
        let deadline = now + seconds(ttl_s);
        self.leases.insert(id, Timer { ttl_s, deadline, queued_at: deadline, reported: false });
        self.queue.insert((deadline, id));
    }

    /// Gives a lease its full time again. Returns its time to live, seconds; `None` if there is no such lease, or its end is under way.
    pub fn renew(&mut self, id: LeaseId, now: Instant) -> Option<i64> {
        let timer = self.leases.get_mut(&id).filter(|timer| !timer.reported)?;
        timer.deadline = timer.deadline.max(now + seconds(timer.ttl_s));
        Some(timer.ttl_s)
    }

    /// A lease is gone.
    pub fn revoke(&mut self, id: LeaseId) {
        if let Some(timer) = self.leases.remove(&id) {
            self.queue.remove(&(timer.queued_at, id));
        }
    }

    /// Up to `max` leases whose time is up, the longest overdue first. Propose to revoke each.
    pub fn due(&mut self, now: Instant, max: usize) -> Vec<LeaseId> {
        let mut due = Vec::new();
        while due.len() < max {
            let Some(&(at, id)) = self.queue.first().filter(|(at, _)| *at <= now) else {
                break;
            };
            self.queue.remove(&(at, id));
            let timer = self.leases.get_mut(&id).expect("each place in the queue belongs to a lease");
            if timer.deadline <= now {
                timer.reported = true;
                timer.queued_at = now + RETRY_AFTER;
                due.push(id);
            } else {
                timer.queued_at = timer.deadline;
            }
            self.queue.insert((timer.queued_at, id));
        }
        due
    }

    /// What is left of a lease's time, zero if it is up, and the whole of it, seconds; `None` if there is no such lease.
    pub fn remaining(&self, id: LeaseId, now: Instant) -> Option<(Duration, i64)> {
        self.leases.get(&id).map(|timer| (timer.deadline.since(now), timer.ttl_s))
    }

    /// When to call [`Expiry::due`] next. It may then find nothing, if the lease was renewed meanwhile.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

fn seconds(ttl_s: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl_s.clamp(LEASE_MIN_TTL_S, LEASE_MAX_TTL_S)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const A: LeaseId = LeaseId(1);
    const B: LeaseId = LeaseId(2);

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    #[test]
    fn a_lease_is_due_after_its_time_and_asked_for_again_until_revoked() {
        let mut expiry = Expiry::new();
        expiry.grant(A, 10, at(0));
        expiry.grant(B, 5, at(0));
        assert_eq!(expiry.next_deadline(), Some(at(5)));
        assert_eq!(expiry.due(at(4), 10), vec![]);
        assert_eq!(expiry.due(at(10), 1), vec![B]);
        assert_eq!(expiry.due(at(10), 10), vec![A]);
        assert_eq!(expiry.due(at(10), 10), vec![]);
        assert_eq!(expiry.due(at(11), 10), vec![A, B]);
        expiry.revoke(A);
        expiry.revoke(B);
        assert_eq!((expiry.due(at(99), 10), expiry.next_deadline(), expiry.len()), (vec![], None, 0));
    }

    #[test]
    fn a_renewal_gives_the_full_time_and_comes_too_late_once_the_end_is_under_way() {
        let mut expiry = Expiry::new();
        expiry.grant(A, 10, at(0));
        assert_eq!(expiry.renew(A, at(8)), Some(10));
        assert_eq!(expiry.due(at(17), 10), vec![]);
        assert_eq!(expiry.remaining(A, at(17)), Some((Duration::from_secs(1), 10)));
        assert_eq!(expiry.due(at(18), 10), vec![A]);
        assert_eq!((expiry.renew(A, at(18)), expiry.renew(B, at(18))), (None, None));
        assert_eq!(expiry.remaining(A, at(18)), Some((Duration::ZERO, 10)));
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_full_time() {
        let mut expiry = Expiry::new();
        expiry.grant(LeaseId(9), 5, at(0));
        expiry.start(at(100), [(A, 10), (B, i64::MAX)]);
        assert_eq!(expiry.len(), 2);
        assert_eq!(expiry.due(at(109), 10), vec![]);
        assert_eq!(expiry.due(at(110), 10), vec![A]);
    }

    proptest! {
        #[test]
        fn no_lease_is_due_early_and_every_lease_comes_due(steps in prop::collection::vec((0u8..4, 1i64..6, 2i64..20, 0u64..5), 1..200)) {
            let mut expiry = Expiry::new();
            let mut model: BTreeMap<LeaseId, (i64, Instant, bool)> = BTreeMap::new();
            let mut now = at(0);
            for (kind, id, ttl_s, pass) in steps {
                now = now + Duration::from_secs(pass);
                let id = LeaseId(id);
                match kind {
                    0 => {
                        expiry.grant(id, ttl_s, now);
                        model.insert(id, (ttl_s, now + seconds(ttl_s), false));
                    }
                    1 => {
                        let renewed = model.get_mut(&id).filter(|(_, _, reported)| !reported).map(|lease| {
                            lease.1 = now + seconds(lease.0);
                            lease.0
                        });
                        prop_assert_eq!(expiry.renew(id, now), renewed);
                    }
                    2 => {
                        expiry.revoke(id);
                        model.remove(&id);
                    }
                    _ => {
                        for id in expiry.due(now, usize::MAX) {
                            let lease = model.get_mut(&id).expect("a due lease exists");
                            prop_assert!(lease.1 <= now);
                            lease.2 = true;
                        }
                        prop_assert!(model.values().all(|(_, deadline, reported)| *reported || *deadline > now));
                    }
                }
                prop_assert_eq!(expiry.leases.len(), expiry.queue.len());
            }
        }
    }
}
