//! Who holds which slot, computed from a layout.
//!
//! The places of a member on the ring are hashes of its id, so they don't depend on who else is there: who comes takes from the others what falls behind its
//! places, who goes leaves it to those behind. The owners of a slot are chosen in the order of the ring from the slot's place on: first the first member of
//! each zone, until there are enough zones or no more; then whoever follows, of whatever zone. In both steps one member more or less changes one owner.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use steadfast_available::Hash;
use steadfast_types::NodeId;

use crate::layout::Layout;
use crate::slots::{SLOTS, Slot, SlotSet, slot_of};

/// The place of a member on the ring.
fn place(node: NodeId, number: u16) -> u64 {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&node.0.to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// The place of a slot on the ring.
fn place_of(slot: usize) -> u64 {
    (slot as u64) << (u64::BITS - SLOTS.ilog2())
}

/// Who holds which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    members: Vec<NodeId>,
    /// How many own each slot.
    width: usize,
    /// The owners of each slot, by their numbers among the members, one slot after the other. Empty if every member owns everything.
    owners: Vec<u16>,
}

impl Assignment {
    /// What follows from a layout, whose numbers must be within the limits.
    pub fn of(layout: &Layout) -> Self {
        let members = layout.members.keys().copied().collect::<Vec<_>>();
        let width = layout.width();
        let owners = if width == members.len() { Vec::new() } else { Walk::new(layout).owners() };
        Assignment { members, width, owners }
    }

    /// The members, in the order of their ids.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The owners of a slot, in the order of the ring; in the order of their ids, if that is all members.
    pub fn owners_of_slot(&self, slot: Slot) -> impl Iterator<Item = NodeId> + Clone {
        let start = usize::from(slot) * self.width;
        let chosen = self.owners.get(start..start + self.width).unwrap_or_default();
        let everyone = if self.owners.is_empty() { &self.members[..] } else { &[] };
        chosen.iter().map(|number| self.members[usize::from(*number)]).chain(everyone.iter().copied())
    }

    /// The owners of a hash.
    pub fn owners(&self, hash: Hash) -> impl Iterator<Item = NodeId> + Clone {
        self.owners_of_slot(slot_of(hash))
    }

    /// Whether a member owns a slot.
    pub fn owns(&self, node: NodeId, slot: Slot) -> bool {
        self.owners_of_slot(slot).any(|owner| owner == node)
    }

    /// The slots that a member owns: none, if it is not a member.
    pub fn slots_of(&self, node: NodeId) -> SlotSet {
        let Ok(number) = self.members.binary_search(&node) else { return SlotSet::default() };
        if self.owners.is_empty() {
            return SlotSet::all();
        }
        let slots = (0..).zip(self.owners.chunks_exact(self.width));
        slots.filter(|(_, owners)| owners.contains(&(number as u16))).map(|(slot, _)| slot).collect()
    }
}

/// Going around the ring against its order: then who comes next, from here on, is a list whose first is the last that was met.
struct Walk<'a> {
    layout: &'a Layout,
    /// The zone of each member, by number.
    zones: Vec<u16>,
    /// Places and members, in order.
    ring: Vec<(u64, u16)>,
    /// All members, by who is met first from here on.
    next: Vec<u16>,
}

impl<'a> Walk<'a> {
    fn new(layout: &'a Layout) -> Self {
        let mut numbers = BTreeMap::new();
        for member in layout.members.values() {
            let number = numbers.len() as u16;
            numbers.entry(&*member.zone).or_insert(number);
        }
        let zones = layout.members.values().map(|member| numbers[&*member.zone]).collect();
        let places = |(number, (node, member)): (u16, (&NodeId, &crate::Member))| {
            let node = *node;
            (0..member.virtual_nodes).map(move |virtual_node| (place(node, virtual_node), number))
        };
        let mut ring = (0..).zip(&layout.members).flat_map(places).collect::<Vec<_>>();
        ring.sort_unstable();
        let mut walk = Walk { layout, zones, ring, next: (0..layout.members.len() as u16).collect() };
        // Behind the end comes the beginning.
        (0..walk.ring.len()).rev().for_each(|index| walk.meet(walk.ring[index].1));
        walk
    }

    fn meet(&mut self, member: u16) {
        let at = self.next.iter().position(|held| *held == member).expect("every member is in the list");
        self.next[..=at].rotate_right(1);
    }

    fn owners(mut self) -> Vec<u16> {
        let (width, spread) = (self.layout.width(), self.layout.spread());
        let mut owners = vec![0; width * SLOTS];
        let (mut end, mut chosen, mut others) = (self.ring.len(), Vec::new(), Vec::new());
        for slot in (0..SLOTS).rev() {
            while end > 0 && self.ring[end - 1].0 >= place_of(slot) {
                end -= 1;
                self.meet(self.ring[end].1);
            }
            chosen.clear();
            others.clear();
            for member in &self.next {
                let is_new = |held: &u16| self.zones[usize::from(*held)] != self.zones[usize::from(*member)];
                if chosen.len() < spread && chosen.iter().all(is_new) {
                    chosen.push(*member);
                } else {
                    others.push(*member);
                }
                if chosen.len() == spread && chosen.len() + others.len() >= width {
                    break;
                }
            }
            chosen.extend(others.iter().take(width - chosen.len()));
            owners[slot * width..][..width].copy_from_slice(&chosen);
        }
        owners
    }
}
