//! One connection: what came of it and is not run yet, and the answers that are not sent yet.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem::take;
use std::time::Duration;

use mio::{Interest, Registry, Token};

use super::limits::{COMMANDS_PER_TURN, READ_BYTES, READ_LARGE_BYTES, SPARE_BUFFER_BYTES, SPARE_BUFFERS};
use super::tls::Stream;
use super::{Commands, ConnectionId, Limits, Mark, Then};

/// A connection as the loop holds it.
pub(super) struct Connection<S> {
    pub(super) id: ConnectionId,
    stream: Stream,
    pub(super) session: S,
    /// What came and is not run.
    input: Vec<u8>,
    /// `input` is worth running when it has so many bytes.
    needs: usize,
    /// `input` may begin with a whole command, which some limit kept from being run.
    runnable: bool,
    /// It was waiting, and is to run whatever `input` holds.
    resumed: bool,
    output: Output,
    /// There may be something to read.
    pub(super) readable: bool,
    /// The system said that the other side ends.
    pub(super) is_ending: bool,
    /// Nothing comes any more.
    ended: bool,
    /// It waits to be resumed.
    waiting: bool,
    /// It is closed once its answers are sent.
    closing: bool,
    wants_writable: bool,
    /// When something moved last.
    pub(super) moved: Duration,
    /// It is on the loop's list of those to be served.
    pub(super) is_ready: bool,
    /// It is on the loop's list of those to be flushed.
    pub(super) is_dirty: bool,
}

impl<S> Connection<S> {
    pub(super) fn new(id: ConnectionId, stream: Stream, session: S, now: Duration) -> Self {
        Connection {
            id,
            stream,
            session,
            input: Vec::new(),
            needs: 0,
            runnable: false,
            resumed: false,
            output: Output::default(),
            readable: false,
            is_ending: false,
            ended: false,
            waiting: false,
            closing: false,
            wants_writable: false,
            moved: now,
            is_ready: false,
            is_dirty: false,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.stream.socket(), token, Interest::READABLE)
    }

    /// Whether serving it would do anything.
    pub(super) fn has_work(&self, limits: &Limits) -> bool {
        let is_paused = self.output.pending() > limits.output_paused_bytes;
        !self.closing && !self.waiting && !is_paused && (self.runnable || self.readable)
    }

    /// Lets it go on, if it waits.
    pub(super) fn resume(&mut self) {
        if take(&mut self.waiting) {
            (self.runnable, self.resumed) = (true, true);
        }
    }

    /// Nothing more is read or run.
    pub(super) fn begin_close(&mut self) {
        self.closing = true;
    }

    /// Whether all is said, and it is to be closed.
    pub(super) fn is_finished(&self) -> bool {
        self.closing && self.output.pending() == 0 && !self.stream.has_unsent()
    }

    /// Whether it stands still for longer than it may.
    pub(super) fn is_stale(&self, limits: &Limits, now: Duration) -> bool {
        let still = now.saturating_sub(self.moved);
        let is_idle = limits.idle.is_some_and(|idle| still >= idle) && !self.waiting;
        is_idle || (self.stream.is_handshaking() && still >= limits.handshake)
    }

    /// Its part of a turn: runs what was left, or reads once and runs that, within the limits.
    ///
    /// # Errors
    /// The connection is gone, or has to go.
    pub(super) fn serve<C: Commands<Session = S>>(
        &mut self,
        commands: &mut C,
        shared: &mut Buffers,
        limits: &Limits,
        now: Duration,
    ) -> io::Result<()> {
        if self.runnable && self.has_work(limits) {
            let mut input = take(&mut self.input);
            let consumed = self.run(commands, &input, shared, limits);
            input.drain(..consumed);
            self.input = input;
        } else if self.readable && self.has_work(limits) {
            self.read(commands, shared, limits, now)?;
        }
        if self.input.is_empty() {
            shared.put(&mut self.input);
        }
        if self.ended && !self.runnable && !self.waiting {
            self.closing = true;
        }
        if self.input.len() > limits.input_cut_bytes || self.output.pending() > limits.output_cut_bytes {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }

    fn read<C: Commands<Session = S>>(&mut self, commands: &mut C, shared: &mut Buffers, limits: &Limits, now: Duration) -> io::Result<()> {
        if !self.input.is_empty() {
            return self.read_behind(commands, shared, limits, now);
        }
        // Most inputs are whole commands: they are run where they are read, and nothing is kept.
        let mut buffer = take(&mut shared.reading);
        let read = self.read_into(&mut buffer, now);
        if let Ok(count @ 1..) = read {
            let consumed = self.run(commands, &buffer[..count], shared, limits);
            if consumed < count {
                self.input = shared.take();
                self.input.extend_from_slice(&buffer[consumed..count]);
            }
        }
        shared.reading = buffer;
        read.map(|_| ())
    }

    /// Reads to the end of what was left.
    fn read_behind<C: Commands<Session = S>>(
        &mut self,
        commands: &mut C,
        shared: &mut Buffers,
        limits: &Limits,
        now: Duration,
    ) -> io::Result<()> {
        let mut input = take(&mut self.input);
        let held = input.len();
        let room = self.needs.saturating_sub(held).clamp(READ_BYTES, READ_LARGE_BYTES);
        input.resize(held + room, 0);
        let read = self.read_into(&mut input[held..], now);
        input.truncate(held + *read.as_ref().unwrap_or(&0));
        if input.len() > held && input.len() >= self.needs {
            let consumed = self.run(commands, &input, shared, limits);
            input.drain(..consumed);
        }
        self.input = input;
        read.map(|_| ())
    }

    /// Reads once; returns how many bytes.
    fn read_into(&mut self, buffer: &mut [u8], now: Duration) -> io::Result<usize> {
        let got = self.stream.read(buffer)?;
        // The system says so only once: then the end itself has to be read, too.
        self.readable = !got.ended && (got.more || (self.is_ending && got.bytes > 0));
        self.ended = got.ended;
        if got.bytes > 0 {
            self.moved = now;
        }
        Ok(got.bytes)
    }

    /// Runs the commands of `input`; returns how many bytes they took.
    fn run<C: Commands<Session = S>>(&mut self, commands: &mut C, input: &[u8], shared: &mut Buffers, limits: &Limits) -> usize {
        (self.runnable, self.needs) = (false, 0);
        let mut consumed = 0;
        shared.give(&mut self.output.bytes);
        for _ in 0..COMMANDS_PER_TURN {
            if self.output.pending() > limits.output_paused_bytes {
                break;
            }
            let before = self.output.end();
            let ran = commands.run(&mut self.session, &input[consumed..], &mut self.output.bytes);
            consumed += ran.consumed;
            if ran.waits {
                self.output.waits_from.get_or_insert(before);
            }
            let was_resumed = take(&mut self.resumed);
            match ran.then {
                Then::Continue if ran.consumed == 0 && !was_resumed => {
                    self.needs = ran.needs;
                    return consumed;
                }
                Then::Continue if consumed == input.len() => return consumed,
                Then::Continue => {}
                Then::Wait => {
                    self.waiting = true;
                    return consumed;
                }
                Then::Close => {
                    self.closing = true;
                    return input.len();
                }
            }
        }
        self.runnable = true;
        consumed
    }

    /// Whether answers of this turn wait for its mark.
    pub(super) fn waits(&self) -> bool {
        self.output.waits_from.is_some()
    }

    /// The answers of this turn that wait do so for `mark`.
    pub(super) fn hold(&mut self, mark: Option<Mark>) {
        let from = self.output.waits_from.take();
        if let (Some(mark), Some(from)) = (mark, from) {
            self.output.holds.push_back((mark, from));
        }
    }

    /// Marks up to `reached` are waited for no longer.
    pub(super) fn release(&mut self, reached: Mark) {
        while self.output.holds.pop_front_if(|(mark, _)| *mark <= reached).is_some() {}
    }

    /// Sends what may be sent.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush(&mut self, registry: &Registry, token: Token, shared: &mut Buffers, now: Duration) -> io::Result<()> {
        let may_go = self.output.may_go();
        if !may_go.is_empty() || self.stream.has_unsent() {
            let sent = self.stream.write(may_go)?;
            self.output.sent(sent, shared);
            if sent > 0 {
                self.moved = now;
            }
        }
        let is_full = !self.output.may_go().is_empty() || self.stream.has_unsent();
        if is_full != self.wants_writable {
            self.wants_writable = is_full;
            let interest = if is_full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            registry.reregister(self.stream.socket(), token, interest)?;
        }
        Ok(())
    }

    /// Ends it.
    pub(super) fn close(mut self, registry: &Registry, in_order: bool) -> S {
        if in_order {
            self.stream.end();
        }
        let _ = registry.deregister(self.stream.socket());
        self.session
    }
}

/// Answers in their order. Places are counted in bytes from the connection's first answer.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    /// How many of `bytes` are sent.
    sent: usize,
    /// The place of `bytes[0]`.
    base: u64,
    /// From each of these places on, answers wait for the mark. Both ascend.
    holds: VecDeque<(Mark, u64)>,
    /// From this place on, answers of this turn wait for its mark.
    waits_from: Option<u64>,
}

impl Output {
    fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// The place where the next answer begins.
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn may_go(&self) -> &[u8] {
        let held = self.holds.front().map(|&(_, from)| from).or(self.waits_from).unwrap_or(self.end());
        &self.bytes[self.sent..(held - self.base) as usize]
    }

    fn sent(&mut self, count: usize, shared: &mut Buffers) {
        self.sent += count;
        // What is sent is given up at once if that costs nothing, else when it is most of the buffer.
        if self.sent == self.bytes.len() || (self.sent > READ_BYTES && self.sent > self.bytes.len() / 2) {
            self.base += self.sent as u64;
            self.bytes.drain(..take(&mut self.sent));
        }
        if self.bytes.is_empty() {
            shared.put(&mut self.bytes);
        }
    }
}

/// Buffers that connections share, as each is needed for a moment only.
pub(super) struct Buffers {
    /// What a read goes to.
    reading: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Buffers { reading: vec![0; READ_BYTES], spare: Vec::new() }
    }

    fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Makes of a buffer without memory one with some.
    fn give(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0 {
            *buffer = self.take();
        }
    }

    /// Takes an empty buffer's memory away.
    fn put(&mut self, buffer: &mut Vec<u8>) {
        let buffer = take(buffer);
        if (1..=SPARE_BUFFER_BYTES).contains(&buffer.capacity()) && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }
}
