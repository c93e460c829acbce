//! The removal of files that the journal has let go of, apart from it, so that another thread can do it.

use steadfast_types::disk::{Disk, DiskError};

use super::format::FileNumber;

/// Removes files whose records are all held elsewhere. If it never runs, or fails, or a crash undoes a part of it, the next start removes them.
#[must_use = "the files stay until it runs, or until the next start"]
pub struct CutJob<D: Disk> {
    pub(super) disk: D,
    /// In order.
    pub(super) files: Vec<FileNumber>,
}

impl<D: Disk> CutJob<D> {
    /// How many files it removes.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Removes the files.
    ///
    /// # Errors
    /// The disk failed. The journal is not concerned: they take up space until the next start.
    pub fn run(self) -> Result<(), DiskError> {
        self.files.iter().try_for_each(|file| self.disk.remove(&file.file_name()))
    }
}

impl<D: Disk> std::fmt::Debug for CutJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CutJob").field("files", &self.files).finish_non_exhaustive()
    }
}
