//! What follows from a ring: who holds what now, who takes writes, what is to be streamed.

use alloc::vec::Vec;

use steadfast_available::Hash;
use steadfast_available::exchange::HashRange;
use steadfast_types::NodeId;

use crate::assignment::Assignment;
use crate::moves::{Gain, Moves, gains};
use crate::ring::Ring;
use crate::slots::{SLOTS, Slot, SlotSet, slot_of};

/// A ring, and what follows from it.
#[derive(Clone, Debug)]
pub struct Placement {
    ring: Ring,
    current: Assignment,
    next: Option<Assignment>,
}

impl Placement {
    /// What follows from a ring.
    pub fn new(ring: Ring) -> Self {
        let (current, next) = (Assignment::of(ring.current()), ring.next().map(Assignment::of));
        Placement { ring, current, next }
    }

    /// The ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Who owns which slot by the layout that serves.
    pub fn current(&self) -> &Assignment {
        &self.current
    }

    /// Who will own which slot.
    pub fn next(&self) -> Option<&Assignment> {
        self.next.as_ref()
    }

    /// Those who have all that is in a slot: they may be asked, and can stream it. Nobody, if all were lost.
    pub fn holders_of_slot(&self, slot: Slot) -> impl Iterator<Item = NodeId> {
        let is_lost = |node: &NodeId| self.ring.lost().contains(node);
        let owners = self.current.owners_of_slot(slot);
        let reported = self.ring.reported().iter().filter(move |(_, slots)| slots.contains(slot)).map(|(node, _)| *node);
        owners.filter(move |node| !is_lost(node)).chain(reported)
    }

    /// Those who have all keys of a hash.
    pub fn holders(&self, hash: Hash) -> impl Iterator<Item = NodeId> {
        self.holders_of_slot(slot_of(hash))
    }

    /// Those to whom writes to a hash go: who holds it, and who will.
    pub fn owners(&self, hash: Hash) -> Vec<NodeId> {
        let slot = slot_of(hash);
        let mut owners = self.holders_of_slot(slot).collect::<Vec<_>>();
        let next = self.next.iter().flat_map(|next| next.owners_of_slot(slot)).filter(|node| !owners.contains(node)).collect::<Vec<_>>();
        owners.extend(next);
        owners
    }

    /// The slots whose writes a node takes: what it holds and what it gains.
    pub fn slots_of(&self, node: NodeId) -> SlotSet {
        let next = self.next.as_ref().map(|next| next.slots_of(node)).unwrap_or_default();
        let held = if self.ring.lost().contains(&node) { SlotSet::default() } else { self.current.slots_of(node) };
        self.ring.reported().get(&node).map_or_else(|| held.clone(), |reported| held.union(reported)).union(&next)
    }

    /// The hashes whose writes a node takes.
    pub fn ranges_of(&self, node: NodeId) -> Vec<HashRange> {
        self.slots_of(node).ranges()
    }

    /// What moves until the change that is under way is done; nothing, if none is.
    pub fn moves(&self) -> Moves {
        self.next.as_ref().map(|next| Moves::between(&self.current, next)).unwrap_or_default()
    }

    /// What a node is still to stream, and from whom.
    pub fn gains_of(&self, node: NodeId) -> Vec<Gain> {
        gains(&self.missing(node), |slot| self.holders_of_slot(slot))
    }

    /// The slots that a node gains and has not reported yet.
    pub fn missing(&self, node: NodeId) -> SlotSet {
        let Some(next) = &self.next else { return SlotSet::default() };
        let gained = next.slots_of(node).difference(&self.current.slots_of(node));
        self.ring.reported().get(&node).map_or_else(|| gained.clone(), |reported| gained.difference(reported))
    }

    /// The slots that nobody holds: all that held them were lost, and what was in them is gone.
    pub fn gone(&self) -> SlotSet {
        (0..SLOTS as Slot).filter(|slot| self.holders_of_slot(*slot).next().is_none()).collect()
    }
}
