//! The record of strong keys in strong state, `steadfast/@CLUSTER/available/strong`: follows it, writes down what it says, and changes it as the loop finds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use steadfast_coordination::Coordination;
use steadfast_replica::strong_keys::StrongKeys;
use steadfast_types::NodeId;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;

use super::super::known::{Known, KnownError};
use super::super::record::{Record, Recorded};
use crate::published::Published;

impl Recorded for StrongKeys {
    const NAME: &str = "strong";
}

/// Between two looks whether something follows.
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

/// Follows the record as long as this replica lives: what it says is written down, then published. Ends when nobody listens any more.
///
/// # Errors
/// What was learnt can't be written down.
pub(crate) async fn keep<C: Coordination>(
    (record, mut known): (Record<C, StrongKeys>, Known<StrongKeys, u64>),
    node: NodeId,
    members: Arc<Published>,
    publish: watch::Sender<Arc<StrongKeys>>,
    mut found: mpsc::Receiver<Found>,
    wake: impl Fn(),
) -> Result<(), KnownError> {
    let (tell, mut told) = watch::channel(None::<(StrongKeys, _)>);
    let keep = async {
        let mut ticks = interval(INTERVAL);
        let mut waiting: Vec<Found> = Vec::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = told.changed() => {
                    let Some((keys, _)) = told.borrow_and_update().clone() else { continue };
                    known.learn(keys.clone())?;
                    publish.send_replace(Arc::new(keys));
                    wake();
                }
                more = found.recv() => match more {
                    Some(more) if waiting.contains(&more) => continue,
                    Some(more) => waiting.push(more),
                    None => return Ok(()),
                },
            }
            let Some((keys, _)) = told.borrow().clone() else { continue };
            let (holder, of_members) = (NodeId(known.own), member_ids(&members));
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
        never = record.follow_into(&tell) => match never {},
        ended = keep => ended,
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
