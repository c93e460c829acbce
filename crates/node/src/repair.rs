//! A node that lost something which its peers still have: entries in the middle of its log, or its tables.
//!
//! It takes no part in consensus: it neither votes nor acknowledges nor leads until everything that it had acknowledged is back
//! (Protocol-Aware Recovery, FAST 2018). It asks all its peers in turn:
//! - for *entries* of a hole, named by an intact entry after it (the anchor): whoever has that very entry has, by log matching (Raft paper, section
//!   5.3), the same entries before it, committed or not, leader or not;
//! - for a *snapshot*, if the tables are damaged or their state is not that of the others (`alarms.rs`), or if no peer's log reaches back to the hole any more.
//!
//! If nobody has the anchor, because it was never committed, a later leader says so. Then the log is cut off before the hole: what of it was
//! committed comes back from that leader. The node stays suspect until then, for it may have acknowledged that.
//!
//! Nobody needs to lead for that, so that replicas damaged in different places restore each other. Each step is durable when it is done, and
//! a crash in between begins again with what is still missing.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_storage::log::{LogReader, LogWriter};
use steadfast_types::disk::Disk;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Entry, HardState, Instant, LogIndex, LogPosition, NodeId};

use crate::jobs::{Done, Job, JobDone, Kind, install};
use crate::snapshot_receive::{Chunk, Receiving};
use crate::start::{Bootstrap, OpenError, Opened, Options, is_needed, open};
use crate::{Input, Notice, Outputs, PeerMessage};

/// How often the peers are asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Without any progress for this long, a snapshot is asked for as well.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(2);

/// What a node lost.
#[derive(Debug)]
pub(crate) struct Loss {
    /// The tables.
    pub(crate) state: bool,
    /// Entries.
    pub(crate) holes: Vec<Hole>,
}

/// Entries that are missing: `from..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) from: LogIndex,
    pub(crate) end: LogIndex,
    /// By which the peers know them: the entry at `end`, or the one before it if the log ends there.
    pub(crate) anchor: LogPosition,
}

impl Loss {
    pub(crate) fn is_any(&self) -> bool {
        self.state || !self.holes.is_empty()
    }
}

/// What [`crate::start`] hands over.
pub(crate) struct RepairParts<D: Disk> {
    pub(crate) disk: D,
    pub(crate) options: Options,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) writer: LogWriter<D>,
    pub(crate) reader: LogReader<D>,
    pub(crate) loss: Loss,
    pub(crate) peers: BTreeSet<NodeId>,
    /// A snapshot that ends before this takes the state back, or leaves a gap before the log.
    pub(crate) floor: LogIndex,
}

/// A repairing node. Fed like a running one; its disk work happens within the turn, for nobody is served meanwhile.
pub struct Repair<D: Disk> {
    parts: RepairParts<D>,
    last_asked: Option<Instant>,
    last_progress: Instant,
    receiving: Option<Receiving<D>>,
}

impl<D: Disk> Repair<D> {
    pub(crate) fn new(parts: RepairParts<D>, now: Instant) -> Self {
        Repair { parts, last_asked: None, last_progress: now, receiving: None }
    }

    /// What is still missing, for people.
    pub fn missing(&self) -> String {
        let holes: Vec<String> =
            self.parts.loss.holes.iter().map(|hole| format!("entries {} to {}", hole.from, hole.end.previous())).collect();
        let state = self.parts.loss.state.then(|| "the state".to_owned());
        state.into_iter().chain(holes).collect::<Vec<_>>().join(", ")
    }

    /// Everyone who is asked.
    pub fn peers(&self) -> &BTreeSet<NodeId> {
        &self.parts.peers
    }

    /// When the next turn is due.
    pub fn next_deadline(&self) -> Instant {
        self.last_asked.map_or(Instant(0), |at| at + ASK_EVERY)
    }

    /// Whether everything is back: then [`Repair::finish`].
    pub fn is_done(&self) -> bool {
        !self.parts.loss.is_any()
    }

    /// Opens the repaired node.
    ///
    /// # Errors
    /// As [`open`].
    pub fn finish<S>(self, now: Instant) -> Result<Opened<S, D>, OpenError> {
        let RepairParts { disk, options, bootstrap, writer, reader, .. } = self.parts;
        drop((writer, reader));
        let options = Options { lost_tables: None, ..options };
        open(&disk, options, bootstrap, now)
    }

    /// One turn. Client requests are refused; only frames and notices come out.
    pub fn turn<S>(&mut self, now: Instant, inputs: impl IntoIterator<Item = Input<S, D>>) -> Outputs<S, D> {
        let mut out = Outputs::default();
        for input in inputs {
            match input {
                Input::Request(request) => {
                    out.answers.push((request.slot, crate::Answer::Refused(crate::Refusal::TimedOut)));
                }
                Input::Frame { from, frame } => self.on_frame(now, from, frame, &mut out),
                Input::PeerConnected { .. }
                | Input::PeerDisconnected(_)
                | Input::WatchersWantPrevious(_)
                | Input::Spares(_)
                | Input::LogDone(_)
                | Input::JobDone(_) => {}
            }
        }
        if self.last_asked.is_none_or(|at| now.since(at) >= ASK_EVERY) && !self.is_done() {
            self.last_asked = Some(now);
            self.ask(now, &mut out);
        }
        out
    }

    fn wants_snapshot(&self, now: Instant) -> bool {
        self.parts.loss.state || !self.is_done() && now.since(self.last_progress) >= SNAPSHOT_AFTER
    }

    /// The entry that a snapshot must reach to be of use: over a hole, or at least to where the log begins.
    fn useful_from(&self) -> LogIndex {
        let hole = self.parts.loss.holes.first().filter(|_| !self.parts.loss.state);
        hole.map_or(self.parts.floor, |hole| self.parts.floor.max(hole.end.min(self.parts.writer.last().index)))
    }

    fn ask<S>(&self, now: Instant, out: &mut Outputs<S, D>) {
        for peer in &self.parts.peers {
            if self.wants_snapshot(now) && self.receiving.is_none() {
                let request = PeerMessage::SnapshotRequest { at_least: self.useful_from() };
                out.frames.push((*peer, request.to_wire().into()));
            }
            for hole in &self.parts.loss.holes {
                let request = PeerMessage::LogRequest { from: hole.from, anchor: hole.anchor };
                out.frames.push((*peer, request.to_wire().into()));
            }
        }
    }

    fn on_frame<S>(&mut self, now: Instant, from: NodeId, frame: Bytes, out: &mut Outputs<S, D>) {
        match PeerMessage::from_wire(frame) {
            Ok(PeerMessage::LogReply { anchor, entries }) => self.on_log_reply(now, anchor, entries, out),
            Ok(PeerMessage::LogReplaced { anchor }) => self.cut_off(now, anchor, out),
            Ok(PeerMessage::LogRequest { from: first, anchor }) => {
                let job = Job(Kind::ReadForRepair { to: from, from: first, anchor, reader: self.parts.reader.clone() });
                if let JobDone(Done::ForRepair { to, anchor, entries }) = job.run() {
                    out.frames.push((to, PeerMessage::LogReply { anchor, entries }.to_wire().into()));
                }
            }
            Ok(PeerMessage::SnapshotChunk { transfer, position, total, offset, bytes }) => {
                self.on_chunk(now, from, Chunk { transfer, position, total, offset, bytes }, out);
            }
            Ok(
                PeerMessage::Raft(_)
                | PeerMessage::Forward { .. }
                | PeerMessage::ForwardExpected { .. }
                | PeerMessage::Call { .. }
                | PeerMessage::CallAnswer { .. }
                | PeerMessage::SnapshotProgress { .. }
                | PeerMessage::SnapshotRequest { .. }
                | PeerMessage::SnapshotUnknown { .. }
                | PeerMessage::SnapshotDamaged { .. }
                | PeerMessage::Standing { .. },
            )
            | Err(_) => {}
        }
    }

    fn on_log_reply<S>(&mut self, now: Instant, anchor: LogPosition, mut entries: Vec<Entry>, out: &mut Outputs<S, D>) {
        let Some(hole) = self.parts.loss.holes.iter_mut().find(|hole| hole.anchor == anchor) else { return };
        entries.retain(|entry| entry.index < hole.end);
        let fits = |(i, entry): (usize, &Entry)| entry.index.0 == hole.from.0 + i as u64 && entry.term <= anchor.term;
        if entries.is_empty() || !entries.iter().enumerate().all(fits) {
            return;
        }
        if let Err(error) = self.parts.writer.repair(&entries) {
            return out.notices.push(Notice::Fault(format!("repairing the log: {error}")));
        }
        self.last_progress = now;
        self.last_asked = None;
        hole.from.0 += entries.len() as u64;
        self.parts.loss.holes.retain(|hole| hole.from < hole.end);
    }

    /// The anchor of a hole was never committed, so neither was anything after it.
    fn cut_off<S>(&mut self, now: Instant, anchor: LogPosition, out: &mut Outputs<S, D>) {
        let RepairParts { loss, writer, floor, .. } = &mut self.parts;
        let Some(hole) = loss.holes.iter().find(|hole| hole.anchor == anchor && !loss.state) else { return };
        let from = hole.from.max(floor.next());
        let hard_state = HardState { suspect: true, ..writer.hard_state() };
        if let Err(error) = writer.append(Some(&hard_state), Some(from), &[]).and_then(|()| writer.sync()) {
            return out.notices.push(Notice::Fault(format!("repairing the log: {error}")));
        }
        self.last_progress = now;
        let end = hole.end;
        loss.holes.retain(|hole| hole.end < end);
    }

    fn on_chunk<S>(&mut self, now: Instant, from: NodeId, chunk: Chunk, out: &mut Outputs<S, D>) {
        let transfer = chunk.transfer;
        if self.receiving.is_none() && (!self.wants_snapshot(now) || chunk.position.index < self.useful_from()) {
            let done = PeerMessage::SnapshotProgress { transfer, received: u64::MAX, done: true };
            return out.frames.push((from, done.to_wire().into()));
        }
        let Some(answer) = Receiving::on_chunk(&mut self.receiving, from, chunk, now) else { return };
        out.frames.push((from, answer.to_wire().into()));
        if self.receiving.as_ref().is_some_and(|receiving| receiving.transfer == transfer) {
            self.last_progress = now;
        }
        while let Some(job) =
            self.receiving.as_mut().and_then(|receiving| receiving.job(&self.parts.disk, &self.parts.options.tables, true, || None))
        {
            self.run(job, out);
        }
    }

    /// Does a job of the snapshot in place.
    fn run<S>(&mut self, job: Job<D>, out: &mut Outputs<S, D>) {
        let Some(receiving) = &mut self.receiving else { return };
        let (from, transfer, position) = (receiving.from, receiving.transfer, receiving.position);
        let failed = match job.0 {
            Kind::Install { incoming, disk, options, .. } => match install(incoming, &disk, options, None) {
                Ok(_) => {
                    let last = self.parts.writer.last().index;
                    self.receiving = None;
                    self.parts.loss.state = false;
                    self.parts.loss.holes.retain(|hole| is_needed(hole.end, position.index, last));
                    self.parts.floor = self.parts.floor.max(position.index);
                    let done = PeerMessage::SnapshotProgress { transfer, received: u64::MAX, done: true };
                    out.frames.push((from, done.to_wire().into()));
                    out.notices.push(Notice::SnapshotInstalled(position));
                    return;
                }
                Err(error) => error,
            },
            kind => match Job(kind).run() {
                JobDone(Done::SnapshotWritten { incoming: Ok(incoming), .. }) => return receiving.written(incoming),
                JobDone(Done::SnapshotWritten { incoming: Err(error), .. }) => {
                    out.frames.push((from, receiving.refusal(&error).to_wire().into()));
                    error.to_string()
                }
                other => unreachable!("a snapshot is written and installed, and nothing else: {other:?}"),
            },
        };
        self.receiving = None;
        out.notices.push(Notice::JobFailed(format!("receiving a snapshot: {failed}")));
    }
}
