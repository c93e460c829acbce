//! The writes in the order of etcd's bucket `key`.
//!
//! What compaction left of old writes comes by key and is sorted: in memory if it is little, else piece by piece into a temporary file, whose
//! pieces are then merged. Everything since the compaction comes in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use steadfast_state::reader::Write;
use steadfast_types::tables::TablesError;

use crate::schema::encode_write;

/// Bytes of keys and values that are sorted in memory.
pub const SORT_BYTES: usize = 16 * 1024 * 1024;

/// Bytes read at once of each sorted piece.
const READ_BYTES: usize = 16 * 1024;

/// An entry of the bucket `key`.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Why the writes can't be gone through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error("sorting in a temporary file: {0}")]
    Io(#[from] io::Error),
    #[error("it is not wanted any more")]
    Unwanted,
}

/// Sorts writes by revision; `directory` is where temporary files may be.
pub(crate) fn sorted(
    writes: impl Iterator<Item = Result<Write, TablesError>>,
    directory: &Path,
    most_bytes: usize,
    wanted: &dyn Fn() -> bool,
) -> Result<Merged, OrderError> {
    let mut pieces: Option<Pieces> = None;
    let (mut held, mut bytes) = (Vec::new(), 0);
    for write in writes {
        let entry = encode_write(write?);
        bytes += entry.0.len() + entry.1.len();
        held.push(entry);
        if bytes >= most_bytes {
            if !wanted() {
                return Err(OrderError::Unwanted);
            }
            let pieces = match &mut pieces {
                Some(pieces) => pieces,
                none => none.insert(Pieces::new(directory)?),
            };
            pieces.add(&mut held)?;
            bytes = 0;
        }
    }
    held.sort_unstable();
    let sources = match pieces {
        Some(pieces) => pieces.into_sources()?,
        None => Vec::new(),
    };
    Merged::new(sources, held)
}

/// Sorted pieces, one behind the other in a file without a name.
struct Pieces {
    file: BufWriter<File>,
    starts: Vec<u64>,
    end: u64,
}

impl Pieces {
    fn new(directory: &Path) -> io::Result<Self> {
        Ok(Pieces { file: BufWriter::new(tempfile::tempfile_in(directory)?), starts: Vec::new(), end: 0 })
    }

    fn add(&mut self, entries: &mut Vec<Entry>) -> io::Result<()> {
        entries.sort_unstable();
        self.starts.push(self.end);
        for (key, value) in entries.drain(..) {
            for part in [key, value] {
                let length = u32::try_from(part.len()).map_err(|_| io::Error::other("a key or value of more than 4 GiB"))?;
                self.file.write_all(&length.to_le_bytes())?;
                self.file.write_all(&part)?;
                self.end += 4 + u64::from(length);
            }
        }
        Ok(())
    }

    fn into_sources(self) -> io::Result<Vec<Piece>> {
        let Pieces { file, starts, end } = self;
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        let file = Arc::new(file);
        let ends = starts.iter().skip(1).chain([&end]);
        let piece = |(start, end): (&u64, &u64)| {
            let part = Part { file: file.clone(), at: *start, end: *end };
            Piece(BufReader::with_capacity(READ_BYTES, part))
        };
        Ok(starts.iter().zip(ends).map(piece).collect())
    }
}

/// A part of a file.
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A sorted piece.
struct Piece(BufReader<Part>);

impl Piece {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let key = self.part(length)?;
        self.0.read_exact(&mut length)?;
        Ok(Some((key, self.part(length)?)))
    }

    fn part(&mut self, length: [u8; 4]) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Pieces on the disk and one in memory, merged. Of each piece one entry is held.
pub(crate) struct Merged {
    pieces: Vec<Piece>,
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
    held: std::vec::IntoIter<Entry>,
}

impl Merged {
    fn new(pieces: Vec<Piece>, held: Vec<Entry>) -> Result<Self, OrderError> {
        let mut merged = Merged { heads: BinaryHeap::new(), held: held.into_iter(), pieces };
        (0..=merged.pieces.len()).try_for_each(|source| merged.fill(source))?;
        Ok(merged)
    }

    /// Takes the next entry of a source; the one behind the pieces is that in memory.
    fn fill(&mut self, source: usize) -> Result<(), OrderError> {
        let entry = match self.pieces.get_mut(source) {
            Some(piece) => piece.next()?,
            None => self.held.next(),
        };
        self.heads.extend(entry.map(|entry| Reverse((entry, source))));
        Ok(())
    }
}

impl Iterator for Merged {
    type Item = Result<Entry, OrderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, source)) = self.heads.pop()?;
        Some(self.fill(source).map(|()| entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use steadfast_state::reader::Change;
    use steadfast_types::Revision;

    proptest! {
        #[test]
        fn writes_come_in_order_in_memory_or_not(mut revisions in prop::collection::vec((1..1000i64, 0..5u32), 0..300), most in 1..5000usize) {
            revisions.sort_unstable();
            revisions.dedup();
            let write = |(revision, sub): &(i64, u32)| Write { revision: Revision(*revision), sub: *sub, change: Change::Delete("key".into()) };
            let expected: Vec<Entry> = revisions.iter().map(write).map(encode_write).collect();
            shuffle(&mut revisions);
            let directory = tempfile::tempdir().expect("a scratch directory");
            let sorted = sorted(revisions.iter().map(write).map(Ok), directory.path(), most, &|| true).expect("sorted");
            prop_assert_eq!(sorted.collect::<Result<Vec<_>, _>>().expect("read back"), expected);
            prop_assert_eq!(std::fs::read_dir(directory.path()).expect("a list").count(), 0, "temporary files have no names");
        }
    }

    /// An order that has nothing to do with the revisions.
    fn shuffle(revisions: &mut [(i64, u32)]) {
        revisions.sort_by_key(|(revision, sub)| (revision * 7919 % 1009, *sub));
    }
}
