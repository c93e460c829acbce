//! The table beside an ordered map.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use proptest::prelude::*;
use steadfast_crdt::Version;

use super::*;
use crate::plain::Plain;

fn entry(key: &[u8], version: u64) -> Entry {
    Entry::Plain(Plain::new(Version::from_number(version), key, b"value"))
}

/// Puts keys in at hashes given with them.
fn filled(keys: impl IntoIterator<Item = (Hash, String)>) -> (Table, BTreeSet<(Hash, String)>) {
    let (mut table, mut model) = (Table::default(), BTreeSet::new());
    for (hash, key) in keys {
        if let Err(at) = table.find(hash, key.as_bytes()) {
            table.insert(at, hash, entry(key.as_bytes(), 7));
            assert!(model.insert((hash, key)));
        }
    }
    (table, model)
}

fn check(table: &mut Table, model: &BTreeSet<(Hash, String)>, ranges: &[(Hash, Hash)]) {
    assert_eq!(table.len(), model.len());
    for (from, to) in ranges.iter().copied().chain([(0, Hash::MAX)]) {
        let held = table.hot(from, to).map(|(hash, entry)| (hash, entry.key()));
        assert!(held.eq(model.iter().filter(|(hash, _)| from <= *hash && *hash <= to).map(|(hash, key)| (*hash, key.as_bytes()))));
    }
    for (number, whole) in table.parts_of(0, Hash::MAX).collect::<Vec<_>>() {
        assert!(whole);
        let part = table.part_number_mut(number);
        let sum = part.sum_up();
        part.lose_digest();
        assert_eq!(part.sum_up(), sum);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_keys_are_found_in_order_however_the_table_splits(
        count in 0..3_000_u32,
        shift in 0..32_u32,
        gone in proptest::collection::vec(any::<proptest::sample::Index>(), 0..200),
        ranges in proptest::collection::vec((any::<Hash>(), any::<Hash>()), 0..4),
    ) {
        // A large shift leaves few hashes for many keys.
        let (mut table, mut model) = filled((0..count).map(|n| (hash_of(&n.to_be_bytes()) >> shift << (shift / 2), format!("{n}"))));
        prop_assert!(table.directory.len() <= SPREAD * 2 * table.parts.len());
        for index in gone {
            if let Some((hash, key)) = (!model.is_empty()).then(|| model.iter().nth(index.index(model.len())).unwrap().clone()) {
                let at = table.find(hash, key.as_bytes()).unwrap();
                let removed = table.remove(at);
                prop_assert_eq!(removed.key(), key.as_bytes());
                prop_assert!(table.get(hash, key.as_bytes()).is_none());
                model.remove(&(hash, key));
            }
        }
        for (hash, key) in &model {
            prop_assert_eq!(table.get(*hash, key.as_bytes()).map(Entry::key), Some(key.as_bytes()));
        }
        check(&mut table, &model, &ranges);
    }

    #[test]
    fn digests_follow_what_is_written(writes in proptest::collection::vec((0..40_u8, any::<u64>()), 1..200)) {
        let (mut table, mut last) = (Table::default(), BTreeMap::new());
        for (key, version) in writes {
            let hash = hash_of(&[key]);
            match table.find(hash, &[key]) {
                Err(at) => table.insert(at, hash, entry(&[key], version)),
                Ok(at) => {
                    let (part, index) = table.change(at);
                    part.sum_up();
                    let old = part.entry_mut(index).digest_mut(hash);
                    *part.entry_mut(index) = entry(&[key], version);
                    let new = part.entry_mut(index).digest_mut(hash);
                    part.adjust(old, new);
                }
            }
            last.insert(key, version);
        }
        let (mut fresh, _) = filled([]);
        for (key, version) in last {
            let at = fresh.find(hash_of(&[key]), &[key]).unwrap_err();
            fresh.insert(at, hash_of(&[key]), entry(&[key], version));
        }
        prop_assert_eq!(table.part_number_mut(0).sum_up(), fresh.part_number_mut(0).sum_up());
    }
}
