//! Damage and full disks: no flipped byte is ever believed, and a job that cannot write leaves everything as it was.

mod tables_common;

use core::ops::Bound;
use fastrand::Rng;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{Job, JobError, LsmTables, OpenError};
use steadfast_types::disk::Disk;
use steadfast_types::tables::{TableId, Tables, TablesError, TablesReader};
use tables_common::{HISTORY, History, KEYS, STATE, apply, check, position, settle, small};

const MANIFEST: &str = "tables-manifest";

/// Some tables with everything flushed and merged.
fn filled(disk: &MemoryDisk, batches: u64, seed: u64) -> (LsmTables<MemoryDisk>, History) {
    let mut tables = LsmTables::open(disk, small()).unwrap();
    let (mut history, mut random) = (History::default(), Rng::with_seed(seed));
    for index in 1..=batches {
        history.extend(&mut random).iter().for_each(|call| apply(&mut tables, call));
        tables.commit(position(index));
        settle(&mut tables);
    }
    tables.flush_now();
    settle(&mut tables);
    (tables, history)
}

/// Reads every row in every way.
fn read_all(reader: &impl TablesReader) -> Result<(), TablesError> {
    for table in [KEYS, HISTORY, STATE] {
        // A scan believes no filter, so each key is looked up too.
        for row in reader.scan(table, (Bound::Unbounded, Bound::Unbounded), u64::MAX).collect::<Vec<_>>() {
            let row = row?;
            let found = reader.get(table, &row.key, row.version)?;
            assert_eq!(found.as_ref(), Some(&row));
        }
    }
    Ok(())
}

#[test]
fn every_flipped_byte_of_a_file_is_found() {
    let disk = MemoryDisk::new();
    drop(filled(&disk, 40, 3));
    let files: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name != MANIFEST).collect();
    assert!(files.len() > 3, "{files:?}");
    let mut random = Rng::with_seed(1);
    for name in files {
        for at in 0..disk.bytes(&name).len() {
            let damaged = disk.fork();
            let bit = random.u8(0..8);
            damaged.edit(&name, |bytes| bytes[at] ^= 1 << bit);
            let tables = LsmTables::open(&damaged, small()).unwrap();
            assert!(read_all(&tables.reader()).is_err(), "byte {at} of {name}");
        }
    }
}

#[test]
fn a_cut_file_is_found() {
    let disk = MemoryDisk::new();
    drop(filled(&disk, 40, 4));
    for name in disk.list().unwrap().iter().filter(|name| *name != MANIFEST) {
        for length in [0, 1, disk.bytes(name).len() / 2, disk.bytes(name).len() - 1] {
            let damaged = disk.fork();
            damaged.edit(name, |bytes| bytes.truncate(length));
            let tables = LsmTables::open(&damaged, small()).unwrap();
            assert!(read_all(&tables.reader()).is_err(), "{name} of {length} bytes");
        }
    }
}

#[test]
fn a_damaged_manifest_is_refused_and_wiped() {
    let disk = MemoryDisk::new();
    drop(filled(&disk, 20, 5));
    for at in 0..disk.bytes(MANIFEST).len() {
        let damaged = disk.fork();
        damaged.edit(MANIFEST, |bytes| bytes[at] ^= 0x10);
        assert!(matches!(LsmTables::open(&damaged, small()), Err(OpenError::Damaged { .. })), "byte {at}");
        assert!(damaged.list().unwrap().len() > 1, "a refused opening removes nothing");
    }
    disk.edit(MANIFEST, Vec::clear);
    assert!(matches!(LsmTables::open(&disk, small()), Err(OpenError::Damaged { .. })));
    LsmTables::wipe(&disk).unwrap();
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    assert_eq!(LsmTables::open(&disk, small()).unwrap().applied(), Default::default());
}

#[test]
fn a_missing_file_is_found_at_opening() {
    let disk = MemoryDisk::new();
    drop(filled(&disk, 20, 6));
    let name = disk.list().unwrap().into_iter().find(|name| name != MANIFEST).unwrap();
    disk.remove(&name).unwrap();
    let Err(OpenError::Damaged { what }) = LsmTables::open(&disk, small()) else { panic!("a file is missing") };
    assert!(what.contains(&name), "{what}");
}

#[test]
fn a_newer_format_is_refused() {
    let disk = MemoryDisk::new();
    drop(filled(&disk, 5, 7));
    disk.edit(MANIFEST, |bytes| {
        bytes.truncate(bytes.len() - 4);
        bytes[8] += 1;
        let sum = crc32c::crc32c(bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
    });
    assert_eq!(LsmTables::open(&disk, small()).err(), Some(OpenError::NewerFormat { found: 2, known: 1 }));
}

#[test]
fn a_merge_over_a_damaged_file_says_so_and_changes_nothing() {
    let disk = MemoryDisk::new();
    let mut options = small();
    options.memtable_bytes = 1 << 20;
    let mut tables = LsmTables::open(&disk, options.clone()).unwrap();
    tables.set_horizon(KEYS, 0);
    for index in 1..=2 * options.fan_in as u64 {
        tables.insert(KEYS, vec![b'k'; index as usize].into(), index, Some(vec![1; 300].into()));
        tables.insert(KEYS, vec![b'm'; 9 - index as usize].into(), index, Some(vec![1; 300].into()));
        tables.commit(position(index));
        tables.flush_now();
        let flush = tables.next_job().filter(Job::is_flush).expect("a flush was asked for");
        tables.finish_job(flush.run()).unwrap();
    }
    let name = disk.list().unwrap().into_iter().find(|name| name != MANIFEST).unwrap();
    disk.edit(&name, |bytes| bytes[10] ^= 1);
    let before = (disk.bytes(MANIFEST), disk.list().unwrap());
    let merge = tables.next_job().expect("there are enough runs to merge");
    assert!(!merge.is_flush());
    let done = merge.run();
    assert!(matches!(tables.finish_job(done), Err(JobError::Damaged(_))));
    assert_eq!((disk.bytes(MANIFEST), disk.list().unwrap()), before);
}

#[test]
fn a_full_disk_leaves_all_intact_and_work_resumes_when_there_is_room() {
    for seed in 0..20 {
        let disk = MemoryDisk::new();
        let (mut tables, mut history) = filled(&disk, 60, seed);
        let mut random = Rng::with_seed(seed);
        let used: usize = disk.list().unwrap().iter().map(|name| disk.bytes(name).len()).sum();
        disk.set_capacity(Some(used + random.usize(0..12_000)));
        let mut was_full = 0;
        for index in 61..200 {
            history.extend(&mut random).iter().for_each(|call| apply(&mut tables, call));
            tables.commit(position(index));
            let names = disk.list().unwrap();
            if let Some(job) = tables.next_job() {
                match tables.finish_job(job.run()) {
                    Ok(()) => {}
                    Err(JobError::Full(_)) => {
                        was_full += 1;
                        let left = disk.list().unwrap().into_iter().filter(|name| !name.ends_with(".new"));
                        assert!(left.into_iter().all(|name| names.contains(&name)), "a failed job leaves no files");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!(was_full > 0);
        check(&tables.reader(), &history.at(199), &mut random);
        disk.set_capacity(None);
        tables.flush_now();
        settle(&mut tables);
        tables.flush_now();
        settle(&mut tables);
        assert_eq!(tables.durable(), position(199));
        let reopened = LsmTables::open(&disk, small()).unwrap();
        check(&reopened.reader(), &history.at(199), &mut random);
    }
}

#[test]
fn a_failed_sync_is_final() {
    let disk = MemoryDisk::new();
    let (mut tables, _) = filled(&disk, 10, 1);
    tables.insert(TableId(1), "key".into(), 1000, None);
    tables.commit(position(11));
    tables.flush_now();
    disk.fail_syncs(true);
    let job = tables.next_job().expect("a flush was asked for");
    assert!(matches!(tables.finish_job(job.run()), Err(JobError::Disk(_))));
    assert_eq!(tables.durable(), position(10));
    disk.fail_syncs(false);
    assert_eq!(LsmTables::open(&disk, small()).unwrap().applied(), position(10));
}
