//! Flushes and merges: the work that is handed out to another thread.
//!
//! A job writes its files and makes them durable, writes the manifest that names them, makes the new version visible, and removes what
//! nobody needs any more, in this order. Until the manifest is in place nothing has changed; a job that fails before removes what it wrote.

use bytes::Bytes;
use core::iter;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use steadfast_types::LogPosition;
use steadfast_types::disk::Disk;
use steadfast_types::tables::{NEWEST_ONLY, TableId};

use super::block::RowRef;
use super::error::JobError;
use super::file::{Access, TableFile};
use super::file_writer::FileWriter;
use super::manifest::FileMeta;
use super::memtable::Memtable;
use super::merging::{Merging, Retention, RowSource};
use super::options::TablesOptions;
use super::policy::{Move, Slice, Step};
use super::shared::Shared;
use super::store::Store;
use super::version::{Part, Run, RunCursor, Version};

/// A piece of background work.
pub struct Job<D: Disk> {
    shared: Arc<Shared<D>>,
    work: Work,
}

/// What there is to do.
pub(super) enum Work {
    Flush(Flush),
    Merge(Step),
    /// Let go of these files.
    Drop(BTreeSet<u64>),
    /// Remove files that have become unused.
    Sweep,
}

/// A frozen memtable, and what was true at the commit it ends with.
pub(super) struct Flush {
    pub(super) memtable: Arc<Memtable>,
    pub(super) applied: LogPosition,
    pub(super) horizons: BTreeMap<TableId, u64>,
    pub(super) trims: BTreeMap<TableId, Bytes>,
}

/// What a job has done, for [`super::LsmTables::finish_job`].
pub struct JobDone<D: Disk> {
    pub(super) shared: Arc<Shared<D>>,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Flushed(Result<LogPosition, JobError>),
    /// The files that were used up.
    Merged(Result<BTreeSet<u64>, JobError>),
}

impl<D: Disk> Job<D> {
    pub(super) fn new(shared: Arc<Shared<D>>, work: Work) -> Self {
        Job { shared, work }
    }

    /// Whether this is a flush, which gives memory back and should go before merges if there is but one thread.
    pub fn is_flush(&self) -> bool {
        matches!(self.work, Work::Flush(_))
    }

    /// Does the work, on the calling thread. Takes up to some hundred milliseconds of it, and syncs the disk.
    pub fn run(self) -> JobDone<D> {
        let shared = self.shared;
        let outcome = match self.work {
            Work::Flush(work) => Outcome::Flushed(flush(&shared, work)),
            Work::Merge(Step::Merge(slice)) => Outcome::Merged(merge(&shared, &slice)),
            Work::Merge(Step::Move(moves)) => Outcome::Merged(shared.install(|version| version.moved(&moves), None).map(|()| moves.files)),
            Work::Drop(files) => Outcome::Merged(shared.install(|version| version.without(&files).tidied(), None).map(|()| files)),
            Work::Sweep => Outcome::Merged(Ok(BTreeSet::new())),
        };
        shared.sweep();
        JobDone { shared, outcome }
    }
}

fn flush<D: Disk>(shared: &Shared<D>, work: Flush) -> Result<LogPosition, JobError> {
    let mut written = Vec::new();
    let before = shared.view().version.clone();
    work.memtable.read(|rows| {
        for table in rows.tables() {
            let horizon = work.horizons.get(&table).copied().unwrap_or(NEWEST_ONLY);
            let mut retention = Retention::new(horizon, work.trims.get(&table).cloned(), before.runs(table).is_empty());
            let mut series = Series::new(&shared.store, &shared.options);
            let mut source = rows.source(table).expect("the table was listed");
            while let Some(row) = source.row() {
                if retention.keeps(row) {
                    series.add(row)?;
                }
                source.advance()?;
            }
            series.close()?;
            written.push((table, series));
        }
        Ok::<(), JobError>(())
    })?;
    shared.store.disk.sync_directory()?;
    let files: Vec<(TableId, Vec<Arc<TableFile>>)> = written.iter().map(|(table, series)| (*table, series.files())).collect();
    let run_id = shared.store.next_id();
    let change = |version: &Version| version.flushed(&work, &files, run_id);
    let installed = shared.install(change, Some(&work.memtable));
    written.iter_mut().for_each(|(_, series)| series.keep_if_named(&installed));
    installed.map(|()| work.applied)
}

fn merge<D: Disk>(shared: &Shared<D>, slice: &Slice) -> Result<BTreeSet<u64>, JobError> {
    let open = |run: &Run| RunCursor::seek(&shared.store, &run.parts, Access::Bulk, (&[], u64::MAX));
    let mut rows = Merging::new(slice.inputs.iter().map(open).collect::<Result<_, _>>()?);
    let mut retention = Retention::new(slice.horizon, slice.trim.clone(), slice.is_oldest);
    let mut series = Series::new(&shared.store, &shared.options);
    let mut others = slice.others.iter().peekable();
    let mut read_bytes = 0;
    let mut cut = None;
    while let Some(row) = rows.row() {
        let is_enough = series.bytes() >= shared.options.slice_bytes || read_bytes >= 4 * shared.options.slice_bytes;
        // A key's rows stay together: otherwise newer ones would be found below older ones.
        if is_enough && !retention.is_at(row.key) {
            cut = Some(Bytes::copy_from_slice(row.key));
            break;
        }
        read_bytes += (row.key.len() + row.value.map_or(0, <[u8]>::len)) as u64;
        if retention.keeps(row) {
            if iter::from_fn(|| others.next_if(|other| &other[..] <= row.key)).count() > 0 {
                series.close()?;
            }
            series.add(row)?;
        }
        rows.advance()?;
    }
    series.close()?;
    shared.store.disk.sync_directory()?;
    let is_used_up = |part: &&Part| cut.as_ref().is_none_or(|cut| part.file.meta.last_key < *cut);
    let parts = slice.inputs.iter().flat_map(|run| &run.parts);
    let used_up: BTreeSet<u64> = parts.clone().filter(is_used_up).map(|part| part.file.meta.id).collect();
    let shortened: BTreeSet<u64> = parts.map(|part| part.file.meta.id).filter(|id| !used_up.contains(id)).collect();
    let files = series.files();
    let change = |version: &Version| version.without(&used_up).merged(slice, &shortened, cut.as_ref(), &files);
    let installed = shared.install(change, None);
    series.keep_if_named(&installed);
    installed.map(|()| used_up)
}

impl Version {
    /// Without these files.
    fn without(&self, files: &BTreeSet<u64>) -> Version {
        let mut version = self.clone();
        for runs in version.tables.values_mut() {
            runs.iter_mut().for_each(|run| run.parts.retain(|part| !files.contains(&part.file.meta.id)));
        }
        version
    }

    /// Without runs that have no files.
    fn tidied(mut self) -> Version {
        self.tables.values_mut().for_each(|runs| runs.retain(|run| !run.parts.is_empty()));
        self.tables.retain(|_, runs| !runs.is_empty());
        self
    }

    fn flushed(&self, work: &Flush, files: &[(TableId, Vec<Arc<TableFile>>)], run_id: u64) -> Version {
        let mut version = self.clone().tidied();
        version.applied = work.applied;
        version.horizons.clone_from(&work.horizons);
        version.trims.clone_from(&work.trims);
        for (table, files) in files {
            let Some(first) = files.first() else { continue };
            let parts = files.iter().map(|file| Part { file: file.clone(), from: None });
            let runs = version.tables.entry(*table).or_default();
            assert!(runs.iter().all(|run| run.id != run_id), "run {run_id} of table {table:?} was there before");
            match runs.first_mut() {
                Some(run) if run.ends_before(&first.meta.first_key) => run.parts.extend(parts),
                Some(_) | None => runs.insert(0, Run { id: run_id, parts: parts.collect() }),
            }
        }
        version
    }

    fn moved(&self, moves: &Move) -> Version {
        let mut version = self.clone();
        let runs = version.tables.entry(moves.table).or_default();
        let taken = |run: &mut Run| run.parts.extract_if(.., |part| moves.files.contains(&part.file.meta.id)).collect::<Vec<_>>();
        let parts: Vec<Part> = runs.iter_mut().flat_map(taken).collect();
        let target = runs.iter_mut().find(|run| run.id == moves.target).expect("it takes part, and nothing but merges ends a run");
        target.parts.extend(parts);
        target.sort();
        version.tidied()
    }

    fn merged(mut self, slice: &Slice, shortened: &BTreeSet<u64>, cut: Option<&Bytes>, files: &[Arc<TableFile>]) -> Version {
        for run in self.tables.entry(slice.table).or_default() {
            for part in run.parts.iter_mut().filter(|part| shortened.contains(&part.file.meta.id)) {
                let beyond = cut.filter(|cut| part.first_key() < &cut[..]).cloned();
                part.from = beyond.or_else(|| part.from.take());
            }
            if run.id == slice.target {
                run.parts.extend(files.iter().map(|file| Part { file: file.clone(), from: None }));
                run.sort();
            }
        }
        self.tidied()
    }
}

impl Run {
    fn ends_before(&self, key: &[u8]) -> bool {
        self.parts.last().is_some_and(|part| part.file.meta.last_key < key)
    }
}

/// Files written one after the other; removed again unless they are kept.
struct Series<'a, D: Disk> {
    store: &'a Store<D>,
    options: &'a TablesOptions,
    open: Option<FileWriter<D>>,
    done: Vec<FileMeta>,
    created: Vec<u64>,
    bytes: u64,
}

impl<'a, D: Disk> Series<'a, D> {
    fn new(store: &'a Store<D>, options: &'a TablesOptions) -> Self {
        Series { store, options, open: None, done: Vec::new(), created: Vec::new(), bytes: 0 }
    }

    fn bytes(&self) -> u64 {
        self.bytes + self.open.as_ref().map_or(0, FileWriter::length)
    }

    fn add(&mut self, row: RowRef<'_>) -> Result<(), JobError> {
        let limit = self.options.file_bytes;
        if self.open.as_ref().is_some_and(|file| file.length() >= limit && (file.last_key() != row.key || file.length() >= 2 * limit)) {
            self.close()?;
        }
        if self.open.is_none() {
            let file = FileWriter::create(self.store, self.options)?;
            self.created.push(file.id());
            self.open = Some(file);
        }
        self.open.as_mut().expect("a file was opened").add(row)
    }

    fn close(&mut self) -> Result<(), JobError> {
        let Some(file) = self.open.take() else { return Ok(()) };
        let meta = file.finish()?;
        self.bytes += meta.length;
        self.done.push(meta);
        Ok(())
    }

    fn files(&self) -> Vec<Arc<TableFile>> {
        self.done.iter().cloned().map(TableFile::new).collect()
    }

    /// Keeps the files if a manifest on the disk names them, or may do so.
    fn keep_if_named(&mut self, installed: &Result<(), JobError>) {
        if installed.as_ref().err().is_none_or(|error| !error.left_the_manifest()) {
            self.created.clear();
        }
    }
}

impl<D: Disk> Drop for Series<'_, D> {
    fn drop(&mut self) {
        // What cannot be removed now is when the tables are opened.
        self.created.iter().for_each(|&id| drop(self.store.remove(id)));
    }
}
