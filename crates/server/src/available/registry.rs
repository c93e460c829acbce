//! Who writes available state as which actor: one record in strong state, `steadfast/@CLUSTER/available/replicas`.
//!
//! Invariants:
//! 1. No actor is given out twice: the number of the next one only grows.
//! 2. A node is a replica as the actor that it announced last. Whoever it was before is none any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use steadfast_coordination::{Coordination, Error, Keys, OutOfBounds, Records, Update, Watch as _, space};
use steadfast_crdt::Actor;
use steadfast_types::{ClusterId, NodeId, Revision, wire_struct};
use tokio::sync::watch;
use tokio::time::sleep;

/// The record's name.
const NAME: &str = "replicas";

/// Between two attempts.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// The first place that was never given out.
    next: u64,
    /// As whom each node writes.
    actors: BTreeMap<NodeId, Actor>,
}
wire_struct!(Replicas { next, actors });

impl Replicas {
    /// The actors of these nodes.
    pub(crate) fn of(&self, members: &BTreeSet<NodeId>) -> BTreeSet<Actor> {
        self.actors.iter().filter(|(node, _)| members.contains(node)).map(|(_, actor)| *actor).collect()
    }
}

/// Why there is no actor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// All were given out.
    #[error("all {} actors of this cluster's available state were given out: one goes with each restart after a crash of a machine", u32::from(Actor::MAX.place()) + 1)]
    Exhausted,
    /// Strong state has no answer.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The record's reader and writer.
#[derive(Clone)]
pub(crate) struct Registry<C> {
    store: C,
    records: Records<C, Replicas>,
}

impl<C: Coordination> Registry<C> {
    /// The registry of a cluster. The seed must be another one in each process life.
    ///
    /// # Errors
    /// None that could be: the names are short.
    pub(crate) fn new(store: C, cluster: ClusterId, seed: u64) -> Result<Self, OutOfBounds> {
        Ok(Registry { records: Records::new(store.clone(), space::of_cluster(cluster, "available")?, seed), store })
    }

    /// An actor that nobody ever was.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub(crate) async fn claim(&self) -> Result<Actor, RegistryError> {
        let mut claimed = None;
        let claim = |replicas: Option<&Replicas>| {
            let mut replicas = replicas.cloned().unwrap_or_default();
            claimed = u16::try_from(replicas.next).ok().and_then(Actor::new);
            if claimed.is_none() {
                return Update::Keep;
            }
            replicas.next += 1;
            Update::Put(replicas)
        };
        self.records.update(NAME, claim).await?;
        claimed.ok_or(RegistryError::Exhausted)
    }

    /// This node is a replica as this actor, and as no other.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub(crate) async fn announce(&self, node: NodeId, actor: Actor) -> Result<(), RegistryError> {
        let announce = |replicas: Option<&Replicas>| {
            let mut replicas = replicas.cloned().unwrap_or_default();
            match replicas.actors.insert(node, actor) {
                Some(before) if before == actor => Update::Keep,
                _ => Update::Put(replicas),
            }
        };
        self.records.update(NAME, announce).await?;
        Ok(())
    }

    /// Publishes the record, and each change of it, for ever.
    pub(crate) async fn follow(self, publish: watch::Sender<Option<Replicas>>) {
        loop {
            if let Err(error) = self.follow_once(&publish).await {
                tracing::debug!(error, "the replicas of available state are read again");
            }
            sleep(RETRY_WAIT).await;
        }
    }

    async fn follow_once(&self, publish: &watch::Sender<Option<Replicas>>) -> Result<(), String> {
        let (replicas, fence) = self.records.read(NAME).await.map_err(|error| error.to_string())?;
        publish.send_replace(Some(replicas.unwrap_or_default()));
        let mut watch = self.store.watch(Keys::One(fence.key), Revision(fence.read_at.0 + 1));
        loop {
            let changes = watch.next().await.map_err(|error| error.to_string())?;
            if !changes.changes.is_empty() {
                let (replicas, _) = self.records.read(NAME).await.map_err(|error| error.to_string())?;
                publish.send_replace(Some(replicas.unwrap_or_default()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_coordination::Memory;

    use super::*;

    #[tokio::test]
    async fn no_actor_is_given_out_twice() {
        let registry = Registry::new(Memory::default(), ClusterId(7), 1).unwrap();
        let first = registry.claim().await.unwrap();
        registry.announce(NodeId(1), first).await.unwrap();
        let second = registry.claim().await.unwrap();
        assert_ne!(first, second);
        registry.announce(NodeId(1), second).await.unwrap();
        let (publish, mut published) = watch::channel(None);
        tokio::spawn(registry.clone().follow(publish));
        let found = published.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(found.of(&BTreeSet::from([NodeId(1), NodeId(2)])), BTreeSet::from([second]));
        assert_eq!(found.of(&BTreeSet::new()), BTreeSet::new(), "who is no member is no replica");
        let third = registry.claim().await.unwrap();
        registry.announce(NodeId(2), third).await.unwrap();
        let all = BTreeSet::from([NodeId(1), NodeId(2)]);
        published.wait_for(|replicas| replicas.as_ref().is_some_and(|replicas| replicas.of(&all).len() == 2)).await.unwrap();
        for _ in 3..=Actor::MAX.place() {
            registry.claim().await.unwrap();
        }
        assert!(matches!(registry.claim().await, Err(RegistryError::Exhausted)));
    }
}
