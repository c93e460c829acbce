//! Rings that change: whatever changes, is lost and comes in between, nobody drops what others have not got yet.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{id, layout, member};
use proptest::collection::vec;
use proptest::prelude::*;
use steadfast_placement::{Change, Member, NotPossible, Placement, Ring, SLOTS, Slot, SlotSet, State};
use steadfast_types::NodeId;
use steadfast_types::wire::Wire;

#[derive(Clone, Debug)]
enum Step {
    Join(u64, Member),
    Leave(usize),
    Lose(usize),
    Replicas(u8),
    /// A node streams some of what it gains, and reports it.
    Stream(usize, u16),
    /// All nodes stream all, and the change is done.
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..12_u64, member()).prop_map(|(number, member)| Step::Join(number, member)),
        2 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::Lose),
        1 => (0..5_u8).prop_map(Step::Replicas),
        8 => (any::<usize>(), any::<u16>()).prop_map(|(node, slots)| Step::Stream(node, slots)),
        2 => Just(Step::Finish),
    ]
}

/// What each node really has of everything.
struct World {
    ring: Ring,
    held: BTreeMap<NodeId, SlotSet>,
    /// What was gone when all nodes that had it were lost.
    gone: SlotSet,
}

impl World {
    fn new(ring: Ring) -> Self {
        let placement = Placement::new(ring.clone());
        let held = ring.nodes().map(|node| (node, placement.slots_of(node))).collect();
        World { ring, held, gone: SlotSet::default() }
    }

    fn node(&self, choice: usize) -> NodeId {
        let nodes = self.ring.nodes().collect::<Vec<_>>();
        nodes[choice % nodes.len()]
    }

    /// Every node hears of the ring, and drops what is not to be there.
    fn set(&mut self, ring: Ring) {
        let placement = Placement::new(ring.clone());
        for (node, held) in &mut self.held {
            *held = held.intersection(&placement.slots_of(*node));
        }
        self.ring = ring;
    }

    fn change(&mut self, change: &Change) {
        if let Ok(ring) = self.ring.change(change) {
            if let Change::Lose(node) = change {
                let lost = self.held.remove(node).unwrap_or_default();
                let left = self.held.values().fold(SlotSet::default(), |all, held| all.union(held));
                self.gone = self.gone.union(&lost.difference(&left));
            }
            self.set(ring);
        }
    }

    fn stream(&mut self, node: NodeId, limit: usize) {
        let placement = Placement::new(self.ring.clone());
        let mut got = SlotSet::default();
        for gain in placement.gains_of(node) {
            let first = steadfast_placement::slot_of(gain.range.first());
            for slot in (first..=steadfast_placement::slot_of(gain.range.last())).take(limit - got.len()) {
                let has_it = |source: &NodeId| self.held.get(source).is_some_and(|held| held.contains(slot));
                assert!(gain.sources.iter().all(has_it), "a source holds what it is said to hold");
                assert!(!gain.sources.contains(&node), "nobody streams from itself");
                assert!(!gain.sources.is_empty() || self.gone.contains(slot), "what somebody holds can be had");
                got.insert(slot);
            }
        }
        let held = self.held.entry(node).or_default();
        *held = held.union(&got);
        if self.ring.next().is_some() {
            let ring = self.ring.report(node, self.ring.epoch(), &got).unwrap();
            assert!(ring.report(node, self.ring.epoch(), &got).unwrap() == ring, "a report may come twice");
            self.ring = ring;
        }
    }

    fn check(&self, before: Option<&Placement>) {
        let placement = Placement::new(self.ring.clone());
        assert_eq!(Ring::from_wire(self.ring.to_wire().into()), Ok(self.ring.clone()));
        assert!(placement.gone().difference(&self.gone).is_empty());
        let holders = |placement: &Placement, slot| placement.holders_of_slot(slot).collect::<BTreeSet<_>>();
        for slot in (0..SLOTS as Slot).step_by(7) {
            let now = holders(&placement, slot);
            let is_true = |node: &NodeId| self.held[node].contains(slot) || self.gone.contains(slot);
            assert!(now.iter().all(is_true), "who is said to hold a slot does");
            if self.ring.lost().is_empty() {
                assert!(now.len() >= self.ring.current().width().min(self.ring.next().map_or(usize::MAX, |next| next.width())));
            }
            let owners = placement.owners(u32::from(slot) << 18);
            assert!(now.iter().all(|node| owners.contains(node)), "writes go to all that hold the slot");
            assert_eq!(owners.iter().collect::<BTreeSet<_>>().len(), owners.len());
            let Some(before) = before else { continue };
            // Until a change is done nobody ceases to hold anything, but who is lost or is to drop what it had gained.
            let aims_further = before.ring().next().is_some() && self.ring.epoch() != before.ring().epoch();
            if self.ring.next().is_some() && !aims_further {
                let lost = self.ring.lost();
                assert!(holders(before, slot).iter().all(|node| now.contains(node) || lost.contains(node)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_is_lost_while_the_ring_changes(layout in layout(8), steps in vec(step(), 1..24)) {
        let mut world = World::new(Ring::first(layout).unwrap());
        for step in steps.into_iter().chain([Step::Finish]) {
            let before = Placement::new(world.ring.clone());
            match step {
                Step::Join(number, member) => world.change(&Change::Join(id(number), member)),
                Step::Leave(choice) => world.change(&Change::Leave(world.node(choice))),
                Step::Lose(choice) => world.change(&Change::Lose(world.node(choice))),
                Step::Replicas(replicas) => world.change(&Change::Replicas(replicas)),
                Step::Stream(choice, slots) => world.stream(world.node(choice), usize::from(slots)),
                Step::Finish => {
                    for node in world.ring.nodes().collect::<Vec<_>>() {
                        let missing = !Placement::new(world.ring.clone()).missing(node).is_empty();
                        if missing {
                            prop_assert!(matches!(world.ring.finish(), Err(NotPossible::NotComplete(_))));
                        }
                        world.stream(node, SLOTS);
                    }
                    if world.ring.next().is_some() {
                        let ring = world.ring.finish().unwrap();
                        prop_assert!(ring.epoch() > world.ring.epoch());
                        // What is gone is from now on held, empty, by those who own it.
                        world.set(ring);
                    }
                }
            }
            world.check(Some(&before));
        }
        prop_assert_eq!(world.ring.finish(), Err(NotPossible::Stable));
        prop_assert!(world.ring.nodes().all(|node| world.ring.state(node) == Some(State::Serving)));
    }

    #[test]
    fn what_is_no_ring_is_refused(layout in layout(4), change in member(), at in any::<prop::sample::Index>(), byte: u8) {
        let ring = Ring::first(layout).unwrap().change(&Change::Join(id(70), change)).unwrap();
        let ring = Placement::new(ring.clone()).missing(id(70)).iter().next().map_or(ring.clone(), |slot| {
            ring.report(id(70), ring.epoch(), &SlotSet::from_iter([slot])).unwrap()
        });
        let mut bytes = ring.to_wire();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // It may be another ring, and then one that can be worked with.
        if let Ok(ring) = Ring::from_wire(bytes.into()) {
            Placement::new(ring.clone()).moves();
            prop_assert_eq!(Ring::from_wire(ring.to_wire().into()), Ok(ring));
        }
    }
}

#[test]
fn a_ring_says_where_everybody_stands_and_what_is_not_possible() {
    let layout = steadfast_placement::Layout { replicas: 2, members: (0..3).map(|number| (id(number), Member::of(""))).collect() };
    let ring = Ring::first(layout).unwrap();
    assert_eq!(ring.change(&Change::Leave(id(9))), Err(NotPossible::NotAMember(id(9))));
    assert_eq!(ring.change(&Change::Join(id(0), Member::of(""))).unwrap(), ring, "nothing changes");
    let ring = ring.change(&Change::Join(id(3), Member::of(""))).unwrap().change(&Change::Leave(id(0))).unwrap();
    let ring = ring.change(&Change::Lose(id(1))).unwrap();
    let states = (0..5).map(|number| ring.state(id(number))).collect::<Vec<_>>();
    assert_eq!(states, [Some(State::Leaving), Some(State::Lost), Some(State::Serving), Some(State::Joining), None]);
    assert_eq!(ring.change(&Change::Join(id(1), Member::of(""))), Err(NotPossible::Lost(id(1))));
    assert_eq!(ring.report(id(3), steadfast_placement::Epoch(1), &SlotSet::all()), Err(NotPossible::OtherEpoch(ring.epoch())));
    assert_eq!(ring.report(id(2), ring.epoch(), &SlotSet::all()), Err(NotPossible::NotGained(id(2))));
    assert!(ring.change(&Change::Lose(id(2))).unwrap().change(&Change::Leave(id(3))).is_err(), "somebody must be left");
    // Who only comes may go again: then everything is as it was.
    let back = Ring::first(ring.current().clone()).unwrap();
    let back = back.change(&Change::Join(id(3), Member::of(""))).unwrap().change(&Change::Lose(id(3))).unwrap();
    assert_eq!((back.next(), back.state(id(3))), (None, None));
}
