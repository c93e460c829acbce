//! What can go wrong with the tables, and what it means for them.

use steadfast_types::disk::DiskError;

/// Why the tables could not be opened. Nothing on the disk has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// They are damaged. Remedy: [`super::LsmTables::wipe`], then a checkpoint from a peer.
    #[error("the tables are damaged: {what}; they must be wiped and fetched from a peer")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// A later release wrote them.
    #[error("the tables have format {found}, this release reads up to {known}; start the release that wrote them")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest format this release reads.
        known: u32,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a job did not do its work. The tables are as before; its files are removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The disk is full. The job is handed out again by a later [`super::LsmTables::next_job`]; wait a while before asking.
    #[error("{0}")]
    Full(String),
    /// The disk failed; the node must stop. What is durable is found by opening the tables again.
    #[error("{0}")]
    Disk(DiskError),
    /// A file that was to be merged is damaged; the node needs a checkpoint from a peer.
    #[error("the tables are damaged: {0}")]
    Damaged(String),
    /// The tables were retired while the job ran; it changed nothing.
    #[error("the tables were replaced while the job ran")]
    Retired,
}

impl JobError {
    /// Whether the manifest that was in force before the job certainly still is.
    pub(super) fn left_the_manifest(&self) -> bool {
        match self {
            JobError::Full(_) | JobError::Damaged(_) | JobError::Retired => true,
            JobError::Disk(_) => false,
        }
    }
}

impl From<DiskError> for JobError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full(what) => JobError::Full(what),
            DiskError::NotFound(_) | DiskError::Failed(_) => JobError::Disk(error),
        }
    }
}

/// Why a received checkpoint was refused. The tables in place are untouched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncomingError {
    /// Bytes do not follow what was received before: nothing was taken.
    #[error("the checkpoint continues at byte {expected}, not {offset}")]
    OutOfOrder {
        /// Where the bytes given belong.
        offset: u64,
        /// What is wanted next.
        expected: u64,
    },
    /// The stream is not a checkpoint, or was damaged on its way. Begin again.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(String),
    /// The stream ended early.
    #[error("the checkpoint ends at byte {received} of {total}")]
    Incomplete {
        /// Bytes received.
        received: u64,
        /// Bytes expected, 0 if not even that is known.
        total: u64,
    },
    /// The sender is of a later release.
    #[error("the checkpoint has format {found}, this release reads up to {known}; upgrade this node first")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest format this release reads.
        known: u32,
    },
    /// The disk failed. If it was full: nothing else is wrong, begin again later.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    /// A checksum or a length is wrong.
    #[error("{0}")]
    Damaged(String),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<ReadError> for JobError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(what) => JobError::Damaged(what),
            // What can't be read any more is as lost as what is wrong.
            ReadError::Disk(error) => JobError::Damaged(error.to_string()),
        }
    }
}
