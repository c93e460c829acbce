//! Lanes: for each two members one connection of its own, for both directions, on which nothing is dropped for as long as it stands. What the replicas of available
//! state say to each other goes there: they count on the order, and begin anew when a connection ends.
//!
//! Invariants:
//! 1. [`LaneEvent::Opened`] and [`LaneEvent::Closed`] of one peer alternate, and its frames come between them, all that were sent up to some
//!    moment, in order.
//! 2. [`Lane::send`] never blocks. A lane for which too much waits is closed: its user's windows should not let it come to that.
//! 3. While the receiver of events is full, the sockets are not read.
//!
//! Of two members the one with the lower id dials, and goes on dialling. A frame of any size goes in parts, so a large one needs no large limit.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use steadfast_types::NodeId;
use steadfast_types::wire::Wire;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::frame::{FrameError, FrameReader, put_frame};
use super::handshake::{HANDSHAKE_TIMEOUT, HandshakeError, Hello, Purpose, Welcome, answer, greet, in_time};
use super::link::{PeerStream, verdict};
use super::outbound::{Backoff, DIAL_TIMEOUT, GOOD_CONNECTION, dial};
use super::roster::Peer;
use super::{SIGN_INTERVAL, SILENCE, Shared, stopped};

/// The largest part of a frame, bytes.
const PART_BYTES: usize = 256 * 1024;

/// How much may wait for one lane, bytes. A single frame may be larger.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// Parts go out together, up to about so many bytes at once.
const COALESCE_BYTES: usize = 64 * 1024;

/// How often a lane that a fault holds up looks whether the fault is over.
const FAULT_PAUSE: Duration = Duration::from_millis(10);

/// A part begins with one of these.
const LAST: u8 = 0;
const MORE: u8 = 1;

/// What a lane has to tell.
#[derive(Debug)]
pub enum LaneEvent {
    /// A lane to the peer stands.
    Opened(NodeId, Lane),
    /// It does not any more.
    Closed(NodeId),
    /// The peer sent this.
    Frame(NodeId, Bytes),
}

/// Takes the events of all lanes.
#[derive(Clone)]
pub struct LaneEvents {
    events: mpsc::Sender<LaneEvent>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl LaneEvents {
    /// They go into `events`; `wake` is called after each.
    pub fn new(events: mpsc::Sender<LaneEvent>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        LaneEvents { events, wake: Arc::new(wake) }
    }

    async fn deliver(&self, event: LaneEvent) {
        // Without a receiver the node is stopping, and events are of no use.
        let _ = self.events.send(event).await;
        (self.wake)();
    }
}

impl std::fmt::Debug for LaneEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneEvents").finish_non_exhaustive()
    }
}

/// The sending end of a lane.
#[derive(Debug)]
pub struct Lane {
    frames: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
    end: Arc<Notify>,
}

impl Lane {
    /// Sends a frame. If too much waits already the lane is closed; so it is for frames after its end.
    pub fn send(&self, frame: Bytes) {
        let waiting = self.waiting.fetch_add(frame.len(), Ordering::Relaxed);
        if waiting > 0 && waiting + frame.len() > WAITING_BYTES {
            return self.close();
        }
        // An error: the lane has ended, and its `Closed` is on its way.
        let _ = self.frames.send(frame);
    }

    /// Ends it; its `Closed` follows.
    pub fn close(&self) {
        self.end.notify_one();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

/// All lanes of a node, once it has some.
#[derive(Debug)]
pub(super) struct Lanes {
    events: LaneEvents,
    accepted: Mutex<BTreeMap<NodeId, Accepted>>,
}

#[derive(Debug)]
struct Accepted {
    number: u64,
    end: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Lanes {
    pub(super) fn new(events: LaneEvents) -> Self {
        Lanes { events, accepted: Mutex::default() }
    }
}

/// Keeps a lane to a peer that this node dials, until the peer is dismissed or the transport stops.
pub(super) async fn run(shared: Arc<Shared>, node: NodeId, peer: Arc<Peer>) {
    let Some(lanes) = shared.lanes.get() else { return };
    let (mut stop, mut addresses, mut backoff) = (shared.stop.subscribe(), peer.address.subscribe(), Backoff::new());
    loop {
        let Some(address) = addresses.borrow_and_update().clone() else { return };
        let begin = Instant::now();
        let connected = tokio::select! {
            connected = connect(&shared, node, &address) => connected,
            () = stopped(&mut stop) => return,
            _ = addresses.changed() => continue,
        };
        match connected {
            Ok(stream) => {
                let end = Arc::new(Notify::new());
                let carried = carry(&shared, node, stream, end.clone(), &lanes.events);
                tokio::pin!(carried);
                tokio::select! {
                    () = &mut carried => {}
                    () = stopped(&mut stop) => return,
                    _ = addresses.changed() => {
                        end.notify_one();
                        carried.await;
                    }
                }
            }
            Err(error) => tracing::debug!(peer = %node, address, "no lane to the peer: {error}"),
        }
        if begin.elapsed() >= GOOD_CONNECTION {
            backoff.reset();
        }
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = peer.lane_nudge.notified() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn connect(shared: &Shared, node: NodeId, address: &str) -> Result<FrameReader<PeerStream>, HandshakeError> {
    if shared.faults.drops_to(node) || shared.faults.drops_from(node) {
        sleep(DIAL_TIMEOUT).await;
        return Err(HandshakeError::TimedOut(DIAL_TIMEOUT));
    }
    let stream = dial(address).await?;
    let greeted = async { greet(shared.link.dialled(address, stream).await?, Purpose::Lane, &shared.hello(node), shared.level()).await };
    in_time(HANDSHAKE_TIMEOUT, greeted).await.map_err(verdict)
}

/// Welcomes a peer that was admitted, and begins its lane after the end of its earlier one, which this one replaces.
pub(super) async fn accept(shared: &Arc<Shared>, hello: &Hello, mut stream: FrameReader<PeerStream>) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if in_time(HANDSHAKE_TIMEOUT, answer(&mut stream, &Welcome::Accepted.to_wire())).await.is_err() {
        return;
    }
    let Some(lanes) = shared.lanes.get() else { return };
    let (node, number, end) = (hello.from, COUNT.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
    // The lock is held until the lane is entered, so that the task finds it there when it takes it out at its end.
    let mut accepted = lanes.accepted.lock();
    let previous = accepted.remove(&node);
    let task = {
        let (shared, end) = (shared.clone(), end.clone());
        let mut stop = shared.stop.subscribe();
        shared.clone().spawn(async move {
            let Some(lanes) = shared.lanes.get() else { return };
            let lane = async {
                if let Some(previous) = previous {
                    previous.end.notify_one();
                    // An error would say that the task was cancelled: then it is over as well.
                    let _ = previous.task.await;
                }
                carry(&shared, node, stream, end, &lanes.events).await;
            };
            tokio::select! { () = lane => {}, () = stopped(&mut stop) => {} }
            let mut accepted = lanes.accepted.lock();
            if accepted.get(&node).is_some_and(|lane| lane.number == number) {
                accepted.remove(&node);
            }
        })
    };
    accepted.insert(node, Accepted { number, end, task });
}

/// A lane from its `Opened` to its `Closed`.
async fn carry(shared: &Shared, node: NodeId, stream: FrameReader<PeerStream>, end: Arc<Notify>, events: &LaneEvents) {
    let (reader, writer) = stream.with_limit(PART_BYTES + 1).split();
    let (frames, sending) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    events.deliver(LaneEvent::Opened(node, Lane { frames, waiting: waiting.clone(), end: end.clone() })).await;
    let reason = tokio::select! {
        error = take_frames(shared, node, reader, events) => error.to_string(),
        Err(error) = send_frames(shared, node, writer, sending, &waiting) => error.to_string(),
        () = end.notified() => "it was closed here".to_owned(),
    };
    tracing::info!(peer = %node, "the lane to the peer ended: {reason}");
    events.deliver(LaneEvent::Closed(node)).await;
}

/// Hands on frames until the connection ends; why it did.
async fn take_frames<R: AsyncRead + Unpin>(shared: &Shared, node: NodeId, mut reader: FrameReader<R>, events: &LaneEvents) -> FrameError {
    let mut parts = BytesMut::new();
    let mut heard = Instant::now();
    loop {
        loop {
            let mut part = match reader.buffered() {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(error) => return error,
            };
            if part.is_empty() {
                continue;
            }
            let is_last = part.get_u8() == LAST;
            if is_last && parts.is_empty() {
                events.deliver(LaneEvent::Frame(node, part)).await;
                continue;
            }
            parts.put_slice(&part);
            if is_last {
                events.deliver(LaneEvent::Frame(node, parts.split().freeze())).await;
            }
        }
        // As if nothing came through: TCP would hold it back too.
        while shared.faults.drops_from(node) {
            if heard.elapsed() >= SILENCE {
                return silent();
            }
            sleep(FAULT_PAUSE).await;
        }
        match timeout(SILENCE, reader.fill()).await {
            Ok(Ok(bytes)) => shared.metrics.peer_bytes_received.increment(bytes as u64),
            Ok(Err(error)) => return error,
            Err(_) => return silent(),
        }
        heard = Instant::now();
    }
}

fn silent() -> FrameError {
    FrameError::Io(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"))
}

/// Sends until the connection fails.
async fn send_frames(
    shared: &Shared,
    node: NodeId,
    mut write: impl AsyncWrite + Unpin,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
    waiting: &AtomicUsize,
) -> io::Result<()> {
    let mut out = BytesMut::with_capacity(COALESCE_BYTES + PART_BYTES);
    let mut signs = interval(SIGN_INTERVAL);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(frame) = frames.recv() => {
                let mut next = Some(frame);
                while let Some(frame) = next {
                    send_frame(shared, node, &mut write, &mut out, &frame).await?;
                    waiting.fetch_sub(frame.len(), Ordering::Relaxed);
                    next = frames.try_recv().ok();
                }
            }
            _ = signs.tick() => put_frame(&mut out, &[]),
        }
        flush(shared, node, &mut write, &mut out).await?;
        // TLS may have kept the last record; on a socket alone it is nothing.
        write.flush().await?;
    }
}

async fn send_frame(
    shared: &Shared,
    node: NodeId,
    write: &mut (impl AsyncWrite + Unpin),
    out: &mut BytesMut,
    frame: &[u8],
) -> io::Result<()> {
    let mut part = Vec::with_capacity(frame.len().min(PART_BYTES) + 1);
    let count = frame.len().div_ceil(PART_BYTES);
    for (at, bytes) in frame.chunks(PART_BYTES).enumerate() {
        part.clear();
        part.push(if at + 1 == count { LAST } else { MORE });
        part.extend_from_slice(bytes);
        put_frame(out, &part);
        if out.len() >= COALESCE_BYTES {
            flush(shared, node, write, out).await?;
        }
    }
    shared.metrics.peer_frames_sent.increment(1);
    Ok(())
}

async fn flush(shared: &Shared, node: NodeId, write: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut) -> io::Result<()> {
    while shared.faults.drops_to(node) {
        sleep(FAULT_PAUSE).await;
    }
    if let Some(delay) = shared.faults.delay() {
        sleep(delay).await;
    }
    write.write_all(out).await?;
    shared.metrics.peer_bytes_sent.increment(out.len() as u64);
    out.clear();
    Ok(())
}
