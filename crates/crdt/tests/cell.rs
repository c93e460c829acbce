//! Cells on several replicas: what they show is what a model says that knows only the writes and who had seen what.

use std::collections::BTreeMap;

use proptest::prelude::*;
use steadfast_crdt::cell::{Delta, Sketched};
use steadfast_crdt::sketch::Register;
use steadfast_crdt::{Cell, Covers, LongDouble, Score, Sketch, Text, Version};
use steadfast_types::wire::Wire;

mod replicas;

use replicas::{Event, Subject, World, run, steps};

/// The form in which a state is told survives.
fn told<T: Wire + PartialEq + std::fmt::Debug>(state: &T) {
    assert_eq!(Wire::from_wire(state.to_wire().into()).as_ref(), Ok(state));
}

#[derive(Clone, Debug)]
enum Op {
    Set(i64),
    SetText(&'static str),
    Clear,
    Add(i64),
}

impl Op {
    /// Whether it takes the place of all that it had seen.
    fn replaces(&self) -> bool {
        !matches!(self, Op::Add(_))
    }
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (-9..9_i64).prop_map(Op::Set),
        1 => Just(Op::SetText("word")),
        2 => Just(Op::Clear),
        6 => (-9..9_i64).prop_map(Op::Add),
    ]
}

struct Ints;

impl Subject for Ints {
    type State = Cell<Text>;
    type Op = Op;
    type Shown = Option<Vec<u8>>;

    fn write(state: &mut Cell<Text>, op: &Op, version: Version) -> Option<Delta<Text>> {
        match op {
            Op::Set(number) => Some(state.set(version, number.to_string().into_bytes().into())),
            Op::SetText(text) => Some(state.set(version, text.as_bytes().into())),
            Op::Clear => state.clear(version),
            Op::Add(by) => {
                let before = state.int();
                let delta = state.add_int(version, *by);
                assert_eq!(state.int(), before.map(|before| before + by));
                Some(delta)
            }
        }
    }

    fn shown(state: &Cell<Text>) -> Self::Shown {
        told(state);
        assert_eq!(state.is_shown(), state.shown().is_some());
        state.shown().map(|shown| shown.text().into_owned())
    }

    fn collect(state: &mut Cell<Text>, stable: &impl Covers) {
        state.collect(stable);
    }
}

/// The writes that no removal, and no write of a value, has observed.
fn live<'a, S: Subject>(seen: &[&'a Event<S>], replaces: impl Fn(&S::Op) -> bool) -> Vec<&'a Event<S>> {
    let is_observed = |event: &Event<S>| seen.iter().any(|other| replaces(&other.op) && other.observed.covers(event.version));
    seen.iter().filter(|event| !is_observed(event)).copied().collect()
}

/// The last value that nobody has replaced, and all additions that nobody who wrote a value or removed had seen.
fn sum_of_live(seen: &[&Event<Ints>]) -> Option<Vec<u8>> {
    let mut live = live(seen, Op::replaces);
    live.sort_by_key(|event| event.version);
    let base = live.iter().rev().find_map(|event| match event.op {
        Op::Set(number) => Some(number.to_string()),
        Op::SetText(text) => Some(text.into()),
        Op::Clear | Op::Add(_) => None,
    });
    let additions: Vec<i64> = live.iter().filter_map(|event| if let Op::Add(by) = event.op { Some(by) } else { None }).collect();
    if additions.is_empty() {
        return base.map(String::into_bytes);
    }
    match base.as_deref().unwrap_or("0").parse::<i64>() {
        Ok(base) => Some((base + additions.iter().sum::<i64>()).to_string().into_bytes()),
        Err(_) => base.map(String::into_bytes),
    }
}

/// A sketch of a few registers, so that they meet.
struct Sketches;

#[derive(Clone, Debug)]
enum SketchOp {
    Add(Vec<(usize, u8)>),
    Clear,
}

fn sketch_of(ranks: &[(usize, u8)]) -> Sketch {
    ranks.iter().map(|(index, rank)| Register::new(*index, *rank).unwrap()).collect()
}

fn ranks_of(sketch: &Sketch) -> BTreeMap<usize, u8> {
    sketch.registers().map(|register| (register.index(), register.rank())).collect()
}

impl Subject for Sketches {
    type State = Cell<Sketched>;
    type Op = SketchOp;
    type Shown = Option<BTreeMap<usize, u8>>;

    fn write(state: &mut Cell<Sketched>, op: &SketchOp, version: Version) -> Option<Delta<Sketched>> {
        match op {
            SketchOp::Add(ranks) => state.merge_sketch(version, &sketch_of(ranks)),
            SketchOp::Clear => state.clear(version),
        }
    }

    fn shown(state: &Cell<Sketched>) -> Self::Shown {
        told(state);
        state.sketch().map(|sketch| ranks_of(&sketch))
    }

    fn collect(state: &mut Cell<Sketched>, stable: &impl Covers) {
        state.collect(stable);
    }
}

/// Each addition raised what was lower where it was made; what no removal has observed is there.
fn union_of_live(seen: &[&Event<Sketches>]) -> Option<BTreeMap<usize, u8>> {
    let mut shown: Option<BTreeMap<usize, u8>> = None;
    for event in live(seen, |op| matches!(op, SketchOp::Clear)) {
        let SketchOp::Add(ranks) = &event.op else { continue };
        let before = |index: usize| event.shown.as_ref().and_then(|ranks| ranks.get(&index).copied()).unwrap_or_default();
        let raised: Vec<_> = ranks.iter().filter(|(index, rank)| *rank > before(*index)).collect();
        if raised.is_empty() && event.shown.is_some() {
            continue;
        }
        let shown = shown.get_or_insert_default();
        for (index, rank) in raised {
            let held = shown.entry(*index).or_default();
            *held = rank.max(held).to_owned();
        }
    }
    shown
}

fn sketch_ops() -> impl Strategy<Value = SketchOp> {
    prop_oneof![
        3 => proptest::collection::vec((0..3_usize, 1..5_u8), 0..3).prop_map(SketchOp::Add),
        1 => Just(SketchOp::Clear),
    ]
}

/// Real numbers as text.
struct Floats;

#[derive(Clone, Debug)]
enum FloatOp {
    Set(&'static str),
    Clear,
    AddInt(i64),
    Add(&'static str),
}

impl Subject for Floats {
    type State = Cell<Text>;
    type Op = FloatOp;
    type Shown = Option<Vec<u8>>;

    fn write(state: &mut Cell<Text>, op: &FloatOp, version: Version) -> Option<Delta<Text>> {
        let text = |state: &Cell<Text>| state.shown().map_or("0".into(), |shown| String::from_utf8(shown.text().into_owned()).unwrap());
        let before = text(state);
        match op {
            FloatOp::Set(text) => Some(state.set(version, text.as_bytes().into())),
            FloatOp::Clear => state.clear(version),
            FloatOp::AddInt(by) => {
                let delta = state.int()?.checked_add(*by).map(|_| state.add_int(version, *by))?;
                assert_eq!(text(state), (before.parse::<i64>().unwrap() + by).to_string());
                Some(delta)
            }
            FloatOp::Add(by) => {
                let by = LongDouble::parse(by.as_bytes()).unwrap();
                let delta = state.add_float(version, &by).ok();
                if delta.is_some() {
                    let after = LongDouble::parse(before.as_bytes()).unwrap().plus(&by).unwrap();
                    assert_eq!(text(state), after.to_string(), "{before} and {by}");
                }
                delta
            }
        }
    }

    fn shown(state: &Cell<Text>) -> Self::Shown {
        Ints::shown(state)
    }

    fn collect(state: &mut Cell<Text>, stable: &impl Covers) {
        state.collect(stable);
    }
}

fn float_ops() -> impl Strategy<Value = FloatOp> {
    let texts =
        || prop::sample::select(vec!["0.1", "3.0", "-1e25", "1e25", "0.3", "1e-17", "12345678901234567890.5", "-7", "4e4900", "-4e4900"]);
    prop_oneof![
        1 => texts().prop_map(FloatOp::Set),
        1 => Just(FloatOp::Set("9223372036854775807")),
        1 => Just(FloatOp::Clear),
        2 => (-9..9_i64).prop_map(FloatOp::AddInt),
        5 => texts().prop_map(FloatOp::Add),
    ]
}

/// Scores.
struct Scores;

#[derive(Clone, Debug)]
enum ScoreOp {
    Set(f64),
    Clear,
    Add(f64),
}

impl Subject for Scores {
    type State = Cell<Score>;
    type Op = ScoreOp;
    type Shown = Option<f64>;

    fn write(state: &mut Cell<Score>, op: &ScoreOp, version: Version) -> Option<Delta<Score>> {
        match op {
            ScoreOp::Set(score) => Some(state.set(version, Score::new(*score).unwrap())),
            ScoreOp::Clear => state.clear(version),
            ScoreOp::Add(by) => {
                let before = state.shown().unwrap_or_default().get();
                let delta = state.add_score(version, Score::new(*by).unwrap()).ok();
                assert_eq!(delta.is_none(), (before + by).is_nan());
                assert_eq!(state.shown().map_or(before, Score::get), if delta.is_some() { before + by } else { before });
                delta
            }
        }
    }

    fn shown(state: &Cell<Score>) -> Self::Shown {
        told(state);
        state.shown().map(Score::get)
    }

    fn collect(state: &mut Cell<Score>, stable: &impl Covers) {
        state.collect(stable);
    }
}

fn score_ops() -> impl Strategy<Value = ScoreOp> {
    let scores =
        || prop::sample::select(vec![0.1, 3.0, -1e25, 1e25, 1e308, -1e308, 0.3, 5e-324, -7.0, f64::INFINITY, f64::NEG_INFINITY, -0.0]);
    prop_oneof![1 => scores().prop_map(ScoreOp::Set), 1 => Just(ScoreOp::Clear), 4 => scores().prop_map(ScoreOp::Add)]
}

/// What a replica shows that has heard of the same writes, one by one and in whichever order, and has never forgotten anything.
fn replayed<S: Subject<State: Default>>(seen: &[&Event<S>]) -> S::Shown {
    let mut state = S::State::default();
    seen.iter().filter_map(|event| event.delta.as_ref()).for_each(|delta| steadfast_crdt::Lattice::apply(&mut state, delta));
    S::shown(&state)
}

proptest! {
    #[test]
    fn a_text_is_the_last_value_and_the_additions_that_none_observed(steps in steps(3, ops(), 60)) {
        run::<Ints>(3, &steps, sum_of_live);
    }

    #[test]
    fn four_replicas_do_not_differ_from_three(steps in steps(4, ops(), 60)) {
        run::<Ints>(4, &steps, sum_of_live);
    }

    #[test]
    fn a_sketch_has_the_registers_that_no_removal_observed(steps in steps(3, sketch_ops(), 60)) {
        run::<Sketches>(3, &steps, union_of_live);
    }

    #[test]
    fn real_sums_are_exact_wherever_they_are_made(steps in steps(3, float_ops(), 40)) {
        run::<Floats>(3, &steps, replayed);
    }

    #[test]
    fn scores_are_sums_of_doubles(steps in steps(3, score_ops(), 40)) {
        run::<Scores>(3, &steps, replayed);
    }

    #[test]
    fn what_nobody_needs_is_forgotten(steps in steps(3, ops(), 40)) {
        let mut world = World::<Ints>::new(3);
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        world.write(0, &Op::Clear, 0);
        world.settle();
        for replica in &world.replicas {
            prop_assert_eq!(&replica.state, &Cell::default());
        }
    }
}
