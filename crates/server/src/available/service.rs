//! Runs the commands of all connections on the keys, and keeps what they changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_available::exchange::Record;
use steadfast_available::{Exchange, Keyspace};
use steadfast_redis_api::engine::host::{ClientInfo, Host};
use steadfast_redis_api::engine::session::{Next, Replicas, Session};
use steadfast_redis_api::engine::{answer_late, execute, give_up, refuse, unacknowledged};
use steadfast_redis_api::protocol::reply::Version;
use steadfast_redis_api::protocol::request::Parser;
use steadfast_storage::journal::{Journal, JournalError};
use steadfast_types::Instant;
use steadfast_types::disk::Disk;
use steadfast_types::wire::Wire;

use super::Durability;
use super::process::{Client, Process};
use super::sync::Syncer;
use crate::clock::Clock;
use crate::redis::{Commands, ConnectionId, Handle, Mark, Others, Ran, Then};

/// How long a write may wait for its sync under [`Durability::EverySecond`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// So many keys whose deadline has come are deleted in a turn.
const EXPIRED_IN_A_TURN: usize = 100;

/// Commands after which other connections may see something else of this one.
const TELLING: [&str; 4] = ["client", "hello", "auth", "reset"];

/// A replica's keys and its journal.
pub(super) struct Service<D: Disk> {
    pub(super) keys: Keyspace,
    pub(super) exchange: Exchange,
    pub(super) journal: Journal<D>,
    pub(super) syncer: Syncer<D>,
    pub(super) durability: Durability,
    pub(super) process: Process,
    pub(super) handle: Handle,
    /// When the first write came that no sync has begun for.
    pub(super) unsynced_since: Option<Instant>,
    /// Why the journal takes nothing any more. Then nothing is answered, and the loop stops.
    pub(super) failed: Option<JournalError>,
    /// Whether the turn's clocks were read.
    pub(super) is_timed: bool,
    /// When the turn began.
    pub(super) now: Instant,
}

/// A connection.
pub(super) struct Connection {
    session: Session,
    parser: Parser,
    last: Arc<AtomicU64>,
}

impl<D: Disk> Service<D> {
    /// Reads the clock, once a turn.
    fn begin_turn(&mut self) {
        if !std::mem::replace(&mut self.is_timed, true) {
            (self.now, self.process.now_us) = (self.process.clock.now(), Clock::wall_micros());
            self.keys.set_now(self.process.now_us / 1000);
        }
    }

    fn expire(&mut self) {
        self.begin_turn();
        if self.keys.next_deadline().is_some_and(|ms| ms <= self.keys.now()) {
            match self.keys.expire_some(EXPIRED_IN_A_TURN) {
                Ok(expired) => self.process.counts.expired += expired as u64,
                Err(error) => tracing::error!(%error, "keys past their deadline can't be deleted"),
            }
        }
    }

    /// Puts what was changed into the journal, in one write; whether anything was.
    fn keep(&mut self) -> Result<bool, JournalError> {
        let now = self.process.clock.now();
        let before = self.journal.appended();
        while let Some(delta) = self.keys.take_delta() {
            let record = Record::Delta(delta.clone());
            self.journal.append_with(|out| record.encode(out));
            self.exchange.turn_ended(&self.keys, delta, now);
        }
        for record in self.exchange.outputs().records {
            self.journal.append_with(|out| record.encode(out));
        }
        self.journal.write()?;
        Ok(self.journal.appended() > before)
    }

    /// Begins a sync if one is due.
    fn sync(&mut self) -> Result<(), JournalError> {
        let Some(since) = self.unsynced_since else { return Ok(()) };
        let is_due = match self.durability {
            Durability::Always => true,
            Durability::EverySecond => self.process.clock.now().since(since) >= SYNC_INTERVAL,
            Durability::Never => false,
        };
        if is_due && let Some(job) = self.journal.begin_sync()? {
            self.unsynced_since = None;
            self.syncer.begin(job);
        }
        Ok(())
    }

    fn stop_if_failed(&mut self, result: Result<(), JournalError>) {
        if let Err(error) = result
            && self.failed.is_none()
        {
            tracing::error!(%error, "available state stops");
            self.failed = Some(error);
            self.handle.stop();
        }
    }
}

/// What others see of a connection.
fn info(session: &Session) -> ClientInfo {
    ClientInfo {
        name: session.name.clone(),
        user: session.user.clone().unwrap_or_default(),
        command: session.last_command.to_owned(),
        protocol: if session.version == Version::Two { 2 } else { 3 },
        queued_commands: session.queued_commands(),
        ..ClientInfo::default()
    }
}

impl<D: Disk> Commands for Service<D> {
    type Session = Connection;

    fn connected(&mut self, id: ConnectionId, peer: SocketAddr) -> Connection {
        let now = self.process.clock.now();
        self.process.counts.connections += 1;
        let session = Session::new(id.0, self.process.users().trust_strangers());
        let (last, info) = (Arc::new(AtomicU64::new(now.0)), info(&session));
        self.process.clients.insert(id.0, Client { address: peer, since: now, last: last.clone(), info });
        Connection { session, parser: Parser::new(), last }
    }

    fn run(&mut self, connection: &mut Connection, input: &[u8], out: &mut Vec<u8>) -> Ran {
        self.begin_turn();
        let Connection { session, parser, last } = connection;
        match parser.poll(input, session.is_stranger()) {
            Ok(None) => Ran::incomplete(parser.wanted()),
            Err(error) => {
                refuse(session, &error, out);
                Ran::command(input.len()).then(Then::Close)
            }
            Ok(Some(consumed)) => {
                self.process.caller = session.id;
                self.process.counts.commands += 1;
                let start = out.len();
                let next = execute(session, parser.arguments(input), &mut self.keys, &mut self.process, out);
                last.store(self.now.0, Ordering::Relaxed);
                if session.last_command.split('|').next().is_some_and(|name| TELLING.contains(&name))
                    && let Some(client) = self.process.clients.get_mut(&session.id)
                {
                    client.info = info(session);
                }
                let ran = Ran { waits: self.durability == Durability::Always, ..Ran::command(consumed) };
                match next {
                    Next::Continue => ran,
                    Next::Close => ran.then(Then::Close),
                    // There are no other replicas whose acknowledgements could come.
                    Next::Wait { .. } => {
                        answer_late(session, out, |reply| reply.integer(0));
                        ran
                    }
                    Next::Acknowledge { replicas: Replicas::All | Replicas::Some(0), .. } => ran,
                    Next::Acknowledge { replicas: Replicas::Some(wanted), .. } => {
                        out.truncate(start);
                        unacknowledged(session, 0, wanted as usize, 0, out);
                        ran
                    }
                    // Nor could anything come that others have seen.
                    Next::Behind { .. } => {
                        give_up(session, 0, out);
                        ran
                    }
                    // No prefix is strong.
                    Next::Register => ran,
                }
            }
        }
    }

    fn turn_ended(&mut self, others: &mut Others) -> Option<Mark> {
        self.is_timed = false;
        if self.failed.is_some() {
            return Some(Mark(u64::MAX));
        }
        self.process.killed.drain(..).for_each(|id| others.close(ConnectionId(id)));
        (self.process.keys_bytes, self.process.expiring) = (self.keys.used_bytes(), self.keys.expiring());
        let kept = self.keep();
        if kept == Ok(true) && self.unsynced_since.is_none() {
            self.unsynced_since = Some(self.process.clock.now());
        }
        let result = kept.and_then(|_| self.sync());
        self.stop_if_failed(result);
        match (&self.failed, self.durability) {
            // What could not be written is not acknowledged.
            (Some(_), _) => Some(Mark(u64::MAX)),
            (None, Durability::Always) => Some(Mark(self.journal.appended().0)),
            (None, _) => None,
        }
    }

    fn woken(&mut self, _others: &mut Others) {
        if let Some(synced) = self.syncer.done() {
            let result = self.journal.finish_sync(synced).map(|_| ());
            self.stop_if_failed(result);
        }
        let result = self.sync();
        self.stop_if_failed(result);
        self.expire();
    }

    fn reached(&self) -> Mark {
        Mark(if self.failed.is_some() { 0 } else { self.journal.durable().0 })
    }

    fn next_deadline(&self) -> Option<Duration> {
        let sync = self.unsynced_since.filter(|_| self.durability == Durability::EverySecond);
        let sync = sync.map(|since| SYNC_INTERVAL.saturating_sub(self.process.clock.now().since(since)));
        let expiry = self.keys.next_deadline().map(|ms| Duration::from_millis(ms.saturating_sub(Clock::wall_micros() / 1000)));
        sync.into_iter().chain(expiry).min()
    }

    fn closed(&mut self, connection: Connection) {
        self.process.clients.remove(&connection.session.id);
    }
}
