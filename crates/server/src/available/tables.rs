//! The thread that writes the keys' rows into tables, so that the loop does not, and the loop's end of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, park_timeout};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use steadfast_available::Keyspace;
use steadfast_checkpoints::{Batch, CheckpointOptions, Checkpointer, OtherRows, Progress, RowTables};
use steadfast_storage::journal::{CutJob, Journal};
use steadfast_storage::tables::{JobError, TablesOptions};
use steadfast_types::disk::Disk;

use crate::redis::Handle;

/// The directory of the tables, in the replica's.
pub(super) const DIRECTORY: &str = "tables";

/// How long a full disk is left alone.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// Blocks of rows that stay in memory, for keys that are brought back. Without a limit of memory nobody reads rows but a start, each block once.
const CACHE_BYTES: usize = 32 << 20;

/// Of a replica whose keys may use so much memory.
pub(super) fn options(memory_bytes: usize) -> TablesOptions {
    let cache_bytes = if memory_bytes == usize::MAX { 1 << 20 } else { CACHE_BYTES };
    TablesOptions { cache_bytes, ..TablesOptions::default() }
}

/// The loop's end. The thread ends with this.
#[derive(Debug)]
pub(super) struct Tables<D: Disk> {
    checkpointer: Checkpointer,
    // Not bounded by count: the checkpointer bounds the bytes that are on their way.
    work: Option<Sender<Work<D>>>,
    told: Receiver<Result<Progress, JobError>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is to do.
#[derive(Debug)]
enum Work<D: Disk> {
    Put(Batch),
    Cut(CutJob<D>),
}

impl<D: Disk> Tables<D> {
    /// Starts the thread; it wakes the loop when the tables have come on. Keys may use `memory_bytes`, about; `replayed_bytes` of the journal are not in the
    /// tables yet.
    pub(super) fn start(tables: RowTables<D>, memory_bytes: usize, replayed_bytes: u64, handle: Handle) -> io::Result<Self> {
        let options = CheckpointOptions { memory_bytes, ..CheckpointOptions::default() };
        let checkpointer = Checkpointer::new(options, tables.progress(), replayed_bytes);
        let (work, to_do) = unbounded();
        let (tell, told) = unbounded();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let mut writer = Writer { tables, tell, handle, is_stopping: is_stopping.clone() };
        let run = move || to_do.into_iter().all(|work| writer.does(work));
        let thread = std::thread::Builder::new().name("available-tables".to_owned()).spawn(move || _ = run())?;
        Ok(Tables { checkpointer, work: Some(work), told, is_stopping, thread: Some(thread) })
    }

    /// A turn ended, and what it changed is written to the journal.
    pub(super) fn turn_ended(&mut self, keys: &mut Keyspace, others: &mut impl OtherRows, journal: &Journal<D>) {
        self.checkpointer.turn_ended(keys, others, journal.appended(), journal.appended_bytes());
        while let Some(batch) = self.checkpointer.next_batch(journal.durable()) {
            self.begin(Work::Put(batch));
        }
    }

    /// Takes what the thread has done, and has the journal's files removed that nobody needs any more.
    pub(super) fn woken(&mut self, journal: &mut Journal<D>) -> Result<(), JobError> {
        while let Ok(told) = self.told.try_recv() {
            if let Some(through) = self.checkpointer.saved(told?)
                && let Some(job) = journal.cut(through)
            {
                self.begin(Work::Cut(job));
            }
        }
        Ok(())
    }

    /// Whether the journal is to be synced so that a checkpoint goes on.
    pub(super) fn wants_sync(&self) -> bool {
        self.checkpointer.wants_sync()
    }

    /// Whether there is something to do in a turn that has nothing else to do.
    pub(super) fn wants_turn(&self) -> bool {
        self.checkpointer.wants_turn()
    }

    fn begin(&self, work: Work<D>) {
        // It fails only if the thread has ended, having said why.
        if let Some(sender) = &self.work {
            let _ = sender.send(work);
        }
    }
}

impl<D: Disk> Drop for Tables<D> {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        self.work = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

/// The thread's end.
struct Writer<D: Disk> {
    tables: RowTables<D>,
    tell: Sender<Result<Progress, JobError>>,
    handle: Handle,
    is_stopping: Arc<AtomicBool>,
}

impl<D: Disk> Writer<D> {
    /// Does it, and all jobs that follow from it; whether it goes on. What is not done at the end is made up for by the next start.
    fn does(&mut self, work: Work<D>) -> bool {
        match work {
            Work::Put(batch) => self.tables.put(&batch),
            Work::Cut(job) => {
                if let Err(error) = job.run() {
                    tracing::warn!(%error, "files of the journal that are needed no more can't be removed; the next start tries again");
                }
            }
        }
        self.tell(Ok(self.tables.progress()));
        while !self.is_stopping() {
            let Some(job) = self.tables.next_job() else { return true };
            match self.tables.finish_job(job.run()) {
                Ok(()) => self.tell(Ok(self.tables.progress())),
                Err(JobError::Full(error)) => {
                    tracing::warn!(%error, "the disk is full: the journal of available state grows until there is room for its tables");
                    // Nobody wakes this thread.
                    park_timeout(FULL_WAIT);
                }
                Err(error) => {
                    self.tell(Err(error));
                    return false;
                }
            }
        }
        false
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    fn tell(&self, told: Result<Progress, JobError>) {
        // It fails only if the loop has ended.
        let _ = self.tell.send(told);
        self.handle.wake();
    }
}
