//! Registers under faults: whatever clients were answered happened one after the other, and each change once.

#[allow(unreachable_pub, reason = "a module of a test")]
mod world;

use std::panic::catch_unwind;

use proptest::prelude::*;
use world::history::Operation;
use world::{Faults, World};

fn faults() -> impl Strategy<Value = Faults> {
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0..3_u8, 0..3_u8, switches).prop_map(|(loss, repetition, (crashes, moves, removals, slow_disks))| Faults {
        loss: f64::from(loss) * 0.1,
        repetition: f64::from(repetition) * 0.1,
        crashes,
        moves,
        removals,
        slow_disks,
    })
}

/// Deletions under faults, then a removal in peace, then a new beginning.
fn removed(seed: u64, faults: Faults) -> World {
    let mut world = World::run(seed, faults, 8);
    world.call(0, Operation::Delete);
    world.heal(0);
    assert_eq!(world.heal(0), None);
    world.remove();
    assert_eq!(world.holders(0), 0);
    // What comes after is as on a key that never was.
    world.call(0, Operation::SetIfAbsent(99));
    world.heal(0);
    assert_eq!(world.heal(0).as_deref(), Some(&[99][..]));
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_happen_one_after_the_other_and_each_once(seed in any::<u64>(), faults in faults(), calls in 4..20_u8) {
        let world = World::run(seed, faults, calls);
        prop_assert!(world.is_explained(), "{:#?}", world.calls);
    }

    #[test]
    fn deleted_registers_leave_nothing_behind(seed in any::<u64>(), faults in faults()) {
        let world = removed(seed, Faults { moves: false, ..faults });
        prop_assert!(world.is_explained(), "{:#?}", world.calls);
    }
}

/// Many more worlds, as `cargo test --release -p steadfast-register -- --ignored`: those of the seeds from `FROM` on, `WORLDS` of each kind.
#[test]
#[ignore = "takes minutes"]
fn many_worlds() {
    let number = |name, otherwise| std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise);
    let (from, worlds): (u64, u64) = (number("FROM", 0), number("WORLDS", 100_000));
    let mut failed = Vec::new();
    for (kind, switched) in [
        ("all", (|seed| Faults::all(seed)) as fn(u64) -> Faults),
        ("no moves", |seed| Faults { moves: false, ..Faults::all(seed) }),
        ("no removals", |seed| Faults { removals: false, ..Faults::all(seed) }),
        ("crashes", |seed| Faults { moves: false, removals: false, ..Faults::all(seed) }),
        ("messages", |seed| Faults { moves: false, removals: false, crashes: false, ..Faults::all(seed) }),
    ] {
        if std::env::var("KIND").is_ok_and(|only| only != kind) {
            continue;
        }
        let (mut removals, mut epochs, before) = (0, 0, failed.len());
        for seed in from..from + worlds {
            let explained = catch_unwind(|| {
                let world = World::run(seed, switched(seed), 6 + (seed % 14) as u8);
                (world.is_explained(), world.removed, world.epoch())
            });
            let (is_explained, removed, epoch) = explained.unwrap_or_default();
            (removals, epochs) = (removals + removed, epochs + epoch);
            if !is_explained {
                failed.push((kind, seed));
            }
        }
        println!("{kind}: {} of {worlds} not explained, {removals} registers removed, {epochs} epochs", failed.len() - before);
    }
    assert!(failed.is_empty(), "{failed:?}");
}
