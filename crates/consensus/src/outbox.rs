//! What waits to leave: messages, the next log write, and the messages that may not be sent before a write is durable.
//!
//! Invariants:
//! 1. A held message leaves only when its write is durable, and only if the term it was made in still stands.
//! 2. Writes are numbered without gaps; each says everything that changed since the one before.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Entry, HardState, Instant, LogIndex, NodeId};

use crate::{FetchEntries, LogWrite, Message, ReadReady, WriteSequence};

/// A write handed over and not yet known to be durable.
#[derive(Debug)]
struct Outstanding {
    sequence: WriteSequence,
    /// The log is durable up to here when the write is; lowered when a later write cuts the log.
    last: LogIndex,
    issued: Instant,
}

/// See the file's documentation.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) messages: Vec<(NodeId, Message)>,
    pub(crate) fetch: Vec<FetchEntries>,
    pub(crate) snapshot_wanted: Vec<(NodeId, LogIndex)>,
    pub(crate) read_ready: Option<ReadReady>,
    held: VecDeque<(WriteSequence, NodeId, Message)>,
    truncate_from: Option<LogIndex>,
    entries: Vec<Entry>,
    /// The hard state as last handed over, and the write that makes the present one durable.
    written_hard_state: HardState,
    hard_state_sequence: WriteSequence,
    /// The last entry handed over.
    written: LogIndex,
    next: WriteSequence,
    synced: WriteSequence,
    outstanding: VecDeque<Outstanding>,
}

impl Outbox {
    /// Nothing to write: disk and memory agree on `hard_state` and on a log up to `written`.
    pub(crate) fn new(hard_state: HardState, written: LogIndex) -> Self {
        Outbox {
            messages: Vec::new(),
            fetch: Vec::new(),
            snapshot_wanted: Vec::new(),
            read_ready: None,
            held: VecDeque::new(),
            truncate_from: None,
            entries: Vec::new(),
            written_hard_state: hard_state,
            hard_state_sequence: WriteSequence(0),
            written,
            next: WriteSequence(1),
            synced: WriteSequence(0),
            outstanding: VecDeque::new(),
        }
    }

    /// Sends what promises nothing.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.messages.push((to, message));
    }

    /// Sends what promises the present hard state, once that is durable. What already waits is not held twice, however long a disk takes.
    pub(crate) fn send_when_durable(&mut self, to: NodeId, message: Message) {
        let early = is_planted(Bug::VoteBeforeDurable)
            && matches!(message.body, crate::message::Body::VoteReply { .. } | crate::message::Body::VoteRequest { .. });
        if self.is_durable(self.hard_state_sequence) || early {
            self.messages.push((to, message));
        } else if !self.held.iter().any(|(_, whom, held)| *whom == to && *held == message) {
            self.held.push_back((self.hard_state_sequence, to, message));
        }
    }

    /// The hard state has changed; the next write will say so.
    pub(crate) fn hard_state_changed(&mut self) {
        self.hard_state_sequence = self.next;
    }

    /// The term has changed: what was held promised the old one.
    pub(crate) fn term_changed(&mut self) {
        self.hard_state_changed();
        self.held.clear();
    }

    /// The write that makes the present hard state durable.
    pub(crate) fn hard_state_sequence(&self) -> WriteSequence {
        self.hard_state_sequence
    }

    pub(crate) fn is_durable(&self, sequence: WriteSequence) -> bool {
        sequence <= self.synced
    }

    /// Writes the next entry.
    pub(crate) fn write(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Entries from `index` on are replaced by what is written from now on.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        while self.entries.last().is_some_and(|entry| entry.index >= index) {
            self.entries.pop();
        }
        if index <= self.written {
            self.truncate_from = (!is_planted(Bug::TruncationNotWritten)).then_some(index);
            self.written = index.previous();
        }
        self.cap_outstanding(index.previous());
    }

    /// The log on disk was replaced, after all writes handed over so far, by an empty one that begins after `index`.
    pub(crate) fn reset(&mut self, index: LogIndex) {
        self.entries.clear();
        self.truncate_from = None;
        self.written = index;
        self.cap_outstanding(index);
    }

    fn cap_outstanding(&mut self, index: LogIndex) {
        for write in &mut self.outstanding {
            write.last = write.last.min(index);
        }
    }

    /// The next write, if there is anything to write.
    pub(crate) fn take_write(&mut self, hard_state: HardState, now: Instant) -> Option<LogWrite> {
        let changed = (hard_state != self.written_hard_state).then_some(hard_state);
        // A change that was changed back leaves no hard state to write, and messages may still wait for this number.
        let awaited = self.hard_state_sequence == self.next;
        if changed.is_none() && !awaited && self.truncate_from.is_none() && self.entries.is_empty() {
            return None;
        }
        let write = LogWrite {
            sequence: self.next,
            hard_state: if awaited { Some(hard_state) } else { changed },
            truncate_from: self.truncate_from.take(),
            entries: core::mem::take(&mut self.entries),
        };
        self.written_hard_state = hard_state;
        self.written = write.entries.last().map_or(self.written, |entry| entry.index);
        self.outstanding.push_back(Outstanding { sequence: self.next, last: self.written, issued: now });
        self.next = WriteSequence(self.next.0 + 1);
        Some(write)
    }

    /// All writes up to `sequence` are durable: releases what waited for them. Returns up to where the log is durable, if any write ended.
    pub(crate) fn synced(&mut self, sequence: WriteSequence) -> Option<LogIndex> {
        assert!(sequence < self.next, "write {} is durable and was never handed over", sequence.0);
        self.synced = self.synced.max(sequence);
        let mut last = None;
        while self.outstanding.front().is_some_and(|write| write.sequence <= sequence) {
            last = self.outstanding.pop_front().map(|write| write.last);
        }
        while self.held.front().is_some_and(|&(awaited, ..)| awaited <= self.synced) {
            let released = self.held.pop_front();
            self.messages.extend(released.map(|(_, to, message)| (to, message)));
        }
        last
    }

    /// When the oldest write that is not durable yet was handed over.
    pub(crate) fn oldest_unsynced(&self) -> Option<Instant> {
        self.outstanding.front().map(|write| write.issued)
    }
}
