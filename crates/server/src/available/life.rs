//! As whom a replica writes, from one life of its process to the next.
//!
//! An actor must not come back without all of its writes that others have seen. Each turn's record is written to the journal before anything goes out, so a process
//! that is killed has them all, for as long as the system that took them is the same one. After a crash of the system what was not synced may be
//! gone: then the replica writes as another actor. Which it was is told by the system's boot id. A replica keeps a spare actor, so that this needs
//! nobody else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use steadfast_crdt::Actor;

/// The file in the replica's directory.
const FILE: &str = "replica.json";

/// Where Linux says which of its lives this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// The place of the actor that wrote last.
    actor: u16,
    /// The place that is this replica's and that nobody wrote as yet.
    spare: Option<u16>,
    /// The life of the system in which it began.
    boot: String,
    /// It stopped with everything on the disk.
    is_clean: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Life {
    path: PathBuf,
    kept: Option<Kept>,
    boot: String,
}

/// What a life can't be told from.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}; if the file is damaged, delete it: the replica then writes as another one")]
pub struct LifeError {
    path: String,
    reason: String,
}

impl Life {
    /// What the directory says. It is made if needed.
    ///
    /// # Errors
    /// It can't be read, or is none of this program's.
    pub(crate) fn open(directory: &Path) -> Result<Self, LifeError> {
        let path = directory.join(FILE);
        let failed = |reason: String| LifeError { path: path.display().to_string(), reason };
        fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
        let kept = match fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error.to_string())),
        };
        // Without a boot id each life is taken for one after a crash of the system.
        let boot = fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default();
        Ok(Life { path, kept, boot })
    }

    /// As whom it may go on writing, if as anybody it was: all that it wrote is there.
    pub(crate) fn actor(&self) -> Option<Actor> {
        let is_whole = |kept: &&Kept| kept.is_clean || (kept.boot == self.boot && !self.boot.is_empty());
        Actor::new(self.kept.as_ref().filter(is_whole)?.actor)
    }

    /// As whom it wrote last.
    pub(crate) fn last_actor(&self) -> Option<Actor> {
        Actor::new(self.kept.as_ref()?.actor)
    }

    /// The actor that it has in reserve.
    pub(crate) fn spare(&self) -> Option<Actor> {
        Actor::new(self.kept.as_ref()?.spare?)
    }

    /// A life as this actor begins.
    ///
    /// # Errors
    /// It can't be written down; then it must not begin.
    pub(crate) fn begin(&mut self, actor: Actor, spare: Option<Actor>) -> Result<(), LifeError> {
        self.write(Kept { actor: actor.place(), spare: spare.map(Actor::place), boot: self.boot.clone(), is_clean: false })
    }

    /// There is a spare.
    ///
    /// # Errors
    /// It can't be written down.
    pub(crate) fn set_spare(&mut self, spare: Actor) -> Result<(), LifeError> {
        match self.kept.clone() {
            Some(kept) => self.write(Kept { spare: Some(spare.place()), ..kept }),
            None => Ok(()),
        }
    }

    /// It ended: with everything on the disk, or with something lost, so that the next one must be another.
    ///
    /// # Errors
    /// It can't be written down. Then the next life is judged by the system's.
    pub(crate) fn end(&mut self, is_whole: bool) -> Result<(), LifeError> {
        match self.kept.clone() {
            Some(kept) if is_whole => self.write(Kept { is_clean: true, ..kept }),
            Some(kept) => self.write(Kept { boot: String::new(), ..kept }),
            None => Ok(()),
        }
    }

    fn write(&mut self, kept: Kept) -> Result<(), LifeError> {
        let failed = |error: io::Error| LifeError { path: self.path.display().to_string(), reason: error.to_string() };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let text = serde_json::to_vec_pretty(&kept).map_err(|error| failed(error.into()))?;
        let new = self.path.with_extension("new");
        let replace = || {
            fs::write(&new, &text)?;
            fs::File::open(&new)?.sync_all()?;
            fs::rename(&new, &self.path)?;
            fs::File::open(directory)?.sync_all()
        };
        replace().map_err(failed)?;
        self.kept = Some(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(place: u16) -> Actor {
        Actor::new(place).unwrap()
    }

    fn reopened(directory: &Path, boot: &str) -> Life {
        Life { boot: boot.to_owned(), ..Life::open(directory).unwrap() }
    }

    #[test]
    fn whoever_may_have_lost_something_comes_back_as_another() {
        let directory = tempfile::tempdir().unwrap();
        let mut life = reopened(directory.path(), "one");
        assert_eq!((life.actor(), life.spare()), (None, None));
        life.begin(actor(3), Some(actor(4))).unwrap();
        let killed = reopened(directory.path(), "one");
        assert_eq!((killed.actor(), killed.spare()), (Some(actor(3)), Some(actor(4))), "the system has what a killed process wrote");
        assert_eq!(reopened(directory.path(), "two").actor(), None, "the system itself began anew");
        assert_eq!(reopened(directory.path(), "").actor(), None, "nobody knows whether it did");
        life.end(true).unwrap();
        assert_eq!(reopened(directory.path(), "two").actor(), Some(actor(3)), "all was on the disk");
        life.begin(actor(3), None).unwrap();
        life.end(false).unwrap();
        assert_eq!(reopened(directory.path(), "one").actor(), None, "it knew that something is lost");
        assert_eq!(reopened(directory.path(), "one").last_actor(), Some(actor(3)));
    }

    #[test]
    fn a_damaged_file_is_named_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{").unwrap();
        let text = Life::open(directory.path()).unwrap_err().to_string();
        assert!(text.contains(FILE) && text.contains("delete it"), "{text}");
    }
}
