//! What the tests of the tables share: a disk that remembers what a crash at one of its operations would leave, small sizes, and a model
//! that knows what the tables hold at every commit.

#![allow(dead_code, reason = "each test file uses a part of it")]

use bytes::Bytes;
use core::ops::Bound;
use fastrand::Rng;
use parking_lot::Mutex;
use std::sync::Arc;
use steadfast_storage::disk::{MemoryDisk, MemoryFile};
use steadfast_storage::tables::{Job, LsmTables, TablesOptions};
use steadfast_types::disk::{Disk, DiskError, DiskFile};
use steadfast_types::tables::memory::MemoryTables;
use steadfast_types::tables::{Row, TableId, Tables, TablesReader};
use steadfast_types::{LogIndex, LogPosition, Term};

/// Rows of many versions, read at any revision from the horizon on.
pub(crate) const KEYS: TableId = TableId(1);
/// Ascending keys, trimmed at their start.
pub(crate) const HISTORY: TableId = TableId(2);
/// Only the newest row matters.
pub(crate) const STATE: TableId = TableId(3);

/// Sizes so small that a few hundred rows make many files, runs and slices.
pub(crate) fn small() -> TablesOptions {
    TablesOptions {
        memtable_bytes: 6 << 10,
        cache_bytes: 4 << 10,
        block_bytes: 128,
        group_bytes: 512,
        file_bytes: 2 << 10,
        slice_bytes: 3 << 10,
        fan_in: 3,
        open_files: 3,
    }
}

/// Position `index` of the log.
pub(crate) fn position(index: u64) -> LogPosition {
    LogPosition::new(Term(1 + index / 7), LogIndex(index))
}

/// A disk whose power fails, in another world, at one of its operations.
#[derive(Clone)]
pub(crate) struct WatchedDisk {
    pub(crate) inner: MemoryDisk,
    crash: Arc<Mutex<Crash>>,
}

#[derive(Default)]
struct Crash {
    done: u64,
    at: Option<u64>,
    is_kill: bool,
    seed: u64,
    left: Option<MemoryDisk>,
}

/// Of so many crashes one takes only the process: unsynced writes are there when it comes back, and may still be lost later.
const KILLS: u64 = 3;

impl WatchedDisk {
    pub(crate) fn new(inner: MemoryDisk) -> Self {
        WatchedDisk { inner, crash: Arc::default() }
    }

    /// The power fails before the operation after so many more.
    pub(crate) fn crash_after(&self, operations: u64, seed: u64) {
        let mut crash = self.crash.lock();
        *crash = Crash { at: Some(crash.done + operations), is_kill: seed.is_multiple_of(KILLS), seed, done: crash.done, left: None };
    }

    /// The process dies before the operation after so many more.
    pub(crate) fn kill_after(&self, operations: u64) {
        self.crash_after(operations, 0);
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.crash.lock().done
    }

    /// Whether the crash has come, in that other world.
    pub(crate) fn has_crashed(&self) -> bool {
        self.crash.lock().left.is_some()
    }

    /// What the crash left, if it has come.
    pub(crate) fn take_crash(&self) -> Option<MemoryDisk> {
        self.crash.lock().left.take()
    }

    fn count(&self) {
        let mut crash = self.crash.lock();
        if crash.at == Some(crash.done) {
            let mut random = Rng::with_seed(crash.seed);
            let odds = random.f64();
            crash.left = Some(if crash.is_kill { self.inner.fork() } else { self.inner.crashed(|| random.f64() < odds) });
        }
        crash.done += 1;
    }
}

impl Disk for WatchedDisk {
    type File = WatchedFile;
    fn open(&self, name: &str) -> Result<WatchedFile, DiskError> {
        Ok(WatchedFile { inner: self.inner.open(name)?, disk: self.clone() })
    }
    fn create(&self, name: &str) -> Result<WatchedFile, DiskError> {
        self.count();
        Ok(WatchedFile { inner: self.inner.create(name)?, disk: self.clone() })
    }
    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.inner.list()
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.count();
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.count();
        self.inner.remove(name)
    }
    fn sync_directory(&self) -> Result<(), DiskError> {
        self.count();
        self.inner.sync_directory()
    }
}

pub(crate) struct WatchedFile {
    inner: MemoryFile,
    disk: WatchedDisk,
}

impl DiskFile for WatchedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.inner.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.count();
        self.inner.write_at(offset, bytes)
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.disk.count();
        self.inner.sync()
    }
    fn length(&self) -> Result<u64, DiskError> {
        self.inner.length()
    }
    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.disk.count();
        self.inner.set_length(length)
    }
}

/// One call of the writing side.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Insert(TableId, Bytes, u64, Option<Bytes>),
    Horizon(u64),
    Trim(Bytes),
}

/// Every batch so far. Batch `n` is that of log index `n + 1`.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) batches: Vec<Vec<Call>>,
    /// Out of how many keys: few have many versions each, more than a file holds.
    pub(crate) keys: u8,
}

impl Default for History {
    fn default() -> Self {
        History { batches: Vec::new(), keys: 60 }
    }
}

/// What the tables must hold at some commit.
pub(crate) struct Expected {
    pub(crate) model: MemoryTables,
    pub(crate) revision: u64,
    pub(crate) horizon: u64,
    pub(crate) trim: Bytes,
}

pub(crate) fn apply<T: Tables>(tables: &mut T, call: &Call) {
    match call.clone() {
        Call::Insert(table, key, version, value) => tables.insert(table, key, version, value),
        Call::Horizon(version) => tables.set_horizon(KEYS, version),
        Call::Trim(key) => tables.trim(HISTORY, key),
    }
}

impl History {
    /// The state after log index `index`.
    pub(crate) fn at(&self, index: u64) -> Expected {
        let mut expected = Expected { model: MemoryTables::default(), revision: 0, horizon: 0, trim: Bytes::new() };
        for call in self.batches[..index as usize].iter().flatten() {
            apply(&mut expected.model, call);
            match call {
                Call::Insert(table, _, version, _) if *table == KEYS => expected.revision = *version,
                Call::Insert(..) => {}
                Call::Horizon(version) => expected.horizon = expected.horizon.max(*version),
                Call::Trim(key) => expected.trim = key.clone().max(expected.trim),
            }
        }
        expected
    }

    fn last_of_keys(&self) -> Option<Call> {
        self.batches.iter().flatten().rev().find(|call| matches!(call, Call::Insert(KEYS, ..))).cloned()
    }

    /// Makes up the next batch.
    pub(crate) fn extend(&mut self, random: &mut Rng) -> Vec<Call> {
        let now = self.at(self.batches.len() as u64);
        let index = self.batches.len() as u64 + 1;
        let mut calls = vec![Call::Insert(STATE, Bytes::from_static(b"index"), index, Some(Bytes::copy_from_slice(&index.to_be_bytes())))];
        if let Some(Call::Insert(table, key, version, _)) = self.last_of_keys().filter(|_| random.u8(0..8) == 0) {
            calls.push(Call::Insert(table, key, version, (random.u8(0..3) > 0).then(|| Bytes::from_static(b"replaced"))));
        }
        let mut revision = now.revision;
        for _ in 0..random.usize(0..6) {
            revision += 1;
            let value = (random.u8(0..4) > 0).then(|| value(random));
            calls.push(Call::Insert(KEYS, key_of(random.u8(0..self.keys)), revision, value.clone()));
            calls.push(Call::Insert(HISTORY, Bytes::copy_from_slice(&revision.to_be_bytes()), revision, Some(key(random))));
            if random.u8(0..3) == 0 {
                calls.push(Call::Insert(STATE, key(random), index, value));
            }
        }
        if random.u8(0..12) == 0 && revision > 0 {
            let horizon = random.u64(0..revision);
            calls.push(Call::Horizon(horizon));
            calls.push(Call::Trim(Bytes::copy_from_slice(&horizon.to_be_bytes())));
        }
        if index == 1 {
            calls.insert(0, Call::Horizon(0));
        }
        self.batches.push(calls.clone());
        calls
    }
}

fn key(random: &mut Rng) -> Bytes {
    key_of(random.u8(0..60))
}

fn key_of(number: u8) -> Bytes {
    // Some keys follow each other immediately, one is empty, some are long.
    match number {
        0..3 => Bytes::from(vec![0; usize::from(number)]),
        3..6 => Bytes::from(vec![b'x'; usize::from(number) * 60]),
        _ => Bytes::from(format!("/keys/{:x}", u32::from(number) * 37 % 101)),
    }
}

fn value(random: &mut Rng) -> Bytes {
    let length = if random.u8(0..30) == 0 { random.usize(200..1500) } else { random.usize(0..60) };
    Bytes::from(vec![random.u8(..); length])
}

/// Compares everything that a reader may ask for with the model.
pub(crate) fn check<R: TablesReader>(reader: &R, expected: &Expected, random: &mut Rng) {
    let model = expected.model.reader();
    for at in [expected.horizon, expected.revision, u64::MAX, random.u64(expected.horizon..=expected.revision.max(expected.horizon))] {
        check_scan(reader, &model, KEYS, (Bound::Unbounded, Bound::Unbounded), at);
        check_scan(reader, &model, KEYS, (bound(random), bound(random)), at);
        for _ in 0..10 {
            let key = key(random);
            assert_eq!(reader.get(KEYS, &key, at), model.get(KEYS, &key, at), "{key:?} at {at}");
        }
    }
    check_scan(reader, &model, HISTORY, (Bound::Included(expected.trim.clone()), Bound::Unbounded), u64::MAX);
    check_scan(reader, &model, STATE, (Bound::Unbounded, Bound::Unbounded), u64::MAX);
    assert_eq!(reader.get(STATE, b"index", u64::MAX), model.get(STATE, b"index", u64::MAX));
}

fn bound(random: &mut Rng) -> Bound<Bytes> {
    match random.u8(0..3) {
        0 => Bound::Included(key(random)),
        1 => Bound::Excluded(key(random)),
        _ => Bound::Unbounded,
    }
}

fn check_scan<R: TablesReader, M: TablesReader>(reader: &R, model: &M, table: TableId, range: (Bound<Bytes>, Bound<Bytes>), at: u64) {
    let found: Vec<Row> = reader.scan(table, range.clone(), at).collect::<Result<_, _>>().unwrap();
    let wanted: Vec<Row> = model.scan(table, range.clone(), at).collect::<Result<_, _>>().unwrap();
    assert_eq!(found, wanted, "{table:?} {range:?} at {at}");
}

/// Does all background work there is.
pub(crate) fn settle<D: Disk>(tables: &mut LsmTables<D>) {
    while let Some(job) = tables.next_job() {
        tables.finish_job(Job::run(job)).unwrap();
    }
}
