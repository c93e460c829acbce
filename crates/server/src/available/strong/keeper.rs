//! The record of strong keys in strong state, `steadfast/@CLUSTER/available/strong`: follows it, writes down what it says, and changes it as the loop finds.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use steadfast_coordination::{Coordination, Error, Keys, OutOfBounds, Records, Update, Watch as _, space};
use steadfast_replica::strong_keys::StrongKeys;
use steadfast_types::{ClusterId, NodeId, Revision};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};

use super::known::Known;
use crate::published::Published;

/// The record's name.
const NAME: &str = "strong";

/// Between two attempts, and between two looks whether something follows.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the loop has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The prefix is closed here, and nothing is under it.
    Nothing(Bytes),
    /// So many keys are under it.
    Keys(Bytes, u64),
    /// All strong keys were carried in this epoch.
    Carried(u64),
}

/// The record's reader and writer.
#[derive(Clone)]
pub struct StrongRecord<C> {
    store: C,
    records: Records<C, StrongKeys>,
}

impl<C: Coordination> StrongRecord<C> {
    /// The record of a cluster. The seed must be another one in each process life.
    ///
    /// # Errors
    /// None that could be: the names are short.
    pub fn new(store: C, cluster: ClusterId, seed: u64) -> Result<Self, OutOfBounds> {
        Ok(StrongRecord { records: Records::new(store.clone(), space::of_cluster(cluster, "available")?, seed), store })
    }

    /// What it says.
    ///
    /// # Errors
    /// Strong state has no answer.
    pub async fn read(&self) -> Result<StrongKeys, Error> {
        Ok(self.records.read(NAME).await?.0.unwrap_or_default())
    }

    /// Changes it; `change` says whether it did, and may be called several times.
    ///
    /// # Errors
    /// Strong state has no answer.
    pub async fn change(&self, mut change: impl FnMut(&mut StrongKeys) -> bool + Send) -> Result<(), Error> {
        let change = |keys: Option<&StrongKeys>| {
            let mut keys = keys.cloned().unwrap_or_default();
            if change(&mut keys) { Update::Put(keys) } else { Update::Keep }
        };
        self.records.update(NAME, change).await.map(drop)
    }

    /// Tells what it says, and each change, until it is told that this is enough.
    ///
    /// # Errors
    /// Strong state has no answer.
    pub async fn follow(&self, mut tell: impl FnMut(StrongKeys) -> ControlFlow<()> + Send) -> Result<(), String> {
        let in_words = |error: Error| error.to_string();
        let (keys, fence) = self.records.read(NAME).await.map_err(in_words)?;
        let mut told = tell(keys.unwrap_or_default());
        let mut watch = self.store.watch(Keys::One(fence.key), Revision(fence.read_at.0 + 1));
        while told.is_continue() {
            watch.next().await.map_err(|error| error.to_string())?;
            told = tell(self.read().await.map_err(in_words)?);
        }
        Ok(())
    }
}

/// Follows the record as long as this replica lives: what it says is written down, then published. Ends when nobody listens any more, or what was learnt can't be written down: why.
pub(crate) async fn keep<C: Coordination>(
    (record, mut known): (StrongRecord<C>, Known),
    node: NodeId,
    members: Arc<Published>,
    publish: watch::Sender<Arc<StrongKeys>>,
    mut found: mpsc::Receiver<Found>,
    wake: impl Fn(),
) -> String {
    let (tell, mut told) = watch::channel(None::<StrongKeys>);
    let follow = async {
        loop {
            let publish = |keys| {
                tell.send_replace(Some(keys));
                ControlFlow::Continue(())
            };
            if let Err(error) = record.follow(publish).await {
                tracing::debug!(error, "the record of strong keys is read again");
            }
            sleep(INTERVAL).await;
        }
    };
    let keep = async {
        let mut ticks = interval(INTERVAL);
        let mut waiting: Vec<Found> = Vec::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = told.changed() => {
                    let Some(keys) = told.borrow_and_update().clone() else { continue };
                    if let Err(error) = known.learn(keys.clone()) {
                        return error.to_string();
                    }
                    publish.send_replace(Arc::new(keys));
                    wake();
                }
                more = found.recv() => match more {
                    Some(more) if waiting.contains(&more) => continue,
                    Some(more) => waiting.push(more),
                    None => return "nobody listens".to_owned(),
                },
            }
            let Some(keys) = told.borrow().clone() else { continue };
            let (holder, of_members) = (known.holder, member_ids(&members));
            let apply = |keys: &mut StrongKeys| {
                let holds = keys.prefixes.is_empty() || !keys.hold(node, holder);
                let unchanged = waiting.iter().fold(holds, |unchanged, found| !note(keys, node, found) && unchanged);
                let is_settled = keys.prefixes.is_empty() || !keys.settle(&of_members);
                !(unchanged && is_settled)
            };
            let mut tried = keys.clone();
            if !apply(&mut tried) {
                waiting.clear();
                continue;
            }
            match record.change(apply).await {
                Ok(()) => waiting.clear(),
                Err(error) => tracing::debug!(%error, "the record of strong keys can't be changed yet; trying again"),
            }
        }
    };
    tokio::select! {
        () = follow => unreachable!("it is followed for ever"),
        why = keep => why,
    }
}

fn note(keys: &mut StrongKeys, node: NodeId, found: &Found) -> bool {
    match found {
        Found::Nothing(prefix) => keys.agree(node, prefix),
        Found::Keys(prefix, count) => keys.refuse(node, prefix, *count),
        Found::Carried(epoch) => keys.carried(*epoch),
    }
}

/// Who belongs to the cluster; nobody while that is not known.
fn member_ids(published: &Published) -> BTreeSet<NodeId> {
    let members = published.reader().and_then(|reader| reader.members().ok());
    members.into_iter().flatten().map(|member| member.id).collect()
}
