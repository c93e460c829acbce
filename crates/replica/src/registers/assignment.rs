//! Which nodes hold the strong keys, epoch by epoch.

use alloc::collections::BTreeSet;

use steadfast_register::message::Epoch;
use steadfast_register::quorum::Replicas;
use steadfast_types::{NodeId, wire_struct};

/// Who holds all strong keys in an epoch, as strong state has it. It changes in two steps, each to be made in one transaction there:
/// [`Assignment::moving`] when others are wanted, [`Assignment::moved`] when this epoch's keys were carried ([`super::Outputs::carried`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its number: one more for each step.
    pub epoch: Epoch,
    /// Who holds them; somebody.
    pub current: BTreeSet<NodeId>,
    /// Who will, while they move.
    pub next: Option<BTreeSet<NodeId>>,
}
wire_struct!(Assignment { epoch, current, next });

impl Assignment {
    /// The first one of a cluster.
    pub fn first(current: BTreeSet<NodeId>) -> Self {
        Self { epoch: 1, current, next: None }
    }

    /// The keys begin to move to other nodes. `None` if they move already, or there would be nobody.
    pub fn moving(&self, next: BTreeSet<NodeId>) -> Option<Self> {
        (self.next.is_none() && !next.is_empty()).then(|| Self { epoch: self.epoch + 1, current: self.current.clone(), next: Some(next) })
    }

    /// They have moved: everything was carried in this epoch. `None` if they do not move.
    pub fn moved(&self) -> Option<Self> {
        self.next.clone().map(|current| Self { epoch: self.epoch + 1, current, next: None })
    }

    /// Whether a node holds the keys, or will.
    pub fn includes(&self, node: NodeId) -> bool {
        self.current.contains(&node) || self.next.as_ref().is_some_and(|next| next.contains(&node))
    }

    pub(super) fn replicas(&self) -> Replicas {
        Replicas { epoch: self.epoch, current: self.current.clone(), next: self.next.clone(), everyone: false }
    }

    /// Whether a node that comes from another epoch keeps what it holds: if it was one of the replicas in all epochs since. Where that can't be told it has
    /// missed an epoch of two sets that is over, so nobody counts on it.
    pub(super) fn keeps(&self, node: NodeId, from: Epoch) -> bool {
        match self.epoch.saturating_sub(from) {
            0 => true,
            1 => self.includes(node),
            // Those of a single set are replicas in the epoch of two sets before it; the first of two sets is the one of the epoch before.
            2 => self.current.contains(&node),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn who_keeps_its_keys_was_always_a_replica_and_whoever_is_counted_on_keeps_them(
            sets in proptest::collection::vec(proptest::collection::btree_set((0..4_u64).prop_map(NodeId), 1..4), 2..6), node in (0..4_u64).prop_map(NodeId),
        ) {
            let mut all = Vec::from([Assignment::first(sets[0].clone())]);
            for next in &sets[1..] {
                let moving = all[all.len() - 1].moving(next.clone()).unwrap();
                prop_assert_eq!(moving.moving(next.clone()), None);
                let moved = moving.moved().unwrap();
                prop_assert_eq!((moved.moved(), &moved.current), (None, next));
                all.extend([moving, moved]);
            }
            for from in 0..all.len() {
                for to in from..all.len() {
                    let keeps = all[to].keeps(node, all[from].epoch);
                    let stayed = all[from + 1..=to].iter().all(|assignment| assignment.includes(node));
                    prop_assert!(stayed || !keeps);
                    // An epoch of two sets that was passed over is over, if it is not the last.
                    let is_counted_on = all[from + 1..to.max(from + 1)].iter().all(|assignment| assignment.next.is_none());
                    prop_assert!(keeps || !(stayed && is_counted_on));
                }
            }
        }
    }
}
