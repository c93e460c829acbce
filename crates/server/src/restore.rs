//! Making a data directory out of a snapshot: the beginning of a new cluster, see [`steadfast_node::seed`].
//!
//! 1. The directory is made beside its place and put there when it is complete and durable: a restore that fails leaves nothing.
//! 2. It has an identity of its own, like any new directory, and belongs to no cluster. The founders find each other when they are started, as
//!    those of an empty cluster do, and form only if all have restored the same state. So a directory that is restored again, when the cluster
//!    runs already, is not taken for the one that was there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use steadfast_bbolt::Reader as Bbolt;
use steadfast_node::seed::{self, PlantError};
use steadfast_snapshots::seal::{self, Sealed};
use steadfast_snapshots::{ImportError, ImportOptions, Imported, import};
use steadfast_state::seed::SeedError;
use steadfast_storage::disk::FileDisk;
use steadfast_storage::tables::{LsmTables, TablesOptions};

use crate::identity::{Directory, IdentityError, Restored};
use crate::options::{OptionsError, ServerOptions, Start};
use crate::run::STORE;

/// What to restore, and for whom.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The snapshot.
    pub file: PathBuf,
    /// The directory to be made; not there, or empty.
    pub data_dir: PathBuf,
    /// The node's name.
    pub name: String,
    /// The token of the new cluster.
    pub token: String,
    /// Names and peer addresses of its founders, this node among them.
    pub members: Vec<(String, String)>,
    /// Raise the revision by so much, and compact all below; 0: leave it.
    pub bump_revision: i64,
    /// Take a file without a seal.
    pub skip_hash_check: bool,
    /// Leave users and roles out.
    pub without_users: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The seal is compared.
    Checking,
    /// The writes are read.
    Reading,
}

/// Why nothing was restored. The data directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// There is something.
    #[error("{path} is not empty: give a directory that does not exist yet")]
    NotEmpty {
        /// The data directory.
        path: String,
    },
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The new directory can't be written.
    #[error("writing {path}: {reason}; make its parent directory writable for this user, on a disk with room for the data")]
    Write {
        /// The data directory.
        path: String,
        /// Why.
        reason: String,
    },
    /// Its identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why a file can't be used as a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system.
    #[error("reading {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        reason: io::Error,
    },
    /// Its length is that of no snapshot.
    #[error("{path} is no snapshot, or cut short: {bytes} bytes are neither whole pages nor whole pages with a SHA-256 behind")]
    Length {
        /// The file.
        path: String,
        /// Its length.
        bytes: u64,
    },
    /// It has no seal.
    #[error(
        "{path} does not end with its SHA-256, so it can't be told whether it is whole; if it is a copy of `member/snap/db` of an etcd that was \
         stopped, give --skip-hash-check"
    )]
    NoSeal {
        /// The file.
        path: String,
    },
    /// Its seal is wrong.
    #[error("{path} is damaged or cut short: its SHA-256 is not that of its content; take it again")]
    WrongSeal {
        /// The file.
        path: String,
    },
    /// Its content.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: ImportError,
    },
}

/// A snapshot file whose seal is right, or is not asked for.
pub struct SnapshotFile {
    path: String,
    file: File,
    bytes: u64,
    sealed: Sealed,
}

impl SnapshotFile {
    /// Opens a snapshot and compares its seal. `progress` hears how many bytes of how many were read.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(path: &Path, skip_hash_check: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, SnapshotError> {
        let shown = path.display().to_string();
        let read = |reason| SnapshotError::Read { path: path.display().to_string(), reason };
        let mut file = File::open(path).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        let sealed = seal::is_sealed(bytes).ok_or(SnapshotError::Length { path: shown.clone(), bytes })?;
        match sealed {
            Sealed::No if !skip_hash_check => return Err(SnapshotError::NoSeal { path: shown }),
            Sealed::Yes if !skip_hash_check => {
                let is_right = seal::check(&mut file, bytes, &mut |done| progress(done, bytes)).map_err(read)?;
                if !is_right {
                    return Err(SnapshotError::WrongSeal { path: shown });
                }
            }
            Sealed::No | Sealed::Yes => {}
        }
        Ok(SnapshotFile { path: shown, file, bytes, sealed })
    }

    /// Its pages.
    ///
    /// # Errors
    /// They are no bbolt file.
    pub fn pages(&self) -> Result<Bbolt<'_, File>, SnapshotError> {
        let seal = if self.sealed == Sealed::Yes { seal::SEAL_BYTES as u64 } else { 0 };
        Bbolt::open(&self.file, self.bytes - seal).map_err(|error| self.content(error.into()))
    }

    /// Whether it ends with a seal.
    pub fn sealed(&self) -> Sealed {
        self.sealed
    }

    /// Its length, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An error about what is in it.
    pub fn content(&self, reason: ImportError) -> SnapshotError {
        SnapshotError::Content { path: self.path.clone(), reason }
    }
}

/// Makes the data directory. `progress` hears the stage, and how many bytes of how many are done.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(options: &RestoreOptions, progress: &mut dyn FnMut(Stage, u64, u64)) -> Result<Imported, RestoreError> {
    let address = own_address(options)?;
    let place = &options.data_dir;
    let shown = || place.display().to_string();
    let write = |reason: String| RestoreError::Write { path: place.display().to_string(), reason };
    if fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_some()) || place.is_file() {
        return Err(RestoreError::NotEmpty { path: shown() });
    }
    let snapshot = SnapshotFile::open(&options.file, options.skip_hash_check, &mut |done, all| progress(Stage::Checking, done, all))?;
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| write(error.to_string()))?;
    let beside = tempfile::Builder::new().prefix(".restoring-").tempdir_in(parent).map_err(|error| write(error.to_string()))?;
    let mut directory = Directory::open(beside.path(), &options.name, &address)?;
    let imported = fill(&beside.path().join(STORE), &snapshot, options, progress).map_err(|error| match error {
        FillError::Snapshot(error) => error.into(),
        FillError::Write(reason) => write(reason),
    })?;
    let mut members = options.members.clone();
    members.sort();
    directory.restore(Restored { hash: imported.seeded.hash, token: options.token.clone(), members })?;
    drop(directory);
    let finish = || {
        File::open(beside.path())?.sync_all()?;
        fs::rename(beside.path(), place)?;
        File::open(parent)?.sync_all()
    };
    finish().map_err(|error| write(error.to_string()))?;
    // It is not there any more.
    let _ = beside.keep();
    Ok(imported)
}

/// Checks the options as those of a node are; where the node's peers will reach it.
fn own_address(options: &RestoreOptions) -> Result<String, OptionsError> {
    let own = options.members.iter().find(|(name, _)| *name == options.name);
    let start = Start::InitialCluster { token: options.token.clone(), members: options.members.clone() };
    let mut server = ServerOptions { start, ..ServerOptions::local(&options.name, &options.data_dir) };
    if let Some((_, address)) = own {
        server.advertise_peer.clone_from(address);
    }
    server.validate()?;
    Ok(server.advertise_peer)
}

enum FillError {
    Snapshot(SnapshotError),
    Write(String),
}

impl From<SnapshotError> for FillError {
    fn from(error: SnapshotError) -> Self {
        FillError::Snapshot(error)
    }
}

impl From<PlantError> for FillError {
    fn from(error: PlantError) -> Self {
        FillError::Write(error.to_string())
    }
}

fn fill(
    store: &Path,
    snapshot: &SnapshotFile,
    options: &RestoreOptions,
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<Imported, FillError> {
    let pages = snapshot.pages()?;
    fs::create_dir(store).map_err(|error| FillError::Write(error.to_string()))?;
    let disk = FileDisk::open(store).map_err(|error| FillError::Write(error.to_string()))?;
    let settle = |tables: &mut LsmTables<FileDisk>| seed::flush(tables).map_err(SeedError::disk);
    let mut read = |done: u64| progress(Stage::Reading, done.min(snapshot.bytes()), snapshot.bytes());
    let taken = ImportOptions { bump: options.bump_revision, without_users: options.without_users };
    let empty = seed::tables(&disk, TablesOptions::default())?;
    let (tables, imported) = import(&pages, empty, taken, settle, &mut read).map_err(|error| match error {
        ImportError::Seed(error @ (SeedError::Disk(_) | SeedError::Tables(_))) => FillError::Write(error.to_string()),
        error => snapshot.content(error).into(),
    })?;
    seed::plant(&disk, tables)?;
    Ok(imported)
}
