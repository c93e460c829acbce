//! The bytes of the journal: file headers, records.
//!
//! 1. A file begins with two sectors that hold the same file header; records follow.
//! 2. A write begins at a sector boundary, and no sector holds parts of two writes. In a write, one record follows the other; the last one
//!    says that it is the last. So a reader knows where the next record must stand, and a sector that a power failure lost is zeros, or
//!    lies beyond the file's end.
//! 3. Behind its last write a file holds zeros, or ends.
//! 4. A checksum of a record's header covers also the file's salt and number and the offset: so what stands in a wrong place is
//!    no record, and neither is anything in a record's content, whoever chose it.
//! 5. The first 12 bytes of a file header keep their meaning in every format version.
//!
//! | file header | bytes |
//! | --- | --- |
//! | magic `SfJf` | 4 |
//! | format version | 2 |
//! | bytes of this header | 2 |
//! | checksum of all the rest of the header | 4 |
//! | number of the file | 4 |
//! | salt | 8 |
//! | sequence of the first record | 8 |
//! | sequence up to which records were durable | 8 |
//! | checksum of the record before the first; 0 if there is none | 4 |
//!
//! | record | bytes |
//! | --- | --- |
//! | magic `SfJr` | 4 |
//! | flags: 1 if it is the last record of its write | 4 |
//! | bytes of the content | 4 |
//! | sequence | 8 |
//! | sequence up to which records were durable | 8 |
//! | checksum of the record before | 4 |
//! | checksum of the content | 4 |
//! | checksum of salt (8), file number (4), offset (8) and the fields above: the record's checksum | 4 |
//! | content | any |
//!
//! All integers are little-endian. Checksums are CRC-32C.

use super::Sequence;

/// Bytes that a disk writes as one or not at all.
pub(super) const SECTOR: u64 = 512;

/// The format written, and the newest one read.
pub(super) const FORMAT_VERSION: u16 = 1;

/// Where the first record of a file stands.
pub(super) const FIRST_RECORD: u64 = 2 * SECTOR;

/// Bytes of a record before its content.
pub(super) const RECORD_HEADER_BYTES: usize = 40;

/// What a record begins with.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"SfJr";

const FILE_MAGIC: [u8; 4] = *b"SfJf";
const FILE_HEADER_BYTES: usize = 44;
const FLAG_LAST: u32 = 1;

/// No sequence ever comes near this: so that adding one never overflows.
const FARTHEST: u64 = 1 << 62;

/// No journal ever has so many files.
const LAST_FILE: u32 = 1 << 31;

/// Counts the files of a journal, from 1. Numbers may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileNumber(pub(super) u32);

impl FileNumber {
    pub(super) fn next(self) -> Self {
        assert!(self.0 < LAST_FILE, "the journal has used up all its file numbers");
        FileNumber(self.0 + 1)
    }

    pub(super) fn file_name(self) -> String {
        format!("journal-{:08x}", self.0)
    }

    /// The number of the file called `name`, if it is one of a journal.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("journal-")?;
        let number = u32::from_str_radix(digits, 16).ok().filter(|&number| number > 0 && number < LAST_FILE)?;
        Some(FileNumber(number)).filter(|file| file.file_name() == name)
    }
}

/// What stands at the front of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) number: FileNumber,
    pub(super) salt: u64,
    pub(super) first: Sequence,
    /// All records up to this one were durable when the file was begun.
    pub(super) durable: Sequence,
    /// The checksum of the record before the first.
    pub(super) previous: u32,
}

/// What a sector that should hold a file header holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileStart {
    /// An intact header.
    Header(FileHeader),
    /// An intact header of a later format.
    NewerFormat(u16),
    /// Anything else.
    Other,
}

impl FileHeader {
    /// The sectors in front of the records.
    pub(super) fn to_sectors(self) -> Vec<u8> {
        let mut header = Vec::with_capacity(FIRST_RECORD as usize);
        header.extend_from_slice(&FILE_MAGIC);
        header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        header.extend_from_slice(&(FILE_HEADER_BYTES as u16).to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&self.number.0.to_le_bytes());
        header.extend_from_slice(&self.salt.to_le_bytes());
        header.extend_from_slice(&self.first.0.to_le_bytes());
        header.extend_from_slice(&self.durable.0.to_le_bytes());
        header.extend_from_slice(&self.previous.to_le_bytes());
        assert!(header.len() == FILE_HEADER_BYTES, "the file header's fields do not fill it");
        let checksum = file_header_checksum(&header);
        header[8..12].copy_from_slice(&checksum.to_le_bytes());
        header.resize(SECTOR as usize, 0);
        header.repeat(2)
    }

    /// Tells what `sector` holds.
    pub(super) fn parse(sector: &[u8]) -> FileStart {
        if sector.len() < FILE_HEADER_BYTES || sector[..4] != FILE_MAGIC {
            return FileStart::Other;
        }
        let mut fields = Fields(&sector[4..]);
        let (version, length, checksum) = (fields.u16(), usize::from(fields.u16()), fields.u32());
        if !(12..=sector.len()).contains(&length) || checksum != file_header_checksum(&sector[..length]) {
            return FileStart::Other;
        }
        if version > FORMAT_VERSION {
            return FileStart::NewerFormat(version);
        }
        let header = FileHeader {
            number: FileNumber(fields.u32()),
            salt: fields.u64(),
            first: Sequence(fields.u64()),
            durable: Sequence(fields.u64()),
            previous: fields.u32(),
        };
        let is_plausible =
            version == FORMAT_VERSION && length == FILE_HEADER_BYTES && header.durable < header.first && header.first.0 < FARTHEST;
        if is_plausible { FileStart::Header(header) } else { FileStart::Other }
    }

    /// Whether a record with this header and `checksum` may be the one before the first.
    pub(super) fn follows(&self, last: Sequence, checksum: u32) -> bool {
        self.first == last.next() && self.previous == checksum
    }
}

fn file_header_checksum(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..8]), &header[12..])
}

/// What stands at the front of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// It is the last record of its write.
    pub(super) is_last: bool,
    pub(super) content_bytes: u32,
    pub(super) sequence: Sequence,
    /// All records up to this one were durable when this one was written.
    pub(super) durable: Sequence,
    /// The checksum of the record before.
    pub(super) previous: u32,
    pub(super) content_checksum: u32,
}

/// Where a record stands: what its checksum covers besides the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) salt: u64,
    pub(super) file: FileNumber,
    pub(super) offset: u64,
}

impl RecordHeader {
    /// Writes the header to the front of `out`; returns the record's checksum.
    pub(super) fn put(&self, place: Place, out: &mut [u8]) -> u32 {
        let (header, checksum_at) = (&mut out[..RECORD_HEADER_BYTES], RECORD_HEADER_BYTES - 4);
        header[..4].copy_from_slice(&RECORD_MAGIC);
        header[4..8].copy_from_slice(&if self.is_last { FLAG_LAST } else { 0 }.to_le_bytes());
        header[8..12].copy_from_slice(&self.content_bytes.to_le_bytes());
        header[12..20].copy_from_slice(&self.sequence.0.to_le_bytes());
        header[20..28].copy_from_slice(&self.durable.0.to_le_bytes());
        header[28..32].copy_from_slice(&self.previous.to_le_bytes());
        header[32..36].copy_from_slice(&self.content_checksum.to_le_bytes());
        let checksum = place.checksum(&header[..checksum_at]);
        header[checksum_at..].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    /// The header at the front of `bytes`, which stand at `place`, and the record's checksum; `None` if it is not intact.
    pub(super) fn parse(place: Place, bytes: &[u8]) -> Option<(Self, u32)> {
        let header = bytes.get(..RECORD_HEADER_BYTES).filter(|header| header[..4] == RECORD_MAGIC)?;
        let mut fields = Fields(&header[4..]);
        let flags = fields.u32();
        let parsed = RecordHeader {
            is_last: flags == FLAG_LAST,
            content_bytes: fields.u32(),
            sequence: Sequence(fields.u64()),
            durable: Sequence(fields.u64()),
            previous: fields.u32(),
            content_checksum: fields.u32(),
        };
        let checksum = fields.u32();
        let is_plausible = flags <= FLAG_LAST && parsed.durable < parsed.sequence && parsed.sequence.0 < FARTHEST;
        (is_plausible && checksum == place.checksum(&header[..RECORD_HEADER_BYTES - 4])).then_some((parsed, checksum))
    }

    /// The bytes of the whole record.
    pub(super) fn extent(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.content_bytes)
    }

    /// Whether this is the record after the one with this sequence and `checksum`.
    pub(super) fn follows(&self, last: Sequence, checksum: u32) -> bool {
        self.sequence == last.next() && self.previous == checksum
    }
}

impl Place {
    fn checksum(&self, fields: &[u8]) -> u32 {
        let mut place = [0; 20];
        place[..8].copy_from_slice(&self.salt.to_le_bytes());
        place[8..12].copy_from_slice(&self.file.0.to_le_bytes());
        place[12..].copy_from_slice(&self.offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&place), fields)
    }
}

/// Takes integers off the front of bytes of which the caller knows that they suffice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        let (taken, rest) = self.0.split_first_chunk().expect("the length was checked");
        self.0 = rest;
        *taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
