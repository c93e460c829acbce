//! Durable before sent: what a message promises is on its sender's disk when it goes out (the table in `steadfast-consensus`).
//!
//! The checker follows what each process was asked to write and what came back as synced. It knows nothing of how the log is stored, and
//! does not trust what the node says of itself.

use std::collections::BTreeMap;

use steadfast_consensus::message::Body;
use steadfast_consensus::{LogWrite, Message, WriteSequence};
use steadfast_types::{HardState, LogIndex, LogPosition, NodeId, Term};

use steadfast_proof::Violation;

const CHECKER: &str = "durable before sent";

/// What one process has on its disk.
#[derive(Debug, Default)]
struct Process {
    term: Term,
    /// Its vote in `term`; the outer `None`: not known, for it was cast in an earlier life.
    vote: Option<Option<NodeId>>,
    last: LogIndex,
    /// The highest term of an entry that it ever wrote.
    newest: Term,
    /// The last entry of the newest snapshot installed. Writes asked for before it may be carried out after it, and take nothing from it.
    snapshot: LogPosition,
    /// Written and not yet known to be synced, in order.
    pending: Vec<(WriteSequence, Option<HardState>, Option<LogIndex>, LogIndex)>,
}

impl Process {
    /// The last entry that must be there whatever became of the writes not known to be synced.
    fn kept(&self) -> LogIndex {
        let cuts = self.pending.iter().filter_map(|(_, _, truncate_from, _)| *truncate_from);
        cuts.map(LogIndex::previous).min().unwrap_or(self.last).min(self.last)
    }

    /// Whether a log that now ends with the snapshot had to give up what was after it: it was of earlier terms, so none of it was ever
    /// committed (terms never go down in a log, and the snapshot's last entry is committed).
    fn gave_up_rightly(&self, last: LogIndex) -> bool {
        self.snapshot.index == last && self.snapshot.term > self.newest
    }
}

/// What all processes have on their disks, and all votes they ever gave.
#[derive(Debug, Default)]
pub struct Promises {
    processes: BTreeMap<NodeId, Process>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
}

impl Promises {
    /// A process began that says of itself that nothing is missing: with this term and this log on its disk.
    ///
    /// # Errors
    /// Something is missing that was synced.
    pub fn started(&mut self, node: NodeId, term: Term, last: LogIndex) -> Result<(), Violation> {
        let newest = self.process(node).newest;
        let before = self.processes.insert(node, Process { term, last, newest, ..Process::default() });
        match before.map(|before| (if before.gave_up_rightly(last) { last } else { before.kept() }, before.term)) {
            Some((kept, known)) if last < kept || term < known => Err(Violation::new(
                CHECKER,
                format!(
                    "{node} begins with term {term} and entries up to {last} and knows of no loss, but synced term {known} and entries up to {kept}"
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A process began that knows that it may have lost something.
    pub fn started_suspect(&mut self, node: NodeId, term: Term, last: LogIndex) {
        let newest = self.process(node).newest;
        self.processes.insert(node, Process { term, last, newest, ..Process::default() });
    }

    /// The log was replaced by one that begins after `position`.
    pub fn reset(&mut self, node: NodeId, position: LogPosition) {
        let process = self.process(node);
        process.last = process.last.min(position.index);
    }

    /// The node asked for a write.
    pub fn written(&mut self, node: NodeId, write: &LogWrite) {
        let process = self.process(node);
        let last = write.entries.last().map_or(LogIndex(0), |entry| entry.index);
        process.newest = process.newest.max(write.entries.last().map_or(Term(0), |entry| entry.term));
        process.pending.push((write.sequence, write.hard_state, write.truncate_from, last));
    }

    /// Everything written up to `sequence` is durable.
    pub fn synced(&mut self, node: NodeId, sequence: WriteSequence) {
        let process = self.process(node);
        let done = process.pending.partition_point(|(pending, ..)| *pending <= sequence);
        for (_, hard_state, truncate_from, last) in process.pending.drain(..done) {
            if let Some(hard_state) = hard_state {
                (process.term, process.vote) = (hard_state.term, Some(hard_state.vote));
            }
            process.last = truncate_from.map_or(process.last, |from| process.last.min(from.previous())).max(last);
        }
    }

    /// A snapshot up to `position` is durably installed.
    pub fn installed(&mut self, node: NodeId, position: LogPosition) {
        let process = self.process(node);
        if position.index > process.snapshot.index {
            process.snapshot = position;
        }
    }

    /// `from` sends `message` to `to`.
    ///
    /// # Errors
    /// It promises what is not durable, or it is a second vote in one term.
    pub fn observe(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Violation> {
        let candidate = match &message.body {
            Body::VoteRequest { .. } => Some(from),
            Body::VoteReply { granted: true, .. } => Some(to),
            _ => None,
        };
        if let Some(candidate) = candidate {
            self.vote(from, message.term, candidate)?;
        }
        let Some(process) = self.processes.get(&from) else { return Ok(()) };
        let last = process.last.max(process.snapshot.index);
        let voted_for = |node| process.term == message.term && process.vote.is_none_or(|vote| vote == Some(node));
        let (kept, promise) = match &message.body {
            Body::VoteRequest { .. } => (voted_for(from), "its own vote"),
            Body::VoteReply { granted: true, .. } => (voted_for(to), "its vote"),
            Body::AppendAccepted { matched } => (process.term >= message.term && last >= *matched, "the entries"),
            Body::Append { .. } | Body::Heartbeat { .. } => (process.term >= message.term, "its term"),
            Body::SnapshotInstalled { position, .. } => (last >= position.index, "the snapshot"),
            Body::PreVoteRequest { .. }
            | Body::PreVoteReply { .. }
            | Body::VoteReply { granted: false, .. }
            | Body::AppendRejected { .. }
            | Body::HeartbeatReply { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexReply { .. }
            | Body::TimeoutNow {} => return Ok(()),
        };
        if kept {
            return Ok(());
        }
        let on_disk = format!("on its disk are term {}, vote {:?}, entries up to {}", process.term, process.vote, last);
        Err(Violation::new(
            CHECKER,
            format!("{from} promises {promise} to {to} in term {} ({:?}), but {on_disk}", message.term, message.body),
        ))
    }

    /// One vote a term, over all lives of the voter.
    fn vote(&mut self, voter: NodeId, term: Term, candidate: NodeId) -> Result<(), Violation> {
        let first = *self.votes.entry((voter, term)).or_insert(candidate);
        if first == candidate {
            return Ok(());
        }
        Err(Violation::new(CHECKER, format!("{voter} votes in term {term} for {candidate}, after it voted for {first}")))
    }

    fn process(&mut self, node: NodeId) -> &mut Process {
        self.processes.entry(node).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_types::{Entry, Payload};

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn write(sequence: u64, hard_state: Option<HardState>, truncate_from: Option<u64>, entries: &[u64]) -> LogWrite {
        let entries = entries.iter().map(|index| Entry { term: Term(1), index: LogIndex(*index), payload: Payload::Empty }).collect();
        LogWrite { sequence: WriteSequence(sequence), hard_state, truncate_from: truncate_from.map(LogIndex), entries }
    }

    fn accepted(matched: u64) -> Message {
        Message { term: Term(1), body: Body::AppendAccepted { matched: LogIndex(matched) } }
    }

    #[test]
    fn entries_are_acknowledged_only_when_synced() {
        let mut promises = Promises::default();
        promises.started(A, Term(1), LogIndex(2)).unwrap();
        promises.written(A, &write(1, None, Some(2), &[2, 3]));
        promises.written(A, &write(2, None, None, &[4]));
        promises.observe(A, B, &accepted(2)).unwrap();
        promises.observe(A, B, &accepted(3)).unwrap_err();
        promises.synced(A, WriteSequence(1));
        promises.observe(A, B, &accepted(3)).unwrap();
        promises.observe(A, B, &accepted(4)).unwrap_err();
    }

    #[test]
    fn what_a_snapshot_of_a_later_term_replaces_may_go() {
        let at = |term, last| {
            let mut promises = Promises::default();
            promises.started(A, Term(0), LogIndex(0)).unwrap();
            promises.written(A, &write(1, Some(HardState { term: Term(1), ..HardState::default() }), None, &[1, 2, 3]));
            promises.synced(A, WriteSequence(1));
            promises.installed(A, LogPosition::new(Term(term), LogIndex(2)));
            promises.started(A, Term(3), LogIndex(last))
        };
        at(3, 2).unwrap();
        at(1, 2).unwrap_err();
        at(3, 1).unwrap_err();
    }

    #[test]
    fn a_vote_is_given_only_when_synced_and_to_one() {
        let vote = Message { term: Term(2), body: Body::VoteReply { granted: true, suspect: false } };
        let mut promises = Promises::default();
        promises.started(A, Term(0), LogIndex(0)).unwrap();
        promises.written(A, &write(1, Some(HardState { term: Term(2), vote: Some(B), suspect: false }), None, &[]));
        promises.observe(A, B, &vote).unwrap_err();
        promises.synced(A, WriteSequence(1));
        promises.observe(A, B, &vote).unwrap();
        promises.observe(A, NodeId(3), &vote).unwrap_err();
        promises.started(A, Term(2), LogIndex(0)).unwrap();
        promises.observe(A, NodeId(3), &vote).unwrap_err();
        promises.observe(A, B, &vote).unwrap();
    }
}
