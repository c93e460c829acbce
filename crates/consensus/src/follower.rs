//! The follower: takes its leader's entries, and says how far its log meets the leader's (Raft paper, section 5.3).
//!
//! Invariants:
//! 1. An acknowledgement names only what meets the leader's log *and* is durable, in a term that is durable.
//! 2. Only entries that conflict with the leader's are cut off, and never a committed one.
//! 3. Every append that fits is acknowledged: at once if all of it is durable, else when it is. One acknowledgement may answer many appends.
//! 4. The commit index follows the leader's no further than the logs are known to meet.

use alloc::vec::Vec;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Entry, LogIndex, LogPosition, NodeId};

use crate::message::Body;
use crate::raft::{Raft, RoleState};

/// What a node knows about its log in relation to the leader of the present term.
#[derive(Debug)]
pub(crate) struct Following {
    /// The logs meet up to here.
    pub(crate) verified: LogIndex,
    /// The leader waits for an acknowledgement.
    owes_acknowledgement: bool,
}

impl Following {
    /// At the beginning of a term: the leader, whoever it will be, has everything committed (Raft paper, section 5.4.3).
    pub(crate) fn new(commit: LogIndex) -> Self {
        Following { verified: commit, owes_acknowledgement: false }
    }
}

/// Whether `entries` follow `previous` and each other, in terms that don't fall.
fn is_sequence(previous: LogPosition, entries: &[Entry]) -> bool {
    let mut end = previous;
    entries.iter().all(|entry| {
        let follows = entry.index == end.index.next() && entry.term >= end.term;
        end = entry.position();
        follows
    })
}

impl Raft {
    /// `leader` leads the present term.
    fn follow(&mut self, leader: NodeId) {
        let (term, id) = (self.term(), self.config.id);
        assert!(!matches!(self.role, RoleState::Leader(_)), "{leader} and this node {id} both lead term {term}");
        assert!(self.leader.is_none_or(|known| known == leader), "{leader} and {:?} both lead term {term}", self.leader);
        self.role = RoleState::Follower;
        self.leader = Some(leader);
        self.heard_leader(leader);
    }

    pub(crate) fn on_append(&mut self, leader: NodeId, previous: LogPosition, entries: Vec<Entry>, commit: LogIndex) {
        if !is_sequence(previous, &entries) {
            return;
        }
        self.follow(leader);
        let committed = self.log.commit();
        // What is committed here the leader has too; its log may even begin later than `previous`.
        let meets = self.log.holds(previous) || is_planted(Bug::AppendWithoutMeeting) && previous.index <= self.log.last().index;
        if previous.index >= committed && !meets {
            assert!(previous.index > committed, "{leader} leads with {previous}, and entry {committed} is committed otherwise");
            return self.reject(leader, previous);
        }
        let end = LogIndex(previous.index.0 + entries.len() as u64);
        entries.into_iter().filter(|entry| entry.index > committed).for_each(|entry| self.take_entry(entry));
        self.following.verified = self.following.verified.max(end.max(committed));
        self.commit_to(commit.min(self.following.verified));
        self.following.owes_acknowledgement = true;
        if self.log.durable() >= self.following.verified || is_planted(Bug::AcknowledgedBeforeSync) {
            self.acknowledge(leader);
        }
    }

    /// Adds an entry of the leader's, unless it is there; what conflicts with it goes.
    fn take_entry(&mut self, entry: Entry) {
        if self.log.holds(entry.position()) {
            return;
        }
        if entry.index <= self.log.last().index {
            assert!(entry.index > self.following.verified, "the leader of term {} changed its entry {}", self.term(), entry.index);
            self.truncate_from(entry.index);
        }
        self.append_entry(entry);
    }

    fn truncate_from(&mut self, index: LogIndex) {
        self.log.truncate_from(index);
        self.outbox.truncate_from(index);
        if self.configurations.position().index >= index {
            self.configurations.truncate_from(index);
            self.configuration_changed();
        }
    }

    /// Says where the leader may try next: before `previous`, skipping every term that it can't have there.
    fn reject(&mut self, leader: NodeId, previous: LogPosition) {
        let below = self.log.last().index.min(previous.index.previous());
        let hint = self.log.position(self.log.last_not_after(below, previous.term));
        let body = Body::AppendRejected { rejected: previous.index, hint };
        self.outbox.send(leader, self.message(body));
    }

    fn acknowledge(&mut self, leader: NodeId) {
        let durable = if is_planted(Bug::AcknowledgedBeforeSync) { self.log.last().index } else { self.log.durable() };
        let matched = self.following.verified.min(durable);
        self.following.owes_acknowledgement = matched < self.following.verified;
        self.outbox.send_when_durable(leader, self.message(Body::AppendAccepted { matched }));
    }

    /// More of the log is durable: tells the leader, if it waits for that.
    pub(crate) fn acknowledge_synced(&mut self) {
        if let Some(leader) = self.leader
            && self.following.owes_acknowledgement
        {
            self.acknowledge(leader);
        }
    }

    pub(crate) fn on_heartbeat(&mut self, leader: NodeId, commit: LogIndex, round: u64) {
        self.follow(leader);
        let verified = if is_planted(Bug::CommitBeyondVerified) { self.log.last().index } else { self.following.verified };
        self.commit_to(commit.min(verified));
        let reply = Body::HeartbeatReply { round, verified: self.following.verified };
        self.outbox.send(leader, self.message(reply));
    }
}
