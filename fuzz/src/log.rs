//! The replicated log on disk.
//!
//! An input is a short history for the real writer, then changes of the bytes that it left. [`check`] changes bytes as decay does: then
//! nothing may be lost in silence, and nothing invented. [`check_sealed`] changes numbers and makes every checksum good again: no bytes
//! whatever may make the reader panic, loop, or believe a length.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::log::{LogContents, LogEnding, LogError, LogOptions, LogReader, OpenedLog, open};
use steadfast_types::disk::{Disk, DiskFile};
use steadfast_types::{Configuration, Entry, HardState, LogIndex, LogPosition, NodeId, Payload};

use super::script::{Edit, Script};

/// The smallest there are.
const OPTIONS: LogOptions = LogOptions { segment_bytes: 4096 };

/// Bytes of entries read at once.
const READ_BYTES: usize = 1 << 20;

/// A log as it should be.
struct History {
    log: OpenedLog<MemoryDisk>,
    start: LogPosition,
    entries: Vec<Entry>,
    hard_state: HardState,
    /// All entries that ever were.
    ever: Vec<Entry>,
}

impl History {
    /// Lets the real writer do what the script says; all of it is synced.
    fn write(disk: &MemoryDisk, script: &mut Script<'_>) -> Self {
        const MOST_STEPS: u8 = 12;
        let log = open(disk, OPTIONS).expect("an empty disk is a log without entries");
        let (start, hard_state) = (LogPosition::default(), HardState::default());
        let mut history = History { log, start, entries: Vec::new(), hard_state, ever: Vec::new() };
        history.vote(NodeId(1));
        history.log.writer.sync().expect("this disk takes everything");
        for _ in 0..script.byte() % MOST_STEPS {
            history.step(script);
            history.log.writer.sync().expect("this disk takes everything");
        }
        history
    }

    fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.start, Entry::position)
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let (kind, amount) = (script.byte(), script.byte());
        match kind % 8 {
            0..=2 => self.append(None, 1 + usize::from(amount % 4), usize::from(script.byte()), false),
            3 => self.append(None, 1, 6 * usize::from(amount), true),
            4 => self.append(Some(u64::from(amount % 4)), 1, usize::from(script.byte()), true),
            5 => self.compact(usize::from(amount)),
            6 => self.reset(u64::from(amount)),
            _ => self.vote(NodeId(u64::from(amount))),
        }
    }

    /// Appends entries, after a cut of the last ones if there is a number of these.
    fn append(&mut self, cut: Option<u64>, count: usize, bytes: usize, new_term: bool) {
        if new_term {
            self.hard_state = HardState { term: self.hard_state.term.next(), vote: None, suspect: false };
        }
        let kept = cut.map_or(self.entries.len(), |cut| self.entries.len().saturating_sub(usize::try_from(cut).expect("few")));
        let from = (kept < self.entries.len()).then(|| self.entries[kept].index);
        self.entries.truncate(kept);
        let first = self.entries.len();
        for number in 0..count {
            let payload = match (bytes + number) % 5 {
                0 => Payload::Empty,
                1 => Payload::Change { configuration: Configuration::of_voters([NodeId(1), NodeId(2)]), batch: Bytes::new() },
                _ => Payload::Batch(vec![number as u8; bytes].into()),
            };
            self.entries.push(Entry { term: self.hard_state.term, index: self.last().index.next(), payload });
        }
        let hard_state = new_term.then_some(self.hard_state);
        self.log.writer.append(hard_state.as_ref(), from, &self.entries[first..]).expect("this disk takes everything");
        self.ever.extend_from_slice(&self.entries[first..]);
    }

    fn compact(&mut self, through: usize) {
        let Some(entry) = self.entries.get(through) else { return };
        self.log.writer.compact(entry.position()).expect("this disk takes everything");
        self.start = entry.position();
        self.entries.drain(..=through);
    }

    fn reset(&mut self, ahead: u64) {
        self.start = LogPosition::new(self.hard_state.term, LogIndex(self.last().index.0 + ahead));
        self.entries.clear();
        self.log.writer.reset(self.start, &self.hard_state).expect("this disk takes everything");
    }

    fn vote(&mut self, node: NodeId) {
        self.hard_state = HardState { term: self.hard_state.term.next(), vote: Some(node), suspect: false };
        self.log.writer.append(Some(&self.hard_state), None, &[]).expect("this disk takes everything");
    }
}

/// The segments of the log, in order.
fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.list().expect("this disk can be listed").into_iter().filter(|name| name.starts_with("log-")).collect()
}

/// After decay of any bytes: the log opens or says that nothing can be read; whatever is missing is owned up to; whatever is read was
/// written.
pub fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let disk = MemoryDisk::new();
    let history = History::write(&disk, &mut script);
    let names = segments(&disk);
    let mut damaged = BTreeSet::new();
    while !script.is_over() {
        let name = &names[usize::from(script.byte()) % names.len()];
        let edit = Edit::flip(&mut script);
        let before = disk.bytes(name);
        disk.edit(name, |bytes| edit.apply(bytes));
        if disk.bytes(name) != before {
            damaged.insert(name.clone());
        }
    }
    match open(&disk, OPTIONS) {
        Ok(found) => judge(&disk, &history, &found, damaged.is_empty()),
        Err(error) => assert!(error == LogError::Unreadable && !damaged.is_empty(), "{error}"),
    }
}

fn judge(disk: &MemoryDisk, history: &History, found: &OpenedLog<MemoryDisk>, intact: bool) {
    let contents = &found.contents;
    let (suspect, state, wanted) = (contents.hard_state.suspect, contents.hard_state, history.hard_state);
    let as_written = (contents.last, contents.start) == (history.last(), history.start) && contents.holes.is_empty();
    assert!(suspect || as_written && (state.term, state.vote) == (wanted.term, wanted.vote), "lost in silence: {contents:?}");
    assert!(!intact || !suspect && contents.ending == LogEnding::Clean, "damage is seen where there is none: {contents:?}");
    assert!(contents.hard_state_lost <= suspect && contents.holes.is_empty() >= !suspect, "{contents:?}");
    for index in indexes(contents) {
        match found.reader.read(index, 1) {
            Ok(entries) => assert!(history.ever.contains(&entries[0]), "invented: {:?}", entries[0]),
            Err(LogError::Damaged { .. }) => assert!(contents.holes.iter().any(|hole| hole.contains(&index)), "{index} is no hole"),
            Err(error) => panic!("{index}: {error}"),
        }
    }
    let again = open(disk, OPTIONS).expect("what was opened opens again").contents;
    assert_eq!((again.hard_state, again.start, again.last), (state, contents.start, contents.last), "what was found is durable");
}

/// The indexes of all entries; the first thousand, if a damaged number says that there are more.
fn indexes(contents: &LogContents) -> impl Iterator<Item = LogIndex> + use<> {
    let first = contents.start.index.0.saturating_add(1);
    (first..=contents.last.index.0.min(first.saturating_add(1000))).map(LogIndex)
}

/// Any bytes, with good checksums: an odd first byte says that they are a segment as it stands, an even one that they change a history.
pub fn check_sealed(input: &[u8]) {
    let mut script = Script::new(input);
    let disk = MemoryDisk::new();
    if script.byte() % 2 == 1 {
        let file = disk.create("log-00000001").expect("this disk takes everything");
        file.write_at(0, &spread(script.rest())).expect("this disk takes everything");
    } else {
        drop(History::write(&disk, &mut script));
        let names = segments(&disk);
        while !script.is_over() {
            let name = &names[usize::from(script.byte()) % names.len()];
            let edit = Edit::overwrite(&mut script);
            disk.edit(name, |bytes| edit.apply(bytes));
        }
    }
    seal(&disk);
    let Ok(mut found) = open(&disk, OPTIONS) else { return };
    read_all(&found.reader, &found.contents);
    let last = found.contents.last;
    if last.index.0 < u64::MAX && found.contents.holes.is_empty() {
        let entry = Entry { term: last.term, index: last.index.next(), payload: Payload::Empty };
        if found.writer.append(None, None, core::slice::from_ref(&entry)).is_ok() && found.writer.sync().is_ok() {
            assert_eq!(found.reader.read(entry.index, READ_BYTES), Ok(vec![entry]));
        }
    }
}

fn read_all(reader: &LogReader<MemoryDisk>, contents: &LogContents) {
    for index in indexes(contents) {
        if let Ok(entries) = reader.read(index, READ_BYTES) {
            assert!(entries.iter().zip(index.0..).all(|(entry, index)| entry.index == LogIndex(index)), "not the entries from {index} on");
        }
    }
}

/// Pieces of at most 200 bytes, each at the beginning of a sector: so that a short input has many sectors.
fn spread(input: &[u8]) -> Vec<u8> {
    const PIECE: usize = 200;
    let mut out = vec![0; input.len().div_ceil(PIECE) * SECTOR];
    for (sector, piece) in out.chunks_mut(SECTOR).zip(input.chunks(PIECE)) {
        sector[..piece.len()].copy_from_slice(piece);
    }
    out
}

const SECTOR: usize = 512;
const HEADER_BYTES: usize = 176;
const RECORD_HEADER_BYTES: usize = 32;

/// Makes the checksums good, and the links from each batch to the one before it: the forms are those of `crates/storage/src/log/format.rs`.
fn seal(disk: &MemoryDisk) {
    let (mut before, mut previous) = (0, 0);
    for name in segments(disk) {
        let mut bytes = disk.bytes(&name);
        for at in (0..bytes.len()).step_by(SECTOR) {
            match bytes.get(at..at + 4) {
                Some(b"SfLb") => {
                    seal_records(&mut bytes[at..]);
                    before = previous;
                    previous = seal_header(&mut bytes[at..], before);
                }
                Some(b"SfLc") => {
                    seal_header(&mut bytes[at..], before);
                }
                Some(_) | None => {}
            }
        }
        disk.edit(&name, |file| file.clone_from(&bytes));
    }
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// Seals the records that follow a header, and their sum in it.
fn seal_records(batch: &mut [u8]) {
    if batch.len() < HEADER_BYTES {
        return;
    }
    let (mut at, mut sum) = (HEADER_BYTES, 0);
    for _ in 0..number(batch, 48) {
        if at + RECORD_HEADER_BYTES > batch.len() {
            break;
        }
        let end = at + RECORD_HEADER_BYTES + number(batch, at + 4);
        if end > batch.len() {
            break;
        }
        let checksum = crc32c::crc32c(&batch[at + 4..end]);
        put(batch, at, checksum);
        sum = crc32c::crc32c_append(sum, &checksum.to_le_bytes());
        at = end;
    }
    put(batch, 12, sum);
}

/// Seals a header; its checksum.
fn seal_header(batch: &mut [u8], previous: u32) -> u32 {
    if batch.len() < HEADER_BYTES {
        return previous;
    }
    put(batch, 32, previous);
    let length = number(batch, 6) & 0xffff;
    let covered = if (12..=SECTOR.min(batch.len())).contains(&length) { length } else { HEADER_BYTES };
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&batch[..8]), &batch[12..covered]);
    put(batch, 8, checksum);
    checksum
}
