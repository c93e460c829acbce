//! What containers take: on the wire, also of bytes that nobody wrote, and in memory.

use bytes::Bytes;
use proptest::prelude::*;
use steadfast_crdt::{Cell, Dots, Element, Lattice, List, Map, MapDelta, Score, Set, SetDelta, Sorted, Text, Version};
use steadfast_types::wire::Wire;

fn version(number: u64) -> Version {
    Version::from_number((1 << 58) + (number << 12))
}

#[derive(Default)]
struct All {
    set: Set,
    map: Map<Cell<Text>>,
    sorted: Sorted<Cell<Score>>,
    list: List<Cell<Text>>,
}

type TextDelta = MapDelta<<Cell<Text> as Lattice>::Delta>;
type ScoreDelta = MapDelta<<Cell<Score> as Lattice>::Delta>;

/// One of each, with so many elements, and the deltas of the commands that made them.
fn all(count: u64) -> (All, SetDelta, TextDelta, ScoreDelta) {
    let (mut all, mut set, mut map, mut sorted) = (All::default(), SetDelta::new(version(1)), MapDelta::default(), MapDelta::default());
    for number in 0..count {
        // Ten bytes.
        let name = format!("elem{number:06}").into_bytes();
        all.set.add(&mut set, &name);
        all.map.write(&mut map, &name, |cell| cell.set(version(1), Text::from(&name[..])));
        all.sorted.write(&mut sorted, &name, |cell| cell.set(version(1), Score::new((number % 100) as f64).unwrap()));
        all.list.insert(
            &mut map,
            version(1 + number),
            usize::MAX,
            [|cell: &mut Cell<Text>| cell.set(version(1 + number), Text::from(&name[..]))],
        );
    }
    (all, set, map, sorted)
}

/// Whether bytes are taken for a value; if they are, it is not much larger than they.
fn read<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8], held: impl Fn(&T) -> usize) -> bool {
    let Ok(value) = T::from_wire(Bytes::copy_from_slice(bytes)) else { return false };
    assert!(held(&value) <= 128 * bytes.len() + 512, "{} of {}", held(&value), bytes.len());
    let again = T::from_wire(value.to_wire().into());
    assert_eq!(again.as_ref(), Ok(&value));
    true
}

fn read_any(bytes: &[u8]) {
    read::<Dots>(bytes, Element::heap_bytes);
    read::<Set>(bytes, Set::heap_bytes);
    read::<Map<Dots>>(bytes, Map::heap_bytes);
    read::<Map<Cell<Text>>>(bytes, Map::heap_bytes);
    read::<Sorted<Cell<Score>>>(bytes, Sorted::heap_bytes);
    read::<List<Dots>>(bytes, List::heap_bytes);
    read::<List<Cell<Text>>>(bytes, List::heap_bytes);
    read::<SetDelta>(bytes, |delta| delta.changes.capacity());
    read::<MapDelta<<Dots as Lattice>::Delta>>(bytes, |delta| delta.0.capacity());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_nobody_wrote_make_no_trouble(bytes in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..60)) {
        read_any(&bytes);
        if let Ok(delta) = MapDelta::from_wire(bytes.clone().into()) {
            let mut list = List::<Dots>::default();
            list.apply(&delta);
            let mut map = Map::<Dots>::default();
            map.apply(&delta);
            // Also next to places that nobody makes.
            for index in (0..=list.len()).rev() {
                let length = list.len();
                let write = |dots: &mut Dots| steadfast_crdt::dots::DotsDelta { gone: dots.write(version(1)), new: Some(version(1)) };
                list.insert(&mut MapDelta::default(), version(index as u64), index, [write]);
                prop_assert_eq!(list.len(), length + 1);
            }
        }
    }

    #[test]
    fn bytes_that_were_changed_make_no_trouble(count in 0..12_u64, kind in 0..6, at in any::<usize>(), to in any::<u8>(), cut in any::<bool>()) {
        let (all, set, map, sorted) = all(count);
        let mut bytes = match kind {
            0 => all.set.to_wire(),
            1 => all.map.to_wire(),
            2 => all.sorted.to_wire(),
            3 => all.list.to_wire(),
            4 => set.to_wire(),
            _ => map.to_wire(),
        };
        prop_assert!(read::<ScoreDelta>(&sorted.to_wire(), |_| 0));
        let at = at % bytes.len();
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = to;
        }
        read_any(&bytes);
    }
}

#[test]
fn values_survive_the_wire() {
    let (all, ..) = all(200);
    assert_eq!(Set::from_wire(all.set.to_wire().into()), Ok(all.set));
    assert_eq!(Map::from_wire(all.map.to_wire().into()), Ok(all.map));
    assert_eq!(Sorted::from_wire(all.sorted.to_wire().into()), Ok(all.sorted));
    assert_eq!(List::from_wire(all.list.to_wire().into()), Ok(all.list));
}

#[test]
fn an_element_takes_few_bytes() {
    let figures = |count: u64| {
        let (all, ..) = all(count);
        let bytes = [all.set.heap_bytes(), all.map.heap_bytes(), all.sorted.heap_bytes(), all.list.heap_bytes()];
        println!("{count}: set, map, sorted set and list take {:?} bytes an element", bytes.map(|bytes| bytes as u64 / count));
        bytes
    };
    let [set, ..] = figures(1);
    assert!(set <= 40, "{set}");
    figures(5);
    // Wherever it is between one growth and the next.
    let sets: Vec<usize> = (0..10).map(|step| 50_000 + step * 5_000).map(|count| figures(count)[0] / count as usize).collect();
    assert!(sets.iter().all(|bytes| *bytes < 72) && sets.iter().sum::<usize>() / sets.len() < 60, "{sets:?}");
}
