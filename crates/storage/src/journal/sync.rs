//! The part of a sync that waits for the disk, apart from the journal, so that another thread can do it.

use std::sync::Arc;

use steadfast_types::disk::{Disk, DiskError, DiskFile};

use super::Sequence;

/// Makes durable what was written when it was made. Whoever runs it gives the outcome to
/// [`Journal::finish_sync`](super::Journal::finish_sync).
#[must_use = "nothing is durable until it runs"]
pub struct SyncJob<D: Disk> {
    /// The files written to since the job before, in order.
    pub(super) files: Vec<Arc<D::File>>,
    /// The directory, if a file is new.
    pub(super) directory: Option<D>,
    pub(super) through: Sequence,
}

impl<D: Disk> SyncJob<D> {
    /// The last record that it makes durable.
    pub fn through(&self) -> Sequence {
        self.through
    }

    /// Waits for the disk: one sync for each file written to, nearly always one in all.
    pub fn run(self) -> Synced {
        let files = || self.files.iter().try_for_each(|file| file.sync());
        let directory = || self.directory.iter().try_for_each(Disk::sync_directory);
        Synced { through: self.through, result: files().and_then(|()| directory()) }
    }
}

impl<D: Disk> std::fmt::Debug for SyncJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncJob").field("files", &self.files.len()).field("through", &self.through).finish_non_exhaustive()
    }
}

/// What came of a [`SyncJob`].
#[derive(Clone, Debug)]
#[must_use = "the journal has to hear of it"]
pub struct Synced {
    pub(super) through: Sequence,
    pub(super) result: Result<(), DiskError>,
}
