//! The running node: dispatch of what comes in, and the end of a turn.
//!
//! Invariants:
//! 1. A client is told that its command took effect only after the entry was committed by consensus and applied here.
//! 2. A read is let through only after its index, confirmed by a quorum after the read came in, is applied here.
//! 3. The log is cut only up to what the tables hold durably.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_consensus::{Outputs as RaftOutputs, ProposeError, Raft, Role, Status};
use steadfast_state::command::{Command, Member, Origin, Proposal};
use steadfast_state::{Answer as AnswerFor, State, StateReader};
use steadfast_storage::log::LogReader;
use steadfast_storage::tables::LsmTables;
use steadfast_types::disk::Disk;
use steadfast_types::tables::Tables;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Entry, HardState, Instant, LogIndex, LogPosition, NodeId, Payload, Rng, Term};

use crate::calls::Calls;
use crate::forward::{Intake, Taken};
use crate::jobs::{Done, InstallError, Job, JobDone, Kind};
use crate::leases::LeaseClock;
use crate::message::{CallAnswer, Question};
use crate::proposals::{Forwarding, Proposals};
use crate::reads::Reads;
use crate::snapshot_receive::{Chunk, Receiving};
use crate::snapshot_send::Sending;
use crate::start::Options;
use crate::{Answer, Input, LeaseTtl, LogCommand, LogDone, MembershipChange, Notice, Outputs, PeerMessage, Refusal, Request, RequestBody};

type TablesReader<D> = <LsmTables<D> as Tables>::Reader;

/// How often the leader asks all replicas to compare their hashes, if anything was applied.
const COMPARE_HASHES_EVERY: Duration = Duration::from_secs(10);

/// One running node.
pub struct Node<S, D: Disk> {
    pub(crate) options: Options,
    pub(crate) disk: D,
    raft: Raft,
    state: State<LsmTables<D>>,
    log_reader: LogReader<D>,
    hard_state: HardState,
    rng: Rng,
    now: Instant,
    proposals: Proposals<S>,
    intake: Intake,
    reads: Reads<Waiter<S>>,
    calls: Calls<Caller<S>>,
    leases: LeaseClock,
    sending: BTreeMap<NodeId, Sending<D>>,
    receiving: Option<Receiving<D>>,
    /// Committed while a snapshot is being installed.
    held_back: Vec<Entry>,
    tables_jobs_out: u32,
    last_applied_term: Term,
    log_start: LogPosition,
    log_bytes: u64,
    compaction_asked: LogPosition,
    hashes_compared: (Instant, LogIndex),
    next_timer: Instant,
    out: Outputs<S, D>,
}

/// Who waits for a confirmed read index.
#[derive(Debug)]
enum Waiter<S> {
    /// A client's read.
    Client(S),
    /// An answer that only a true leader may give, to its own client or another node's call.
    Lease { caller: LeaseCaller<S>, ttl: LeaseTtl },
}

#[derive(Debug)]
enum LeaseCaller<S> {
    Local(S),
    Remote { node: NodeId, number: u64 },
}

/// Whose call it is.
#[derive(Debug)]
enum Caller<S> {
    Client(S),
    /// The outcome comes by the log to this request number; only a refusal comes by the call.
    Reserved(u64),
}

/// How a node stands, for people and machines.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Consensus.
    pub consensus: Status,
    /// The last applied entry.
    pub applied: LogPosition,
    /// The last entry that the tables hold durably.
    pub durable: LogPosition,
    /// The log begins after this entry.
    pub log_start: LogPosition,
    /// Size of the log on disk, bytes.
    pub log_bytes: u64,
    /// The running hash of the state.
    pub hash: u64,
    /// Whether this node leads and its state is the latest.
    pub established: bool,
    /// Commands and reads that wait.
    pub waiting: usize,
}

/// What [`crate::start`] puts together.
pub(crate) struct Parts<D: Disk> {
    pub(crate) options: Options,
    pub(crate) disk: D,
    pub(crate) raft: Raft,
    pub(crate) state: State<LsmTables<D>>,
    pub(crate) log_reader: LogReader<D>,
    pub(crate) hard_state: HardState,
    pub(crate) log_start: LogPosition,
    pub(crate) log_bytes: u64,
}

impl<S, D: Disk> Node<S, D> {
    pub(crate) fn new(parts: Parts<D>, now: Instant) -> Self {
        let applied = parts.state.applied();
        Node {
            proposals: Proposals::new(parts.options.id, parts.options.incarnation),
            rng: Rng::with_seed(parts.options.seed ^ 0x6e6f_6465),
            disk: parts.disk,
            raft: parts.raft,
            state: parts.state,
            log_reader: parts.log_reader,
            hard_state: parts.hard_state,
            now,
            intake: Intake::default(),
            reads: Reads::new(),
            calls: Calls::new(),
            leases: LeaseClock::default(),
            sending: BTreeMap::new(),
            receiving: None,
            held_back: Vec::new(),
            tables_jobs_out: 0,
            last_applied_term: applied.term,
            log_start: parts.log_start,
            log_bytes: parts.log_bytes,
            compaction_asked: parts.log_start,
            hashes_compared: (now, applied.index),
            next_timer: now,
            out: Outputs::default(),
            options: parts.options,
        }
    }

    /// One turn: time moves to `now`, `inputs` are taken in order, and everything that follows comes out.
    pub fn turn(&mut self, now: Instant, inputs: impl IntoIterator<Item = Input<S, D>>) -> Outputs<S, D> {
        self.now = self.now.max(now);
        self.raft.tick(self.now);
        for input in inputs {
            self.on_input(input);
        }
        if self.now >= self.next_timer {
            self.on_timer();
        }
        self.end_leases();
        // What is applied may let more be handed over, and that may let more out of consensus.
        loop {
            self.hand_over();
            self.ask_for_reads();
            if !self.drain_consensus() {
                break;
            }
        }
        self.answer_reads();
        self.start_jobs();
        std::mem::take(&mut self.out)
    }

    /// When the next turn is due, at the latest, if nothing comes in before.
    pub fn next_deadline(&self) -> Instant {
        self.raft.next_deadline().min(self.next_timer).min(self.leases.next_deadline())
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.options.id
    }

    /// A reader of the state, for any thread. Obtain a new one after [`Notice::SnapshotInstalled`].
    pub fn reader(&self) -> StateReader<TablesReader<D>> {
        self.state.reader()
    }

    /// How the node stands.
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            consensus: self.raft.status(),
            applied: self.state.applied(),
            durable: self.state.tables().durable(),
            log_start: self.log_start,
            log_bytes: self.log_bytes,
            hash: self.state.hash(),
            established: self.raft.is_established_leader(),
            waiting: self.reads.len() + self.calls.len(),
        }
    }

    /// The state machine, to look at.
    pub fn state(&self) -> &State<LsmTables<D>> {
        &self.state
    }

    /// Before a clean stop: hands leadership to the most caught-up voter, if this node leads and there is one.
    pub fn hand_over_leadership(&mut self) {
        // Without another voter there is nobody to hand over to, and nothing is lost by not doing it.
        let _ = self.raft.transfer_leadership(None);
    }

    /// Before a clean stop: freezes the tables, so that the next jobs make everything applied durable there and the next start has
    /// nothing to replay.
    pub fn flush_tables(&mut self) {
        self.state.tables_mut().flush_now();
    }

    fn on_input(&mut self, input: Input<S, D>) {
        match input {
            Input::Request(request) => self.on_request(request),
            Input::Frame { from, frame } => self.on_frame(from, frame),
            Input::PeerDisconnected(peer) => self.raft.peer_disconnected(peer),
            Input::LogDone(done) => self.on_log_done(done),
            Input::JobDone(JobDone(done)) => self.on_job_done(done),
        }
    }

    fn on_request(&mut self, Request { slot, deadline, body }: Request<S>) {
        let has_room = self.proposals.has_room() && self.reads.len() + self.calls.len() < steadfast_types::limits::QUEUED_REQUESTS;
        if !has_room {
            return self.refuse(slot, Refusal::TooManyRequests);
        }
        match body {
            RequestBody::Propose(command) => self.proposals.add(slot, command, deadline),
            RequestBody::Linearize => self.reads.add(Waiter::Client(slot), deadline),
            RequestBody::KeepAlive(id) => self.calls.add(Caller::Client(slot), Question::KeepAlive(id), deadline),
            RequestBody::TimeToLive(id) => self.calls.add(Caller::Client(slot), Question::TimeToLive(id), deadline),
            RequestBody::ChangeMembership(change) => {
                let origin = self.proposals.reserve(slot, deadline);
                self.calls.add(Caller::Reserved(origin.request), Question::ChangeMembership { origin, change }, deadline);
            }
            RequestBody::MoveLeader(to) => self.move_leader(slot, to),
        }
    }

    fn move_leader(&mut self, slot: S, to: NodeId) {
        let answer = match self.raft.transfer_leadership(Some(to)) {
            Ok(()) => Answer::Done,
            Err(ProposeError::NotLeader { .. }) => Answer::Refused(Refusal::NotLeader),
            Err(_) => Answer::Refused(Refusal::BadTransferee),
        };
        self.out.answers.push((slot, answer));
    }

    fn refuse(&mut self, slot: S, refusal: Refusal) {
        self.out.answers.push((slot, Answer::Refused(refusal)));
    }

    fn send(&mut self, to: NodeId, message: &PeerMessage) {
        self.out.frames.push((to, Bytes::from(message.to_wire())));
    }

    /// A malformed frame is dropped: the connection checks frames, so this is another version's doing, not the network's.
    fn on_frame(&mut self, from: NodeId, frame: Bytes) {
        let Ok(message) = PeerMessage::from_wire(frame) else {
            return self.out.notices.push(Notice::JobFailed(format!("peer {from} sent a frame that does not decode; dropped")));
        };
        match message {
            PeerMessage::Raft(message) => self.raft.receive(from, message),
            PeerMessage::Forward { term, incarnation, first, batch } => self.on_forward(from, term, incarnation, first, batch),
            PeerMessage::ForwardExpected { term, incarnation, next } => {
                if incarnation == self.options.incarnation && self.raft.leader() == Some(from) {
                    let again = self.proposals.resend_from(term, next, self.now);
                    self.forward(from, term, again);
                }
            }
            PeerMessage::Call { number, question } => self.on_call(from, number, question),
            PeerMessage::CallAnswer { number, answer } => self.on_call_answer(number, answer),
            PeerMessage::SnapshotChunk { transfer, position, total, offset, bytes } => {
                self.on_snapshot_chunk(from, Chunk { transfer, position, total, offset, bytes });
            }
            PeerMessage::SnapshotProgress { transfer, received, done } => self.on_snapshot_progress(from, transfer, received, done),
            PeerMessage::LogRequest { from: first, anchor } => {
                let reader = self.log_reader.clone();
                self.out.jobs.push(Job(Kind::ReadForRepair { to: from, from: first, anchor, reader }));
            }
            PeerMessage::SnapshotRequest {} => self.begin_snapshot(from),
            // Only a repairing node asks, and it is not running.
            PeerMessage::LogReply { .. } => {}
        }
    }

    // --- commands: handing over, forwarding, proposing -------------------------------------------------------------------

    /// Hands this node's commands and questions to the leader, whoever it is, and puts what a leader has gathered into the log.
    fn hand_over(&mut self) {
        let term = self.raft.term();
        match (self.raft.role(), self.raft.leader()) {
            (Role::Leader, _) => {
                self.intake.enter_term(term);
                while let Some(proposal) = self.proposals.hand_to_self(term) {
                    self.intake.push(proposal);
                }
                self.propose();
                self.answer_own_calls();
            }
            (_, Some(leader)) => {
                self.intake.leave();
                if self.proposals.has_unsent() {
                    let frames = self.proposals.hand_to_leader(term, self.now);
                    self.forward(leader, term, frames);
                }
                let patience = self.options.heartbeat_interval;
                for (number, question) in self.calls.to_send(self.now, patience) {
                    self.send(leader, &PeerMessage::Call { number, question });
                }
            }
            (_, None) => self.intake.leave(),
        }
    }

    fn forward(&mut self, leader: NodeId, term: Term, frames: Vec<Forwarding>) {
        let incarnation = self.options.incarnation;
        for Forwarding { first, batch } in frames {
            self.send(leader, &PeerMessage::Forward { term, incarnation, first, batch });
        }
    }

    fn on_forward(&mut self, from: NodeId, term: Term, incarnation: u64, first: u64, batch: Bytes) {
        if self.raft.role() != Role::Leader || self.raft.term() != term {
            return;
        }
        self.intake.enter_term(term);
        match self.intake.take(from, incarnation, first, batch) {
            Ok(Taken::Yes | Taken::Full) => {}
            Ok(Taken::Gap(next)) => self.send(from, &PeerMessage::ForwardExpected { term, incarnation, next }),
            Err(error) => self.out.notices.push(Notice::JobFailed(format!("peer {from} forwarded a malformed batch: {error}"))),
        }
    }

    /// Puts what is gathered into the log, as few entries as may be.
    fn propose(&mut self) {
        while let Some((batch, count)) = self.intake.next_batch() {
            // Busy or handing over: what is gathered waits; if leadership goes, everyone hands over again.
            if self.raft.propose(batch).is_err() {
                return;
            }
            self.intake.proposed(count);
        }
    }

    // --- questions to the leader ------------------------------------------------------------------------------------------

    fn answer_own_calls(&mut self) {
        let patience = self.options.heartbeat_interval;
        for (number, question) in self.calls.to_send(self.now, patience) {
            match question {
                Question::KeepAlive(id) | Question::TimeToLive(id) if self.leases.is_running() => {
                    let ttl = self.lease_time(&question, id);
                    if let Some(Caller::Client(slot)) = self.calls.answered(number) {
                        let deadline = self.now + self.options.request_timeout;
                        self.reads.add(Waiter::Lease { caller: LeaseCaller::Local(slot), ttl }, deadline);
                    }
                }
                // Not established yet: asked again after `patience`.
                Question::KeepAlive(_) | Question::TimeToLive(_) => {}
                Question::ChangeMembership { origin, change } => match self.change_membership(origin, &change) {
                    Ok(()) => drop(self.calls.answered(number)),
                    Err(refusal) => self.on_call_answer(number, CallAnswer::Refused(refusal)),
                },
            }
        }
    }

    /// Renews or looks at a lease.
    fn lease_time(&mut self, question: &Question, id: steadfast_types::LeaseId) -> LeaseTtl {
        let remaining_s = match question {
            Question::KeepAlive(_) => self.leases.renew(id, self.now),
            Question::TimeToLive(_) | Question::ChangeMembership { .. } => self.leases.remaining_s(id, self.now),
        };
        LeaseTtl { remaining_s }
    }

    fn on_call(&mut self, from: NodeId, number: u64, question: Question) {
        if self.raft.role() != Role::Leader {
            return;
        }
        match question {
            Question::KeepAlive(id) | Question::TimeToLive(id) => {
                if self.leases.is_running() {
                    let ttl = self.lease_time(&question, id);
                    let caller = LeaseCaller::Remote { node: from, number };
                    self.reads.add(Waiter::Lease { caller, ttl }, self.now + self.options.request_timeout);
                }
            }
            Question::ChangeMembership { origin, change } => {
                if let Err(refusal) = self.change_membership(origin, &change) {
                    self.send(from, &PeerMessage::CallAnswer { number, answer: CallAnswer::Refused(refusal) });
                }
            }
        }
    }

    fn on_call_answer(&mut self, number: u64, answer: CallAnswer) {
        let slot = match self.calls.answered(number) {
            Some(Caller::Client(slot)) => Some(slot),
            Some(Caller::Reserved(request)) => self.proposals.complete(request),
            None => None,
        };
        let Some(slot) = slot else { return };
        self.out.answers.push((
            slot,
            match answer {
                CallAnswer::Lease(ttl) => Answer::Lease(ttl),
                CallAnswer::Refused(refusal) => Answer::Refused(refusal),
            },
        ));
    }

    fn change_membership(&mut self, origin: Origin, change: &MembershipChange) -> Result<(), Refusal> {
        let members = self.members();
        let (target, command) = crate::membership::plan(change, &members, &self.raft.status(), self.options.id)?;
        let batch = steadfast_state::command::Batch { proposals: vec![Proposal { origin, command }] };
        match self.raft.propose_configuration(target, batch.to_wire().into()) {
            Ok(_) => Ok(()),
            Err(ProposeError::NotLeader { .. } | ProposeError::Transferring) => Err(Refusal::LeaderChanged),
            Err(ProposeError::Busy) => Err(Refusal::TooManyRequests),
            Err(ProposeError::NoVoters) => Err(Refusal::NotEnoughMembers),
            Err(_) => Err(Refusal::ChangeUnderWay),
        }
    }

    /// The members as applied here.
    pub fn members(&self) -> Vec<Member> {
        self.state.reader().members().unwrap_or_default()
    }

    // --- what comes out of consensus -----------------------------------------------------------------------------------------

    fn ask_for_reads(&mut self) {
        if let Some(number) = self.reads.to_request() {
            self.raft.request_read(number);
        }
    }

    /// Whether anything came out.
    fn drain_consensus(&mut self) -> bool {
        let RaftOutputs { log_write, messages, committed, read_ready, fetch, snapshot_wanted, role, configuration } =
            self.raft.take_outputs();
        let anything = log_write.is_some() || !messages.is_empty() || !committed.is_empty() || read_ready.is_some() || role.is_some();
        if let Some(write) = log_write {
            if let Some(hard_state) = write.hard_state {
                self.hard_state = hard_state;
            }
            self.out.log.push(LogCommand::Write(write));
        }
        for (to, message) in messages {
            self.send(to, &PeerMessage::Raft(message));
        }
        if let Some(role) = role {
            self.out.notices.push(Notice::Role(role));
        }
        if let Some((position, configuration)) = configuration {
            self.out.notices.push(Notice::Configuration(position, configuration));
        }
        self.on_committed(committed);
        if let Some(ready) = read_ready {
            self.reads.confirmed(ready);
        }
        for fetch in fetch {
            let reader = self.log_reader.clone();
            self.out.jobs.push(Job(Kind::Fetch { follower: fetch.follower, from: fetch.from, max_bytes: fetch.max_bytes, reader }));
        }
        for follower in snapshot_wanted {
            self.begin_snapshot(follower);
        }
        self.update_leadership();
        anything
    }

    fn on_committed(&mut self, committed: Vec<Entry>) {
        if committed.is_empty() {
            return;
        }
        if self.receiving.as_ref().is_some_and(Receiving::is_installing) {
            return self.held_back.extend(committed);
        }
        let last = committed.last().map(|entry| entry.index);
        for entry in committed {
            if !self.apply(&entry) {
                return;
            }
        }
        if let Some(last) = last {
            self.raft.applied(last);
        }
    }

    /// False if the node can't go on.
    fn apply(&mut self, entry: &Entry) -> bool {
        let answer = AnswerFor { node: self.options.id, incarnation: self.options.incarnation, events: self.options.events };
        let applied = match self.state.apply(entry, answer) {
            Ok(applied) => applied,
            Err(fault) => {
                self.out.notices.push(Notice::Fault(format!("entry {} can't be applied: {fault}", entry.position())));
                return false;
            }
        };
        for (request, response) in applied.outcomes {
            if let Some(slot) = self.proposals.complete(request) {
                self.out.answers.push((slot, Answer::Applied(response)));
            }
        }
        if !applied.events.is_empty() {
            self.out.events.push((applied.revision, applied.events));
        }
        self.leases.apply(self.now, &applied.leases);
        if applied.members_changed {
            self.out.notices.push(Notice::MembersChanged);
        }
        if entry.term > self.last_applied_term {
            self.last_applied_term = entry.term;
            self.proposals.term_applied(entry.term);
        }
        self.after_apply(entry);
        true
    }

    fn after_apply(&mut self, entry: &Entry) {
        if let Payload::Change { configuration, .. } = &entry.payload
            && !configuration.contains(self.options.id)
            && !configuration.is_joint()
        {
            self.out.notices.push(Notice::Removed);
        }
        if let Some(divergence) = self.state.divergence() {
            self.out.notices.push(Notice::Diverged(divergence.to_string()));
        }
    }

    fn update_leadership(&mut self) {
        if !self.raft.is_established_leader() {
            return self.leases.stop();
        }
        // Its own first entry must be applied: then all leases granted before are known here.
        if !self.leases.is_running() && self.last_applied_term == self.raft.term() {
            match self.state.reader().leases() {
                Ok(leases) => self.leases.start(self.now, leases),
                Err(error) => self.out.notices.push(Notice::Fault(error.to_string())),
            }
        }
    }

    fn answer_reads(&mut self) {
        for waiter in self.reads.applied(self.state.applied().index) {
            match waiter {
                Waiter::Client(slot) => self.out.answers.push((slot, Answer::Readable)),
                Waiter::Lease { caller: LeaseCaller::Local(slot), ttl } => self.out.answers.push((slot, Answer::Lease(ttl))),
                Waiter::Lease { caller: LeaseCaller::Remote { node, number }, ttl } => {
                    self.send(node, &PeerMessage::CallAnswer { number, answer: CallAnswer::Lease(ttl) });
                }
            }
        }
    }

    // --- time --------------------------------------------------------------------------------------------------------------

    /// Every heartbeat interval, and whenever a client's deadline passes.
    fn on_timer(&mut self) {
        let now = self.now;
        let mut timed_out = self.proposals.expire(now);
        timed_out.extend(self.calls.expire(now).into_iter().filter_map(|caller| match caller {
            Caller::Client(slot) => Some(slot),
            Caller::Reserved(_) => None,
        }));
        timed_out.extend(self.reads.expire(now).into_iter().filter_map(|waiter| match waiter {
            Waiter::Client(slot) | Waiter::Lease { caller: LeaseCaller::Local(slot), .. } => Some(slot),
            Waiter::Lease { caller: LeaseCaller::Remote { .. }, .. } => None,
        }));
        for slot in timed_out {
            self.refuse(slot, Refusal::TimedOut);
        }
        if let Some(leader) = self.raft.leader().filter(|leader| *leader != self.options.id) {
            let term = self.raft.term();
            let again = self.proposals.resend_overdue(term, now, 2 * self.options.heartbeat_interval);
            self.forward(leader, term, again);
        }
        self.give_up_stuck_snapshots();
        self.compare_hashes();
        let clients = self.proposals.next_deadline().min(self.reads.next_deadline()).min(self.calls.next_deadline());
        self.next_timer = (now + self.options.heartbeat_interval).min(clients.max(now + Duration::from_millis(1)));
    }

    fn end_leases(&mut self) {
        for id in self.leases.due(self.now) {
            let proposal = Proposal { origin: Origin::default(), command: Command::LeaseRevoke { id } };
            if self.raft.role() == Role::Leader {
                self.intake.enter_term(self.raft.term());
                self.intake.push(proposal.to_wire().into());
            }
        }
    }

    fn compare_hashes(&mut self) {
        let (at, index) = self.hashes_compared;
        if !self.raft.is_established_leader() || self.now.since(at) < COMPARE_HASHES_EVERY {
            return;
        }
        let Some((checked, hash)) = self.state.recent_hash() else { return };
        self.hashes_compared = (self.now, checked);
        if checked > index {
            let command = Command::CompareHash { index: checked, hash };
            self.intake.enter_term(self.raft.term());
            self.intake.push(Proposal { origin: Origin::default(), command }.to_wire().into());
        }
    }

    // --- completions -----------------------------------------------------------------------------------------------------------

    fn on_log_done(&mut self, done: LogDone) {
        if let Some(sequence) = done.synced {
            self.raft.log_synced(sequence);
        }
        if let Some(position) = done.compacted {
            self.log_start = position;
            self.raft.log_compacted(position);
            self.out.notices.push(Notice::LogCompacted(position));
        }
        self.log_bytes = done.size_bytes;
    }

    fn on_job_done(&mut self, done: Done<D>) {
        match done {
            Done::Tables(done) => self.on_tables_job_done(done),
            Done::Fetched { follower, from, entries } => {
                // A damaged or dropped entry: the follower gets a snapshot instead. What could not be read is never guessed.
                if let Err(error) = &entries {
                    self.out.notices.push(Notice::JobFailed(format!("reading entry {from} for {follower}: {error}")));
                }
                self.raft.entries_fetched(follower, from, entries.ok());
            }
            Done::ForRepair { to, anchor, entries } => self.send(to, &PeerMessage::LogReply { anchor, entries }),
            Done::SnapshotRead { to, transfer, offset, bytes } => self.on_snapshot_read(to, transfer, offset, bytes),
            Done::SnapshotWritten { transfer, incoming } => match (&mut self.receiving, incoming) {
                (Some(receiving), Ok(incoming)) if receiving.transfer == transfer => receiving.written(incoming),
                (_, Ok(_)) => {}
                (_, Err(error)) => self.drop_receiving(format!("writing a snapshot: {error}")),
            },
            Done::Installed { transfer, tables } => self.on_installed(transfer, tables),
        }
    }

    fn on_tables_job_done(&mut self, done: steadfast_storage::tables::JobDone<D>) {
        self.tables_jobs_out -= 1;
        if let Err(error) = self.state.tables_mut().finish_job(done) {
            self.out.notices.push(Notice::JobFailed(format!("tables: {error}")));
        }
        let durable = self.state.tables().durable();
        if durable > self.compaction_asked {
            self.compaction_asked = durable;
            self.out.log.push(LogCommand::Compact { through: durable, keep_bytes: self.options.log_retention_bytes });
        }
    }

    fn start_jobs(&mut self) {
        let installing = self.receiving.as_ref().is_some_and(Receiving::is_installing);
        let wants_install = self.receiving.as_ref().is_some_and(Receiving::is_complete);
        if !installing && !wants_install {
            while let Some(job) = self.state.tables_mut().next_job() {
                self.tables_jobs_out += 1;
                self.out.jobs.push(Job(Kind::Tables(job)));
            }
        }
        let may_install = self.tables_jobs_out == 0;
        if let Some(receiving) = &mut self.receiving {
            self.out.jobs.extend(receiving.job(&self.disk, &self.options.tables, may_install));
        }
        for sending in self.sending.values_mut() {
            self.out.jobs.extend(sending.jobs(self.now));
        }
    }

    // --- snapshots -----------------------------------------------------------------------------------------------------------------

    fn begin_snapshot(&mut self, to: NodeId) {
        if self.sending.contains_key(&to) {
            return;
        }
        let checkpoint = self.state.tables().checkpoint();
        if checkpoint.applied() < self.log_start || checkpoint.applied().index == LogIndex(0) {
            // Nothing is durable in the tables yet: make it so, and let consensus or the peer ask again.
            self.state.tables_mut().flush_now();
            self.raft.snapshot_sent(to, None);
            return;
        }
        let sending = Sending::new(to, self.rng.u64(1..), checkpoint, self.now);
        let (position, bytes) = (sending.position, sending.total_bytes());
        self.out.notices.push(Notice::SnapshotSending { to, position, bytes });
        self.sending.insert(to, sending);
    }

    fn on_snapshot_read(&mut self, to: NodeId, transfer: u64, offset: u64, bytes: Result<Bytes, String>) {
        let Some(sending) = self.sending.get(&to).filter(|sending| sending.transfer == transfer) else { return };
        match bytes {
            Ok(bytes) => {
                let frame = sending.frame(offset, bytes);
                self.send(to, &frame);
            }
            Err(error) => {
                self.out.notices.push(Notice::JobFailed(format!("reading a snapshot for {to}: {error}")));
                self.end_sending(to, false);
            }
        }
    }

    fn on_snapshot_progress(&mut self, from: NodeId, transfer: u64, received: u64, done: bool) {
        let now = self.now;
        let Some(sending) = self.sending.get_mut(&from).filter(|sending| sending.transfer == transfer) else { return };
        sending.progress(received, now);
        if done {
            self.end_sending(from, true);
        }
    }

    fn end_sending(&mut self, to: NodeId, installed: bool) {
        if let Some(sending) = self.sending.remove(&to) {
            self.out.notices.push(Notice::SnapshotSent { to, installed });
            self.raft.snapshot_sent(to, installed.then_some(sending.position));
        }
    }

    fn give_up_stuck_snapshots(&mut self) {
        let stuck: Vec<NodeId> = self.sending.values().filter(|sending| sending.is_stuck(self.now)).map(|sending| sending.to).collect();
        for to in stuck {
            self.end_sending(to, false);
        }
    }

    fn on_snapshot_chunk(&mut self, from: NodeId, chunk: Chunk) {
        let transfer = chunk.transfer;
        if chunk.position.index <= self.raft.commit_index() && self.receiving.is_none() {
            return self.send(from, &PeerMessage::SnapshotProgress { transfer, received: chunk.total, done: true });
        }
        match &self.receiving {
            Some(receiving) if receiving.transfer == transfer && receiving.from == from => {}
            Some(receiving) if !receiving.may_be_displaced(self.now) => return,
            Some(_) | None => self.receiving = Some(Receiving::new(from, &chunk, self.now)),
        }
        let Some(receiving) = &mut self.receiving else { return };
        receiving.take(chunk, self.now);
        let progress = receiving.progress();
        self.send(from, &progress);
    }

    fn drop_receiving(&mut self, reason: String) {
        self.receiving = None;
        self.out.notices.push(Notice::JobFailed(reason));
        self.apply_held_back(LogIndex(0));
    }

    fn on_installed(&mut self, transfer: u64, tables: Result<LsmTables<D>, InstallError>) {
        let Some(receiving) = self.receiving.take().filter(|receiving| receiving.transfer == transfer) else { return };
        let tables = match tables {
            Ok(tables) => tables,
            Err(InstallError::Refused(error)) => return self.drop_receiving(format!("installing a snapshot: {error}")),
            Err(InstallError::Broken(error)) => return self.out.notices.push(Notice::Fault(format!("an installed snapshot: {error}"))),
        };
        match State::open(tables) {
            Ok(state) => self.switch_state(state, &receiving),
            Err(error) => self.out.notices.push(Notice::Fault(format!("an installed snapshot: {error}"))),
        }
    }

    fn switch_state(&mut self, state: State<LsmTables<D>>, receiving: &Receiving<D>) {
        let (position, configuration) = (state.applied(), state.configuration().clone());
        self.state = state;
        for slot in self.proposals.outcomes_lost(position.term) {
            self.refuse(slot, Refusal::LeaderChanged);
        }
        if self.raft.snapshot_installed(position, configuration) {
            self.log_start = position;
            self.compaction_asked = position;
            self.out.log.push(LogCommand::Reset { position, hard_state: self.hard_state });
        }
        if position.term > self.last_applied_term {
            self.last_applied_term = position.term;
            self.proposals.term_applied(position.term);
        }
        self.out.notices.push(Notice::SnapshotInstalled(position));
        self.out.notices.push(Notice::MembersChanged);
        let transfer = receiving.transfer;
        self.send(receiving.from, &PeerMessage::SnapshotProgress { transfer, received: u64::MAX, done: true });
        self.apply_held_back(position.index);
    }

    /// Applies what was committed while a snapshot was being installed, but for what the snapshot holds.
    fn apply_held_back(&mut self, after: LogIndex) {
        let held_back: Vec<Entry> = std::mem::take(&mut self.held_back).into_iter().filter(|entry| entry.index > after).collect();
        self.on_committed(held_back);
    }
}
