//! Follows the users in strong state, and changes them there as commands want.

use std::sync::Arc;
use std::time::Duration;

use steadfast_coordination::Coordination;
use steadfast_redis_api::acl::change::Change;
use steadfast_redis_api::protocol::errors::USERS_UNKNOWN;
use steadfast_types::Revision;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Changed, Definitions, Wanted};
use crate::available::known::{Known, KnownError};
use crate::available::record::Record;

/// Between two attempts.
const INTERVAL: Duration = Duration::from_millis(200);

/// So long a change may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is known, and who is told.
struct Keeper<W> {
    known: Known<Definitions, ()>,
    /// When it was so.
    read_at: Revision,
    publish: watch::Sender<Arc<Definitions>>,
    wake: W,
}

impl<W: Fn()> Keeper<W> {
    /// It was so then.
    fn learn(&mut self, users: Definitions, read_at: Revision) -> Result<(), KnownError> {
        // Reads may overtake each other.
        if read_at < self.read_at {
            return Ok(());
        }
        self.read_at = read_at;
        if self.known.record.as_ref() != Some(&users) {
            self.known.learn(users.clone())?;
            self.publish.send_replace(Arc::new(users));
            (self.wake)();
        }
        Ok(())
    }
}

/// Follows the users as long as this replica lives: what strong state says is written down, then published. Ends when nobody listens any more.
///
/// # Errors
/// What was learnt can't be written down.
pub(crate) async fn keep<C: Coordination>(
    (record, known): (Record<C, Definitions>, Known<Definitions, ()>),
    publish: watch::Sender<Arc<Definitions>>,
    mut wanted: mpsc::Receiver<Wanted>,
    changed: mpsc::Sender<(u64, Changed)>,
    wake: impl Fn(),
) -> Result<(), KnownError> {
    let mut keeper = Keeper { known, read_at: Revision(0), publish, wake };
    let (tell, mut told) = watch::channel(None);
    let keep = async {
        let mut making = JoinSet::new();
        loop {
            tokio::select! {
                           Ok(()) = told.changed() => {
                               let news = told.borrow_and_update().clone();
                               if let Some((users, read_at)) = news {
            keeper.learn(users, read_at)?;
            }
                           }
                           wanted = wanted.recv() => match wanted {
                               Some(Wanted { connection, change }) => {
                                   let record = record.clone();
                                   let made = async move { timeout(TIMEOUT, make(&record, &change)).await };
                                   making.spawn(async move { (connection, made.await.unwrap_or((Err(USERS_UNKNOWN), None))) });
                               }
                               None => return Ok(()),
                           },
                           Some(made) = making.join_next() => {
                               let Ok((connection, (came, users))) = made else { continue };
                               // It is in force here before it is answered.
                               if let Some((users, read_at)) = users {
            keeper.learn(users, read_at)?;
            }
                               if changed.send((connection, came)).await.is_err() {
                                   return Ok(());
                               }
                               (keeper.wake)();
                           }
                       }
        }
    };
    tokio::select! {
        never = record.follow_into(&tell) => match never {},
        ended = keep => ended,
    }
}

/// Makes a change in strong state; the users as they are afterwards, and when they were so.
async fn make<C: Coordination>(record: &Record<C, Definitions>, change: &Change) -> (Changed, Option<(Definitions, Revision)>) {
    let mut came = Ok(0);
    let mut apply = |users: &mut Definitions| {
        let before = users.clone();
        came = users.change(change);
        *users != before
    };
    while let Err(error) = record.change(&mut apply).await {
        tracing::debug!(%error, "users can't be changed yet; trying again");
        sleep(INTERVAL).await;
    }
    (came, Some(record.await_read().await))
}
