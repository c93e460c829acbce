//! The thread that waits for the disk, so that the loop does not.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use steadfast_storage::journal::{SyncJob, Synced};
use steadfast_types::disk::Disk;

use crate::redis::Handle;

/// The loop's end of it. The thread ends with this.
#[derive(Debug)]
pub(super) struct Syncer<D: Disk> {
    jobs: Option<Sender<SyncJob<D>>>,
    synced: Receiver<Synced>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Disk> Syncer<D> {
    /// Starts the thread; it wakes the loop after each job.
    pub(super) fn start(handle: Handle) -> io::Result<Self> {
        // The journal has one job under way at most, so nobody ever waits to send.
        let (jobs, to_do) = bounded::<SyncJob<D>>(1);
        let (done, synced) = bounded(1);
        let run = move || {
            for job in to_do {
                if done.send(job.run()).is_err() {
                    break;
                }
                handle.wake();
            }
        };
        let thread = std::thread::Builder::new().name("available-sync".to_owned()).spawn(run)?;
        Ok(Syncer { jobs: Some(jobs), synced, thread: Some(thread) })
    }

    /// Has this job run.
    pub(super) fn begin(&self, job: SyncJob<D>) {
        if let Some(jobs) = &self.jobs {
            jobs.send(job).expect("the thread ends after this end");
        }
    }

    /// What came of the last job, once it is done.
    pub(super) fn done(&self) -> Option<Synced> {
        self.synced.try_recv().ok()
    }

    /// Ends the thread after the job under way, if there is one, and tells what came of that.
    pub(super) fn finish(mut self) -> Option<Synced> {
        self.end();
        self.done()
    }

    fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

impl<D: Disk> Drop for Syncer<D> {
    fn drop(&mut self) {
        self.end();
    }
}
