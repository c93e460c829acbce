//! What a node dials: a task for each peer that connects, sends what waits, and after a failure connects again, soon.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use steadfast_types::{Level, NodeId, Rng, limits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::frame::{FrameReader, put_frame, put_header};
use super::handshake::{HANDSHAKE_TIMEOUT, HandshakeError, Purpose, Refusal, Topic, greet, in_time};
use super::link::{Link, PeerStream, verdict};
use super::noticed::{Noticed, is_reset};
use super::roster::Peer;
use super::{SIGN_INTERVAL, SILENCE, Shared, stopped};

/// The first wait before dialling again. Short, for a peer that restarts is needed.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// The longest wait before dialling again.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A connection that lasted so long was good: after its end the peer is dialled at once. After a shorter one there is a wait, so that two
/// nodes that disagree about each other do not dial without pause.
pub(super) const GOOD_CONNECTION: Duration = Duration::from_secs(1);

/// How long a dial may take: one lost packet is sent again after a second, and a new dial is as good as waiting longer.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a stopping node tries to send what waits.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Small frames go out together, up to about so many bytes at once.
const COALESCE_BYTES: usize = 64 * 1024;

/// From this size on a frame goes out from where it is, not by way of the buffer.
const COPY_BYTES: usize = 16 * 1024;

/// Why a question to another node has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct AskError {
    /// Whom it was put to.
    pub address: String,
    reason: HandshakeError,
}

impl AskError {
    /// Whether it is about TLS, which no waiting will mend.
    pub fn is_about_tls(&self) -> bool {
        self.reason.is_about_tls()
    }
}

/// Puts a question to the node at `address`, waiting at most `limit` for its answer.
///
/// # Errors
/// It can't be reached, is no Steadfast node, speaks another version, or did not answer.
pub async fn ask(link: &Link, address: &str, topic: Topic, question: &[u8], limit: Duration) -> Result<Bytes, AskError> {
    let attempt = async {
        super::handshake::ask(link.dialled(address, dial(address).await?).await?, (Purpose::Question(topic), Level::FIRST), question).await
    };
    match in_time(limit, attempt).await.map_err(verdict) {
        Ok((answer, _)) => Ok(answer),
        Err(reason) => Err(AskError { address: address.to_owned(), reason }),
    }
}

pub(super) async fn dial(address: &str) -> Result<TcpStream, HandshakeError> {
    let connect = async { TcpStream::connect(address).await.map_err(HandshakeError::Dial) };
    let stream = in_time(DIAL_TIMEOUT, connect).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Doubling waits with jitter, so that many nodes do not dial in step.
pub(super) struct Backoff {
    rng: Rng,
    wait: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Backoff { rng: Rng::with_seed(crate::identity::random()), wait: FIRST_WAIT }
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        wait.mul_f64(0.5 + self.rng.f64() / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.wait = FIRST_WAIT;
    }
}

/// The dialer of one peer.
struct Dialer {
    shared: Arc<Shared>,
    node: NodeId,
    peer: Arc<Peer>,
    backoff: Backoff,
    /// Whether the peer was connected since nobody was found to listen.
    was_connected: bool,
    stop: watch::Receiver<bool>,
}

/// Keeps one peer connected until it is dismissed or the transport stops.
pub(super) async fn run(shared: Arc<Shared>, node: NodeId, peer: Arc<Peer>) {
    let stop = shared.stop.subscribe();
    let mut addresses = peer.address.subscribe();
    let mut dialer = Dialer { shared, node, peer, backoff: Backoff::new(), was_connected: false, stop };
    loop {
        let Some(address) = addresses.borrow_and_update().clone() else { break };
        tokio::select! {
            stopped = dialer.attempt(&address) => if stopped.is_break() { break },
            // A send error: the peer is gone from the roster, as with no address.
            moved = addresses.changed() => if moved.is_err() { break },
        }
        dialer.disconnected();
    }
    dialer.disconnected();
}

impl Dialer {
    /// Dials once. Connected, it sends until the connection fails. Then, or if it could not connect, it waits if that is wise. Break: the
    /// transport stops.
    async fn attempt(&mut self, address: &str) -> ControlFlow<()> {
        self.notice(Noticed::Dialled);
        let connected = tokio::select! {
            connected = connect(&self.shared, self.node, address) => connected,
            () = stopped(&mut self.stop) => return ControlFlow::Break(()),
        };
        match connected {
            Ok(stream) => {
                let begin = Instant::now();
                self.connected(address);
                self.notice(Noticed::Connected(stream.ends()));
                match carry(&self.shared, (self.node, &self.peer), stream, self.stop.clone()).await {
                    Ok(()) => return ControlFlow::Break(()),
                    Err(reason) => self.lost(address, &reason),
                }
                self.disconnected();
                if begin.elapsed() >= GOOD_CONNECTION {
                    self.backoff.reset();
                    return ControlFlow::Continue(());
                }
            }
            Err(error) => self.failed(address, &error),
        }
        self.pause().await
    }

    fn connected(&mut self, address: &str) {
        tracing::info!(peer = %self.node, address, "connected to the peer");
        self.shared.complaints.forget(self.node);
        self.peer.queue.set_connected(true);
        self.was_connected = true;
    }

    fn lost(&self, address: &str, reason: &io::Error) {
        tracing::info!(peer = %self.node, address, "lost the connection to the peer: {reason}");
        if is_reset(reason) {
            self.notice(Noticed::Reset);
        }
    }

    fn notice(&self, what: Noticed) {
        self.shared.onlookers.notice(self.node, what);
    }

    fn disconnected(&self) {
        self.shared.count_dropped(self.peer.queue.set_connected(false));
    }

    fn failed(&mut self, address: &str, error: &HandshakeError) {
        if error.nobody_listens() {
            self.notice(Noticed::Refused);
            if std::mem::take(&mut self.was_connected) {
                self.shared.end_session(self.node);
            }
        }
        if matches!(error, HandshakeError::Refused(Refusal::Removed)) {
            self.shared.removed.send_replace(true);
        }
        if !self.shared.complaints.first(self.node, error) {
            return;
        }
        match error {
            HandshakeError::Refused(_)
            | HandshakeError::Version { .. }
            | HandshakeError::Stranger
            | HandshakeError::Tls(_)
            | HandshakeError::PlainText
            | HandshakeError::Secure
            | HandshakeError::Name { .. } => {
                tracing::warn!(peer = %self.node, address, "the peer does not take this node's connection: {error}");
            }
            HandshakeError::Frame(_) | HandshakeError::Dial(_) | HandshakeError::TimedOut(_) | HandshakeError::Malformed(_) => {
                tracing::info!(peer = %self.node, address, "cannot reach the peer, and keeps trying: {error}");
            }
        }
    }

    /// Waits for the time of the next try, or for word of the peer.
    async fn pause(&mut self) -> ControlFlow<()> {
        tokio::select! {
            () = sleep(self.backoff.next()) => ControlFlow::Continue(()),
            () = self.peer.nudge.notified() => ControlFlow::Continue(()),
            () = stopped(&mut self.stop) => ControlFlow::Break(()),
        }
    }
}

async fn connect(shared: &Shared, node: NodeId, address: &str) -> Result<PeerStream, HandshakeError> {
    if shared.faults.drops_to(node) {
        sleep(DIAL_TIMEOUT).await;
        return Err(HandshakeError::TimedOut(DIAL_TIMEOUT));
    }
    let stream = dial(address).await?;
    // Nothing but answers to signs of life follows on this connection, so what was read ahead may go.
    let greeted = async { greet(shared.link.dialled(address, stream).await?, Purpose::Session, &shared.hello(node), shared.level()).await };
    in_time(HANDSHAKE_TIMEOUT, greeted).await.map(FrameReader::into_stream).map_err(verdict)
}

/// Sends until the connection fails (an error) or the transport stops.
async fn carry(shared: &Shared, peer: (NodeId, &Peer), stream: PeerStream, stop: watch::Receiver<bool>) -> io::Result<()> {
    match stream {
        PeerStream::Plain(stream) => carry_halves(shared, peer, stream.into_split(), stop).await,
        // TLS has one state for both directions: the halves share it under a lock.
        PeerStream::Tls(stream) => carry_halves(shared, peer, tokio::io::split(stream), stop).await,
    }
}

async fn carry_halves<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Shared,
    peer: (NodeId, &Peer),
    (read, write): (R, W),
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    tokio::select! {
        ended = send_all(shared, peer, write, stop) => ended,
        failed = listen_for_life(shared, peer.0, read) => Err(failed),
    }
}

/// Ends when the peer has closed the connection, or has answered no sign of life for too long.
async fn listen_for_life(shared: &Shared, node: NodeId, mut read: impl AsyncRead + Unpin) -> io::Error {
    let mut answers = [0; 64];
    loop {
        match timeout(SILENCE, read.read(&mut answers)).await {
            Ok(Ok(0)) => return io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed it"),
            Ok(Ok(answers)) => shared.onlookers.notice(node, Noticed::SignsAnswered(answers as u64)),
            Ok(Err(error)) => return error,
            Err(_) => return io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"),
        }
    }
}

async fn send_all(
    shared: &Shared,
    (node, peer): (NodeId, &Peer),
    write: impl AsyncWrite + Unpin,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut writer = Writer { shared, node, write, out: BytesMut::with_capacity(COALESCE_BYTES + COPY_BYTES) };
    let mut frames = VecDeque::new();
    let mut signs = interval(SIGN_INTERVAL);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = peer.queue.take_all(&mut frames) => {}
            _ = signs.tick() => {
                shared.onlookers.notice(node, Noticed::SignSent);
                put_frame(&mut writer.out, &[]);
            }
            () = stopped(&mut stop) => break,
        }
        if let Some(delay) = shared.faults.delay() {
            sleep(delay).await;
        }
        writer.send(&mut frames).await?;
    }
    peer.queue.take_waiting(&mut frames);
    let last_words = async {
        writer.send(&mut frames).await?;
        writer.write.shutdown().await
    };
    timeout(LAST_WORDS, last_words).await.unwrap_or(Ok(()))
}

/// Brings frames to the socket in few writes.
struct Writer<'a, W> {
    shared: &'a Shared,
    node: NodeId,
    write: W,
    out: BytesMut,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    async fn send(&mut self, frames: &mut VecDeque<Bytes>) -> io::Result<()> {
        let count = frames.len() as u64;
        if self.shared.faults.drops_to(self.node) {
            frames.clear();
            self.out.clear();
            self.shared.count_dropped(count);
            return Ok(());
        }
        for frame in frames.drain(..) {
            debug_assert!(frame.len() <= limits::PEER_FRAME_BYTES);
            if frame.len() >= COPY_BYTES {
                put_header(&mut self.out, &frame);
                self.flush().await?;
                self.write.write_all(&frame).await?;
                self.shared.metrics.peer_bytes_sent.increment(frame.len() as u64);
                continue;
            }
            put_frame(&mut self.out, &frame);
            if self.out.len() >= COALESCE_BYTES {
                self.flush().await?;
            }
        }
        self.shared.metrics.peer_frames_sent.increment(count);
        self.flush().await?;
        // TLS may have kept the last record; on a socket alone it is nothing.
        self.write.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.write.write_all(&self.out).await?;
            self.shared.metrics.peer_bytes_sent.increment(self.out.len() as u64);
            self.out.clear();
        }
        Ok(())
    }
}
