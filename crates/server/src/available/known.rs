//! What a node knows of a record of strong state, kept in its replica's directory: so that it knows at its start, without a quorum, which keys are not for it alone
//! to write, and whom it lets in.
//!
//! Invariant: what a node has published, or agreed to in strong state, is in its file before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::durable_file::replace;
use super::record::Recorded;

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept<O> {
    /// What is this directory's own.
    own: O,
    /// The record, as strong state has it.
    record: Vec<u8>,
}

/// What is known of strong state can't be told.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: {reason}; if the file is damaged, move the directory that it is in away: the replica then begins anew and takes what the others have"
)]
pub(crate) struct KnownError {
    path: String,
    reason: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Known<T, O> {
    path: PathBuf,
    /// What is this directory's own, and never changes.
    pub(crate) own: O,
    /// The record; `None` if this directory is new.
    pub(crate) record: Option<T>,
}

impl<T: Recorded, O: Serialize + DeserializeOwned + Clone> Known<T, O> {
    /// What the directory says, and what it is to say of its own if it is new.
    ///
    /// # Errors
    /// The file can't be read, or is none of this program's.
    pub(crate) fn open(directory: &Path, own: O) -> Result<Self, KnownError> {
        let path = directory.join(format!("{}.json", T::NAME));
        let failed = |reason: String| KnownError { path: path.display().to_string(), reason };
        match fs::read(&path) {
            Ok(bytes) => {
                let kept: Kept<O> = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
                let record = T::from_wire(kept.record.into()).map_err(|error| failed(error.to_string()))?;
                Ok(Known { own: kept.own, record: Some(record), path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known { own, record: None, path }),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// This is how it is now.
    ///
    /// # Errors
    /// It can't be written down.
    pub(crate) fn learn(&mut self, record: T) -> Result<(), KnownError> {
        if self.record.as_ref() == Some(&record) {
            return Ok(());
        }
        let kept = Kept { own: self.own.clone(), record: record.to_wire() };
        let replaced = serde_json::to_vec(&kept).map_err(io::Error::from).and_then(|text| replace(&self.path, &text));
        replaced.map_err(|error| KnownError { path: self.path.display().to_string(), reason: error.to_string() })?;
        self.record = Some(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use steadfast_replica::strong_keys::StrongKeys;

    use super::*;

    #[test]
    fn what_was_learnt_is_known_at_the_next_start_and_what_is_the_directorys_own_stays() {
        let directory = tempfile::tempdir().unwrap();
        let open = |own: u64| Known::<StrongKeys, u64>::open(directory.path(), own);
        let mut known = open(1).unwrap();
        assert_eq!((known.own, &known.record), (1, &None));
        let mut keys = StrongKeys::default();
        keys.announce("a:".into()).unwrap();
        known.learn(keys.clone()).unwrap();
        let again = open(2).unwrap();
        assert_eq!((again.own, again.record), (1, Some(keys)));
        fs::write(directory.path().join("strong.json"), "{").unwrap();
        assert!(open(3).unwrap_err().to_string().contains("strong.json"));
    }
}
