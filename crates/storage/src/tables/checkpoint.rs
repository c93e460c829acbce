//! A durable state of the tables as one stream of bytes, for a node that needs it.
//!
//! ```text
//! header: magic (8), format (4), the manifest's length (4); the manifest, as on disk; the table files, whole, in the manifest's order
//! ```
//!
//! The manifest ends with a checksum and holds one of each file, so that the receiver finds every damaged byte.

use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;
use steadfast_types::LogPosition;
use steadfast_types::disk::Disk;
use steadfast_types::tables::TablesError;

use super::error::ReadError;
use super::file::TableFile;
use super::format::{FORMAT, file_name};
use super::manifest::FileMeta;
use super::store::Store;
use super::version::Version;

/// The first bytes of the stream.
pub(super) const MAGIC: &[u8; 8] = b"SFcheck\n";
/// Magic, format and the manifest's length.
pub(super) const PREAMBLE_BYTES: usize = 16;

/// Bytes read at once to compare a checksum.
const VERIFY_BYTES: usize = 256 << 10;

/// A durable state of the tables, held still: its files are not removed while it lives.
pub struct Checkpoint<D: Disk> {
    store: Arc<Store<D>>,
    applied: LogPosition,
    header: Bytes,
    files: Vec<Arc<TableFile>>,
    total_bytes: u64,
}

impl<D: Disk> Checkpoint<D> {
    pub(super) fn new(store: Arc<Store<D>>, version: &Version) -> Self {
        let manifest = version.to_manifest(store.peek_id()).to_bytes();
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.extend_from_slice(&u32::try_from(manifest.len()).expect("manifests are bounded").to_le_bytes());
        header.extend_from_slice(&manifest);
        let files: Vec<Arc<TableFile>> = version.parts().map(|part| part.file.clone()).collect();
        let total_bytes = header.len() as u64 + files.iter().map(|file| file.meta.length).sum::<u64>();
        Checkpoint { store, applied: version.applied, header: header.into(), files, total_bytes }
    }

    /// The entry it ends with: it holds the inserts of the commit there, and none later.
    pub fn applied(&self) -> LogPosition {
        self.applied
    }

    /// The stream's length, bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// At most `max_bytes` bytes of the stream from `offset` on; empty at its end. Reads the disk.
    ///
    /// # Errors
    /// A file cannot be read: this node's tables are damaged.
    pub fn read(&self, offset: u64, max_bytes: usize) -> Result<Bytes, TablesError> {
        let wanted = usize::try_from(self.total_bytes.saturating_sub(offset)).map_or(max_bytes, |left| left.min(max_bytes));
        let mut out = BytesMut::with_capacity(wanted);
        if let Some(header) = usize::try_from(offset).ok().and_then(|offset| self.header.get(offset..)) {
            out.put_slice(&header[..wanted.min(header.len())]);
        }
        let mut start = self.header.len() as u64;
        for file in &self.files {
            let at = offset + out.len() as u64;
            let end = start + file.meta.length;
            if out.len() < wanted && at < end {
                let length = usize::try_from(end - at).map_or(wanted - out.len(), |left| left.min(wanted - out.len()));
                let piece = self.store.read(file.meta.id, at - start, length).map_err(|error| self.store.damaged(&error))?;
                out.put_slice(&piece);
            }
            start = end;
        }
        Ok(out.freeze())
    }

    /// Reads all of it and compares the checksums, as the receiver does.
    ///
    /// # Errors
    /// This node's tables are damaged, as [`super::LsmTables::damage`] says from then on.
    pub fn verify(&self) -> Result<(), TablesError> {
        for file in &self.files {
            let FileMeta { id, length, checksum, .. } = file.meta;
            let (mut at, mut found) = (0, 0);
            while at < length {
                let piece = usize::try_from(length - at).map_or(VERIFY_BYTES, |left| left.min(VERIFY_BYTES));
                let bytes = self.store.read(id, at, piece).map_err(|error| self.store.damaged(&error))?;
                found = crc32c::crc32c_append(found, &bytes);
                at += piece as u64;
            }
            if found != checksum {
                return Err(self.store.damaged(&ReadError::Damaged(format!("the checksum of {} is wrong", file_name(id)))));
            }
        }
        Ok(())
    }
}
