//! A data directory that begins with a state from elsewhere.
//!
//! It is written in two steps. [`plant`] writes the state, at [`SEEDED`], and a log that begins there; nobody is a member yet. When the founders
//! have found each other, [`found`] adds them, at [`FOUNDED`](steadfast_state::seed::FOUNDED). From then on it is as if the node had been given a snapshot: its log begins behind
//! the state, so that whoever lacks the state must be given it whole.

use steadfast_state::seed::SEEDED;
use steadfast_state::{OpenStateError, State};
use steadfast_storage::log::{self, LogError, LogOptions};
use steadfast_storage::tables::{self, JobError, LsmTables, TablesOptions};
use steadfast_types::disk::Disk;
use steadfast_types::tables::Tables;
use steadfast_types::{HardState, LogPosition};

use crate::start::Bootstrap;

/// Why a directory can't be seeded, or a cluster not be founded on it.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// The log.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The tables can't be opened.
    #[error("the tables: {0}")]
    Tables(#[from] tables::OpenError),
    /// A flush or a merge failed.
    #[error("the tables: {0}")]
    Job(#[from] JobError),
    /// The state in the tables.
    #[error("the state: {0}")]
    State(#[from] OpenStateError),
    /// The state in the directory is not the one that the founders agreed on.
    #[error("the restored state is gone or is another one: empty the data directory and restore it again")]
    Other,
}

/// The tables of an empty disk, to be filled through a [`steadfast_state::seed::Seed`] with [`flush`], and then to be given to [`plant`].
///
/// # Errors
/// The disk.
pub fn tables<D: Disk>(disk: &D, options: TablesOptions) -> Result<LsmTables<D>, PlantError> {
    Ok(LsmTables::open(disk, options)?)
}

/// Does the jobs that are due, so that memory stays bounded.
///
/// # Errors
/// One failed.
pub fn flush<D: Disk>(tables: &mut LsmTables<D>) -> Result<(), JobError> {
    while let Some(job) = tables.next_job() {
        tables.finish_job(job.run())?;
    }
    Ok(())
}

/// Makes a seeded state durable, and begins its log.
///
/// # Errors
/// The disk: then it is to be thrown away.
pub fn plant<D: Disk>(disk: &D, mut tables: LsmTables<D>) -> Result<(), PlantError> {
    make_durable(&mut tables)?;
    let mut log = log::open(disk, LogOptions::default())?;
    let hard_state = HardState { term: SEEDED.term, ..HardState::default() };
    Ok(log.writer.reset(SEEDED, &hard_state)?)
}

/// Founds a cluster on a planted state, if that has not been done. `hash` names the state that the founders agreed on. Durable on return.
///
/// # Errors
/// The state is not that one, or the disk.
pub fn found<D: Disk>(disk: &D, options: TablesOptions, bootstrap: &Bootstrap, hash: u64) -> Result<(), PlantError> {
    let tables = match LsmTables::open(disk, options) {
        // What is damaged comes back from the others, or `start::open` says why not.
        Err(tables::OpenError::Damaged { .. }) => return Ok(()),
        tables => tables?,
    };
    let mut state = match State::open(tables) {
        Err(OpenStateError::Tables(_)) => return Ok(()),
        state => state?,
    };
    // Without a log nothing was ever planted here; with one, the state was lost later, and comes back from the others.
    if state.applied() == LogPosition::default() && log::open(disk, LogOptions::default())?.contents.last == LogPosition::default() {
        return Err(PlantError::Other);
    }
    if state.is_unfounded_seed() {
        if state.hash() != hash {
            return Err(PlantError::Other);
        }
        bootstrap.write(&mut state);
        make_durable(state.tables_mut())?;
    }
    Ok(())
}

pub(crate) fn make_durable<D: Disk>(tables: &mut LsmTables<D>) -> Result<(), JobError> {
    tables.flush_now();
    while tables.durable() < tables.applied() {
        flush(tables)?;
    }
    flush(tables)
}

#[cfg(test)]
mod tests;
