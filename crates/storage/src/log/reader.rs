//! Reads entries back. A reader shares the index with the writer and holds its lock only while it looks up places, never while it reads:
//! that is safe as nothing in a segment is overwritten, and an open file stays readable when it is removed.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use steadfast_types::disk::{Disk, DiskFile};
use steadfast_types::{Entry, LogIndex};

use super::LogError;
use super::format::parse_record;
use super::index::{Index, Slot};
use super::scan::decode_payload;

/// Records at most this far apart are read together: between batches there are a header and padding.
const READ_THROUGH_BYTES: u32 = 4 * 1024;

/// Reads entries of a log; cheap to clone, usable from any thread.
pub struct LogReader<D: Disk> {
    shared: Arc<RwLock<Index<D::File>>>,
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        LogReader { shared: self.shared.clone() }
    }
}

impl<D: Disk> fmt::Debug for LogReader<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

/// Records that stand close together in one file.
struct Run<F> {
    file: Arc<F>,
    first: LogIndex,
    slots: Vec<Slot>,
}

impl<F> Run<F> {
    /// Whether `slot` may join.
    fn reaches(&self, slot: Slot) -> bool {
        let last = self.slots.last().expect("a run has a record");
        let end = last.offset + last.bytes;
        slot.segment == last.segment && (end..=end + READ_THROUGH_BYTES).contains(&slot.offset)
    }
}

impl<D: Disk> LogReader<D> {
    pub(super) fn new(shared: Arc<RwLock<Index<D::File>>>) -> Self {
        LogReader { shared }
    }

    /// The entries from `from` on, in order without gaps, about `max_bytes` of them on disk: at least one, unless the log ends before `from`;
    /// fewer if a damaged one follows. Each is verified; a payload owns its memory.
    ///
    /// # Errors
    /// [`LogError::Compacted`] if the log begins after `from`; [`LogError::Damaged`] if the first entry is.
    pub fn read(&self, from: LogIndex, max_bytes: usize) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        for run in self.plan(from, max_bytes)? {
            match read_run(&run, &mut entries) {
                Ok(()) => {}
                Err(LogError::Damaged { .. }) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    /// Where to read.
    fn plan(&self, from: LogIndex, max_bytes: usize) -> Result<Vec<Run<D::File>>, LogError> {
        let index = self.shared.read();
        if from <= index.slots.start().index {
            return Err(LogError::Compacted { start: index.slots.start() });
        }
        let (mut runs, mut bytes, mut at): (Vec<Run<D::File>>, usize, LogIndex) = (Vec::new(), 0, from);
        while let Some(slot) = index.slots.get(at) {
            bytes += slot.bytes as usize;
            if at > from && (bytes > max_bytes || slot.is_missing()) {
                break;
            }
            if slot.is_missing() {
                return Err(LogError::Damaged { index: at });
            }
            match runs.last_mut().filter(|run| run.reaches(slot)) {
                Some(run) => run.slots.push(slot),
                None => {
                    let Some(file) = index.files.get(&slot.segment).cloned() else {
                        return if runs.is_empty() { Err(LogError::Damaged { index: at }) } else { Ok(runs) };
                    };
                    runs.push(Run { file, first: at, slots: vec![slot] });
                }
            }
            at = at.next();
        }
        Ok(runs)
    }
}

/// Reads a run with one read and appends its entries, up to the first damaged one.
fn read_run<F: DiskFile>(run: &Run<F>, entries: &mut Vec<Entry>) -> Result<(), LogError> {
    let (first, last) = (run.slots[0], run.slots[run.slots.len() - 1]);
    let mut buffer = vec![0; (last.offset + last.bytes - first.offset) as usize];
    // A sector that can't be read is damage like any other.
    let count = run.file.read_at(u64::from(first.offset), &mut buffer).unwrap_or(0);
    buffer.truncate(count);
    for (slot, number) in run.slots.iter().zip(0..) {
        let index = LogIndex(run.first.0 + number);
        let bytes = buffer.get((slot.offset - first.offset) as usize..).unwrap_or_default();
        let record = parse_record(bytes).filter(|record| record.position.index == index && record.position.term == slot.term);
        let Some(record) = record else { return Err(LogError::Damaged { index }) };
        entries.push(Entry { term: slot.term, index, payload: decode_payload(record.position, record.payload)? });
    }
    Ok(())
}
