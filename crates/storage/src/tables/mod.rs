//! The tables of the state machine on disk: a multi-version log-structured merge tree (O'Neil et al., 1996) over [`Disk`].
//!
//! Rows are inserted into a memtable. When it has grown to its budget it is frozen at a commit and flushed into sorted, immutable files,
//! one set per table; merges combine files and drop the rows that rule 4 of [`Tables`] allows. There is no log here: the replicated log
//! brings back what a crash takes, from [`Tables::applied`] on.
//!
//! Invariants:
//! 1. The files that the manifest names hold exactly the inserts up to its applied position, less rows dropped by the horizons and trims
//!    of that position. A memtable is frozen only at a commit, and a manifest names all files of a flush or none.
//! 2. A file is durable before a manifest names it, is never changed, and is removed only when no durable manifest names it.
//! 3. For every key, sources further in front (memtable, frozen memtable, runs from first to last) hold only newer rows: the first row
//!    found is the newest. So a key's rows go to an older run together.
//! 4. No byte of a file is believed before its checksum was good.
//! 5. Memory is bounded: two memtables (the caller heeds [`LsmTables::pressure`]), the block cache, an index of some kilobytes per file
//!    in use, and for a running merge a group of blocks per input.
//!
//! Background work is handed out: [`LsmTables::next_job`], [`Job::run`] on any thread, [`LsmTables::finish_job`]. The thread that
//! inserts never waits for the disk, but for a block that a lookup needs.
//!
//! Left out: compression, transactions (one writer needs none), deletion of ranges but by trim, and repair: damaged tables are wiped and
//! fetched from a peer as a [`Checkpoint`].

mod block;
mod checkpoint;
mod error;
mod file;
mod file_writer;
mod filter;
mod format;
mod incoming;
mod job;
mod manifest;
mod memtable;
mod merging;
mod options;
mod policy;
mod reader;
mod shared;
mod statistics;
mod store;
mod version;

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use steadfast_types::disk::{Disk, DiskError};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::{NEWEST_ONLY, TableId, Tables};
use steadfast_types::{LogIndex, LogPosition};

use self::block::RowRef;
use self::file::TableFile;
use self::format::{FORMAT, MANIFEST, MANIFEST_NEW, file_id, file_name};
use self::job::{Flush, Outcome, Work};
use self::manifest::{Manifest, ManifestError};
use self::memtable::Memtable;
use self::policy::Campaign;
use self::shared::{Shared, View};
use self::store::Store;
use self::version::Version;

pub use self::checkpoint::Checkpoint;
pub use self::error::{IncomingError, JobError, OpenError};
pub use self::incoming::{Incoming, Received};
pub use self::job::{Job, JobDone};
pub use self::options::{MANIFEST_BYTES, RUNS_BEHIND, TablesOptions};
pub use self::reader::{LsmReader, LsmScan};
pub use self::statistics::{Pressure, Statistics};

/// The tables on disk. See the module's documentation.
pub struct LsmTables<D: Disk> {
    shared: Arc<Shared<D>>,
    active: Arc<Memtable>,
    applied: LogPosition,
    durable: LogPosition,
    horizons: BTreeMap<TableId, u64>,
    trims: BTreeMap<TableId, Bytes>,
    /// Something belongs to no commit yet.
    is_in_batch: bool,
    freeze_wanted: bool,
    frozen: Option<Frozen>,
    merge: Merge,
}

/// What was true at the commit that the frozen memtable ends with.
struct Frozen {
    applied: LogPosition,
    horizons: BTreeMap<TableId, u64>,
    trims: BTreeMap<TableId, Bytes>,
    is_out: bool,
}

#[derive(Default)]
struct Merge {
    is_out: bool,
    /// What is under way: each is smaller than the one before it, which waits for it.
    campaigns: Vec<Campaign>,
    /// Slices that come before the next flush.
    owed: usize,
    /// The version that was found to need no merge.
    settled: Option<Arc<Version>>,
    /// Once this commit is durable, everything that can be dropped is, see [`LsmTables::reclaim`].
    reclaim: Option<LogPosition>,
}

/// Tables that were replaced, whose readers may live on.
pub struct Retired<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> LsmTables<D> {
    /// Opens the tables of a directory, or makes empty ones. Reads the manifest alone, however many rows there are, and removes what
    /// a crash left behind.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(disk: &D, options: TablesOptions) -> Result<Self, OpenError> {
        Self::open_sparing(disk, options, Vec::new())
    }

    /// As [`LsmTables::open`], in the place of tables whose readers are still in use: their files stay until those are dropped.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_after(disk: &D, options: TablesOptions, former: &Retired<D>) -> Result<Self, OpenError> {
        let mut spared = former.shared.take_obsolete();
        spared.extend(former.shared.view().version.parts().map(|part| part.file.clone()));
        Self::open_sparing(disk, options, spared)
    }

    fn open_sparing(disk: &D, options: TablesOptions, spared: Vec<Arc<TableFile>>) -> Result<Self, OpenError> {
        // A process may have died between the manifest's rename and the directory's sync. What is read here counts as durable, and the
        // files that only the former manifest names are removed: so it must be.
        disk.sync_directory()?;
        let manifest = read_manifest(disk)?;
        let greatest = remove_leftovers(disk, &manifest, &spared)?;
        let store = Store::new(disk.clone(), &options, manifest.next_file.max(greatest + 1));
        let named: BTreeSet<u64> = manifest.files().map(|file| file.id).collect();
        let obsolete = spared.into_iter().filter(|file| !named.contains(&file.meta.id)).collect();
        let version = Arc::new(Version::from_manifest(manifest));
        let (applied, horizons, trims) = (version.applied, version.horizons.clone(), version.trims.clone());
        let active = Arc::new(Memtable::default());
        let view = View { active: active.clone(), frozen: None, version };
        Ok(LsmTables {
            shared: Arc::new(Shared::new(store, options, view, obsolete)),
            active,
            applied,
            durable: applied,
            horizons,
            trims,
            is_in_batch: false,
            freeze_wanted: false,
            frozen: None,
            merge: Merge::default(),
        })
    }

    /// Removes all tables of a directory, so that they start empty. For damaged ones, before a checkpoint is fetched.
    ///
    /// # Errors
    /// The disk failed; try again.
    pub fn wipe(disk: &D) -> Result<(), DiskError> {
        disk.remove(MANIFEST)?;
        disk.sync_directory()?;
        for name in disk.list()?.iter().filter(|name| file_id(name).is_some() || *name == MANIFEST_NEW) {
            disk.remove(name)?;
        }
        disk.sync_directory()
    }

    /// The commit that a flush not yet handed out would make durable.
    pub fn flush_waiting(&self) -> Option<LogPosition> {
        self.frozen.as_ref().filter(|frozen| !frozen.is_out).map(|frozen| frozen.applied)
    }

    /// A flush or a merge that should be done now; at most one of each is out at a time. Cheap if there is nothing to do.
    ///
    /// After [`JobError::Full`] ask again after a while.
    pub fn next_job(&mut self) -> Option<Job<D>> {
        let work = match (self.merge.owed, self.merge.is_out) {
            (0, _) => self.next_flush().or_else(|| self.next_merge()),
            (_, true) => None,
            (_, false) => self.next_merge().or_else(|| {
                self.merge.owed = 0;
                self.next_flush()
            }),
        }?;
        Some(Job::new(self.shared.clone(), work))
    }

    fn next_flush(&mut self) -> Option<Work> {
        let frozen = self.frozen.as_mut().filter(|frozen| !frozen.is_out)?;
        frozen.is_out = true;
        let memtable = self.shared.view().frozen.clone().expect("a frozen memtable stays in view until its flush is done");
        let ahead = u64::from(is_planted(Bug::AppliedAheadOfData));
        let applied = LogPosition::new(frozen.applied.term, LogIndex(frozen.applied.index.0 + ahead));
        Some(Work::Flush(Flush { memtable, applied, horizons: frozen.horizons.clone(), trims: frozen.trims.clone() }))
    }

    fn next_merge(&mut self) -> Option<Work> {
        if self.merge.is_out {
            return None;
        }
        let version = self.shared.view().version.clone();
        let work = match &self.merge.settled {
            Some(settled) if Arc::ptr_eq(settled, &version) => None,
            Some(_) | None => self.choose_merge(&version),
        };
        if work.is_none() {
            self.merge.settled = Some(version);
            self.merge.reclaim = self.merge.reclaim.filter(|from| *from > self.durable);
        }
        let work = work.or_else(|| self.shared.can_sweep().then_some(Work::Sweep))?;
        self.merge.is_out = true;
        Some(work)
    }

    fn choose_merge(&mut self, version: &Version) -> Option<Work> {
        let trimmed = policy::trimmed(version);
        if !trimmed.is_empty() {
            return Some(Work::Drop(trimmed));
        }
        let campaigns = &mut self.merge.campaigns;
        let reclaims = self.merge.reclaim.is_some_and(|from| from <= self.durable);
        loop {
            let reclaim = || policy::reclaim(version).filter(|_| reclaims && campaigns.is_empty());
            let chosen = policy::choose(version, &self.shared.options, campaigns).or_else(reclaim);
            campaigns.extend(chosen);
            match policy::step(version, campaigns.last_mut()?) {
                Some(step) => return Some(Work::Merge(step)),
                None => drop(campaigns.pop()),
            }
        }
    }

    /// Takes a job back. Never touches the disk. A job of tables that these have replaced is of no interest any more.
    ///
    /// # Errors
    /// What the job ran into, see [`JobError`].
    pub fn finish_job(&mut self, done: JobDone<D>) -> Result<(), JobError> {
        if !Arc::ptr_eq(&self.shared, &done.shared) {
            return Ok(());
        }
        match done.outcome {
            Outcome::Flushed(result) => {
                self.frozen.as_mut().expect("a flush was out").is_out = false;
                self.durable = result?;
                self.merge.owed = policy::slices_before_flush(&self.shared.view().version);
                self.frozen = None;
                self.freeze_if_due();
            }
            Outcome::Merged(result) => {
                self.merge.is_out = false;
                self.merge.owed = self.merge.owed.saturating_sub(1);
                let used_up = result?;
                for campaign in &mut self.merge.campaigns {
                    campaign.files.retain(|file| !used_up.contains(file));
                }
            }
        }
        Ok(())
    }

    /// Makes the rows so far durable with the next flush even if they are few: up to the last commit, or the next if a batch has begun.
    pub fn flush_now(&mut self) {
        self.freeze_wanted = true;
        self.freeze_if_due();
    }

    /// Gives back all space that can be given back as of now, whatever it costs: what is in memory is flushed, then each table that may hold rows
    /// to drop is rewritten, in the usual slices. Until that is done the same rows are on the disk twice, a slice at a time.
    pub fn reclaim(&mut self) {
        self.flush_now();
        self.merge.reclaim = Some(self.applied);
        self.merge.settled = None;
    }

    fn freeze_if_due(&mut self) {
        if self.is_in_batch || self.frozen.is_some() {
            return;
        }
        if self.freeze_wanted && self.applied == self.durable {
            self.freeze_wanted = false;
        }
        if !self.freeze_wanted && self.active.bytes() < self.shared.options.memtable_bytes {
            return;
        }
        self.freeze_wanted = false;
        self.active = Arc::new(Memtable::default());
        self.shared.freeze(self.active.clone());
        self.frozen = Some(Frozen { applied: self.applied, horizons: self.horizons.clone(), trims: self.trims.clone(), is_out: false });
    }

    /// The first damage that any reader or job has found: these tables must be fetched from a peer again.
    pub fn damage(&self) -> Option<&str> {
        self.shared.store.damage()
    }

    /// The newest durable state, held still for reading.
    pub fn checkpoint(&self) -> Checkpoint<D> {
        Checkpoint::new(self.shared.store.clone(), &self.shared.view().version)
    }

    /// Ends these tables' writing: no job changes the disk from here on. Waits for a manifest that is being written. Readers live on.
    pub fn retire(&self) -> Retired<D> {
        self.shared.retire();
        Retired { shared: self.shared.clone() }
    }
}

impl<D: Disk> Tables for LsmTables<D> {
    type Reader = LsmReader<D>;

    fn reader(&self) -> LsmReader<D> {
        LsmReader::new(self.shared.clone())
    }

    fn insert(&mut self, table: TableId, key: Bytes, version: u64, value: Option<Bytes>) {
        self.is_in_batch = true;
        let newest_only = self.horizons.get(&table).is_none_or(|&horizon| horizon == NEWEST_ONLY);
        self.active.insert(table, RowRef { key: &key, version, value: value.as_deref() }, newest_only);
    }

    fn commit(&mut self, applied: LogPosition) {
        self.is_in_batch = false;
        self.applied = applied;
        self.freeze_if_due();
    }

    fn applied(&self) -> LogPosition {
        self.applied
    }

    fn durable(&self) -> LogPosition {
        self.durable
    }

    fn set_horizon(&mut self, table: TableId, version: u64) {
        self.is_in_batch = true;
        let horizon = self.horizons.entry(table).or_insert(version);
        *horizon = version.max(*horizon);
    }

    fn trim(&mut self, table: TableId, key: Bytes) {
        self.is_in_batch = true;
        let trim = self.trims.entry(table).or_default();
        if key > *trim {
            *trim = key;
        }
    }
}

fn read_manifest<D: Disk>(disk: &D) -> Result<Manifest, OpenError> {
    let Some(bytes) = manifest::read(disk)? else { return Ok(Manifest::default()) };
    Manifest::from_bytes(&bytes).map_err(|error| match error {
        ManifestError::Damaged(what) => OpenError::Damaged { what: format!("{MANIFEST}: {what}") },
        ManifestError::NewerFormat(found) => OpenError::NewerFormat { found, known: FORMAT },
    })
}

/// Removes the files that neither the manifest names nor a reader needs; the greatest id of a file found.
fn remove_leftovers<D: Disk>(disk: &D, manifest: &Manifest, spared: &[Arc<TableFile>]) -> Result<u64, OpenError> {
    let names = disk.list()?;
    let found: BTreeSet<u64> = names.iter().filter_map(|name| file_id(name)).collect();
    let named: BTreeSet<u64> = manifest.files().map(|file| file.id).collect();
    if let Some(missing) = named.difference(&found).next() {
        return Err(OpenError::Damaged { what: format!("{} is missing", file_name(*missing)) });
    }
    let spared: BTreeSet<u64> = spared.iter().map(|file| file.meta.id).collect();
    for &leftover in found.iter().filter(|id| !named.contains(id) && !spared.contains(id)) {
        disk.remove(&file_name(leftover))?;
    }
    disk.remove(MANIFEST_NEW)?;
    Ok(found.last().copied().unwrap_or(0))
}
