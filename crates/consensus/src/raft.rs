//! The core itself: its state, its construction, and its inputs by name. What each does is in the file of its role or concept.
//!
//! Invariants:
//! 1. Time never goes back.
//! 2. The term never falls; within a term the vote, once given, never changes, and there is one leader.
//! 3. Whatever is taken from a message of another term is safe in any term; everything else of an older term is dropped.

use bytes::Bytes;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Entry, HardState, Instant, LogIndex, LogPosition, NodeId, Payload, Rng, Term};

pub use crate::config::{Config, Recovered};
pub use crate::status::{FollowerStatus, ProposeError, Status};

use crate::election::{Campaign, ElectionTimer};
use crate::follower::Following;
use crate::leader::Leadership;
use crate::log::Log;
use crate::membership::Configurations;
use crate::message::Body;
use crate::outbox::Outbox;
use crate::read::Reads;
use crate::{Message, Outputs, Role, RoleChange, WriteSequence};

/// What a node is, with what only that role needs.
#[derive(Debug)]
pub(crate) enum RoleState {
    Follower,
    PreCandidate(Campaign),
    Candidate(Campaign),
    Leader(Leadership),
}

/// One node's consensus. The crate's documentation says how to drive it.
#[derive(Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) now: Instant,
    pub(crate) hard_state: HardState,
    /// While suspect: an entry of a term above this one ends the suspicion.
    pub(crate) suspect_through: Term,
    pub(crate) role: RoleState,
    /// The leader of the present term, while it is heard.
    pub(crate) leader: Option<NodeId>,
    pub(crate) log: Log,
    pub(crate) configurations: Configurations,
    pub(crate) configuration_news: bool,
    /// A leader may have lanes to nodes that are no members any more.
    pub(crate) lanes_outdated: bool,
    pub(crate) election: ElectionTimer,
    pub(crate) following: Following,
    pub(crate) reads: Reads,
    pub(crate) outbox: Outbox,
    /// Role, term and leader as last handed out.
    reported: RoleChange,
}

impl Raft {
    /// A node as storage found it, at time `now`. `seed` makes all its choices: no two nodes, and no two lives of one node, may share one
    /// (a delayed answer to an earlier life is told by it).
    ///
    /// # Panics
    /// If `config` or `recovered` contradict themselves.
    pub fn new(config: Config, recovered: Recovered, seed: u64, now: Instant) -> Self {
        assert!(!config.heartbeat_interval.is_zero(), "the heartbeat interval must be more than zero");
        assert!(config.election_timeout > 2 * config.heartbeat_interval, "the election timeout must exceed two heartbeat intervals");
        assert!(config.clock_drift_percent < 100, "a clock drift of 100 percent or more leaves no lease");
        let mut rng = Rng::with_seed(seed);
        let log = Log::recovered(&recovered, config.recent_entry_bytes);
        let hard_state = recovered.hard_state;
        let reported = RoleChange { role: Role::Follower, term: hard_state.term, leader: None };
        let mut raft = Raft {
            reads: Reads::new(rng.u64(..)),
            election: ElectionTimer::new(now, config.lease_reads),
            following: Following::new(log.commit()),
            outbox: Outbox::new(hard_state, log.last().index),
            configurations: Configurations::new(recovered.snapshot, recovered.configuration),
            configuration_news: false,
            lanes_outdated: false,
            suspect_through: hard_state.term,
            role: RoleState::Follower,
            leader: None,
            rng,
            now,
            hard_state,
            log,
            config,
            reported,
        };
        for entry in &recovered.entries {
            raft.note_configuration(entry);
        }
        raft.configuration_news = false;
        // A snapshot may be durable before the hard state of its term is. This node has not voted in that term: a vote would be remembered.
        if raft.log.last().term > hard_state.term {
            raft.adopt_term(raft.log.last().term);
        }
        if hard_state.suspect {
            raft.suspect_through = raft.term();
            raft.leave_suspected_term();
        }
        raft.start_waiting();
        raft
    }

    /// Moves time forward, and does what is due. A time earlier than the last one counts as that one.
    ///
    /// The clock must have been read after everything that is handed in until the next call had come in: reads by lease rely on it.
    pub fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
        match self.role {
            RoleState::Leader(_) => self.tick_leader(),
            RoleState::Follower | RoleState::PreCandidate(_) | RoleState::Candidate(_) => self.tick_election(),
        }
    }

    /// Takes a message that `from` sent. A message that makes no sense (from this node itself, or with entries that do not follow each
    /// other) is dropped.
    pub fn receive(&mut self, from: NodeId, message: Message) {
        let Message { term, body } = message;
        if from == self.config.id {
            return;
        }
        match body {
            Body::PreVoteRequest { last, leader_is_gone } => self.on_pre_vote_request(from, term, last, leader_is_gone),
            Body::PreVoteReply { granted, suspect } => self.on_pre_vote_reply(from, term, granted, suspect),
            Body::VoteRequest { last, leader_is_gone, transfer } => self.on_vote_request(from, term, last, leader_is_gone, transfer),
            Body::Append { .. } | Body::Heartbeat { .. } if term < self.term() => self.on_deposed_leader(from),
            Body::AppendAccepted { .. } if term < self.term() && is_planted(Bug::StaleAppendAnswers) => self.on_current(from, body),
            _ if term < self.term() => {}
            body => {
                if term > self.term() {
                    self.adopt_term(term);
                }
                self.on_current(from, body);
            }
        }
    }

    /// A message of the present term.
    fn on_current(&mut self, from: NodeId, body: Body) {
        match body {
            Body::PreVoteRequest { .. } | Body::PreVoteReply { .. } | Body::VoteRequest { .. } => {
                unreachable!("requests to elect and pre-votes are handled before terms are compared")
            }
            Body::VoteReply { granted, suspect } => self.on_vote_reply(from, granted, suspect),
            Body::Append { previous, entries, commit } => self.on_append(from, previous, entries, commit),
            Body::AppendAccepted { matched } => self.on_append_accepted(from, matched),
            Body::AppendRejected { rejected, hint } => self.on_append_rejected(from, rejected, hint),
            Body::Heartbeat { commit, round } => self.on_heartbeat(from, commit, round),
            Body::HeartbeatReply { round, verified } => self.on_heartbeat_reply(from, round, verified),
            Body::ReadIndex { number, life } => self.on_read_index(from, number, life),
            Body::ReadIndexReply { number, life, index } => self.on_read_index_reply(number, life, index),
            Body::TimeoutNow {} => self.on_timeout_now(from),
            Body::SnapshotInstalled { position, configuration: _ } => self.on_snapshot_installed(from, position),
        }
    }

    /// Appends `batch` to the replicated log, on the leader. Its position identifies it when it is committed: another entry may be committed
    /// at that index instead, then of another term.
    ///
    /// # Errors
    /// If this node does not lead, is handing over, or has too much uncommitted.
    pub fn propose(&mut self, batch: Bytes) -> Result<LogPosition, ProposeError> {
        self.may_propose(batch.len())?;
        Ok(self.append_own(Payload::Batch(batch)))
    }

    /// The log writer has made all writes up to `sequence` durable.
    pub fn log_synced(&mut self, sequence: WriteSequence) {
        let durable = self.outbox.synced(sequence);
        if let Some(durable) = durable {
            self.log.synced(durable);
        }
        self.end_suspicion();
        match self.role {
            RoleState::Follower | RoleState::PreCandidate(_) => self.acknowledge_synced(),
            RoleState::Candidate(_) => self.count_own_vote(),
            RoleState::Leader(_) => self.advance_commit(),
        }
    }

    /// The state machine has applied everything up to `index`.
    pub fn applied(&mut self, index: LogIndex) {
        self.log.applied(index);
    }

    /// The log on disk no longer holds entries up to `through`, which are applied.
    pub fn log_compacted(&mut self, through: LogPosition) {
        self.log.compact(through);
    }

    /// The connection to `peer` broke or was refused: a hint that it is gone, or that what was sent last is lost.
    pub fn peer_disconnected(&mut self, peer: NodeId) {
        match &mut self.role {
            RoleState::Leader(leadership) => leadership.disconnected(peer),
            RoleState::Follower if self.leader == Some(peer) => self.leader_disconnected(),
            RoleState::Follower | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
        }
    }

    /// Everything that came out since the last drain.
    pub fn take_outputs(&mut self) -> Outputs {
        self.drive_reads();
        self.drive_followers();
        let role = RoleChange { role: self.role(), term: self.term(), leader: self.leader };
        let reported = core::mem::replace(&mut self.reported, role);
        let news = core::mem::take(&mut self.configuration_news);
        Outputs {
            log_write: self.outbox.take_write(self.hard_state, self.now),
            messages: core::mem::take(&mut self.outbox.messages),
            committed: self.log.take_committed(),
            read_ready: self.outbox.read_ready.take(),
            fetch: core::mem::take(&mut self.outbox.fetch),
            snapshot_wanted: core::mem::take(&mut self.outbox.snapshot_wanted),
            role: (role != reported).then_some(role),
            configuration: news.then(|| (self.configurations.position(), self.configuration().clone())),
        }
    }

    /// A message of the present term.
    pub(crate) fn message(&self, body: Body) -> Message {
        Message { term: self.hard_state.term, body }
    }

    /// Adds an entry to the log, in memory now and on disk with the next write.
    pub(crate) fn append_entry(&mut self, entry: Entry) {
        self.log.append(entry.clone());
        self.note_configuration(&entry);
        self.outbox.write(entry);
    }

    /// Puts the configuration of an entry in force.
    fn note_configuration(&mut self, entry: &Entry) {
        match &entry.payload {
            Payload::Empty | Payload::Batch(_) => {}
            Payload::Change { configuration, batch: _ } => {
                self.configurations.push(entry.position(), configuration.clone());
                self.configuration_changed();
            }
        }
    }

    /// Entries up to `index` are committed.
    pub(crate) fn commit_to(&mut self, index: LogIndex) {
        if index > self.log.commit() {
            self.log.commit_to(index);
            self.configuration_settled();
        }
    }

    /// Moves to a later term, whose leader is not known yet.
    pub(crate) fn adopt_term(&mut self, term: Term) {
        assert!(term > self.term(), "term {} can't become {term}", self.term());
        self.hard_state.term = term;
        self.hard_state.vote = None;
        self.outbox.term_changed();
        self.following = Following::new(self.log.commit());
        self.leader = None;
        let role = core::mem::replace(&mut self.role, RoleState::Follower);
        if let RoleState::Leader(_) = role {
            self.stand_again_soon();
        }
    }

    /// Ends the suspicion once the durable log reaches into a term that began after it. That term's leader was elected under the rule for
    /// suspect voters, so it had every committed entry, and this log equals its log up to there.
    pub(crate) fn end_suspicion(&mut self) {
        if self.hard_state.suspect && self.log.durable_term() > self.suspect_through {
            self.hard_state.suspect = false;
            self.outbox.hard_state_changed();
        }
    }

    /// A suspect node begins in a new term. The leader of the old one may count acknowledgements of what is lost here, or receive them still;
    /// by taking part in a later term only, this node makes all of them void, and makes the cluster elect a leader whose entries will end
    /// the suspicion. The old leader, still healthy, is elected again at once.
    fn leave_suspected_term(&mut self) {
        self.adopt_term(self.term().next());
    }
}
