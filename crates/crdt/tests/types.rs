//! Counters, registers and flags on several replicas: each by the one sentence that is its merge rule.

use proptest::prelude::*;
use steadfast_crdt::cell::{Delta, Plain};
use steadfast_crdt::counter::Counted;
use steadfast_crdt::{Covers, Flag, GCounter, LwwRegister, MvRegister, PnCounter, Version};
use steadfast_types::wire::Wire;

mod replicas;

use replicas::{Event, Subject, run, steps};

/// `None` removes.
type Op = Option<u8>;

fn ops() -> impl Strategy<Value = Op> {
    proptest::option::weighted(0.7, 0..200_u8)
}

fn told<T: Wire + PartialEq + std::fmt::Debug>(state: &T) {
    assert_eq!(Wire::from_wire(state.to_wire().into()).as_ref(), Ok(state));
}

/// The writes that no removal has observed, and of writes that replace each other those that no write has.
fn live<S: Subject<Op = Op>>(seen: &[&Event<S>], replaces: bool) -> Vec<u8> {
    let is_observed = |event: &Event<S>| seen.iter().any(|other| (replaces || other.op.is_none()) && other.observed.covers(event.version));
    let mut live: Vec<_> = seen.iter().filter(|event| !is_observed(event)).collect();
    live.sort_by_key(|event| event.version);
    live.into_iter().filter_map(|event| event.op).collect()
}

struct Grows;

impl Subject for Grows {
    type State = GCounter;
    type Op = Op;
    type Shown = u128;

    fn write(state: &mut GCounter, op: &Op, version: Version) -> Option<Delta<Counted>> {
        Some(state.add(version, op.unwrap_or_default().into()))
    }

    fn shown(state: &GCounter) -> u128 {
        told(state);
        state.value()
    }
}

struct Counts;

impl Subject for Counts {
    type State = PnCounter;
    type Op = Op;
    type Shown = i128;

    fn write(state: &mut PnCounter, op: &Op, version: Version) -> Option<Delta<Counted>> {
        match op {
            Some(by) => Some(state.add(version, i64::from(*by) - 100)),
            None => state.reset(version),
        }
    }

    fn shown(state: &PnCounter) -> i128 {
        told(state);
        state.value()
    }

    fn collect(state: &mut PnCounter, stable: &impl Covers) {
        state.collect(stable);
    }
}

struct LastWriter;

impl Subject for LastWriter {
    type State = LwwRegister<u8>;
    type Op = Op;
    type Shown = Option<u8>;

    fn write(state: &mut LwwRegister<u8>, op: &Op, version: Version) -> Option<Delta<Plain<u8>>> {
        match op {
            Some(value) => Some(state.set(version, *value)),
            None => state.clear(version),
        }
    }

    fn shown(state: &LwwRegister<u8>) -> Option<u8> {
        told(state);
        state.get().copied()
    }
}

struct AllWriters;

impl Subject for AllWriters {
    type State = MvRegister<u8>;
    type Op = Op;
    type Shown = Vec<u8>;

    fn write(state: &mut MvRegister<u8>, op: &Op, version: Version) -> Option<Delta<Plain<u8>>> {
        match op {
            Some(value) => Some(state.set(version, *value)),
            None => state.clear(version),
        }
    }

    fn shown(state: &MvRegister<u8>) -> Vec<u8> {
        told(state);
        state.values().copied().collect()
    }
}

struct Flags;

impl Subject for Flags {
    type State = Flag;
    type Op = Op;
    type Shown = bool;

    fn write(state: &mut Flag, op: &Op, version: Version) -> Option<Delta<Plain<bool>>> {
        match op {
            Some(_) => Some(state.enable(version)),
            None => state.disable(version),
        }
    }

    fn shown(state: &Flag) -> bool {
        told(state);
        state.is_on()
    }
}

proptest! {
    #[test]
    fn a_counter_that_only_grows_is_all_that_was_added(steps in steps(4, ops(), 50)) {
        run::<Grows>(4, &steps, |seen| seen.iter().map(|event| u128::from(event.op.unwrap_or_default())).sum());
    }

    #[test]
    fn a_counter_is_what_was_added_and_no_reset_observed(steps in steps(3, ops(), 50)) {
        run::<Counts>(3, &steps, |seen| live(seen, false).iter().map(|by| i128::from(*by) - 100).sum());
    }

    #[test]
    fn a_register_has_the_last_of_the_writes_that_none_observed(steps in steps(3, ops(), 50)) {
        run::<LastWriter>(3, &steps, |seen| live(seen, true).pop());
    }

    #[test]
    fn a_register_of_many_has_all_writes_that_none_observed(steps in steps(3, ops(), 50)) {
        run::<AllWriters>(3, &steps, |seen| live(seen, true));
    }

    #[test]
    fn a_flag_is_on_if_an_enabling_is_left_that_none_observed(steps in steps(3, ops(), 50)) {
        run::<Flags>(3, &steps, |seen| !live(seen, true).is_empty());
    }
}
