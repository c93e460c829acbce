//! Snapshots and hashes of this node's state, for clients; and the scratch directory that they need.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use steadfast_bbolt::Reader as Bbolt;
use steadfast_etcd_api::backend::{Hash, LongReadError, Snapshot};
use steadfast_snapshots::{Cluster, ExportError, HashKvError, Hashed, ImportError, export, hash_kv, summarize};
use steadfast_state::command::CommandError;
use steadfast_state::reader::Pinned;
use steadfast_types::tables::{TablesError, TablesReader};
use steadfast_types::{Revision, Term};

use crate::published::Reader;

/// Where it lies in the data directory.
const SCRATCH: &str = "scratch";

/// A directory for temporary files. What a crash left there is removed when the node starts; the files have no names where the file system can
/// do that, so that usually nothing is left.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Empties the scratch directory of a data directory.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SCRATCH);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }

    /// Makes a snapshot of the state.
    pub(crate) fn snapshot(&self, reader: &Reader, term: Term, wanted: &dyn Fn() -> bool) -> Result<Snapshot, LongReadError> {
        let pinned = reader.pin().map_err(CommandError::from)?;
        let (file, bytes) = self.make(&pinned, term, wanted)?;
        Ok(Snapshot { file, bytes })
    }

    /// etcd's Hash, which is of the whole backend: so that is made first.
    pub(crate) fn hash(&self, reader: &Reader, term: Term, wanted: &dyn Fn() -> bool) -> Result<Hash, LongReadError> {
        let pinned = reader.pin().map_err(CommandError::from)?;
        let (file, bytes) = self.make(&pinned, term, wanted)?;
        let own_file = |error: ImportError| LongReadError::Disk(format!("reading it back: {error}"));
        let snapshot = Bbolt::open(&file, bytes).map_err(|error| own_file(error.into()))?;
        let hash = summarize(&snapshot, Hashed::AllButPosition, &mut |_| ()).map_err(own_file)?.hash;
        let (revision, compact_revision) = (pinned.revision(), pinned.compact_revision());
        Ok(Hash { revision, compact_revision, hashed: revision, hash })
    }

    /// etcd's HashKV.
    pub(crate) fn hash_kv(&self, reader: &Reader, at: Revision, wanted: &dyn Fn() -> bool) -> Result<Hash, LongReadError> {
        let pinned = reader.pin().map_err(CommandError::from)?;
        let hash = hash_kv(&pinned, at, &self.0, wanted).map_err(|error| match error {
            HashKvError::Compacted => CommandError::Compacted.into(),
            HashKvError::FutureRevision => CommandError::FutureRevision.into(),
            HashKvError::Tables(error) => tables(error),
            HashKvError::Io(error) => self.disk(&error),
            HashKvError::Unwanted => LongReadError::Unwanted,
        })?;
        let (revision, compact_revision) = (pinned.revision(), pinned.compact_revision());
        Ok(Hash { revision, compact_revision, hashed: if at.0 == 0 { revision } else { at }, hash })
    }

    fn make<R: TablesReader>(&self, pinned: &Pinned<R>, term: Term, wanted: &dyn Fn() -> bool) -> Result<(File, u64), LongReadError> {
        let cluster = Cluster { term, members: pinned.members().map_err(tables)? };
        let file = tempfile::tempfile_in(&self.0).map_err(|error| self.disk(&error))?;
        let mut file = export(pinned, &cluster, file, &self.0, wanted).map_err(|error| match error {
            ExportError::Tables(error) => tables(error),
            ExportError::Order(what) => tables(TablesError(what)),
            ExportError::Io(error) => self.disk(&error),
            ExportError::Unwanted => LongReadError::Unwanted,
        })?;
        let bytes = file.seek(io::SeekFrom::End(0)).and_then(|bytes| file.rewind().map(|()| bytes));
        Ok((file, bytes.map_err(|error| self.disk(&error))?))
    }

    fn disk(&self, error: &io::Error) -> LongReadError {
        LongReadError::Disk(format!("{}: {error}", self.0.display()))
    }
}

fn tables(error: TablesError) -> LongReadError {
    CommandError::from(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_is_removed() {
        let home = tempfile::tempdir().expect("a scratch directory");
        Scratch::open(home.path()).expect("made");
        fs::write(home.path().join(SCRATCH).join("left"), "over").expect("written");
        Scratch::open(home.path()).expect("emptied");
        assert_eq!(fs::read_dir(home.path().join(SCRATCH)).expect("a list").count(), 0);
    }
}
