//! Receiving a checkpoint beside tables that stay in use, and putting it in their place.
//!
//! Its files get names that no other file of the directory has or will have, and count for nothing until a manifest names them: that is
//! the one atomic step. A stream that is given up, or refused, has its files removed.

use bytes::Bytes;
use std::collections::VecDeque;
use steadfast_types::LogPosition;
use steadfast_types::disk::{Disk, DiskFile};
use steadfast_types::planted::{Bug, is_planted};

use super::checkpoint::{MAGIC, PREAMBLE_BYTES};
use super::error::IncomingError;
use super::format::{FORMAT, file_id, file_name, take_u32};
use super::manifest::{self, FileMeta, Manifest, ManifestError};
use super::options::MANIFEST_BYTES;

/// Ids of one life of the tables: a received checkpoint takes the next range, so that the tables in use never write a file of its names.
const IDS_PER_LIFE: u64 = 1 << 40;

/// A checkpoint on its way in.
pub struct Incoming<D: Disk> {
    files: Files<D>,
    received: u64,
    stage: Stage<D>,
}

/// The files made so far, removed again unless they are kept.
struct Files<D: Disk> {
    disk: D,
    next_id: u64,
    created: Vec<u64>,
}

enum Stage<D: Disk> {
    /// The header's bytes so far.
    Header(Vec<u8>),
    Body(Box<Body<D>>),
    /// Bytes did not match; nothing more is taken.
    Refused(IncomingError),
}

struct Body<D: Disk> {
    /// With the files' names in this directory.
    manifest: Manifest,
    total: u64,
    /// The files not yet complete.
    waiting: VecDeque<FileMeta>,
    open: Option<OpenFile<D>>,
}

struct OpenFile<D: Disk> {
    file: D::File,
    written: u64,
    checksum: u32,
}

/// A checkpoint that has arrived whole, checked and durable.
pub struct Received<D: Disk> {
    files: Files<D>,
    manifest: Manifest,
}

impl<D: Disk> Incoming<D> {
    /// Begins to receive. There is at most one on a disk at a time.
    ///
    /// # Errors
    /// The disk failed.
    pub fn begin(disk: &D) -> Result<Self, IncomingError> {
        let greatest = disk.list()?.iter().filter_map(|name| file_id(name)).max().unwrap_or(0);
        let next_id = (greatest / IDS_PER_LIFE + 1) * IDS_PER_LIFE;
        let files = Files { disk: disk.clone(), next_id, created: Vec::new() };
        Ok(Incoming { files, received: 0, stage: Stage::Header(Vec::new()) })
    }

    /// How many bytes have been taken: where the sender continues after a cut connection.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`IncomingError::OutOfOrder`]: nothing was taken, the rest may follow. Any other: this stream is of no use, drop it.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), IncomingError> {
        if let Stage::Refused(reason) = &self.stage {
            return Err(reason.clone());
        }
        if offset != self.received {
            return Err(IncomingError::OutOfOrder { offset, expected: self.received });
        }
        self.received += bytes.len() as u64;
        let taken = self.take(bytes);
        if let Err(reason) = &taken {
            self.files.remove_all();
            self.stage = Stage::Refused(reason.clone());
        }
        taken
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), IncomingError> {
        if let Stage::Header(header) = &mut self.stage {
            let missing = header_bytes(header, bytes)?.saturating_sub(header.len());
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            header.extend_from_slice(now);
            bytes = rest;
            if header_bytes(header, &[])? != header.len() {
                return Ok(());
            }
            let body = Body::begin(header, &mut self.files)?;
            self.stage = Stage::Body(Box::new(body));
        }
        match &mut self.stage {
            Stage::Body(body) => body.write(bytes, &mut self.files),
            Stage::Header(_) | Stage::Refused(_) => Ok(()),
        }
    }

    /// Ends the stream: everything has arrived and every checksum is good.
    ///
    /// # Errors
    /// It has not, or they are not; the files are removed.
    pub fn finish(self) -> Result<Received<D>, IncomingError> {
        let received = self.received;
        match self.stage {
            Stage::Refused(reason) => Err(reason),
            Stage::Header(_) => Err(IncomingError::Incomplete { received, total: 0 }),
            Stage::Body(body) if body.waiting.is_empty() => {
                self.files.disk.sync_directory()?;
                Ok(Received { files: self.files, manifest: body.manifest })
            }
            Stage::Body(body) => Err(IncomingError::Incomplete { received, total: body.total }),
        }
    }
}

/// How long the header is, as far as its first bytes, or those with `more`, tell.
fn header_bytes(header: &[u8], more: &[u8]) -> Result<usize, IncomingError> {
    let preamble: Vec<u8> = header.iter().chain(more).copied().take(PREAMBLE_BYTES).collect();
    if preamble.len() < PREAMBLE_BYTES {
        return Ok(PREAMBLE_BYTES);
    }
    if preamble[..8] != MAGIC[..] {
        return Err(IncomingError::Damaged("its first bytes are not a checkpoint's".into()));
    }
    let number = |at| take_u32(&preamble, at).expect("the length was checked");
    if number(8) > FORMAT {
        return Err(IncomingError::NewerFormat { found: number(8), known: FORMAT });
    }
    let manifest = number(12) as usize;
    if number(8) != FORMAT || manifest > MANIFEST_BYTES {
        return Err(IncomingError::Damaged("its header makes no sense".into()));
    }
    Ok(PREAMBLE_BYTES + manifest)
}

impl<D: Disk> Body<D> {
    fn begin(header: &[u8], files: &mut Files<D>) -> Result<Self, IncomingError> {
        let bytes = Bytes::copy_from_slice(&header[PREAMBLE_BYTES..]);
        let mut manifest = Manifest::from_bytes(&bytes).map_err(|error| match error {
            ManifestError::Damaged(what) => IncomingError::Damaged(format!("manifest: {what}")),
            ManifestError::NewerFormat(found) => IncomingError::NewerFormat { found, known: FORMAT },
        })?;
        let mut total = header.len() as u64;
        for file in manifest.files_mut() {
            file.id = files.next_id;
            files.next_id += 1;
            total = total.checked_add(file.length).ok_or_else(|| IncomingError::Damaged("its files are impossibly long".into()))?;
        }
        // Runs are named from the same numbers, and the sender's may be of this very range: it may have received its tables as well.
        for run in manifest.tables.values_mut().flatten().filter(|_| !is_planted(Bug::RunNamesKept)) {
            run.id = files.next_id;
            files.next_id += 1;
        }
        manifest.next_file = files.next_id;
        let waiting = manifest.files().cloned().collect();
        let mut body = Body { manifest, total, waiting, open: None };
        body.turn_file(files)?;
        Ok(body)
    }

    fn write(&mut self, mut bytes: &[u8], files: &mut Files<D>) -> Result<(), IncomingError> {
        while !bytes.is_empty() {
            let (Some(meta), Some(open)) = (self.waiting.front(), &mut self.open) else {
                return Err(IncomingError::Damaged(format!("it goes on after byte {}", self.total)));
            };
            let room = usize::try_from(meta.length - open.written).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            open.file.write_at(open.written, now)?;
            open.checksum = crc32c::crc32c_append(open.checksum, now);
            open.written += now.len() as u64;
            bytes = rest;
            self.turn_file(files)?;
        }
        Ok(())
    }

    /// Closes files that are complete and opens the next.
    fn turn_file(&mut self, files: &mut Files<D>) -> Result<(), IncomingError> {
        while let Some(meta) = self.waiting.front() {
            let open = match self.open.take() {
                Some(open) => open,
                None => OpenFile { file: files.create(meta.id)?, written: 0, checksum: 0 },
            };
            if open.written < meta.length {
                self.open = Some(open);
                return Ok(());
            }
            if open.checksum != meta.checksum {
                return Err(IncomingError::Damaged(format!("the checksum of {} is wrong", file_name(meta.id))));
            }
            open.file.sync()?;
            self.waiting.pop_front();
        }
        Ok(())
    }
}

impl<D: Disk> Received<D> {
    /// The entry that the checkpoint ends with.
    pub fn applied(&self) -> LogPosition {
        self.manifest.applied
    }

    /// Puts the checkpoint in the place of the tables, atomically and durably; then open them, with [`super::LsmTables::open_after`] if
    /// the former ones are still in use. These must be retired before: see [`super::LsmTables::retire`].
    ///
    /// # Errors
    /// The disk failed. If it was full, the former tables are still in place; otherwise the one or the other are.
    pub fn install(mut self) -> Result<(), IncomingError> {
        let installed = manifest::replace(&self.files.disk, &self.manifest.to_bytes());
        if !matches!(installed, Err(steadfast_types::disk::DiskError::Full(_))) {
            self.files.created.clear();
        }
        Ok(installed?)
    }
}

impl<D: Disk> Files<D> {
    fn create(&mut self, id: u64) -> Result<D::File, IncomingError> {
        self.created.push(id);
        Ok(self.disk.create(&file_name(id))?)
    }

    fn remove_all(&mut self) {
        // What cannot be removed now is when the tables are opened.
        self.created.drain(..).for_each(|id| drop(self.disk.remove(&file_name(id))));
    }
}

impl<D: Disk> Drop for Files<D> {
    fn drop(&mut self) {
        self.remove_all();
    }
}
