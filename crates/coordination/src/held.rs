//! A lease that is kept alive, and of which its holder knows how long it can rely on it.

use std::pin::pin;

use futures::future::{Either, select};
use steadfast_types::time::Duration;
use steadfast_types::{Instant, LeaseId};

use crate::error::Error;
use crate::time::Time;
use crate::{Coordination, Lease};

/// A lease is renewed when so many parts of its time have passed: two renewals may fail.
const RENEWALS: u32 = 3;

/// After a failed renewal it is tried again in so many parts of the lease's time.
const RETRIES: u32 = 10;

/// Why a lease is not held any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The store says that it has ended.
    #[error("the lease has ended")]
    Ended,
    /// It was not renewed in time: it may have ended.
    #[error("the lease could not be renewed in time: {0}")]
    NotRenewed(Error),
}

/// A lease of this process's own.
///
/// Its time counts from before the request was sent that granted or renewed it, so the holder stops relying on it no later than the store ends
/// it, whatever happens to messages; only the rates of the two clocks must be alike.
pub struct Held<C, T> {
    store: C,
    time: T,
    lease: Lease,
    /// When it was last asked for.
    asked_at: Instant,
}

impl<C: Coordination, T: Time> Held<C, T> {
    /// Has a new lease granted.
    ///
    /// # Errors
    /// As [`Coordination::grant`].
    pub async fn grant(store: C, time: T, ttl_s: i64) -> Result<Self, Error> {
        let asked_at = time.now();
        let lease = store.grant(ttl_s).await?;
        Ok(Held { store, time, lease, asked_at })
    }

    /// The lease.
    pub fn id(&self) -> LeaseId {
        self.lease.id
    }

    /// Until when its holder may rely on it, unless it is ended by somebody.
    pub fn valid_until(&self) -> Instant {
        self.asked_at + seconds(self.lease.remaining_s)
    }

    /// Keeps it until it is lost; run it beside what the lease is for. May be dropped and called again.
    pub async fn keep(&mut self) -> Lost {
        let full = seconds(self.lease.granted_s);
        let mut next = self.asked_at + full / RENEWALS;
        let mut last_error = Error::Unavailable("no answer".into());
        loop {
            self.time.sleep_until(next.min(self.valid_until())).await;
            let asked_at = self.time.now();
            if asked_at >= self.valid_until() {
                return Lost::NotRenewed(last_error);
            }
            match self.renew().await {
                Some(Ok(lease)) => {
                    (self.lease, self.asked_at) = (lease, asked_at);
                    next = asked_at + full / RENEWALS;
                }
                Some(Err(Error::LeaseNotFound)) => return Lost::Ended,
                Some(Err(error)) => {
                    last_error = error;
                    next = asked_at + full / RETRIES;
                }
                None => return Lost::NotRenewed(last_error),
            }
        }
    }

    /// The answer to a renewal, if it comes while the lease can be relied on.
    async fn renew(&self) -> Option<Result<Lease, Error>> {
        let too_late = pin!(self.time.sleep_until(self.valid_until()));
        match select(pin!(self.store.keep_alive(self.lease.id)), too_late).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(((), _)) => None,
        }
    }

    /// Gives it back: its records are deleted.
    ///
    /// # Errors
    /// As [`Coordination::revoke`]; then it lapses.
    pub async fn release(self) -> Result<(), Error> {
        self.store.revoke(self.lease.id).await
    }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests;
