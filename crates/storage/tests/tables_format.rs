//! What format 1 wrote stays readable: a checkpoint of that format, kept as a file, holds the manifest, the table files and the stream
//! around them.

use bytes::Bytes;
use core::ops::Bound;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{Incoming, LsmTables, TablesOptions};
use steadfast_types::tables::{TableId, Tables, TablesReader};
use steadfast_types::{LogIndex, LogPosition, Term};

const FORMAT_1: &[u8] = include_bytes!("tables_fixtures/format-1.checkpoint");
const KEYS: TableId = TableId(1);
const NEWEST: TableId = TableId(2);
const APPLIED: LogPosition = LogPosition { term: Term(3), index: LogIndex(40) };

fn options() -> TablesOptions {
    TablesOptions { block_bytes: 200, group_bytes: 600, file_bytes: 1500, ..TablesOptions::default() }
}

/// Key, version and value of each row of `KEYS`.
fn rows() -> impl Iterator<Item = (Bytes, u64, Option<Bytes>)> {
    (1..=60u64).map(|version| {
        let value = (version % 9 > 0).then(|| Bytes::from(vec![version as u8; version as usize % 50]));
        (Bytes::from(format!("key-{:02}", version * 7 % 20)), version, value)
    })
}

/// Byte for byte, so that no change of the format goes unnoticed. `UPDATE_GOLDENFILES=1` writes the file anew: only ever for a new format, beside
/// the old ones, or where the same format is laid out otherwise.
#[test]
fn format_1_is_written() {
    let mut tables = LsmTables::open(&MemoryDisk::new(), options()).unwrap();
    tables.set_horizon(KEYS, 5);
    tables.trim(NEWEST, Bytes::from_static(b"b"));
    for (key, version, value) in rows() {
        tables.insert(NEWEST, Bytes::from_static(b"newest"), version, Some(key.clone()));
        tables.insert(KEYS, key, version, value);
    }
    tables.commit(APPLIED);
    tables.flush_now();
    while let Some(job) = tables.next_job() {
        tables.finish_job(job.run()).unwrap();
    }
    let stream = tables.checkpoint().read(0, usize::MAX).unwrap();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables_fixtures/format-1.checkpoint"), &stream).unwrap();
    }
    assert!(stream == FORMAT_1, "the tables write other bytes than they did");
}

#[test]
fn format_1_is_read() {
    let disk = MemoryDisk::new();
    let mut incoming = Incoming::begin(&disk).unwrap();
    incoming.write(0, FORMAT_1).unwrap();
    incoming.finish().unwrap().install().unwrap();
    let tables = LsmTables::open(&disk, TablesOptions::default()).unwrap();
    assert_eq!(tables.applied(), APPLIED);
    assert!(tables.statistics().files > 2, "the fixture has files of several blocks and groups: {:?}", tables.statistics());
    let reader = tables.reader();
    for (key, version, value) in rows().filter(|(_, version, _)| *version >= 5) {
        let row = reader.get(KEYS, &key, version).unwrap();
        assert_eq!(row.map(|row| (row.version, row.value)), value.map(|value| (version, value)), "{key:?} at {version}");
    }
    let newest: Vec<_> = reader.scan(NEWEST, (Bound::Unbounded, Bound::Unbounded), u64::MAX).map(|row| row.unwrap().version).collect();
    assert_eq!(newest, [60]);
}
