//! Registers under faults: whatever clients were answered happened one after the other, and each change once.

#[allow(unreachable_pub, reason = "a module of a test")]
mod world;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use world::history::{Operation, is_linearizable};
use world::{Faults, World};

/// A run: random calls among random happenings, then peace.
fn run(seed: u64, faults: Faults, calls: u8) -> World {
    let mut world = World::new(seed, faults);
    for number in 0..calls {
        let operation = match world.rng.u8(0..10) {
            0..=2 => Operation::Read,
            3..=5 => Operation::Append(number),
            6..=7 => Operation::SetIfAbsent(number),
            _ => Operation::Delete,
        };
        world.call(operation);
        for _ in 0..world.rng.usize(0..60) {
            world.happen();
        }
    }
    world.heal();
    world
}

fn faults() -> impl Strategy<Value = Faults> {
    // Removals beside everything else are not sound yet, see `removal`.
    (0..3_u8, 0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(loss, repetition, crashes, moves)| Faults {
        loss: f64::from(loss) * 0.1,
        repetition: f64::from(repetition) * 0.1,
        crashes,
        moves,
        removals: false,
    })
}

proptest! {
    // Always the same worlds: among others a violation is known, see the crate's page. With another seed it is looked for.
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn calls_happen_one_after_the_other_and_each_once(seed in any::<u64>(), faults in faults(), calls in 4..20_u8) {
        let world = run(seed, faults, calls);
        prop_assert!(is_linearizable(&world.calls), "{:#?}", world.calls);
    }

    #[test]
    fn deleted_registers_leave_nothing_behind(seed in any::<u64>(), crashes in any::<bool>()) {
        let mut world = run(seed, Faults { loss: 0.1, repetition: 0.1, crashes, moves: false, removals: false }, 8);
        world.call(Operation::Delete);
        world.heal();
        prop_assert_eq!(world.heal(), None);
        world.remove();
        prop_assert_eq!(world.holders(), 0);
        // What comes after is as on a key that never was.
        world.call(Operation::SetIfAbsent(99));
        world.heal();
        let left = world.heal();
        prop_assert_eq!(left.as_deref(), Some(&[99][..]));
        prop_assert!(is_linearizable(&world.calls), "{:#?}", world.calls);
    }
}
