//! The record in strong state: who the members are, what changes, and how far that has come.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use steadfast_types::NodeId;
use steadfast_types::wire::{Reader, Wire, WireError};

use crate::assignment::Assignment;
use crate::layout::{Invalid, Layout, Member};
use crate::limits::MEMBERS;
use crate::placement::Placement;
use crate::slots::SlotSet;

/// The form of the record, and of all that follows from it: places on the ring, number of slots, choice of owners. Who does not know it must not guess.
const FORMAT: u8 = 1;

/// Nodes that a ring speaks of, those that come and go again before a change is done among them: two whole clusters.
const NODES: usize = 2 * MEMBERS;

/// The number of a ring. Every change and every end of one makes the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It comes: it holds what it has reported.
    Joining,
    /// It holds what it owns, and stays.
    Serving,
    /// It holds what it owns until others do.
    Leaving,
    /// It holds nothing any more, and does not come back as the same node before the change is done.
    Lost,
}

/// What is to become of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A member comes, or is another one in zone or virtual nodes.
    Join(NodeId, Member),
    /// A member goes, once others have what it holds.
    Leave(NodeId),
    /// A member is no more, and nothing can be had of it.
    Lose(NodeId),
    /// So many replicas of everything.
    Replicas(u8),
}

/// Why a ring can't be changed so. It has not changed; the same fails the same way until the ring is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    /// The layout would be none.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// No such member.
    #[error("node {0} is not a member")]
    NotAMember(NodeId),
    /// It was lost, and comes back when the change is done that makes up for it.
    #[error("node {0} was lost; it can join again when its data has been restored elsewhere")]
    Lost(NodeId),
    /// The ring is of that epoch.
    #[error("the ring is of epoch {0}")]
    OtherEpoch(Epoch),
    /// The node does not gain that.
    #[error("node {0} reports slots that it does not gain")]
    NotGained(NodeId),
    /// Something is not reported yet.
    #[error("node {0} has not got all that it gains")]
    NotComplete(NodeId),
    /// There is nothing under way.
    #[error("nothing changes")]
    Stable,
}

/// Who the members are, what changes, and how far that has come. See the crate.
///
/// Invariants, which the wire form is checked for:
/// 1. The layouts are valid, and are not the same while nothing was lost.
/// 2. Who is lost is a member of the current layout and not of the next one.
/// 3. What is reported is of slots that the node does not own in the current layout, and not nothing; of a node that is not lost.
/// 4. Of a slot that a lost member owned nobody is to drop what it has reported before the change is done, though the next layout may be another one by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    epoch: Epoch,
    current: Layout,
    next: Option<Layout>,
    lost: BTreeSet<NodeId>,
    reported: BTreeMap<NodeId, SlotSet>,
}

impl Ring {
    /// The first ring of a cluster, in which nothing is held yet.
    ///
    /// # Errors
    /// If the layout is beyond a limit.
    pub fn first(layout: Layout) -> Result<Self, Invalid> {
        layout.check()?;
        Ok(Ring { epoch: Epoch(1), current: layout, next: None, lost: BTreeSet::new(), reported: BTreeMap::new() })
    }

    /// Its number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The layout that serves.
    pub fn current(&self) -> &Layout {
        &self.current
    }

    /// The layout that is to serve, while something changes.
    pub fn next(&self) -> Option<&Layout> {
        self.next.as_ref()
    }

    /// The members of the current layout that are no more.
    pub fn lost(&self) -> &BTreeSet<NodeId> {
        &self.lost
    }

    /// What those who gain something have got of it.
    pub fn reported(&self) -> &BTreeMap<NodeId, SlotSet> {
        &self.reported
    }

    /// All nodes that hold something or are to, and those that were lost, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let next = self.next.iter().flat_map(|next| next.members.keys());
        self.current.members.keys().chain(next).chain(self.reported.keys()).copied().collect::<BTreeSet<_>>().into_iter()
    }

    /// Where a node stands; `None` if it is nowhere.
    pub fn state(&self, node: NodeId) -> Option<State> {
        let is_current = self.current.members.contains_key(&node);
        let is_next = self.next.as_ref().unwrap_or(&self.current).members.contains_key(&node);
        match (is_current, is_next) {
            _ if self.lost.contains(&node) => Some(State::Lost),
            (true, true) => Some(State::Serving),
            (true, false) => Some(State::Leaving),
            (false, true) => Some(State::Joining),
            // It came, and is to go again; until the change is done it may be needed.
            (false, false) => self.reported.contains_key(&node).then_some(State::Leaving),
        }
    }

    /// The ring that aims at this change too, beside what is under way. It is this one, if it aims there already.
    ///
    /// # Errors
    /// See [`NotPossible`].
    pub fn change(&self, change: &Change) -> Result<Self, NotPossible> {
        let (mut next, mut lost, mut gone) = (self.next.as_ref().unwrap_or(&self.current).clone(), self.lost.clone(), None);
        match change {
            Change::Join(node, _) if self.lost.contains(node) => return Err(NotPossible::Lost(*node)),
            Change::Join(node, member) => {
                next.members.insert(*node, member.clone());
            }
            Change::Leave(node) | Change::Lose(node) => {
                let was_next = next.members.remove(node).is_some();
                let is_current = self.current.members.contains_key(node);
                let has_reported = self.reported.contains_key(node);
                if !was_next && !is_current && !has_reported {
                    return Err(NotPossible::NotAMember(*node));
                }
                if matches!(change, Change::Lose(_)) {
                    gone = Some(*node);
                    lost.extend(is_current.then_some(*node));
                }
            }
            Change::Replicas(replicas) => next.replicas = *replicas,
        }
        next.check()?;
        let is_news = gone.is_some_and(|node| self.reported.contains_key(&node)) || lost != self.lost;
        if next == *self.next.as_ref().unwrap_or(&self.current) && !is_news {
            return Ok(self.clone());
        }
        let ring = self.aim(next, lost, gone);
        if ring.nodes().count() > NODES { Err(Invalid::TooMany.into()) } else { Ok(ring) }
    }

    /// The ring that aims at another layout, without what was reported by whom is gone.
    fn aim(&self, next: Layout, lost: BTreeSet<NodeId>, gone: Option<NodeId>) -> Self {
        let mut ring = Ring { epoch: Epoch(self.epoch.0 + 1), current: self.current.clone(), next: None, lost, reported: BTreeMap::new() };
        if next != self.current {
            let (from, to) = (Assignment::of(&self.current), Assignment::of(&next));
            let endangered = ring.lost.iter().fold(SlotSet::default(), |all, node| all.union(&from.slots_of(*node)));
            for (node, reported) in self.reported.iter().filter(|(node, _)| gone != Some(**node)) {
                let kept = reported.intersection(&to.slots_of(*node).union(&endangered));
                if !kept.is_empty() {
                    ring.reported.insert(*node, kept);
                }
            }
            ring.next = Some(next);
        }
        ring
    }

    /// The ring in which a node has got these slots: all that was in them when the ring's epoch began, and everything since.
    ///
    /// # Errors
    /// If the ring is of another epoch than the one that the node knows (it looks again at what it gains), or it does not gain that.
    pub fn report(&self, node: NodeId, epoch: Epoch, slots: &SlotSet) -> Result<Self, NotPossible> {
        if epoch != self.epoch {
            return Err(NotPossible::OtherEpoch(self.epoch));
        }
        let next = self.next.as_ref().ok_or(NotPossible::Stable)?;
        let gained = Assignment::of(next).slots_of(node).difference(&Assignment::of(&self.current).slots_of(node));
        if !gained.includes(slots) {
            return Err(NotPossible::NotGained(node));
        }
        let mut ring = self.clone();
        if !slots.is_empty() {
            let reported = ring.reported.entry(node).or_default();
            *reported = reported.union(slots);
        }
        Ok(ring)
    }

    /// The ring after the change that is under way.
    ///
    /// # Errors
    /// If somebody has not reported all that it gains, or nothing is under way.
    pub fn finish(&self) -> Result<Self, NotPossible> {
        let next = self.next.clone().ok_or(NotPossible::Stable)?;
        let placement = Placement::new(self.clone());
        if let Some(node) = next.members.keys().find(|node| !placement.missing(**node).is_empty()) {
            return Err(NotPossible::NotComplete(*node));
        }
        Ok(Ring { epoch: Epoch(self.epoch.0 + 1), current: next, next: None, lost: BTreeSet::new(), reported: BTreeMap::new() })
    }

    fn is_sound(&self) -> bool {
        let Some(next) = &self.next else {
            return self.current.check().is_ok() && self.lost.is_empty() && self.reported.is_empty();
        };
        if self.current.check().is_err() || next.check().is_err() || *next == self.current {
            return false;
        }
        let is_lost = |node: &NodeId| self.current.members.contains_key(node) && !next.members.contains_key(node);
        let from = Assignment::of(&self.current);
        let is_more = |(node, slots): (&NodeId, &SlotSet)| {
            !slots.is_empty() && !self.lost.contains(node) && from.slots_of(*node).intersection(slots).is_empty()
        };
        self.lost.iter().all(is_lost) && self.reported.iter().all(is_more) && self.nodes().count() <= NODES
    }
}

impl Wire for Epoch {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        u64::decode(reader).map(Epoch)
    }
}

impl Wire for Ring {
    fn encode(&self, out: &mut Vec<u8>) {
        FORMAT.encode(out);
        self.epoch.encode(out);
        self.current.encode(out);
        self.next.encode(out);
        self.lost.encode(out);
        self.reported.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        if u8::decode(reader)? != FORMAT {
            return Err(WireError::Invalid("format of a ring"));
        }
        let (epoch, current, next) = (Wire::decode(reader)?, Wire::decode(reader)?, Wire::decode(reader)?);
        let ring = Ring { epoch, current, next, lost: Wire::decode(reader)?, reported: Wire::decode(reader)? };
        if ring.is_sound() { Ok(ring) } else { Err(WireError::Invalid("ring")) }
    }
}
