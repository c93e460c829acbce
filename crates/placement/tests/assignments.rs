//! Who owns what: enough owners, in enough zones, in equal shares; and as little as can be moves.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{id, layout, member};
use proptest::prelude::*;
use steadfast_placement::{Assignment, Layout, Member, Moves, SLOTS, Slot, SlotSet, slot_of};
use steadfast_types::NodeId;

fn slots() -> impl Iterator<Item = Slot> {
    0..SLOTS as Slot
}

fn owners(assignment: &Assignment, slot: Slot) -> BTreeSet<NodeId> {
    assignment.owners_of_slot(slot).collect()
}

/// The largest and the smallest share, beside what is fair.
fn shares(layout: &Layout) -> (f64, f64) {
    let assignment = Assignment::of(layout);
    let weight = |member: &Member| f64::from(member.virtual_nodes);
    let all = layout.members.values().map(weight).sum::<f64>();
    let share = |(node, member): (&NodeId, &Member)| {
        let fair = weight(member) / all * (SLOTS * layout.width()) as f64;
        assignment.slots_of(*node).len() as f64 / fair
    };
    let shares = layout.members.iter().map(share);
    shares.fold((0.0, f64::MAX), |(max, min), share| (share.max(max), share.min(min)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_slot_has_its_owners_in_as_many_zones_as_can_be(layout in layout(20)) {
        let assignment = Assignment::of(&layout);
        let zones = layout.members.values().map(|member| &member.zone).collect::<BTreeSet<_>>().len();
        let wanted = usize::from(layout.replicas).min(layout.members.len());
        let mut held = BTreeMap::<NodeId, SlotSet>::new();
        for slot in slots() {
            let owners = owners(&assignment, slot);
            prop_assert_eq!((owners.len(), assignment.owners_of_slot(slot).count()), (wanted, wanted));
            let spread = owners.iter().map(|node| &layout.members[node].zone).collect::<BTreeSet<_>>().len();
            prop_assert_eq!(spread, wanted.min(zones), "slot {}", slot);
            owners.iter().for_each(|node| held.entry(*node).or_default().insert(slot));
        }
        for node in layout.members.keys() {
            prop_assert_eq!(assignment.slots_of(*node), held.remove(node).unwrap_or_default());
        }
        prop_assert!(assignment.slots_of(id(1000)).is_empty());
    }

    #[test]
    fn who_joins_is_the_only_one_that_gains_and_who_leaves_the_only_one_that_loses(layout in layout(20), member in member()) {
        let mut more = layout.clone();
        more.members.insert(id(100), member);
        let (without, with) = (Assignment::of(&layout), Assignment::of(&more));
        let join = Moves::between(&without, &with);
        prop_assert!(join.gains.keys().all(|node| *node == id(100)));
        prop_assert_eq!(join.len(), with.slots_of(id(100)).len());
        let leave = Moves::between(&with, &without);
        prop_assert!(leave.losses.keys().all(|node| *node == id(100)));
        // If there are others to hold it, all that it held is gained, and nothing else.
        let needed = if without.members().len() < usize::from(layout.replicas) { 0 } else { join.len() };
        prop_assert_eq!(leave.len(), needed);
    }

    #[test]
    fn who_gets_more_virtual_nodes_is_the_only_one_that_gains(layout in layout(20), more in 1..1024_u16) {
        let (node, member) = layout.members.first_key_value().unwrap();
        let heavier = Member { virtual_nodes: member.virtual_nodes.max(more), ..member.clone() };
        let mut after = layout.clone();
        after.members.insert(*node, heavier);
        let moves = Moves::between(&Assignment::of(&layout), &Assignment::of(&after));
        prop_assert!(moves.gains.keys().all(|gainer| gainer == node));
        prop_assert!(!moves.losses.contains_key(node));
    }

    #[test]
    fn more_replicas_take_nothing_from_anybody(layout in layout(20)) {
        let more = Layout { replicas: layout.replicas + 1, ..layout.clone() };
        prop_assert!(Moves::between(&Assignment::of(&layout), &Assignment::of(&more)).losses.is_empty());
    }

    /// The bounds that `docs/placement.md` states.
    #[test]
    fn shares_are_within_a_third_of_what_is_fair(seed: u64, zones in 1..5_u64, each in 1..9_u64, replicas in 1..4_u8) {
        let members = (0..zones * each).map(|number| (id(seed.wrapping_add(number)), Member::of(format!("{}", number % zones)))).collect();
        let (max, min) = shares(&Layout { replicas, members });
        prop_assert!(max < 4.0 / 3.0 && min > 2.0 / 3.0, "{max} {min}");
    }

    #[test]
    fn who_has_more_virtual_nodes_holds_more(seed: u64, members in 8..24_u64) {
        let usual = Member::of("");
        let double = Member { virtual_nodes: 2 * usual.virtual_nodes, ..usual.clone() };
        let member = |number: u64| (id(seed.wrapping_add(number)), if number < 2 { double.clone() } else { usual.clone() });
        let layout = Layout { replicas: 1, members: (0..members).map(member).collect() };
        let (max, min) = shares(&layout);
        prop_assert!(max < 4.0 / 3.0 && min > 2.0 / 3.0, "{max} {min}");
    }
}

/// A ring is computed by each node for itself, some of them of another release: what is in format 1 never changes.
#[test]
fn owners_are_those_of_the_format() {
    let members = (0..6).map(|number| (id(number), Member::of(format!("z{}", number % 4)))).collect();
    let assignment = Assignment::of(&Layout { replicas: 3, members });
    let sum = slots().flat_map(|slot| owners(&assignment, slot).into_iter().map(move |node| (slot, node)));
    let sum = sum.fold(0_u64, |sum, (slot, node)| sum.rotate_left(7) ^ node.0 ^ u64::from(slot));
    assert_eq!(sum, 4074217939712440726);
    assert_eq!(slot_of(steadfast_available::hash_of(b"a key")), 14326);
}
