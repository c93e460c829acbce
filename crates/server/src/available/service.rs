//! Runs the commands of all connections on the replica, keeps what they changed, and carries what it says to the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_available::Unreadable;
use steadfast_available::exchange::Event;
use steadfast_redis_api::engine::host::{ClientInfo, Host};
use steadfast_redis_api::engine::session::{Next, Replicas, Session};
use steadfast_redis_api::engine::{answer, execute, give_up, refuse, users_changed};
use steadfast_redis_api::protocol::errors::USERS_BUSY;
use steadfast_redis_api::protocol::reply::Version;
use steadfast_redis_api::protocol::request::Parser;
use steadfast_replica::{Answer, Replica, Until, WaitId};
use steadfast_storage::journal::{Journal, JournalError};
use steadfast_storage::tables::JobError;
use steadfast_types::disk::Disk;
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, NodeId};
use tokio::sync::watch;

use super::Durability;
use super::peers::Peers;
use super::pending::Pending;
use super::process::{Client, Process};
use super::records::{Frame, JournalRecord};
use super::status::{PeerLag, Status};
use super::strong::{self, Strong};
use super::sync::Syncer;
use super::tables::Tables;
use super::users::SharedUsers;
use crate::clock::Clock;
use crate::peers::{Lane, LaneEvent};
use crate::redis::{Commands, ConnectionId, Handle, Mark, Others, Ran, Then};

/// How long a write may wait for its sync under [`Durability::EverySecond`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How often the replica looks whether somebody waits for it or lacks something.
const TICK: Duration = Duration::from_millis(100);

/// Of what the peers say so much is taken in a turn; commands come between.
const PEER_FRAMES_IN_A_TURN: usize = 256;

/// Commands after which other connections may see something else of this one.
const TELLING: [&str; 4] = ["client", "hello", "auth", "reset"];

/// A replica and its journal.
pub(super) struct Service<D: Disk> {
    pub(super) replica: Replica,
    pub(super) strong: Strong,
    pub(super) users: SharedUsers,
    pub(super) journal: Journal<D>,
    pub(super) syncer: Syncer<D>,
    pub(super) tables: Tables<D>,
    pub(super) durability: Durability,
    pub(super) process: Process,
    pub(super) handle: Handle,
    /// Where clients connect.
    pub(super) address: SocketAddr,
    /// When the first write came that no sync has begun for.
    pub(super) unsynced_since: Option<Instant>,
    /// Why the journal takes nothing any more. Then nothing is answered, and the loop stops.
    pub(super) failed: Option<Failure>,
    /// Whether the turn's clocks were read.
    pub(super) is_timed: bool,
    /// When the turn began.
    pub(super) now: Instant,
    /// The other replicas, if there may be any.
    pub(super) peers: Option<Peers>,
    pub(super) lanes: BTreeMap<NodeId, Lane>,
    pub(super) next_tick: Instant,
    /// What `WAIT` is to be answered, by connection.
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) status: watch::Sender<Status>,
}

/// Why a replica stops by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Tables(#[from] JobError),
    #[error(transparent)]
    Rows(#[from] Unreadable),
    #[error(
        "other replicas have writes of this one that are not in its directory: it is a copy of an earlier state, or the disk lost something. \
         It begins anew as another replica, and takes what the others have"
    )]
    Fenced,
}

/// A connection.
pub(super) struct Connection {
    session: Session,
    parser: Parser,
    last: Arc<AtomicU64>,
    /// What it waits for.
    pending: Option<Pending>,
}

impl<D: Disk> Service<D> {
    /// Reads the clock, once a turn.
    fn begin_turn(&mut self) {
        if !std::mem::replace(&mut self.is_timed, true) {
            (self.now, self.process.now_us) = (self.process.clock.now(), Clock::wall_micros());
            self.replica.set_now(self.now, self.process.now_us / 1000);
            self.strong.registers.set_now(self.now, self.process.now_us / 1000);
        }
    }

    /// Takes what the peers said and what happened to them.
    fn hear(&mut self) {
        self.begin_turn();
        if let Some(replicas) = self.peers.as_mut().and_then(Peers::changed) {
            self.replica.set_replicas(replicas);
        }
        self.strong.learn(&mut self.process);
        self.users.learn(&mut self.process);
        for _ in 0..PEER_FRAMES_IN_A_TURN {
            match self.peers.as_mut().and_then(Peers::next) {
                None => return self.heard(),
                Some(LaneEvent::Opened(peer, lane)) => {
                    self.lanes.insert(peer, lane);
                    self.replica.connected(peer);
                    self.strong.connected(peer);
                }
                Some(LaneEvent::Closed(peer)) => {
                    self.lanes.remove(&peer);
                    self.replica.disconnected(peer);
                    self.strong.disconnected(peer);
                }
                Some(LaneEvent::Frame(peer, frame)) => {
                    let received = match Frame::of(frame) {
                        Frame::Replica(message) => self.replica.receive(peer, message),
                        Frame::Registers(message) => self.strong.receive(peer, message, &mut self.process),
                    };
                    if let Err(error) = received {
                        tracing::warn!(%peer, %error, "a replica says what can't be; its connection begins anew");
                        self.hang_up(peer);
                    }
                }
            }
        }
        self.heard();
        self.handle.wake();
    }

    /// Tells commands what is known of the other replicas.
    fn heard(&mut self) {
        let exchange = self.replica.exchange();
        self.process.replicas = exchange.connected_actors().count();
        self.process.acknowledged.clear();
        self.process.acknowledged.extend(exchange.acknowledgements().flatten());
    }

    /// When a wait of so many milliseconds is over; 0 is never.
    fn deadline(&self, timeout_ms: u64) -> Option<Instant> {
        (timeout_ms > 0).then(|| self.now + Duration::from_millis(timeout_ms))
    }

    fn hang_up(&mut self, peer: NodeId) {
        if let Some(lane) = self.lanes.get(&peer) {
            lane.close();
        }
    }

    fn tick(&mut self) {
        self.begin_turn();
        self.strong.tick(self.now, self.replica.look(), &mut self.process);
        if self.next_tick <= self.now {
            self.next_tick = self.now + TICK;
            self.replica.tick();
            self.process.counts.expired = self.replica.expired();
            self.publish();
        } else if self.replica.next_deadline().is_some_and(|at| at <= self.now) {
            self.replica.wake();
        }
    }

    fn publish(&mut self) {
        let keys = self.replica.look();
        (self.process.keys_bytes, self.process.expiring) = (keys.used_bytes(), keys.expiring());
        let peer = |id: &NodeId| self.replica.peer(*id).map(|status| PeerLag::of(*id, &status));
        let counters = self.replica.counters();
        let status = Status {
            address: self.address.to_string(),
            actor: self.replica.actor().place(),
            keys: keys.len() as u64,
            cold_keys: keys.cold() as u64,
            bytes: self.process.keys_bytes as u64,
            connections: self.process.clients.len() as u64,
            commands: self.process.counts.commands,
            journal_bytes: self.journal.appended_bytes(),
            peers: self.lanes.keys().filter_map(peer).collect(),
            kept_bytes: self.replica.exchange().kept().1 as u64,
            sessions: self.replica.exchange().sessions() as u64,
            ranges_joined: counters.ranges_joined,
            divergences: counters.divergences,
            strong: self.strong.status(),
        };
        self.status.send_if_modified(|published| std::mem::replace(published, status) != *published);
    }

    /// Puts what was changed into the journal, in one write, and does what else there is to do; whether anything was changed.
    fn keep(&mut self, others: &mut Others) -> Result<bool, Failure> {
        self.replica.end_turn();
        if let Some(unreadable) = self.replica.look().failure() {
            // What seemed not to be there may be: nobody is to hear of it.
            self.process.clients.keys().for_each(|id| others.close(ConnectionId(*id)));
            return Err(unreadable.clone().into());
        }
        let outputs = self.replica.outputs();
        let before = self.journal.appended();
        for record in outputs.records {
            self.journal.append_with(|out| JournalRecord::Replica(record).encode(out));
        }
        let strong = self.strong.outputs();
        let writes_registers = !strong.records.is_empty();
        for record in strong.records {
            self.journal.append_with(|out| JournalRecord::Registers(record).encode(out));
        }
        self.journal.write()?;
        if writes_registers {
            self.strong.written(self.journal.appended(), strong.written);
        }
        for event in outputs.events {
            self.heed(event)?;
        }
        let messages = outputs.messages.into_iter().map(|(to, message)| (to, Frame::Replica(message)));
        for (to, frame) in messages.chain(strong.messages.into_iter().map(|(to, message)| (to, Frame::Registers(message)))) {
            if let Some(lane) = self.lanes.get(&to) {
                lane.send(frame.into_bytes());
            }
        }
        for answer in strong.answers {
            self.strong.answers.insert(answer.id.0, answer.outcome);
            others.resume(ConnectionId(answer.id.0));
        }
        for answer in outputs.answers {
            self.answers.insert(answer.id.0, answer);
            others.resume(ConnectionId(answer.id.0));
        }
        Ok(self.journal.appended() > before)
    }

    fn heed(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Fenced { .. } => return Err(Failure::Fenced),
            Event::Refused(peer) => tracing::info!(%peer, "the peer does not know this replica (yet)"),
            Event::Stranger(peer, actor) => tracing::info!(%peer, actor = actor.place(), "the peer is not known here as a replica (yet)"),
            Event::SameActor(peer) => {
                tracing::error!(%peer, "the peer writes as the same actor: was a data directory copied? Stop one of the two and empty its directory");
            }
            Event::Diverged(peer) => {
                tracing::error!(%peer, "the peer has seen the same and holds something else; both are made equal");
            }
        }
        Ok(())
    }

    /// Begins a sync if one is due.
    fn sync(&mut self) -> Result<(), Failure> {
        let Some(since) = self.unsynced_since else { return Ok(()) };
        let is_due = match self.durability {
            Durability::Always => true,
            Durability::EverySecond => self.process.clock.now().since(since) >= SYNC_INTERVAL,
            Durability::Never => false,
        };
        let is_due = is_due || self.tables.wants_sync() || self.strong.wants_sync();
        if is_due && let Some(job) = self.journal.begin_sync()? {
            self.unsynced_since = None;
            self.syncer.begin(job);
        }
        Ok(())
    }

    fn stop_if_failed(&mut self, result: Result<(), Failure>) {
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
        self.process.clients.insert(id.0, Client { address: peer, since: now, last: last.clone(), info, awaits_users: false });
        Connection { session, parser: Parser::new(), last, pending: None }
    }

    fn run(&mut self, connection: &mut Connection, input: &[u8], out: &mut Vec<u8>) -> Ran {
        self.begin_turn();
        let mut too_late = None;
        if let Some(Pending::Register { timeout_ms }) = connection.pending {
            let Some(outcome) = self.strong.answers.remove(&connection.session.id) else { return Ran::command(0).then(Then::Wait) };
            connection.pending = None;
            answer(&mut connection.session, out, |reply| strong::answer(&outcome, timeout_ms, reply));
        }
        if matches!(connection.pending, Some(Pending::Users)) {
            let Some(came) = self.users.answers.remove(&connection.session.id) else { return Ran::command(0).then(Then::Wait) };
            connection.pending = None;
            users_changed(&mut connection.session, &came, out);
            if !self.process.answered_users(connection.session.id) {
                return Ran::command(0).then(Then::Close);
            }
        }
        if let Some(pending) = connection.pending.take() {
            match self.answers.remove(&connection.session.id) {
                Some(answer) => too_late = pending.answer(&answer, &mut connection.session, out),
                // It was resumed for nothing.
                None => {
                    connection.pending = Some(pending);
                    return Ran::command(0).then(Then::Wait);
                }
            }
        }
        let Connection { session, parser, last, pending } = connection;
        match parser.poll(input, session.is_stranger()) {
            Ok(None) => Ran::incomplete(parser.wanted()),
            Err(error) => {
                refuse(session, &error, out);
                Ran::command(input.len()).then(Then::Close)
            }
            Ok(Some(consumed)) => {
                self.process.caller = session.id;
                self.process.counts.commands += 1;
                let ran = Ran { waits: self.durability == Durability::Always, ..Ran::command(consumed) };
                if let Some(timeout_ms) = too_late {
                    give_up(session, timeout_ms, out);
                    return ran;
                }
                let start = out.len();
                let next = execute(session, parser.arguments(input), self.replica.keys(), &mut self.process, out);
                last.store(self.now.0, Ordering::Relaxed);
                if session.last_command.split('|').next().is_some_and(|name| TELLING.contains(&name))
                    && let Some(client) = self.process.clients.get_mut(&session.id)
                {
                    client.info = info(session);
                }
                let (waits_for, until, timeout_ms) = match next {
                    Next::Continue => return ran,
                    Next::Close => return ran.then(Then::Close),
                    Next::Wait { replicas, timeout_ms } => {
                        let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
                        (Pending::Count, Until::Held { write: session.last_write, replicas }, timeout_ms)
                    }
                    Next::Acknowledge { write, replicas, timeout_ms } => {
                        let replicas = match replicas {
                            Replicas::Some(wanted) => usize::try_from(wanted).unwrap_or(usize::MAX),
                            Replicas::All => self.process.replicas(),
                        };
                        let held_back = Pending::Acknowledgement { answer: out.split_off(start), wanted: replicas, timeout_ms };
                        (held_back, Until::Held { write: Some(write), replicas }, timeout_ms)
                    }
                    Next::Behind { timeout_ms } => (Pending::Sight { timeout_ms }, Until::Seen(session.awaited().clone()), timeout_ms),
                    Next::Users => {
                        let change = self.process.users_change.take();
                        if !change.is_some_and(|change| self.users.want(session.id, change)) {
                            users_changed(session, &Err(USERS_BUSY), out);
                            return ran;
                        }
                        self.process.awaits_users(session.id);
                        *pending = Some(Pending::Users);
                        return ran.then(Then::Wait);
                    }
                    Next::Register => {
                        let timeout_ms = session.level.timeout_ms;
                        let deadline = self.deadline(timeout_ms);
                        self.strong.ask(session.id, parser.arguments(input), session.version, deadline, &mut self.process);
                        *pending = Some(Pending::Register { timeout_ms });
                        return ran.then(Then::Wait);
                    }
                };
                let deadline = self.deadline(timeout_ms);
                // Without others nothing will ever come: then there is nothing to wait for.
                let deadline = if self.peers.is_none() { Some(self.now) } else { deadline };
                let is_run = !matches!(waits_for, Pending::Sight { .. });
                self.replica.wait(WaitId(session.id), until, deadline);
                *pending = Some(waits_for);
                if is_run { ran.then(Then::Wait) } else { Ran::command(0).then(Then::Wait) }
            }
        }
    }

    fn turn_ended(&mut self, others: &mut Others) -> Option<Mark> {
        self.is_timed = false;
        if self.failed.is_some() {
            return Some(Mark(u64::MAX));
        }
        self.process.killed.drain(..).for_each(|id| others.close(ConnectionId(id)));
        let kept = self.keep(others);
        if matches!(kept, Ok(true)) && self.unsynced_since.is_none() {
            self.unsynced_since = Some(self.process.clock.now());
        }
        self.tables.turn_ended(self.replica.keys(), &mut self.strong, &self.journal);
        let result = kept.and_then(|_| self.sync());
        self.stop_if_failed(result);
        match (&self.failed, self.durability) {
            // What could not be written is not acknowledged.
            (Some(_), _) => Some(Mark(u64::MAX)),
            (None, Durability::Always) => Some(Mark(self.journal.appended().0)),
            (None, _) => None,
        }
    }

    fn woken(&mut self, others: &mut Others) {
        if let Some(synced) = self.syncer.done() {
            let result = self.journal.finish_sync(synced).map(drop).map_err(Failure::from);
            self.stop_if_failed(result);
        }
        self.begin_turn();
        self.strong.synced(self.journal.durable(), &mut self.process);
        let result = self.tables.woken(&mut self.journal).map_err(Failure::from).and_then(|()| self.sync());
        self.stop_if_failed(result);
        self.hear();
        self.users.answer(others);
        self.tick();
    }

    fn reached(&self) -> Mark {
        Mark(if self.failed.is_some() { 0 } else { self.journal.durable().0 })
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.tables.wants_turn() || self.strong.is_looking() {
            return Some(Duration::ZERO);
        }
        let sync = self.unsynced_since.filter(|_| self.durability == Durability::EverySecond);
        let sync = sync.map(|since| SYNC_INTERVAL.saturating_sub(self.process.clock.now().since(since)));
        let now = self.process.clock.now();
        let next = self.replica.next_deadline().into_iter().fold(self.next_tick, Instant::min);
        let tick = next.min(self.strong.registers.next_deadline()).since(now);
        Some(sync.map_or(tick, |sync| sync.min(tick)))
    }

    fn closed(&mut self, connection: Connection) {
        let id = connection.session.id;
        self.process.clients.remove(&id);
        self.answers.remove(&id);
        self.replica.forget_wait(WaitId(id));
        self.strong.forget(id);
        self.users.answers.remove(&id);
    }
}
