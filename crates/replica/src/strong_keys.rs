//! Which keys are strong, and which nodes hold them: a record in strong state, and how it changes. Each change here is one transaction there.
//!
//! A prefix becomes strong in two steps, as no key may be a register at one node and not at another: it is announced, and each node that learns of it
//! *closes* it (nobody there reads or writes what is under it), looks whether it holds such keys already, and agrees if not. When all have agreed there are
//! no such keys anywhere, as whoever wrote one had it; then the prefix is strong, for ever.
//!
//! Registers are held by *holders*: an id for each directory that has records of registers. A node whose directory was lost or set aside is another holder,
//! since it has forgotten what it promised.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_types::{NodeId, wire_enum, wire_struct};

use crate::registers::Assignment;

/// How many nodes hold strong keys, if there are so many: two of them may fail.
pub const HOLDERS: usize = 5;

/// More prefixes there are not: each command looks at all of them.
pub const PREFIXES: usize = 64;

/// The longest prefix, bytes.
pub const PREFIX_BYTES: usize = 1024;

/// The record. An empty one is that of a cluster without strong keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrongKeys {
    /// The prefixes that were ever announced.
    pub prefixes: BTreeMap<Bytes, Standing>,
    /// As which holder each node keeps registers.
    pub holders: BTreeMap<NodeId, NodeId>,
    /// Which holders hold all strong keys.
    pub assignment: Option<Assignment>,
}
wire_struct!(StrongKeys { prefixes, holders, assignment });

/// How far a prefix has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is closed at the nodes that know; these have agreed.
    Announced {
        /// They hold nothing under it.
        agreed: BTreeSet<NodeId>,
    },
    /// The keys under it are registers.
    Strong,
    /// There are keys under it: it is not closed any more.
    Refused {
        /// Who has some.
        node: NodeId,
        /// How many.
        keys: u64,
    },
}
wire_enum!(Standing { 1 => Announced { agreed }, 2 => Strong, 3 => Refused { node, keys } });

/// Why a prefix can't be announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// It is empty.
    #[error("the prefix is empty: not all keys can be strong; give the word that their names begin with, like `orders:`")]
    Empty,
    /// It is too long.
    #[error("the prefix is longer than {PREFIX_BYTES} bytes")]
    TooLong,
    /// There are too many.
    #[error("there are {PREFIXES} prefixes already, and no more can be")]
    TooMany,
}

impl StrongKeys {
    /// A prefix is to become strong. Whether that changes anything: not if it is under way, or strong, or under one that is.
    ///
    /// # Errors
    /// It can't be.
    pub fn announce(&mut self, prefix: Bytes) -> Result<bool, AnnounceError> {
        match () {
            () if prefix.is_empty() => return Err(AnnounceError::Empty),
            () if prefix.len() > PREFIX_BYTES => return Err(AnnounceError::TooLong),
            () => {}
        }
        let covers = |(known, standing): (&Bytes, &Standing)| prefix.starts_with(known) && *standing == Standing::Strong;
        if self.prefixes.iter().any(covers) || matches!(self.prefixes.get(&prefix), Some(Standing::Announced { .. })) {
            return Ok(false);
        }
        if self.prefixes.len() >= PREFIXES {
            self.prefixes.retain(|_, standing| !matches!(standing, Standing::Refused { .. }));
        }
        if self.prefixes.len() >= PREFIXES {
            return Err(AnnounceError::TooMany);
        }
        self.prefixes.insert(prefix, Standing::Announced { agreed: BTreeSet::new() });
        Ok(true)
    }

    /// A node has closed a prefix for good, and holds nothing under it.
    pub fn agree(&mut self, node: NodeId, prefix: &Bytes) -> bool {
        match self.prefixes.get_mut(prefix) {
            Some(Standing::Announced { agreed }) => agreed.insert(node),
            _ => false,
        }
    }

    /// A node has keys under a prefix.
    pub fn refuse(&mut self, node: NodeId, prefix: &Bytes, keys: u64) -> bool {
        match self.prefixes.get_mut(prefix) {
            Some(standing @ Standing::Announced { .. }) => {
                *standing = Standing::Refused { node, keys };
                true
            }
            _ => false,
        }
    }

    /// A node keeps registers as this holder.
    pub fn hold(&mut self, node: NodeId, holder: NodeId) -> bool {
        self.holders.insert(node, holder) != Some(holder)
    }

    /// Does what follows now, where these nodes are members: prefixes that all agree to become strong, and the keys move to holders that there are.
    pub fn settle(&mut self, members: &BTreeSet<NodeId>) -> bool {
        let before = self.clone();
        self.holders.retain(|node, _| members.contains(node));
        for standing in self.prefixes.values_mut() {
            if matches!(standing, Standing::Announced { agreed } if agreed.is_superset(members)) && !members.is_empty() {
                *standing = Standing::Strong;
            }
        }
        let wanted: BTreeSet<NodeId> = self.wanted();
        let is_whole = members.iter().all(|member| self.holders.contains_key(member)) || wanted.len() >= HOLDERS;
        let needs = self.prefixes.values().any(|standing| !matches!(standing, Standing::Refused { .. }));
        match &self.assignment {
            None if needs && is_whole && !wanted.is_empty() => self.assignment = Some(Assignment::first(wanted)),
            Some(assignment) if is_whole && assignment.next.is_none() && assignment.current != wanted => {
                self.assignment = assignment.moving(wanted).or(Some(assignment.clone()));
            }
            _ => {}
        }
        *self != before
    }

    /// Who should hold the keys: those who do, as far as they are there, then others.
    fn wanted(&self) -> BTreeSet<NodeId> {
        let there: Vec<NodeId> = self.holders.values().copied().collect();
        let current = self.assignment.as_ref().map(|assignment| &assignment.current);
        let holds = |holder: &NodeId| current.is_some_and(|current| current.contains(holder));
        let (first, then): (Vec<NodeId>, Vec<NodeId>) = there.into_iter().partition(holds);
        first.into_iter().chain(then).take(HOLDERS).collect()
    }

    /// Everything was carried in this epoch.
    pub fn carried(&mut self, epoch: u64) -> bool {
        let moved = self.assignment.as_ref().filter(|assignment| assignment.epoch == epoch).and_then(Assignment::moved);
        moved.map(|moved| self.assignment = Some(moved)).is_some()
    }

    /// The prefixes whose keys are registers.
    pub fn strong(&self) -> impl Iterator<Item = &Bytes> {
        self.prefixes.iter().filter(|(_, standing)| **standing == Standing::Strong).map(|(prefix, _)| prefix)
    }

    /// The prefixes that are closed.
    pub fn announced(&self) -> impl Iterator<Item = (&Bytes, &BTreeSet<NodeId>)> {
        self.prefixes.iter().filter_map(|(prefix, standing)| match standing {
            Standing::Announced { agreed } => Some((prefix, agreed)),
            Standing::Strong | Standing::Refused { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn word(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_prefix_is_strong_once_all_members_have_agreed() {
        let (mut keys, members) = (StrongKeys::default(), nodes(&[1, 2, 3]));
        assert!(!keys.settle(&members), "without prefixes there is nothing to hold");
        assert_eq!(keys.announce(word("a:")), Ok(true));
        assert_eq!(keys.announce(word("a:")), Ok(false));
        for node in [1, 2, 2] {
            keys.agree(NodeId(node), &word("a:"));
            keys.settle(&members);
            assert_eq!(keys.strong().count(), 0);
        }
        assert!(keys.agree(NodeId(3), &word("a:")) && keys.settle(&members));
        assert_eq!(keys.strong().collect::<Vec<_>>(), [&word("a:")]);
        assert_eq!(keys.announce(word("a:b:")), Ok(false), "it is strong already");
        assert!(!keys.refuse(NodeId(1), &word("a:"), 3), "what is strong stays so");
        assert_eq!(keys.announce(word("")), Err(AnnounceError::Empty));
    }

    #[test]
    fn a_prefix_with_keys_is_refused_and_may_be_announced_again() {
        let mut keys = StrongKeys::default();
        keys.announce(word("a:")).unwrap();
        assert!(keys.agree(NodeId(1), &word("a:")) && keys.refuse(NodeId(2), &word("a:"), 7));
        assert!(!keys.agree(NodeId(3), &word("a:")), "it is over");
        keys.settle(&nodes(&[1]));
        assert_eq!(keys.prefixes[&word("a:")], Standing::Refused { node: NodeId(2), keys: 7 });
        assert_eq!(keys.announce(word("a:")), Ok(true));
        assert_eq!(keys.announced().next(), Some((&word("a:"), &BTreeSet::new())), "all are asked again");
    }

    #[test]
    fn there_is_an_end_to_prefixes() {
        let mut keys = StrongKeys::default();
        for number in 0..PREFIXES {
            assert_eq!(keys.announce(alloc::format!("{number}:").into()), Ok(true));
        }
        assert_eq!(keys.announce(word("more:")), Err(AnnounceError::TooMany));
        assert_eq!(keys.announce(Bytes::from(alloc::vec![b'x'; PREFIX_BYTES + 1])), Err(AnnounceError::TooLong));
        keys.refuse(NodeId(1), &word("0:"), 1);
        assert_eq!(keys.announce(word("more:")), Ok(true), "in the place of one that was refused");
    }

    #[test]
    fn keys_move_when_holders_come_and_go_and_stay_where_they_are_otherwise() {
        let mut keys = StrongKeys::default();
        keys.announce(word("a:")).unwrap();
        let members = nodes(&[1, 2, 3]);
        for node in [1, 2] {
            keys.hold(NodeId(node), NodeId(node + 10));
            assert!(!keys.settle(&members), "until all are there");
        }
        keys.hold(NodeId(3), NodeId(13));
        assert!(keys.settle(&members));
        assert_eq!(keys.assignment, Some(Assignment::first(nodes(&[11, 12, 13]))));
        assert!(!keys.settle(&members));
        // One loses its directory.
        assert!(keys.hold(NodeId(2), NodeId(22)) && keys.settle(&members));
        let moving = keys.assignment.clone().unwrap();
        assert_eq!((moving.epoch, moving.next), (2, Some(nodes(&[11, 13, 22]))));
        assert!(!keys.settle(&members) && !keys.carried(1), "one move at a time");
        assert!(keys.carried(2) && !keys.carried(2));
        assert_eq!(keys.assignment.as_ref().map(|assignment| assignment.epoch), Some(3));
        // A fourth, and then a fifth and sixth: no more than five hold.
        let all = nodes(&[1, 2, 3, 4, 5, 6]);
        for node in [4, 5, 6] {
            keys.hold(NodeId(node), NodeId(node));
        }
        assert!(keys.settle(&all));
        let next = keys.assignment.clone().unwrap().next.unwrap();
        assert_eq!(next.len(), HOLDERS);
        assert!(next.is_superset(&nodes(&[11, 13, 22])));
    }
}
