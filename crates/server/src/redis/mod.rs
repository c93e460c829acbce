//! The port of the Redis protocol: one thread with an event loop of its own owns all connections and runs all their commands.
//!
//! What the commands are is not known here: [`Commands`] runs them. The loop reads, hands over what it read, and sends the answers.
//!
//! # A turn
//!
//! 1. It waits for sockets, wakes and the commands' own deadline.
//! 2. [`Commands::woken`], if there was a wake or the deadline is over. Answers whose mark [`Commands::reached`] says is reached may go.
//! 3. Each connection that can be read is read once, and its commands run, both within limits: the rest is for the next turn, after everybody
//!    else's.
//! 4. [`Commands::turn_ended`]: what the commands of this turn changed goes to the journal and to the peers, as one. It says which mark the
//!    answers that have to wait do wait for.
//! 5. Each connection's answers that may go are sent with one write.
//!
//! # Invariants
//!
//! 1. Answers go out in the order of their commands, whatever waits for a mark.
//! 2. What a connection can make the loop hold is bounded ([`Limits`]); so is what it does in a turn.
//! 3. The loop never waits for one socket, for the disk, or for another thread.
//!
//! # Why no tokio here
//!
//! A command's whole budget is about two microseconds, and most of it is the two system calls. To hand a command to a task and its answer
//! back costs more than the command; and with commands on one thread nothing they touch needs a lock. `mio` gives readiness of sockets and a
//! waker, and nothing else: so no executor comes between reading, running and writing, and a turn, which the journal and the peers get as
//! one, is a thing that exists.
//!
//! Left out: more than one thread, and connections that get what they did not ask for (subscriptions).

mod connection;
mod event_loop;
mod limits;
mod listener;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

pub use event_loop::{EventLoop, Handle};
pub use limits::Limits;
pub use listener::Port;

/// Names a connection: counted from 1, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What answers may have to wait for, such as a journal's sequence: reached in ascending order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// What came of the first command of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How many bytes of the input it took. 0: the command is not all there.
    pub consumed: usize,
    /// If the command is not all there: it can't be before the input has so many bytes. 0 if that is not known.
    pub needs: usize,
    /// The answer has to wait for the mark of this turn.
    pub waits: bool,
    /// How it goes on.
    pub then: Then,
}

/// How a connection goes on after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// With the next command.
    Continue,
    /// It is closed once its answers are sent. The rest of its input is thrown away.
    Close,
    /// It runs nothing until [`Others::resume`]; then [`Commands::run`] is called with what is left of the input, even if that is nothing, and
    /// may answer without consuming. Meanwhile nothing is read, so a client that goes is noticed only when it resets the connection: what is
    /// waited for must come, or have an end in time.
    Wait,
}

impl Ran {
    /// The command is not all there. `needs`: see [`Ran::needs`].
    #[must_use]
    pub fn incomplete(needs: usize) -> Self {
        Ran { consumed: 0, needs, waits: false, then: Then::Continue }
    }

    /// A command of `consumed` bytes was run.
    #[must_use]
    pub fn command(consumed: usize) -> Self {
        Ran { consumed, needs: 0, waits: false, then: Then::Continue }
    }

    /// Its answer waits for the mark of this turn.
    #[must_use]
    pub fn waiting(self) -> Self {
        Ran { waits: true, ..self }
    }

    /// The connection goes on like this.
    #[must_use]
    pub fn then(self, then: Then) -> Self {
        Ran { then, ..self }
    }
}

/// What commands ask for connections other than the one that they run for.
#[derive(Debug, Default)]
pub struct Others {
    pub(crate) resume: Vec<ConnectionId>,
    pub(crate) close: Vec<ConnectionId>,
}

impl Others {
    /// Lets a connection go on that was told to wait ([`Then::Wait`]). It runs again in the next turn, at once.
    pub fn resume(&mut self, id: ConnectionId) {
        self.resume.push(id);
    }

    /// Closes a connection, without its answers.
    pub fn close(&mut self, id: ConnectionId) {
        self.close.push(id);
    }
}

/// Runs the commands of all connections, on the loop's thread. No call may wait for anything.
pub trait Commands {
    /// What is known of one connection.
    type Session;

    /// A connection is there.
    fn connected(&mut self, id: ConnectionId, peer: SocketAddr) -> Self::Session;

    /// Runs the first command of `input`, if it is all there, and puts its answer at the end of `out`. Called again with what is left of the
    /// input, until that is said to be no whole command.
    ///
    /// A command that can't be understood is answered and then closes the connection ([`Then::Close`]): the loop does not know where the next
    /// one begins. Without [`Then::Wait`] before, nothing is put out where nothing is consumed.
    fn run(&mut self, session: &mut Self::Session, input: &[u8], out: &mut Vec<u8>) -> Ran;

    /// All connections had their part of this turn. Returns the mark that the answers of this turn which have to wait do wait for; `None` if
    /// they need not.
    fn turn_ended(&mut self, others: &mut Others) -> Option<Mark>;

    /// Somebody called [`Handle::wake`], or [`Commands::next_deadline`] is over.
    fn woken(&mut self, others: &mut Others);

    /// The last mark reached. Asked in each turn.
    fn reached(&self) -> Mark;

    /// How long from now until [`Commands::woken`] has to be called, whatever comes; `None`: not at all. Asked in each turn.
    fn next_deadline(&self) -> Option<Duration>;

    /// The connection is gone.
    fn closed(&mut self, session: Self::Session);
}
