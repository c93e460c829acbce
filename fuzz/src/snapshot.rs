//! Snapshots: a checkpoint of the tables as a peer hands it over, and the files that it becomes.
//!
//! An input is a short history for real tables, then changes of the checkpoint's bytes. [`check`] changes bytes as a bad network or disk
//! does: every change must be refused. [`check_sealed`] makes every checksum good again: no bytes whatever may make the receiver, or the
//! tables opened from them, panic, loop, or believe a length.

use bytes::Bytes;
use core::ops::Bound;
use std::collections::BTreeMap;

use steadfast_state::State;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{Incoming, LsmTables, TablesOptions};
use steadfast_types::disk::{Disk, DiskFile};
use steadfast_types::tables::{Row, TableId, Tables, TablesError, TablesReader};
use steadfast_types::wire::{Reader, Wire};
use steadfast_types::{LogIndex, LogPosition, Term, wire_struct};

use super::script::{Edit, Script};

const NEWEST: u64 = u64::MAX;

/// Sizes so small that a few rows make several blocks, files and runs.
fn options() -> TablesOptions {
    TablesOptions {
        memtable_bytes: 1 << 10,
        cache_bytes: 4 << 10,
        block_bytes: 64,
        group_bytes: 160,
        file_bytes: 512,
        slice_bytes: 1 << 10,
        fan_in: 3,
        open_files: 3,
    }
}

/// What tables were told, in plain maps.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(TableId, Bytes), BTreeMap<u64, Option<Bytes>>>,
    horizons: BTreeMap<TableId, u64>,
    trims: BTreeMap<TableId, Bytes>,
}

impl Model {
    /// Every row is read as it was written, at every version that must still be readable.
    fn compare(&self, tables: &LsmTables<MemoryDisk>) {
        let reader = tables.reader();
        for ((table, key), versions) in &self.rows {
            if self.trims.get(table).is_some_and(|trim| key < trim) {
                continue;
            }
            let horizon = self.horizons.get(table).copied().unwrap_or(NEWEST);
            for at in versions.keys().copied().filter(|&at| at > horizon).chain([horizon, NEWEST]) {
                let expected = versions.range(..=at).next_back().and_then(|(&version, value)| Some((version, value.clone()?)));
                let found = reader.get(*table, key, at).expect("the tables are intact");
                assert_eq!(found.map(|row| (row.version, row.value)), expected, "key {key:?} of {table:?} at {at}");
            }
        }
    }
}

/// Real tables, after what the script says: rows of four tables, flushes, merges, horizons, trims. They hold what the model holds, and come
/// to rest.
fn write(script: &mut Script<'_>) -> LsmTables<MemoryDisk> {
    const MOST_STEPS: u8 = 40;
    /// Of this table only the newest rows matter; no horizon is set.
    const NEWEST_ONLY: TableId = TableId(0);
    let mut tables = LsmTables::open(&MemoryDisk::new(), options()).expect("an empty disk is tables without rows");
    let mut model = Model::default();
    for table in [TableId(1), TableId(2), TableId(3)] {
        tables.set_horizon(table, 0);
        model.horizons.insert(table, 0);
    }
    for index in 1..=u64::from(script.byte() % MOST_STEPS) {
        let (kind, number) = (script.byte(), script.byte());
        let (table, key) = (TableId(kind >> 6), Bytes::copy_from_slice(&[number & 0x0f; 9][..1 + usize::from(number >> 5)]));
        match kind % 8 {
            6 if table != NEWEST_ONLY => {
                tables.set_horizon(table, index / 2);
                model.horizons.insert(table, index / 2);
            }
            7 => {
                tables.trim(table, key.clone());
                let trim = model.trims.entry(table).or_default();
                *trim = key.max(trim.clone());
            }
            kind => {
                let value = (kind != 5).then(|| Bytes::from(vec![number; usize::from(number)]));
                tables.insert(table, key.clone(), index, value.clone());
                model.rows.entry((table, key)).or_default().insert(index, value);
            }
        }
        tables.commit(LogPosition::new(Term(1), LogIndex(index)));
        if kind & 0x20 != 0 {
            tables.flush_now();
            work(&mut tables).expect("this disk takes everything");
        }
    }
    tables.flush_now();
    work(&mut tables).expect("this disk takes everything");
    model.compare(&tables);
    tables
}

/// Runs all background work there is, but no more than there can be for so few rows.
fn work(tables: &mut LsmTables<MemoryDisk>) -> Result<(), steadfast_storage::tables::JobError> {
    const MOST_JOBS: usize = 200;
    for _ in 0..MOST_JOBS {
        let Some(job) = tables.next_job() else { return Ok(()) };
        tables.finish_job(job.run())?;
    }
    panic!("background work without end");
}

/// The rows of the first tables; damage ends a table, and a thousand rows do.
fn rows(tables: &LsmTables<MemoryDisk>) -> Vec<Result<Row, TablesError>> {
    let scan = |table| tables.reader().scan(TableId(table), (Bound::Unbounded, Bound::Unbounded), NEWEST).take(1000);
    (0..8).flat_map(scan).collect()
}

/// The whole stream of the tables' checkpoint.
fn stream(tables: &LsmTables<MemoryDisk>) -> Vec<u8> {
    let checkpoint = tables.checkpoint();
    let mut out = Vec::new();
    while (out.len() as u64) < checkpoint.total_bytes() {
        out.extend_from_slice(&checkpoint.read(out.len() as u64, 100).expect("the tables are intact"));
    }
    out
}

/// Hands a stream over in pieces; whether it was received, and is installed.
fn hand_over(disk: &MemoryDisk, stream: &[u8], piece: usize) -> bool {
    let mut incoming = Incoming::begin(disk).expect("this disk takes everything");
    for bytes in stream.chunks(piece.max(1)) {
        let offset = incoming.received();
        if incoming.write(offset, bytes).is_err() {
            assert!(incoming.write(incoming.received(), b"more").is_err(), "a refused stream goes on");
            return false;
        }
    }
    let Ok(received) = incoming.finish() else { return false };
    let applied = received.applied();
    received.install().expect("this disk takes everything");
    assert_eq!(LsmTables::open(disk, options()).expect("just installed").applied(), applied);
    true
}

/// A changed or cut stream is refused and leaves nothing; the unchanged one brings the same rows.
pub fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let (piece, cut) = (usize::from(script.byte()), usize::from(script.byte()));
    let source = write(&mut script);
    let sent = stream(&source);
    let mut arriving = sent.clone();
    while !script.is_over() {
        Edit::flip(&mut script).apply(&mut arriving);
    }
    arriving.truncate(if cut < arriving.len() && cut > 0 { arriving.len() - cut } else { arriving.len() });
    let disk = MemoryDisk::new();
    let received = hand_over(&disk, &arriving, piece);
    assert_eq!(received, arriving == sent, "a changed stream was taken, or an unchanged one refused");
    if received {
        let tables = LsmTables::open(&disk, options()).expect("just installed");
        assert_eq!(rows(&tables), rows(&source));
        assert_eq!(tables.applied(), source.durable());
    } else {
        assert_eq!(disk.list(), Ok(Vec::new()), "a refused stream leaves files");
    }
}

/// Any bytes, with good checksums. The first byte says: whether the rest is a manifest as it stands, or a history and changes; and whether
/// it is handed over, or found on the disk.
pub fn check_sealed(input: &[u8]) {
    let mut script = Script::new(input);
    let (kind, piece) = (script.byte(), usize::from(script.byte()));
    let (mut manifest, mut files) = match kind & 1 {
        0 => take_apart(&stream(&write(&mut script))),
        _ => (script.rest().to_vec(), vec![0; usize::from(kind)]),
    };
    while !script.is_over() {
        let of_manifest = script.byte().is_multiple_of(2);
        Edit::overwrite(&mut script).apply(if of_manifest { &mut manifest } else { &mut files });
    }
    seal(&mut manifest, &mut files);
    let disk = MemoryDisk::new();
    let is_there = match kind & 2 {
        0 => hand_over(&disk, &put_together(&manifest, &files), piece),
        _ => lay_out(&disk, &manifest, &files),
    };
    if let (true, Ok(tables)) = (is_there, LsmTables::open(&disk, options())) {
        live_on(tables);
    }
}

/// Uses tables that may be damaged in ways that no checksum shows: each call answers or says that they are damaged.
fn live_on(mut tables: LsmTables<MemoryDisk>) {
    let found = rows(&tables);
    let reader = tables.reader();
    for row in found.iter().flatten() {
        for table in 0..8 {
            let same_key = reader.get(TableId(table), &row.key, NEWEST);
            assert!(same_key.is_err() || same_key.ok().flatten().is_none_or(|same| same.key == row.key));
        }
    }
    let checkpoint = tables.checkpoint();
    if let (Ok(()), Ok(bytes)) = (checkpoint.verify(), checkpoint.read(0, 1 << 16)) {
        assert_eq!(bytes.len() as u64, checkpoint.total_bytes().min(1 << 16));
    }
    tables.insert(TableId(1), Bytes::from_static(b"new"), NEWEST, Some(Bytes::from_static(b"row")));
    let applied = tables.applied();
    tables.commit(applied);
    let new = reader.get(TableId(1), b"new", NEWEST);
    assert!(new.is_ok_and(|row| row.is_some_and(|row| row.value == b"row"[..])), "a row in memory is found whatever the files are like");
    tables.flush_now();
    // A job may say that they are damaged.
    drop(work(&mut tables));
    drop(State::open(tables));
}

// The forms below are those of `crates/storage/src/tables`: `manifest.rs`, `checkpoint.rs`, `file_writer.rs`, `block.rs`.

const FOOTER_BYTES: usize = 36;
const FORMAT: [u8; 4] = 1u32.to_le_bytes();

/// A run: its number and its files, each with the key that it begins at, if it is a part.
type Run = (u64, Vec<(FileMeta, Option<Bytes>)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Manifest {
    applied: LogPosition,
    next_file: u64,
    horizons: BTreeMap<u8, u64>,
    trims: BTreeMap<u8, Bytes>,
    tables: Vec<(u8, Vec<Run>)>,
}
wire_struct!(Manifest { applied, next_file, horizons, trims, tables });

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMeta {
    id: u64,
    birth: u64,
    length: u64,
    checksum: u32,
    rows: u64,
    first: (Bytes, u64),
    last: (Bytes, u64),
    superseded: (u64, (u64, u64)),
    tombstones: (u64, (u64, u64)),
}
wire_struct!(FileMeta { id, birth, length, checksum, rows, first, last, superseded, tombstones });

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize)
}

/// The manifest's wire form and the files' bytes in a sound stream.
fn take_apart(stream: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let manifest_length = u32_at(stream, 12).expect("a stream has a preamble");
    let (manifest, files) = stream[16..].split_at(manifest_length);
    (manifest[12..manifest.len() - 4].to_vec(), files.to_vec())
}

/// A manifest as it stands on the disk.
fn manifest_file(manifest: &[u8]) -> Vec<u8> {
    let body = [b"SFtables", &FORMAT[..], manifest].concat();
    [&body[..], &crc32c::crc32c(&body).to_le_bytes()].concat()
}

fn put_together(manifest: &[u8], files: &[u8]) -> Vec<u8> {
    let manifest = manifest_file(manifest);
    let length = u32::try_from(manifest.len()).expect("inputs are short").to_le_bytes();
    [b"SFcheck\n", &FORMAT[..], &length, &manifest, files].concat()
}

/// Writes the files to where the manifest has them; always there.
fn lay_out(disk: &MemoryDisk, manifest: &[u8], mut files: &[u8]) -> bool {
    let write = |name: &str, bytes: &[u8]| {
        let file = disk.create(name).expect("this disk takes everything");
        file.write_at(0, bytes).expect("this disk takes everything");
    };
    write("tables-manifest", &manifest_file(manifest));
    if let Ok(Manifest { tables, .. }) = Manifest::from_wire(Bytes::copy_from_slice(manifest)) {
        for (meta, _) in tables.iter().flat_map(|(_, runs)| runs).flat_map(|(_, parts)| parts) {
            let length = usize::try_from(meta.length).unwrap_or(usize::MAX).min(files.len());
            let (file, rest) = files.split_at(length);
            write(&format!("table-{:016x}", meta.id), file);
            files = rest;
        }
    }
    true
}

/// Makes all checksums good, as far as the manifest can be read.
fn seal(manifest: &mut Vec<u8>, files: &mut [u8]) {
    let Ok(mut parsed) = Manifest::from_wire(Bytes::copy_from_slice(manifest)) else { return };
    let mut rest = files;
    for (meta, _) in parsed.tables.iter_mut().flat_map(|(_, runs)| runs).flat_map(|(_, parts)| parts) {
        let length = usize::try_from(meta.length).unwrap_or(usize::MAX).min(rest.len());
        let (file, more) = rest.split_at_mut(length);
        seal_file(file, meta.birth);
        meta.checksum = crc32c::crc32c(file);
        rest = more;
    }
    *manifest = parsed.to_wire();
}

fn seal_file(file: &mut [u8], birth: u64) {
    let Some(footer) = file.len().checked_sub(FOOTER_BYTES) else { return };
    seal_block(file, birth, footer, FOOTER_BYTES);
    let (offset, length) = (u32_at(file, footer + 20).unwrap_or(0), u32_at(file, footer + 28).unwrap_or(0));
    seal_block(file, birth, offset, length);
    for group in entries(file, offset, length) {
        let [group_offset, data_length, index_length] = numbers(&group);
        let end = group_offset.saturating_add(data_length);
        seal_block(file, birth, end, index_length);
        // The length of the index stands before the block's checksum.
        let at = end.saturating_add(index_length).saturating_sub(8);
        let index = u32_at(file, at).unwrap_or(0);
        for block in entries(file, end, index.saturating_add(4)) {
            let [offset, length, _] = numbers(&block);
            seal_block(file, birth, group_offset.saturating_add(offset), length);
        }
    }
}

/// The values of a block of an index, with the block's checksum behind it.
fn entries(file: &[u8], offset: usize, length: usize) -> Vec<Bytes> {
    let block = length.checked_sub(4).and_then(|length| file.get(offset..offset.checked_add(length)?)).unwrap_or_default();
    let Some(count_at) = block.len().checked_sub(4) else { return Vec::new() };
    let count = u32_at(block, count_at).unwrap_or(0).min(count_at / 4);
    let value = |number: usize| {
        let start = u32_at(block, count_at - 4 * count + 4 * number)?;
        let mut row = Reader::new(Bytes::copy_from_slice(block.get(start..)?));
        let [_, key_length, _, value_length] = [(); 4].map(|()| row.varint().ok());
        row.take(usize::try_from(key_length?).ok()?).ok()?;
        row.take(usize::try_from(value_length?.checked_sub(1)?).ok()?).ok()
    };
    (0..count).filter_map(value).collect()
}

fn numbers(value: &Bytes) -> [usize; 3] {
    let mut reader = Reader::new(value.clone());
    [(); 3].map(|()| reader.varint().ok().and_then(|number| usize::try_from(number).ok()).unwrap_or(0))
}

fn seal_block(file: &mut [u8], birth: u64, offset: usize, length: usize) {
    let Some(block) = offset.checked_add(length).and_then(|end| file.get_mut(offset..end)) else { return };
    let Some(end) = block.len().checked_sub(4) else { return };
    let place = [birth.to_le_bytes(), (offset as u64).to_le_bytes()].concat();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&place), &block[..end]);
    block[end..].copy_from_slice(&checksum.to_le_bytes());
}
