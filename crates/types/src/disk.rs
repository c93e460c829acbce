//! The disk as the storage code sees it: one directory of flat files. Real in `storage`, simulated (torn and lost unsynced writes, failing
//! syncs, latent corruption) in `simulator`.

use alloc::string::String;
use alloc::vec::Vec;

/// Why the disk did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error("{0}: no such file")]
    NotFound(String),
    /// The disk is full. What was written before is intact.
    #[error("{0}: no space left on the disk")]
    Full(String),
    /// Any other failure, in the operating system's words. After a failed *sync* nothing written since the last good one may be believed,
    /// and a sync is never tried again on the same file: the node stops.
    #[error("{0}")]
    Failed(String),
}

/// One directory of files. Clones are handles on the same directory. Names are flat: no separators.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`DiskError::NotFound`], or the disk failed.
    fn open(&self, name: &str) -> Result<Self::File, DiskError>;

    /// Makes a new, empty file, or empties an existing one. The name is durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// The disk failed.
    fn create(&self, name: &str) -> Result<Self::File, DiskError>;

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// The disk failed.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Renames a file, replacing `to` if it exists: atomic, and durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// The disk failed.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file if it exists. Open files of that name stay readable.
    ///
    /// # Errors
    /// The disk failed.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// The disk failed; see [`DiskError::Failed`].
    fn sync_directory(&self) -> Result<(), DiskError>;
}

/// An open file. All calls take `&self` and may come from several threads.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads at most `buffer.len()` bytes at `offset`; fewer only at the file's end. Returns how many.
    ///
    /// # Errors
    /// The disk failed.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes` at `offset`, growing the file if needed. Durable only after [`DiskFile::sync`]; until then any sectors (of
    /// 512 bytes) of it may be on the disk and others not.
    ///
    /// # Errors
    /// The disk failed; an unknown part may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes everything written durable (`fdatasync`).
    ///
    /// # Errors
    /// The disk failed; never to be tried again.
    fn sync(&self) -> Result<(), DiskError>;

    /// The file's length, in bytes.
    ///
    /// # Errors
    /// The disk failed.
    fn length(&self) -> Result<u64, DiskError>;

    /// Cuts or extends (with zeros, allocated where the file system can) the file to `length` bytes.
    ///
    /// # Errors
    /// The disk failed.
    fn set_length(&self, length: u64) -> Result<(), DiskError>;
}
