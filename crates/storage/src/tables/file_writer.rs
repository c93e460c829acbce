//! Writing a table file.
//!
//! A file is groups, an index of the groups, and a footer. A group is some data blocks, then a block that indexes and filters them:
//!
//! ```text
//! group:  data block, checksum; ...; index of the data blocks, filter of the keys, length of the index (4), checksum
//! footer: magic (8), format (4), birth (8), offset of the group index (8), its length (4), checksum of the footer
//! ```
//!
//! An index has an entry for each block: its last row's key and version, and where it lies. Rows are written once, front to back.

use bytes::Bytes;
use steadfast_types::disk::{Disk, DiskFile};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire::put_varint;

use super::block::{BlockBuilder, RowRef};
use super::error::JobError;
use super::filter;
use super::format::{FORMAT, checksum, file_name};
use super::manifest::{Droppable, FileMeta};
use super::options::TablesOptions;
use super::store::Store;

/// The first bytes of a footer.
pub(super) const MAGIC: &[u8; 8] = b"SFtable\n";
/// The footer's length.
pub(super) const FOOTER_BYTES: usize = 36;

/// Rows between two that are found by binary search.
const RESTART_INTERVAL: usize = 8;

pub(super) struct FileWriter<D: Disk> {
    file: D::File,
    meta: FileMeta,
    block_bytes: usize,
    group_bytes: usize,
    /// What is not yet handed to the disk: the present group.
    buffer: Vec<u8>,
    /// The bytes handed to the disk.
    written: u64,
    block: BlockBuilder,
    index: BlockBuilder,
    hashes: Vec<u64>,
    groups: BlockBuilder,
    last_key: Vec<u8>,
    last_version: u64,
}

impl<D: Disk> FileWriter<D> {
    /// Makes a new file.
    pub(super) fn create(store: &Store<D>, options: &TablesOptions) -> Result<Self, JobError> {
        let id = store.next_id();
        let file = store.disk.create(&file_name(id))?;
        Ok(FileWriter {
            file,
            meta: FileMeta { id, birth: id, ..FileMeta::default() },
            block_bytes: options.block_bytes,
            group_bytes: options.group_bytes,
            buffer: Vec::with_capacity(options.group_bytes + options.group_bytes / 8),
            written: 0,
            block: BlockBuilder::new(RESTART_INTERVAL),
            index: BlockBuilder::new(1),
            hashes: Vec::new(),
            groups: BlockBuilder::new(1),
            last_key: Vec::new(),
            last_version: 0,
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.meta.id
    }

    /// About how long the file is so far, bytes.
    pub(super) fn length(&self) -> u64 {
        self.written + (self.buffer.len() + self.block.length()) as u64
    }

    /// The key added last.
    pub(super) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Adds the next row, which comes after all before.
    pub(super) fn add(&mut self, row: RowRef<'_>) -> Result<(), JobError> {
        let same_key = self.meta.rows > 0 && self.last_key == row.key;
        self.count(row, same_key);
        if !same_key || self.hashes.is_empty() {
            self.hashes.push(filter::hash(row.key));
        }
        self.block.add(row);
        if !same_key {
            self.last_key.clear();
            self.last_key.extend_from_slice(row.key);
        }
        self.last_version = row.version;
        if self.block.length() >= self.block_bytes {
            self.close_block()?;
        }
        Ok(())
    }

    fn count(&mut self, row: RowRef<'_>, same_key: bool) {
        if self.meta.rows == 0 {
            self.meta.first_key = Bytes::copy_from_slice(row.key);
            self.meta.first_version = row.version;
        }
        self.meta.rows += 1;
        if same_key {
            self.meta.superseded.add(self.last_version);
        }
        if row.value.is_none() {
            self.meta.tombstones.add(row.version);
        }
    }

    fn close_block(&mut self) -> Result<(), JobError> {
        let start = self.buffer.len();
        self.block.finish(&mut self.buffer);
        self.seal(start);
        let mut handle = Vec::with_capacity(8);
        put_varint(&mut handle, start as u64);
        put_varint(&mut handle, (self.buffer.len() - start) as u64);
        self.index.add(RowRef { key: &self.last_key, version: self.last_version, value: Some(&handle) });
        if self.buffer.len() >= self.group_bytes {
            self.close_group()?;
        }
        Ok(())
    }

    /// Appends the checksum of what the buffer holds from `start` on.
    fn seal(&mut self, start: usize) {
        let sum = checksum(self.meta.birth, self.written + start as u64, &self.buffer[start..]);
        self.buffer.extend_from_slice(&sum.to_le_bytes());
    }

    fn close_group(&mut self) -> Result<(), JobError> {
        let data_length = self.buffer.len();
        self.index.finish(&mut self.buffer);
        let index_length = u32::try_from(self.buffer.len() - data_length).expect("an index is closed long before 4 GiB");
        filter::build(&self.hashes, &mut self.buffer);
        self.hashes.clear();
        self.buffer.extend_from_slice(&index_length.to_le_bytes());
        self.seal(data_length);
        let mut handle = Vec::with_capacity(16);
        put_varint(&mut handle, self.written);
        put_varint(&mut handle, data_length as u64);
        put_varint(&mut handle, (self.buffer.len() - data_length) as u64);
        self.groups.add(RowRef { key: &self.last_key, version: self.last_version, value: Some(&handle) });
        self.write_buffer()
    }

    fn write_buffer(&mut self) -> Result<(), JobError> {
        self.file.write_at(self.written, &self.buffer)?;
        self.meta.checksum = crc32c::crc32c_append(self.meta.checksum, &self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest and makes the file's content durable; its name is so after the directory's sync. The file has rows.
    pub(super) fn finish(mut self) -> Result<FileMeta, JobError> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        if !self.index.is_empty() {
            self.close_group()?;
        }
        let groups_offset = self.written;
        self.groups.finish(&mut self.buffer);
        self.seal(0);
        let footer = self.buffer.len();
        self.buffer.extend_from_slice(MAGIC);
        self.buffer.extend_from_slice(&FORMAT.to_le_bytes());
        self.buffer.extend_from_slice(&self.meta.birth.to_le_bytes());
        self.buffer.extend_from_slice(&groups_offset.to_le_bytes());
        self.buffer.extend_from_slice(&u32::try_from(footer).expect("an index of groups is far below 4 GiB").to_le_bytes());
        self.seal(footer);
        assert_eq!(self.buffer.len() - footer, FOOTER_BYTES, "the footer has a fixed length");
        self.write_buffer()?;
        if !is_planted(Bug::ManifestBeforeFiles) {
            self.file.sync()?;
        }
        self.meta.length = self.written;
        self.meta.last_key = Bytes::from(self.last_key);
        self.meta.last_version = self.last_version;
        Ok(self.meta)
    }
}

impl Droppable {
    /// Counts a row that can go once the horizon reaches `version`.
    fn add(&mut self, version: u64) {
        self.low = if self.rows == 0 { version } else { self.low.min(version) };
        self.high = self.high.max(version);
        self.rows += 1;
    }
}
