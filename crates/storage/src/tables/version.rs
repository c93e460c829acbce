//! Which files make the tables, in memory: a version is never changed, only followed by another.

use bytes::Bytes;
use core::ops::Bound;
use std::collections::BTreeMap;
use std::sync::Arc;
use steadfast_types::LogPosition;
use steadfast_types::disk::Disk;
use steadfast_types::tables::{NEWEST_ONLY, TableId};

use super::block::{RowRef, compare};
use super::error::ReadError;
use super::file::{Access, FileCursor, TableFile};
use super::manifest::{Manifest, PartMeta, RunMeta};
use super::memtable::{Found, is_beyond};
use super::merging::RowSource;
use super::store::Store;

/// The durable part of the tables at one time.
#[derive(Clone, Default)]
pub(super) struct Version {
    pub(super) applied: LogPosition,
    pub(super) horizons: BTreeMap<TableId, u64>,
    pub(super) trims: BTreeMap<TableId, Bytes>,
    /// Newest first. For any key, all rows of a run are newer than all rows of the runs after it.
    pub(super) tables: BTreeMap<TableId, Vec<Run>>,
}

/// Files in order that do not overlap.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) parts: Vec<Part>,
}

/// A file, or what is left of it while it is merged slice by slice.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) file: Arc<TableFile>,
    /// Rows below this key have moved on.
    pub(super) from: Option<Bytes>,
}

impl Version {
    pub(super) fn from_manifest(manifest: Manifest) -> Self {
        let part = |part: PartMeta| Part { file: TableFile::new(part.file), from: part.from };
        let run = |run: RunMeta| Run { id: run.id, parts: run.files.into_iter().map(part).collect() };
        let tables = manifest.tables.into_iter().map(|(table, runs)| (TableId(table), runs.into_iter().map(run).collect()));
        Version {
            applied: manifest.applied,
            horizons: manifest.horizons.into_iter().map(|(table, horizon)| (TableId(table), horizon)).collect(),
            trims: manifest.trims.into_iter().map(|(table, key)| (TableId(table), key)).collect(),
            tables: tables.collect(),
        }
    }

    pub(super) fn to_manifest(&self, next_file: u64) -> Manifest {
        let part = |part: &Part| PartMeta { file: part.file.meta.clone(), from: part.from.clone() };
        let run = |run: &Run| RunMeta { id: run.id, files: run.parts.iter().map(part).collect() };
        Manifest {
            applied: self.applied,
            next_file,
            horizons: self.horizons.iter().map(|(table, horizon)| (table.0, *horizon)).collect(),
            trims: self.trims.iter().map(|(table, key)| (table.0, key.clone())).collect(),
            tables: self.tables.iter().map(|(table, runs)| (table.0, runs.iter().map(run).collect())).collect(),
        }
    }

    /// A table's horizon; [`NEWEST_ONLY`] unless one was set.
    pub(super) fn horizon(&self, table: TableId) -> u64 {
        self.horizons.get(&table).copied().unwrap_or(NEWEST_ONLY)
    }

    pub(super) fn runs(&self, table: TableId) -> &[Run] {
        self.tables.get(&table).map_or(&[], Vec::as_slice)
    }

    /// All parts of all runs.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.tables.values().flatten().flat_map(|run| &run.parts)
    }

    pub(super) fn get<D: Disk>(
        &self,
        store: &Store<D>,
        table: TableId,
        key: &[u8],
        hash: u64,
        at: u64,
    ) -> Result<Option<Found>, ReadError> {
        for run in self.runs(table) {
            if let Some(found) = run.get(store, key, hash, at)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Run {
    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.file.meta.length).sum()
    }

    /// Whether no key is between rows of two parts, but where one ends and the next begins.
    pub(super) fn is_in_order(&self) -> bool {
        self.parts.windows(2).all(|pair| pair[0].file.meta.last_key[..] <= *pair[1].first_key())
    }

    /// The parts that may hold rows from the target on, up to the end of a range.
    pub(super) fn overlap(&self, target: (&[u8], u64), end: &Bound<Bytes>) -> &[Part] {
        let rest = &self.parts[self.search(target)..];
        &rest[..rest.partition_point(|part| !is_beyond(part.first_key(), end))]
    }

    /// The number of the first part that may hold rows not before the target.
    fn search(&self, target: (&[u8], u64)) -> usize {
        self.parts.partition_point(|part| compare(part.file.last(), target).is_lt())
    }

    fn get<D: Disk>(&self, store: &Store<D>, key: &[u8], hash: u64, at: u64) -> Result<Option<Found>, ReadError> {
        let Some(part) = self.parts.get(self.search((key, at))) else { return Ok(None) };
        if part.first_key() > key {
            return Ok(None);
        }
        part.file.get(store, key, hash, at)
    }
}

impl Part {
    /// No row's key is below this one.
    pub(super) fn first_key(&self) -> &[u8] {
        self.from.as_ref().map_or(&self.file.meta.first_key[..], |from| from.max(&self.file.meta.first_key))
    }
}

/// A place in a run, moving forward.
pub(super) struct RunCursor<D: Disk> {
    store: Arc<Store<D>>,
    access: Access,
    parts: Vec<Part>,
    /// The next part to enter.
    next: usize,
    file: Option<FileCursor>,
}

impl<D: Disk> RunCursor<D> {
    /// At the first row of these parts of one run that is not before the target.
    pub(super) fn seek(store: &Arc<Store<D>>, parts: &[Part], access: Access, target: (&[u8], u64)) -> Result<Self, ReadError> {
        let mut cursor = RunCursor { store: store.clone(), access, parts: parts.to_vec(), next: 0, file: None };
        cursor.enter_part(target)?;
        Ok(cursor)
    }

    fn enter_part(&mut self, target: (&[u8], u64)) -> Result<(), ReadError> {
        self.file = None;
        while let Some(part) = self.parts.get(self.next) {
            self.next += 1;
            let first = (part.first_key(), u64::MAX);
            let target = if compare(first, target).is_gt() { first } else { target };
            let file = FileCursor::seek(&self.store, part.file.clone(), self.access, target)?;
            if file.row().is_some() {
                self.file = Some(file);
                break;
            }
        }
        Ok(())
    }

    /// Moves forward to the first row that is not before the target.
    pub(super) fn skip_to(&mut self, target: (&[u8], u64)) -> Result<(), ReadError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.skip_to(&self.store, target)?;
        if file.row().is_none() {
            self.enter_part(target)?;
        }
        Ok(())
    }

    /// The value here.
    pub(super) fn value(&self) -> Option<Bytes> {
        self.file.as_ref()?.value()
    }
}

impl<D: Disk> RowSource for RunCursor<D> {
    fn row(&self) -> Option<RowRef<'_>> {
        self.file.as_ref()?.row()
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.advance(&self.store)?;
        if file.row().is_none() {
            self.enter_part((&[], u64::MAX))?;
        }
        Ok(())
    }
}

impl Run {
    /// Puts the parts into the order of their rows.
    pub(super) fn sort(&mut self) {
        // A part that was shortened to a key began before it, and so goes on with newer rows of that key than files that begin with it.
        let first = |part: &Part| {
            let is_whole = part.first_key() == part.file.meta.first_key;
            (part.first_key().to_vec(), is_whole, core::cmp::Reverse(part.file.meta.first_version))
        };
        self.parts.sort_by_cached_key(first);
    }
}
