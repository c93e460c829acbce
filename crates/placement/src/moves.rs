//! What moves between two assignments: who gains what, from whom it may be streamed, who loses what.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use steadfast_available::exchange::HashRange;
use steadfast_types::NodeId;

use crate::assignment::Assignment;
use crate::slots::{SLOTS, Slot, SlotSet};

/// Hashes that a member gains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gain {
    /// Which.
    pub range: HashRange,
    /// Who holds them: any of these can stream them, the first one is asked first. Nobody, if all that held them are lost; then there is nothing to stream.
    pub sources: Vec<NodeId>,
}

/// What moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// What each member gains.
    pub gains: BTreeMap<NodeId, SlotSet>,
    /// What each member loses.
    pub losses: BTreeMap<NodeId, SlotSet>,
}

impl Moves {
    /// What moves from one assignment to another.
    pub fn between(from: &Assignment, to: &Assignment) -> Self {
        let mut moves = Moves::default();
        let note = |moves: &mut BTreeMap<NodeId, SlotSet>, node, slots: SlotSet| {
            if !slots.is_empty() {
                moves.insert(node, slots);
            }
        };
        let mut nodes = from.members().iter().chain(to.members()).copied().collect::<Vec<_>>();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let (before, after) = (from.slots_of(node), to.slots_of(node));
            note(&mut moves.gains, node, after.difference(&before));
            note(&mut moves.losses, node, before.difference(&after));
        }
        moves
    }

    /// How many replicas of a slot are to be streamed.
    pub fn len(&self) -> usize {
        self.gains.values().map(SlotSet::len).sum()
    }

    /// Whether nothing moves.
    pub fn is_empty(&self) -> bool {
        self.gains.is_empty() && self.losses.is_empty()
    }
}

/// Slots, in ranges of which all have the same sources. Who is asked first goes round with the slot, so that all are asked for about as much.
pub(crate) fn gains<I: Iterator<Item = NodeId>>(slots: &SlotSet, sources: impl Fn(Slot) -> I) -> Vec<Gain> {
    let mut by_sources = BTreeMap::<Vec<NodeId>, SlotSet>::new();
    for slot in slots.iter() {
        let mut sources = sources(slot).collect::<Vec<_>>();
        sources.sort_unstable();
        sources.dedup();
        let first = usize::from(slot) * sources.len() / SLOTS;
        sources.rotate_left(first);
        by_sources.entry(sources).or_default().insert(slot);
    }
    let of = |(sources, slots): (Vec<NodeId>, SlotSet)| {
        slots.ranges().into_iter().map(move |range| Gain { range, sources: sources.clone() }).collect::<Vec<_>>()
    };
    let mut gains = by_sources.into_iter().flat_map(of).collect::<Vec<_>>();
    gains.sort_unstable_by_key(|gain| gain.range);
    gains
}
