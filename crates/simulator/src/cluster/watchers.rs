//! Watchers: clients that follow keys on any node, read slowly, lose their connections, and resume elsewhere where they were.
//!
//! As in the server, the hub of a node's watches goes on at times of its own: what a node's turn changed reaches it later, sometimes only as
//! the news that it missed something, and it reads a state that may be ahead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use steadfast_node::Input;
use steadfast_proof::history::{Change, Revised, Span, Version};
use steadfast_proof::watches::{self, Delivery, Watch};
use steadfast_proof::{Violation, convergence::PROGRESS_ELECTION_TIMEOUTS};
use steadfast_state::watch::{CancelReason, CatchUp, CatchUpBudget, Sink, StreamId, WatchDelivery, WatchHub, WatchRequest};
use steadfast_state::{Changes, Event as StateEvent, EventKind};
use steadfast_types::time::Duration;
use steadfast_types::{NodeId, Revision, Rng};

use super::event::{Event, Step};
use super::{Cluster, ELECTION_TIMEOUT};
use crate::network::between;
use crate::workload::{key, keys};

/// How often a watcher looks after its connection, at most.
const ATTEND: Duration = Duration::from_millis(300);

/// All watchers, by number.
#[derive(Default)]
pub(super) struct Watchers {
    all: Vec<Watcher>,
    /// Watches that ended because their history was gone.
    ended: Vec<Watch>,
    /// Revisions up to which somebody compacted.
    pub(super) compactions: BTreeSet<Revision>,
    /// Counts connections.
    streams: u64,
}

/// One client's watch, over all its connections.
struct Watcher {
    /// What it asked and was told. `from` is 0 until it knows where it began.
    watch: Watch,
    connection: Option<(NodeId, StreamId)>,
}

impl Watchers {
    /// Watchers of a cluster whose history begins after `compact`.
    pub(super) fn after(compact: Revision) -> Self {
        Watchers { compactions: [compact].into(), ..Watchers::default() }
    }
}

impl Watcher {
    fn new(rng: &mut Rng, keys: usize) -> Self {
        let (one, other) = (rng.usize(0..keys), rng.usize(0..keys));
        let span = match rng.u8(0..3) {
            0 => Span::one(key(one)),
            1 => Span { first: key(one.min(other)), end: Some(key(one.max(other) + 1)) },
            _ => Span { first: "".into(), end: Some("z".into()) },
        };
        let from = Revision(i64::from(rng.bool()));
        Watcher { watch: Watch { span, from, previous: rng.bool(), deliveries: Vec::new() }, connection: None }
    }

    /// The first revision that it was not told of. A node that is behind may say that it is where the watcher has long been.
    fn next(&self) -> Revision {
        let told = self.watch.deliveries.iter().map(|delivery| match delivery {
            Delivery::Events(events) => events.last().map_or(Revision(0), |event| event.revision),
            Delivery::Progress(revision) | Delivery::Compacted(revision) => *revision,
        });
        told.max().map_or(self.watch.from, |told| self.watch.from.max(Revision(told.0 + 1)))
    }
}

/// The watches of one process.
pub(super) struct Hub {
    hub: WatchHub,
    streams: Queues,
    waiting: Vec<HubItem>,
    is_scheduled: bool,
    budget: CatchUpBudget,
}

enum HubItem {
    Changed(Changes),
    Missed(Revision),
    Create(StreamId, WatchRequest),
    Progress(StreamId),
    Close(StreamId),
}

/// What waits for each stream's client.
struct Queues {
    open: BTreeMap<StreamId, VecDeque<WatchDelivery>>,
    room: usize,
}

impl Sink for Queues {
    fn room(&mut self, stream: StreamId) -> bool {
        self.open.get(&stream).is_some_and(|queue| queue.len() < self.room)
    }

    fn deliver(&mut self, stream: StreamId, delivery: WatchDelivery) {
        if let Some(queue) = self.open.get_mut(&stream) {
            queue.push_back(delivery);
        }
    }
}

impl Hub {
    /// A hub for a node whose state is at `revision`.
    pub(super) fn new(revision: Revision, rng: &mut Rng) -> Self {
        Hub {
            hub: WatchHub::new(revision, rng.fork()),
            streams: Queues { open: BTreeMap::new(), room: rng.usize(1..5) },
            waiting: Vec::new(),
            is_scheduled: false,
            budget: CatchUpBudget { events: rng.usize(1..30), bytes: rng.usize(1..20_000) },
        }
    }

    /// The process begins again; its streams live on.
    pub(super) fn begin_again(&mut self) {
        self.is_scheduled = false;
    }

    fn take(&mut self, item: HubItem, current: Revision) {
        match item {
            HubItem::Changed(changes) => self.hub.publish(&changes, &mut self.streams),
            HubItem::Missed(revision) => self.hub.missed(revision),
            HubItem::Create(stream, request) => {
                self.streams.open.insert(stream, VecDeque::new());
                self.hub.create(stream, &request, current, &mut self.streams);
            }
            HubItem::Progress(stream) if self.streams.open.contains_key(&stream) => self.hub.request_progress(stream, &mut self.streams),
            HubItem::Progress(_) => {}
            HubItem::Close(stream) => {
                self.streams.open.remove(&stream);
                self.hub.close(stream);
            }
        }
    }
}

impl Cluster {
    pub(super) fn schedule_watchers(&mut self) {
        for watcher in 0..self.swarm.watchers {
            let new = Watcher::new(&mut self.clients_rng, self.swarm.keys);
            self.watchers.all.push(new);
            self.queue.after(ATTEND, Event::Attend { watcher });
        }
    }

    /// What a node's turn changed goes to its hub.
    pub(super) fn feed_hub(&mut self, node: NodeId, changed: Vec<Changes>) {
        if self.swarm.watchers == 0 {
            return;
        }
        for changes in changed {
            let overflows = self.clients_rng.u8(0..50) == 0;
            self.tell_hub(node, if overflows { HubItem::Missed(changes.revision) } else { HubItem::Changed(changes) });
        }
    }

    /// The node's state is another one: its watchers must look up what they missed. A process that has just got its state gets its hub.
    pub(super) fn hub_missed(&mut self, node: NodeId) {
        if self.swarm.watchers == 0 {
            return;
        }
        let machine = self.machine(node);
        let Some(revision) = machine.node().map(|node| node.reader().revision()) else { return };
        let rng = &mut machine.rng;
        match &mut machine.process {
            Some(process) if process.hub.is_none() => process.hub = Some(Hub::new(revision, rng)),
            _ => self.tell_hub(node, HubItem::Missed(revision)),
        }
    }

    fn hub(&mut self, node: NodeId) -> Option<&mut Hub> {
        self.machines.get_mut(&node)?.process.as_mut()?.hub.as_mut()
    }

    fn tell_hub(&mut self, node: NodeId, item: HubItem) {
        let Some(hub) = self.hub(node) else { return };
        hub.waiting.push(item);
        self.wake_hub(node);
    }

    fn wake_hub(&mut self, node: NodeId) {
        let Some(hub) = self.hub(node).filter(|hub| !hub.is_scheduled) else { return };
        hub.is_scheduled = true;
        let delay = between(Duration::ZERO, Duration::from_micros(300), &mut self.clients_rng);
        self.step_after(node, delay, Step::Hub);
    }

    /// A hub takes what waits for it, and catches up a piece.
    pub(super) fn on_hub(&mut self, node: NodeId) -> Result<(), Violation> {
        let machine = self.machine(node);
        let reader = machine.node().map(|node| node.reader());
        let Some(hub) = machine.process.as_mut().and_then(|process| process.hub.as_mut()) else { return Ok(()) };
        hub.is_scheduled = false;
        let current = reader.as_ref().map_or(hub.hub.revision(), |reader| reader.revision());
        let mut instead = None;
        for item in std::mem::take(&mut hub.waiting) {
            if let HubItem::Changed(changes) = &item {
                instead = hub.hub.wants_instead(changes).or(instead);
            }
            hub.take(item, current);
        }
        let mut caught_up = Ok(CatchUp::Done);
        if let Some(reader) = reader.filter(|_| hub.hub.is_lagging()) {
            caught_up = hub.hub.catch_up(&reader, hub.budget, &mut hub.streams);
        }
        let told: Vec<StreamId> = hub.streams.open.iter().filter(|(_, queue)| !queue.is_empty()).map(|(stream, _)| *stream).collect();
        if let Some(wanted) = instead {
            self.input(node, Input::WatchersWantPrevious(wanted));
        }
        match caught_up {
            Ok(CatchUp::Again) => self.wake_hub(node),
            Ok(CatchUp::Done) => {}
            Err(_) if self.may_have_fault(node) => {}
            Err(error) => return Err(Violation::new("watches", format!("{node} can't read its history: {error}"))),
        }
        for stream in told {
            let delay = self.reading_delay();
            self.queue.after(delay, Event::Told { node, stream });
        }
        Ok(())
    }

    /// Some clients are slow now and then.
    fn reading_delay(&mut self) -> Duration {
        let most = if !self.healed && self.clients_rng.u8(0..16) == 0 { 500_000 } else { 500 };
        Duration::from_micros(self.clients_rng.u64(20..most))
    }

    /// A watcher looks after its connection: it may have none, or close it, or ask how far it is.
    pub(super) fn on_attend(&mut self, watcher: usize) {
        let delay = between(Duration::from_millis(1), ATTEND, &mut self.clients_rng);
        self.queue.after(delay, Event::Attend { watcher });
        let connection = self.watchers.all[watcher].connection;
        // A process that is gone has taken its streams along.
        let lives = connection.filter(|(node, stream)| self.hub(*node).is_some_and(|hub| hub.has(*stream)));
        match lives {
            None => self.connect(watcher),
            Some((node, stream)) => match self.clients_rng.u8(0..10) {
                0 if !self.healed => {
                    self.tell_hub(node, HubItem::Close(stream));
                    self.watchers.all[watcher].connection = None;
                }
                0..4 => self.tell_hub(node, HubItem::Progress(stream)),
                _ => {}
            },
        }
    }

    fn connect(&mut self, watcher: usize) {
        let nodes = self.node_ids();
        let node = nodes[self.clients_rng.usize(0..nodes.len())];
        self.watchers.streams += 1;
        let stream = StreamId(self.watchers.streams);
        let state = &mut self.watchers.all[watcher];
        state.connection = Some((node, stream));
        let request = WatchRequest {
            keys: keys(&state.watch.span),
            start_revision: state.next(),
            prev_kv: state.watch.previous,
            ..WatchRequest::default()
        };
        self.trace.note(self.queue.now(), &[24, watcher as u64, node.0, request.start_revision.0 as u64], || {
            format!("watcher {watcher} watches {:?} from {} at {node}", request.keys, request.start_revision)
        });
        self.tell_hub(node, HubItem::Create(stream, request));
    }

    /// A client takes one thing from its stream.
    pub(super) fn on_told(&mut self, node: NodeId, stream: StreamId) {
        let Some(hub) = self.hub(node) else { return };
        let Some(queue) = hub.streams.open.get_mut(&stream) else { return };
        let Some(delivery) = queue.pop_front() else { return };
        let more = !queue.is_empty();
        self.wake_hub(node);
        if more {
            let delay = self.reading_delay();
            self.queue.after(delay, Event::Told { node, stream });
        }
        let Some(watcher) = self.watchers.all.iter().position(|watcher| watcher.connection == Some((node, stream))) else { return };
        self.trace.note(self.queue.now(), &[25, watcher as u64, delivery.revision.0 as u64, delivery.events.len() as u64], || {
            format!("watcher {watcher} is told {delivery:?}")
        });
        self.record(watcher, delivery);
    }

    fn record(&mut self, watcher: usize, delivery: WatchDelivery) {
        let state = &mut self.watchers.all[watcher];
        match delivery.canceled {
            Some(CancelReason::Compacted { compact_revision }) => {
                state.watch.deliveries.push(Delivery::Compacted(Revision(compact_revision.0 - 1)));
                let new = Watcher::new(&mut self.clients_rng, self.swarm.keys);
                let ended = std::mem::replace(&mut self.watchers.all[watcher], new);
                self.watchers.ended.push(ended.watch);
            }
            Some(reason) => unreachable!("nobody cancels a watch: {reason:?}"),
            None if delivery.created => {
                if state.watch.from == Revision(0) {
                    state.watch.from = Revision(delivery.revision.0 + 1);
                }
            }
            None if delivery.events.is_empty() => state.watch.deliveries.push(Delivery::Progress(delivery.revision)),
            None => state.watch.deliveries.push(Delivery::Events(delivery.events.iter().map(event).collect())),
        }
    }

    /// Each watcher must be told in time that it knows everything.
    pub(super) fn watchers_know_all(&mut self) -> Result<(), Violation> {
        let newest = self.machines.values().filter_map(|machine| Some(machine.node()?.reader().revision())).max().unwrap_or_default();
        let deadline = self.now() + ELECTION_TIMEOUT * PROGRESS_ELECTION_TIMEOUTS;
        let knows = |watcher: &Watcher| matches!(watcher.watch.deliveries.last(), Some(Delivery::Progress(told)) if *told >= newest);
        while let Some(behind) = self.watchers.all.iter().position(|watcher| !knows(watcher)) {
            if self.now() >= deadline {
                let state = &self.watchers.all[behind];
                let what = format!("watcher {behind}, at {:?}, was told all before {}, of {newest}", state.connection, state.next());
                return Err(Violation::new("progress", what));
            }
            self.run_until(self.now() + Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Everything that watchers were told must be right.
    pub(super) fn check_watches(&self, changes: &BTreeMap<Revision, Revised>) -> Result<(), Violation> {
        let all = self.watchers.all.iter().map(|watcher| &watcher.watch).filter(|watch| watch.from != Revision(0));
        all.chain(&self.watchers.ended).try_for_each(|watch| watches::check(watch, changes, &self.watchers.compactions, None))
    }
}

impl Hub {
    /// Whether the stream is open, or about to be.
    fn has(&self, stream: StreamId) -> bool {
        let opens = |item: &HubItem| matches!(item, HubItem::Create(created, _) if *created == stream);
        self.streams.open.contains_key(&stream) || self.waiting.iter().any(opens)
    }
}

fn event(event: &StateEvent) -> watches::Event {
    let StateEvent { kind, kv, prev_kv } = event;
    watches::Event {
        revision: kv.mod_revision,
        key: kv.key.clone(),
        value: (*kind == EventKind::Put).then(|| kv.value.clone()),
        previous: prev_kv.as_ref().map(|before| Version { revision: before.mod_revision, value: before.value.clone() }),
    }
}

/// What the state reports of one of its events.
pub(super) fn change(StateEvent { kind, kv, .. }: &StateEvent) -> Change {
    Change { key: kv.key.clone(), value: (*kind == EventKind::Put).then(|| kv.value.clone()), lease: kv.lease.0 }
}
