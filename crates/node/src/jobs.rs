//! Work for other threads: everything that reads files or takes long.

use std::sync::Arc;

use bytes::Bytes;
use steadfast_storage::log::{LogError, LogReader};
use steadfast_storage::tables::{self, Checkpoint, Incoming, IncomingError, LsmTables, Retired, TablesOptions};
use steadfast_types::disk::Disk;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::TablesError;
use steadfast_types::{Entry, LogIndex, LogPosition, NodeId, limits};

/// A piece of work. [`Job::run`] may happen on any thread and at any later time.
pub struct Job<D: Disk>(pub(crate) Kind<D>);

/// What a job found or did, to be given back to the node.
pub struct JobDone<D: Disk>(pub(crate) Done<D>);

/// Where a shell with several threads should run a job: neither kind should wait for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Short reads and writes that a peer waits for.
    Peers,
    /// Flushes, merges, installation of snapshots: long.
    Tables,
}

pub(crate) enum Kind<D: Disk> {
    /// Flush or merge.
    Tables(tables::Job<D>),
    /// Read entries back for a follower.
    Fetch { follower: NodeId, from: LogIndex, max_bytes: usize, reader: LogReader<D> },
    /// Read entries back for a repairing node.
    ReadForRepair { to: NodeId, from: LogIndex, anchor: LogPosition, reader: LogReader<D> },
    /// Read a piece of a snapshot.
    ReadSnapshot { to: NodeId, transfer: u64, checkpoint: Arc<Checkpoint<D>>, offset: u64 },
    /// Read a whole snapshot and compare its checksums.
    VerifySnapshot { checkpoint: Arc<Checkpoint<D>> },
    /// Write pieces of a snapshot; the first one begins it.
    WriteSnapshot { transfer: u64, incoming: Option<Incoming<D>>, disk: D, chunks: Vec<(u64, Bytes)> },
    /// Check and install a complete snapshot.
    Install { transfer: u64, incoming: Incoming<D>, disk: D, options: TablesOptions, former: Option<Retired<D>> },
}

pub(crate) enum Done<D: Disk> {
    Tables(tables::JobDone<D>),
    Fetched { follower: NodeId, from: LogIndex, entries: Result<Vec<Entry>, LogError> },
    ForRepair { to: NodeId, anchor: LogPosition, entries: Vec<Entry> },
    SnapshotRead { to: NodeId, transfer: u64, offset: u64, bytes: Result<Bytes, String> },
    SnapshotVerified(Result<(), TablesError>),
    SnapshotWritten { transfer: u64, incoming: Result<Incoming<D>, IncomingError> },
    Installed { transfer: u64, tables: Result<LsmTables<D>, String> },
}

impl<D: Disk> core::fmt::Debug for Job<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match &self.0 {
            Kind::Tables(_) => "Job: tables",
            Kind::Fetch { .. } => "Job: fetch entries",
            Kind::ReadForRepair { .. } => "Job: read for repair",
            Kind::ReadSnapshot { .. } => "Job: read snapshot",
            Kind::VerifySnapshot { .. } => "Job: verify snapshot",
            Kind::WriteSnapshot { .. } => "Job: write snapshot",
            Kind::Install { .. } => "Job: install snapshot",
        })
    }
}

impl<D: Disk> core::fmt::Debug for JobDone<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match &self.0 {
            Done::Tables(_) => "JobDone: tables",
            Done::Fetched { .. } => "JobDone: entries fetched",
            Done::ForRepair { .. } => "JobDone: read for repair",
            Done::SnapshotRead { .. } => "JobDone: snapshot read",
            Done::SnapshotVerified(_) => "JobDone: snapshot verified",
            Done::SnapshotWritten { .. } => "JobDone: snapshot written",
            Done::Installed { .. } => "JobDone: snapshot installed",
        })
    }
}

impl<D: Disk> Job<D> {
    /// Where to run it.
    pub fn lane(&self) -> Lane {
        match &self.0 {
            Kind::Tables(_) | Kind::VerifySnapshot { .. } | Kind::Install { .. } => Lane::Tables,
            Kind::Fetch { .. } | Kind::ReadForRepair { .. } | Kind::ReadSnapshot { .. } | Kind::WriteSnapshot { .. } => Lane::Peers,
        }
    }

    /// Does it.
    pub fn run(self) -> JobDone<D> {
        JobDone(match self.0 {
            Kind::Tables(job) => Done::Tables(job.run()),
            Kind::Fetch { follower, from, max_bytes, reader } => {
                let mut entries = reader.read(from, max_bytes);
                if is_planted(Bug::ReadErrorSkipsEntries) && entries.is_err() {
                    entries = reader.read(from.next(), max_bytes);
                }
                Done::Fetched { follower, from, entries }
            }
            Kind::ReadForRepair { to, from, anchor, reader } => {
                Done::ForRepair { to, anchor, entries: read_for_repair(&reader, from, anchor) }
            }
            Kind::ReadSnapshot { to, transfer, checkpoint, offset } => {
                let bytes = checkpoint.read(offset, limits::SNAPSHOT_CHUNK_BYTES).map_err(|error| error.to_string());
                Done::SnapshotRead { to, transfer, offset, bytes }
            }
            Kind::VerifySnapshot { checkpoint } => Done::SnapshotVerified(checkpoint.verify()),
            Kind::WriteSnapshot { transfer, incoming, disk, chunks } => {
                Done::SnapshotWritten { transfer, incoming: write_chunks(incoming, &disk, chunks) }
            }
            Kind::Install { transfer, incoming, disk, options, former } => {
                Done::Installed { transfer, tables: install(incoming, &disk, options, former.as_ref()) }
            }
        })
    }
}

/// The entries asked for, if the anchor is in this log too: then, by log matching, they are what the asker lost. Else nothing.
fn read_for_repair<D: Disk>(reader: &LogReader<D>, from: LogIndex, anchor: LogPosition) -> Vec<Entry> {
    let anchor_here = reader.read(anchor.index, 1).ok().and_then(|entries| entries.first().map(Entry::position));
    if anchor_here != Some(anchor) {
        return Vec::new();
    }
    let mut entries = reader.read(from, limits::APPEND_BYTES).unwrap_or_default();
    entries.retain(|entry| entry.index <= anchor.index);
    entries
}

fn write_chunks<D: Disk>(incoming: Option<Incoming<D>>, disk: &D, chunks: Vec<(u64, Bytes)>) -> Result<Incoming<D>, IncomingError> {
    let mut incoming = match incoming {
        Some(incoming) => incoming,
        None => Incoming::begin(disk)?,
    };
    for (offset, bytes) in chunks {
        incoming.write(offset, &bytes)?;
    }
    Ok(incoming)
}

/// Puts a snapshot in the place of the tables. The readers of the former ones may still be in use: their files stay as long.
pub(crate) fn install<D: Disk>(
    incoming: Incoming<D>,
    disk: &D,
    options: TablesOptions,
    former: Option<&Retired<D>>,
) -> Result<LsmTables<D>, String> {
    let received = incoming.finish().map_err(|error| error.to_string())?;
    received.install().map_err(|error| error.to_string())?;
    let opened = match former {
        Some(former) => LsmTables::open_after(disk, options, former),
        None => LsmTables::open(disk, options),
    };
    opened.map_err(|error| error.to_string())
}
