//! A store in memory: a model of the contract for the tests of planners and executors, deterministic, with a clock that is moved by hand and
//! answers that get lost on demand. It keeps all history until it is told to forget.

mod state;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use steadfast_types::time::Duration;
use steadfast_types::{Instant, LeaseId, Revision, limits};

use crate::batch::{Batch, Outcome};
use crate::error::{Error, OutOfBounds};
use crate::keys::Keys;
use crate::read::{Page, Read};
use crate::time::Time;
use crate::watch::{Changes, Watch, WatchError};
use crate::{Coordination, Lease};

use state::State;

/// What is to happen to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It goes well.
    None,
    /// It is not taken up, and the answer says so.
    Refused,
    /// It is lost on its way: not applied, and nobody says so.
    RequestLost,
    /// It is applied, and the answer is lost.
    AnswerLost,
    /// It is lost for now: it is applied just before the next commit.
    Delayed,
}

/// A store in memory; clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    state: State,
    now: Instant,
    faults: VecDeque<Fault>,
    delayed: Vec<Batch>,
    /// Whoever waits for a change or for the clock.
    sleepers: Vec<Waker>,
}

impl Memory {
    /// An empty store, at revision 1.
    pub fn new() -> Self {
        Memory::default()
    }

    /// Moves the clock. Leases whose time is over end, in the order of their times.
    pub fn advance(&self, by: Duration) {
        let mut inner = self.lock();
        inner.now = inner.now + by;
        let now = inner.now;
        inner.state.end_leases(now);
        inner.wake();
    }

    /// Forgets history below `revision`.
    pub fn compact(&self, revision: Revision) {
        let mut inner = self.lock();
        inner.state.compact(revision);
        inner.wake();
    }

    /// What is to happen to the next commits, in order; after them all go well.
    pub fn plan_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// The store's revision.
    pub fn revision(&self) -> Revision {
        self.lock().state.revision()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked has failed; the others may go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wake(&mut self) {
        self.sleepers.drain(..).for_each(Waker::wake);
    }

    fn commit(&mut self, batch: &Batch) -> Result<Outcome, Error> {
        let outcome = self.state.commit(batch);
        self.wake();
        outcome
    }
}

impl Coordination for Memory {
    type Watch = MemoryWatch;

    async fn read(&self, read: Read) -> Result<Page, Error> {
        read.check()?;
        self.lock().state.read(&read)
    }

    async fn commit(&self, batch: Batch) -> Result<Outcome, Error> {
        batch.check()?;
        let mut inner = self.lock();
        for late in std::mem::take(&mut inner.delayed) {
            // Whether it could be applied nobody waits for.
            let _ = inner.commit(&late);
        }
        let lost = |what: &str| Err(Error::Unknown(format!("the {what} was lost")));
        match inner.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => inner.commit(&batch),
            Fault::Refused => Err(Error::Unavailable("refused".into())),
            Fault::RequestLost => lost("request"),
            Fault::AnswerLost => inner.commit(&batch).and_then(|_| lost("answer")),
            Fault::Delayed => {
                inner.delayed.push(batch);
                lost("request, for now,")
            }
        }
    }

    fn watch(&self, keys: Keys, from: Revision) -> MemoryWatch {
        MemoryWatch { store: self.clone(), keys, next: from }
    }

    async fn grant(&self, ttl_s: i64) -> Result<Lease, Error> {
        check_ttl(ttl_s)?;
        let mut inner = self.lock();
        let now = inner.now;
        Ok(inner.state.grant(ttl_s.max(limits::LEASE_MIN_TTL_S), now))
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let mut inner = self.lock();
        let now = inner.now;
        inner.state.renew(id, now)
    }

    async fn remaining(&self, id: LeaseId) -> Result<Lease, Error> {
        let inner = self.lock();
        inner.state.remaining(id, inner.now)
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.state.end_lease(id);
        inner.wake();
        Ok(())
    }
}

/// Whether a lease may have this time; for all implementations.
///
/// # Errors
/// It may not.
pub fn check_ttl(ttl_s: i64) -> Result<(), OutOfBounds> {
    if (1..=limits::LEASE_MAX_TTL_S).contains(&ttl_s) { Ok(()) } else { Err(OutOfBounds::LeaseTtl(ttl_s)) }
}

/// A watch of a [`Memory`]: it reads history, and keeps nothing.
pub struct MemoryWatch {
    store: Memory,
    keys: Keys,
    next: Revision,
}

impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        poll_fn(|context| {
            let mut inner = self.store.lock();
            match inner.state.changes(&self.keys, self.next) {
                Ok(Some(changes)) => {
                    self.next = Revision(changes.revision.0 + 1);
                    Poll::Ready(Ok(changes))
                }
                Ok(None) => {
                    // What has been looked at may be compacted.
                    self.next = self.next.max(Revision(inner.state.revision().0 + 1));
                    inner.sleepers.push(context.waker().clone());
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }
}

impl Time for Memory {
    fn now(&self) -> Instant {
        self.lock().now
    }

    async fn sleep_until(&self, instant: Instant) {
        poll_fn(|context| {
            let mut inner = self.lock();
            if inner.now >= instant {
                return Poll::Ready(());
            }
            inner.sleepers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Leases in the model.
type Leases = BTreeMap<LeaseId, Granted>;

#[derive(Clone, Copy, Debug)]
struct Granted {
    ttl_s: i64,
    until: Instant,
}

#[cfg(test)]
mod tests;
