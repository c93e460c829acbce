//! Linearizable reads without writing to the log (Raft thesis, section 6.4).
//!
//! Invariants:
//! 1. A read is confirmed with a commit index that the leader had at a time after the read was asked, and only when it is certain that no later
//!    leader had committed anything by then: because a quorum answered a heartbeat of a *round* begun after the read was asked, or by lease.
//! 2. The leader confirms nothing before it has committed an entry of its own term: until then its commit index may be behind that of the leader
//!    before it.
//! 3. A confirmation only raises the number of confirmed reads.
//!
//! Reads on another node are asked of the leader by number, again and again until answered. Why an old answer, delayed or doubled, confirms
//! nothing wrongly: an answer for number `n` is made only after a round that began when the question for `n` had arrived at that leader; so
//! whatever was acknowledged before read `n` was asked is within its index, whichever leader it came from and whenever it arrives. A read
//! asked later has a greater number, which that answer does not reach. Numbers begin again with each process life, so question and answer
//! carry a random number of the asking life.
//!
//! By lease (opt-in): voters that answered a heartbeat sent at time `t` elect nobody until `t` plus an election timeout, less clock drift (see
//! `election`); so until then no other leader exists. The core knows only the time it was told: that must have been read *after* the requests
//! had come in (see [`Raft::tick`]). Then there is a moment within each read's life, the reading of the clock, at which nobody else had
//! committed anything and this leader's commit index covered all that was acknowledged; the state that the read finds later, however long the
//! process was paused between, is that state or a newer one. So nothing needs to be checked after the read, and other nodes' reads are confirmed
//! by lease too.

use alloc::collections::{BTreeMap, VecDeque};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Instant, LogIndex, NodeId, Term, time::Duration};

use crate::message::Body;
use crate::quorum;
use crate::raft::{Raft, RoleState};
use crate::{ReadNumber, ReadReady};

/// Rounds, and questions to the leader, that may be under way at once. Reads that come meanwhile wait for the next one and share it: under load
/// a few large rounds cost far less than many small ones, and a second one under way keeps the wait to half a round trip on average.
const OPEN_ROUNDS: usize = 2;

/// How many rounds back the time of sending is remembered: an answer to an older one renews no lease.
const REMEMBERED_ROUNDS: usize = 256;

/// A question to the leader that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Question {
    leader: NodeId,
    term: Term,
    number: ReadNumber,
    /// The one asked before it, if it was under way too: until that is confirmed there are as many under way as may be.
    before: ReadNumber,
    repeat_at: Instant,
}

/// This node's own reads.
#[derive(Debug)]
pub(crate) struct Reads {
    life: u64,
    wanted: ReadNumber,
    confirmed: ReadNumber,
    question: Option<Question>,
}

impl Reads {
    pub(crate) fn new(life: u64) -> Self {
        Reads { life, wanted: ReadNumber(0), confirmed: ReadNumber(0), question: None }
    }

    pub(crate) fn confirmed(&self) -> ReadNumber {
        self.confirmed
    }

    /// When an open question is to be repeated.
    pub(crate) fn deadline(&self) -> Instant {
        self.question.filter(|_| self.wanted > self.confirmed).map_or(Instant::NEVER, |question| question.repeat_at)
    }
}

/// A heartbeat round that reads wait for.
#[derive(Debug)]
struct Round {
    number: u64,
    /// The commit index when it began.
    index: LogIndex,
    own: ReadNumber,
    remote: BTreeMap<NodeId, (u64, ReadNumber)>,
}

/// A leader's heartbeat rounds, and the reads that wait for the next one.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    latest: u64,
    sent: VecDeque<(u64, Instant)>,
    open: VecDeque<Round>,
    /// The newest own read that is in a round.
    own_asked: ReadNumber,
    /// Life and newest read of each node that asked; at most one per member.
    remote: BTreeMap<NodeId, (u64, ReadNumber)>,
}

impl Rounds {
    /// Begins the next round.
    pub(crate) fn begin(&mut self, now: Instant) -> u64 {
        self.latest += 1;
        self.sent.push_back((self.latest, now));
        if self.sent.len() > REMEMBERED_ROUNDS {
            self.sent.pop_front();
        }
        self.latest
    }

    /// When `round` was sent, if it is remembered.
    fn sent_at(&self, round: u64) -> Option<Instant> {
        let position = self.sent.binary_search_by_key(&round, |&(number, _)| number).ok()?;
        Some(self.sent[position].1)
    }
}

impl Raft {
    /// Asks for read numbers up to `number` to be confirmed; never goes down. Confirmed, later, in [`crate::Outputs::read_ready`] on this same
    /// node, whoever leads; the core repeats the question until then.
    pub fn request_read(&mut self, number: ReadNumber) {
        self.reads.wanted = self.reads.wanted.max(number);
    }

    /// Gets waiting reads on their way; once per drain.
    pub(crate) fn drive_reads(&mut self) {
        match self.role {
            RoleState::Leader(_) if self.is_established_leader() || is_planted(Bug::ReadBeforeOwnCommit) => self.drive_rounds(),
            RoleState::Leader(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
            RoleState::Follower => self.ask_leader(),
        }
    }

    /// Asks the leader, or asks again: a new one, for newer reads, or after a while.
    fn ask_leader(&mut self) {
        let (Some(leader), term, number) = (self.leader, self.term(), self.reads.wanted) else { return };
        let confirmed = self.reads.confirmed;
        let open =
            self.reads.question.filter(|question| question.leader == leader && question.term == term && self.now < question.repeat_at);
        let asked = |question: Question| question.number >= number || question.before > confirmed;
        if number <= confirmed || open.is_some_and(asked) {
            return;
        }
        let repeat_at = self.now + self.config.heartbeat_interval;
        let before = open.map_or(ReadNumber(0), |question| question.number);
        self.reads.question = Some(Question { leader, term, number, before, repeat_at });
        self.outbox.send(leader, self.message(Body::ReadIndex { number, life: self.reads.life }));
    }

    /// Begins a round for the reads that wait, or confirms them if that takes nobody else.
    fn drive_rounds(&mut self) {
        let index = self.log.commit();
        if self.is_only_voter() || is_planted(Bug::ReadWithoutRound) || self.lease_until().is_some_and(|until| self.now < until) {
            return self.confirm_all(index);
        }
        let wanted = self.reads.wanted;
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let rounds = &mut leadership.rounds;
        let own_waits = wanted > rounds.own_asked.max(self.reads.confirmed);
        if (!own_waits && rounds.remote.is_empty()) || rounds.open.len() >= OPEN_ROUNDS {
            return;
        }
        rounds.own_asked = wanted;
        let round = Round { number: rounds.latest + 1, index, own: wanted, remote: core::mem::take(&mut rounds.remote) };
        rounds.open.push_back(round);
        self.broadcast_heartbeat();
    }

    /// Nobody else can lead now: the only voter is its own quorum, and a lease keeps the others from voting.
    fn confirm_all(&mut self, index: LogIndex) {
        self.confirm(self.reads.wanted, index);
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let remote = core::mem::take(&mut leadership.rounds.remote);
        self.answer(remote, index);
    }

    /// `from` followed this leader when it answered `round`.
    pub(crate) fn round_answered(&mut self, from: NodeId, round: u64) {
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let (rounds, progress) = (&mut leadership.rounds, leadership.progress.get_mut(&from));
        let Some(progress) = progress.filter(|progress| round > progress.round_answered && round <= rounds.latest) else { return };
        progress.round_answered = round;
        progress.round_sent = rounds.sent_at(round).or(progress.round_sent);
        self.close_rounds();
    }

    /// Confirms the reads of every round that a quorum has answered.
    fn close_rounds(&mut self) {
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let answered = |id| leadership.progress.get(&id).map_or(if id == self.config.id { u64::MAX } else { 0 }, |p| p.round_answered);
        let Some(reached) = quorum::reached(self.configurations.latest(), answered) else { return };
        let closed = leadership.rounds.open.partition_point(|round| round.number <= reached);
        let closed: VecDeque<Round> = leadership.rounds.open.drain(..closed).collect();
        for round in closed {
            self.confirm(round.own, round.index);
            self.answer(round.remote, round.index);
        }
    }

    /// Until when no other leader can exist, as far as this leader knows; only with lease reads on.
    fn lease_until(&self) -> Option<Instant> {
        let RoleState::Leader(leadership) = &self.role else { return None };
        if !self.config.lease_reads || leadership.lease_given_up {
            return None;
        }
        let sent = |id| match leadership.progress.get(&id) {
            Some(progress) => progress.round_sent,
            None => (id == self.config.id).then_some(self.now),
        };
        let lease: Duration = self.config.election_timeout * (100 - self.config.clock_drift_percent) / 100;
        Some(quorum::reached(self.configuration(), sent)?? + lease)
    }

    /// Own reads up to `number` may be answered once `index` is applied.
    fn confirm(&mut self, number: ReadNumber, index: LogIndex) {
        if number <= self.reads.confirmed {
            return;
        }
        self.reads.confirmed = number;
        let index = self.outbox.read_ready.map_or(index, |earlier| earlier.index.max(index));
        self.outbox.read_ready = Some(ReadReady { number, index });
    }

    /// Answers other nodes' reads.
    fn answer(&mut self, remote: BTreeMap<NodeId, (u64, ReadNumber)>, index: LogIndex) {
        for (to, (life, number)) in remote {
            self.outbox.send(to, self.message(Body::ReadIndexReply { number, life, index }));
        }
    }

    /// A member asks. If this node does not lead, it will ask again elsewhere.
    pub(crate) fn on_read_index(&mut self, from: NodeId, number: ReadNumber, life: u64) {
        let RoleState::Leader(leadership) = &mut self.role else { return };
        if !leadership.progress.contains_key(&from) {
            return;
        }
        let waiting = leadership.rounds.remote.entry(from).or_insert((life, number));
        *waiting = if waiting.0 == life { (life, number.max(waiting.1)) } else { (life, number) };
    }

    pub(crate) fn on_read_index_reply(&mut self, number: ReadNumber, life: u64, index: LogIndex) {
        if life == self.reads.life {
            self.confirm(number, index);
        }
    }
}
