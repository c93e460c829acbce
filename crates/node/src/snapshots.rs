//! Snapshots between nodes: beginning, progress and end of hand-overs, on both sides.

use bytes::Bytes;
use steadfast_consensus::SnapshotFit;
use steadfast_state::State;
use steadfast_state::auth::AuthEvent;
use steadfast_storage::tables::{IncomingError, LsmTables};
use steadfast_types::disk::Disk;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{LogIndex, NodeId};

use crate::node::{DISK_RETRY, Node};
use crate::snapshot_receive::{Chunk, Receiving};
use crate::snapshot_send::Sending;
use crate::{LogCommand, Notice, PeerMessage, Refusal};

impl<S, D: Disk> Node<S, D> {
    /// Hands over the durable tables, if they hold the entry `at_least`. If only the memory does, that is made durable first: consensus and a
    /// repairing node ask again.
    pub(crate) fn begin_snapshot(&mut self, to: NodeId, at_least: LogIndex) {
        if self.sending.contains_key(&to) {
            return;
        }
        let checkpoint = self.state.tables().checkpoint();
        if checkpoint.applied().index < at_least.max(self.log_start.index).max(LogIndex(1)) {
            if self.state.applied().index >= at_least {
                self.state.tables_mut().flush_now();
            }
            self.raft.snapshot_sent(to, None);
            return;
        }
        let sending = Sending::new(to, self.rng.u64(1..), checkpoint, self.now);
        let (position, bytes) = (sending.position, sending.total_bytes());
        self.out.notices.push(Notice::SnapshotSending { to, position, bytes });
        self.sending.insert(to, sending);
    }

    /// The receiver has restarted, or given up.
    pub(crate) fn on_snapshot_unknown(&mut self, from: NodeId, transfer: u64) {
        if self.sending.get(&from).is_some_and(|sending| sending.transfer == transfer) {
            self.end_sending(from, false);
        }
    }

    /// The receiver found it damaged. If it is, that is noticed by looking.
    pub(crate) fn on_snapshot_damaged(&mut self, from: NodeId, transfer: u64) {
        let Some(sending) = self.sending.get(&from).filter(|sending| sending.transfer == transfer) else { return };
        self.out.jobs.push(sending.verification());
        self.end_sending(from, false);
    }

    pub(crate) fn on_snapshot_read(&mut self, to: NodeId, transfer: u64, offset: u64, bytes: Result<Bytes, String>) {
        let Some(sending) = self.sending.get_mut(&to).filter(|sending| sending.transfer == transfer) else { return };
        match bytes {
            Ok(bytes) => {
                let frame = sending.chunk_read(offset, bytes);
                self.send(to, &frame);
            }
            Err(error) => {
                self.out.notices.push(Notice::JobFailed(format!("reading a snapshot for {to}: {error}")));
                self.end_sending(to, false);
            }
        }
    }

    pub(crate) fn on_snapshot_progress(&mut self, from: NodeId, transfer: u64, received: u64, done: bool) {
        let now = self.now;
        let Some(sending) = self.sending.get_mut(&from).filter(|sending| sending.transfer == transfer) else { return };
        sending.progress(received, now);
        if done {
            self.end_sending(from, true);
        }
    }

    pub(crate) fn end_sending(&mut self, to: NodeId, installed: bool) {
        if let Some(sending) = self.sending.remove(&to) {
            self.out.notices.push(Notice::SnapshotSent { to, installed });
            self.raft.snapshot_sent(to, installed.then_some(sending.position));
        }
    }

    /// Ends hand-overs that get stuck, and those to nodes that are no members any more.
    pub(crate) fn end_idle_snapshots(&mut self) {
        if self.sending.is_empty() {
            return;
        }
        let members = self.raft.configuration().members();
        let is_idle = |sending: &&Sending<D>| sending.is_stuck(self.now) || !members.contains(&sending.to);
        let idle: Vec<NodeId> = self.sending.values().filter(is_idle).map(|sending| sending.to).collect();
        for to in idle {
            self.end_sending(to, false);
        }
    }

    pub(crate) fn on_snapshot_chunk(&mut self, from: NodeId, chunk: Chunk) {
        let transfer = chunk.transfer;
        let is_old = chunk.position.index <= self.raft.commit_index() && !is_planted(Bug::OldSnapshotInstalled);
        if is_old && self.receiving.is_none() {
            return self.send(from, &PeerMessage::SnapshotProgress { transfer, received: chunk.total, done: true });
        }
        if self.now < self.tables_retry {
            return;
        }
        if let Some(answer) = Receiving::on_chunk(&mut self.receiving, from, chunk, self.now) {
            self.send(from, &answer);
        }
    }

    /// A snapshot that the log has overtaken must not take the state back.
    pub(crate) fn drop_outrun_snapshot(&mut self) {
        let outrun = |receiving: &mut Receiving<D>| {
            !is_planted(Bug::OldSnapshotInstalled) && receiving.is_between_jobs() && receiving.position.index <= self.state.applied().index
        };
        if let Some(receiving) = self.receiving.take_if(outrun) {
            let done = PeerMessage::SnapshotProgress { transfer: receiving.transfer, received: u64::MAX, done: true };
            self.send(receiving.from, &done);
        }
    }

    /// What was received can't be written, or is damaged. The sender may begin again, a full disk given the time.
    pub(crate) fn drop_receiving(&mut self, error: &IncomingError) {
        let Some(receiving) = self.receiving.take() else { return };
        if matches!(error, IncomingError::Disk(_)) {
            self.tables_retry = self.now + DISK_RETRY;
        }
        self.send(receiving.from, &receiving.refusal(error));
        self.out.notices.push(Notice::JobFailed(format!("writing a snapshot from {}: {error}", receiving.from)));
        self.apply_held_back();
    }

    pub(crate) fn on_installed(&mut self, transfer: u64, tables: Result<LsmTables<D>, String>) {
        let receiving = self.receiving.take().filter(|receiving| receiving.transfer == transfer);
        let receiving = receiving.expect("a snapshot stays where it is while it is being installed");
        let tables = match tables {
            Ok(tables) => tables,
            // The former tables are retired, and which ones are in place is for the next start to find out.
            Err(error) => return self.fault(format!("an installed snapshot: {error}")),
        };
        match State::open(tables) {
            Ok(state) => self.switch_state(state, &receiving),
            Err(error) => self.damaged(format!("an installed snapshot: {error}")),
        }
    }

    pub(crate) fn switch_state(&mut self, state: State<LsmTables<D>>, receiving: &Receiving<D>) {
        let (position, configuration) = (state.applied(), state.configuration().clone());
        assert!(position > self.state.applied(), "a snapshot at {position} would undo entries up to {}", self.state.applied());
        let was_member = self.state.configuration().contains(self.options.id);
        self.state = state;
        // What the old tables held on to is forgotten with them.
        self.leases.stop();
        for slot in self.proposals.outcomes_lost(position.term) {
            self.refuse(slot, Refusal::LeaderChanged);
        }
        if self.raft.snapshot_fit(position) == SnapshotFit::Replaces {
            self.log_start = position;
            self.compaction_asked = position;
            self.out.log.push(LogCommand::Reset { position, hard_state: self.hard_state });
        }
        self.raft.snapshot_installed(position, configuration);
        if position.term > self.last_applied_term {
            self.last_applied_term = position.term;
            self.proposals.term_applied(position.term);
        }
        // What happened to tokens and rights in between is not known.
        self.out.auth.push(AuthEvent::Replaced);
        self.out.notices.push(Notice::SnapshotInstalled(position));
        self.out.notices.push(Notice::MembersChanged);
        self.after_apply(was_member);
        let transfer = receiving.transfer;
        self.send(receiving.from, &PeerMessage::SnapshotProgress { transfer, received: u64::MAX, done: true });
        self.apply_held_back();
    }
}

#[cfg(test)]
mod tests;
