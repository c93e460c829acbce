//! What the tests of the log share: a model of the log, random histories, and a disk that keeps a copy of itself before each step.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use steadfast_storage::disk::{MemoryDisk, MemoryFile};
use steadfast_storage::log::{LogContents, LogEnding, LogError, LogOptions, LogReader, LogWriter, OpenedLog, open};
use steadfast_types::disk::{Disk, DiskError, DiskFile};
use steadfast_types::{Configuration, Entry, HardState, LogIndex, LogPosition, NodeId, Payload, Rng, Term};

pub const SMALL: LogOptions = LogOptions { segment_bytes: 4096 };

/// What a log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub hard_state: HardState,
    pub start: LogPosition,
    pub entries: Vec<Entry>,
}

impl Model {
    pub fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.start, Entry::position)
    }

    pub fn get(&self, index: LogIndex) -> Option<&Entry> {
        let at = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(at as usize)
    }

    pub fn position(&self, index: LogIndex) -> LogPosition {
        if index == self.start.index { self.start } else { self.get(index).expect("within the model").position() }
    }

    pub fn append(&mut self, hard_state: Option<HardState>, cut: Option<LogIndex>, entries: &[Entry]) {
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some(from) = cut {
            self.entries.retain(|entry| entry.index < from);
        }
        self.entries.extend_from_slice(entries);
    }

    pub fn compact(&mut self, through: LogPosition) {
        if through.index > self.start.index {
            self.entries.retain(|entry| entry.index > through.index);
            self.start = through;
        }
    }

    pub fn reset(&mut self, position: LogPosition, hard_state: HardState) {
        *self = Model { hard_state, start: position, entries: Vec::new() };
    }

    fn configurations(&self) -> Vec<(LogPosition, Configuration)> {
        let change = |entry: &Entry| match &entry.payload {
            Payload::Change { configuration, .. } => Some((entry.position(), configuration.clone())),
            Payload::Empty | Payload::Batch(_) => None,
        };
        self.entries.iter().filter_map(change).collect()
    }

    fn terms(&self) -> Vec<(LogIndex, Term)> {
        let mut terms: Vec<(LogIndex, Term)> = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|run| run.1 != entry.term) {
                terms.push((entry.index, entry.term));
            }
        }
        terms
    }

    /// Whether a log as opened is exactly this one, undamaged.
    pub fn is<D: Disk>(&self, opened: &OpenedLog<D>) -> bool {
        let contents = &opened.contents;
        contents.hard_state == self.hard_state
            && contents.start == self.start
            && contents.last == self.last()
            && contents.terms == self.terms()
            && contents.configurations == self.configurations()
            && contents.holes.is_empty()
            && !contents.hard_state_lost
            && read_all(&opened.reader, self.start.index) == self.entries
    }
}

/// All entries after `start`, read a few at a time.
pub fn read_all<D: Disk>(reader: &LogReader<D>, start: LogIndex) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let from = LogIndex(start.0 + 1 + entries.len() as u64);
        let more = reader.read(from, 2000).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

pub fn entry(term: u64, index: u64, payload: &[u8]) -> Entry {
    Entry { term: Term(term), index: LogIndex(index), payload: Payload::Batch(Bytes::copy_from_slice(payload)) }
}

/// `count` entries after `last`, of all kinds and of up to `size` bytes.
pub fn entries_after(last: LogPosition, term: Term, count: usize, size: usize, rng: &mut Rng) -> Vec<Entry> {
    (1..=count as u64).map(|number| Entry { term, index: LogIndex(last.index.0 + number), payload: payload(size, rng) }).collect()
}

fn payload(size: usize, rng: &mut Rng) -> Payload {
    let length = rng.usize(0..=size);
    let batch: Bytes = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
    match rng.u8(..8) {
        0 => Payload::Empty,
        1 => Payload::Change { configuration: Configuration::of_voters((1..rng.u64(2..5)).map(NodeId)), batch },
        _ => Payload::Batch(batch),
    }
}

/// One step of a history. Sizes are few bytes, so that several segments of [`SMALL`] fill up.
#[derive(Clone, Debug)]
pub enum Step {
    Append { count: usize, size: usize, new_term: bool, hard_state: bool },
    Replace { back: u64, count: usize, size: usize },
    Sync,
    Compact { keep: u64 },
    Reset { ahead: u64 },
    Full { room: usize },
    Reopen,
    Crash,
}

/// A log under test beside its model.
pub struct Pair {
    pub disk: TappedDisk,
    pub options: LogOptions,
    pub writer: LogWriter<TappedDisk>,
    pub reader: LogReader<TappedDisk>,
    /// The last state known to be durable, and the state after each batch since.
    pub states: Vec<Model>,
    /// Every entry ever appended.
    pub ever: Vec<Entry>,
    pub term: Term,
    pub rng: Rng,
}

impl Pair {
    pub fn new(seed: u64, options: LogOptions) -> Self {
        let disk = TappedDisk::default();
        let OpenedLog { writer, reader, contents } = open(&disk, options).unwrap();
        assert_eq!((contents.last, contents.ending), (LogPosition::default(), LogEnding::Clean));
        let states = vec![Model::default()];
        Pair { disk, options, writer, reader, states, ever: Vec::new(), term: Term(1), rng: Rng::with_seed(seed) }
    }

    pub fn model(&self) -> &Model {
        self.states.last().expect("there is always a state")
    }

    fn settled(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    /// Takes one step; afterwards every moment within it is crashed and must recover to a state that was durable or under way.
    pub fn step(&mut self, step: &Step) {
        self.disk.tap();
        let before = self.states.clone();
        self.take(step);
        let taps = self.disk.untap();
        for tap in taps {
            let crashed = tap.crashed(|| self.rng.bool());
            crashed.set_capacity(None);
            let opened = open(&crashed, self.options).unwrap_or_else(|error| panic!("{step:?}: {error}"));
            let allowed = before.iter().chain(&self.states);
            assert!(allowed.into_iter().any(|model| model.is(&opened)), "{step:?}: a crash left {:?}", opened.contents);
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append { count, size, new_term, hard_state } => self.append(0, count, size, new_term, hard_state),
            Step::Replace { back, count, size } => self.append(back, count.max(1), size, true, true),
            Step::Sync => {
                self.writer.sync().unwrap();
                self.settled();
            }
            Step::Compact { keep } => self.compact(keep),
            Step::Reset { ahead } => self.reset(ahead),
            Step::Full { room } => self.disk.inner.set_capacity(Some(self.disk.used() + room)),
            Step::Reopen => {
                let disk = self.disk.inner.fork();
                self.reopen_on(disk);
            }
            Step::Crash => {
                let disk = self.disk.inner.crashed(|| self.rng.bool());
                self.reopen_on(disk);
            }
        }
    }

    fn append(&mut self, back: u64, count: usize, size: usize, new_term: bool, hard_state: bool) {
        if new_term {
            self.term = self.term.next();
        }
        let mut model = self.model().clone();
        let keep = LogIndex(model.last().index.0.saturating_sub(back).max(model.start.index.0));
        let cut = (back > 0).then(|| keep.next());
        let entries = entries_after(model.position(keep), self.term, count, size, &mut self.rng);
        let vote = self.rng.bool().then_some(NodeId(self.rng.u64(1..4)));
        let hard_state = hard_state.then_some(HardState { term: self.term, vote, suspect: false });
        match self.writer.append(hard_state.as_ref(), cut, &entries) {
            Ok(()) => {
                model.append(hard_state, cut, &entries);
                self.ever.extend(entries);
                self.states.push(model);
            }
            Err(LogError::Full) => self.make_space(),
            Err(error) => panic!("{error}"),
        }
    }

    fn compact(&mut self, keep: u64) {
        let mut model = self.model().clone();
        let through = LogIndex(model.last().index.0.saturating_sub(keep).max(model.start.index.0));
        let through = model.position(through);
        match self.writer.compact(through) {
            Ok(()) => {
                // If there was nothing to do it was not synced either.
                let settles = through.index > model.start.index;
                model.compact(through);
                self.states.push(model);
                if settles {
                    self.settled();
                }
            }
            Err(LogError::Full) => self.make_space(),
            Err(error) => panic!("{error}"),
        }
    }

    fn reset(&mut self, ahead: u64) {
        let mut model = self.model().clone();
        let position = LogPosition::new(self.term, LogIndex(model.start.index.0 + ahead));
        let hard_state = HardState { term: self.term, ..model.hard_state };
        match self.writer.reset(position, &hard_state) {
            Ok(()) => {
                model.reset(position, hard_state);
                self.states.push(model);
                self.settled();
            }
            Err(LogError::Full) => self.make_space(),
            Err(error) => panic!("{error}"),
        }
    }

    fn make_space(&mut self) {
        self.disk.inner.set_capacity(None);
        self.check();
    }

    pub fn reopen_on(&mut self, disk: MemoryDisk) {
        disk.set_capacity(None);
        self.disk = TappedDisk { inner: disk, ..TappedDisk::default() };
        let opened = open(&self.disk, self.options).unwrap();
        let found = self.states.iter().rposition(|model| model.is(&opened));
        let found = found.unwrap_or_else(|| panic!("none of {:#?} is {:#?}", self.states, opened.contents));
        self.states = vec![self.states[found].clone()];
        (self.writer, self.reader) = (opened.writer, opened.reader);
    }

    /// The live log is what the model says.
    pub fn check(&self) {
        let model = self.model();
        assert_eq!(read_all(&self.reader, model.start.index), model.entries);
        assert_eq!((self.writer.start(), self.writer.last()), (model.start, model.last()));
        assert_eq!(self.writer.hard_state(), model.hard_state);
        if model.start.index > LogIndex(0) {
            assert_eq!(self.reader.read(model.start.index, 1), Err(LogError::Compacted { start: model.start }));
        }
    }
}

/// Opens a damaged disk and checks that nothing of `model` is lost or changed without a word. Returns what was found.
pub fn check_damaged(disk: &MemoryDisk, options: LogOptions, model: &Model, ever: &[Entry]) -> LogContents {
    let mut opened = open(disk, options).unwrap();
    let contents = opened.contents.clone();
    let suspect = contents.hard_state.suspect;
    let (found, wanted) = (contents.hard_state, model.hard_state);
    assert!(suspect || (found, contents.last, contents.start) == (wanted, model.last(), model.start), "lost in silence: {contents:?}");
    assert!(suspect || contents.ending != LogEnding::Damaged);
    assert!(contents.hard_state_lost || (found.term, found.vote) == (wanted.term, wanted.vote), "a vote is lost: {contents:?}");
    assert!(contents.hard_state_lost <= suspect && contents.holes.is_empty() >= !suspect);
    assert!(found.vote.is_some() || !contents.hard_state_lost);

    let cut_off = contents.ending == LogEnding::Damaged;
    assert!(cut_off || contents.last == model.last(), "{contents:?}");
    for index in (contents.start.index.0 + 1..=contents.last.index.0).map(LogIndex) {
        let hole = contents.holes.iter().any(|hole| hole.contains(&index));
        match opened.reader.read(index, 1) {
            Ok(entries) if cut_off => assert!(ever.contains(&entries[0]), "invented {:?}", entries[0].position()),
            Ok(entries) => assert_eq!(Some(&entries[0]), model.get(index)),
            Err(error) => assert!(hole && error == LogError::Damaged { index }, "{index}: {error}"),
        }
    }
    repair_holes(&mut opened, model);
    let again = open(disk, options).unwrap().contents;
    assert!(again.holes.is_empty() || cut_off, "repaired: {again:?}");
    assert_eq!((again.hard_state, again.last), (contents.hard_state, contents.last), "what was found is durable");
    contents
}

/// Fills all holes that the model has entries for, and checks that they then read well.
fn repair_holes(opened: &mut OpenedLog<MemoryDisk>, model: &Model) {
    for hole in &opened.contents.holes {
        let indexes = (hole.start.0..hole.end.0).map(LogIndex);
        let entries: Vec<Entry> = indexes.filter_map(|index| model.get(index)).cloned().collect();
        match opened.writer.repair(&entries) {
            Ok(()) => entries.iter().for_each(|entry| assert_eq!(&opened.reader.read(entry.index, 1).unwrap()[0], entry)),
            // The end of the log was cut off, and with it what the model has there.
            Err(LogError::NotARepair { .. }) => assert_eq!(opened.contents.ending, LogEnding::Damaged),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A disk that, while tapped, keeps a copy of itself before each change.
#[derive(Clone, Default)]
pub struct TappedDisk {
    pub inner: MemoryDisk,
    taps: Arc<Mutex<Option<Vec<MemoryDisk>>>>,
}

pub struct TappedFile {
    inner: MemoryFile,
    disk: TappedDisk,
}

impl TappedDisk {
    pub fn tap(&self) {
        *self.taps.lock().unwrap() = Some(Vec::new());
    }

    pub fn untap(&self) -> Vec<MemoryDisk> {
        self.taps.lock().unwrap().take().unwrap_or_default()
    }

    pub fn used(&self) -> usize {
        self.inner.list().unwrap().iter().map(|name| self.inner.bytes(name).len()).sum()
    }

    fn note(&self) {
        if let Some(taps) = &mut *self.taps.lock().unwrap() {
            taps.push(self.inner.fork());
        }
    }

    fn wrap(&self, inner: MemoryFile) -> TappedFile {
        TappedFile { inner, disk: self.clone() }
    }
}

impl Disk for TappedDisk {
    type File = TappedFile;

    fn open(&self, name: &str) -> Result<TappedFile, DiskError> {
        self.inner.open(name).map(|file| self.wrap(file))
    }

    fn create(&self, name: &str) -> Result<TappedFile, DiskError> {
        self.note();
        self.inner.create(name).map(|file| self.wrap(file))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.note();
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.note();
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.note();
        self.inner.sync_directory()
    }
}

impl DiskFile for TappedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.note();
        self.inner.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.disk.note();
        self.inner.sync()
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.inner.length()
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.disk.note();
        self.inner.set_length(length)
    }
}
