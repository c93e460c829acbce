//! Strong keys under faults: whatever clients were answered happened one after the other and each change once, and in the end everything ends.

#[allow(unreachable_pub, reason = "a module of a test")]
#[path = "../../register/tests/world/history.rs"]
mod history;
#[allow(unreachable_pub, reason = "a module of a test")]
#[path = "registers/node.rs"]
mod node;
#[allow(unreachable_pub, reason = "a module of a test")]
#[path = "registers/world.rs"]
mod world;

use std::panic::catch_unwind;

use proptest::prelude::*;
use world::{Faults, Sums, World};

fn faults() -> impl Strategy<Value = Faults> {
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0..3_u8, 0..3_u8, switches).prop_map(|(loss, repetition, (crashes, partitions, moves, slow_disks))| Faults {
        loss: f64::from(loss) * 0.1,
        repetition: f64::from(repetition) * 0.1,
        crashes,
        partitions,
        moves,
        slow_disks,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_happen_one_after_the_other_and_each_once_and_all_ends(seed in any::<u64>(), faults in faults(), calls in 4..20_usize) {
        let world = World::run(seed, faults, calls);
        prop_assert!(world.is_explained(), "{:#?}", world.calls);
    }
}

/// Many more worlds, as `cargo test --release -p steadfast-replica -- --ignored`: those of the seeds from `FROM` on, `WORLDS` of each kind.
#[test]
#[ignore = "takes minutes"]
fn many_worlds() {
    let number = |name, otherwise| std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise);
    let (from, worlds): (u64, u64) = (number("FROM", 0), number("WORLDS", 100_000));
    let mut failed = Vec::new();
    for (kind, switched) in [
        ("all", (|seed| Faults::all(seed)) as fn(u64) -> Faults),
        ("no moves", |seed| Faults { moves: false, ..Faults::all(seed) }),
        ("no crashes", |seed| Faults { crashes: false, ..Faults::all(seed) }),
        ("messages", |seed| Faults { moves: false, crashes: false, ..Faults::all(seed) }),
    ] {
        if std::env::var("KIND").is_ok_and(|only| only != kind) {
            continue;
        }
        let (mut sums, before) = (Sums::default(), failed.len());
        for seed in from..from + worlds {
            let explained = catch_unwind(|| {
                let world = World::run(seed, switched(seed), 6 + (seed % 14) as usize);
                (world.is_explained(), world.sums)
            });
            let (is_explained, of_world) = explained.unwrap_or_default();
            sums.add(of_world);
            if !is_explained {
                failed.push((kind, seed));
            }
        }
        println!("{kind}: {} of {worlds} not explained, {sums:?}", failed.len() - before);
    }
    assert!(failed.is_empty(), "{failed:?}");
}
