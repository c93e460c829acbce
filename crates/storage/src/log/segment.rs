//! The files of the log.
//!
//! A segment appears under its name whole: blanks, and a first batch that says the log's state, all durable before the rename. So a
//! segment that exists was begun for good, and one whose first batch can't be read is damaged, not torn.

use std::sync::Arc;

use steadfast_types::disk::{Disk, DiskError, DiskFile};

use super::format::{HEADER_BYTES, Header, SECTOR, put_blanks};

/// The name of a segment before it is whole.
const UNFINISHED: &str = "log-new";

/// Blanks are written ahead of the batches by this many bytes at a time: at 30 KiB a batch, every 35th sync pays for the file's growth.
pub(super) const FILL_BYTES: u32 = 1024 * 1024;

/// The bytes of a segment's first batch: its header and the copy.
pub(super) const FIRST_BATCH_BYTES: u32 = 2 * SECTOR;

/// A segment just made.
pub(super) struct NewSegment<F> {
    pub(super) file: Arc<F>,
    /// Blanks, or batches, stand durably up to here.
    pub(super) filled: u32,
}

/// Makes segment `header.segment`, durably, with `header` as its first batch (it has no records) and room for at least `room` bytes after
/// it; seals `header`.
pub(super) fn create<D: Disk>(disk: &D, header: &mut Header, room: u32, capacity: u32) -> Result<NewSegment<D::File>, DiskError> {
    header.offset = 0;
    header.copied = true;
    header.repair = false;
    (header.body_bytes, header.records, header.body_checksum) = (0, 0, 0);
    let filled = capacity.min((FIRST_BATCH_BYTES + room + SECTOR).max(FILL_BYTES)).next_multiple_of(SECTOR);
    assert!(filled >= FIRST_BATCH_BYTES + room + SECTOR, "a segment of {capacity} bytes has no room for {room}");

    let mut bytes = vec![0; FIRST_BATCH_BYTES as usize];
    assert!(HEADER_BYTES <= SECTOR as usize && header.extent() == u64::from(FIRST_BATCH_BYTES), "a first batch fills two sectors");
    header.seal(&mut bytes);
    header.seal_copy(&mut bytes[SECTOR as usize..]);
    put_blanks(header.segment, FIRST_BATCH_BYTES, filled, &mut bytes);

    let file = disk.create(UNFINISHED)?;
    file.write_at(0, &bytes)?;
    file.sync()?;
    disk.rename(UNFINISHED, &header.segment.file_name())?;
    disk.sync_directory()?;
    Ok(NewSegment { file: Arc::new(file), filled })
}

/// Removes what an interrupted or failed [`create`] left.
pub(super) fn remove_unfinished<D: Disk>(disk: &D) -> Result<(), DiskError> {
    disk.remove(UNFINISHED)
}
