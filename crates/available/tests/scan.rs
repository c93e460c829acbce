//! Scans while keys come and go, and parts of the table split.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use steadfast_available::{Keyspace, Lifetime, Until};
use steadfast_crdt::Actor;
use steadfast_types::Rng;

fn name(key: u32) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_scan_gives_every_key_that_is_there_throughout_once(
        before in 0..3_000_u32,
        count in 1..200_usize,
        steps in proptest::collection::vec((any::<bool>(), 0..6_000_u32, 0..400_u32), 1..40),
    ) {
        let mut keys = Keyspace::new(Actor::default());
        keys.set_now(1_800_000_000_000);
        let put = |keys: &mut Keyspace, key: u32| keys.set(&name(key), b"value", Lifetime::Until(Until::Ever)).unwrap();
        (0..before).for_each(|key| put(&mut keys, key));
        let (mut throughout, mut given) = ((0..before).map(name).collect::<BTreeSet<_>>(), BTreeMap::<Vec<u8>, u32>::new());
        let mut ever = throughout.clone();
        let (mut cursor, mut steps) = (0, steps.into_iter());
        loop {
            let (next, step) = keys.scan(cursor, count);
            step.iter().for_each(|key| *given.entry(key.to_vec()).or_default() += 1);
            cursor = next;
            if cursor == 0 {
                break;
            }
            if let Some((adds, first, many)) = steps.next() {
                for key in first..first + many {
                    if adds {
                        put(&mut keys, key);
                        ever.insert(name(key));
                    } else {
                        keys.delete(&name(key)).unwrap();
                        throughout.remove(&name(key));
                    }
                }
            }
        }
        for key in &throughout {
            prop_assert_eq!(given.get(key), Some(&1));
        }
        // One that was taken out and put in again lies where it was.
        prop_assert!(given.iter().all(|(key, times)| *times == 1 && ever.contains(key)));
    }

    #[test]
    fn any_key_may_be_chosen(count in 1..600_usize, seed: u64) {
        let mut keys = Keyspace::new(Actor::default());
        prop_assert_eq!(keys.random_key(&mut Rng::with_seed(seed)), None);
        (0..count).for_each(|key| keys.set(&name(key as u32), b"", Lifetime::Until(Until::Ever)).unwrap());
        let mut rng = Rng::with_seed(seed);
        let mut chosen = BTreeMap::<Vec<u8>, usize>::new();
        for _ in 0..count * 40 {
            *chosen.entry(keys.random_key(&mut rng).unwrap().to_vec()).or_default() += 1;
        }
        prop_assert_eq!(chosen.len(), count);
        prop_assert!(chosen.values().all(|times| *times < 160), "{:?}", chosen.values().max());
    }
}
