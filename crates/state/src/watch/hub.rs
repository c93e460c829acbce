//! The hub: streams, watchers, and the way of an event to those that are synced. Lagging ones: `catch_up`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::limits::WATCHERS;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Revision, Rng};

use super::groups::{Groups, Variant};
use super::slab::Slab;
use super::{CancelReason, Sink, StreamId, WHOLE_STREAM, WatchDelivery, WatchRequest};
use crate::command::KeySpan;
use crate::event::{Changes, Event};

/// Not in its group's synced list: lagging.
const LAGGING: u32 = u32::MAX;

/// The watches of one node.
#[derive(Debug)]
pub struct WatchHub {
    /// Everything up to it was published.
    pub(super) revision: Revision,
    pub(super) watchers: Slab<Watcher>,
    pub(super) groups: Groups,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    /// Streams with lagging watchers.
    pub(super) lagging_streams: BTreeSet<StreamId>,
    /// The stream whose lagging watchers were served last, and where that piece of history ended.
    pub(super) turn: (StreamId, Revision),
    /// Watchers that asked to be told of progress.
    progress_notify: BTreeSet<u32>,
    pub(super) nothing: Arc<[Event]>,
}

/// One watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) id: i64,
    pub(super) group: u32,
    /// Its place in the group's synced list, or [`LAGGING`].
    slot: u32,
    /// The first revision it may be told of; while lagging, its place in the stream's lagging set.
    pub(super) next: Revision,
    pub(super) fragment: bool,
    /// Whether it got events since the last notice of progress.
    pub(super) active: bool,
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    watchers: BTreeMap<i64, u32>,
    /// The next id to give to a watcher that wants any.
    next_id: i64,
    /// Its lagging watchers, by the revision they need next.
    pub(super) lagging: BTreeSet<(Revision, u32)>,
    /// A progress answer waits until nobody lags.
    progress_wanted: bool,
}

impl WatchHub {
    /// A hub without watchers, to which everything up to `revision` counts as published. The generator shapes an index, nothing that can be
    /// seen.
    pub fn new(revision: Revision, rng: Rng) -> Self {
        WatchHub {
            revision,
            watchers: Slab::new(),
            groups: Groups::new(rng),
            streams: BTreeMap::new(),
            lagging_streams: BTreeSet::new(),
            turn: (StreamId(0), Revision(0)),
            progress_notify: BTreeSet::new(),
            nothing: Arc::from(Vec::new()),
        }
    }

    /// Everything up to this revision was published.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many watchers there are.
    pub fn watchers(&self) -> usize {
        self.watchers.len()
    }

    /// Whether any watcher waits for [`WatchHub::catch_up`].
    pub fn is_lagging(&self) -> bool {
        !self.lagging_streams.is_empty()
    }

    /// Creates a watcher and answers it, or says why not. `current` is the state's revision now, which may be ahead of what was published:
    /// "from now on" means after it.
    pub fn create(&mut self, stream: StreamId, request: &WatchRequest, current: Revision, sink: &mut impl Sink) {
        let current = current.max(self.revision);
        match self.add(stream, request, current) {
            Ok(id) => self.answer_create(stream, id, None, current, sink),
            Err(reason) => self.refuse(stream, reason, current, sink),
        }
    }

    /// Answers that a watcher is not created, and why.
    pub fn refuse(&mut self, stream: StreamId, reason: CancelReason, current: Revision, sink: &mut impl Sink) {
        self.answer_create(stream, WHOLE_STREAM, Some(reason), current.max(self.revision), sink);
    }

    fn answer_create(&self, stream: StreamId, watch_id: i64, canceled: Option<CancelReason>, revision: Revision, sink: &mut impl Sink) {
        let events = self.nothing.clone();
        sink.deliver(stream, WatchDelivery { watch_id, revision, created: true, canceled, events, fragment: false });
    }

    /// Ends every watcher whose stream may not watch these keys any more.
    pub fn cancel_denied(&mut self, is_denied: impl Fn(StreamId, &KeySpan) -> bool, sink: &mut impl Sink) {
        let keys = |index: u32| &self.groups.get(self.watchers.get(index).group).keys;
        let denied: Vec<u32> = self.watchers.ids().filter(|index| is_denied(self.watchers.get(*index).stream, keys(*index))).collect();
        for index in denied {
            self.end(index, CancelReason::PermissionDenied, sink);
        }
    }

    fn add(&mut self, stream: StreamId, request: &WatchRequest, current: Revision) -> Result<i64, CancelReason> {
        let mut keys = request.keys.clone();
        if keys.key.is_empty() {
            keys.key = Bytes::from_static(&[0]);
        }
        if keys.is_empty() {
            return Err(CancelReason::EmptyRange);
        }
        if self.watchers.len() >= WATCHERS {
            return Err(CancelReason::TooManyWatchers);
        }
        let state = self.streams.entry(stream).or_default();
        let id = state.free_id(request.watch_id)?;
        let next = if request.start_revision.0 <= 0 { Revision(current.0 + 1) } else { request.start_revision };
        let group = self.groups.join(&keys, Variant::of(request));
        let watcher = Watcher { stream, id, group, slot: LAGGING, next, fragment: request.fragment, active: false };
        let index = self.watchers.insert(watcher);
        state.watchers.insert(id, index);
        if request.progress_notify {
            self.progress_notify.insert(index);
        }
        if next > self.revision {
            self.join_synced(index)
        } else {
            self.join_lagging(index)
        }
        Ok(id)
    }

    /// Cancels a watcher and says so; there is no answer if there is no such watcher.
    pub fn cancel(&mut self, stream: StreamId, watch_id: i64, sink: &mut impl Sink) {
        let index = self.streams.get(&stream).and_then(|state| state.watchers.get(&watch_id).copied());
        if let Some(index) = index {
            self.end(index, CancelReason::Requested, sink);
        }
    }

    /// Ends a watcher and tells its stream why.
    pub(super) fn end(&mut self, index: u32, reason: CancelReason, sink: &mut impl Sink) {
        let Watcher { stream, id, .. } = self.remove(index);
        let (revision, events) = (self.revision, self.nothing.clone());
        sink.deliver(stream, WatchDelivery { watch_id: id, revision, created: false, canceled: Some(reason), events, fragment: false });
        self.answer_progress(stream, sink);
    }

    /// Forgets a stream and its watchers.
    pub fn close(&mut self, stream: StreamId) {
        let watchers: Vec<u32> = self.streams.get(&stream).map_or(Vec::new(), |state| state.watchers.values().copied().collect());
        for index in watchers {
            self.remove(index);
        }
        self.streams.remove(&stream);
    }

    fn remove(&mut self, index: u32) -> Watcher {
        self.leave_synced(index);
        self.leave_lagging(index);
        self.progress_notify.remove(&index);
        let watcher = self.watchers.remove(index);
        self.groups.leave(watcher.group);
        self.stream(watcher.stream).watchers.remove(&watcher.id);
        watcher
    }

    /// What to tell the node, if it does not gather the events that are wanted: whether they are to say what was before.
    pub fn wants_instead(&self, changes: &Changes) -> Option<bool> {
        let wanted = self.groups.wants_previous();
        (changes.with_previous != wanted).then_some(wanted)
    }

    /// Publishes the events of the revisions after the last published one. What was published before is passed over; a gap, and what does not say
    /// all that is wanted, is treated as [`WatchHub::missed`].
    pub fn publish(&mut self, changes: &Changes, sink: &mut impl Sink) {
        let revision = changes.revision;
        if self.groups.wants_previous() && !changes.with_previous {
            return self.missed(revision);
        }
        let old = changes.events.partition_point(|event| event.kv.mod_revision <= self.revision);
        let events = &changes.events[old..];
        if let Some(first) = events.first() {
            self.missed(Revision(first.kv.mod_revision.0 - 1));
        }
        if !self.groups.is_empty() {
            for (group, heard) in self.heard(events) {
                self.publish_to(group, &heard, revision, sink);
            }
        }
        self.revision = self.revision.max(events.last().map_or(self.revision, |last| last.kv.mod_revision));
        self.missed(revision);
    }

    /// Which of the events each group with synced watchers hears, as places in `events`.
    fn heard<'e>(&self, events: &'e [Event]) -> BTreeMap<u32, Vec<&'e Event>> {
        let mut heard: BTreeMap<u32, Vec<&Event>> = BTreeMap::new();
        for event in events {
            self.groups.containing(&event.kv.key, &mut |id| {
                let group = self.groups.get(id);
                if !group.synced.is_empty() && group.variant.hears(event.kind) {
                    heard.entry(id).or_default().push(event);
                }
            });
        }
        heard
    }

    fn publish_to(&mut self, group: u32, heard: &[&Event], revision: Revision, sink: &mut impl Sink) {
        let variant = self.groups.get(group).variant;
        let events: Arc<[Event]> = heard.iter().map(|event| variant.tells(event)).collect();
        let first = heard[0].kv.mod_revision;
        // From the end, because a watcher that starts to lag is replaced by the last one.
        for slot in (0..self.groups.get(group).synced.len()).rev() {
            let index = self.groups.get(group).synced[slot];
            let (stream, next) = (self.watchers.get(index).stream, self.watchers.get(index).next);
            let events = if next > first { self.from(&events, next) } else { events.clone() };
            if events.is_empty() {
                continue;
            }
            if sink.room(stream) {
                self.deliver_events(index, events, revision, sink);
            } else {
                self.lag(index, events[0].kv.mod_revision);
            }
        }
    }

    /// The events from a revision on.
    pub(super) fn from(&self, events: &Arc<[Event]>, next: Revision) -> Arc<[Event]> {
        match events.partition_point(|event| event.kv.mod_revision < next) {
            0 => events.clone(),
            all if all == events.len() => self.nothing.clone(),
            before => Arc::from(&events[before..]),
        }
    }

    pub(super) fn deliver_events(&mut self, index: u32, events: Arc<[Event]>, revision: Revision, sink: &mut impl Sink) {
        let watcher = self.watchers.get_mut(index);
        watcher.active = true;
        let (stream, watch_id, fragment) = (watcher.stream, watcher.id, watcher.fragment);
        sink.deliver(stream, WatchDelivery { watch_id, revision, created: false, canceled: None, events, fragment });
    }

    /// What happened up to `revision` concerns none of the watchers that are there, as whoever did not tell it knows.
    pub fn quiet(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Everything up to `revision` happened, and the hub was not told all of it: its watchers must look it up.
    pub fn missed(&mut self, revision: Revision) {
        if revision <= self.revision {
            return;
        }
        let first = Revision(self.revision.0 + 1);
        self.revision = revision;
        if is_planted(Bug::MissedNotLookedUp) {
            return;
        }
        let behind: Vec<u32> = self.watchers.ids().filter(|index| self.watchers.get(*index).next <= revision).collect();
        for index in behind {
            self.lag(index, first);
        }
    }

    /// Answers how far the stream is: at once if none of its watchers lags, else when none does any more. Requests that wait together are
    /// answered together.
    pub fn request_progress(&mut self, stream: StreamId, sink: &mut impl Sink) {
        self.streams.entry(stream).or_default().progress_wanted = true;
        self.answer_progress(stream, sink);
    }

    pub(super) fn answer_progress(&mut self, stream: StreamId, sink: &mut impl Sink) {
        let state = self.stream(stream);
        if state.progress_wanted && (state.lagging.is_empty() || is_planted(Bug::ProgressOvertakes)) {
            state.progress_wanted = false;
            self.deliver_progress(stream, WHOLE_STREAM, sink);
        }
    }

    /// Tells each watcher that asked for it, and got nothing since the last call, how far it is. To be called every ten minutes or so.
    pub fn notify_progress(&mut self, sink: &mut impl Sink) {
        let all: Vec<u32> = self.progress_notify.iter().copied().collect();
        for index in all {
            let watcher = self.watchers.get_mut(index);
            let idle = !core::mem::take(&mut watcher.active) && watcher.slot != LAGGING;
            let (stream, id) = (watcher.stream, watcher.id);
            if idle && sink.room(stream) {
                self.deliver_progress(stream, id, sink);
            }
        }
    }

    fn deliver_progress(&mut self, stream: StreamId, watch_id: i64, sink: &mut impl Sink) {
        let (revision, events) = (self.revision, self.nothing.clone());
        sink.deliver(stream, WatchDelivery { watch_id, revision, created: false, canceled: None, events, fragment: false });
    }

    pub(super) fn stream(&mut self, stream: StreamId) -> &mut Stream {
        self.streams.get_mut(&stream).expect("a stream with watchers or requests is known")
    }

    /// A synced watcher was not told of `revision`; one that lags already needs it no earlier.
    fn lag(&mut self, index: u32, revision: Revision) {
        if self.watchers.get(index).slot != LAGGING {
            self.leave_synced(index);
            let watcher = self.watchers.get_mut(index);
            watcher.next = watcher.next.max(revision);
            self.join_lagging(index);
        }
    }

    pub(super) fn join_synced(&mut self, index: u32) {
        let watcher = self.watchers.get_mut(index);
        let synced = &mut self.groups.get_mut(watcher.group).synced;
        watcher.slot = u32::try_from(synced.len()).expect("the limit on watchers is far below");
        synced.push(index);
    }

    fn leave_synced(&mut self, index: u32) {
        let watcher = self.watchers.get_mut(index);
        let slot = core::mem::replace(&mut watcher.slot, LAGGING);
        if slot == LAGGING {
            return;
        }
        let synced = &mut self.groups.get_mut(watcher.group).synced;
        let removed = synced.swap_remove(slot as usize);
        assert_eq!(removed, index, "a watcher knows its place");
        if let Some(&moved) = synced.get(slot as usize) {
            self.watchers.get_mut(moved).slot = slot;
        }
    }

    pub(super) fn join_lagging(&mut self, index: u32) {
        let (stream, next) = (self.watchers.get(index).stream, self.watchers.get(index).next);
        self.stream(stream).lagging.insert((next, index));
        self.lagging_streams.insert(stream);
    }

    pub(super) fn leave_lagging(&mut self, index: u32) {
        let (stream, next) = (self.watchers.get(index).stream, self.watchers.get(index).next);
        let lagging = &mut self.stream(stream).lagging;
        lagging.remove(&(next, index));
        if lagging.is_empty() {
            self.lagging_streams.remove(&stream);
        }
    }
}

impl Stream {
    /// The id a new watcher gets: the one it wants, or the next that is free.
    fn free_id(&mut self, wanted: i64) -> Result<i64, CancelReason> {
        if wanted != 0 {
            return if self.watchers.contains_key(&wanted) { Err(CancelReason::DuplicateWatchId) } else { Ok(wanted) };
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }
}
