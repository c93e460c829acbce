//! Bytes that nobody honest sent: they are refused, or are a state like any other, and hold no more memory than they are worth.

use proptest::prelude::*;
use steadfast_crdt::cell::{Delta, Sketched, Value};
use steadfast_crdt::{Cell, Lattice, LongDouble, Score, Sketch, Text, Version, VersionVector};
use steadfast_types::wire::Wire;

/// Bytes in memory for one on the wire, at most; and for the state itself.
const BYTES_PER_BYTE: usize = 64;
const BYTES: usize = 1024;

fn version(time: u64, actor: u64) -> Version {
    Version::from_number(time << 12 | actor)
}

/// States of all forms: values, removals, runs and cuts of several actors.
fn texts() -> Vec<Cell<Text>> {
    let mut states = vec![Cell::default()];
    let (mut state, mut other) = (Cell::<Text>::default(), Cell::<Text>::default());
    for time in 1..8 {
        state.add_int(version(time, time % 3), time as i64);
        states.push(state.clone());
    }
    state.add_float(version(8, 1), &LongDouble::parse(b"0.1").unwrap()).unwrap();
    states.push(state.clone());
    other.set(version(8, 2), b"12"[..].into());
    states.push(other.clone());
    let mut cleared = state.clone();
    cleared.clear(version(9, 4));
    states.push(cleared.clone());
    state.set(version(9, 0), b"value"[..].into());
    states.push(state.clone());
    state.join(&other, &VersionVector::default(), &VersionVector::default());
    state.join(&cleared, &VersionVector::default(), &VersionVector::default());
    states.push(state);
    states
}

fn wires() -> Vec<Vec<u8>> {
    let mut wires = Vec::new();
    for state in texts() {
        wires.push(state.to_wire());
        wires.push(state.clone().set(version(20, 1), b"x"[..].into()).to_wire());
        wires.push(state.clone().add_int(version(20, 1), -1).to_wire());
        wires.extend(state.clone().clear(version(20, 1)).map(|delta| delta.to_wire()));
    }
    let mut sketch = Cell::<Sketched>::default();
    for (time, actor) in [(1, 0), (2, 1), (3, 0)] {
        wires.extend(sketch.add_elements(version(time, actor), [&time.to_le_bytes()[..]]).map(|delta| delta.to_wire()));
        wires.push(sketch.to_wire());
    }
    wires.extend(sketch.clear(version(4, 2)).map(|delta| delta.to_wire()));
    wires.push(sketch.to_wire());
    let mut score = Cell::<Score>::default();
    wires.push(score.set(version(1, 1), Score::new(0.5).unwrap()).to_wire());
    wires.extend(score.add_score(version(2, 1), Score::new(0.25).unwrap()).map(|delta| delta.to_wire()));
    wires.push(score.to_wire());
    wires
}

/// Uses a state that was read as one would a friend's.
fn state<V: Value>(bytes: &[u8], shown: impl Fn(&Cell<V>)) {
    let Ok(mut state) = Cell::<V>::from_wire(bytes.to_vec().into()) else { return };
    assert!(state.heap_bytes() <= BYTES + BYTES_PER_BYTE * bytes.len(), "{} of {}", state.heap_bytes(), bytes.len());
    assert_eq!(Cell::from_wire(state.to_wire().into()).as_ref(), Ok(&state), "it has one form");
    shown(&state);
    let seen: VersionVector = [version(u64::MAX >> 12, 1)].into_iter().collect();
    let mut other = state.clone();
    other.join(&state, &seen, &seen);
    other.collect(&seen);
    shown(&other);
    state.join(&other, &VersionVector::default(), &seen);
    // A write is later than all that its writer has seen.
    if let Some(delta) = state.clear(Version::from_number(u64::MAX)) {
        other.apply(&delta);
        assert!(Delta::<V>::from_wire(delta.to_wire().into()).is_ok());
    }
    shown(&state);
    let mut versions = Vec::new();
    other.versions(&mut versions);
}

fn delta<V: Value>(bytes: &[u8], shown: impl Fn(&Cell<V>)) {
    let Ok(delta) = Delta::<V>::from_wire(bytes.to_vec().into()) else { return };
    assert_eq!(Delta::from_wire(delta.to_wire().into()), Ok(delta.clone()));
    let mut state = Cell::default();
    state.apply(&delta);
    shown(&state);
    state.apply(&delta);
    shown(&state);
}

fn all(bytes: &[u8]) {
    let text = |cell: &Cell<Text>| _ = cell.shown().map(|shown| (shown.text().into_owned(), shown.int(), shown.float()));
    let score = |cell: &Cell<Score>| _ = cell.shown();
    let sketch = |cell: &Cell<Sketched>| _ = cell.sketch().map(|sketch| sketch.count());
    state(bytes, text);
    state(bytes, score);
    state(bytes, sketch);
    delta(bytes, text);
    delta(bytes, score);
    delta(bytes, sketch);
    let _ = (Sketch::from_redis(bytes), LongDouble::parse(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(prop_oneof![0..6_u8, any::<u8>()], 0..80)) {
        all(&bytes);
    }

    #[test]
    fn damaged_states(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![0..8_u8, any::<u8>()]), 0..4),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let wires = wires();
        let mut bytes = which.get(&wires).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        all(&bytes);
    }
}

#[test]
fn a_cell_is_small() {
    assert!(size_of::<Cell<Text>>() <= 32 && size_of::<Cell<Score>>() <= 32);
    let mut counter = Cell::<Text>::default();
    (1..100).for_each(|time| drop(counter.add_int(version(time, 1), i64::from(u32::MAX))));
    assert_eq!(counter.heap_bytes(), 0);
    counter.set(version(100, 1), b"12345"[..].into());
    assert_eq!(counter.heap_bytes(), 5);
}
