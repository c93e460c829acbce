//! The loop: who is served when.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use super::connection::{Buffers, Connection};
use super::limits::{ACCEPT_AGAIN, ACCEPTS_PER_TURN, EVENTS_PER_TURN, SWEEP};
use super::listener::{Accepted, Listener};
use super::{Commands, ConnectionId, Limits, Mark, Others, Port};
use crate::clock::Clock;

const WAKER: Token = Token(usize::MAX);

/// The token of the first port; the others' are below it. Connections' are counted from 0.
const FIRST_PORT: usize = usize::MAX - 1;

/// A loop that is ready to run, on a thread of its own.
pub struct EventLoop {
    poll: Poll,
    listeners: Vec<Listener>,
    limits: Limits,
    shared: Arc<Shared>,
}

/// What other threads do to a loop. Clones are handles on the same.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    waker: Waker,
    is_stopping: AtomicBool,
}

impl Handle {
    /// Makes the loop call [`Commands::woken`] soon, and ask [`Commands::reached`]. Many wakes may become one.
    pub fn wake(&self) {
        // It fails only when the system has no memory left; then nothing here can help.
        let _ = self.shared.waker.wake();
    }

    /// Stops the loop: nothing more is accepted, read or run; answers are sent, those that wait for a mark when it is reached, for as long as
    /// the limits say.
    pub fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.wake();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("is_stopping", &self.shared.is_stopping).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLoop").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl EventLoop {
    /// A loop that listens on `ports`.
    ///
    /// # Errors
    /// The system has no room for it.
    pub fn new(ports: Vec<Port>, limits: Limits) -> io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        let shared = Arc::new(Shared { waker: Waker::new(poll.registry(), WAKER)?, is_stopping: AtomicBool::new(false) });
        let listener = |(number, port)| Listener::new(port, poll.registry(), Token(FIRST_PORT - number));
        let listeners = ports.into_iter().enumerate().map(listener).collect::<io::Result<_>>()?;
        Ok((EventLoop { poll, listeners, limits, shared: shared.clone() }, Handle { shared }))
    }

    /// Runs on this thread until it is stopped, and gives the commands back.
    ///
    /// # Errors
    /// The system can't say which sockets are ready.
    pub fn run<C: Commands>(self, commands: C) -> io::Result<C> {
        let EventLoop { mut poll, listeners, limits, shared } = self;
        let registry = poll.registry().try_clone()?;
        let mut running = Running {
            commands,
            registry,
            listeners,
            limits,
            connections: Slab::new(),
            by_id: BTreeMap::new(),
            next_id: ConnectionId(1),
            ready: Vec::new(),
            dirty: Vec::new(),
            waiting: Vec::new(),
            holding: VecDeque::new(),
            others: Others::default(),
            buffers: Buffers::new(),
            now: Duration::ZERO,
            is_woken: false,
            sweep_at: Duration::ZERO,
            accept_at: Duration::ZERO,
            stop_at: None,
        };
        let (clock, mut events) = (Clock::stopwatch(), Events::with_capacity(EVENTS_PER_TURN));
        loop {
            let deadline = running.commands.next_deadline().map(|wait| running.now + wait);
            match poll.poll(&mut events, running.timeout(deadline)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            running.now = clock();
            running.is_woken |= deadline.is_some_and(|deadline| deadline <= running.now);
            running.take_events(&events);
            if shared.is_stopping.load(Ordering::Acquire) {
                running.begin_stop();
            }
            running.turn();
            if running.is_stopped() {
                return Ok(running.finish());
            }
        }
    }
}

/// A loop that runs.
struct Running<C: Commands> {
    commands: C,
    registry: mio::Registry,
    listeners: Vec<Listener>,
    limits: Limits,
    connections: Slab<Connection<C::Session>>,
    by_id: BTreeMap<ConnectionId, usize>,
    next_id: ConnectionId,
    /// Connections to be served in the next turn, in this order.
    ready: Vec<usize>,
    /// Connections to be flushed in this turn.
    dirty: Vec<usize>,
    /// Connections with answers of this turn that wait.
    waiting: Vec<usize>,
    /// Connections with answers that wait for a mark.
    holding: VecDeque<(Mark, ConnectionId)>,
    others: Others,
    buffers: Buffers,
    /// When this turn began.
    now: Duration,
    is_woken: bool,
    sweep_at: Duration,
    /// Nothing is accepted before this.
    accept_at: Duration,
    /// The loop stops, at the latest then.
    stop_at: Option<Duration>,
}

impl<C: Commands> Running<C> {
    /// How long to wait for events.
    fn timeout(&self, deadline: Option<Duration>) -> Option<Duration> {
        let accepts = self.listeners.iter().any(|listener| listener.is_ready);
        if !self.ready.is_empty() || (accepts && self.accept_at <= self.now) {
            return Some(Duration::ZERO);
        }
        let sweeps = !self.connections.is_empty() && (self.limits.idle.is_some() || self.listeners.iter().any(Listener::is_tls));
        let times = [deadline, self.stop_at, sweeps.then_some(self.sweep_at), accepts.then_some(self.accept_at)];
        times.into_iter().flatten().min().map(|time| time.saturating_sub(self.now))
    }

    fn take_events(&mut self, events: &Events) {
        for event in events {
            let Token(token) = event.token();
            if event.token() == WAKER {
                self.is_woken = true;
            } else if let Some(listener) = FIRST_PORT.checked_sub(token).and_then(|number| self.listeners.get_mut(number)) {
                listener.is_ready = true;
            } else if event.is_error() || event.is_write_closed() {
                // No answer reaches it any more, also if it is one that waits or is paused, and is not read from.
                self.close(token, false);
            } else if let Some(connection) = self.connections.get_mut(token) {
                if event.is_readable() || event.is_read_closed() {
                    connection.readable = true;
                    connection.is_ending |= event.is_read_closed();
                    self.make_ready(token);
                }
                if event.is_writable() {
                    self.make_dirty(token);
                }
            }
        }
    }

    fn make_ready(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if !connection.is_ready && connection.has_work(&self.limits) {
            connection.is_ready = true;
            self.ready.push(token);
        }
    }

    fn make_dirty(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(token);
        }
    }

    fn turn(&mut self) {
        if take(&mut self.is_woken) {
            self.commands.woken(&mut self.others);
        }
        self.take_others();
        self.release();
        self.serve();
        let mark = self.commands.turn_ended(&mut self.others);
        self.hold(mark);
        self.release();
        self.flush();
        self.take_others();
        self.accept();
        self.sweep();
    }

    /// Does what the commands asked for connections.
    fn take_others(&mut self) {
        for id in take(&mut self.others.close) {
            if let Some(&token) = self.by_id.get(&id) {
                self.close(token, false);
            }
        }
        for id in take(&mut self.others.resume) {
            if let Some(&token) = self.by_id.get(&id) {
                self.connections[token].resume();
                self.make_ready(token);
            }
        }
    }

    /// Lets answers go whose mark is reached.
    fn release(&mut self) {
        if self.holding.is_empty() {
            return;
        }
        let reached = self.commands.reached();
        while let Some((_, id)) = self.holding.pop_front_if(|(mark, _)| *mark <= reached) {
            if let Some(&token) = self.by_id.get(&id) {
                self.connections[token].release(reached);
                self.make_dirty(token);
            }
        }
    }

    fn serve(&mut self) {
        for token in take(&mut self.ready) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            connection.is_ready = false;
            match connection.serve(&mut self.commands, &mut self.buffers, &self.limits, self.now) {
                Ok(()) => {
                    if connection.waits() {
                        self.waiting.push(token);
                    }
                    self.make_dirty(token);
                    self.make_ready(token);
                }
                Err(_) => self.close(token, false),
            }
        }
    }

    fn hold(&mut self, mark: Option<Mark>) {
        for token in take(&mut self.waiting) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            connection.hold(mark);
            if let Some(mark) = mark {
                self.holding.push_back((mark, connection.id));
            }
        }
    }

    fn flush(&mut self) {
        for token in take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            connection.is_dirty = false;
            match connection.flush(&self.registry, Token(token), &mut self.buffers, self.now) {
                Ok(()) if connection.is_finished() => self.close(token, true),
                // What was paused may go on.
                Ok(()) => self.make_ready(token),
                Err(_) => self.close(token, false),
            }
        }
    }

    fn close(&mut self, token: usize, in_order: bool) {
        if let Some(connection) = self.connections.try_remove(token) {
            self.by_id.remove(&connection.id);
            let session = connection.close(&self.registry, in_order);
            self.commands.closed(session);
        }
    }

    fn accept(&mut self) {
        if self.accept_at > self.now {
            return;
        }
        for number in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                if !self.listeners[number].is_ready {
                    break;
                }
                let has_room = self.connections.len() < self.limits.connections;
                match self.listeners[number].accept(has_room) {
                    Accepted::Connection(stream, peer) => self.connect(stream, peer),
                    Accepted::Refused => {}
                    Accepted::None => break,
                    Accepted::Failed(error) => {
                        tracing::warn!("clients of the Redis protocol can't be accepted for now: {error}");
                        self.accept_at = self.now + ACCEPT_AGAIN;
                        break;
                    }
                }
            }
        }
    }

    fn connect(&mut self, stream: super::tls::Stream, peer: std::net::SocketAddr) {
        let id = self.next_id;
        self.next_id = ConnectionId(id.0 + 1);
        let session = self.commands.connected(id, peer);
        let token = self.connections.insert(Connection::new(id, stream, session, self.now));
        self.by_id.insert(id, token);
        if self.connections[token].register(&self.registry, Token(token)).is_err() {
            self.close(token, false);
        }
    }

    /// Closes connections that stand still for too long.
    fn sweep(&mut self) {
        if self.sweep_at > self.now {
            return;
        }
        self.sweep_at = self.now + SWEEP;
        let is_stale = |(token, connection): (usize, &Connection<_>)| connection.is_stale(&self.limits, self.now).then_some(token);
        for token in self.connections.iter().filter_map(is_stale).collect::<Vec<_>>() {
            self.close(token, false);
        }
    }

    fn begin_stop(&mut self) {
        if self.stop_at.is_some() {
            return;
        }
        self.stop_at = Some(self.now + self.limits.stop);
        // Whoever connects from now on is refused by the system.
        self.listeners.clear();
        for token in self.connections.iter().map(|(token, _)| token).collect::<Vec<_>>() {
            self.connections[token].begin_close();
            self.make_dirty(token);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop_at.is_some_and(|stop_at| self.connections.is_empty() || stop_at <= self.now)
    }

    fn finish(mut self) -> C {
        for token in self.connections.iter().map(|(token, _)| token).collect::<Vec<_>>() {
            self.close(token, false);
        }
        self.commands
    }
}
