//! Appends, writes and cuts.

use std::fmt;
use std::mem::take;
use std::sync::Arc;

use steadfast_types::disk::{Disk, DiskError, DiskFile};

use super::format::{FIRST_RECORD, FileHeader, FileNumber, Place, RECORD_HEADER_BYTES, RecordHeader, SECTOR};
use super::{CutJob, JournalError, JournalOptions, Sequence, SyncJob, Synced};

/// Zeros are written ahead of the records by this many bytes at a time.
const FILL_BYTES: u64 = 1024 * 1024;

/// A buffer that grew beyond this is given back once it is written.
const BUFFER_KEPT_BYTES: usize = 1024 * 1024;

/// One file of a journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownFile {
    pub(super) number: FileNumber,
    pub(super) first: Sequence,
}

/// The one that appends to a journal.
pub struct Journal<D: Disk> {
    disk: D,
    options: JournalOptions,
    /// The files in order. The last one is written to.
    files: Vec<KnownFile>,
    file: Arc<D::File>,
    /// Where in the file the next write begins.
    tail: u64,
    /// Records, or zeros, stand up to here.
    filled: u64,

    /// Records with room for their headers.
    buffer: Vec<u8>,
    /// Of each record in `buffer`, the header's fields that are known.
    buffered: Vec<Buffered>,
    appended_bytes: u64,

    written: Sequence,
    /// Of the record written last.
    checksum: u32,
    durable: Sequence,
    /// Files written to since the last sync was begun.
    unsynced: Vec<(FileNumber, Arc<D::File>)>,
    /// A file was made since then.
    directory_changed: bool,
    /// A sync is under way.
    syncing: bool,
    poisoned: Option<DiskError>,
}

struct Buffered {
    content_bytes: u32,
    content_checksum: u32,
}

impl Buffered {
    fn extent(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.content_bytes)
    }
}

impl<D: Disk> Journal<D> {
    /// Goes on in the new file `number`, after the record with this sequence and checksum, which is durable or held elsewhere. The file is
    /// durable on return.
    pub(super) fn begin(
        disk: D,
        options: JournalOptions,
        number: FileNumber,
        (last, checksum): (Sequence, u32),
        mut files: Vec<KnownFile>,
    ) -> Result<Self, DiskError> {
        let header = FileHeader { number, salt: options.salt, first: last.next(), durable: last, previous: checksum };
        let file = Arc::new(create(&disk, &header)?);
        file.sync()?;
        disk.sync_directory()?;
        files.push(KnownFile { number, first: header.first });
        Ok(Journal {
            disk,
            options,
            files,
            file,
            tail: FIRST_RECORD,
            filled: FIRST_RECORD,
            buffer: Vec::new(),
            buffered: Vec::new(),
            appended_bytes: 0,
            written: last,
            checksum,
            durable: last,
            unsynced: Vec::new(),
            directory_changed: false,
            syncing: false,
            poisoned: None,
        })
    }

    /// Takes a record into memory; returns its sequence. It is written by the next [`Journal::write`].
    ///
    /// # Panics
    /// If the record has 4 GiB or more.
    pub fn append(&mut self, record: &[u8]) -> Sequence {
        self.append_with(|out| out.extend_from_slice(record))
    }

    /// As [`Journal::append`], of what `encode` puts at the end of the buffer.
    ///
    /// # Panics
    /// If the record has 4 GiB or more, or `encode` shortens the buffer.
    pub fn append_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Sequence {
        let content_at = self.buffer.len() + RECORD_HEADER_BYTES;
        self.buffer.resize(content_at, 0);
        encode(&mut self.buffer);
        let content = &self.buffer[content_at..];
        let content_bytes = u32::try_from(content.len()).expect("a record of the journal has less than 4 GiB");
        self.appended_bytes += RECORD_HEADER_BYTES as u64 + u64::from(content_bytes);
        self.buffered.push(Buffered { content_bytes, content_checksum: crc32c::crc32c(content) });
        self.appended()
    }

    /// Writes what was appended: one write, and one more for each file that is begun.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`]: the disk failed or is full, now or before. It is never tried again.
    pub fn write(&mut self) -> Result<(), JournalError> {
        self.usable()?;
        if self.buffered.is_empty() {
            return Ok(());
        }
        let (mut buffer, mut buffered) = (take(&mut self.buffer), take(&mut self.buffered));
        let written = self.write_all(&mut buffer, &buffered);
        buffer.clear();
        buffer.shrink_to(BUFFER_KEPT_BYTES);
        buffered.clear();
        (self.buffer, self.buffered) = (buffer, buffered);
        written.map_err(|error| self.poison(error))
    }

    /// A job that makes durable all that is written; `None` if a job is under way, or nothing was written since the last.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`].
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob<D>>, JournalError> {
        self.usable()?;
        if self.syncing || self.unsynced.is_empty() {
            return Ok(None);
        }
        self.syncing = true;
        let directory = take(&mut self.directory_changed).then(|| self.disk.clone());
        let files = take(&mut self.unsynced).into_iter().map(|(_, file)| file).collect();
        Ok(Some(SyncJob { files, directory, through: self.written }))
    }

    /// Takes what came of the job under way; returns the last record that is durable now.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`]: the sync failed, or something did before.
    pub fn finish_sync(&mut self, synced: Synced) -> Result<Sequence, JournalError> {
        self.usable()?;
        self.syncing = false;
        synced.result.map_err(|error| self.poison(error))?;
        self.durable = synced.through;
        Ok(self.durable)
    }

    /// Writes what was appended and waits until it is durable; no job may be under way. For shells with nothing else to do.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`].
    pub fn sync(&mut self) -> Result<Sequence, JournalError> {
        self.write()?;
        match self.begin_sync()? {
            Some(job) => self.finish_sync(job.run()),
            None => Ok(self.durable),
        }
    }

    /// Records up to `through` are held elsewhere, durably, from now on: lets go of the files that hold nothing else, and gives the job that removes
    /// them. Only what is durable here is let go, and the file that the journal begins with from then on is durable itself.
    ///
    /// It does not matter when the job runs, whether it does, or how much of it a crash undoes, as long as [`open`](super::open) is told of `through`,
    /// or of more: it removes what is older.
    pub fn cut(&mut self, through: Sequence) -> Option<CutJob<D>> {
        // A file whose first record is durable is so too, its name and header included.
        let begins = through.next().min(self.durable);
        let count = self.files.iter().skip(1).take_while(|next| next.first <= begins).count();
        let files = self.files.drain(..count).map(|file| file.number).collect::<Vec<_>>();
        (!files.is_empty()).then(|| CutJob { disk: self.disk.clone(), files })
    }

    /// The last record appended.
    pub fn appended(&self) -> Sequence {
        Sequence(self.written.0 + self.buffered.len() as u64)
    }

    /// The last record written.
    pub fn written(&self) -> Sequence {
        self.written
    }

    /// The last record that is durable.
    pub fn durable(&self) -> Sequence {
        self.durable
    }

    /// The bytes appended and not yet written.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of records appended since it was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    fn usable(&self) -> Result<(), JournalError> {
        self.poisoned.clone().map_or(Ok(()), |error| Err(JournalError::Poisoned(error)))
    }

    fn poison(&mut self, error: DiskError) -> JournalError {
        JournalError::Poisoned(self.poisoned.insert(error).clone())
    }

    /// Writes the records of `buffer`, in runs that each fit a file.
    fn write_all(&mut self, mut buffer: &mut [u8], mut buffered: &[Buffered]) -> Result<(), DiskError> {
        while let Some(first) = buffered.first() {
            if self.tail + first.extent() > self.options.capacity() && self.tail > FIRST_RECORD {
                self.begin_file()?;
            }
            let mut end = self.tail;
            let fits = |record: &&Buffered| {
                end += record.extent();
                end <= self.options.capacity()
            };
            let count = buffered.iter().take_while(fits).count().max(1);
            let (run, rest) = buffered.split_at(count);
            let (bytes, rest_bytes) = buffer.split_at_mut(run.iter().map(Buffered::extent).sum::<u64>() as usize);
            self.write_run(bytes, run)?;
            (buffer, buffered) = (rest_bytes, rest);
        }
        Ok(())
    }

    fn write_run(&mut self, bytes: &mut [u8], run: &[Buffered]) -> Result<(), DiskError> {
        let number = self.files.last().expect("there is a file to write to").number;
        let mut at = 0;
        for (record, left) in run.iter().zip((0..run.len()).rev()) {
            let sequence = self.written.next();
            let header = RecordHeader {
                is_last: left == 0,
                content_bytes: record.content_bytes,
                sequence,
                durable: self.durable,
                previous: self.checksum,
                content_checksum: record.content_checksum,
            };
            let place = Place { salt: self.options.salt, file: number, offset: self.tail + at };
            self.checksum = header.put(place, &mut bytes[at as usize..]);
            self.written = sequence;
            at += record.extent();
        }
        if self.unsynced.last().is_none_or(|(unsynced, _)| *unsynced != number) {
            self.unsynced.push((number, self.file.clone()));
        }
        self.file.write_at(self.tail, bytes)?;
        self.fill(self.tail + at)
    }

    /// Lets the next write begin after the bytes up to `end`; writes zeros ahead if these came to the end of the last ones.
    fn fill(&mut self, end: u64) -> Result<(), DiskError> {
        self.tail = end.next_multiple_of(SECTOR);
        if end <= self.filled {
            return Ok(());
        }
        self.filled = (end + FILL_BYTES).min(self.options.capacity()).max(self.tail);
        self.file.write_at(end, &vec![0; (self.filled - end) as usize])
    }

    fn begin_file(&mut self) -> Result<(), DiskError> {
        let number = self.files.last().expect("there is a file to write to").number.next();
        let first = self.written.next();
        let header = FileHeader { number, salt: self.options.salt, first, durable: self.durable, previous: self.checksum };
        self.file = Arc::new(create(&self.disk, &header)?);
        self.files.push(KnownFile { number, first });
        (self.tail, self.filled) = (FIRST_RECORD, FIRST_RECORD);
        self.directory_changed = true;
        Ok(())
    }
}

/// Makes a file that holds a header.
fn create<D: Disk>(disk: &D, header: &FileHeader) -> Result<D::File, DiskError> {
    let file = disk.create(&header.number.file_name())?;
    file.write_at(0, &header.to_sectors())?;
    Ok(file)
}

impl<D: Disk> fmt::Debug for Journal<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Journal { files, tail, written, durable, syncing, poisoned, .. } = self;
        let mut out = f.debug_struct("Journal");
        out.field("files", files).field("tail", tail).field("appended", &self.appended()).field("written", written);
        out.field("durable", durable).field("syncing", syncing).field("poisoned", poisoned).finish_non_exhaustive()
    }
}
