//! Judges what `scan` found: which records are the journal, and where it ends.
//!
//! Where the next record is not intact, it is one of these:
//! - **the end**: nothing was ever written there. Or the next file goes on from the record before: then this file was left there.
//! - **torn**: a sector of it is lost, and nothing that follows says that it was durable. So nobody was told that it is; it and all that
//!   follows (which was not durable either, as a sync covers all that was written before it) is cut off.
//! - **damaged**: anything else. That is an error, and nothing is changed: whether the node can do without the record is not decided here.
//!
//! In the fault model of torn and reordered unsynced sectors and decaying synced ones, a record cut off as torn was never durable, but for
//! two cases: one that no later record vouches for, and of which a sector decayed to zeros; or that has a sector of zeros of its own, and
//! decayed elsewhere.

use steadfast_types::disk::{Disk, DiskFile};

use super::format::{FIRST_RECORD, FileHeader, FileNumber, SECTOR};
use super::scan::{Head, Next, Scanned};
use super::writer::KnownFile;
use super::{Because, JournalError, Sequence};

/// Marks are noted at this distance: so much more than what is not proven to be durable is written once more.
const MARK_BYTES: u64 = 1024 * 1024;

/// Bytes written once more at a time.
const REWRITE_BYTES: u64 = 1024 * 1024;

/// A journal made ready to go on.
pub(super) struct Found {
    /// The files of the journal, in order; the last one ends with the last record.
    pub(super) files: Vec<KnownFile>,
    /// Files to be removed once the journal goes on.
    pub(super) leftovers: Vec<FileNumber>,
    pub(super) last: Sequence,
    /// Of the last record.
    pub(super) checksum: u32,
    pub(super) is_new: bool,
    pub(super) was_torn: bool,
    /// The number of the file to go on in.
    pub(super) next_file: FileNumber,
}

/// Reads the journal, from the file that holds the record after `after`, and makes what it holds durable. Tells `replay` of all its records.
pub(super) fn recover<D: Disk>(disk: &D, after: Sequence, replay: impl FnMut(Sequence, &[u8])) -> Result<Found, JournalError> {
    let numbers = disk.list()?.iter().filter_map(|name| FileNumber::of_file(name)).collect::<Vec<_>>();
    let mut files = numbers.iter().map(|&number| Scanned::open(disk, number)).collect::<Result<Vec<_>, _>>()?;
    let next_file = numbers.last().map_or(FileNumber(1), |number| number.next());
    let reaches = |scanned: &Scanned<_>| matches!(scanned.head, Head::Intact(head) if head.first <= after.next());
    let Some(start) = files.iter().rposition(reaches) else {
        can_begin_anew(&mut files, after)?;
        let (is_new, was_torn) = (files.iter().all(|scanned| scanned.head == Head::Lost), !files.is_empty());
        return Ok(Found { files: vec![], leftovers: numbers, last: after, checksum: 0, is_new, was_torn, next_file });
    };
    let mut leftovers = numbers[..start].to_vec();
    let files = &mut files[start..];
    let walk = Walk::through(files, replay);
    let was_torn = walk.judge(files)?;
    walk.make_durable(disk, files)?;

    let mut known = walk.files;
    // A file without records says nothing that the next one does not.
    if let Some(empty) = known.pop_if(|file| file.first > walk.last) {
        if known.is_empty() {
            leftovers.push(empty.number);
        } else {
            // If a crash could bring it back behind the next file's beginning, and without the head whose sync may have failed, that would be a gap before
            // what is durable.
            disk.remove(&empty.number.file_name())?;
            disk.sync_directory()?;
        }
    }
    Ok(Found { files: known, leftovers, last: walk.last, checksum: walk.checksum, is_new: false, was_torn, next_file })
}

/// Whether a journal that has no file with the record after `after` may begin anew: nothing says that this record was durable.
fn can_begin_anew<F: DiskFile>(files: &mut [Scanned<F>], after: Sequence) -> Result<(), JournalError> {
    let needed = after.next();
    for scanned in files {
        let durable = scanned.durable_after(0);
        match scanned.head {
            Head::Intact(head) if durable >= needed => return Err(JournalError::Missing { needed, begins: head.first }),
            Head::Damaged => return Err(damaged(scanned.number, 0, needed, Because::NothingIsMissing)),
            Head::Intact(_) | Head::Lost => {}
        }
    }
    Ok(())
}

fn damaged(file: FileNumber, offset: u64, sequence: Sequence, because: Because) -> JournalError {
    JournalError::Damaged { file: file.file_name(), offset, sequence, because }
}

/// A walk along the chain of records, up to where it ends.
struct Walk {
    files: Vec<KnownFile>,
    last: Sequence,
    checksum: u32,
    /// Where the next record must stand, in the last of `files`.
    end: u64,
    /// What stands there was all written, and is no record that can.
    is_damaged: bool,
    /// The last record that a record of the chain says was durable.
    durable: Sequence,
    marks: Vec<Mark>,
}

/// Where in the chain a record begins.
#[derive(Clone, Copy)]
struct Mark {
    sequence: Sequence,
    file: usize,
    offset: u64,
}

impl Walk {
    /// Walks through `files`, of which the first has an intact head.
    fn through<F: DiskFile>(files: &mut [Scanned<F>], mut replay: impl FnMut(Sequence, &[u8])) -> Self {
        let mut walk =
            Walk { files: Vec::new(), last: Sequence(0), checksum: 0, end: 0, is_damaged: false, durable: Sequence(0), marks: Vec::new() };
        for scanned in files {
            match scanned.head {
                Head::Intact(head) if walk.files.is_empty() || head.follows(walk.last, walk.checksum) => {
                    walk.enter(&head);
                    walk.through_file(scanned, &head, &mut replay);
                }
                Head::Intact(_) | Head::Lost | Head::Damaged => break,
            }
        }
        walk
    }

    fn enter(&mut self, head: &FileHeader) {
        let previous = Sequence(head.first.0.saturating_sub(1));
        (self.last, self.checksum, self.end, self.is_damaged) = (previous, head.previous, FIRST_RECORD, false);
        self.durable = self.durable.max(head.durable);
        self.marks.push(Mark { sequence: head.first, file: self.files.len(), offset: 0 });
        self.files.push(KnownFile { number: head.number, first: head.first });
    }

    fn through_file<F: DiskFile>(&mut self, scanned: &mut Scanned<F>, head: &FileHeader, replay: &mut impl FnMut(Sequence, &[u8])) {
        loop {
            match scanned.next(head.salt, self.end) {
                Next::Record { header, checksum, content } if header.follows(self.last, self.checksum) => {
                    replay(header.sequence, content);
                    self.mark(header.sequence);
                    (self.last, self.checksum) = (header.sequence, checksum);
                    self.durable = self.durable.max(header.durable);
                    self.end += header.extent();
                    if header.is_last {
                        self.end = self.end.next_multiple_of(SECTOR);
                    }
                }
                Next::Lost => return,
                Next::Record { .. } | Next::Damaged => {
                    self.is_damaged = true;
                    return;
                }
            }
        }
    }

    /// Notes that the record `sequence` begins at the end.
    fn mark(&mut self, sequence: Sequence) {
        let file = self.files.len() - 1;
        let is_far = self.marks.last().is_none_or(|mark| mark.file == file && self.end - mark.offset >= MARK_BYTES);
        if is_far {
            self.marks.push(Mark { sequence, file, offset: self.end });
        }
    }

    /// Whether what follows the chain is torn. An error if it is damaged.
    fn judge<F: DiskFile>(&self, files: &mut [Scanned<F>]) -> Result<bool, JournalError> {
        let (chain, beyond) = files.split_at_mut(self.files.len());
        let newest = chain.last_mut().expect("the walk begins in a file");
        let (needed, number) = (self.last.next(), newest.number);
        let here = |because| Err(damaged(number, self.end, needed, because));
        let beyond_durable = beyond.iter_mut().map(|scanned| scanned.durable_after(0)).max().unwrap_or_default();
        if newest.durable_after(self.end).max(beyond_durable) >= needed {
            return here(Because::WasDurable);
        }
        if self.is_damaged {
            return here(Because::NothingIsMissing);
        }
        if let Some(next) = beyond.first() {
            let is_damaged = match next.head {
                // Records between this file and that one may be lost; no loss explains another one in the place of the next.
                Head::Intact(head) => head.first <= needed,
                Head::Lost => false,
                Head::Damaged => true,
            };
            if is_damaged {
                return Err(damaged(next.number, 0, needed, Because::NothingIsMissing));
            }
        }
        Ok(!beyond.is_empty() || newest.has_content_after(self.end))
    }

    /// Cuts off what follows the chain, and writes once more what no record proves to be durable: the same bytes to the same place. Torn,
    /// that does no harm.
    fn make_durable<D: Disk>(&self, disk: &D, files: &[Scanned<D::File>]) -> Result<(), JournalError> {
        let (chain, beyond) = files.split_at(self.files.len());
        let newest = chain.last().expect("the walk begins in a file");
        if newest.bytes > self.end {
            newest.file.set_length(self.end)?;
        }
        let unproven = self.marks.iter().rfind(|mark| mark.sequence <= self.durable.next()).or(self.marks.first());
        let from = unproven.copied().expect("each file has a mark");
        for (number, scanned) in chain.iter().enumerate().skip(from.file) {
            if self.last > self.durable {
                let start = if number == from.file { from.offset } else { 0 };
                rewrite(&*scanned.file, start, scanned.file.length()?)?;
            }
            scanned.file.sync()?;
        }
        for scanned in beyond {
            disk.remove(&scanned.number.file_name())?;
        }
        Ok(disk.sync_directory()?)
    }
}

fn rewrite(file: &impl DiskFile, from: u64, to: u64) -> Result<(), JournalError> {
    for at in (from..to).step_by(REWRITE_BYTES as usize) {
        let mut bytes = vec![0; (to - at).min(REWRITE_BYTES) as usize];
        let count = file.read_at(at, &mut bytes)?;
        file.write_at(at, &bytes[..count])?;
    }
    Ok(())
}
