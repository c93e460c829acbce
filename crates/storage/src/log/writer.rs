//! Appends to the log. The one writer of a log; its state is the header of the batch written last.

mod room;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use steadfast_types::disk::{Disk, DiskError, DiskFile};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire::Wire;
use steadfast_types::{Entry, HardState, LogIndex, LogPosition};

use super::format::{BatchSequence, HEADER_BYTES, Header, RECORD_HEADER_BYTES, SECTOR, SegmentNumber, seal_record};
use super::index::{Index, Slot};
use super::segment::{self, FIRST_BATCH_BYTES};
use super::{LogError, LogOptions};

/// The largest batch. Offsets in a segment have 32 bits.
const BATCH_LIMIT_BYTES: u64 = 1024 * 1024 * 1024;

/// What the writer knows of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SegmentStatus {
    /// The highest index it may hold.
    pub(super) highest: LogIndex,
    /// Its length.
    pub(super) bytes: u64,
}

/// Where a record stands in the batch under way.
#[derive(Clone, Copy)]
struct Span {
    position: LogPosition,
    at: u32,
    bytes: u32,
}

/// Appends to a log.
pub struct LogWriter<D: Disk> {
    disk: D,
    shared: Arc<RwLock<Index<D::File>>>,
    segments: BTreeMap<SegmentNumber, SegmentStatus>,
    /// The length at which a new segment is full.
    segment_capacity: u32,
    /// The length at which the present one is.
    capacity: u32,
    file: Arc<D::File>,
    /// Of the last batch.
    header: Header,
    /// Where the next batch goes.
    tail: u32,
    /// Blanks stand from the tail up to here, durably.
    filled: u32,
    /// Blanks stand up to here, durably after the next sync.
    filling: u32,
    /// The last batch known to be durable.
    synced: BatchSequence,
    poisoned: Option<String>,
    /// The batch under way: reused, so that an append allocates nothing once it has grown.
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

impl<D: Disk> fmt::Debug for LogWriter<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogWriter { segments, header, tail, filled, synced, poisoned, .. } = self;
        let mut out = f.debug_struct("LogWriter");
        out.field("segments", segments).field("header", header).field("tail", tail).field("filled", filled);
        out.field("synced", synced).field("poisoned", poisoned).finish_non_exhaustive()
    }
}

/// The place to go on writing in a segment that has room.
pub(super) struct Place<F> {
    pub(super) file: Arc<F>,
    pub(super) tail: u32,
    pub(super) filled: u32,
}

impl<D: Disk> LogWriter<D> {
    /// Goes on after the batch with `header`, which is durable, in its segment.
    pub(super) fn resume(
        disk: D,
        options: LogOptions,
        shared: Arc<RwLock<Index<D::File>>>,
        header: Header,
        segments: BTreeMap<SegmentNumber, SegmentStatus>,
        place: Place<D::File>,
    ) -> Self {
        let segment_capacity = options.capacity();
        LogWriter {
            disk,
            shared,
            segments,
            segment_capacity,
            capacity: segment_capacity.max(place.filled),
            file: place.file,
            synced: header.sequence,
            header,
            tail: place.tail,
            filled: place.filled,
            filling: place.filled,
            poisoned: None,
            buffer: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Goes on after the batch with `header`, which is durable and ends at `end`, in the new segment `number`, with the state that `header`
    /// says. Durable on return.
    pub(super) fn begin(
        disk: D,
        options: LogOptions,
        shared: Arc<RwLock<Index<D::File>>>,
        mut header: Header,
        segments: BTreeMap<SegmentNumber, SegmentStatus>,
        number: SegmentNumber,
        end: u32,
    ) -> Result<Self, LogError> {
        follow_in_segment(&mut header, number, end);
        let made = segment::create(&disk, &mut header, 0, options.capacity()).map_err(when_opening)?;
        let place = Place { file: made.file, tail: FIRST_BATCH_BYTES, filled: made.filled };
        let mut writer = LogWriter::resume(disk, options, shared, header, segments, place);
        writer.register();
        Ok(writer)
    }

    /// Appends one batch with one write: the hard state if given, then a cut of all entries from `truncate_from` on if given, then
    /// `entries`. Readers see it at once. It is durable after the next [`LogWriter::sync`].
    ///
    /// # Errors
    /// [`LogError::Full`] and [`LogError::TooLarge`], with nothing changed; [`LogError::Poisoned`].
    ///
    /// # Panics
    /// If `entries` leave a gap after what is there, or the cut reaches below the log's start.
    pub fn append(&mut self, hard_state: Option<&HardState>, truncate_from: Option<LogIndex>, entries: &[Entry]) -> Result<(), LogError> {
        if hard_state.is_none() && truncate_from.is_none() && entries.is_empty() {
            return Ok(());
        }
        let mut next = self.next_header();
        next.hard_state = hard_state.copied().unwrap_or(next.hard_state);
        if let Some(from) = truncate_from.filter(|&from| from <= next.last.index) {
            next.last = self.position_before(from);
            next.cuts.push(from);
        }
        next.base = next.last;
        let mut expected = next.base;
        for entry in entries {
            assert!(entry.index == expected.index.next(), "entry {} can't follow {expected}: the log has no gaps", entry.position());
            assert!(entry.term >= expected.term, "entry {} can't follow {expected}: terms never go down", entry.position());
            expected = entry.position();
        }
        next.last = expected;
        self.write(next, entries)?;

        let mut index = self.shared.write();
        index.slots.truncate_after(self.header.base.index);
        for &span in &self.spans {
            index.slots.push(slot(&self.header, span));
        }
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// [`LogError::Poisoned`]: the sync failed, now or before. It is never tried again.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.usable()?;
        if self.synced == self.header.sequence && self.filled == self.filling {
            return Ok(());
        }
        let mut synced = self.file.sync();
        if is_planted(Bug::FailedSyncRetried) && synced.is_err() {
            synced = Ok(());
        }
        synced.map_err(|error| self.poison(error))?;
        self.synced = self.header.sequence;
        self.filled = self.filling;
        Ok(())
    }

    /// Lets the log begin after `through`, durably, and removes the segments that hold nothing later. Does nothing if the log begins there or
    /// later already. Costs one sync, and one removal for each such segment.
    ///
    /// # Errors
    /// [`LogError::Full`], with nothing changed; [`LogError::Poisoned`].
    ///
    /// # Panics
    /// If the log holds another entry at `through`, or ends before it.
    pub fn compact(&mut self, through: LogPosition) -> Result<(), LogError> {
        if through.index <= self.header.start.index {
            return self.usable();
        }
        let held = self.shared.read().slots.position(through.index);
        assert!(through.index <= self.header.last.index, "the log ends at {} and can't be compacted through {through}", self.header.last);
        assert!(held.is_none_or(|held| held == through), "the log holds {held:?} and can't be compacted through {through}");
        let mut next = self.next_header();
        next.start = through;
        next.first_segment = self.first_needed(through.index);
        self.write(next, &[])?;
        self.sync()?;
        self.shared.write().slots.advance_start(through);
        self.remove_before(self.header.first_segment)
    }

    /// Empties the log: it begins after `position`, where a snapshot was installed. Durable on return.
    ///
    /// # Errors
    /// [`LogError::Full`], with nothing changed; [`LogError::Poisoned`].
    pub fn reset(&mut self, position: LogPosition, hard_state: &HardState) -> Result<(), LogError> {
        self.usable()?;
        let mut next = self.next_header();
        next.hard_state = *hard_state;
        next.cuts.push(position.index.next());
        (next.start, next.base, next.last) = (position, position, position);
        next.first_segment = self.header.segment.next();
        self.switch_to_segment(next, 0)?;
        self.shared.write().slots = super::index::Slots::after(position);
        self.remove_before(self.header.first_segment)
    }

    /// Replaces lost or damaged entries by intact copies. Durable on return. The caller has verified that they are the entries that were
    /// there, by log matching (Raft paper, section 5.3).
    ///
    /// # Errors
    /// [`LogError::NotARepair`], [`LogError::Full`] and [`LogError::TooLarge`], with nothing changed; [`LogError::Poisoned`].
    pub fn repair(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        if entries.is_empty() {
            return self.usable();
        }
        self.verify_repair(entries)?;
        let mut next = self.next_header();
        next.repair = true;
        self.write(next, entries)?;
        self.sync()?;
        let mut index = self.shared.write();
        for &span in &self.spans {
            index.slots.set(span.position.index, slot(&self.header, span));
        }
        Ok(())
    }

    /// The bytes of all entries after `index`, as they stand on disk.
    pub fn bytes_after(&self, index: LogIndex) -> u64 {
        self.shared.read().slots.bytes_after(index)
    }

    /// The last position that can be compacted through while entries of at least `keep_bytes` stay; the log's start if it holds fewer.
    pub fn compaction_point(&self, keep_bytes: u64) -> LogPosition {
        let slots = &self.shared.read().slots;
        let index = slots.index_with_bytes_after(keep_bytes);
        // The term of a lost entry may be unknown; then nothing can be said of a log that begins there.
        slots.position(index).unwrap_or(slots.start())
    }

    /// The bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// The log begins after this position.
    pub fn start(&self) -> LogPosition {
        self.header.start
    }

    /// The last entry.
    pub fn last(&self) -> LogPosition {
        self.header.last
    }

    /// The hard state appended last.
    pub fn hard_state(&self) -> HardState {
        self.header.hard_state
    }

    fn usable(&self) -> Result<(), LogError> {
        match &self.poisoned {
            Some(reason) => Err(LogError::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    fn poison(&mut self, error: DiskError) -> LogError {
        let reason = error.to_string();
        self.poisoned = Some(reason.clone());
        LogError::Poisoned(reason)
    }

    /// A full disk leaves the log as it was; any other failure poisons it.
    fn full_or_poison(&mut self, error: DiskError) -> LogError {
        match error {
            DiskError::Full(_) => LogError::Full,
            DiskError::NotFound(_) | DiskError::Failed(_) => self.poison(error),
        }
    }

    /// The header of a batch that changes nothing.
    fn next_header(&self) -> Header {
        Header { base: self.header.last, repair: false, copied: false, ..self.header.clone() }
    }

    fn position_before(&self, from: LogIndex) -> LogPosition {
        let start = self.header.start;
        assert!(from > start.index, "a cut from {from} reaches below the log's start {start}");
        let index = from.previous();
        // An entry in a hole may have an unknown term: 0 says so, and is below every real one.
        self.shared.read().slots.position(index).unwrap_or(LogPosition { index, ..LogPosition::default() })
    }

    fn verify_repair(&self, entries: &[Entry]) -> Result<(), LogError> {
        let slots = &self.shared.read().slots;
        for entry in entries {
            let known = slots.position(entry.index);
            if slots.get(entry.index).is_none() || known.is_some_and(|known| known != entry.position()) {
                return Err(LogError::NotARepair { position: entry.position() });
            }
        }
        Ok(())
    }

    /// Writes a batch: `next` with what concerns the entries filled in, and `entries`.
    fn write(&mut self, mut next: Header, entries: &[Entry]) -> Result<(), LogError> {
        self.usable()?;
        self.encode(entries);
        let body_bytes = self.buffer.len() - HEADER_BYTES;
        if body_bytes as u64 > BATCH_LIMIT_BYTES {
            return Err(LogError::TooLarge { bytes: body_bytes as u64 });
        }
        next.body_bytes = u32::try_from(body_bytes).expect("the limit fits 32 bits");
        next.records = u32::try_from(self.spans.len()).expect("a record has at least one byte");
        next.copied = self.needs_copy(&next);
        let extent = u32::try_from(next.extent()).expect("the limit fits 32 bits");
        self.make_room(extent)?;

        next.sequence = self.header.sequence.next();
        next.previous_checksum = self.header.checksum;
        next.synced = self.synced;
        (next.segment, next.offset) = (self.header.segment, self.tail);
        (next.previous_segment, next.previous_segment_end) = (self.header.previous_segment, self.header.previous_segment_end);
        self.seal(&mut next, extent);
        if let Err(error) = self.file.write_at(u64::from(self.tail), &self.buffer) {
            return Err(self.take_back(extent, error));
        }
        self.tail += extent;
        self.header = next;
        let status = self.segments.get_mut(&self.header.segment).expect("the present segment is known");
        status.highest = status.highest.max(self.header.last.index);
        Ok(())
    }

    /// Whether the loss of one sector could hide what `next` says: a change of the state that no other batch tells of, or how far the batch
    /// reaches.
    fn needs_copy(&self, next: &Header) -> bool {
        let changes = next.hard_state != self.header.hard_state || next.start != self.header.start;
        changes || next.extent() > u64::from(SECTOR)
    }

    /// Puts the records of `entries` into the buffer, behind room for the header, and notes where they stand.
    fn encode(&mut self, entries: &[Entry]) {
        self.spans.clear();
        self.buffer.clear();
        self.buffer.resize(HEADER_BYTES, 0);
        for entry in entries {
            let at = self.buffer.len();
            self.buffer.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
            entry.payload.encode(&mut self.buffer);
            // A batch beyond 32 bits is refused before its spans are used.
            let (at, bytes) = (at as u32, (self.buffer.len() - at) as u32);
            self.spans.push(Span { position: entry.position(), at, bytes });
        }
    }

    /// Computes all checksums of the batch in the buffer and completes its last sector.
    fn seal(&mut self, next: &mut Header, extent: u32) {
        self.buffer.resize(extent as usize, 0);
        next.body_checksum = 0;
        for span in &self.spans {
            let record = &mut self.buffer[span.at as usize..(span.at + span.bytes) as usize];
            let checksum = seal_record(record, span.position, next.sequence);
            next.body_checksum = crc32c::crc32c_append(next.body_checksum, &checksum.to_le_bytes());
        }
        next.seal(&mut self.buffer);
        if next.copied {
            next.seal_copy(&mut self.buffer[(extent - SECTOR) as usize..]);
        }
    }
}

/// Makes of the header of the log's last batch, which ends at `end` of its segment, that of the next batch, which begins segment `number`.
fn follow_in_segment(header: &mut Header, number: SegmentNumber, end: u32) {
    header.previous_checksum = header.checksum;
    header.synced = header.sequence;
    header.sequence = header.sequence.next();
    (header.previous_segment, header.previous_segment_end) = (header.segment, end);
    (header.segment, header.base) = (number, header.last);
}

/// The slot of a record of the batch with `header`.
fn slot(header: &Header, span: Span) -> Slot {
    Slot { term: span.position.term, segment: header.segment, offset: header.offset + span.at, bytes: span.bytes }
}

/// While the log is opened there is nothing to poison yet.
fn when_opening(error: DiskError) -> LogError {
    match error {
        DiskError::Full(_) => LogError::Full,
        DiskError::NotFound(_) | DiskError::Failed(_) => LogError::Disk(error),
    }
}
