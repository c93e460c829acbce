//! Judges what `scan` found: which batches are the log, where it ends, what is lost.
//!
//! A batch that is not intact is one of these:
//! - **torn**: never synced, so nobody was told of it. Proven by a blank sector inside it, or in the place where its header would be
//!   (`format`, invariant 2), unless a later header says that it was synced. It and whatever follows it are cut off: what follows can't
//!   have been synced either, as one sync covers all that was written before it.
//! - **a hole**: intact batches follow it, and it is not torn. Everything that follows is kept; the entries it may have held are missing,
//!   and so are those that it may have replaced (`Cuts`).
//! - **damaged at the end**: nothing intact follows, and it is not torn. It may have been acknowledged: cut off, and the node is suspect.
//!
//! In the fault model of torn and reordered unsynced sectors and decaying synced ones, a batch cut off as torn was never acknowledged; and
//! a torn batch is taken for damage only if an unsynced or blank sector decayed. What can't be seen from here: a disk that confirms the
//! log's very last write and loses it without a trace.
//!
//! A hole is repaired from the peers; so is what was cut off, by the rule for suspect voters in `consensus`.

use std::collections::BTreeMap;

use steadfast_types::disk::DiskFile;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Configuration, HardState, LogIndex, LogPosition, NodeId};

use super::format::{BatchSequence, Header, SECTOR, SegmentNumber};
use super::index::Slots;
use super::scan::{Batch, Segment};
use super::{LogEnding, LogError};

/// Entries that may be lost in one log: a quarter of a gibibyte of the smallest. With more than that gone a node is better begun anew, and
/// it bounds the memory that untrue headers can cost.
const MOST_LOST: u64 = 1 << 22;

/// A vote for nobody, in place of one that may be lost.
const UNKNOWN_VOTE: NodeId = NodeId(0);

/// What the segments say.
pub(super) struct Recovered<F> {
    pub(super) slots: Slots,
    pub(super) configurations: Vec<(LogPosition, Configuration)>,
    /// Of the last batch of the log; with the hard state that holds now.
    pub(super) header: Header,
    /// The hard state is not the one of the last batch.
    pub(super) hard_state_changed: bool,
    /// Where the log ends in that batch's segment.
    pub(super) end: u64,
    pub(super) ending: LogEnding,
    pub(super) hard_state_lost: bool,
    /// The intact batches at the end of which no one says that they were synced. They stand in the last segment.
    pub(super) unproven: Vec<Header>,
    /// The segments of the log, in order, each with the highest index that it may hold.
    pub(super) segments: Vec<(Segment<F>, LogIndex)>,
}

/// Judges `segments`, which are in order.
pub(super) fn recover<F: DiskFile>(segments: Vec<Segment<F>>) -> Result<Recovered<F>, LogError> {
    let newest = segments.iter().rev().find(|segment| !segment.batches.is_empty()).map(|segment| segment.number);
    let newest = newest.ok_or(LogError::Unreadable)?;
    // A segment is begun only when the one before it is durable; one that can't be read has lost what it held.
    let unreadable_after = segments.last().is_some_and(|segment| segment.number > newest);
    let newest_stray = segments.iter().map(|segment| segment.newest_stray).max().unwrap_or_default();

    let mut live = live_segments(segments, newest);
    let evidence = if unreadable_after { BatchSequence(u64::MAX) } else { newest_synced(&live) };
    let (replay, stop) = replay(&mut live, newest, evidence)?;
    let header = replay.header.ok_or(LogError::Unreadable)?;

    let segment = live.iter().find(|live| live.segment.number == header.segment).map(|live| &live.segment);
    let segment = segment.expect("the last batch stands in a live segment");
    let elsewhere = unreadable_after || header.segment != newest || newest_stray > header.sequence;
    let tail = Tail { segment, end: header.end(), elsewhere };
    let ending = tail.ending(&stop);
    let mut recovered = Recovered {
        slots: replay.slots,
        configurations: replay.configurations.into_values().collect(),
        end: header.end(),
        ending,
        hard_state_changed: false,
        hard_state_lost: false,
        unproven: replay.unproven,
        header,
        segments: Vec::new(),
    };
    let written = recovered.header.hard_state;
    if ending == LogEnding::Damaged {
        let (hard_state, lost) = tail.last_hard_state(&recovered.header, &stop);
        recovered.header.hard_state = hard_state;
        recovered.hard_state_lost = lost;
    }
    let suspect = ending == LogEnding::Damaged || !recovered.slots.holes().is_empty();
    recovered.header.hard_state.suspect |= suspect;
    recovered.hard_state_changed = recovered.header.hard_state != written;
    // Only a batch that is kept may say so: a compaction that was not synced has removed nothing.
    let first = recovered.header.first_segment;
    recovered.segments = live.into_iter().filter(|live| live.segment.number >= first).map(|live| (live.segment, live.highest)).collect();
    Ok(recovered)
}

/// A segment on the way back from the newest one.
struct Live<F> {
    segment: Segment<F>,
    extent: Extent,
    /// The highest index it may hold.
    highest: LogIndex,
}

/// How far the log reaches in a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// It is the newest one: as far as its batches show.
    Open,
    /// Up to here, all durable.
    Until(u32),
    /// The next segment, which would say it, can't be read: as far as the batches follow each other.
    Unknown,
}

/// Follows the links from the newest segment back as far as there are any. What is not on this way is left over from an earlier recovery.
/// The last ones may be left over from a removal; that shows when the replay is done.
fn live_segments<F>(segments: Vec<Segment<F>>, newest: SegmentNumber) -> Vec<Live<F>> {
    let (mut wanted, mut extent, mut live) = (newest, Extent::Open, Vec::new());
    for segment in segments.into_iter().rev().skip_while(|segment| segment.number > newest) {
        if extent != Extent::Unknown && segment.number > wanted {
            continue;
        }
        let own_extent = if segment.number == wanted { extent } else { Extent::Unknown };
        (wanted, extent) = match segment.batches.first() {
            Some(batch) => (batch.header.previous_segment, Extent::Until(batch.header.previous_segment_end)),
            None => (SegmentNumber(0), Extent::Unknown),
        };
        live.push(Live { segment, extent: own_extent, highest: LogIndex(0) });
    }
    live.reverse();
    live
}

/// The newest batch that any header says was synced.
fn newest_synced<F>(live: &[Live<F>]) -> BatchSequence {
    let segments = || live.iter().map(|live| &live.segment);
    let batches = segments().flat_map(|segment| &segment.batches).map(|batch| batch.header.synced);
    batches.chain(segments().flat_map(|segment| &segment.copies).map(|(_, header)| header.synced)).max().unwrap_or_default()
}

/// Why the replay ended.
enum Stop {
    /// There are no more batches.
    NoMore,
    /// The next batch is torn.
    Torn,
    /// The next batch is damaged, and is the last; its header is intact.
    Damaged(Header),
}

/// Replays the live batches in order.
fn replay<F: DiskFile>(live: &mut [Live<F>], newest: SegmentNumber, evidence: BatchSequence) -> Result<(Replay, Stop), LogError> {
    let mut replay = Replay::default();
    for Live { segment, extent, highest } in live {
        let mut batches = std::mem::take(&mut segment.batches).into_iter().peekable();
        while let Some(batch) = batches.next() {
            if replay.is_stale(&batch.header) {
                continue;
            }
            match extent {
                Extent::Until(end) if batch.header.offset >= *end => break,
                Extent::Unknown if replay.has_gap_before(&batch.header) || batch.body.is_none() => break,
                Extent::Until(_) | Extent::Unknown => {}
                Extent::Open => {
                    assert!(segment.number == newest, "only the newest segment is open");
                    if replay.is_torn(segment, &batch, evidence) || is_planted(Bug::DamageTakenForTorn) && batch.body.is_none() {
                        return Ok((replay, Stop::Torn));
                    }
                    if batch.body.is_none() && batches.peek().is_none() && batch.header.sequence > evidence {
                        return Ok((replay, Stop::Damaged(batch.header)));
                    }
                    if batch.body.is_some() && batch.header.sequence > evidence {
                        replay.unproven.push(batch.header.clone());
                    }
                }
            }
            if replay.lost + replay.lost_with(&batch) > MOST_LOST {
                return Err(LogError::Unreadable);
            }
            *highest = batch.header.last.index.max(*highest);
            replay.apply(batch);
        }
    }
    Ok((replay, Stop::NoMore))
}

/// The log's state, batch by batch.
#[derive(Default)]
struct Replay {
    slots: Slots,
    configurations: BTreeMap<LogIndex, (LogPosition, Configuration)>,
    /// Of the last batch.
    header: Option<Header>,
    unproven: Vec<Header>,
    /// How many entries were lost in the batches so far, whether or not they were cut off or compacted later.
    lost: u64,
}

impl Replay {
    fn is_stale(&self, header: &Header) -> bool {
        self.header.as_ref().is_some_and(|last| header.sequence <= last.sequence || header.start.index < last.start.index)
    }

    /// How many entries are lost before the batch and, if its records are damaged, in it.
    fn lost_with(&self, batch: &Batch) -> u64 {
        let header = &batch.header;
        let known = if self.header.is_some() { self.slots.last_index().max(header.start.index) } else { header.start.index };
        let before = header.base.index.0.saturating_sub(known.0);
        before + if batch.body.is_some() { 0 } else { header.last.index.0 - header.base.index.0 }
    }

    fn has_gap_before(&self, header: &Header) -> bool {
        self.header.as_ref().is_some_and(|last| !header.follows(last))
    }

    /// Whether `batch`, or one that is missing before it, is proven never to have been synced. `segment` is the newest one.
    fn is_torn<F: DiskFile>(&self, segment: &Segment<F>, batch: &Batch, evidence: BatchSequence) -> bool {
        let Some(last) = &self.header else { return false };
        if self.has_gap_before(&batch.header) && last.sequence.next() > evidence {
            let place = if last.segment == segment.number { last.end() } else { 0 };
            if segment.has_blank(place, place + u64::from(SECTOR)) {
                return true;
            }
        }
        let header = &batch.header;
        batch.body.is_none() && header.sequence > evidence && segment.has_blank(u64::from(header.offset), header.end())
    }

    fn apply(&mut self, batch: Batch) {
        self.lost += self.lost_with(&batch);
        let header = batch.header;
        match &self.header {
            None => self.slots = Slots::after(header.start),
            Some(last) if !header.follows(last) => {
                if let Some(lowest) = header.cuts.lowest_since(&last.cuts) {
                    self.slots.forget_after(lowest.previous());
                    self.configurations.split_off(&lowest);
                }
            }
            Some(_) => {}
        }
        if header.start.index > self.slots.start().index {
            self.slots.advance_start(header.start);
        }
        self.slots.end_at(header.base);
        self.configurations.split_off(&header.base.index.next());
        if let Some(body) = batch.body {
            for (position, slot) in body.records {
                if header.repair {
                    self.slots.set(position.index, slot);
                } else {
                    self.slots.push(slot);
                }
            }
            self.configurations.extend(body.configurations.into_iter().map(|(position, change)| (position.index, (position, change))));
        }
        // For a damaged body this says what is lost; for an intact one it changes nothing, unless the header contradicts its records.
        self.slots.end_at(header.last);
        let start = self.slots.start().index;
        self.configurations.retain(|&index, _| index > start);
        self.header = Some(header);
    }
}

/// What stands behind the last batch kept.
struct Tail<'a, F> {
    segment: &'a Segment<F>,
    end: u64,
    /// There are signs of later batches that should stand here, or in a later segment.
    elsewhere: bool,
}

impl<F: DiskFile> Tail<'_, F> {
    fn ending(&self, stop: &Stop) -> LogEnding {
        let blanks_end = self.segment.blanks_end(self.end);
        match stop {
            Stop::Torn => LogEnding::Torn,
            Stop::Damaged(_) => LogEnding::Damaged,
            Stop::NoMore if self.elsewhere || blanks_end == self.end => LogEnding::Damaged,
            Stop::NoMore if blanks_end + u64::from(SECTOR) > self.segment.bytes => LogEnding::Clean,
            Stop::NoMore => LogEnding::Torn,
        }
    }

    /// The newest hard state that can be known behind a damaged end, and whether a still newer one may be lost.
    ///
    /// A batch that changes the hard state takes two sectors at least and ends with a copy of its header (`format`, invariant 3). So nothing
    /// is lost if one sector alone is damaged, or if the damage ends with an intact copy.
    fn last_hard_state(&self, last: &Header, stop: &Stop) -> (HardState, bool) {
        let damaged = match stop {
            Stop::Damaged(header) => Some(header),
            Stop::NoMore | Stop::Torn => None,
        };
        let copies = self.segment.copies.iter().filter(|(_, copy)| copy.sequence > last.sequence);
        let newest = copies.clone().map(|(_, copy)| copy).chain(damaged).max_by_key(|header| header.sequence);
        let mut hard_state = newest.unwrap_or(last).hard_state;

        let from = damaged.map_or(self.end, Header::end);
        let to = self.segment.written_end(from);
        let ends_with_copy = copies.clone().any(|&(at, _)| at + u64::from(SECTOR) == to);
        let cut_off = to + u64::from(SECTOR) > self.segment.bytes;
        let known = damaged.is_some() && from == to || to == from + u64::from(SECTOR) || ends_with_copy;
        let lost = self.elsewhere || cut_off || !known;
        if lost && hard_state.vote.is_none() {
            hard_state.vote = Some(UNKNOWN_VOTE);
        }
        (hard_state, lost)
    }
}
