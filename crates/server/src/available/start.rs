//! Opens a replica's directory and serves its keys.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::JoinHandle;

use bytes::Bytes;
use steadfast_available::exchange::{Limits as ExchangeLimits, Record};
use steadfast_available::{Exchange, Keyspace};
use steadfast_crdt::Actor;
use steadfast_storage::disk::FileDisk;
use steadfast_storage::journal::{self, JournalError, JournalOptions, Sequence};
use steadfast_types::disk::DiskError;
use steadfast_types::wire::{Wire, WireError};

use super::Durability;
use super::process::Process;
use super::service::Service;
use super::sync::Syncer;
use crate::clock::Clock;
use crate::fault_table::Faults;
use crate::identity::random;
use crate::redis::{EventLoop, Handle, Limits, Port};

/// What a replica is started with.
#[derive(Debug)]
pub struct Settings {
    /// Its directory, which is made if needed.
    pub directory: PathBuf,
    /// Where clients connect.
    pub listener: TcpListener,
    /// When writes are on the disk.
    pub durability: Durability,
    /// As whom it writes: nobody else ever wrote as this actor, and it itself lost none of its writes that others have seen.
    pub actor: Actor,
    /// The limits of connections.
    pub limits: Limits,
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
    /// No thread or socket.
    #[error("available state can't be served: {0}")]
    System(#[from] io::Error),
}

/// A replica that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: JoinHandle<Result<(), String>>,
}

impl Running {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what has come, makes it durable, and ends.
    ///
    /// # Errors
    /// Why it had stopped by itself: the disk failed.
    pub fn stop(self) -> Result<(), String> {
        self.handle.stop();
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// Why it did.
    pub fn wait(self) -> Result<(), String> {
        self.thread.join().unwrap_or_else(|_| Err("its thread panicked".to_owned()))
    }
}

/// Brings back what the journal holds, and serves it.
///
/// # Errors
/// See [`StartError`].
pub fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { directory, listener, durability, actor, limits } = settings;
    let clock = Clock::new(Faults::default());
    let disk = FileDisk::open(&directory).map_err(|error| StartError::Directory(directory.clone(), error))?;
    let mut keys = Keyspace::new(actor);
    keys.set_now(Clock::wall_micros() / 1000);
    // Alone, it has nobody to keep deltas for.
    let mut exchange = Exchange::new(actor, ExchangeLimits { kept_bytes: 0, ..ExchangeLimits::default() }, &keys);
    let mut unknown = None;
    let replay = |sequence, record: &[u8]| {
        if unknown.is_none()
            && let Err(error) =
                Record::from_wire(Bytes::copy_from_slice(record)).and_then(|record| exchange.replay(&mut keys, record, clock.now()))
        {
            unknown = Some((sequence, error));
        }
    };
    let opened = journal::open(&disk, JournalOptions::new(random()), Sequence(0), replay);
    let opened = opened.map_err(|error| StartError::Journal(directory, error))?;
    if let Some((sequence, error)) = unknown {
        return Err(StartError::Record(sequence, error));
    }
    let address = listener.local_addr()?;
    let (event_loop, handle) = EventLoop::new(vec![Port { listener, tls: None }], limits)?;
    let service = Service {
        keys,
        exchange,
        journal: opened.journal,
        syncer: Syncer::start(handle.clone())?,
        durability,
        process: Process::new(clock, address.port(), durability),
        handle: handle.clone(),
        unsynced_since: None,
        failed: None,
        is_timed: false,
        now: clock.now(),
    };
    let run = move || {
        let mut service = event_loop.run(service).map_err(|error| error.to_string())?;
        if let Some(error) = service.failed.take() {
            return Err(error.to_string());
        }
        let Service { syncer, mut journal, .. } = service;
        let under_way = syncer.finish().map_or(Ok(()), |synced| journal.finish_sync(synced).map(drop));
        under_way.and_then(|()| journal.sync()).map(drop).map_err(|error| error.to_string())
    };
    let thread = std::thread::Builder::new().name("available".to_owned()).spawn(run)?;
    Ok(Running { address, handle, thread })
}
