//! Lagging watchers get what they missed from history, in bounded pieces, and are synced again.
//!
//! 1. One call reads one piece: from a revision that some watcher with room needs, for all watchers that need one near it. They take turns.
//! 2. A piece never goes beyond the hub's revision, so what is read here and what is published do not overlap.
//! 3. A watcher moves on to the end of the piece if it was delivered what it has in it, else it stays where it is.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::Revision;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::{TablesError, TablesReader};

use super::hub::WatchHub;
use super::{CancelReason, Sink, StreamId};
use crate::event::Event;
use crate::reader::{HistoryError, HistoryRequest, StateReader};

/// How much of history one call reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUpBudget {
    /// Events looked at.
    pub events: usize,
    /// Bytes of keys and values delivered to one watcher.
    pub bytes: usize,
}

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Some watcher moved on: call again, in turn with other work.
    Again,
    /// Nobody lags whose stream has room: call again after something was published or created, or a stream has room again.
    Done,
}

/// How many watchers take part in one piece.
const PARTICIPANTS: usize = 4096;

/// Up to so many groups are compared with each key one by one; more go through the index.
const FEW_GROUPS: usize = 8;

/// The watchers that take part in a piece, by group.
type Participants = BTreeMap<u32, Vec<u32>>;

impl WatchHub {
    /// Brings lagging watchers nearer to the present by one piece of history.
    ///
    /// # Errors
    /// The tables are damaged: the node must stop serving. No watcher has missed anything.
    pub fn catch_up<R: TablesReader>(
        &mut self,
        reader: &StateReader<R>,
        budget: CatchUpBudget,
        sink: &mut impl Sink,
    ) -> Result<CatchUp, TablesError> {
        let streams: Vec<StreamId> = self.lagging_streams.iter().copied().filter(|stream| sink.room(*stream)).collect();
        if self.cancel_compacted(&streams, reader.compact_revision(), sink) {
            return Ok(CatchUp::Again);
        }
        let Some((turn, from)) = self.whose_turn(&streams) else {
            return Ok(CatchUp::Done);
        };
        let window = i64::try_from(budget.events).unwrap_or(i64::MAX);
        let participants = self.participants(&streams, turn, from, Revision(from.0.saturating_add(window)));
        let request = HistoryRequest {
            from,
            to: self.revision,
            max_events: budget.events,
            max_bytes: budget.bytes,
            prev_kv: participants.keys().any(|id| self.groups.get(*id).variant.prev_kv),
        };
        let wanted = &mut |key: &Bytes| {
            let mut any = false;
            self.groups_with(&participants, key, &mut |_| any = true);
            any
        };
        let history = match reader.history(&request, wanted) {
            Ok(history) => history,
            Err(HistoryError::Compacted) => return Ok(CatchUp::Again),
            Err(HistoryError::Tables(damage)) => return Err(damage),
        };
        self.turn = (turn, history.next);
        let heard = self.heard_by(&participants, &history.events);
        let mut moved = false;
        for (group, watchers) in &participants {
            let heard = heard.get(group).cloned().unwrap_or_else(|| self.nothing.clone());
            moved |= self.deliver_piece(watchers, &heard, history.next, sink);
        }
        Ok(if moved { CatchUp::Again } else { CatchUp::Done })
    }

    /// Cancels the watchers that need what is compacted. Says whether there were any.
    fn cancel_compacted(&mut self, streams: &[StreamId], compact_revision: Revision, sink: &mut impl Sink) -> bool {
        let mut any = false;
        for stream in streams {
            while let Some(&(_, index)) = self.stream(*stream).lagging.first().filter(|(next, _)| *next < compact_revision) {
                if is_planted(Bug::CompactedPassedOver) {
                    self.move_on(index, compact_revision, sink);
                    continue;
                }
                self.end(index, CancelReason::Compacted { compact_revision }, sink);
                any = true;
            }
        }
        any
    }

    /// The stream to serve and the revision to read from: the first that a watcher needs beyond the piece served last, stream by stream, all
    /// around. So one that comes from long ago does not hold up the others.
    fn whose_turn(&self, streams: &[StreamId]) -> Option<(StreamId, Revision)> {
        let (stream, revision) = self.turn;
        let first = |stream: &StreamId, from: Revision| {
            let (next, _) = self.streams.get(stream)?.lagging.range((from, 0)..).next()?;
            Some((*stream, *next))
        };
        let earliest = |stream: &StreamId| first(stream, Revision(i64::MIN));
        let rest_of_this = streams.iter().filter(|other| **other == stream).find_map(|this| first(this, Revision(revision.0 + 1)));
        let of_later = || streams.iter().filter(|other| **other > stream).find_map(earliest);
        rest_of_this.or_else(of_later).or_else(|| streams.iter().find_map(earliest))
    }

    /// The watchers that may need something of a piece of these revisions.
    fn participants(&self, streams: &[StreamId], turn: StreamId, from: Revision, last: Revision) -> Participants {
        let (before, after): (Vec<StreamId>, Vec<StreamId>) = streams.iter().partition(|stream| **stream < turn);
        let in_turn = after.iter().chain(&before).filter_map(|stream| self.streams.get(stream));
        let mut participants = Participants::new();
        for (_, index) in in_turn.flat_map(|state| state.lagging.range((from, 0)..=(last, u32::MAX))).take(PARTICIPANTS) {
            participants.entry(self.watchers.get(*index).group).or_default().push(*index);
        }
        participants
    }

    fn groups_with(&self, participants: &Participants, key: &Bytes, on: &mut dyn FnMut(u32)) {
        if participants.len() <= FEW_GROUPS {
            participants.keys().filter(|id| self.groups.get(**id).keys.contains(key)).for_each(|id| on(*id));
        } else {
            self.groups.containing(key, &mut |id| {
                if participants.contains_key(&id) {
                    on(id);
                }
            });
        }
    }

    fn heard_by(&self, participants: &Participants, events: &[Event]) -> BTreeMap<u32, Arc<[Event]>> {
        let mut heard: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
        for event in events {
            self.groups_with(participants, &event.kv.key, &mut |id| {
                let variant = self.groups.get(id).variant;
                if variant.hears(event.kind) {
                    heard.entry(id).or_default().push(variant.tells(event));
                }
            });
        }
        heard.into_iter().map(|(id, events)| (id, events.into())).collect()
    }

    /// Delivers a group's part of a piece to its watchers. Says whether any moved on.
    fn deliver_piece(&mut self, watchers: &[u32], heard: &Arc<[Event]>, piece_ends: Revision, sink: &mut impl Sink) -> bool {
        // Watchers that start at one revision share the list from there on.
        let mut tails: BTreeMap<Revision, Arc<[Event]>> = BTreeMap::new();
        let mut moved = false;
        for &index in watchers {
            let (stream, next) = (self.watchers.get(index).stream, self.watchers.get(index).next);
            if next >= piece_ends || !sink.room(stream) {
                continue;
            }
            let events = tails.entry(next).or_insert_with(|| self.from(heard, next)).clone();
            if !events.is_empty() {
                self.deliver_events(index, events, Revision(piece_ends.0 - 1), sink);
            }
            self.move_on(index, piece_ends, sink);
            moved = true;
        }
        moved
    }

    fn move_on(&mut self, index: u32, next: Revision, sink: &mut impl Sink) {
        self.leave_lagging(index);
        self.watchers.get_mut(index).next = next;
        if next <= self.revision {
            self.join_lagging(index);
            return;
        }
        self.join_synced(index);
        let stream = self.watchers.get(index).stream;
        self.answer_progress(stream, sink);
    }
}
