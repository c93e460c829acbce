//! What a node accepts: the sessions of its peers, and the questions of nodes that are not members yet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_types::wire::Wire;
use steadfast_types::{Level, NodeId, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::complaints::Complaints;
use super::frame::{FrameError, FrameReader};
use super::handshake::{
    HANDSHAKE_FRAME_BYTES, HANDSHAKE_TIMEOUT, HandshakeError, Heard, Hello, Purpose, Refusal, Topic, Welcome, answer, hear, in_time,
};
use super::link::{Link, PeerStream};
use super::noticed::{HEARD_AGAIN, Noticed};
use super::{PeerEvent, PeerEvents, Reception, SILENCE, Shared, lanes, stopped};

/// Connections whose handshake or question is under way. Beyond it none is accepted until one is through, or its time is.
pub const HANDSHAKES: usize = 64;

/// After a failed accept (too many open files, mostly) the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How long a refused peer may take to read why.
const FAREWELL: Duration = Duration::from_millis(500);

/// A peer's connection to this node.
#[derive(Debug)]
pub(super) struct Session {
    number: u64,
    end: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Session {
    /// Ends it; its `Disconnected` follows.
    pub(super) fn end(&self) {
        self.end.notify_one();
    }
}

/// Whose session it is.
#[derive(Clone, Copy)]
struct Dialer {
    node: NodeId,
    incarnation: u64,
    level: Level,
}

/// A connection that says what it is for.
struct Visitor {
    from: SocketAddr,
    heard: Heard<PeerStream>,
}

/// Accepts connections until the transport stops.
pub(super) async fn accept<E: PeerEvents, R: Reception>(shared: Arc<Shared>, listener: TcpListener, events: Arc<E>, reception: Arc<R>) {
    let mut stop = shared.stop.subscribe();
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let (stream, from, permit) = tokio::select! {
            accepted = accept_one(&listener, &room) => accepted,
            () = stopped(&mut stop) => return,
        };
        let (task_shared, events, reception) = (shared.clone(), events.clone(), reception.clone());
        shared.spawn(async move {
            let mut stop = task_shared.stop.subscribe();
            tokio::select! {
                () = meet(&task_shared, stream, from, &events, &*reception) => {}
                () = stopped(&mut stop) => {}
            }
            drop(permit);
        });
    }
}

/// While a node has no cluster yet: answers questions, and refuses sessions. Runs until it is dropped.
pub async fn answer_questions<R: Reception>(listener: &TcpListener, link: &Link, reception: Arc<R>) {
    let (room, complaints) = (Arc::new(Semaphore::new(HANDSHAKES)), Arc::new(Complaints::default()));
    let mut visits = JoinSet::new();
    loop {
        let (stream, from, permit) = accept_one(listener, &room).await;
        while visits.try_join_next().is_some() {}
        let (link, reception, complaints) = (link.clone(), reception.clone(), complaints.clone());
        visits.spawn(async move {
            match visit(&link, stream, from, Level::FIRST).await {
                Ok(visitor) => match visitor.heard.purpose {
                    Purpose::Session | Purpose::Lane => refuse(visitor.heard.stream, Refusal::NotFormed).await,
                    Purpose::Question(topic) => reply(topic, visitor, &*reception).await,
                },
                Err(error) if error.is_about_tls() && complaints.first(from.ip(), &error) => {
                    tracing::warn!(%from, "a connection to the peer port was refused: {error}");
                }
                Err(error) => tracing::debug!(%from, "a connection came to nothing: {error}"),
            }
            drop(permit);
        });
    }
}

async fn accept_one(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from, permit),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn visit(link: &Link, stream: TcpStream, from: SocketAddr, level: Level) -> Result<Visitor, HandshakeError> {
    stream.set_nodelay(true)?;
    let heard = async { hear(link.accepted(stream).await?, level).await };
    Ok(Visitor { from, heard: in_time(HANDSHAKE_TIMEOUT, heard).await? })
}

async fn reply<R: Reception>(topic: Topic, mut visitor: Visitor, reception: &R) {
    let words = reception.answer(topic, visitor.heard.words).await;
    match in_time(HANDSHAKE_TIMEOUT, answer(&mut visitor.heard.stream, &words)).await {
        Ok(()) => farewell(visitor.heard.stream).await,
        Err(error) => tracing::debug!(from = %visitor.from, "an answer was not taken: {error}"),
    }
}

async fn refuse(mut stream: FrameReader<PeerStream>, refusal: Refusal) {
    let words = Welcome::Refused(refusal).to_wire();
    if in_time(HANDSHAKE_TIMEOUT, answer(&mut stream, &words)).await.is_ok() {
        farewell(stream).await;
    }
}

/// Closes only when the other side has, or has had the time: closing with bytes unread would reset the connection and may take back what
/// was just written.
async fn farewell(stream: FrameReader<PeerStream>) {
    let mut stream = stream.into_stream();
    let read_to_the_end = async {
        stream.shutdown().await?;
        let mut rest = [0; 256];
        for _ in 0..HANDSHAKE_FRAME_BYTES / rest.len() {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = timeout(FAREWELL, read_to_the_end).await;
}

async fn meet<E: PeerEvents, R: Reception>(shared: &Arc<Shared>, stream: TcpStream, from: SocketAddr, events: &Arc<E>, reception: &R) {
    let visitor = match visit(&shared.link, stream, from, shared.level()).await {
        Ok(visitor) => visitor,
        Err(error) => {
            shared.metrics.peer_connections_refused.increment(1);
            if shared.complaints.first(from.ip(), &error) {
                tracing::warn!(%from, "a connection to the peer port was refused: {error}");
            }
            return;
        }
    };
    match visitor.heard.purpose {
        Purpose::Session => greet_back(shared, visitor, events).await,
        Purpose::Lane => open_lane(shared, visitor).await,
        Purpose::Question(topic) => reply(topic, visitor, reception).await,
    }
}

async fn greet_back<E: PeerEvents>(shared: &Arc<Shared>, visitor: Visitor, events: &Arc<E>) {
    let Visitor { from, heard: Heard { words, level, mut stream, .. } } = visitor;
    let Ok(hello) = Hello::from_wire(words) else {
        shared.metrics.peer_connections_refused.increment(1);
        tracing::debug!(%from, "a malformed greeting");
        return;
    };
    if shared.faults.drops_from(hello.from) {
        // As if the greeting had never arrived.
        return sleep(HANDSHAKE_TIMEOUT).await;
    }
    if let Err(refusal) = admit(shared, &hello) {
        shared.metrics.peer_connections_refused.increment(1);
        if shared.complaints.first(hello.from, &refusal) {
            tracing::warn!(peer = %hello.from, %from, "a node of cluster {} that dialled {} was refused: {refusal:?}", hello.cluster, hello.to);
        }
        return refuse(stream, refusal).await;
    }
    if in_time(HANDSHAKE_TIMEOUT, answer(&mut stream, &Welcome::Accepted.to_wire())).await.is_ok() {
        let dialer = Dialer { node: hello.from, incarnation: hello.incarnation, level };
        open_session(shared, dialer, stream.with_limit(limits::PEER_FRAME_BYTES), events.clone());
    } else {
        shared.roster.dismiss_stranger(hello.from);
    }
}

/// A lane is for members that are known as such; a node that is not is known soon, by its session.
async fn open_lane(shared: &Arc<Shared>, visitor: Visitor) {
    let Visitor { from, heard: Heard { words, stream, .. } } = visitor;
    let Ok(hello) = Hello::from_wire(words) else {
        shared.metrics.peer_connections_refused.increment(1);
        return tracing::debug!(%from, "a malformed greeting");
    };
    if shared.faults.drops_from(hello.from) {
        // As if the greeting had never arrived.
        return sleep(HANDSHAKE_TIMEOUT).await;
    }
    let is_known = shared.lanes.get().is_some() && shared.roster.find(hello.from).is_some();
    let refusal = if is_known { check(shared, &hello).err() } else { Some(Refusal::NoLane) };
    match refusal {
        Some(refusal) => refuse(stream, refusal).await,
        None => lanes::accept(shared, &hello, stream).await,
    }
}

/// Whether a node's frames are taken. A node of this cluster that is not known as a member is dialled back for as long as it is here.
fn admit(shared: &Arc<Shared>, hello: &Hello) -> Result<(), Refusal> {
    check(shared, hello)?;
    if let Some(stranger) = shared.roster.admit(hello.from, &hello.address)? {
        tracing::info!(peer = %hello.from, address = hello.address, "heard of a node that is not known here as a member");
        shared.begin(hello.from, stranger);
    }
    Ok(())
}

/// Whether two nodes mean each other.
fn check(shared: &Shared, hello: &Hello) -> Result<(), Refusal> {
    let local = &shared.local;
    if hello.cluster != local.cluster {
        return Err(Refusal::Cluster { mine: local.cluster });
    }
    if hello.to != local.node || hello.from == local.node {
        return Err(Refusal::Node { mine: local.node });
    }
    Ok(())
}

/// Begins to take a peer's frames, after those of its earlier connection, which this one replaces.
fn open_session<E: PeerEvents>(shared: &Arc<Shared>, dialer: Dialer, stream: FrameReader<PeerStream>, events: Arc<E>) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let (node, end) = (dialer.node, Arc::new(Notify::new()));
    // The lock is held until the session is entered, so that the task finds it there when it takes it out at its end.
    let mut sessions = shared.sessions.lock();
    let previous = sessions.remove(&node);
    let task = {
        let (shared, end) = (shared.clone(), end.clone());
        let mut stop = shared.stop.subscribe();
        shared.clone().spawn(async move {
            tokio::select! {
                () = session(&shared, dialer, stream, previous, &end, &*events) => {}
                () = stopped(&mut stop) => {}
            }
            close_session(&shared, node, number);
        })
    };
    sessions.insert(node, Session { number, end, task });
}

fn close_session(shared: &Shared, node: NodeId, number: u64) {
    let mut sessions = shared.sessions.lock();
    if sessions.get(&node).is_some_and(|session| session.number == number) {
        sessions.remove(&node);
        shared.roster.dismiss_stranger(node);
    }
}

/// One session from its `Connected` to its `Disconnected`.
async fn session<E: PeerEvents>(
    shared: &Shared,
    Dialer { node, incarnation, level }: Dialer,
    mut stream: FrameReader<PeerStream>,
    previous: Option<Session>,
    end: &Notify,
    events: &E,
) {
    if let Some(previous) = previous {
        previous.end();
        // An error would say that the task was cancelled: then it is over as well.
        let _ = previous.task.await;
    }
    if let Some(peer) = shared.roster.find(node) {
        peer.nudge.notify_one();
        peer.lane_nudge.notify_one();
    }
    shared.complaints.forget(node);
    shared.onlookers.notice(node, Noticed::Accepted(stream.stream().ends()));
    shared.metrics.peer_sessions.increment(1.0);
    events.deliver(PeerEvent::Connected(node, incarnation, level)).await;
    let reason = take_frames(shared, node, stream, end, events).await;
    shared.metrics.peer_sessions.decrement(1.0);
    tracing::info!(peer = %node, "the peer's connection ended: {reason}");
    events.deliver(PeerEvent::Disconnected(node)).await;
}

/// Hands on frames until the connection ends; returns why it did.
async fn take_frames<E: PeerEvents>(
    shared: &Shared,
    node: NodeId,
    mut stream: FrameReader<PeerStream>,
    end: &Notify,
    events: &E,
) -> SessionEnd {
    let mut heard = Instant::now();
    let mut told = None;
    let silence = sleep_until(heard + SILENCE);
    tokio::pin!(silence);
    loop {
        if let Err(error) = hand_on(shared, node, &mut stream, events).await {
            return error.into();
        }
        tokio::select! {
            read = stream.fill() => match read {
                Ok(bytes) => shared.metrics.peer_bytes_received.increment(bytes as u64),
                Err(error) => return error.into(),
            },
            () = end.notified() => return SessionEnd::Ended,
            // Moved on only when it is over: far cheaper than for each read.
            () = &mut silence => {
                if heard.elapsed() >= SILENCE {
                    return SessionEnd::Silent;
                }
                silence.as_mut().reset(heard + SILENCE);
                continue;
            }
        }
        if !shared.faults.drops_from(node) {
            heard = Instant::now();
            if told.is_none_or(|told| heard - told >= HEARD_AGAIN) {
                told = Some(heard);
                shared.onlookers.notice(node, Noticed::Heard);
            }
        }
    }
}

/// Hands on all frames that are wholly here, and answers signs of life.
async fn hand_on<E: PeerEvents>(shared: &Shared, node: NodeId, stream: &mut FrameReader<PeerStream>, events: &E) -> Result<(), FrameError> {
    while let Some(frame) = stream.buffered()? {
        if shared.faults.drops_from(node) {
            shared.count_dropped(1);
        } else if frame.is_empty() {
            // If the socket takes no answer now, the next will do.
            stream.stream().try_write(&[0]);
        } else {
            shared.receive(node, frame, events).await;
        }
    }
    Ok(())
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("{0}")]
    Stream(#[from] FrameError),
    #[error("nothing was heard for {SILENCE:?}")]
    Silent,
    #[error("it was replaced, or the peer is gone")]
    Ended,
}
