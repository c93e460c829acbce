//! Sets, maps and sorted sets on replicas, against models that know only what was asked for and what each writer had seen.

mod register;
mod replicas;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use proptest::prelude::*;
use register::{Register, Write, score};
use replicas::{Event, Subject, run, steps};
use steadfast_crdt::{Covers, Map, MapDelta, Set, SetDelta, Sorted, Version};

/// What members and fields are called: some are long.
fn name(number: u8) -> Vec<u8> {
    vec![number; if number.is_multiple_of(3) { 20 } else { 3 }]
}

#[derive(Clone, Debug)]
enum SetOp {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Clear,
    /// Clears, and adds.
    Store(Vec<u8>),
}

impl SetOp {
    fn adds(&self, member: u8) -> bool {
        matches!(self, SetOp::Add(members) | SetOp::Store(members) if members.contains(&member))
    }

    fn removes(&self, member: u8) -> bool {
        match self {
            SetOp::Add(_) => false,
            SetOp::Remove(members) => members.contains(&member),
            SetOp::Clear | SetOp::Store(_) => true,
        }
    }
}

struct Sets;

impl Subject for Sets {
    type State = Set;
    type Op = SetOp;
    type Shown = BTreeSet<Vec<u8>>;

    fn write(set: &mut Set, op: &SetOp, version: Version) -> Option<SetDelta> {
        let mut delta = SetDelta::new(version);
        if let SetOp::Clear | SetOp::Store(_) = op {
            set.clear(&mut delta);
        }
        match op {
            SetOp::Add(members) | SetOp::Store(members) => members.iter().for_each(|member| {
                let was_there = set.contains(&name(*member));
                assert_eq!(set.add(&mut delta, &name(*member)), !was_there);
            }),
            SetOp::Remove(members) => members.iter().for_each(|member| {
                let was_there = set.contains(&name(*member));
                assert_eq!(set.remove(&mut delta, &name(*member)), was_there);
            }),
            SetOp::Clear => {}
        }
        (!delta.changes.is_empty()).then_some(delta)
    }

    fn shown(set: &Set) -> BTreeSet<Vec<u8>> {
        let members: BTreeSet<_> = set.iter().map(<[u8]>::to_vec).collect();
        let by_position: BTreeSet<_> = (0..set.len()).filter_map(|position| set.at(position)).map(<[u8]>::to_vec).collect();
        assert_eq!((members.len(), &by_position), (set.len(), &members));
        assert!((0..12).all(|member| set.contains(&name(member)) == members.contains(&name(member))));
        let (mut cursor, mut scanned) = (0, BTreeSet::new());
        loop {
            let (next, members) = set.scan(cursor, 3);
            scanned.extend(members.map(<[u8]>::to_vec));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, members);
        members
    }
}

fn set_model(events: &[&Event<Sets>]) -> BTreeSet<Vec<u8>> {
    let stays = |member: u8, added: &Event<Sets>| {
        added.op.adds(member) && !events.iter().any(|event| event.op.removes(member) && event.observed.covers(added.version))
    };
    (0..12).filter(|member| events.iter().any(|event| stays(*member, event))).map(name).collect()
}

fn set_ops() -> impl Strategy<Value = SetOp> {
    let members = || proptest::collection::vec(0..12_u8, 1..8);
    prop_oneof![
        6 => members().prop_map(SetOp::Add),
        3 => members().prop_map(SetOp::Remove),
        1 => Just(SetOp::Clear),
        1 => members().prop_map(SetOp::Store),
    ]
}

#[derive(Clone, Debug)]
enum MapOp {
    Set(Vec<(u8, u64)>),
    Remove(Vec<u8>, bool),
    Clear(bool),
}

impl MapOp {
    /// What it leaves of a field that was there before or was not; `None` if it does not write to it.
    fn leaves(&self, field: u8, was_there: bool) -> Option<Option<u64>> {
        match self {
            MapOp::Set(fields) => fields.iter().rev().find(|(written, _)| *written == field).map(|(_, value)| Some(*value)),
            MapOp::Remove(fields, _) => (was_there && fields.contains(&field)).then_some(None),
            MapOp::Clear(_) => was_there.then_some(None),
        }
    }
}

type Shown = BTreeMap<Vec<u8>, u64>;

/// What is common to maps and sorted sets.
fn write_map<T>(
    container: &mut T,
    op: &MapOp,
    version: Version,
    write: impl Fn(&mut T, &mut MapDelta<Write>, &[u8], &dyn Fn(&mut Register) -> Option<Write>),
    write_each: impl Fn(&mut T, &mut MapDelta<Write>, &dyn Fn(&mut Register) -> Option<Write>),
) -> Option<MapDelta<Write>> {
    let mut delta = MapDelta::default();
    match op {
        MapOp::Set(fields) => fields.iter().for_each(|(field, value)| {
            write(container, &mut delta, &name(*field), &|register| Some(register.set(version, *value)));
        }),
        MapOp::Remove(fields, mark) => fields.iter().for_each(|field| {
            write(container, &mut delta, &name(*field), &|register| register.remove(version, *mark));
        }),
        MapOp::Clear(mark) => write_each(container, &mut delta, &|register| register.remove(version, *mark)),
    }
    (!delta.0.is_empty()).then_some(delta)
}

fn map_model<'a, S: Subject<Op = MapOp> + 'a>(events: &[&'a Event<S>], was_there: impl Fn(&S::Shown, &[u8]) -> bool) -> Shown {
    let field_of = |field: u8| {
        let writes: Vec<_> = events
            .iter()
            .filter_map(|event| Some((event, event.op.leaves(field, was_there(&event.shown, &name(field)))?)))
            .collect();
        let is_replaced = |version| writes.iter().any(|(event, _)| event.observed.covers(version));
        let live = writes.iter().filter(|(event, _)| !is_replaced(event.version));
        let value = live.filter_map(|(event, value)| Some((event.version, (*value)?))).max()?.1;
        Some((name(field), value))
    };
    (0..12).filter_map(field_of).collect()
}

fn map_ops() -> impl Strategy<Value = MapOp> {
    prop_oneof![
        6 => proptest::collection::vec((0..12_u8, 0..14_u64), 1..8).prop_map(MapOp::Set),
        3 => (proptest::collection::vec(0..12_u8, 1..8), any::<bool>()).prop_map(|(fields, mark)| MapOp::Remove(fields, mark)),
        1 => any::<bool>().prop_map(MapOp::Clear),
    ]
}

struct Maps;

impl Subject for Maps {
    type State = Map<Register>;
    type Op = MapOp;
    type Shown = Shown;

    fn write(map: &mut Map<Register>, op: &MapOp, version: Version) -> Option<MapDelta<Write>> {
        write_map(map, op, version, |map, delta, field, write| map.write(delta, field, write), |map, delta, write| map.write_each(delta, write))
    }

    fn shown(map: &Map<Register>) -> Shown {
        let fields: Shown = map.iter().map(|(field, register)| (field.to_vec(), register.value().unwrap())).collect();
        assert_eq!(fields.len(), map.len());
        assert!((0..12).all(|field| map.get(&name(field)).and_then(Register::value) == fields.get(&name(field)).copied()));
        fields
    }
}

struct SortedSets;

impl Subject for SortedSets {
    type State = Sorted<Register>;
    type Op = MapOp;
    type Shown = Vec<(Vec<u8>, u64)>;

    fn write(sorted: &mut Sorted<Register>, op: &MapOp, version: Version) -> Option<MapDelta<Write>> {
        let write_each = |sorted: &mut Sorted<Register>, delta: &mut _, write: &dyn Fn(&mut Register) -> Option<Write>| sorted.write_each(delta, write);
        write_map(sorted, op, version, |sorted, delta, member, write| sorted.write(delta, member, write), write_each)
    }

    fn shown(sorted: &Sorted<Register>) -> Self::Shown {
        let shown = |(member, register): (&[u8], &Register)| (member.to_vec(), register.value().unwrap());
        let members: Vec<_> = sorted.range(0..sorted.len()).map(shown).collect();
        let mut backwards: Vec<_> = sorted.range(0..usize::MAX).rev().map(shown).collect();
        backwards.reverse();
        assert_eq!((&backwards, sorted.members().len()), (&members, members.len()));
        for (rank, (member, value)) in members.iter().enumerate() {
            assert_eq!((sorted.rank(member), sorted.get(member).and_then(Register::value)), (Some(rank), Some(*value)));
        }
        assert_ranges(sorted, &members);
        members
    }
}

/// The score by which a value is ranked.
fn ranked_by(value: u64) -> f64 {
    if score(value).is_nan() { 0.0 } else { score(value) }
}

fn assert_ranges(sorted: &Sorted<Register>, members: &[(Vec<u8>, u64)]) {
    let bounds = |value: u64| [Bound::Unbounded, Bound::Included(ranked_by(value)), Bound::Excluded(ranked_by(value))];
    for (low, high) in (0..6).flat_map(bounds).flat_map(|low| (0..6).flat_map(bounds).map(move |high| (low, high))) {
        let within = |score: f64| {
            let above = matches!(low, Bound::Unbounded) || matches!(low, Bound::Included(low) if score >= low) || matches!(low, Bound::Excluded(low) if score > low);
            above && (matches!(high, Bound::Unbounded) || matches!(high, Bound::Included(high) if score <= high) || matches!(high, Bound::Excluded(high) if score < high))
        };
        let expected: Vec<_> = members.iter().filter(|(_, value)| within(ranked_by(*value))).map(|(member, _)| &**member).collect();
        let found: Vec<_> = sorted.range(sorted.ranks_by_score(low, high)).map(|(member, _)| member).collect();
        assert_eq!(found, expected, "{low:?} {high:?}");
    }
}

fn sorted_model(events: &[&Event<SortedSets>]) -> Vec<(Vec<u8>, u64)> {
    let members = map_model(events, |shown, member| shown.iter().any(|(held, _)| *held == member));
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by(|(one, value), (other, against)| ranked_by(*value).partial_cmp(&ranked_by(*against)).unwrap().then(one.cmp(other)));
    members
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sets_converge_and_add_wins(steps in prop_oneof![steps(3, set_ops(), 50), steps(4, set_ops(), 50)]) {
        run::<Sets>(4, &steps, set_model);
    }

    #[test]
    fn maps_converge_and_update_wins(steps in prop_oneof![steps(3, map_ops(), 50), steps(4, map_ops(), 50)]) {
        run::<Maps>(4, &steps, |events| map_model(events, |shown, field| shown.contains_key(field)));
    }

    #[test]
    fn sorted_sets_converge_and_are_in_order(steps in prop_oneof![steps(3, map_ops(), 30), steps(4, map_ops(), 30)]) {
        run::<SortedSets>(4, &steps, sorted_model);
    }

    #[test]
    fn members_of_equal_scores_are_found_by_their_bytes(members in proptest::collection::btree_set(proptest::collection::vec(0..3_u8, 0..4), 0..300), low in proptest::collection::vec(0..4_u8, 0..4), high in proptest::collection::vec(0..4_u8, 0..4)) {
        let (mut sorted, mut delta) = (Sorted::<Register>::default(), MapDelta::default());
        for (number, member) in (1..).zip(&members) {
            sorted.write(&mut delta, member, |register| register.set(Version::from_number(number), 2));
        }
        let found = |low, high| sorted.range(sorted.ranks_by_member(low, high)).map(|(member, _)| member.to_vec()).collect::<Vec<_>>();
        let low = low.min(high.clone());
        prop_assert!(found(Bound::Included(&low), Bound::Included(&high)).iter().eq(members.range(low.clone()..=high.clone())));
        prop_assert!(found(Bound::Included(&low), Bound::Excluded(&high)).iter().eq(members.range(low.clone()..high.clone())));
        prop_assert!(found(Bound::Excluded(&low), Bound::Unbounded).iter().eq(members.range((Bound::Excluded(low.clone()), Bound::Unbounded))));
        prop_assert!(found(Bound::Unbounded, Bound::Excluded(&high)).iter().eq(members.range(..high.clone())));
    }
}
