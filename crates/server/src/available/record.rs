//! A record of available state in strong state, `steadfast/@CLUSTER/available/NAME`: read, changed and followed.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Duration;

use steadfast_coordination::{Coordination, Error, Keys, OutOfBounds, Records, Update, Watch as _, space};
use steadfast_types::wire::Wire;
use steadfast_types::{ClusterId, Revision};
use tokio::sync::watch;
use tokio::time::sleep;

/// Between two attempts.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// What is in such a record; as it is by default as long as there is none.
pub trait Recorded: Wire + Clone + Default + PartialEq + Send + Sync {
    /// The record's name.
    const NAME: &str;
}

/// The record's reader and writer.
#[derive(Clone)]
pub struct Record<C, T> {
    store: C,
    records: Records<C, T>,
}

impl<C: Coordination, T: Recorded> Record<C, T> {
    /// The record of a cluster. The seed must be another one in each process life.
    ///
    /// # Errors
    /// None that could be: the names are short.
    pub fn new(store: C, cluster: ClusterId, seed: u64) -> Result<Self, OutOfBounds> {
        Ok(Record { records: Records::new(store.clone(), space::of_cluster(cluster, "available")?, seed), store })
    }

    /// What it says, and when it said so.
    ///
    /// # Errors
    /// Strong state has no answer.
    pub async fn read(&self) -> Result<(T, Revision), Error> {
        let (value, fence) = self.records.read(T::NAME).await?;
        Ok((value.unwrap_or_default(), fence.read_at))
    }

    /// Changes it; `change` says whether it did, and may be called several times.
    ///
    /// # Errors
    /// Strong state has no answer.
    pub async fn change(&self, mut change: impl FnMut(&mut T) -> bool + Send) -> Result<(), Error> {
        let change = |value: Option<&T>| {
            let mut value = value.cloned().unwrap_or_default();
            if change(&mut value) { Update::Put(value) } else { Update::Keep }
        };
        self.records.update(T::NAME, change).await.map(drop)
    }

    /// Tells what it says and when it said so, and each change, until it is told that this is enough.
    ///
    /// # Errors
    /// Strong state has no answer.
    pub async fn follow(&self, mut tell: impl FnMut(T, Revision) -> ControlFlow<()> + Send) -> Result<(), String> {
        let in_words = |error: Error| error.to_string();
        let (value, fence) = self.records.read(T::NAME).await.map_err(in_words)?;
        let mut told = tell(value.unwrap_or_default(), fence.read_at);
        let mut watch = self.store.watch(Keys::One(fence.key), Revision(fence.read_at.0 + 1));
        while told.is_continue() {
            watch.next().await.map_err(|error| error.to_string())?;
            let (value, read_at) = self.read().await.map_err(in_words)?;
            told = tell(value, read_at);
        }
        Ok(())
    }

    /// Publishes what it says and when it said so, and each change, for ever.
    pub(crate) async fn follow_into(&self, publish: &watch::Sender<Option<(T, Revision)>>) -> Infallible {
        loop {
            let tell = |value, read_at| {
                publish.send_replace(Some((value, read_at)));
                ControlFlow::Continue(())
            };
            if let Err(error) = self.follow(tell).await {
                tracing::debug!(error, "the record {} is read again", T::NAME);
            }
            sleep(RETRY_WAIT).await;
        }
    }

    /// What it says, as soon as it can be read.
    pub(crate) async fn await_read(&self) -> (T, Revision) {
        loop {
            match self.read().await {
                Ok(read) => return read,
                Err(error) => tracing::info!(%error, "the record {} can't be read yet; trying again", T::NAME),
            }
            sleep(RETRY_WAIT).await;
        }
    }
}
