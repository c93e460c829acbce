//! A lease that a task of its own keeps alive.

use steadfast_coordination::{Coordination, Error, Held, Lost};
use steadfast_types::LeaseId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;

/// A lease that is kept alive until this is dropped; after that it lapses.
pub struct Kept {
    id: LeaseId,
    lost: watch::Receiver<Option<Lost>>,
    task: JoinHandle<()>,
}

impl Kept {
    /// Has a lease granted, and keeps it.
    ///
    /// # Errors
    /// As [`Coordination::grant`].
    pub async fn grant(store: impl Coordination, ttl_s: i64) -> Result<Self, Error> {
        let mut held = Held::grant(store, Clock::new(), ttl_s).await?;
        let (tell, lost) = watch::channel(None);
        let id = held.id();
        let task = tokio::spawn(async move {
            let why = held.keep().await;
            tell.send_replace(Some(why));
        });
        Ok(Kept { id, lost, task })
    }

    /// The lease.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// Why it is lost, if it is by now.
    pub fn why_lost(&self) -> Option<Lost> {
        self.lost.borrow().clone()
    }

    /// Waits until it is lost.
    pub async fn lost(&self) -> Lost {
        match self.lost.clone().wait_for(Option::is_some).await.map(|lost| lost.clone()) {
            Ok(Some(lost)) => lost,
            // The task ends without a word only with the runtime.
            Ok(None) | Err(_) => Lost::Ended,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}
