//! Directories of files behind the `Disk` trait: [`FileDisk`] on a real file system, [`MemoryDisk`] for tests.
//!
//! A [`FileDisk`] holds an exclusive lock on its directory for as long as any clone of it lives, so that two processes never write the
//! same log. It leaves out retries: a failure is reported once, in the operating system's words, and the caller decides what it means.

mod memory;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steadfast_types::disk::{Disk, DiskError, DiskFile};

pub use memory::{MemoryDisk, MemoryFile};

/// The file that carries the directory's lock. It is not part of the directory as [`Disk::list`] shows it.
const LOCK_FILE: &str = "LOCK";

/// A directory on a real file system.
#[derive(Clone, Debug)]
pub struct FileDisk {
    shared: Arc<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// The directory itself, for its syncs.
    handle: File,
    /// Locked while it is open.
    _lock: File,
}

impl FileDisk {
    /// Opens the directory at `path`, making it (and its parents) if it does not exist, and locks it.
    ///
    /// # Errors
    /// Another process holds the directory, or the file system refused.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DiskError> {
        let path = path.as_ref().to_path_buf();
        let named = |error| failure(&path.display().to_string(), error);
        fs::create_dir_all(&path).map_err(named)?;
        let handle = File::open(&path).map_err(named)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(named)?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_FILE)).map_err(named)?;
        match lock.try_lock() {
            Ok(()) => Ok(FileDisk { shared: Arc::new(Directory { path, handle, _lock: lock }) }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Failed(format!(
                "{}: the directory is in use by another process; stop that process, or give this one a data directory of its own",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(named(error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn path_of(&self, name: &str) -> PathBuf {
        assert!(is_flat(name), "a file name without separators was expected, not {name:?}");
        self.shared.path.join(name)
    }
}

impl Disk for FileDisk {
    type File = RealFile;

    fn open(&self, name: &str) -> Result<RealFile, DiskError> {
        let path = self.path_of(name);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        file.map(|file| RealFile::new(file, &path)).map_err(|error| failure(&path.display().to_string(), error))
    }

    fn create(&self, name: &str) -> Result<RealFile, DiskError> {
        let path = self.path_of(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        file.map(|file| RealFile::new(file, &path)).map_err(|error| failure(&path.display().to_string(), error))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let named = |error| failure(&self.shared.path.display().to_string(), error);
        let mut names = Vec::new();
        for item in fs::read_dir(&self.shared.path).map_err(named)? {
            let item = item.map_err(named)?;
            let is_file = item.file_type().map_err(named)?.is_file();
            match item.file_name().into_string() {
                Ok(name) if is_file && name != LOCK_FILE => names.push(name),
                // Directories, links and names that are not text were not made by this program.
                Ok(_) | Err(_) => {}
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.path_of(from), self.path_of(to)).map_err(|error| failure(&self.path_of(from).display().to_string(), error))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        match fs::remove_file(self.path_of(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failure(&self.path_of(name).display().to_string(), error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.shared.handle.sync_all().map_err(|error| failure(&self.shared.path.display().to_string(), error))
    }
}

/// An open file of a [`FileDisk`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
    /// For error messages.
    path: String,
}

impl RealFile {
    fn new(file: File, path: &Path) -> Self {
        RealFile { file, path: path.display().to_string() }
    }

    fn failed(&self, error: io::Error) -> DiskError {
        failure(&self.path, error)
    }

    /// Allocates up to `length` now, so that a full disk shows here and not at a later write.
    #[cfg(target_os = "linux")]
    fn extend(&self, length: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(length),
            result => result.map_err(io::Error::from),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn extend(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed(error))
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        let result = if length > self.length()? { self.extend(length) } else { self.file.set_len(length) };
        result.map_err(|error| self.failed(error))
    }
}

/// Whether `name` names a file in the directory itself.
fn is_flat(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// What the operating system said, in the terms of the `Disk` trait.
fn failure(path: &str, error: io::Error) -> DiskError {
    match error.kind() {
        ErrorKind::NotFound => DiskError::NotFound(path.to_owned()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full(path.to_owned()),
        _ => DiskError::Failed(format!("{path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every `Disk` must do alike.
    fn behaves(disk: &impl Disk) {
        assert!(matches!(disk.open("a"), Err(DiskError::NotFound(_))));
        let file = disk.create("a").unwrap();
        file.write_at(3, b"hello").unwrap();
        file.sync().unwrap();
        let mut buffer = [9; 10];
        assert_eq!(file.read_at(0, &mut buffer), Ok(8));
        assert_eq!(&buffer, b"\0\0\0hello\x09\x09");
        file.set_length(600).unwrap();
        assert_eq!(file.length(), Ok(600));
        disk.create("b").unwrap().write_at(0, b"b").unwrap();
        assert_eq!(disk.list().unwrap(), ["a", "b"]);
        disk.rename("a", "b").unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        assert_eq!(disk.open("b").unwrap().length(), Ok(600));
        disk.remove("b").unwrap();
        disk.remove("b").unwrap();
        assert_eq!(file.read_at(3, &mut buffer[..5]), Ok(5), "an open file stays readable");
        file.set_length(2).unwrap();
        assert_eq!(file.read_at(2, &mut buffer), Ok(0));
        assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn both_disks_behave_alike() {
        let directory = tempfile::tempdir().unwrap();
        behaves(&FileDisk::open(directory.path().join("new/data")).unwrap());
        behaves(&MemoryDisk::new());
    }

    #[test]
    fn a_directory_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        let refused = FileDisk::open(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("in use by another process") && refused.contains(&directory.path().display().to_string()), "{refused}");
        drop(disk);
        FileDisk::open(directory.path()).unwrap();
    }
}
