//! Space that is given back when it is asked for.

mod tables_common;

use bytes::Bytes;
use core::ops::Bound;
use fastrand::Rng;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{LsmTables, TablesOptions};
use steadfast_types::tables::{Tables, TablesReader};
use tables_common::{KEYS, position, settle, small};

/// Whatever was written and deleted in whatever order: once all history is forgotten and space is asked for, the tables take hardly more than
/// tables that never held anything else; and all that is left is still there.
#[test]
fn what_nobody_can_read_any_more_takes_no_space_once_it_is_reclaimed() {
    let mut was_larger = 0;
    for seed in 0..40 {
        let mut random = Rng::with_seed(seed);
        let mut tables = LsmTables::open(&MemoryDisk::default(), small()).expect("empty");
        tables.set_horizon(KEYS, 0);
        let (mut index, mut version) = (0, 0);
        let mut commit = |tables: &mut LsmTables<MemoryDisk>| {
            index += 1;
            tables.commit(position(index));
        };
        for _ in 0..random.usize(50..1500) {
            version += 1;
            let value = (random.u8(0..4) > 0).then(|| Bytes::from(vec![1; 40]));
            tables.insert(KEYS, Bytes::from(format!("{:03}", random.u16(0..300))), version, value);
            commit(&mut tables);
            settle(&mut tables);
        }
        tables.set_horizon(KEYS, version);
        commit(&mut tables);
        settle(&mut tables);
        let before = tables.statistics().disk_bytes + tables.memtable_bytes() as u64;
        let rows = |tables: &LsmTables<MemoryDisk>| {
            let scan = tables.reader().scan(KEYS, (Bound::Unbounded, Bound::Unbounded), u64::MAX);
            scan.map(|row| row.expect("intact")).collect::<Vec<_>>()
        };
        let left = rows(&tables);
        tables.reclaim();
        settle(&mut tables);
        assert_eq!(rows(&tables), left);
        let mut fresh = LsmTables::open(&MemoryDisk::default(), small()).expect("empty");
        left.iter().for_each(|row| fresh.insert(KEYS, row.key.clone(), row.version, Some(row.value.clone())));
        fresh.commit(position(1));
        fresh.reclaim();
        settle(&mut fresh);
        let (after, least) = (tables.statistics().disk_bytes, fresh.statistics().disk_bytes);
        assert!(after <= least + least / 10 + 300, "seed {seed}: {after} bytes, {least} would do");
        was_larger += usize::from(before > after + after / 4);
    }
    assert!(was_larger > 20, "otherwise there was nothing to reclaim: {was_larger}");
}

/// Merges go slice by slice. What the oldest run held may be used up, and nothing written in its place, slices before the end: the rest has a place all the same.
#[test]
fn a_merge_goes_on_after_nothing_is_left_of_its_oldest_run() {
    let mut tables = LsmTables::open(&MemoryDisk::default(), TablesOptions { fan_in: 100, ..small() }).expect("empty");
    tables.set_horizon(KEYS, 0);
    let mut version = 0;
    let mut write = |tables: &mut LsmTables<MemoryDisk>, key: String, value: Option<&'static [u8]>| {
        version += 1;
        tables.insert(KEYS, Bytes::from(key), version, value.map(Bytes::from_static));
        tables.commit(position(version));
        settle(tables);
    };
    (0..50).for_each(|key| write(&mut tables, format!("a{key:03}"), Some(&[1; 40])));
    tables.flush_now();
    settle(&mut tables);
    for value in [Some(&[2; 40][..]), None] {
        (0..500).for_each(|key| write(&mut tables, format!("a{key:03}"), value));
    }
    (0..50).for_each(|key| write(&mut tables, format!("b{key:03}"), Some(&[3; 40])));
    tables.set_horizon(KEYS, 2000);
    tables.commit(position(2000));
    tables.reclaim();
    settle(&mut tables);
    let left = tables.reader().scan(KEYS, (Bound::Unbounded, Bound::Unbounded), u64::MAX);
    let left: Vec<_> = left.map(|row| row.expect("intact").key).collect();
    assert_eq!(left, (0..50).map(|key| Bytes::from(format!("b{key:03}"))).collect::<Vec<_>>());
    assert_eq!(tables.statistics().rows, 50);
}
