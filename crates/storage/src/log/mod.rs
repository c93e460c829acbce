//! The replicated log on disk.
//!
//! # Shape
//!
//! The log is a sequence of *batches*, one for each [`LogWriter::append`], in *segment* files. A batch begins at a sector boundary and is
//! written with one write, so that a torn write never touches a sector that holds acknowledged data; one sync makes it durable. Its header
//! says what the log's state is after it, and chains it to the batch before; each entry is a record with a checksum of its own, which is
//! verified each time it is read. `format` has the bytes, `recover` the judgement at start.
//!
//! 1. Nothing is overwritten: a cut of the tail, a repair, a new start are later batches that say so.
//! 2. What was synced is, at the next start, there, or reported as a hole, or the node is marked suspect, durably, before `open` returns.
//! 3. What was not synced is there or not, batch by batch in order: a torn batch is recognised and dropped without suspicion.
//! 4. After a failed sync or write nothing more is written (the log is poisoned). The next `open` writes what it can't prove durable once
//!    more, as the page cache may show data that a failed sync never brought to the disk.
//!
//! # Cost
//!
//! An append is one write, a sync one `fdatasync`. Blank sectors are written ahead of the batches, a piece at a time in the same file, and
//! the sync of a batch makes the next piece durable by the way: a sync over sectors that were written before changes no metadata and is
//! spared the file system's journal. Median microseconds for a write and a sync, ext4 on one virtual disk, two cores busy with other work
//! (so compare, don't quote):
//!
//! | | 4 KiB | 30 KiB |
//! | --- | --- | --- |
//! | growing the file by each write | 4021 | 291 |
//! | allocated ahead (`fallocate`), never written | 2003 | 3509 |
//! | written ahead | 137 | 123 |
//! | this log (0.2 KiB; 100 entries, 30 KiB) | 106 | 145 |
//!
//! Of the last line, 8 and 12 are the append with its write. Opening reads at the speed of the disk cache: 69 MB in 0.15 s.
//!
//! Left out: reading the whole log for decay in the background (whoever wants that calls [`LogReader::read`]), and encryption.

mod format;
mod index;
mod reader;
mod recover;
mod scan;
mod segment;
mod writer;

use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use steadfast_types::disk::{Disk, DiskError, DiskFile};
use steadfast_types::wire::WireError;
use steadfast_types::{Configuration, HardState, LogIndex, LogPosition, Term};

use format::{Header, SegmentNumber};
use index::{Index, Slots};
use recover::{Recovered, recover};
use scan::Segment;
pub(crate) use scan::Window;

pub use reader::LogReader;
pub use writer::LogWriter;
use writer::{Place, SegmentStatus};

/// How the log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The length at which a segment is full, bytes: between 4 KiB and 1 GiB. A batch that is larger gets a segment of its own. May change
    /// from start to start.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 64 * 1024 * 1024 }
    }
}

impl LogOptions {
    fn capacity(&self) -> u32 {
        const SMALLEST: u64 = 4 * 1024;
        const LARGEST: u64 = 1024 * 1024 * 1024;
        let bytes = self.segment_bytes.clamp(SMALLEST, LARGEST);
        u32::try_from(bytes - bytes % u64::from(format::SECTOR)).expect("a gibibyte fits 32 bits")
    }
}

/// Why the log did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk is full. Nothing of the call is in the log; everything before it is.
    #[error("no space left on the disk for the log: free some, or move the data directory to a larger disk")]
    Full,
    /// A write or a sync failed, now or before: what was written since the last good sync can't be believed, and nothing more is written.
    /// The node stops; a restart finds out what is there.
    #[error("the log's disk failed and the log takes no more writes until a restart: {0}")]
    Poisoned(String),
    /// The log begins after the entry asked for.
    #[error("the log begins after {start}")]
    Compacted {
        /// Where it begins.
        start: LogPosition,
    },
    /// The entry is damaged, or in a hole. The log is unchanged; [`LogWriter::repair`] mends it.
    #[error("entry {index} is damaged on disk")]
    Damaged {
        /// Which.
        index: LogIndex,
    },
    /// An intact record holds what this version can't decode.
    #[error("entry {index} can't be decoded ({error}): it was written by another version of this program; run that one")]
    Undecodable {
        /// Which.
        index: LogIndex,
        /// In what way.
        error: WireError,
    },
    /// A later version of this program wrote the log. Nothing was changed.
    #[error("{file} has log format {version} and this program reads formats up to {}: run the newer version", format::FORMAT_VERSION)]
    NewerFormat {
        /// The segment.
        file: String,
        /// Its format.
        version: u16,
    },
    /// There are segments, and nothing in them can be read, or far too little. Nothing was changed.
    #[error("hardly any part of the log can be read: empty the data directory and add this node to the cluster again as a new member")]
    Unreadable,
    /// A repair for an entry that the log does not hold, or that is another one. Nothing was changed.
    #[error("entry {position} is not one that the log can take as a repair")]
    NotARepair {
        /// Which.
        position: LogPosition,
    },
    /// More entries in one call than a segment can hold. Nothing was changed.
    #[error("a batch of {bytes} bytes is too large for the log: append fewer entries at once")]
    TooLarge {
        /// Their size.
        bytes: u64,
    },
    /// The disk failed while the log was opened. Nothing acknowledged was changed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// How the log on disk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnding {
    /// With an intact batch.
    Clean,
    /// With parts of batches that were never synced; they are cut off.
    Torn,
    /// With damage that may have hit acknowledged data; it is cut off, and the node is suspect.
    Damaged,
}

/// What the log held when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogContents {
    /// Term and vote; `suspect` is set if acknowledged data may be lost, and that is durable. If `hard_state_lost` and no vote is known, the
    /// vote is for node 0, which does not exist, so that the node gives no second vote in its term.
    pub hard_state: HardState,
    /// The newest hard state may be lost: the node may have voted in terms later than the one in `hard_state`. It is suspect then.
    pub hard_state_lost: bool,
    /// The log begins after this position.
    pub start: LogPosition,
    /// The first index of each run of entries of one term, ascending. In a hole the terms are not known: its entries count with those before.
    pub terms: Vec<(LogIndex, Term)>,
    /// The last entry.
    pub last: LogPosition,
    /// The configurations in the entries, ascending.
    pub configurations: Vec<(LogPosition, Configuration)>,
    /// The ranges of entries that are lost, ascending.
    pub holes: Vec<Range<LogIndex>>,
    /// How the log on disk ended.
    pub ending: LogEnding,
}

/// An open log.
#[derive(Debug)]
pub struct OpenedLog<D: Disk> {
    /// The one writer.
    pub writer: LogWriter<D>,
    /// Reads what the writer has appended, synced or not.
    pub reader: LogReader<D>,
    /// What was found.
    pub contents: LogContents,
}

/// Opens the log in `disk`, or makes an empty one if there is none. Reads all of it once, so that it takes as long as reading the log that
/// is kept.
///
/// # Errors
/// The disk failed or is full; nothing can be read; a newer version wrote it.
pub fn open<D: Disk>(disk: &D, options: LogOptions) -> Result<OpenedLog<D>, LogError> {
    segment::remove_unfinished(disk)?;
    let numbers: Vec<SegmentNumber> = disk.list()?.iter().filter_map(|name| SegmentNumber::of_file(name)).collect();
    match numbers.last() {
        None => create(disk, options),
        Some(&highest) => {
            let segments: Result<Vec<_>, LogError> =
                numbers.iter().map(|&number| Segment::scan(number, Arc::new(disk.open(&number.file_name())?))).collect();
            reopen(disk, options, recover(segments?)?, &numbers, highest.next())
        }
    }
}

/// Makes an empty log.
fn create<D: Disk>(disk: &D, options: LogOptions) -> Result<OpenedLog<D>, LogError> {
    let header = Header { first_segment: SegmentNumber(1), ..Header::default() };
    let index = Index { slots: Slots::default(), files: BTreeMap::new() };
    let (shared, first) = (Arc::new(RwLock::new(index)), SegmentNumber(1));
    let contents = LogContents::new(&header, &Slots::default(), LogEnding::Clean);
    let writer = LogWriter::begin(disk.clone(), options, shared.clone(), header, BTreeMap::new(), first, 0)?;
    Ok(OpenedLog { writer, reader: LogReader::new(shared), contents })
}

/// Goes on with what was found in the segments `numbers`: in the newest one if it ends cleanly, else in the new segment `next`, so that what
/// is damaged stays as it is.
fn reopen<D: Disk>(
    disk: &D,
    options: LogOptions,
    recovered: Recovered<D::File>,
    numbers: &[SegmentNumber],
    next: SegmentNumber,
) -> Result<OpenedLog<D>, LogError> {
    let place = prove_durable(disk, &recovered)?;
    let mut contents = LogContents::new(&recovered.header, &recovered.slots, recovered.ending);
    contents.hard_state_lost = recovered.hard_state_lost;
    contents.configurations = recovered.configurations;

    let (mut files, mut segments) = (BTreeMap::new(), BTreeMap::new());
    for (segment, highest) in recovered.segments {
        segments.insert(segment.number, SegmentStatus { highest, bytes: segment.bytes });
        files.insert(segment.number, segment.file);
    }
    let dead: Vec<SegmentNumber> = numbers.iter().copied().filter(|number| !segments.contains_key(number)).collect();
    let shared = Arc::new(RwLock::new(Index { slots: recovered.slots, files }));
    let (disk_handle, shared_too, header) = (disk.clone(), shared.clone(), recovered.header);
    let writer = match place {
        Some(place) => LogWriter::resume(disk_handle, options, shared_too, header, segments, place),
        None => LogWriter::begin(disk_handle, options, shared_too, header, segments, next, offset(recovered.end))?,
    };
    for number in dead {
        disk.remove(&number.file_name())?;
    }
    Ok(OpenedLog { writer, reader: LogReader::new(shared), contents })
}

/// Makes durable what was recovered. A former life may have ended before its last sync or after a failed one; so what no header proves
/// to be durable is written once more, the same bytes to the same place, and synced. Torn, that does no harm. A header and its copy, one of which may
/// be missing, are made anew from the other: only with both is the hard state in them safe from damage to one sector.
///
/// Returns where to go on in the newest segment, `None` if it can't be used further.
fn prove_durable<D: Disk>(disk: &D, recovered: &Recovered<D::File>) -> Result<Option<Place<D::File>>, LogError> {
    let newest = recovered.segments.iter().find(|(segment, _)| segment.number == recovered.header.segment);
    let (segment, _) = newest.expect("the last batch stands in a live segment");
    for header in &recovered.unproven {
        let mut bytes = vec![0; usize::try_from(header.extent()).expect("a batch fits memory")];
        let copy_at = bytes.len() - if header.copied { format::SECTOR as usize } else { 0 };
        let count = segment.file.read_at(u64::from(header.offset), &mut bytes[..copy_at])?;
        assert!(count == copy_at, "an intact batch is all there");
        if header.records == 0 {
            bytes[..copy_at].fill(0);
            header.clone().seal(&mut bytes);
        }
        if header.copied {
            header.seal_copy(&mut bytes[copy_at..]);
        }
        segment.file.write_at(u64::from(header.offset), &bytes)?;
    }
    segment.file.sync()?;
    disk.sync_directory()?;
    let usable = recovered.ending == LogEnding::Clean && !recovered.hard_state_changed;
    Ok(usable.then(|| Place { file: segment.file.clone(), tail: offset(recovered.end), filled: offset(segment.blanks_end(recovered.end)) }))
}

fn offset(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("an offset in a segment has 32 bits")
}

impl LogContents {
    fn new(header: &Header, slots: &Slots, ending: LogEnding) -> Self {
        LogContents {
            hard_state: header.hard_state,
            hard_state_lost: false,
            start: slots.start(),
            terms: slots.terms(),
            last: slots.last(),
            configurations: Vec::new(),
            holes: slots.holes(),
            ending,
        }
    }
}
