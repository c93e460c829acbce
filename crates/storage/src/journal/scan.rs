//! Reads the files of a journal and tells what stands in them, without judging it: that is `recover`'s part.

use std::sync::Arc;

use steadfast_types::disk::{Disk, DiskFile};

use super::format::{FileHeader, FileNumber, FileStart, Place, RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, SECTOR};
use super::{JournalError, Sequence};
use crate::log::Window;

/// Bytes looked through at once.
const STEP_BYTES: usize = 256 * 1024;

/// A file, and what its front says.
pub(super) struct Scanned<F> {
    pub(super) number: FileNumber,
    pub(super) file: Arc<F>,
    pub(super) head: Head,
    /// The file's length.
    pub(super) bytes: u64,
    window: Window<F>,
}

/// What the first two sectors of a file hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// At least one intact header.
    Intact(FileHeader),
    /// None was written, or none that lasted.
    Lost,
    /// Something else.
    Damaged,
}

/// What stands where a record should.
pub(super) enum Next<'a> {
    /// An intact record.
    Record { header: RecordHeader, checksum: u32, content: &'a [u8] },
    /// None; and a part of it, or all, was never written, or did not last.
    Lost,
    /// None; and nothing is missing.
    Damaged,
}

impl<F: DiskFile> Scanned<F> {
    /// Reads the front of file `number`.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, number: FileNumber) -> Result<Self, JournalError> {
        let file = Arc::new(disk.open(&number.file_name())?);
        let bytes = file.length()?;
        let mut scanned = Scanned { number, window: Window::new(file.clone()), file, head: Head::Lost, bytes };
        scanned.head = scanned.read_head()?;
        Ok(scanned)
    }

    fn read_head(&mut self) -> Result<Head, JournalError> {
        let mut is_lost = true;
        for at in [0, SECTOR] {
            match FileHeader::parse(self.window.get(at, SECTOR as usize)) {
                FileStart::Header(header) if header.number == self.number => return Ok(Head::Intact(header)),
                FileStart::NewerFormat(version) => return Err(JournalError::NewerFormat { file: self.number.file_name(), version }),
                FileStart::Header(_) | FileStart::Other => is_lost &= self.has_lost_sector(at, at + SECTOR),
            }
        }
        Ok(if is_lost { Head::Lost } else { Head::Damaged })
    }

    /// What stands at `offset` of this file, whose salt is `salt`.
    pub(super) fn next(&mut self, salt: u64, offset: u64) -> Next<'_> {
        let place = Place { salt, file: self.number, offset };
        let Some((header, checksum)) = RecordHeader::parse(place, self.window.get(offset, RECORD_HEADER_BYTES)) else {
            return self.unreadable(offset, RECORD_HEADER_BYTES as u64);
        };
        let extent = usize::try_from(header.extent()).expect("a record fits memory");
        let is_intact = |record: &[u8]| record.len() == extent && crc32c::crc32c(&record[RECORD_HEADER_BYTES..]) == header.content_checksum;
        if !is_intact(self.window.get(offset, extent)) {
            return self.unreadable(offset, header.extent());
        }
        Next::Record { header, checksum, content: &self.window.get(offset, extent)[RECORD_HEADER_BYTES..] }
    }

    fn unreadable(&mut self, offset: u64, length: u64) -> Next<'static> {
        if self.has_lost_sector(offset, offset + length) { Next::Lost } else { Next::Damaged }
    }

    /// Whether a sector that holds a part of `from..to` is zeros, or not all there.
    fn has_lost_sector(&mut self, from: u64, to: u64) -> bool {
        let mut sectors = (from - from % SECTOR..to).step_by(SECTOR as usize);
        self.bytes < to || sectors.any(|at| self.window.get(at, SECTOR as usize).iter().all(|&byte| byte == 0))
    }

    /// Whether there is anything but zeros from `offset` on.
    pub(super) fn has_content_after(&mut self, offset: u64) -> bool {
        let mut steps = (offset..self.bytes).step_by(STEP_BYTES);
        steps.any(|at| self.window.get(at, STEP_BYTES).iter().any(|&byte| byte != 0))
    }

    /// The last record that is said to be durable by anything intact from `offset` on, wherever it begins; 0 if nothing says so.
    pub(super) fn durable_after(&mut self, offset: u64) -> Sequence {
        let Head::Intact(head) = self.head else { return Sequence(0) };
        let mut durable = if offset == 0 { head.durable } else { Sequence(0) };
        for step in (offset..self.bytes).step_by(STEP_BYTES) {
            // A magic may lie across the end of the step.
            let bytes = self.window.get(step, STEP_BYTES + RECORD_MAGIC.len() - 1);
            let found: Vec<usize> = find_all(bytes, RECORD_MAGIC).collect();
            for at in found {
                let place = Place { salt: head.salt, file: self.number, offset: step + at as u64 };
                if let Some((header, _)) = RecordHeader::parse(place, self.window.get(place.offset, RECORD_HEADER_BYTES)) {
                    durable = durable.max(header.durable);
                }
            }
        }
        durable
    }
}

fn find_all(bytes: &[u8], magic: [u8; 4]) -> impl Iterator<Item = usize> {
    bytes.windows(magic.len()).enumerate().filter(move |(_, window)| *window == magic).map(|(at, _)| at)
}
