//! Elections: pre-vote, vote, the leader's lease on its followers, and when to try (again) (Raft paper, section 5.2; thesis, section 9.6).
//!
//! Invariants:
//! 1. A vote, or a request for votes, leaves only when the term and the vote in it are durable; a candidate's own vote counts only then.
//! 2. A vote is given only to a log at least as up to date as the voter's own.
//! 3. A node keeps its leader's *lease*: for an election timeout after it heard from it, it does not help to elect another. Then a node
//!    that can't hear a healthy leader (cut off one way, or removed) disturbs nobody. The lease ends early
//!    * when this node itself lost its connection to the leader,
//!    * for the leader's own request: who asks to be elected does not lead,
//!    * in a transfer, which the leader itself began,
//!    * for one who says that the leader is gone, if this node also missed two heartbeats.
//!
//!    With lease reads on, only the second and the third count, and the lease is also kept after a restart: an unknown leader may have heard
//!    from this node just before.
//! 4. Whoever asks is answered, member or not: its configuration may be newer than this node's. The candidate counts only voters.
//!
//! Chains (each node reaches only some others): no pre-vote is won without a quorum, so nobody who can't win raises terms; a leader without a
//! quorum steps down within an election timeout, and its followers' leases end one timeout later. Whoever then reaches a quorum whose logs
//! are no more up to date than its own wins. If the only node that reaches a quorum has an outdated log, Raft has no leader until the
//! network changes; that case is left out.

use alloc::collections::BTreeMap;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Instant, LogIndex, LogPosition, NodeId, Term, time::Duration};

use crate::WriteSequence;
use crate::message::Body;
use crate::quorum::{self, Outcome, Vote};
use crate::raft::{Raft, RoleState};

/// Votes and pre-votes asked for in one attempt.
#[derive(Debug, Default)]
pub(crate) struct Campaign {
    votes: BTreeMap<NodeId, Vote>,
    /// The write that makes a candidate's own vote durable.
    own_vote: WriteSequence,
}

/// From whom this node last heard as its leader, and when it stands itself.
#[derive(Debug)]
pub(crate) struct ElectionTimer {
    /// When to ask for pre-votes next.
    stand_at: Instant,
    /// The lease: kept for `None` after a restart with lease reads on.
    heard: Option<(Option<NodeId>, Instant)>,
    /// This node knows that its leader is gone.
    leader_is_gone: bool,
    /// Attempts since a leader was heard.
    attempts: u32,
}

impl ElectionTimer {
    pub(crate) fn new(now: Instant, keep_unknown_lease: bool) -> Self {
        let heard = keep_unknown_lease.then_some((None, now));
        ElectionTimer { stand_at: Instant::NEVER, heard, leader_is_gone: false, attempts: 0 }
    }

    /// When the next attempt is due, for a node that may make one.
    pub(crate) fn deadline(&self, may_campaign: bool) -> Instant {
        if may_campaign { self.stand_at } else { Instant::NEVER }
    }
}

impl Raft {
    /// Whether this node may be elected.
    pub(crate) fn may_campaign(&self) -> bool {
        self.configurations.may_campaign(self.config.id)
    }

    /// A time between `least` and twice that.
    fn random_wait(&mut self, least: Duration) -> Duration {
        let span = u64::try_from(least.as_micros()).unwrap_or(u64::MAX).max(1);
        least + Duration::from_micros(self.rng.u64(0..span))
    }

    /// Waits for a leader for a full, randomised timeout.
    pub(crate) fn wait_for_leader(&mut self) {
        self.election.stand_at = self.now + self.random_wait(self.config.election_timeout);
    }

    /// After a start this node knows of no leader: it asks around soon, for a pre-vote disturbs nobody and after a restart of all nobody leads. With
    /// lease reads on it must keep the lease of a leader that it has forgotten.
    pub(crate) fn start_waiting(&mut self) {
        if self.config.lease_reads {
            self.wait_for_leader();
        } else if self.is_only_voter() {
            self.election.stand_at = self.now;
        } else {
            let span = u64::try_from(self.config.heartbeat_interval.as_micros()).unwrap_or(u64::MAX).max(1);
            self.election.stand_at = self.now + Duration::from_micros(self.rng.u64(0..span));
        }
    }

    /// Whether this node decides alone.
    pub(crate) fn is_only_voter(&self) -> bool {
        quorum::has_quorum(self.configuration(), |id| id == self.config.id)
    }

    /// Stands after a short random time: nobody leads, and waiting out a whole timeout would help nobody.
    pub(crate) fn stand_again_soon(&mut self) {
        let span = u64::try_from(self.config.heartbeat_interval.as_micros() / 2).unwrap_or(u64::MAX).max(1);
        self.election.stand_at = self.now + Duration::from_micros(self.rng.u64(0..span));
        self.election.leader_is_gone = true;
        self.election.attempts = 0;
    }

    /// The wait after an attempt: short at first, then longer up to the normal timeout, random so that candidates part.
    fn back_off(&mut self) {
        let short = self.config.heartbeat_interval / 2;
        let longer = short.saturating_mul(1 << self.election.attempts.min(16));
        self.election.attempts += 1;
        self.election.stand_at = self.now + self.random_wait(longer.min(self.config.election_timeout));
    }

    /// The connection to the leader broke. With lease reads on its lease must be waited out all the same.
    pub(crate) fn leader_disconnected(&mut self) {
        if !self.config.lease_reads && !self.election.leader_is_gone {
            self.election.heard = None;
            self.stand_again_soon();
        }
    }

    /// The leader of the present term was heard.
    pub(crate) fn heard_leader(&mut self, leader: NodeId) {
        self.election.heard = Some((Some(leader), self.now));
        self.election.leader_is_gone = false;
        self.election.attempts = 0;
        self.wait_for_leader();
    }

    /// This node leads now: it keeps no one's lease.
    pub(crate) fn led(&mut self) {
        self.election.heard = None;
        self.election.leader_is_gone = false;
        self.election.attempts = 0;
    }

    pub(crate) fn tick_election(&mut self) {
        if self.now < self.election.stand_at {
            return;
        }
        match self.may_campaign() {
            // A disk that stands still: this node could not even vote for itself, and would only raise the others' terms again and again.
            true if !self.outbox.is_durable(self.outbox.hard_state_sequence()) => {
                self.leader = None;
                self.back_off();
            }
            true => self.ask_for_pre_votes(),
            false => {
                self.leader = None;
                self.wait_for_leader();
            }
        }
    }

    /// Whether this node still keeps the lease of a leader other than `candidate`; see invariant 3.
    fn keeps_lease(&self, candidate: NodeId, leader_is_gone: bool) -> bool {
        if let RoleState::Leader(_) = self.role {
            return true;
        }
        let Some((leader, heard)) = self.election.heard else { return false };
        let age = self.now.since(heard);
        let missed = leader_is_gone && !self.config.lease_reads && age >= 2 * self.config.heartbeat_interval;
        leader != Some(candidate) && age < self.config.election_timeout && !missed
    }

    fn own_vote(&self) -> Vote {
        if self.hard_state.suspect { Vote::GrantedSuspect } else { Vote::Granted }
    }

    /// Would the others vote for this node?
    fn ask_for_pre_votes(&mut self) {
        self.leader = None;
        self.back_off();
        let votes = BTreeMap::from([(self.config.id, self.own_vote())]);
        self.role = RoleState::PreCandidate(Campaign { votes, own_vote: WriteSequence(0) });
        let body = Body::PreVoteRequest { last: self.log.last(), leader_is_gone: self.election.leader_is_gone };
        let message = crate::Message { term: self.term().next(), body };
        for voter in self.other_voters() {
            self.outbox.send(voter, message.clone());
        }
        self.count_votes();
    }

    /// Stands for election in a new term. In a transfer the leader has said so.
    pub(crate) fn campaign(&mut self, transfer: bool) {
        self.adopt_term(self.term().next());
        self.hard_state.vote = Some(self.config.id);
        self.back_off();
        let own_vote = self.outbox.hard_state_sequence();
        self.role = RoleState::Candidate(Campaign { votes: BTreeMap::new(), own_vote });
        let leader_is_gone = self.election.leader_is_gone;
        let message = self.message(Body::VoteRequest { last: self.log.last(), leader_is_gone, transfer });
        for voter in self.other_voters() {
            self.outbox.send_when_durable(voter, message.clone());
        }
    }

    fn other_voters(&self) -> impl Iterator<Item = NodeId> + use<> {
        let configuration = self.configuration();
        let mut voters = &configuration.voters | &configuration.outgoing;
        voters.remove(&self.config.id);
        voters.into_iter()
    }

    /// The candidate's own vote is durable, if the write of it is.
    pub(crate) fn count_own_vote(&mut self) {
        let vote = self.own_vote();
        let RoleState::Candidate(campaign) = &mut self.role else { return };
        if self.outbox.is_durable(campaign.own_vote) && !campaign.votes.contains_key(&self.config.id) {
            campaign.votes.insert(self.config.id, vote);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let (RoleState::PreCandidate(campaign) | RoleState::Candidate(campaign)) = &self.role else { return };
        let outcome = quorum::tally(self.configuration(), &campaign.votes);
        match (outcome, &self.role) {
            (Outcome::Open, _) | (_, RoleState::Follower | RoleState::Leader(_)) => {}
            (Outcome::Lost, _) => self.role = RoleState::Follower,
            (Outcome::Won, RoleState::PreCandidate(_)) => self.campaign(false),
            (Outcome::Won, RoleState::Candidate(_)) => self.become_leader(),
        }
    }

    /// Records `voter`'s answer. The first one counts: an attempt asks everyone once, and copies say the same.
    fn take_vote(&mut self, voter: NodeId, granted: bool, suspect: bool) {
        let (RoleState::PreCandidate(campaign) | RoleState::Candidate(campaign)) = &mut self.role else { return };
        let vote = match (granted, suspect) {
            (true, false) => Vote::Granted,
            (true, true) => Vote::GrantedSuspect,
            (false, _) => Vote::Refused,
        };
        campaign.votes.entry(voter).or_insert(vote);
        self.count_votes();
    }

    pub(crate) fn on_pre_vote_request(&mut self, from: NodeId, term: Term, last: LogPosition, leader_is_gone: bool) {
        let up_to_date = last >= self.log.last() || is_planted(Bug::VoteForOlderLog);
        let is_asked = !is_planted(Bug::NonVoterRefusesVotes) || self.configuration().is_voter(self.config.id);
        let granted = term > self.term() && up_to_date && is_asked && !self.keeps_lease(from, leader_is_gone);
        let term = if granted { term } else { self.term() };
        let body = Body::PreVoteReply { granted, suspect: self.hard_state.suspect };
        self.outbox.send(from, crate::Message { term, body });
    }

    pub(crate) fn on_pre_vote_reply(&mut self, from: NodeId, term: Term, granted: bool, suspect: bool) {
        if !granted && term > self.term() {
            return self.adopt_term(term);
        }
        // A refusal comes in the voter's own term, which may be behind; late answers to an earlier attempt at the same term still hold.
        let answers_this = if granted { term == self.term().next() } else { term <= self.term() };
        if let RoleState::PreCandidate(_) = self.role
            && answers_this
        {
            self.take_vote(from, granted, suspect);
        }
    }

    /// A request that the lease forbids is left unanswered, and its term ignored: otherwise it would end the lease all the same.
    pub(crate) fn on_vote_request(&mut self, from: NodeId, term: Term, last: LogPosition, leader_is_gone: bool, transfer: bool) {
        if term > self.term() {
            if !transfer && self.keeps_lease(from, leader_is_gone) {
                return;
            }
            self.adopt_term(term);
        }
        let unbound = self.hard_state.vote.is_none_or(|vote| vote == from) || is_planted(Bug::VoteTwice);
        let free = unbound && self.leader.is_none();
        let granted = term == self.term() && free && (last >= self.log.last() || is_planted(Bug::VoteForOlderLog));
        let reply = self.message(Body::VoteReply { granted, suspect: self.hard_state.suspect });
        if !granted {
            return self.outbox.send(from, reply);
        }
        if self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(from);
            self.outbox.hard_state_changed();
        }
        self.outbox.send_when_durable(from, reply);
        self.wait_for_leader();
    }

    pub(crate) fn on_vote_reply(&mut self, from: NodeId, granted: bool, suspect: bool) {
        if let RoleState::Candidate(_) = self.role {
            self.take_vote(from, granted, suspect);
        }
    }

    /// A leader of an older term still sends: it learns of the present one. Without this a node that got ahead in an election that nobody won
    /// could never follow again, because its leader's followers keep the lease.
    pub(crate) fn on_deposed_leader(&mut self, from: NodeId) {
        let reply = self.message(Body::HeartbeatReply { round: 0, verified: LogIndex(0) });
        self.outbox.send(from, reply);
    }
}
