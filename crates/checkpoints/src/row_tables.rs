//! The rows in their tables: the side of the thread that waits for the disk.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use steadfast_available::{ColdRows, Hash, Keyspace, Unreadable};
use steadfast_crdt::Actor;
use steadfast_storage::journal::Sequence;
use steadfast_storage::tables::{Job, JobDone, JobError, LsmReader, LsmTables, OpenError, TablesOptions};
use steadfast_types::disk::Disk;
use steadfast_types::tables::{TableId, Tables, TablesError, TablesReader};
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{LogIndex, LogPosition, Term};

use crate::checkpointer::Batch;

/// The rows, by name.
const ROWS: TableId = TableId(1);

/// One row: the position of the last checkpoint, and what was seen there.
const CHECKPOINT: TableId = TableId(2);

/// The rows of something else ([`OtherRows`](crate::OtherRows)), by name.
const OTHERS: TableId = TableId(3);

/// The number of the form of rows and checkpoints.
pub(crate) const FORMAT: u8 = 1;

/// How far tables have come: numbers of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to this one they are in.
    pub inserted: u64,
    /// Up to this one a crash loses none.
    pub durable: u64,
}

/// Why a keyspace can't be brought back from its rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The tables can't be read.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// A row is none that this program knows, or not at its place.
    #[error("a row of available state can't be read ({0}): run the version that wrote it")]
    Row(#[from] WireError),
    /// A later version of this program wrote them.
    #[error("the rows of available state have format {0} and this program reads formats up to {FORMAT}: run the newer version")]
    NewerFormat(u8),
}

/// A keyspace as it came back from its rows.
#[derive(Debug)]
pub struct Loaded {
    /// The keys: whoever replays the journal over them has what was there at its end.
    pub keys: Keyspace,
    /// The replay begins after this record.
    pub from: Sequence,
}

/// The tables that the rows of one keyspace are in.
pub struct RowTables<D: Disk> {
    tables: LsmTables<D>,
}

impl<D: Disk> RowTables<D> {
    /// Opens the tables of a directory of their own, or makes empty ones.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(disk: &D, options: TablesOptions) -> Result<Self, OpenError> {
        LsmTables::open(disk, options).map(|tables| RowTables { tables })
    }

    /// Brings back what the rows say, of a replica that writes as `actor`. Which rows are written to is noted from then on.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, actor: Actor) -> Result<Loaded, LoadError> {
        self.load_within(actor, usize::MAX)
    }

    /// The same, and no more than about so many bytes of memory are used: keys beyond it stay in their rows until they are used. The keyspace goes
    /// on to read from these tables.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_within(&self, actor: Actor, memory_bytes: usize) -> Result<Loaded, LoadError> {
        let reader = self.tables.reader();
        let Some(row) = reader.get(CHECKPOINT, &[], u64::MAX)? else {
            // Rows of a checkpoint that was never finished are all written by the replay of the whole journal, or gone by it.
            return self.load_rows(Keyspace::new(actor).seen_row().into(), Sequence(0), actor, memory_bytes);
        };
        let mut meta = Reader::new(row.value);
        match u8::decode(&mut meta)? {
            FORMAT => {}
            newer => return Err(LoadError::NewerFormat(newer)),
        }
        let from = Sequence(u64::decode(&mut meta)?);
        let seen = meta.take(meta.remaining())?;
        self.load_rows(seen, from, actor, memory_bytes)
    }

    fn load_rows(&self, seen: Bytes, from: Sequence, actor: Actor, memory_bytes: usize) -> Result<Loaded, LoadError> {
        let rows = Arc::new(Rows(self.tables.reader()));
        let mut loading = Keyspace::load(actor, seen)?.within(memory_bytes, rows);
        for row in self.tables.reader().scan(ROWS, (Bound::Unbounded, Bound::Unbounded), u64::MAX) {
            let row = row?;
            loading.row(&row.key, row.value)?;
        }
        Ok(Loaded { keys: loading.finish()?, from })
    }

    /// The rows of something else than keys: each with its name.
    pub fn others(&self) -> impl Iterator<Item = Result<(Bytes, Bytes), LoadError>> {
        let rows = self.tables.reader().scan(OTHERS, (Bound::Unbounded, Bound::Unbounded), u64::MAX);
        rows.map(|row| row.map(|row| (row.key, row.value)).map_err(LoadError::from))
    }

    /// Takes a batch into memory, as one. The last one of a checkpoint makes all of it durable with the next job.
    pub fn put(&mut self, batch: &Batch) {
        let number = batch.number;
        batch.rows().for_each(|(name, value)| self.tables.insert(ROWS, name, number, value));
        batch.others().for_each(|(name, value)| self.tables.insert(OTHERS, name, number, value));
        let end = batch.end();
        let is_end = end.is_some();
        if let Some(end) = end {
            self.tables.insert(CHECKPOINT, Bytes::new(), number, Some(end.into()));
        }
        self.tables.commit(LogPosition::new(Term(0), LogIndex(number)));
        if is_end {
            self.tables.flush_now();
        }
    }

    /// A job that should be run now, on any thread, and be given to [`RowTables::finish_job`].
    pub fn next_job(&mut self) -> Option<Job<D>> {
        self.tables.next_job()
    }

    /// Takes a job back.
    ///
    /// # Errors
    /// What the job ran into.
    pub fn finish_job(&mut self, done: JobDone<D>) -> Result<(), JobError> {
        self.tables.finish_job(done)
    }

    /// How far they have come.
    pub fn progress(&self) -> Progress {
        Progress { inserted: self.tables.applied().index.0, durable: self.tables.durable().index.0 }
    }
}

/// The rows, from which cold keys are read.
struct Rows<D: Disk>(LsmReader<D>);

impl<D: Disk> fmt::Debug for Rows<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}

fn unreadable(error: TablesError) -> Unreadable {
    Unreadable(error.to_string())
}

impl<D: Disk> ColdRows for Rows<D> {
    fn row(&self, name: &[u8]) -> Result<Option<Bytes>, Unreadable> {
        Ok(self.0.get(ROWS, name, u64::MAX).map_err(unreadable)?.map(|row| row.value))
    }

    fn rows(&self, from: &[u8], to: Hash, each: &mut dyn FnMut(&[u8], Bytes) -> bool) -> Result<(), Unreadable> {
        let end = to.checked_add(1).map_or(Bound::Unbounded, |after| Bound::Excluded(Bytes::copy_from_slice(&after.to_be_bytes())));
        for row in self.0.scan(ROWS, (Bound::Included(Bytes::copy_from_slice(from)), end), u64::MAX) {
            let row = row.map_err(unreadable)?;
            if !each(&row.key, row.value) {
                break;
            }
        }
        Ok(())
    }
}

impl<D: Disk> fmt::Debug for RowTables<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowTables").field("progress", &self.progress()).finish_non_exhaustive()
    }
}
