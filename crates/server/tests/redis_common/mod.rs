//! Commands of a line each, for tests of the Redis port's loop, and clients of theirs.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use steadfast_server::redis::{Commands, ConnectionId, EventLoop, Handle, Limits, Mark, Others, Port, Ran, Then};
use steadfast_server::tls::Tls;

/// No test waits so long for anything that comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the loop's thread tells the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Connected(u64),
    Closed(u64),
    /// A turn ended whose writers wait for this mark.
    Turn(u64),
    /// A connection waits.
    Waits(u64),
}

/// What the test tells the commands.
#[derive(Default)]
pub struct Control {
    pub reached: AtomicU64,
    pub resume: Mutex<Vec<ConnectionId>>,
    pub close: Mutex<Vec<ConnectionId>>,
    pub ran: AtomicU64,
    /// The most commands that a connection ran in a turn.
    pub most_in_a_turn: AtomicU64,
}

/// One of the loop's sessions.
pub struct Session {
    id: ConnectionId,
    waits: bool,
}

/// `say X`: X. `write X`: X, when the turn's mark is reached. `big N`: N bytes. `blob N` and N bytes: how many there were. `wait`: `resumed`,
/// when it is. `alarm`: the same, by the commands' own deadline. `quit`: the end.
pub struct Lines {
    control: Arc<Control>,
    events: Sender<Event>,
    turns: u64,
    wrote: bool,
    alarms: Vec<ConnectionId>,
    in_turn: BTreeMap<ConnectionId, u64>,
}

impl Lines {
    fn tell(&self, event: Event) {
        // A test that has seen enough listens no longer.
        let _ = self.events.send(event);
    }
}

impl Commands for Lines {
    type Session = Session;

    fn connected(&mut self, id: ConnectionId, peer: SocketAddr) -> Session {
        assert!(peer.ip().is_loopback());
        self.tell(Event::Connected(id.0));
        Session { id, waits: false }
    }

    fn run(&mut self, session: &mut Session, input: &[u8], out: &mut Vec<u8>) -> Ran {
        if std::mem::take(&mut session.waits) {
            out.extend_from_slice(b"resumed\n");
            return Ran::incomplete(0);
        }
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else { return Ran::incomplete(0) };
        let line = str::from_utf8(&input[..end]).unwrap();
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let mut ran = Ran::command(end + 1);
        match command {
            "big" => out.resize(out.len() + argument.parse::<usize>().unwrap(), b'x'),
            "blob" => {
                let whole = end + 1 + argument.parse::<usize>().unwrap();
                if input.len() < whole {
                    return Ran::incomplete(whole);
                }
                assert!(input[end + 1..whole].iter().all(|&byte| byte == b'b'));
                ran = Ran::command(whole);
                out.extend_from_slice(argument.as_bytes());
            }
            "wait" | "alarm" => {
                session.waits = true;
                if command == "alarm" {
                    self.alarms.push(session.id);
                }
                self.tell(Event::Waits(session.id.0));
                return ran.then(Then::Wait);
            }
            "quit" => ran = ran.then(Then::Close),
            "write" => {
                self.wrote = true;
                ran = ran.waiting();
                out.extend_from_slice(argument.as_bytes());
            }
            _ => out.extend_from_slice(argument.as_bytes()),
        }
        out.push(b'\n');
        self.control.ran.fetch_add(1, Ordering::Relaxed);
        *self.in_turn.entry(session.id).or_default() += 1;
        ran
    }

    fn turn_ended(&mut self, _others: &mut Others) -> Option<Mark> {
        let most = self.in_turn.values().max().copied().unwrap_or(0);
        self.in_turn.clear();
        self.control.most_in_a_turn.fetch_max(most, Ordering::Relaxed);
        if !std::mem::take(&mut self.wrote) {
            return None;
        }
        self.turns += 1;
        self.tell(Event::Turn(self.turns));
        Some(Mark(self.turns))
    }

    fn woken(&mut self, others: &mut Others) {
        self.control.resume.lock().unwrap().drain(..).for_each(|id| others.resume(id));
        self.control.close.lock().unwrap().drain(..).for_each(|id| others.close(id));
        self.alarms.drain(..).for_each(|id| others.resume(id));
    }

    fn reached(&self) -> Mark {
        Mark(self.control.reached.load(Ordering::Acquire))
    }

    fn next_deadline(&self) -> Option<Duration> {
        (!self.alarms.is_empty()).then_some(Duration::from_millis(1))
    }

    fn closed(&mut self, session: Session) {
        self.tell(Event::Closed(session.id.0));
    }
}

/// A loop on a thread of its own.
pub struct Server {
    pub address: SocketAddr,
    pub handle: Handle,
    pub control: Arc<Control>,
    pub events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(limits: Limits, tls: Option<Tls>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (event_loop, handle) = EventLoop::new(vec![Port { listener, tls }], limits).unwrap();
        let control = Arc::new(Control { reached: AtomicU64::new(0), ..Control::default() });
        let (events, heard) = channel();
        let lines = Lines { control: control.clone(), events, turns: 0, wrote: false, alarms: Vec::new(), in_turn: BTreeMap::new() };
        let thread = std::thread::spawn(move || drop(event_loop.run(lines).unwrap()));
        Server { address, handle, control, events: heard, thread: Some(thread) }
    }

    pub fn plain() -> Server {
        Server::start(Limits::default(), None)
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// Waits for this event; others before it are dropped.
    pub fn wait_for(&self, event: Event) {
        while self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{event:?} did not come")) != event {}
    }

    pub fn reach(&self, mark: u64) {
        self.control.reached.store(mark, Ordering::Release);
        self.handle.wake();
    }

    /// Stops the loop, and waits for its end.
    pub fn stop(&mut self) {
        self.handle.stop();
        self.join();
    }

    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take().filter(|_| !std::thread::panicking()) {
            thread.join().unwrap();
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for exactly this answer.
    pub fn expect(&mut self, text: &str) {
        let mut answer = vec![0; text.len()];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(str::from_utf8(&answer).unwrap(), text);
    }

    /// A command and its answer: after it, the loop has had a turn.
    pub fn round_trip(&mut self) {
        self.send("say hello\n");
        self.expect("hello\n");
    }

    /// Nothing is there to read.
    pub fn expect_nothing(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let read = self.stream.read(&mut [0; 100]);
        assert!(matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{read:?}");
        self.stream.set_nonblocking(false).unwrap();
    }

    /// All that comes until the end. A reset is an end, too.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("no end came: {error}"),
            Ok(_) | Err(_) => rest,
        }
    }
}
