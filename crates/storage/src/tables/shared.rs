//! What the writer, the readers and the jobs of one set of tables share.

use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use steadfast_types::disk::Disk;

use super::error::JobError;
use super::file::TableFile;
use super::manifest;
use super::memtable::Memtable;
use super::options::TablesOptions;
use super::store::Store;
use super::version::{Run, Version};

pub(super) struct Shared<D: Disk> {
    pub(super) store: Arc<Store<D>>,
    pub(super) options: TablesOptions,
    view: RwLock<Arc<View>>,
    /// Held while a manifest is written, which orders the jobs' changes; why no more may be written, if so.
    manifest: Mutex<Option<JobError>>,
    /// Files that no manifest names any more, and that some reader may still need.
    obsolete: Mutex<Vec<Arc<TableFile>>>,
}

/// All that a reader looks at, newest first.
#[derive(Clone)]
pub(super) struct View {
    pub(super) active: Arc<Memtable>,
    /// Being flushed.
    pub(super) frozen: Option<Arc<Memtable>>,
    pub(super) version: Arc<Version>,
}

impl<D: Disk> Shared<D> {
    pub(super) fn new(store: Store<D>, options: TablesOptions, view: View, obsolete: Vec<Arc<TableFile>>) -> Self {
        Shared {
            store: Arc::new(store),
            options,
            view: RwLock::new(Arc::new(view)),
            manifest: Mutex::new(None),
            obsolete: Mutex::new(obsolete),
        }
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    /// Puts the active memtable aside and a new one in its place.
    pub(super) fn freeze(&self, active: Arc<Memtable>) {
        let mut view = self.view.write();
        let frozen = Some(view.active.clone());
        *view = Arc::new(View { active, frozen, version: view.version.clone() });
    }

    /// Makes a new version durable, then visible. `flushed`: the frozen memtable, if its rows are now in files.
    pub(super) fn install(&self, change: impl FnOnce(&Version) -> Version, flushed: Option<&Arc<Memtable>>) -> Result<(), JobError> {
        let mut barred = self.manifest.lock();
        if let Some(reason) = &*barred {
            return Err(reason.clone());
        }
        let old = self.view().version.clone();
        let version = Arc::new(change(&old));
        // What was received, or read at the start, may have been made to deceive.
        let is_in_order = |version: &Version| version.tables.values().flatten().all(Run::is_in_order);
        debug_assert!(is_in_order(&version) || !is_in_order(&old), "files of a run overlap");
        let bytes = version.to_manifest(self.store.peek_id()).to_bytes();
        if let Err(error) = manifest::replace(&self.store.disk, &bytes).map_err(JobError::from) {
            if !error.left_the_manifest() {
                *barred = Some(error.clone());
            }
            return Err(error);
        }
        let replaced = {
            let mut view = self.view.write();
            let frozen = view.frozen.clone().filter(|frozen| !flushed.is_some_and(|flushed| Arc::ptr_eq(frozen, flushed)));
            let next = View { active: view.active.clone(), frozen, version: version.clone() };
            std::mem::replace(&mut *view, Arc::new(next))
        };
        // The rows of a flushed memtable may be freed here, which is better done without the lock.
        drop(replaced);
        self.abandon(&old, &version);
        Ok(())
    }

    /// Notes which files the new version no longer has.
    fn abandon(&self, old: &Version, new: &Version) {
        let kept: std::collections::BTreeSet<u64> = new.parts().map(|part| part.file.meta.id).collect();
        let gone = old.parts().filter(|part| !kept.contains(&part.file.meta.id)).map(|part| part.file.clone());
        self.obsolete.lock().extend(gone);
    }

    /// No change of the manifest from here on; waits for one that is under way.
    pub(super) fn retire(&self) {
        self.manifest.lock().get_or_insert(JobError::Retired);
    }

    /// Whether files could be removed now.
    pub(super) fn can_sweep(&self) -> bool {
        self.obsolete.lock().iter().any(|file| Arc::strong_count(file) == 1)
    }

    /// Removes the files that nobody reads any more. What fails is tried again by the next sweep, or when the tables are opened.
    pub(super) fn sweep(&self) {
        let unused: Vec<_> = self.obsolete.lock().extract_if(.., |file| Arc::strong_count(file) == 1).collect();
        let failed = unused.into_iter().filter(|file| self.store.remove(file.meta.id).is_err()).collect::<Vec<_>>();
        self.obsolete.lock().extend(failed);
    }

    /// The files that only readers still need.
    pub(super) fn take_obsolete(&self) -> Vec<Arc<TableFile>> {
        std::mem::take(&mut *self.obsolete.lock())
    }
}
