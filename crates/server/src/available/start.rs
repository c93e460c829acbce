//! Opens a replica's directory and serves its keys.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::JoinHandle;

use bytes::Bytes;
use steadfast_available::exchange::Limits as ExchangeLimits;
use steadfast_checkpoints::{LoadError, RowTables};
use steadfast_crdt::Actor;
use steadfast_replica::Replica;
use steadfast_storage::disk::FileDisk;
use steadfast_storage::journal::{self, JournalError, JournalOptions, Sequence};
use steadfast_storage::tables::OpenError;
use steadfast_types::disk::DiskError;
use steadfast_types::wire::{Wire, WireError};
use tokio::sync::{mpsc, watch};

use super::Durability;
use super::peers::Peers;
use super::process::Process;
use super::records::JournalRecord;
use super::service::{Failure, Service};
use super::status::Status;
use super::strong::{Source, Strong};
use super::sync::Syncer;
use super::tables::{self, Tables};
use super::users::{SharedUsers, UsersSource};
use crate::clock::Clock;
use crate::fault_table::Faults;
use crate::identity::random;
use crate::peers::LaneEvent;
use crate::redis::{EventLoop, Handle, Limits, Port};
use crate::tls::Tls;

/// What a replica is started with.
#[derive(Debug)]
pub struct Settings {
    /// Its directory, which is made if needed.
    pub directory: PathBuf,
    /// Where clients connect.
    pub listener: TcpListener,
    /// TLS of its port; `None`: plain text.
    pub tls: Option<Tls>,
    /// When writes are on the disk.
    pub durability: Durability,
    /// As whom it writes: nobody else ever wrote as this actor, and it itself lost none of its writes that others have seen.
    pub actor: Actor,
    /// The limits of connections.
    pub limits: Limits,
    /// Other replicas; `None`: there are none, and will be none while this one runs.
    pub peers: Option<Peers>,
    /// Strong keys; `None`: there are none.
    pub strong: Option<Source>,
    /// Users that all replicas share; `None`: this one has its own, as long as it runs.
    pub users: Option<UsersSource>,
    /// What keys may use of memory, about, in bytes: beyond it those that were not used for a while are only on the disk.
    pub memory_bytes: usize,
}

/// Why a replica does not start. Its directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory can't be used.
    #[error("the directory {0} can't be used: {1}")]
    Directory(PathBuf, DiskError),
    /// The journal does not say what is there.
    #[error("the journal of available state in {0} can't be read: {1}")]
    Journal(PathBuf, JournalError),
    /// A record is whole, and not one of this program's.
    #[error("record {0} of the journal of available state is none that this version knows ({1}): run the version that wrote it")]
    Record(Sequence, WireError),
    /// The tables can't be opened.
    #[error("the tables of available state in {0} can't be opened: {1}")]
    Tables(PathBuf, OpenError),
    /// The tables don't say what is there.
    #[error("the tables of available state in {0} can't be read: {1}")]
    Rows(PathBuf, LoadError),
    /// No thread or socket.
    #[error("available state can't be served: {0}")]
    System(#[from] io::Error),
}

/// A replica that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    status: watch::Receiver<Status>,
    thread: JoinHandle<End>,
}

/// How a replica ended, and where the next one hears of the peers.
pub type End = (Result<(), Ended>, Option<mpsc::Receiver<LaneEvent>>);

/// Why a replica ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Others have writes of it that it has not: it must come back as another actor, without what is in its directory.
    #[error("other replicas have writes of this one that its directory has not")]
    Fenced,
    /// Something failed: the disk, most likely.
    #[error("{0}")]
    Failed(String),
}

impl Running {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is, some times a second.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What wakes it when its peers have something to tell, and stops it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers what has come, makes it durable, and ends.
    ///
    /// # Errors
    /// Why it had stopped by itself.
    pub fn stop(self) -> Result<(), Ended> {
        self.handle.stop();
        self.wait().0
    }

    /// Waits until it ends, by itself or because it was told to. Its peers' events may go on to the next one.
    ///
    /// # Errors
    /// Why it ended by itself.
    pub fn wait(self) -> End {
        self.thread.join().unwrap_or_else(|_| (Err(Ended::Failed("its thread panicked".to_owned())), None))
    }
}

fn open_tables(directory: PathBuf, memory_bytes: usize) -> Result<RowTables<FileDisk>, StartError> {
    let disk = FileDisk::open(&directory).map_err(|error| StartError::Directory(directory.clone(), error))?;
    RowTables::open(&disk, tables::options(memory_bytes)).map_err(|error| StartError::Tables(directory, error))
}

/// Brings back what the tables and the journal hold, and serves it.
///
/// # Errors
/// See [`StartError`].
pub fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { directory, listener, tls, durability, actor, limits, peers, strong, users, memory_bytes } = settings;
    let clock = Clock::new(Faults::default());
    let disk = FileDisk::open(&directory).map_err(|error| StartError::Directory(directory.clone(), error))?;
    // Alone, it has nobody to keep deltas for.
    let exchange_limits = match &peers {
        Some(_) => ExchangeLimits::default(),
        None => ExchangeLimits { kept_bytes: 0, ..ExchangeLimits::default() },
    };
    let rows = open_tables(directory.join(tables::DIRECTORY), memory_bytes)?;
    let unreadable = |error| StartError::Rows(directory.clone(), error);
    let loaded = rows.load_within(actor, memory_bytes).map_err(unreadable)?;
    let mut replica = Replica::with_keys(loaded.keys, exchange_limits);
    let mut strong = Strong::new(strong, actor);
    for row in rows.others() {
        let (_, row) = row.map_err(unreadable)?;
        strong.registers.load(row).map_err(|error| unreadable(error.into()))?;
    }
    let (now, now_ms) = (clock.now(), Clock::wall_micros() / 1000);
    replica.set_now(now, now_ms);
    strong.registers.set_now(now, now_ms);
    let (mut unknown, mut replayed_bytes) = (None, 0);
    let replay = |sequence, record: &[u8]| {
        replayed_bytes += record.len() as u64;
        if unknown.is_none()
            && let Err(error) = JournalRecord::from_wire(Bytes::copy_from_slice(record)).and_then(|record| match record {
                JournalRecord::Replica(record) => replica.replay(record),
                JournalRecord::Registers(record) => {
                    strong.replay(record);
                    Ok(())
                }
            })
        {
            unknown = Some((sequence, error));
        }
    };
    let opened = journal::open(&disk, JournalOptions::new(random()), loaded.from, replay);
    let opened = opened.map_err(|error| StartError::Journal(directory, error))?;
    if let Some((sequence, error)) = unknown {
        return Err(StartError::Record(sequence, error));
    }
    let address = listener.local_addr()?;
    let (event_loop, handle) = EventLoop::new(vec![Port { listener, tls }], limits)?;
    let (publish, status) = watch::channel(Status::default());
    let mut process = Process::new(clock, address.port(), durability);
    // Before the first command: which keys are strong, and who may do what.
    strong.learn(&mut process);
    let mut users = SharedUsers::new(users);
    process.shares_users = users.are_shared();
    users.learn(&mut process);
    let service = Service {
        replica,
        strong,
        users,
        journal: opened.journal,
        syncer: Syncer::start(handle.clone())?,
        tables: Tables::start(rows, memory_bytes, replayed_bytes, handle.clone())?,
        durability,
        process,
        handle: handle.clone(),
        address,
        unsynced_since: None,
        failed: None,
        is_timed: false,
        now: clock.now(),
        peers,
        lanes: BTreeMap::new(),
        next_tick: clock.now(),
        answers: BTreeMap::new(),
        status: publish,
    };
    let run = move || {
        let mut service = match event_loop.run(service) {
            Ok(service) => service,
            Err(error) => return (Err(Ended::Failed(error.to_string())), None),
        };
        let lanes = service.peers.take().map(|peers| peers.lanes);
        match service.failed.take() {
            Some(Failure::Fenced) => return (Err(Ended::Fenced), lanes),
            Some(failure) => return (Err(Ended::Failed(failure.to_string())), lanes),
            None => {}
        }
        let Service { syncer, tables, mut journal, .. } = service;
        drop(tables);
        let under_way = syncer.finish().map_or(Ok(()), |synced| journal.finish_sync(synced).map(drop));
        (under_way.and_then(|()| journal.sync()).map(drop).map_err(|error| Ended::Failed(error.to_string())), lanes)
    };
    let thread = std::thread::Builder::new().name("available".to_owned()).spawn(run)?;
    Ok(Running { address, handle, status, thread })
}
