//! The bytes of the log: sectors, batch headers, records.
//!
//! 1. A batch begins at a sector boundary and fills whole sectors; no sector holds parts of two batches.
//! 2. A sector that no batch was ever written to holds its *blank*: a pattern made from its segment and offset. No torn write leaves it
//!    in a written sector, and no decay of bits produces it: so a blank inside a batch proves that the batch was never synced.
//! 3. A header says everything about the log's state after its batch (hard state, start, last entry), so any later intact header makes
//!    up for lost earlier ones. A batch that changes the hard state or the start, or takes more than one sector, ends with a sector that
//!    holds a copy of its header: so no single bad sector hides what the last batch said.
//! 4. The first 12 bytes of a header keep their meaning in every format version.
//!
//! All integers are little-endian. Checksums are CRC-32C.

use steadfast_types::{HardState, LogIndex, LogPosition, NodeId, Term};

/// Bytes that a disk writes as one or not at all.
pub(super) const SECTOR: u32 = 512;

/// The format written, and the newest one read.
pub(super) const FORMAT_VERSION: u16 = 1;

/// Bytes of a batch header.
pub(super) const HEADER_BYTES: usize = 176;

/// Bytes of a record before its payload: checksum, payload length, index, term, batch.
pub(super) const RECORD_HEADER_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"SfLb";
const COPY_MAGIC: [u8; 4] = *b"SfLc";
const BLANK_MAGIC: [u8; 4] = *b"SfL0";

/// No index, term or count ever comes near this: so that adding one never overflows.
const FARTHEST: u64 = 1 << 62;

/// How many cuts a header remembers.
const RECENT_CUTS: usize = 4;

/// Counts the batches of a log, from 1, over all segments and restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchSequence(pub(super) u64);

impl BatchSequence {
    pub(super) fn next(self) -> Self {
        BatchSequence(self.0 + 1)
    }
}

/// Counts the segments of a log, from 1. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentNumber(pub(super) u32);

impl SegmentNumber {
    pub(super) fn next(self) -> Self {
        SegmentNumber(self.0.checked_add(1).expect("the log has used up all its segment numbers"))
    }

    pub(super) fn file_name(self) -> String {
        format!("log-{:08x}", self.0)
    }

    /// The number of the segment in the file called `name`, if it is one.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("log-")?;
        let number = u32::from_str_radix(digits, 16).ok().filter(|&number| number > 0)?;
        Some(SegmentNumber(number)).filter(|segment| segment.file_name() == name)
    }
}

/// The cuts of a log's tail so far: how many, and where the last ones were. From two headers a reader learns what the batches between
/// them may have replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cuts {
    count: u64,
    /// The first index that each of the latest cuts removed, newest first.
    recent: [LogIndex; RECENT_CUTS],
}

impl Cuts {
    pub(super) fn push(&mut self, from: LogIndex) {
        self.recent.rotate_right(1);
        self.recent[0] = from;
        self.count += 1;
    }

    /// The lowest index that cuts since `earlier` may have removed; `None` if there were none.
    pub(super) fn lowest_since(&self, earlier: &Cuts) -> Option<LogIndex> {
        match usize::try_from(self.count.saturating_sub(earlier.count)).unwrap_or(usize::MAX) {
            0 if self.count == earlier.count => None,
            count @ 1..=RECENT_CUTS => self.recent[..count].iter().min().copied(),
            _ => Some(LogIndex(0)),
        }
    }
}

/// What stands at the front of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Its own checksum, which covers all the rest and, through `body_checksum`, the records.
    pub(super) checksum: u32,
    /// Over the checksums of the records.
    pub(super) body_checksum: u32,
    pub(super) sequence: BatchSequence,
    /// The newest batch that was known to be durable when this one was written.
    pub(super) synced: BatchSequence,
    /// The checksum of the batch before.
    pub(super) previous_checksum: u32,
    pub(super) segment: SegmentNumber,
    /// Where in the segment the batch begins.
    pub(super) offset: u32,
    pub(super) body_bytes: u32,
    pub(super) records: u32,
    /// Segments below this one are no part of the log any more.
    pub(super) first_segment: SegmentNumber,
    /// The segment before this one, and where in it the log left off. Whatever stands behind that place is no part of the log.
    pub(super) previous_segment: SegmentNumber,
    pub(super) previous_segment_end: u32,
    /// The log begins after this position.
    pub(super) start: LogPosition,
    /// The last entry that this batch follows, after its cut if it makes one.
    pub(super) base: LogPosition,
    /// The log's last entry after this batch.
    pub(super) last: LogPosition,
    pub(super) hard_state: HardState,
    pub(super) cuts: Cuts,
    /// The records replace damaged ones at their indexes, and do not follow `base`.
    pub(super) repair: bool,
    /// A copy of the header fills the batch's last sector.
    pub(super) copied: bool,
}

const FLAG_VOTE: u32 = 1;
const FLAG_SUSPECT: u32 = 2;
const FLAG_REPAIR: u32 = 4;
const FLAG_COPIED: u32 = 8;

/// What a sector begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SectorStart {
    /// An intact header of a batch.
    Header(Header),
    /// An intact copy of a header.
    Copy(Header),
    /// An intact header of a later format.
    NewerFormat(u16),
    /// Anything else.
    Other,
}

impl Header {
    /// The bytes of the batch on disk, a multiple of [`SECTOR`].
    pub(super) fn extent(&self) -> u64 {
        let content = (HEADER_BYTES as u64 + u64::from(self.body_bytes)).next_multiple_of(u64::from(SECTOR));
        content + if self.copied { u64::from(SECTOR) } else { 0 }
    }

    /// Where the batch ends in its segment.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + self.extent()
    }

    /// Whether this batch stands where it was meant to.
    pub(super) fn is_at(&self, segment: SegmentNumber, offset: u64) -> bool {
        self.segment == segment && u64::from(self.offset) == offset
    }

    /// Whether this batch is the one right after `earlier`.
    pub(super) fn follows(&self, earlier: &Header) -> bool {
        self.sequence == earlier.sequence.next() && self.previous_checksum == earlier.checksum
    }

    /// Computes the checksum and writes the header to the front of `out`.
    pub(super) fn seal(&mut self, out: &mut [u8]) {
        self.put(MAGIC, out);
        self.checksum = u32::from_le_bytes(out[8..12].try_into().expect("four bytes"));
    }

    /// Writes the copy of the header to the front of `out`.
    pub(super) fn seal_copy(&self, out: &mut [u8]) {
        self.put(COPY_MAGIC, out);
    }

    fn put(&self, magic: [u8; 4], out: &mut [u8]) {
        let mut fields = FieldWriter { out: &mut out[..HEADER_BYTES], at: 0 };
        fields.bytes(&magic);
        fields.bytes(&FORMAT_VERSION.to_le_bytes());
        fields.bytes(&(HEADER_BYTES as u16).to_le_bytes());
        fields.u32(0);
        fields.u32(self.body_checksum);
        fields.u64(self.sequence.0);
        fields.u64(self.synced.0);
        fields.u32(self.previous_checksum);
        fields.u32(self.segment.0);
        fields.u32(self.offset);
        fields.u32(self.body_bytes);
        fields.u32(self.records);
        fields.u32(self.first_segment.0);
        fields.u32(self.previous_segment.0);
        fields.u32(self.previous_segment_end);
        fields.position(self.start);
        fields.position(self.base);
        fields.position(self.last);
        fields.u64(self.hard_state.term.0);
        fields.u64(self.hard_state.vote.map_or(0, |node| node.0));
        fields.u32(self.flags());
        fields.u32(0);
        fields.u64(self.cuts.count);
        self.cuts.recent.iter().for_each(|index| fields.u64(index.0));
        assert!(fields.at == HEADER_BYTES, "the header's fields do not fill it");
        let checksum = header_checksum(&out[..HEADER_BYTES]);
        out[8..12].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Whether its numbers can be true together. A header that is intact and says otherwise was written by no version of this program: its
    /// numbers must not be added up.
    fn is_plausible(&self) -> bool {
        let indexes = self.start.index <= self.base.index && self.base.index <= self.last.index && self.last.index.0 < FARTHEST;
        let counts = [self.sequence.0, self.synced.0, self.cuts.count, self.last.index.0, self.hard_state.term.0];
        let segments = self.first_segment <= self.segment && self.previous_segment < self.segment && self.segment.0 < u32::MAX;
        let consistent = (self.last.index > self.start.index || self.last == self.start)
            && (self.records > 0 && !self.repair || self.base == self.last)
            && self.end() <= u64::from(u32::MAX);
        indexes && segments && consistent && counts.iter().all(|&count| count < FARTHEST)
    }

    /// The header that `sector` is the copy of, with the checksum that it had itself.
    fn of_copy(sector: &[u8]) -> Header {
        let mut header = Header::take(sector);
        header.seal(&mut [0; HEADER_BYTES]);
        header
    }

    fn flags(&self) -> u32 {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        flag(self.hard_state.vote.is_some(), FLAG_VOTE)
            | flag(self.hard_state.suspect, FLAG_SUSPECT)
            | flag(self.repair, FLAG_REPAIR)
            | flag(self.copied, FLAG_COPIED)
    }

    fn take(bytes: &[u8]) -> Header {
        let mut fields = FieldReader { bytes, at: 8 };
        let mut header = Header {
            checksum: fields.u32(),
            body_checksum: fields.u32(),
            sequence: BatchSequence(fields.u64()),
            synced: BatchSequence(fields.u64()),
            previous_checksum: fields.u32(),
            segment: SegmentNumber(fields.u32()),
            offset: fields.u32(),
            body_bytes: fields.u32(),
            records: fields.u32(),
            first_segment: SegmentNumber(fields.u32()),
            previous_segment: SegmentNumber(fields.u32()),
            previous_segment_end: fields.u32(),
            start: fields.position(),
            base: fields.position(),
            last: fields.position(),
            ..Header::default()
        };
        let (term, vote, flags) = (Term(fields.u64()), NodeId(fields.u64()), fields.u32());
        fields.u32();
        header.cuts.count = fields.u64();
        header.cuts.recent.iter_mut().for_each(|index| *index = LogIndex(fields.u64()));
        header.hard_state = HardState { term, vote: (flags & FLAG_VOTE != 0).then_some(vote), suspect: flags & FLAG_SUSPECT != 0 };
        header.repair = flags & FLAG_REPAIR != 0;
        header.copied = flags & FLAG_COPIED != 0;
        header
    }
}

/// Tells what `sector` begins with. A sector cut short by the file's end is `Other`.
pub(super) fn parse_sector(sector: &[u8]) -> SectorStart {
    if sector.len() < SECTOR as usize || !(sector[..4] == MAGIC || sector[..4] == COPY_MAGIC) {
        return SectorStart::Other;
    }
    let version = u16::from_le_bytes([sector[4], sector[5]]);
    let length = usize::from(u16::from_le_bytes([sector[6], sector[7]]));
    let checksum = u32::from_le_bytes(sector[8..12].try_into().expect("four bytes"));
    if !(12..=SECTOR as usize).contains(&length) || checksum != header_checksum(&sector[..length]) {
        return SectorStart::Other;
    }
    match version {
        FORMAT_VERSION if length == HEADER_BYTES => match Header::take(sector) {
            header if !header.is_plausible() => SectorStart::Other,
            header if sector[..4] == MAGIC => SectorStart::Header(header),
            _ => SectorStart::Copy(Header::of_copy(sector)),
        },
        newer if newer > FORMAT_VERSION => SectorStart::NewerFormat(newer),
        _ => SectorStart::Other,
    }
}

fn header_checksum(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..8]), &header[12..])
}

/// The blank of the sector at `offset` of `segment`.
pub(super) fn blank(segment: SegmentNumber, offset: u64) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    sector[..4].copy_from_slice(&BLANK_MAGIC);
    sector[8..16].copy_from_slice(&u64::from(segment.0).to_le_bytes());
    sector[16..24].copy_from_slice(&offset.to_le_bytes());
    let checksum = crc32c::crc32c(&sector[8..24]);
    sector[4..8].copy_from_slice(&checksum.to_le_bytes());
    sector
}

/// Appends the blanks of the sectors of `segment` in `from..to` to `out`.
pub(super) fn put_blanks(segment: SegmentNumber, from: u32, to: u32, out: &mut Vec<u8>) {
    for offset in (from..to).step_by(SECTOR as usize) {
        out.extend_from_slice(&blank(segment, u64::from(offset)));
    }
}

/// One record as it stands in a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) checksum: u32,
    pub(super) batch: BatchSequence,
    pub(super) position: LogPosition,
    /// The wire form of the entry's payload.
    pub(super) payload: &'a [u8],
}

impl Record<'_> {
    /// Its bytes on disk.
    pub(super) fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload.len()
    }
}

/// Writes the header of a record over the space left for it at the front of `record`, and returns its checksum.
pub(super) fn seal_record(record: &mut [u8], position: LogPosition, batch: BatchSequence) -> u32 {
    let payload_bytes = u32::try_from(record.len() - RECORD_HEADER_BYTES).expect("a batch has fewer bytes than fit 32 bits");
    record[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
    record[8..16].copy_from_slice(&position.index.0.to_le_bytes());
    record[16..24].copy_from_slice(&position.term.0.to_le_bytes());
    record[24..32].copy_from_slice(&batch.0.to_le_bytes());
    let checksum = crc32c::crc32c(&record[4..]);
    record[..4].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// The record at the front of `bytes`, if it is intact.
pub(super) fn parse_record(bytes: &[u8]) -> Option<Record<'_>> {
    let mut fields = FieldReader { bytes: bytes.get(..RECORD_HEADER_BYTES)?, at: 0 };
    let checksum = fields.u32();
    let end = RECORD_HEADER_BYTES.checked_add(usize::try_from(fields.u32()).ok()?)?;
    let record = bytes.get(..end).filter(|record| crc32c::crc32c(&record[4..]) == checksum)?;
    let (index, term, batch) = (LogIndex(fields.u64()), Term(fields.u64()), BatchSequence(fields.u64()));
    Some(Record { checksum, batch, position: LogPosition { term, index }, payload: &record[RECORD_HEADER_BYTES..] })
}

struct FieldWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl FieldWriter<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn position(&mut self, position: LogPosition) {
        self.u64(position.index.0);
        self.u64(position.term.0);
    }
}

struct FieldReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl FieldReader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.bytes[self.at..self.at + N].try_into().expect("the range has N bytes");
        self.at += N;
        bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn position(&mut self) -> LogPosition {
        let index = LogIndex(self.u64());
        LogPosition { term: Term(self.u64()), index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut cuts = Cuts::default();
        [9, 7, 8].map(LogIndex).into_iter().for_each(|index| cuts.push(index));
        Header {
            sequence: BatchSequence(5),
            synced: BatchSequence(4),
            segment: SegmentNumber(2),
            offset: 1024,
            body_bytes: 400,
            records: 1,
            last: LogPosition::new(Term(3), LogIndex(9)),
            hard_state: HardState { term: Term(4), vote: Some(NodeId(7)), suspect: true },
            cuts,
            copied: true,
            ..Header::default()
        }
    }

    #[test]
    fn a_header_and_its_copy_come_back_and_any_flip_shows() {
        let mut header = header();
        let mut sector = [0; SECTOR as usize];
        header.seal(&mut sector);
        assert_eq!(parse_sector(&sector), SectorStart::Header(header.clone()));
        assert_eq!(header.extent(), 1536);
        for bit in 0..HEADER_BYTES * 8 {
            sector[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_sector(&sector), SectorStart::Other, "bit {bit}");
            sector[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(parse_sector(&sector[..511]), SectorStart::Other);
        header.seal_copy(&mut sector);
        assert_eq!(parse_sector(&sector), SectorStart::Copy(header));
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let mut sector = [0; SECTOR as usize];
        header().seal(&mut sector);
        sector[4] = 2;
        assert_eq!(parse_sector(&sector), SectorStart::Other);
        let checksum = header_checksum(&sector[..HEADER_BYTES]);
        sector[8..12].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(parse_sector(&sector), SectorStart::NewerFormat(2));
    }

    #[test]
    fn a_record_comes_back_and_any_flip_or_cut_shows() {
        let mut bytes = vec![0; RECORD_HEADER_BYTES];
        bytes.extend_from_slice(b"payload");
        let position = LogPosition::new(Term(2), LogIndex(3));
        let checksum = seal_record(&mut bytes, position, BatchSequence(4));
        let record = Record { checksum, batch: BatchSequence(4), position, payload: b"payload" };
        assert_eq!(parse_record(&bytes), Some(record));
        for cut in 0..bytes.len() {
            assert_eq!(parse_record(&bytes[..cut]), None, "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_record(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn cuts_remember_the_lowest_of_the_last_ones() {
        let (before, mut after) = (header().cuts, header().cuts);
        assert_eq!(after.lowest_since(&before), None);
        [20, 15, 30].map(LogIndex).into_iter().for_each(|index| after.push(index));
        assert_eq!(after.lowest_since(&before), Some(LogIndex(15)));
        [20, 25].map(LogIndex).into_iter().for_each(|index| after.push(index));
        assert_eq!(after.lowest_since(&before), Some(LogIndex(0)), "more cuts than are remembered");
        assert_eq!(before.lowest_since(&after), Some(LogIndex(0)), "time does not run backward");
    }

    #[test]
    fn file_names_are_exact() {
        assert_eq!(SegmentNumber::of_file(&SegmentNumber(0xab).file_name()), Some(SegmentNumber(0xab)));
        for name in ["log-", "log-new", "log-0", "log-00000000", "log-000000AB", "log-+00000ab", "tables"] {
            assert_eq!(SegmentNumber::of_file(name), None, "{name}");
        }
    }
}
