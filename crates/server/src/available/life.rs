//! As whom a replica writes, from one life of its process to the next.
//!
//! An actor must not come back without all of its writes that others have seen. Each turn's record is written to the journal before anything goes out, so a process
//! that is killed has them all, for as long as the system that took them is the same one. After a crash of the system what was not synced may be
//! gone: then the replica writes as another actor. Which it was is told by the system's boot id; what follows from it, by [`Identity`]. A replica keeps a spare
//! actor, so that this needs nobody else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use steadfast_crdt::Actor;
use steadfast_replica::Identity;

use crate::identity::random;

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
    boot: u64,
    /// It stopped with everything on the disk.
    is_clean: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Life {
    path: PathBuf,
    kept: Option<Kept>,
    boot: u64,
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
        let boot = fs::read_to_string(BOOT_ID).ok().and_then(|id| number(&id)).unwrap_or_else(random);
        Ok(Life { path, kept, boot })
    }

    /// As whom it may go on writing, if as anybody it was: all that it wrote is there.
    pub(crate) fn actor(&self) -> Option<Actor> {
        let kept = self.kept.as_ref()?;
        let actor = Actor::new(kept.actor)?;
        // Its entry in the registry is changed by itself alone, and says what its directory says.
        Identity::resumes(Some(actor), Some(Identity { actor, boot: kept.boot, is_closed: kept.is_clean }), self.boot)
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
        self.write(Kept { actor: actor.place(), spare: spare.map(Actor::place), boot: self.boot, is_clean: false })
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
            Some(kept) => self.write(Kept { boot: random(), ..kept }),
            None => Ok(()),
        }
    }

    /// Others have what this directory lacks: it is kept under another name for people, which is returned, and the replica begins with an empty one and as
    /// somebody else.
    ///
    /// # Errors
    /// It can't be moved, or what is known of this life can't be written down again.
    pub(crate) fn set_aside(mut self) -> Result<PathBuf, LifeError> {
        let directory = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        let aside = (1..=u32::MAX).map(|number| directory.with_extension(format!("fenced-{number}"))).find(|path| !path.exists());
        let aside = aside.unwrap_or_else(|| directory.with_extension("fenced"));
        let renew = || {
            fs::rename(&directory, &aside)?;
            fs::create_dir_all(&directory)?;
            fs::File::open(directory.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        renew().map_err(|error: io::Error| LifeError { path: directory.display().to_string(), reason: error.to_string() })?;
        self.end(false)?;
        Ok(aside)
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

/// A boot id as a number: its first sixteen digits.
fn number(boot_id: &str) -> Option<u64> {
    let digits = boot_id.chars().filter(char::is_ascii_hexdigit).take(16).collect::<String>();
    u64::from_str_radix(&digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(place: u16) -> Actor {
        Actor::new(place).unwrap()
    }

    fn reopened(directory: &Path, boot: u64) -> Life {
        Life { boot, ..Life::open(directory).unwrap() }
    }

    #[test]
    fn whoever_may_have_lost_something_comes_back_as_another() {
        let directory = tempfile::tempdir().unwrap();
        let mut life = reopened(directory.path(), 1);
        assert_eq!((life.actor(), life.spare()), (None, None));
        life.begin(actor(3), Some(actor(4))).unwrap();
        let killed = reopened(directory.path(), 1);
        assert_eq!((killed.actor(), killed.spare()), (Some(actor(3)), Some(actor(4))), "the system has what a killed process wrote");
        assert_eq!(reopened(directory.path(), 2).actor(), None, "the system itself began anew");
        life.end(true).unwrap();
        assert_eq!(reopened(directory.path(), 2).actor(), Some(actor(3)), "all was on the disk");
        life.begin(actor(3), None).unwrap();
        life.end(false).unwrap();
        assert_eq!(reopened(directory.path(), 1).actor(), None, "it knew that something is lost");
        assert_eq!(reopened(directory.path(), 1).last_actor(), Some(actor(3)));
    }

    #[test]
    fn a_damaged_file_is_named_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{").unwrap();
        let text = Life::open(directory.path()).unwrap_err().to_string();
        assert!(text.contains(FILE) && text.contains("delete it"), "{text}");
    }

    #[test]
    fn a_boot_id_is_a_number_and_nothing_else_is() {
        assert_eq!(number("3b1f0c9e-5a77-4b61-9d0c-2f7c2f6c1d11\n"), Some(0x3b1f_0c9e_5a77_4b61));
        assert_eq!(number("\n"), None);
    }

    #[test]
    fn what_is_set_aside_is_kept_and_somebody_else_begins_with_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("available");
        for (spare, aside) in [(Some(actor(4)), "available.fenced-1"), (None, "available.fenced-2")] {
            let mut life = reopened(&directory, 1);
            life.begin(actor(3), spare).unwrap();
            fs::write(directory.join("journal"), "all of it").unwrap();
            life.end(false).unwrap();
            let kept = life.set_aside().unwrap();
            assert_eq!(kept, parent.path().join(aside));
            assert_eq!(fs::read_to_string(kept.join("journal")).unwrap(), "all of it");
            let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            assert_eq!(names, [FILE], "only who it was is known");
            let next = reopened(&directory, 1);
            assert_eq!((next.actor(), next.last_actor(), next.spare()), (None, Some(actor(3)), spare));
        }
    }
}
