//! The leader: takes proposals, counts what is durable where, commits, and keeps showing that it lives.
//!
//! Invariants:
//! 1. Only an entry of the leader's own term is committed by counting; with it, all before it (Raft paper, section 5.4.2 and figure 8).
//! 2. The leader counts itself for an entry only once the entry is durable on its own disk; so the only voter of a cluster commits nothing
//!    before its own sync. It may commit what the others have durably before its own disk is done.
//! 3. A leader that has not heard a quorum within an election timeout steps down.
//! 4. Bytes proposed and not yet both committed and durable here are bounded.
//!
//! A slow disk: a leader whose oldest log write has not been synced for an election timeout could go on committing through the others, but it
//! hears its own voice only late and, once they fail, stops everything. It hands leadership to the most caught-up voter; if that fails, it
//! tries again after four timeouts, because proposals wait during each attempt.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Entry, Instant, LogIndex, LogPosition, NodeId, Payload, limits::UNCOMMITTED_BYTES, time::Duration};

use crate::message::Body;
use crate::progress::{Mode, Progress};
use crate::quorum;
use crate::raft::{Raft, RoleState};
use crate::read::Rounds;
use crate::transfer::Transfer;
use crate::{FollowerStatus, ProposeError};

/// What only a leader has.
#[derive(Debug)]
pub(crate) struct Leadership {
    /// How far every other member is.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    pub(crate) rounds: Rounds,
    pub(crate) transfer: Option<Transfer>,
    /// The followers were told, in a transfer, that they need not keep this leader's lease; true to the term's end.
    pub(crate) lease_given_up: bool,
    heartbeat_due: Instant,
    /// Not before this is leadership given away again for a slow disk.
    slow_disk_retry: Instant,
}

impl Leadership {
    /// Tracks exactly `members`; a new one is hoped to have everything before `next`.
    pub(crate) fn track(&mut self, members: &BTreeSet<NodeId>, next: LogIndex, now: Instant) {
        self.progress.retain(|id, _| members.contains(id));
        for &id in members {
            self.progress.entry(id).or_insert_with(|| Progress::new(next, now));
        }
    }

    /// What was last sent to `peer` may be lost.
    pub(crate) fn disconnected(&mut self, peer: NodeId) {
        let Some(progress) = self.progress.get_mut(&peer) else { return };
        progress.connected = false;
        if progress.mode == Mode::Replicate {
            progress.probe_from(progress.matched.next());
        }
    }

    /// When time has to move next.
    pub(crate) fn deadline(&self) -> Instant {
        self.heartbeat_due
    }

    pub(crate) fn follower_status(&self, now: Instant, timeout: Duration) -> Vec<FollowerStatus> {
        let status = |(&id, progress): (&NodeId, &Progress)| FollowerStatus {
            id,
            matched: progress.matched,
            active: progress.connected && progress.is_active(now, timeout),
            snapshot: progress.mode == Mode::Snapshot,
        };
        self.progress.iter().map(status).collect()
    }
}

impl Raft {
    /// The election is won.
    pub(crate) fn become_leader(&mut self) {
        self.role = RoleState::Leader(Leadership {
            progress: BTreeMap::new(),
            rounds: Rounds::default(),
            transfer: None,
            lease_given_up: false,
            heartbeat_due: self.now + self.config.heartbeat_interval,
            slow_disk_retry: self.now,
        });
        self.leader = Some(self.config.id);
        self.led();
        self.track_members();
        self.append_own(Payload::Empty);
        self.broadcast_heartbeat();
    }

    /// Gives up leadership in a term that has no other leader.
    pub(crate) fn step_down(&mut self) {
        self.role = RoleState::Follower;
        self.leader = None;
        self.following.verified = self.log.commit();
        self.wait_for_leader();
    }

    /// Whether a proposal of `size` bytes can be taken now.
    pub(crate) fn may_propose(&self, size: usize) -> Result<(), ProposeError> {
        let RoleState::Leader(leadership) = &self.role else { return Err(ProposeError::NotLeader { leader: self.leader }) };
        if leadership.transfer.is_some() {
            return Err(ProposeError::Transferring);
        }
        // A single one always passes, however large.
        let waiting = self.log.unsettled_bytes();
        if waiting > 0 && waiting + size > UNCOMMITTED_BYTES {
            return Err(ProposeError::Busy);
        }
        Ok(())
    }

    /// Adds an entry of the leader's own term to the log.
    pub(crate) fn append_own(&mut self, payload: Payload) -> LogPosition {
        let entry = Entry { term: self.term(), index: self.log.last().index.next(), payload };
        let position = entry.position();
        self.append_entry(entry);
        if is_planted(Bug::SingleNodeBeforeSync) {
            self.advance_commit();
        }
        position
    }

    /// Commits what a quorum has durably.
    pub(crate) fn advance_commit(&mut self) {
        let RoleState::Leader(leadership) = &self.role else { return };
        let (id, durable, last, alone) = (self.config.id, self.log.durable(), self.log.last().index, leadership.progress.is_empty());
        let at = |voter| match leadership.progress.get(&voter) {
            Some(progress) => progress.matched,
            None if voter == id && is_planted(Bug::SingleNodeBeforeSync) && alone => last,
            None if voter == id => durable,
            None => LogIndex(0),
        };
        let before = self.log.commit();
        let Some(reached) = quorum::reached(self.configurations.latest(), at) else { return };
        let reached = if is_planted(Bug::CommitWithoutQuorum) { durable } else { reached };
        let is_own = self.log.term_at(reached) == Some(self.hard_state.term) || is_planted(Bug::CommitEarlierTerms);
        if reached <= before || !is_own {
            return;
        }
        self.commit_to(reached);
        self.continue_change();
    }

    pub(crate) fn tick_leader(&mut self) {
        if !self.hears_quorum() && !is_planted(Bug::LeaderWithoutQuorum) {
            return self.step_down();
        }
        self.expire_transfer();
        self.give_way_if_disk_is_slow();
        let RoleState::Leader(leadership) = &mut self.role else { return };
        if self.now < leadership.heartbeat_due {
            return;
        }
        leadership.heartbeat_due = self.now + self.config.heartbeat_interval;
        for progress in leadership.progress.values_mut() {
            progress.heartbeat_due(self.now, self.config.heartbeat_interval, self.config.election_timeout);
        }
        if let Some(transfer) = &mut leadership.transfer {
            transfer.repeat();
        }
        self.broadcast_heartbeat();
    }

    /// Whether a quorum answered within the last election timeout.
    fn hears_quorum(&self) -> bool {
        let RoleState::Leader(leadership) = &self.role else { return false };
        let active = |id| match leadership.progress.get(&id) {
            Some(progress) => progress.is_active(self.now, self.config.election_timeout),
            None => id == self.config.id,
        };
        quorum::has_quorum(self.configuration(), active)
    }

    /// Shows everyone that this leader lives, in a new round. Whoever answers it followed this leader after the round began.
    pub(crate) fn broadcast_heartbeat(&mut self) {
        let (term, commit) = (self.term(), self.log.commit());
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let round = leadership.rounds.begin(self.now);
        for (&id, progress) in &mut leadership.progress {
            progress.heartbeat_sent(round);
            let met = if is_planted(Bug::CommitBeyondVerified) { commit } else { progress.matched };
            let body = Body::Heartbeat { commit: commit.min(met), round };
            self.outbox.send(id, crate::Message { term, body });
        }
    }

    /// The lane to `from`, which has just answered in the present term.
    pub(crate) fn heard_follower(&mut self, from: NodeId) -> Option<&mut Progress> {
        let RoleState::Leader(leadership) = &mut self.role else { return None };
        let progress = leadership.progress.get_mut(&from)?;
        progress.last_active = self.now;
        progress.connected = true;
        Some(progress)
    }

    fn give_way_if_disk_is_slow(&mut self) {
        let (now, timeout) = (self.now, self.config.election_timeout);
        let slow = self.outbox.oldest_unsynced().is_some_and(|issued| now.since(issued) >= timeout);
        let RoleState::Leader(leadership) = &mut self.role else { return };
        if slow && now >= leadership.slow_disk_retry && !is_planted(Bug::SlowDiskKeepsLeading) {
            leadership.slow_disk_retry = now + 4 * timeout;
            // Without a voter to take over, the best this leader can do is to go on.
            let _ = self.transfer_leadership(None);
        }
    }
}
