//! Reads a segment from end to end and lists what can be recognised in it, without judging it: that is `recover`'s part.

use std::sync::Arc;

use bytes::Bytes;
use steadfast_types::disk::DiskFile;
use steadfast_types::wire::Wire;
use steadfast_types::{Configuration, LogPosition, Payload};

use super::LogError;
use super::format::{BatchSequence, HEADER_BYTES, Header, SECTOR, SectorStart, SegmentNumber, blank, parse_record, parse_sector};
use super::index::Slot;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1024 * 1024;

/// What one segment holds.
pub(super) struct Segment<F> {
    pub(super) number: SegmentNumber,
    pub(super) file: Arc<F>,
    /// The file's length.
    pub(super) bytes: u64,
    /// The batches with an intact header, in the order they stand.
    pub(super) batches: Vec<Batch>,
    /// Intact copies of headers whose batch is not in `batches` or is damaged, each with the place where it stands.
    pub(super) copies: Vec<(u64, Header)>,
    /// The newest batch of which a header was found anywhere but at its place.
    pub(super) newest_stray: BatchSequence,
}

/// A batch with an intact header.
pub(super) struct Batch {
    pub(super) header: Header,
    /// `None` if any of its records is damaged.
    pub(super) body: Option<Body>,
}

/// The records of an intact batch.
#[derive(Default)]
pub(super) struct Body {
    pub(super) records: Vec<(LogPosition, Slot)>,
    pub(super) configurations: Vec<(LogPosition, Configuration)>,
}

impl<F: DiskFile> Segment<F> {
    /// Reads segment `number` from `file`.
    pub(super) fn scan(number: SegmentNumber, file: Arc<F>) -> Result<Self, LogError> {
        let bytes = file.length()?;
        let mut segment = Segment { number, file, bytes, batches: Vec::new(), copies: Vec::new(), newest_stray: BatchSequence(0) };
        let mut window = Window::new(segment.file.clone());
        let mut at = 0;
        while at < bytes {
            at = segment.scan_at(at, &mut window)?;
        }
        Ok(segment)
    }

    /// Looks at what stands at `at`; returns where to look next.
    fn scan_at(&mut self, at: u64, window: &mut Window<F>) -> Result<u64, LogError> {
        match parse_sector(window.get(at, SECTOR as usize)) {
            SectorStart::Header(header) if header.is_at(self.number, at) => {
                let body = Body::parse(&header, window)?;
                let end = header.end();
                if body.is_none() {
                    self.scan_damaged(at + u64::from(SECTOR), end.min(self.bytes), window)?;
                }
                self.batches.push(Batch { header, body });
                return Ok(end);
            }
            other => self.note(at, other)?,
        }
        Ok(at + u64::from(SECTOR))
    }

    /// Looks for headers inside a damaged batch, where no batch can begin.
    fn scan_damaged(&mut self, from: u64, to: u64, window: &mut Window<F>) -> Result<(), LogError> {
        for at in (from..to).step_by(SECTOR as usize) {
            let sector = parse_sector(window.get(at, SECTOR as usize));
            self.note(at, sector)?;
        }
        Ok(())
    }

    fn note(&mut self, at: u64, sector: SectorStart) -> Result<(), LogError> {
        match sector {
            SectorStart::Copy(header) if header.segment == self.number && header.end() == at + u64::from(SECTOR) => {
                // Without records the copy is all there is to know of its batch.
                match header.records {
                    0 => self.batches.push(Batch { header, body: Some(Body::default()) }),
                    _ => self.copies.push((at, header)),
                }
            }
            SectorStart::Header(header) | SectorStart::Copy(header) => self.newest_stray = self.newest_stray.max(header.sequence),
            SectorStart::NewerFormat(version) => return Err(LogError::NewerFormat { file: self.number.file_name(), version }),
            SectorStart::Other => {}
        }
        Ok(())
    }

    /// Where the first sector from `from` on, up to `to`, is of which `wanted` holds; `to` if there is none. `wanted` is told whether the
    /// sector is blank; one beyond the file's end is not.
    fn find_sector(&self, from: u64, to: u64, wanted: impl Fn(bool) -> bool) -> u64 {
        let mut window = Window::new(self.file.clone());
        let is_blank = |at, window: &mut Window<F>| window.get(at, SECTOR as usize) == blank(self.number, at);
        (from..to).step_by(SECTOR as usize).find(|&at| wanted(is_blank(at, &mut window))).unwrap_or(to)
    }

    /// Whether any sector of `from..to` is blank.
    pub(super) fn has_blank(&self, from: u64, to: u64) -> bool {
        // Beyond the file's end no sector is blank, and a header may say anything of how far its batch reaches.
        let to = to.min(self.bytes);
        self.find_sector(from, to, |blank| blank) < to
    }

    /// Where the run of blank sectors that begins at `from` ends: `from` itself if the sector there is not blank.
    pub(super) fn blanks_end(&self, from: u64) -> u64 {
        self.find_sector(from, self.bytes - self.bytes % u64::from(SECTOR), |blank| !blank).max(from)
    }

    /// Where the run of sectors that are not blank and begins at `from` ends.
    pub(super) fn written_end(&self, from: u64) -> u64 {
        self.find_sector(from, self.bytes, |blank| blank).max(from)
    }
}

impl Body {
    /// The records of the batch with this header; `None` if they are damaged or not all there.
    fn parse<F: DiskFile>(header: &Header, window: &mut Window<F>) -> Result<Option<Self>, LogError> {
        let length = HEADER_BYTES + header.body_bytes as usize;
        let bytes = window.get(u64::from(header.offset), length);
        if bytes.len() < length {
            return Ok(None);
        }
        let (mut body, mut at, mut checksum) = (Body::default(), HEADER_BYTES, 0);
        for number in 0..header.records {
            let Some(record) = parse_record(&bytes[at..]).filter(|record| record.batch == header.sequence) else { return Ok(None) };
            if !header.repair && record.position.index.0 != header.base.index.0 + 1 + u64::from(number) {
                return Ok(None);
            }
            body.push(header, at, record.position, record.payload)?;
            checksum = crc32c::crc32c_append(checksum, &record.checksum.to_le_bytes());
            at += record.bytes();
        }
        let complete = header.repair || header.last.index.0 == header.base.index.0 + u64::from(header.records);
        Ok(Some(body).filter(|_| complete && at == length && checksum == header.body_checksum))
    }

    fn push(&mut self, header: &Header, at: usize, position: LogPosition, payload: &[u8]) -> Result<(), LogError> {
        /// The first byte of a configuration change's wire form.
        const CHANGE: u8 = 2;
        let fits = "a batch has fewer bytes than fit 32 bits";
        let offset = header.offset.checked_add(u32::try_from(at).expect(fits)).expect(fits);
        let bytes = u32::try_from(super::format::RECORD_HEADER_BYTES + payload.len()).expect(fits);
        self.records.push((position, Slot { term: position.term, segment: header.segment, offset, bytes }));
        if payload.first() == Some(&CHANGE) {
            match decode_payload(position, payload)? {
                Payload::Change { configuration, .. } => self.configurations.push((position, configuration)),
                Payload::Empty | Payload::Batch(_) => {}
            }
        }
        Ok(())
    }
}

/// The payload of an intact record, in memory of its own.
pub(super) fn decode_payload(position: LogPosition, payload: &[u8]) -> Result<Payload, LogError> {
    Payload::from_wire(Bytes::copy_from_slice(payload)).map_err(|error| LogError::Undecodable { index: position.index, error })
}

/// Reads a file from front to back in large pieces. What the disk can't read counts as damaged, not as a failure.
pub(crate) struct Window<F> {
    file: Arc<F>,
    buffer: Vec<u8>,
    from: u64,
}

impl<F: DiskFile> Window<F> {
    pub(crate) fn new(file: Arc<F>) -> Self {
        Window { file, buffer: Vec::new(), from: 0 }
    }

    /// The `length` bytes at `at`, or fewer at the file's end.
    pub(crate) fn get(&mut self, at: u64, length: usize) -> &[u8] {
        let held = self.from..self.from + self.buffer.len() as u64;
        if !(held.contains(&at) && at + length as u64 <= held.end) {
            self.fill(at, length.max(WINDOW_BYTES));
        }
        let from = usize::try_from(at - self.from).expect("the window is in memory");
        &self.buffer[from.min(self.buffer.len())..self.buffer.len().min(from + length)]
    }

    fn fill(&mut self, at: u64, length: usize) {
        let rest = self.file.length().unwrap_or(0).saturating_sub(at);
        self.buffer.clear();
        self.buffer.resize(usize::try_from(rest).map_or(length, |rest| rest.min(length)), 0);
        self.from = at;
        match self.file.read_at(at, &mut self.buffer) {
            Ok(count) => self.buffer.truncate(count),
            Err(_) => self.fill_by_sector(),
        }
    }

    /// Reads what can be read around a sector that can't.
    fn fill_by_sector(&mut self) {
        /// Neither blank nor the beginning of anything.
        const UNREADABLE: u8 = 0xff;
        for (number, sector) in self.buffer.chunks_mut(SECTOR as usize).enumerate() {
            let at = self.from + number as u64 * u64::from(SECTOR);
            if self.file.read_at(at, sector) != Ok(sector.len()) {
                sector.fill(UNREADABLE);
            }
        }
    }
}
