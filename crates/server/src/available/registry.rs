//! Who writes available state as which actor: one record in strong state, `steadfast/@CLUSTER/available/replicas`.
//!
//! The founders of a cluster have theirs, and one in reserve, by their order, and there is no record until one of them needs another, or somebody joins. So
//! a new cluster's keys are empty.
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
    /// As long as there is no record.
    fn founding(founders: &BTreeSet<NodeId>) -> Self {
        let actors = founders.iter().zip(0..).filter_map(|(node, place)| Some((*node, Actor::new(place)?))).collect();
        Replicas { next: 2 * founders.len() as u64, actors }
    }

    /// An actor that nobody ever was.
    fn take(&mut self) -> Option<Actor> {
        let actor = u16::try_from(self.next).ok().and_then(Actor::new)?;
        self.next += 1;
        Some(actor)
    }

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
    founders: BTreeSet<NodeId>,
}

impl<C: Coordination> Registry<C> {
    /// The registry of a cluster, which these nodes founded. The seed must be another one in each process life.
    ///
    /// # Errors
    /// None that could be: the names are short.
    pub(crate) fn new(store: C, (cluster, founders): (ClusterId, BTreeSet<NodeId>), seed: u64) -> Result<Self, OutOfBounds> {
        Ok(Registry { records: Records::new(store.clone(), space::of_cluster(cluster, "available")?, seed), store, founders })
    }

    /// As whom a founder writes in its first life, and which actor it has in reserve; `None`: it is none.
    pub(crate) fn of_founder(&self, node: NodeId) -> Option<(Actor, Actor)> {
        let actor = *Replicas::founding(&self.founders).actors.get(&node)?;
        let reserve = usize::from(actor.place()) + self.founders.len();
        Some((actor, Actor::new(u16::try_from(reserve).ok()?)?))
    }

    /// Makes this node a replica as an actor that nobody ever was, with another one in reserve, at once: a node's first start writes once.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub(crate) async fn enter(&self, node: NodeId) -> Result<(Actor, Actor), RegistryError> {
        let mut claimed = None;
        let enter = |replicas: Option<&Replicas>| {
            let mut replicas = replicas.cloned().unwrap_or_else(|| Replicas::founding(&self.founders));
            claimed = replicas.take().zip(replicas.take());
            let Some((actor, _)) = claimed else { return Update::Keep };
            replicas.actors.insert(node, actor);
            Update::Put(replicas)
        };
        self.records.update(NAME, enter).await?;
        claimed.ok_or(RegistryError::Exhausted)
    }

    /// This node is a replica as this actor, and as no other. If it needs one, it gets another actor in reserve.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub(crate) async fn announce(&self, node: NodeId, actor: Actor, needs_spare: bool) -> Result<Option<Actor>, RegistryError> {
        let mut spare = None;
        let announce = |replicas: Option<&Replicas>| {
            let mut replicas = replicas.cloned().unwrap_or_else(|| Replicas::founding(&self.founders));
            let before = replicas.actors.insert(node, actor);
            spare = if needs_spare { replicas.take() } else { None };
            if before == Some(actor) && spare.is_none() { Update::Keep } else { Update::Put(replicas) }
        };
        self.records.update(NAME, announce).await?;
        if needs_spare && spare.is_none() { Err(RegistryError::Exhausted) } else { Ok(spare) }
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
        publish.send_replace(Some(replicas.unwrap_or_else(|| Replicas::founding(&self.founders))));
        let mut watch = self.store.watch(Keys::One(fence.key), Revision(fence.read_at.0 + 1));
        loop {
            let changes = watch.next().await.map_err(|error| error.to_string())?;
            if !changes.changes.is_empty() {
                let (replicas, _) = self.records.read(NAME).await.map_err(|error| error.to_string())?;
                publish.send_replace(Some(replicas.unwrap_or_else(|| Replicas::founding(&self.founders))));
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
        let registry = Registry::new(Memory::default(), (ClusterId(7), BTreeSet::new()), 1).unwrap();
        let (first, spare) = registry.enter(NodeId(1)).await.unwrap();
        assert_ne!(first, spare);
        assert_eq!(registry.announce(NodeId(1), first, false).await.unwrap(), None);
        let second = spare;
        let next = registry.announce(NodeId(1), second, true).await.unwrap().unwrap();
        assert!(next != first && next != second);
        let (publish, mut published) = watch::channel(None);
        tokio::spawn(registry.clone().follow(publish));
        let found = published.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(found.of(&BTreeSet::from([NodeId(1), NodeId(2)])), BTreeSet::from([second]));
        assert_eq!(found.of(&BTreeSet::new()), BTreeSet::new(), "who is no member is no replica");
        let (third, fourth) = registry.enter(NodeId(2)).await.unwrap();
        assert!(![first, second, next].contains(&third) && fourth.place() == 4);
        let all = BTreeSet::from([NodeId(1), NodeId(2)]);
        published.wait_for(|replicas| replicas.as_ref().is_some_and(|replicas| replicas.of(&all).len() == 2)).await.unwrap();
        while registry.announce(NodeId(1), second, true).await.is_ok() {}
        assert!(matches!(registry.enter(NodeId(3)).await, Err(RegistryError::Exhausted)));
    }

    #[tokio::test]
    async fn founders_need_no_record_until_somebody_changes() {
        let store = Memory::default();
        let founders = BTreeSet::from([NodeId(5), NodeId(9)]);
        let registry = Registry::new(store.clone(), (ClusterId(7), founders), 1).unwrap();
        let [first, second] = [5, 9].map(|node| registry.of_founder(NodeId(node)).unwrap());
        let all = BTreeSet::from([first.0, first.1, second.0, second.1]);
        assert_eq!(all.len(), 4, "nobody has another's");
        assert_eq!(registry.of_founder(NodeId(6)), None);
        assert_eq!(registry.announce(NodeId(5), first.0, false).await.unwrap(), None);
        assert!(registry.records.read(NAME).await.unwrap().0.is_none(), "nothing is written");
        let (third, reserve) = registry.enter(NodeId(6)).await.unwrap();
        assert!(!all.contains(&third) && !all.contains(&reserve));
        let found = registry.records.read(NAME).await.unwrap().0.unwrap();
        assert_eq!(found.of(&[5, 6, 9].map(NodeId).into()), BTreeSet::from([first.0, second.0, third]));
    }
}
