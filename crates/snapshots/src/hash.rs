//! The hash that etcd takes of its keys, HashKV, CRC-32C.
//!
//! As etcd 3.5.1 has it: over the name of the bucket `key`, and the keys and values of its writes up to a revision. Of those up to the
//! compact revision only the ones that a compaction at the revision hashed would keep; but all of them if it would keep none at all.

use std::io;
use std::path::Path;

use steadfast_state::reader::{Pinned, Write};
use steadfast_types::Revision;
use steadfast_types::tables::{TablesError, TablesReader};

use crate::order::{OrderError, SORT_BYTES, sorted};
use crate::schema::{self, encode_write};

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashKvError {
    /// The revision is the compact one, or below.
    #[error("required revision has been compacted")]
    Compacted,
    /// It is yet to come.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The tables are damaged.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// Sorting needs more memory than there may be, and the disk failed.
    #[error("sorting in a temporary file: {0}")]
    Io(io::Error),
    /// Whoever asked has gone.
    #[error("it is not wanted any more")]
    Unwanted,
}

impl From<OrderError> for HashKvError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Tables(error) => HashKvError::Tables(error),
            OrderError::Io(error) => HashKvError::Io(error),
            OrderError::Unwanted => HashKvError::Unwanted,
        }
    }
}

/// etcd's HashKV at `revision` (0: the newest). `directory` is where temporary files may be; `wanted` is asked now and then.
///
/// # Errors
/// The revision is not there, or the tables or the disk fail.
pub fn hash_kv<R: TablesReader>(
    pinned: &Pinned<R>,
    revision: Revision,
    directory: &Path,
    wanted: &dyn Fn() -> bool,
) -> Result<u32, HashKvError> {
    let compact = pinned.compact_revision();
    if revision.0 > 0 && revision <= compact {
        return Err(HashKvError::Compacted);
    }
    if revision > pinned.revision() {
        return Err(HashKvError::FutureRevision);
    }
    let last = if revision.0 == 0 { pinned.revision() } else { revision };
    let mut hash = crc32c::crc32c(schema::KEY);
    if last.0 < 0 {
        return Ok(hash);
    }
    let kept: Box<dyn Iterator<Item = Result<Write, TablesError>>> =
        if pinned.has_keys_at(last)? { Box::new(pinned.kept_until(last)) } else { Box::new(pinned.kept()) };
    for entry in sorted(kept, directory, SORT_BYTES, wanted)? {
        let (key, value) = entry?;
        hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, &key), &value);
    }
    for (number, write) in pinned.since(last).enumerate() {
        if number % 1024 == 0 && !wanted() {
            return Err(HashKvError::Unwanted);
        }
        let (key, value) = encode_write(write?);
        hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, &key), &value);
    }
    Ok(hash)
}
