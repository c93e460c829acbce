//! Readers for which nothing is dropped.

use bytes::Bytes;
use core::ops::Bound;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{LsmTables, TablesOptions};
use steadfast_types::tables::{TableId, Tables, TablesReader};
use steadfast_types::{LogIndex, LogPosition, Term};

/// A pinned reader finds what was there, whatever horizons, trims and merges have dropped since.
#[test]
fn nothing_is_dropped_under_a_pinned_reader() {
    let disk = MemoryDisk::default();
    let mut tables = LsmTables::open(&disk, TablesOptions::default()).expect("empty");
    let (table, mut index) = (TableId(1), 0);
    tables.set_horizon(table, 0);
    let mut round = |tables: &mut LsmTables<MemoryDisk>, version: u64| {
        for key in 0..200u16 {
            tables.insert(table, Bytes::copy_from_slice(&key.to_be_bytes()), version, Some(format!("{version}").into()));
        }
        index += 1;
        tables.commit(LogPosition::new(Term(1), LogIndex(index)));
        tables.flush_now();
        while let Some(job) = tables.next_job() {
            tables.finish_job(job.run()).expect("done");
        }
    };
    (1..=5).for_each(|version| round(&mut tables, version));
    let pinned = tables.reader().pinned();
    tables.set_horizon(table, 20);
    tables.trim(table, Bytes::copy_from_slice(&100u16.to_be_bytes()));
    (6..=20).for_each(|version| round(&mut tables, version));
    let all = || (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(tables.reader().scan(table, all(), 3).count(), 0, "it was dropped");
    for version in 1..=5 {
        let rows: Vec<_> = pinned.scan(table, all(), version).map(|row| row.expect("intact")).collect();
        assert_eq!(rows.len(), 200);
        assert!(rows.iter().all(|row| row.version == version && row.value == format!("{version}")));
    }
    let row = pinned.get(table, &7u16.to_be_bytes(), 2).expect("intact").expect("it was there");
    assert_eq!(row.version, 2);
}
