//! The hub against a real state, and against what each watcher should see.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;
use steadfast_types::tables::memory::{MemoryReader, MemoryTables};
use steadfast_types::{Revision, Rng};

use super::*;
use crate::command::{Command, DeleteRange, Operation, Put, Txn};
use crate::event::{Changes, EventKind, Gather};
use crate::reader::StateReader;
use crate::state::tests::{ANSWER, apply_all};
use crate::state::{Answer, State};

/// Streams with room for so many deliveries; what was delivered.
#[derive(Default)]
struct Streams {
    room: BTreeMap<StreamId, usize>,
    got: BTreeMap<StreamId, Vec<WatchDelivery>>,
}

impl Sink for Streams {
    fn room(&mut self, stream: StreamId) -> bool {
        self.room.get(&stream).is_none_or(|left| *left > 0)
    }
    fn deliver(&mut self, stream: StreamId, delivery: WatchDelivery) {
        if let Some(left) = self.room.get_mut(&stream) {
            *left = left.saturating_sub(1);
        }
        self.got.entry(stream).or_default().push(delivery);
    }
}

impl Streams {
    fn take(&mut self, stream: StreamId) -> Vec<WatchDelivery> {
        self.got.remove(&stream).unwrap_or_default()
    }

    /// What was delivered, a line each.
    fn lines(&mut self, stream: StreamId) -> Vec<String> {
        self.take(stream).iter().map(line).collect()
    }
}

fn line(delivery: &WatchDelivery) -> String {
    let created = if delivery.created { " created" } else { "" };
    let canceled = delivery.canceled.map_or(String::new(), |reason| format!(" canceled: {reason:?}"));
    let events: Vec<String> = delivery.events.iter().map(event_line).collect();
    format!("{}@{}{created}{canceled} {}", delivery.watch_id, delivery.revision, events.join(" ")).trim_end().into()
}

fn event_line(event: &Event) -> String {
    let kind = match event.kind {
        EventKind::Put => "+",
        EventKind::Delete => "-",
    };
    let before = event.prev_kv.as_ref().map_or(String::new(), |kv| format!("(was {})", kv.mod_revision));
    format!("{kind}{}@{}{before}", String::from_utf8_lossy(&event.kv.key), event.kv.mod_revision)
}

struct World {
    state: State<MemoryTables>,
    hub: WatchHub,
    streams: Streams,
    /// Applied and not yet published.
    unpublished: Vec<Event>,
    published: Vec<Event>,
    /// Whether events say what was before.
    with_previous: bool,
}

const S: StreamId = StreamId(1);
const SMALL: CatchUpBudget = CatchUpBudget { events: 2, bytes: 1 << 20 };

impl World {
    fn new() -> Self {
        let state = State::open(MemoryTables::default()).unwrap();
        let hub = WatchHub::new(state.revision(), Rng::with_seed(3));
        World { state, hub, streams: Streams::default(), unpublished: vec![], published: vec![], with_previous: true }
    }

    fn reader(&self) -> StateReader<MemoryReader> {
        self.state.reader()
    }

    fn run(&mut self, commands: Vec<Command>) {
        let events = if self.with_previous { Gather::EventsWithPrevious } else { Gather::Events };
        let applied = apply_all(&mut self.state, commands, Answer { events, ..ANSWER });
        self.unpublished.extend(applied.events);
    }

    fn put(&mut self, key: &str) {
        self.run(vec![put(key)]);
        self.publish();
    }

    fn publish(&mut self) {
        let events = core::mem::take(&mut self.unpublished);
        let changes = Changes { revision: self.state.revision(), events, with_previous: self.with_previous };
        self.hub.publish(&changes, &mut self.streams);
        self.published.extend(changes.events);
    }

    fn watch(&mut self, request: WatchRequest) {
        let current = self.state.revision();
        self.hub.create(S, &request, current, &mut self.streams);
    }

    fn catch_up(&mut self) {
        let reader = self.reader();
        while self.hub.catch_up(&reader, SMALL, &mut self.streams).unwrap() == CatchUp::Again {}
    }

    fn lines(&mut self) -> Vec<String> {
        self.streams.lines(S)
    }
}

fn put(key: &str) -> Command {
    Command::Put(Put { key: Bytes::copy_from_slice(key.as_bytes()), ..Put::default() })
}

fn delete(key: &'static str, end: &'static str) -> Command {
    Command::DeleteRange(DeleteRange { keys: span(key, end), prev_kv: false })
}

fn span(key: &'static str, end: &'static str) -> KeySpan {
    KeySpan { key: key.into(), range_end: end.into() }
}

fn on(key: &'static str, end: &'static str) -> WatchRequest {
    WatchRequest { keys: span(key, end), ..WatchRequest::default() }
}

fn from(revision: i64, request: WatchRequest) -> WatchRequest {
    WatchRequest { start_revision: Revision(revision), ..request }
}

#[test]
fn a_watcher_hears_of_its_keys_from_now_on() {
    let mut world = World::new();
    world.put("a");
    world.watch(on("a", ""));
    world.watch(WatchRequest { watch_id: 7, prev_kv: true, ..on("a", "c") });
    world.put("b");
    world.put("a");
    world.run(vec![delete("a", "\0")]);
    world.publish();
    let expected = ["0@2 created", "7@2 created", "7@3 +b@3", "0@4 +a@4", "7@4 +a@4(was 2)", "0@5 -a@5", "7@5 -a@5(was 4) -b@5(was 3)"];
    assert_eq!(world.lines(), expected);
}

#[test]
fn ids_are_of_the_stream_and_wrong_requests_are_answered() {
    let mut world = World::new();
    world.watch(WatchRequest { watch_id: 1, ..on("a", "") });
    world.watch(on("a", ""));
    world.watch(on("a", ""));
    world.watch(WatchRequest { watch_id: 2, ..on("a", "") });
    world.watch(on("c", "a"));
    world.hub.cancel(S, 1, &mut world.streams);
    world.hub.cancel(S, 99, &mut world.streams);
    let expected = [
        "1@1 created",
        "0@1 created",
        "2@1 created",
        "-1@1 created canceled: DuplicateWatchId",
        "-1@1 created canceled: EmptyRange",
        "1@1 canceled: Requested",
    ];
    assert_eq!(world.lines(), expected);
    world.hub.close(S);
    assert_eq!((world.hub.watchers(), world.hub.is_lagging()), (0, false));
    world.put("a");
    assert_eq!(world.lines(), Vec::<String>::new());
}

#[test]
fn a_start_in_the_past_is_read_from_history_and_one_in_the_future_waits() {
    let mut world = World::new();
    ["a", "b", "a", "c"].into_iter().for_each(|key| world.put(key));
    world.watch(from(3, WatchRequest { prev_kv: true, ..on("a", "\0") }));
    world.watch(from(7, on("", "\0")));
    world.catch_up();
    world.put("a");
    world.put("a");
    let expected = ["0@5 created", "1@5 created", "0@4 +b@3 +a@4(was 2)", "0@5 +c@5", "0@6 +a@6(was 4)", "0@7 +a@7(was 6)", "1@7 +a@7"];
    assert_eq!(world.lines(), expected);
}

#[test]
fn a_start_below_the_compact_revision_is_created_and_canceled() {
    let mut world = World::new();
    ["a", "b", "a", "c"].into_iter().for_each(|key| world.put(key));
    world.run(vec![delete("c", ""), Command::Compact { revision: Revision(6) }]);
    world.publish();
    world.watch(from(5, on("c", "")));
    world.watch(from(6, WatchRequest { prev_kv: true, ..on("c", "") }));
    world.catch_up();
    let expected = [
        "0@6 created",
        "1@6 created",
        "0@6 canceled: Compacted { compact_revision: Revision(6) }",
        // At the compact revision all events are there; what was before is not.
        "1@6 -c@6",
    ];
    assert_eq!(world.lines(), expected);
}

#[test]
fn filters_leave_out_puts_or_deletes() {
    let mut world = World::new();
    world.watch(WatchRequest { no_put: true, ..on("a", "") });
    world.watch(WatchRequest { no_delete: true, ..on("a", "") });
    world.watch(WatchRequest { no_delete: true, no_put: true, ..on("a", "") });
    world.lines();
    world.put("a");
    world.run(vec![delete("a", "")]);
    world.publish();
    assert_eq!(world.lines(), ["1@2 +a@2", "0@3 -a@3"]);
    world.watch(from(2, WatchRequest { no_put: true, ..on("a", "") }));
    world.catch_up();
    assert_eq!(world.lines(), ["3@3 created", "3@3 -a@3"]);
}

#[test]
fn a_stream_without_room_is_caught_up_later_and_progress_waits_for_it() {
    let mut world = World::new();
    world.watch(on("a", ""));
    world.watch(on("b", ""));
    world.lines();
    world.streams.room.insert(S, 1);
    ["a", "b", "a", "b", "x"].into_iter().for_each(|key| world.put(key));
    world.hub.request_progress(S, &mut world.streams);
    world.catch_up();
    assert_eq!(world.lines(), ["0@2 +a@2"]);
    world.streams.room.insert(S, 2);
    world.catch_up();
    assert_eq!(world.lines(), ["0@4 +a@4", "1@4 +b@3"]);
    world.streams.room.clear();
    world.catch_up();
    assert_eq!(world.lines(), ["1@6 +b@5", "-1@6"]);
    world.hub.request_progress(S, &mut world.streams);
    assert_eq!(world.lines(), ["-1@6"]);
}

#[test]
fn what_was_missed_is_looked_up_and_what_was_published_before_is_not_repeated() {
    let mut world = World::new();
    world.watch(on("a", "\0"));
    world.put("a");
    world.run(vec![put("b"), put("c")]);
    let lost = core::mem::take(&mut world.unpublished);
    world.hub.missed(Revision(4));
    world.hub.publish(&Changes { revision: Revision(4), events: lost, with_previous: true }, &mut world.streams);
    world.put("d");
    world.catch_up();
    world.run(vec![put("e")]);
    world.unpublished.clear();
    world.put("f");
    assert_eq!(world.hub.revision(), Revision(7));
    world.catch_up();
    let expected = ["0@1 created", "0@2 +a@2", "0@4 +b@3 +c@4", "0@5 +d@5", "0@7 +e@6 +f@7"];
    assert_eq!(world.lines(), expected);
}

#[test]
fn idle_watchers_are_told_of_progress_if_they_asked() {
    let mut world = World::new();
    world.watch(WatchRequest { progress_notify: true, ..on("a", "") });
    world.watch(on("a", ""));
    world.put("a");
    world.lines();
    world.hub.notify_progress(&mut world.streams);
    assert_eq!(world.lines(), Vec::<String>::new());
    world.put("b");
    world.hub.notify_progress(&mut world.streams);
    assert_eq!(world.lines(), ["0@3"]);
}

#[test]
fn a_key_written_twice_in_one_transaction_gives_two_events_live_and_from_history() {
    let mut world = World::new();
    world.put("a");
    world.watch(WatchRequest { prev_kv: true, ..on("a", "") });
    let inner = |operation| Operation::Txn(Txn { success: vec![operation], ..Txn::default() });
    let puts = Operation::Put(Put { key: "a".into(), value: "new".into(), ..Put::default() });
    let deletes = Operation::DeleteRange(DeleteRange { keys: span("a", ""), prev_kv: false });
    let success = vec![inner(puts.clone()), inner(deletes), inner(puts)];
    world.run(vec![Command::Txn(Txn { success, ..Txn::default() })]);
    world.publish();
    let live = world.streams.take(S).pop().unwrap().events;
    world.watch(from(3, WatchRequest { prev_kv: true, ..on("a", "") }));
    world.catch_up();
    let read = world.streams.take(S).pop().unwrap().events;
    assert_eq!(live.iter().map(event_line).collect::<Vec<_>>(), ["+a@3(was 2)", "-a@3(was 2)", "+a@3"]);
    assert_eq!((live[0].kv.version, live[2].kv.version, live[2].kv.create_revision), (2, 1, Revision(3)));
    assert_eq!(live, read);
}

#[test]
fn ten_thousand_watchers_of_one_prefix_share_one_list() {
    let mut world = World::new();
    for stream in 0..10_000 {
        world.hub.create(StreamId(stream), &on("a", "b"), Revision(1), &mut world.streams);
    }
    world.streams.got.clear();
    world.put("abc");
    let lists: BTreeSet<*const Event> = world.streams.got.values().map(|got| got[0].events.as_ptr()).collect();
    assert_eq!((world.streams.got.len(), lists.len()), (10_000, 1));
}

/// What a watcher of the property test should see.
#[derive(Debug)]
struct Expected {
    stream: StreamId,
    id: i64,
    request: WatchRequest,
    /// The first revision that it did not get.
    next: Revision,
    done: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Write { commands: Vec<(bool, u8, u8)>, publish: bool, lose: bool },
    Publish,
    Watch { stream: u64, key: u8, end: u8, start: i64, variant: u8 },
    Cancel { which: usize },
    Room { stream: u64, deliveries: usize },
    CatchUp,
    Compact { behind: i64 },
    Progress { stream: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let writes = prop::collection::vec((any::<bool>(), 0u8..6, 0u8..6), 1..4);
    prop_oneof![
        6 => (writes, prop::bool::weighted(0.8), prop::bool::weighted(0.1)).prop_map(|(commands, publish, lose)| Step::Write { commands, publish, lose }),
        2 => Just(Step::Publish),
        3 => (0u64..3, 0u8..6, 0u8..8, -1i64..30, 0u8..8).prop_map(|(stream, key, end, start, variant)| Step::Watch { stream, key, end, start, variant }),
        1 => (0usize..20).prop_map(|which| Step::Cancel { which }),
        4 => (0u64..3, 0usize..6).prop_map(|(stream, deliveries)| Step::Room { stream, deliveries }),
        3 => Just(Step::CatchUp),
        1 => (0i64..15).prop_map(|behind| Step::Compact { behind }),
        2 => (0u64..3).prop_map(|stream| Step::Progress { stream }),
    ]
}

fn letter(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[b'a' + n])
}

/// Everything that ever happened, by revision.
type All = Vec<Event>;

/// Checks deliveries one by one against all that happened.
fn check(streams: &mut Streams, watchers: &mut [Expected], all: &All, compact: Revision) -> Result<(), TestCaseError> {
    for (stream, got) in core::mem::take(&mut streams.got) {
        for delivery in got.iter().filter(|delivery| !delivery.created) {
            if delivery.watch_id == WHOLE_STREAM {
                for watcher in watchers.iter().filter(|watcher| watcher.stream == stream && !watcher.done) {
                    prop_assert!(unseen(watcher, all, delivery.revision).is_empty(), "progress overtook events of {:?}", watcher);
                }
                continue;
            }
            let watcher = watchers.iter_mut().find(|watcher| (watcher.stream, watcher.id) == (stream, delivery.watch_id) && !watcher.done);
            let watcher = watcher.expect("deliveries go to watchers that are there");
            if let Some(reason) = delivery.canceled {
                if let CancelReason::Compacted { compact_revision } = reason {
                    prop_assert!(watcher.next < compact_revision);
                }
                watcher.done = true;
                continue;
            }
            let last = delivery.events.last().expect("nothing else has no events").kv.mod_revision;
            let expected = unseen(watcher, all, last);
            for event in delivery.events.iter() {
                let previous = event.prev_kv.as_ref().map(|kv| kv.mod_revision);
                // A compaction at the event's revision took what was before.
                let is_gone = previous.is_none() && event.kv.mod_revision <= compact;
                prop_assert!(is_gone || previous == before(watcher, all, event), "{:?} {:?}", watcher, event);
            }
            let got: Vec<(EventKind, &Bytes, Revision)> = shape(delivery.events.iter());
            prop_assert_eq!(got, shape(expected.iter().copied()), "{:?}", watcher);
            prop_assert!(last <= delivery.revision);
            watcher.next = Revision(last.0 + 1);
        }
    }
    Ok(())
}

/// When what an event did away with was written, if the watcher asked for it and there was something.
fn before(watcher: &Expected, all: &All, event: &Event) -> Option<Revision> {
    let last = all.iter().rfind(|other| other.kv.key == event.kv.key && other.kv.mod_revision < event.kv.mod_revision);
    last.filter(|last| watcher.request.prev_kv && last.kind == EventKind::Put).map(|last| last.kv.mod_revision)
}

fn shape<'e>(events: impl Iterator<Item = &'e Event>) -> Vec<(EventKind, &'e Bytes, Revision)> {
    events.map(|event| (event.kind, &event.kv.key, event.kv.mod_revision)).collect()
}

/// The events up to `last` that a watcher has not got yet.
fn unseen<'e>(watcher: &Expected, all: &'e All, last: Revision) -> Vec<&'e Event> {
    let request = &watcher.request;
    let mine = all.iter().filter(|event| event.kv.mod_revision >= watcher.next && event.kv.mod_revision <= last);
    mine.filter(|event| request.keys.contains(&event.kv.key))
        .filter(|event| match event.kind {
            EventKind::Put => !request.no_put,
            EventKind::Delete => !request.no_delete,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_watcher_sees_all_of_its_keys_in_order(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut all: All = Vec::new();
        let mut watchers: Vec<Expected> = Vec::new();
        for step in steps {
            match step {
                Step::Write { commands, publish, lose } => {
                    let one = |(is_put, a, b): (bool, u8, u8)| if is_put {
                        Command::Put(Put { key: letter(a), ..Put::default() })
                    } else {
                        Command::DeleteRange(DeleteRange { keys: KeySpan { key: letter(a), range_end: letter(b) }, prev_kv: false })
                    };
                    let before = world.unpublished.len();
                    if before == 0 {
                        world.with_previous = commands.len() % 2 == 0;
                    }
                    world.run(commands.into_iter().map(one).collect());
                    all.extend(world.unpublished[before..].iter().cloned());
                    if lose {
                        world.unpublished.clear();
                    }
                    if publish {
                        world.publish();
                    }
                }
                Step::Publish => world.publish(),
                Step::Watch { stream, key, end, start, variant } => {
                    let range_end = match end {
                        0..4 => Bytes::new(),
                        4 => Bytes::from_static(&[0]),
                        _ => letter(key + end - 4),
                    };
                    let request = WatchRequest {
                        watch_id: 100 + watchers.len() as i64,
                        keys: KeySpan { key: letter(key), range_end },
                        start_revision: Revision(start),
                        no_put: variant == 0,
                        no_delete: variant == 1,
                        prev_kv: variant % 2 == 0,
                        ..WatchRequest::default()
                    };
                    let current = world.state.revision();
                    world.hub.create(StreamId(stream), &request, current, &mut world.streams);
                    let next = if start <= 0 { Revision(current.0 + 1) } else { request.start_revision };
                    watchers.push(Expected { stream: StreamId(stream), id: request.watch_id, request, next, done: false });
                }
                Step::Cancel { which } => if let Some(watcher) = watchers.get(which) {
                    world.hub.cancel(watcher.stream, watcher.id, &mut world.streams);
                },
                Step::Room { stream, deliveries } => {
                    world.streams.room.insert(StreamId(stream), deliveries);
                }
                Step::CatchUp => {
                    let reader = world.reader();
                    world.hub.catch_up(&reader, SMALL, &mut world.streams).unwrap();
                }
                Step::Compact { behind } => {
                    let revision = Revision(world.state.revision().0 - behind);
                    world.run(vec![Command::Compact { revision }]);
                }
                Step::Progress { stream } => world.hub.request_progress(StreamId(stream), &mut world.streams),
            }
            check(&mut world.streams, &mut watchers, &all, world.state.compact_revision())?;
        }
        // Once there is room for all, everybody has everything or was canceled.
        world.streams.room.clear();
        world.publish();
        world.catch_up();
        check(&mut world.streams, &mut watchers, &all, world.state.compact_revision())?;
        prop_assert!(!world.hub.is_lagging());
        for watcher in watchers.iter().filter(|watcher| !watcher.done) {
            prop_assert!(unseen(watcher, &all, world.state.revision()).is_empty(), "{:?} missed events", watcher);
        }
    }
}
