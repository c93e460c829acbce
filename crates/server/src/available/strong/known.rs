//! What a node knows of strong keys, kept in its replica's directory: so that it knows at its start, without a quorum, which keys are not for it alone to write.
//!
//! Invariant: what a node has agreed to in strong state is in this file before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use steadfast_replica::strong_keys::StrongKeys;
use steadfast_types::NodeId;
use steadfast_types::wire::Wire;

use super::super::durable_file::replace;
use crate::identity::random;

/// The file in the replica's directory.
const FILE: &str = "strong.json";

/// What is in it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// As whom the registers in this directory are held.
    holder: u64,
    /// The record, as strong state has it.
    record: Vec<u8>,
}

/// What is known of strong keys can't be told.
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
pub(crate) struct Known {
    path: PathBuf,
    /// As whom the registers in this directory are held.
    pub(crate) holder: NodeId,
    /// The record; `None` if this directory is new.
    pub(crate) keys: Option<StrongKeys>,
}

impl Known {
    /// What the directory says; a new one is a new holder's.
    ///
    /// # Errors
    /// The file can't be read, or is none of this program's.
    pub(crate) fn open(directory: &Path) -> Result<Self, KnownError> {
        let path = directory.join(FILE);
        let failed = |reason: String| KnownError { path: path.display().to_string(), reason };
        match fs::read(&path) {
            Ok(bytes) => {
                let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
                let keys = StrongKeys::from_wire(kept.record.into()).map_err(|error| failed(error.to_string()))?;
                Ok(Known { holder: NodeId(kept.holder), keys: Some(keys), path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known { holder: NodeId(random()), keys: None, path }),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// This is how it is now.
    ///
    /// # Errors
    /// It can't be written down.
    pub(crate) fn learn(&mut self, keys: StrongKeys) -> Result<(), KnownError> {
        if self.keys.as_ref() == Some(&keys) {
            return Ok(());
        }
        let kept = Kept { holder: self.holder.0, record: keys.to_wire() };
        let replaced = serde_json::to_vec(&kept).map_err(io::Error::from).and_then(|text| replace(&self.path, &text));
        replaced.map_err(|error| KnownError { path: self.path.display().to_string(), reason: error.to_string() })?;
        self.keys = Some(keys);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_known_at_the_next_start_and_by_the_same_holder() {
        let directory = tempfile::tempdir().unwrap();
        let mut known = Known::open(directory.path()).unwrap();
        assert_eq!(known.keys, None);
        let mut keys = StrongKeys::default();
        keys.announce("a:".into()).unwrap();
        known.learn(keys.clone()).unwrap();
        let again = Known::open(directory.path()).unwrap();
        assert_eq!((again.holder, again.keys), (known.holder, Some(keys)));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Known::open(other.path()).unwrap().holder, known.holder, "another directory is another holder's");
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(Known::open(directory.path()).unwrap_err().to_string().contains(FILE));
    }
}
