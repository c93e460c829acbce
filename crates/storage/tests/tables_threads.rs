//! Readers on other threads, on a real disk, while rows are inserted and jobs run: each read sees one state.

mod tables_common;

use bytes::Bytes;
use core::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use steadfast_storage::disk::FileDisk;
use steadfast_storage::tables::{Job, LsmReader, LsmTables, Pressure, TablesOptions};
use steadfast_types::tables::{Tables, TablesReader};
use tables_common::{HISTORY, KEYS, position, small};

const ROWS: u64 = 40;
const BATCHES: u64 = 400;
/// How far the horizon stays behind: no reader is that slow.
const KEPT: u64 = 250;

fn key(number: u64) -> Bytes {
    Bytes::from(format!("/a/row/{number:03}"))
}

/// Until the last batch: every row as of the batch published last, by scan and by key.
fn read(reader: &LsmReader<FileDisk>, published: &AtomicU64) -> u64 {
    let mut reads = 0;
    loop {
        let at = published.load(Ordering::Acquire);
        if at == BATCHES {
            return reads;
        }
        let rows: Vec<_> = reader.scan(KEYS, (Bound::Unbounded, Bound::Unbounded), at).map(Result::unwrap).collect();
        if at > 0 {
            assert_eq!(rows.len() as u64, ROWS, "at {at}");
        }
        assert!(rows.iter().all(|row| row.version == at && row.value[..8] == at.to_be_bytes()), "at {at}: {rows:?}");
        let row = reader.get(KEYS, &key(reads % ROWS), at).unwrap();
        assert_eq!(row.map_or(0, |row| row.version), at);
        reads += 1;
    }
}

#[test]
fn readers_see_whole_batches() {
    let directory = tempfile::tempdir().unwrap();
    let options = TablesOptions { memtable_bytes: 100 << 10, file_bytes: 50 << 10, slice_bytes: 100 << 10, ..small() };
    let mut tables = LsmTables::open(&FileDisk::open(directory.path()).unwrap(), options).unwrap();
    let published = Arc::new(AtomicU64::new(0));
    let (jobs, work) = channel::<Job<FileDisk>>();
    let (finished, done) = channel();
    let worker = std::thread::spawn(move || work.into_iter().for_each(|job| finished.send(job.run()).unwrap()));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (reader, published) = (tables.reader(), published.clone());
            std::thread::spawn(move || read(&reader, &published))
        })
        .collect();
    tables.set_horizon(KEYS, 0);
    for version in 1..=BATCHES {
        for number in 0..ROWS {
            let value = [&version.to_be_bytes()[..], &[7; 30]].concat();
            tables.insert(KEYS, key(number), version, Some(value.into()));
            tables.insert(
                HISTORY,
                Bytes::copy_from_slice(&[version.to_be_bytes(), number.to_be_bytes()].concat()),
                version,
                Some(key(number)),
            );
        }
        if version > KEPT {
            tables.set_horizon(KEYS, version - KEPT);
            tables.trim(HISTORY, Bytes::copy_from_slice(&(version - KEPT).to_be_bytes()));
        }
        tables.commit(position(version));
        published.store(version, Ordering::Release);
        while let Some(job) = tables.next_job() {
            jobs.send(job).unwrap();
        }
        while let Some(done) = done.try_recv().ok().or_else(|| (tables.pressure() == Pressure::Behind).then(|| done.recv().unwrap())) {
            tables.finish_job(done).unwrap();
            if let Some(job) = tables.next_job() {
                jobs.send(job).unwrap();
            }
        }
    }
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    drop(jobs);
    worker.join().unwrap();
}
