//! The watch hub's thread, and the streams that clients hold on to.
//!
//! The core loop hands events over without waiting. The hub's thread matches them to watchers and fills the streams' queues; a stream whose
//! client does not read has no room after [`limits::WATCH_QUEUE_BYTES`], and its watchers are caught up from history later. If the hub itself
//! falls behind by [`BACKLOG_BYTES`], the events are dropped and every watcher is caught up from history. So no queue here grows without
//! bound, whatever clients do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use steadfast_coordination::space::SPACE;
use steadfast_etcd_api::backend as api;
use steadfast_node::Input;
use steadfast_state::auth::Auth;
use steadfast_state::command::KeySpan;
use steadfast_state::watch::{CancelReason, CatchUp, CatchUpBudget, Sink, StreamId, WatchDelivery, WatchHub, WatchRequest};
use steadfast_state::{Changes, Event};
use steadfast_types::{Instant, Revision, Rng, limits};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::core_loop::Item;
use crate::inbox::{Alarm, Inbox};
use crate::published::{Published, Reader};

/// Event bytes that may wait for the hub.
const BACKLOG_BYTES: usize = 32 * 1024 * 1024;

/// One piece of catching up: small, so that synced watchers hardly wait for it.
const CATCH_UP: CatchUpBudget = CatchUpBudget { events: 1000, bytes: 1024 * 1024 };

/// Idle watchers that asked for it are told how far they are this often: etcd's interval.
const PROGRESS_EVERY: Duration = Duration::from_secs(600);

/// Makes one delivery weigh something even without events.
const DELIVERY_BYTES: usize = 128;

/// The node's watch streams; clones share them.
#[derive(Clone)]
pub(crate) struct Watches {
    inbox: Inbox<HubItem>,
    next_stream: Arc<AtomicU64>,
    backlog: Arc<AtomicUsize>,
    watchers: Arc<AtomicUsize>,
    own: Arc<AtomicUsize>,
    audience: Arc<Audience>,
}

/// A watcher of the node's own, which is not counted among those of clients while this is there.
pub(crate) struct OwnWatcher(Arc<AtomicUsize>);

impl Drop for OwnWatcher {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whose stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// A client's: any keys.
    Client,
    /// The node's own: Steadfast's records, and nothing else.
    Own,
}

/// Who watches: while nobody does whom a change may concern, the hub is not woken for it. A node always watches its own records; that must not make
/// every client's put dearer.
#[derive(Default)]
struct Audience {
    clients: AtomicUsize,
    own: AtomicUsize,
    /// What the hub was not told of, up to this revision, concerned nobody who watched then.
    skipped: AtomicI64,
}

impl Audience {
    /// Whether nobody need be told of `revision`. Whoever opens a stream meanwhile is seen here, or sees it in [`Audience::skipped`].
    fn skips(&self, revision: Revision, is_own_record: impl Fn() -> bool) -> bool {
        let concerns_nobody = || {
            let is_empty = self.clients.load(Ordering::SeqCst) == 0;
            is_empty && (self.own.load(Ordering::SeqCst) == 0 || !is_own_record())
        };
        if !concerns_nobody() {
            return false;
        }
        self.skipped.store(revision.0, Ordering::SeqCst);
        concerns_nobody()
    }

    fn count(&self, watching: Watching) -> &AtomicUsize {
        match watching {
            Watching::Client => &self.clients,
            Watching::Own => &self.own,
        }
    }

    fn enter(&self, watching: Watching) {
        self.count(watching).fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self, watching: Watching) {
        self.count(watching).fetch_sub(1, Ordering::SeqCst);
    }

    fn skipped(&self) -> Revision {
        Revision(self.skipped.load(Ordering::SeqCst))
    }
}

enum HubItem {
    Changed {
        changes: Changes,
        bytes: usize,
        /// Up to here nobody who watches was concerned.
        quiet: Revision,
    },
    /// The events up to here were dropped, or the state was replaced by a snapshot.
    Missed(Revision),
    /// Up to the revision nobody who watches was concerned.
    Open(StreamId, Arc<Queue>, mpsc::UnboundedSender<api::WatchDelivery>, Revision),
    Command(StreamId, api::WatchCommand),
    /// Somebody may watch more or less than before.
    RightsChanged,
    Close(StreamId, Watching),
    Stop,
}

/// What is known of a stream's queue on both of its ends.
#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    drained: Notify,
}

impl Queue {
    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < limits::WATCH_QUEUE_BYTES
    }
}

impl Watches {
    pub(crate) fn new() -> Self {
        Watches {
            inbox: Inbox::new(),
            next_stream: Arc::new(AtomicU64::new(1)),
            backlog: Arc::default(),
            watchers: Arc::default(),
            own: Arc::default(),
            audience: Arc::default(),
        }
    }

    /// Starts the hub's thread. Streams opened before wait for it; so it may start late, once the node has its state.
    /// Everything up to `revision` counts as published.
    pub(crate) fn start(
        &self,
        core: Inbox<Item>,
        published: Arc<Published>,
        revision: Revision,
        clock: Clock,
        seed: u64,
    ) -> std::io::Result<()> {
        let (watches, runtime) = (self.clone(), Handle::current());
        let hub = move || {
            let hub = WatchHub::new(revision, Rng::with_seed(seed));
            let thread =
                HubThread { watches, core, published, hub, streams: Streams::default(), progress_due: clock.now() + PROGRESS_EVERY, clock };
            thread.run(&runtime);
        };
        thread::Builder::new().name("watch-hub".into()).spawn(hub).map(drop)
    }

    pub(crate) fn stop(&self) {
        self.inbox.push(HubItem::Stop);
    }

    /// How many watchers of clients there are.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed).saturating_sub(self.own.load(Ordering::Relaxed))
    }

    /// The node watches for itself.
    pub(crate) fn own_watcher(&self) -> OwnWatcher {
        self.own.fetch_add(1, Ordering::Relaxed);
        OwnWatcher(self.own.clone())
    }

    /// Hands over what an entry changed. Never waits.
    pub(crate) fn publish(&self, changes: Changes) {
        let before = changes.events.first().map_or(changes.revision.0, |event| event.kv.mod_revision.0 - 1);
        let quiet = Revision(self.audience.skipped().0.min(before));
        let is_own_record = || changes.events.iter().any(|event| event.kv.key.starts_with(SPACE.as_bytes()));
        // The hub tells the node when nobody asks any more for what was before.
        if !changes.with_previous && self.audience.skips(changes.revision, is_own_record) {
            return;
        }
        let bytes = changes.events.iter().map(Event::bytes).sum();
        if self.backlog.fetch_add(bytes, Ordering::Relaxed) + bytes > BACKLOG_BYTES {
            self.backlog.fetch_sub(bytes, Ordering::Relaxed);
            return self.inbox.push(HubItem::Missed(changes.revision));
        }
        self.inbox.push(HubItem::Changed { changes, bytes, quiet });
    }

    /// The state was replaced; what happened in between is in its history.
    pub(crate) fn missed(&self, revision: Revision) {
        self.inbox.push(HubItem::Missed(revision));
    }

    /// Users or roles changed. Whatever is committed afterwards is watched by those who may.
    pub(crate) fn rights_changed(&self) {
        self.inbox.push(HubItem::RightsChanged);
    }

    /// Opens a stream. One of the node's own may watch Steadfast's records alone ([`SPACE`]).
    pub(crate) fn open(&self, watching: Watching) -> (StreamCommands, StreamDeliveries) {
        let stream = StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed));
        let queue = Arc::new(Queue::default());
        let (sender, receiver) = mpsc::unbounded_channel();
        self.audience.enter(watching);
        self.inbox.push(HubItem::Open(stream, queue.clone(), sender, self.audience.skipped()));
        let commands = StreamCommands { stream, inbox: self.inbox.clone(), queue: queue.clone() };
        (commands, StreamDeliveries { stream, watching, inbox: self.inbox.clone(), queue, receiver })
    }
}

/// The commands half of a stream.
pub(crate) struct StreamCommands {
    stream: StreamId,
    inbox: Inbox<HubItem>,
    queue: Arc<Queue>,
}

impl api::WatchCommands for StreamCommands {
    /// Waits while the client has not read the answers to earlier ones.
    async fn send(&mut self, command: api::WatchCommand) -> Result<(), api::Refusal> {
        loop {
            let drained = self.queue.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.queue.has_room() {
                break;
            }
            drained.await;
        }
        self.inbox.push(HubItem::Command(self.stream, command));
        Ok(())
    }
}

/// The deliveries half of a stream; closes it when dropped.
pub(crate) struct StreamDeliveries {
    stream: StreamId,
    watching: Watching,
    inbox: Inbox<HubItem>,
    queue: Arc<Queue>,
    receiver: mpsc::UnboundedReceiver<api::WatchDelivery>,
}

impl Drop for StreamDeliveries {
    fn drop(&mut self) {
        self.inbox.push(HubItem::Close(self.stream, self.watching));
    }
}

impl api::WatchDeliveries for StreamDeliveries {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<api::WatchDelivery>> {
        let Some(delivery) = std::task::ready!(self.receiver.poll_recv(context)) else { return Poll::Ready(None) };
        let bytes = delivery_bytes(&delivery);
        let before = self.queue.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before >= limits::WATCH_QUEUE_BYTES && before - bytes < limits::WATCH_QUEUE_BYTES {
            self.queue.drained.notify_waiters();
            self.inbox.wake();
        }
        Poll::Ready(Some(delivery))
    }
}

/// A delivery as the API wants it.
fn answer(delivery: WatchDelivery, events: Arc<api::SharedEvents>) -> api::WatchDelivery {
    // The number alone says that it came too late, as in etcd.
    let (canceled, compact_revision) = match delivery.canceled {
        Some(CancelReason::Compacted { compact_revision }) => (Some(String::new()), compact_revision),
        reason => (reason.map(|reason| reason.to_string()), Revision(0)),
    };
    api::WatchDelivery {
        watch_id: delivery.watch_id,
        revision: delivery.revision,
        created: delivery.created,
        canceled,
        compact_revision,
        events,
        fragment: delivery.fragment,
    }
}

fn delivery_bytes(delivery: &api::WatchDelivery) -> usize {
    DELIVERY_BYTES + delivery.events.bytes()
}

/// The streams as the hub sees them.
#[derive(Default)]
struct Streams {
    open: BTreeMap<StreamId, (Arc<Queue>, mpsc::UnboundedSender<api::WatchDelivery>)>,
    /// Whose they are, of those that said so.
    users: BTreeMap<StreamId, Arc<str>>,
    /// What was delivered last: mostly the next watcher gets the same.
    last: Arc<api::SharedEvents>,
}

impl Streams {
    /// The events, together with those who were given them just before.
    fn shared(&mut self, events: &Arc<[Event]>) -> Arc<api::SharedEvents> {
        if !self.last.is_of(events) {
            self.last = Arc::new(api::SharedEvents::new(events.clone()));
        }
        self.last.clone()
    }
}

/// Whether a stream's user may watch these keys.
fn may_watch(auth: &Auth, user: Option<&Arc<str>>, keys: &KeySpan) -> bool {
    let caller = user.map(|user| auth.caller(user));
    auth.permit_read(caller.as_ref(), keys).is_ok()
}

impl Sink for Streams {
    fn room(&mut self, stream: StreamId) -> bool {
        self.open.get(&stream).is_some_and(|(queue, _)| queue.has_room())
    }

    fn deliver(&mut self, stream: StreamId, delivery: WatchDelivery) {
        let events = self.shared(&delivery.events);
        if let Some((queue, sender)) = self.open.get(&stream) {
            let delivery = answer(delivery, events);
            queue.bytes.fetch_add(delivery_bytes(&delivery), Ordering::AcqRel);
            // A client that has gone closes the stream by itself.
            let _ = sender.send(delivery);
        }
    }
}

struct HubThread {
    watches: Watches,
    core: Inbox<Item>,
    published: Arc<Published>,
    hub: WatchHub,
    streams: Streams,
    clock: Clock,
    progress_due: Instant,
}

impl HubThread {
    fn run(mut self, runtime: &Handle) {
        let _inside = runtime.enter();
        let (mut alarm, mut items) = (Alarm::new(), Vec::new());
        let mut behind = false;
        loop {
            let timeout = if behind { Duration::ZERO } else { self.progress_due.since(self.clock.now()) };
            runtime.block_on(self.watches.inbox.wait(&mut alarm, timeout));
            self.watches.inbox.take_all(&mut items);
            for item in items.drain(..) {
                if matches!(item, HubItem::Stop) {
                    return;
                }
                self.take(item);
            }
            if self.clock.now() >= self.progress_due {
                self.hub.notify_progress(&mut self.streams);
                self.progress_due = self.clock.now() + PROGRESS_EVERY;
            }
            behind = self.hub.is_lagging() && self.catch_up();
            self.watches.watchers.store(self.hub.watchers(), Ordering::Relaxed);
        }
    }

    fn take(&mut self, item: HubItem) {
        match item {
            HubItem::Changed { changes, bytes, quiet } => {
                self.watches.backlog.fetch_sub(bytes, Ordering::Relaxed);
                self.hub.quiet(quiet);
                if let Some(wanted) = self.hub.wants_instead(&changes) {
                    self.core.push(Item::Input(Input::WatchersWantPrevious(wanted)));
                }
                self.hub.publish(&changes, &mut self.streams);
            }
            HubItem::Missed(revision) => self.hub.missed(revision),
            HubItem::Open(stream, queue, sender, quiet) => {
                self.hub.quiet(quiet);
                self.streams.open.insert(stream, (queue, sender));
            }
            HubItem::Close(stream, watching) => {
                self.watches.audience.leave(watching);
                self.streams.open.remove(&stream);
                self.streams.users.remove(&stream);
                self.hub.close(stream);
            }
            HubItem::Command(stream, command) if self.streams.open.contains_key(&stream) => self.command(stream, command),
            HubItem::RightsChanged => self.cancel_denied(),
            HubItem::Command(..) | HubItem::Stop => {}
        }
    }

    fn command(&mut self, stream: StreamId, command: api::WatchCommand) {
        match command {
            api::WatchCommand::Create(create) => {
                let request = WatchRequest {
                    watch_id: create.watch_id.unwrap_or(0),
                    keys: create.keys,
                    start_revision: create.start_revision,
                    prev_kv: create.prev_kv,
                    no_put: create.no_put,
                    no_delete: create.no_delete,
                    fragment: create.fragment,
                    progress_notify: create.progress_notify,
                };
                let reader = self.reader();
                let current = reader.as_ref().map_or(self.hub.revision(), |reader| reader.revision());
                if !self.admits(stream, create.asker, &request.keys, reader.as_ref()) {
                    return self.hub.refuse(stream, CancelReason::PermissionDenied, current, &mut self.streams);
                }
                self.hub.create(stream, &request, current, &mut self.streams);
            }
            api::WatchCommand::Cancel { watch_id } => self.hub.cancel(stream, watch_id, &mut self.streams),
            api::WatchCommand::Progress => self.hub.request_progress(stream, &mut self.streams),
        }
    }

    /// Whether whoever asks may watch these keys now; remembered for when rights change. While the node has no state the watcher hears nothing,
    /// and is looked at again when there is one.
    fn admits(&mut self, stream: StreamId, asker: api::Asker, keys: &KeySpan, reader: Option<&Reader>) -> bool {
        match asker {
            api::Asker::Refused => return false,
            api::Asker::User(user) => drop(self.streams.users.insert(stream, user)),
            api::Asker::Nobody => {}
        }
        let Some(reader) = reader else { return true };
        !reader.is_auth_enabled() || may_watch(&reader.auth(), self.streams.users.get(&stream), keys)
    }

    /// Ends the watchers whose users may no longer read what they watch. What was committed before may still be on its way to them.
    fn cancel_denied(&mut self) {
        let Some(reader) = self.reader().filter(Reader::is_auth_enabled) else { return };
        let auth = reader.auth();
        let users = self.streams.users.clone();
        self.hub.cancel_denied(|stream, keys| !may_watch(&auth, users.get(&stream), keys), &mut self.streams);
    }

    fn reader(&self) -> Option<Reader> {
        self.published.reader()
    }

    /// Whether to go on at once.
    fn catch_up(&mut self) -> bool {
        let Some(reader) = self.reader() else { return false };
        match self.hub.catch_up(&reader, CATCH_UP, &mut self.streams) {
            Ok(CatchUp::Again) => true,
            Ok(CatchUp::Done) => false,
            // The node has noticed the damage too. The watchers go on when it has its state again.
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stream_learns_what_nobody_was_told() {
        let audience = Audience::default();
        let (own, other) = (|| true, || false);
        assert!(audience.skips(Revision(5), own));
        audience.enter(Watching::Client);
        assert_eq!(audience.skipped(), Revision(5));
        assert!(!audience.skips(Revision(6), other), "somebody listens");
        assert_eq!(audience.skipped(), Revision(5));
        audience.leave(Watching::Client);
        assert!(audience.skips(Revision(7), own));
        assert_eq!(audience.skipped(), Revision(7));
        audience.enter(Watching::Own);
        assert!(!audience.skips(Revision(8), own));
        assert!(audience.skips(Revision(9), other), "no client listens, and the node does not care");
    }
}
