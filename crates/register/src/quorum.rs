//! Who replicates a key, and which of them suffice.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use steadfast_types::NodeId;

use crate::message::Epoch;

/// The replicas of a key in an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The epoch.
    pub epoch: Epoch,
    /// Who holds it.
    pub current: BTreeSet<NodeId>,
    /// Who will hold it, while it moves: then a quorum needs a majority of both (as Raft's joint consensus, Raft thesis, section 4.3).
    pub next: Option<BTreeSet<NodeId>>,
    /// Whether nothing less than all of them will do, unless somebody asks for the key who is content with a quorum.
    pub everyone: bool,
}

impl Replicas {
    /// All that are asked, each once.
    pub fn all(&self) -> Vec<NodeId> {
        let next = self.next.iter().flatten().filter(|node| !self.current.contains(node));
        self.current.iter().chain(next).copied().collect()
    }

    /// Whether what these say is decided.
    pub fn is_quorum(&self, nodes: &BTreeSet<NodeId>) -> bool {
        if self.everyone {
            return self.current.is_subset(nodes) && self.next.as_ref().is_none_or(|next| next.is_subset(nodes));
        }
        let has_majority = |set: &BTreeSet<NodeId>| 2 * set.intersection(nodes).count() > set.len();
        has_majority(&self.current) && self.next.as_ref().is_none_or(has_majority)
    }

    /// Whether a quorum can come about without these.
    pub fn can_do_without(&self, nodes: &BTreeSet<NodeId>) -> bool {
        self.is_quorum(&self.all().into_iter().filter(|node| !nodes.contains(node)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn nodes() -> impl Strategy<Value = BTreeSet<NodeId>> {
        btree_set((0..8_u64).prop_map(NodeId), 1..6)
    }

    proptest! {
        #[test]
        fn two_quorums_of_neighbouring_epochs_have_a_node_in_common(
            current in nodes(), next in nodes(), one in nodes(), other in nodes(), joint in any::<bool>(), later in any::<bool>()
        ) {
            let alone = |set: &BTreeSet<NodeId>| Replicas { epoch: 1, current: set.clone(), next: None, everyone: false };
            let moving = Replicas { epoch: 2, current: current.clone(), next: Some(next.clone()), everyone: false };
            let neighbour = if joint { moving.clone() } else { alone(if later { &next } else { &current }) };
            if moving.is_quorum(&one) && neighbour.is_quorum(&other) {
                prop_assert!(!one.is_disjoint(&other));
            }
        }

        #[test]
        fn a_quorum_can_do_without_whoever_is_not_in_it(current in nodes(), next in proptest::option::of(nodes()), some in nodes(), everyone in any::<bool>()) {
            let replicas = Replicas { epoch: 1, current, next, everyone };
            let others: BTreeSet<NodeId> = replicas.all().into_iter().filter(|node| !some.contains(node)).collect();
            prop_assert_eq!(replicas.can_do_without(&some), replicas.is_quorum(&others));
            prop_assert!(replicas.is_quorum(&replicas.all().into_iter().collect()));
        }
    }
}
