//! The journal of available state: opaque records, appended in order, in files of bounded size.
//!
//! # Shape
//!
//! [`Journal::append`] puts records into memory, [`Journal::write`] writes all of them to the newest file with one write, and a
//! [`SyncJob`] makes durable what was written: three steps, so that the thread that appends never waits for the disk. Each record has a
//! sequence, counted from 1, and holds the checksum of the one before. `format` has the bytes, `recover` the judgement at start.
//!
//! 1. Nothing is overwritten: what one write wrote shares no sector with what another did.
//! 2. What was synced is there at the next start, or [`open`] fails and says what is damaged.
//! 3. What was not synced is there up to some record, and nothing after that one.
//! 4. After a failed write or sync nothing more is written (the journal is poisoned). The next [`open`] writes what it can't prove durable
//!    once more, as the page cache may show data that a failed sync never brought to the disk.
//! 5. Each [`open`] begins a file of its own, after it cut off what was torn.
//! 6. [`Journal::cut`] lets go of whole files, the oldest first, of which every record is held elsewhere *and* was durable here. The file that comes
//!    next holds a durable record. Removals need no sync: files that come back after a crash, whichever, are older than where [`open`] begins.
//!
//! # Durability
//!
//! How often a shell runs the [`SyncJob`]s is its own choice: after every write, with answers held until [`Journal::finish_sync`] says that
//! they may go; once a second; or never. Zeros are written ahead of the records, so that most syncs change no metadata of the file (see the
//! figures at the replicated log). A new file costs no sync of its own: it is made durable with the first records in it.
//!
//! Left out: repair of a damaged record (peers hold what this replica holds: the node comes back as a new one and takes the state from
//! them), and reading while the journal is open.

mod cut;
mod format;
mod recover;
mod scan;
mod sync;
mod writer;

use std::fmt;

use steadfast_types::disk::{Disk, DiskError};

use recover::{Found, recover};

pub use cut::CutJob;
pub use sync::{SyncJob, Synced};
pub use writer::Journal;

/// Counts the records of a journal, from 1, over all files and restarts. 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Sequence(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a journal is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The length at which a file is full, bytes: between 4 KiB and 1 GiB. A record that is larger gets a file of its own. May change from
    /// start to start.
    pub file_bytes: u64,
    /// Drawn anew at each start from a source that nobody can guess. It goes into the checksums, so that who chooses the bytes of a
    /// record can't choose them to look like records.
    pub salt: u64,
}

impl JournalOptions {
    /// Files of 64 MiB.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        JournalOptions { file_bytes: 64 * 1024 * 1024, salt }
    }

    fn capacity(&self) -> u64 {
        const SMALLEST: u64 = 4 * 1024;
        const LARGEST: u64 = 1024 * 1024 * 1024;
        self.file_bytes.clamp(SMALLEST, LARGEST)
    }
}

/// Why the journal did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A write or a sync failed, now or before: what was not durable by then can't be believed, and nothing more is written. The node stops;
    /// a restart finds out what is there.
    #[error("the journal's disk failed and the journal takes no more records until a restart: {0}")]
    Poisoned(DiskError),
    /// A record that may have been durable can't be read. Nothing was changed.
    #[error("{file} is damaged at byte {offset}, where record {sequence} of the journal belongs: {because}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// Which record.
        sequence: Sequence,
        /// How it is known not to be a write that a power failure cut short.
        because: Because,
    },
    /// The journal begins after the record that is needed first. Nothing was changed.
    #[error("the journal begins with record {begins}, and record {needed} is needed: a file of it is missing")]
    Missing {
        /// The first that is needed.
        needed: Sequence,
        /// The first that is there.
        begins: Sequence,
    },
    /// A later version of this program wrote the journal. Nothing was changed.
    #[error("{file} has journal format {version} and this program reads formats up to {}: run the newer version", format::FORMAT_VERSION)]
    NewerFormat {
        /// The file.
        file: String,
        /// Its format.
        version: u16,
    },
    /// The disk failed while the journal was opened. Nothing that was durable was changed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// How damage is told from a write that a power failure cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Because {
    /// A later record says so.
    #[error("a later record says that it was durable")]
    WasDurable,
    /// A lost write leaves zeros, or the file ends.
    #[error("all of it was written, and it is not what was written")]
    NothingIsMissing,
}

/// A journal as it was opened.
#[derive(Debug)]
pub struct OpenedJournal<D: Disk> {
    /// The one writer.
    pub journal: Journal<D>,
    /// The last record found, or the one that [`open`] was told to begin after.
    pub last: Sequence,
    /// There was no journal.
    pub is_new: bool,
    /// Records after `last` were begun and never durable; what was left of them is cut off.
    pub was_torn: bool,
}

/// Opens the journal in `disk`, or makes an empty one if there is none: reads all its records once, tells `replay` each that comes after
/// the record `after`, in order, and removes the files that hold none of those. If the journal ends before `after`, it goes on from there.
///
/// `after` says up to where the records are held elsewhere durably (0: nowhere), of those that were durable here; from start to start it never goes down.
///
/// # Errors
/// [`JournalError::Damaged`], [`JournalError::Missing`], [`JournalError::NewerFormat`], or the disk failed. `replay` may have been told of
/// records by then; what it made of them is to be thrown away.
pub fn open<D: Disk>(
    disk: &D,
    options: JournalOptions,
    after: Sequence,
    mut replay: impl FnMut(Sequence, &[u8]),
) -> Result<OpenedJournal<D>, JournalError> {
    let Found { files, leftovers, last, checksum, is_new, was_torn, next_file } = recover(disk, after, |sequence, record| {
        if sequence > after {
            replay(sequence, record)
        }
    })?;
    let journal = if last < after {
        // What is there was never synced and is held elsewhere: a file that begins after the gap makes it void.
        let journal = Journal::begin(disk.clone(), options, next_file, (after, 0), Vec::new())?;
        files.iter().try_for_each(|file| disk.remove(&file.number.file_name()))?;
        journal
    } else {
        Journal::begin(disk.clone(), options, next_file, (last, checksum), files)?
    };
    leftovers.iter().try_for_each(|number| disk.remove(&number.file_name()))?;
    Ok(OpenedJournal { journal, last: last.max(after), is_new, was_torn })
}

#[cfg(test)]
mod tests;
