//! Lists on replicas: whatever is inserted is kept, in one order that agrees with what each side saw; alone, a list is a row.

mod register;
mod replicas;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use register::{Register, Write};
use replicas::{Event, Subject, World, steps};
use steadfast_crdt::{Covers, Lattice, List, MapDelta, Version};
use steadfast_types::wire::Wire;

/// Where it says a part of a hundred, that is of the length that the list has.
#[derive(Clone, Debug)]
enum Op {
    /// So many elements at an index.
    Insert(usize, usize),
    /// LSET at an index; the element stays the same, with another version.
    Set(usize),
    /// LREM, LPOP, RPOP, LTRIM: from an index on, so many; with marks or without.
    Remove(usize, usize, bool),
}

fn ops() -> impl Strategy<Value = Op> {
    let at = || prop_oneof![Just(0_usize), Just(100_usize), Just(50_usize), 0..100_usize];
    prop_oneof![
        5 => (at(), 1..5_usize).prop_map(|(at, count)| Op::Insert(at, count)),
        2 => at().prop_map(Op::Set),
        3 => (at(), 1..5_usize, any::<bool>()).prop_map(|(at, count, mark)| Op::Remove(at, count, mark)),
    ]
}

fn index(at: usize, length: usize) -> usize {
    length * at / 100
}

fn values(list: &List<Register>) -> Vec<u64> {
    list.range(0..list.len()).map(|register| register.value().unwrap()).collect()
}

/// What the elements are that a write inserts: never the same again.
fn inserted(version: Version, count: usize) -> impl Iterator<Item = u64> {
    (0..count as u64).map(move |number| version.number() * 64 + number)
}

/// What the command does to a row.
fn apply(row: &mut Vec<u64>, op: &Op, version: Version) {
    match *op {
        Op::Insert(at, count) => {
            let at = index(at, row.len());
            row.splice(at..at, inserted(version, count));
        }
        Op::Set(_) => {}
        Op::Remove(at, count, _) => {
            let at = index(at, row.len());
            row.drain(at..(at + count).min(row.len()));
        }
    }
}

struct Lists;

impl Subject for Lists {
    type State = List<Register>;
    type Op = Op;
    type Shown = Vec<u64>;

    fn write(list: &mut List<Register>, op: &Op, version: Version) -> Option<MapDelta<Write>> {
        let (mut delta, mut row) = (MapDelta::default(), values(list));
        match *op {
            Op::Insert(at, count) => {
                let writes = inserted(version, count).map(|value| move |register: &mut Register| register.set(version, value));
                list.insert(&mut delta, version, index(at, list.len()), writes);
            }
            Op::Set(at) => list.write(&mut delta, index(at, list.len()), |register| {
                let value = register.value();
                value.map(|value| register.set(version, value))
            }),
            Op::Remove(at, count, mark) => {
                let at = index(at, list.len());
                list.write_each(&mut delta, at..at + count, |register| register.remove(version, mark));
            }
        }
        apply(&mut row, op, version);
        assert_eq!(values(list), row, "{op:?}");
        (!delta.0.is_empty()).then_some(delta)
    }

    fn shown(list: &List<Register>) -> Vec<u64> {
        let shown = values(list);
        let mut backwards: Vec<_> = list.range(0..usize::MAX).rev().map(|register| register.value().unwrap()).collect();
        backwards.reverse();
        assert_eq!((&backwards, list.len()), (&shown, shown.len()));
        assert!(shown.iter().enumerate().all(|(index, value)| list.get(index).and_then(Register::value) == Some(*value)));
        shown
    }
}

/// The elements that are there, whatever their order: those with a write that no later one replaced.
fn model(events: &[&Event<Lists>]) -> BTreeSet<u64> {
    let mut writes = BTreeMap::<u64, Vec<(&Event<Lists>, bool)>>::new();
    for event in events {
        let row = &event.shown;
        match event.op {
            Op::Insert(_, count) => inserted(event.version, count).for_each(|value| writes.entry(value).or_default().push((event, true))),
            Op::Set(at) => {
                row.get(index(at, row.len())).into_iter().for_each(|value| writes.entry(*value).or_default().push((event, true)))
            }
            Op::Remove(at, count, _) => {
                let removed = row.iter().skip(index(at, row.len())).take(count);
                removed.for_each(|value| writes.entry(*value).or_default().push((event, false)));
            }
        }
    }
    let stays = |writes: &[(&Event<Lists>, bool)]| {
        let is_replaced = |version| writes.iter().any(|(event, _)| event.observed.covers(version));
        writes.iter().any(|(event, leaves)| *leaves && !is_replaced(event.version))
    };
    writes.into_iter().filter(|(_, writes)| stays(writes)).map(|(value, _)| value).collect()
}

/// Which of two elements was ever shown before the other. Elements that were replaced stay in it.
#[derive(Default)]
struct Order(BTreeSet<(u64, u64)>);

impl Order {
    fn assert_agrees(&mut self, row: &[u64]) {
        for (at, first) in row.iter().enumerate() {
            for second in &row[at + 1..] {
                assert!(!self.0.contains(&(*second, *first)), "{first} before {second}, and it was after");
                self.0.insert((*first, *second));
            }
        }
    }
}

fn run_lists(replicas: usize, steps: &[replicas::Step<Op>]) {
    let (mut world, mut order) = (World::<Lists>::new(replicas), Order::default());
    let check = |world: &World<Lists>, order: &mut Order| {
        for (at, replica) in world.replicas.iter().enumerate() {
            let shown = Lists::shown(&replica.state);
            order.assert_agrees(&shown);
            assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), model(&world.seen(at)), "replica {at}");
            assert_eq!(List::from_wire(replica.state.to_wire().into()).as_ref(), Ok(&replica.state));
        }
    };
    for (number, step) in steps.iter().enumerate() {
        world.step(step);
        check(&world, &mut order);
        if number % 8 == 7 {
            world.assert_laws();
        }
    }
    world.assert_laws();
    world.settle();
    world.assert_equal();
    check(&world, &mut order);
}

fn version(number: u64) -> Version {
    Version::from_number((1 << 50) + (number << 12))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists_converge_in_one_order(steps in prop_oneof![steps(3, ops(), 50), steps(4, ops(), 50)]) {
        run_lists(4, &steps);
    }

    #[test]
    fn a_list_alone_is_a_row(steps in proptest::collection::vec((0..=100_usize, 1..200_usize, 0..5_u8), 0..40)) {
        let (mut list, mut replayed, mut row) = (List::<Register>::default(), List::<Register>::default(), Vec::new());
        for (number, (at, count, kind)) in (1..).zip(steps) {
            let version = version(number);
            let op = match kind {
                0..3 => Op::Insert(at, count),
                3 => Op::Remove(at, count, false),
                _ => Op::Set(at),
            };
            if let Some(delta) = Lists::write(&mut list, &op, version) {
                replayed.apply(&MapDelta::from_wire(delta.to_wire().into()).unwrap());
            }
            apply(&mut row, &op, version);
            prop_assert_eq!(&Lists::shown(&list), &row);
        }
        prop_assert_eq!(replayed, list);
    }
}
