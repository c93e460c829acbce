//! The running node: dispatch of what comes in, and the end of a turn.
//!
//! Invariants:
//! 1. A client is told that its command took effect only after the entry was committed by consensus and applied here.
//! 2. A read is let through only after its index, confirmed by a quorum after the read came in, is applied here.
//! 3. The log is cut only up to what the tables hold durably.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use steadfast_consensus::message::{Body, Message};
use steadfast_consensus::{FollowerStatus, ProposeError, Raft, Status};
use steadfast_state::{State, StateReader};
use steadfast_storage::log::{LogError, LogReader};
use steadfast_storage::tables::{JobError, LsmTables, Statistics};
use steadfast_types::disk::Disk;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::Tables;
use steadfast_types::wire::Wire;
use steadfast_types::{Entry, HardState, Instant, LeaseId, LogIndex, LogPosition, NodeId, Rng, Term};

use crate::alarms::Standings;
use crate::applying::HELD_BACK_BYTES;
use crate::auto_compaction::Compactor;
use crate::autopilot::Watchman;
use crate::calls::Calls;
use crate::forward::Intake;
use crate::jobs::{Done, Job, JobDone, Kind};
use crate::leases::LeaseClock;
use crate::levels::Offers;
use crate::message::Question;
use crate::proposals::{Forwarding, Proposals};
use crate::reads::Reads;
use crate::revision_waits::RevisionWaits;
use crate::snapshot_receive::{Chunk, Receiving};
use crate::snapshot_send::Sending;
use crate::space::Space;
use crate::start::{self, Bootstrap, LostTables, OpenError, Opened, Options};
use crate::{Answer, Input, LogCommand, LogDone, Notice, Outputs, PeerMessage, Refusal, Request, RequestBody};

/// After the disk was found full, nothing more is written to the tables for this long.
pub(crate) const DISK_RETRY: steadfast_types::time::Duration = steadfast_types::time::Duration::from_secs(1);

/// So many times its usual bytes may the log grow for followers that need it, however small the state is.
const KEPT_FOR_OTHERS: u64 = 8;

type TablesReader<D> = <LsmTables<D> as Tables>::Reader;

/// One running node.
pub struct Node<S, D: Disk> {
    pub(crate) options: Options,
    bootstrap: Bootstrap,
    pub(crate) disk: D,
    pub(crate) raft: Raft,
    pub(crate) state: State<LsmTables<D>>,
    pub(crate) log_reader: LogReader<D>,
    pub(crate) hard_state: HardState,
    pub(crate) rng: Rng,
    pub(crate) now: Instant,
    pub(crate) proposals: Proposals<S>,
    pub(crate) intake: Intake,
    pub(crate) reads: Reads<Waiter<S>>,
    pub(crate) revision_waits: RevisionWaits<S>,
    pub(crate) calls: Calls<Caller<S>>,
    pub(crate) leases: LeaseClock,
    pub(crate) sending: BTreeMap<NodeId, Sending<D>>,
    pub(crate) receiving: Option<Receiving<D>>,
    /// Committed and not applied yet, see `applying.rs`.
    pub(crate) held_back: VecDeque<Entry>,
    pub(crate) held_back_bytes: usize,
    pub(crate) tables_jobs_out: u32,
    /// After the disk was full: no job of the tables, and no snapshot, before this.
    pub(crate) tables_retry: Instant,
    pub(crate) last_applied_term: Term,
    /// Whether events say what was before.
    pub(crate) with_previous: bool,
    /// The entry of the newest configuration in the log.
    pub(crate) configuration_at: LogIndex,
    pub(crate) is_faulted: bool,
    pub(crate) held_back_since: Option<Instant>,
    /// Nothing of the log was ever durable: until it is, nor may the state be, or a crash would leave a state without a log.
    pub(crate) log_is_blank: bool,
    pub(crate) log_start: LogPosition,
    pub(crate) log_bytes: u64,
    pub(crate) compaction_asked: LogPosition,
    pub(crate) compared: Compared,
    pub(crate) compactor: Compactor,
    pub(crate) watchman: Watchman,
    /// See [`Input::Spares`].
    pub(crate) spares: Option<BTreeSet<NodeId>>,
    pub(crate) offers: Offers,
    pub(crate) space: Space,
    pub(crate) standings: Standings,
    pub(crate) next_timer: Instant,
    pub(crate) out: Outputs<S, D>,
}

/// The last comparison of the replicas' hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    pub(crate) at: Instant,
    /// The hash then.
    pub(crate) hash: Option<u64>,
}

/// Who waits for a confirmed read index.
#[derive(Debug)]
pub(crate) enum Waiter<S> {
    /// A client's read.
    Client(S),
    /// A question that only a true leader may answer, once it has applied all that was committed before: its own client's, or another node's call.
    Lease { caller: LeaseCaller<S>, question: LeaseQuestion },
}

/// What is asked of a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseQuestion {
    KeepAlive(LeaseId),
    TimeToLive(LeaseId),
}

#[derive(Debug)]
pub(crate) enum LeaseCaller<S> {
    Local(S),
    Remote { node: NodeId, number: u64 },
}

/// Whose call it is.
#[derive(Debug)]
pub(crate) enum Caller<S> {
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
    /// The tables.
    pub tables: Statistics,
    /// See [`Options::quota_bytes`].
    pub quota_bytes: u64,
    /// Commands and reads that wait.
    pub waiting: usize,
}

/// What [`crate::start`] puts together.
pub(crate) struct Parts<D: Disk> {
    pub(crate) options: Options,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) disk: D,
    pub(crate) raft: Raft,
    pub(crate) state: State<LsmTables<D>>,
    pub(crate) log_reader: LogReader<D>,
    pub(crate) hard_state: HardState,
    pub(crate) log_start: LogPosition,
    pub(crate) log_bytes: u64,
    pub(crate) configuration_at: LogIndex,
}

/// What waits in each queue of a node; nothing is left a while after clients stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queued {
    /// By name; bounded by what clients asked lately.
    pub asked: [(&'static str, usize); 7],
    /// Committed entries that are not applied yet: at most the log.
    pub committed: usize,
}

impl<S, D: Disk> Node<S, D> {
    pub(crate) fn new(parts: Parts<D>, now: Instant) -> Self {
        let applied = parts.state.applied();
        Node {
            proposals: Proposals::new(parts.options.id, parts.options.incarnation),
            rng: Rng::with_seed(parts.options.seed ^ 0x6e6f_6465),
            bootstrap: parts.bootstrap,
            disk: parts.disk,
            raft: parts.raft,
            state: parts.state,
            log_reader: parts.log_reader,
            hard_state: parts.hard_state,
            now,
            intake: Intake::default(),
            reads: Reads::new(),
            revision_waits: RevisionWaits::new(),
            calls: Calls::new(Rng::with_seed(parts.options.seed ^ 0x6361_6c6c).u64(..)),
            leases: LeaseClock::default(),
            sending: BTreeMap::new(),
            receiving: None,
            held_back: VecDeque::new(),
            held_back_bytes: 0,
            tables_jobs_out: 0,
            tables_retry: now,
            last_applied_term: applied.term,
            with_previous: false,
            configuration_at: parts.configuration_at,
            is_faulted: false,
            held_back_since: None,
            log_is_blank: parts.hard_state.term == Term(0) && applied.index == LogIndex(0),
            log_start: parts.log_start,
            log_bytes: parts.log_bytes,
            compaction_asked: parts.log_start,
            compared: Compared { at: now, hash: None },
            compactor: Compactor::default(),
            watchman: Watchman::default(),
            spares: Some(BTreeSet::new()),
            offers: Offers::new(now),
            space: Space::new(parts.options.quota_bytes),
            standings: Standings::default(),
            next_timer: now,
            out: Outputs::default(),
            options: parts.options,
        }
    }

    /// One turn: time moves to `now`, `inputs` are taken in order, and everything that follows comes out.
    pub fn turn(&mut self, now: Instant, inputs: impl IntoIterator<Item = Input<S, D>>) -> Outputs<S, D> {
        if is_planted(Bug::LeaseByOldClock) {
            self.raft.tick(self.now);
        } else {
            self.raft.tick(self.now.max(now));
        }
        self.now = self.now.max(now);
        for input in inputs {
            self.on_input(input);
        }
        if self.now >= self.next_timer {
            self.on_timer();
        }
        self.end_leases();
        self.apply_held_back();
        // What is applied may let more be handed over, and that may let more out of consensus.
        loop {
            self.hand_over();
            self.ask_for_reads();
            if !self.drain_consensus() {
                break;
            }
        }
        self.answer_reads();
        self.note_level();
        if let Some(damage) = self.state.tables().damage().map(str::to_owned) {
            self.damaged(damage);
        }
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
            tables: self.state.tables().statistics(),
            quota_bytes: self.space.quota(),
            established: self.raft.is_established_leader(),
            waiting: self.proposals.len() + self.waiting_reads(),
        }
    }

    /// The consensus core, to look at.
    pub fn consensus(&self) -> &Raft {
        &self.raft
    }

    /// What waits in each of the node's queues.
    pub fn queued(&self) -> Queued {
        let asked = [
            ("proposals", self.proposals.len()),
            ("reads", self.reads.len()),
            ("reads that wait for a revision", self.revision_waits.len()),
            ("calls", self.calls.len()),
            ("commands of other nodes", self.intake.len()),
            ("snapshots to send", self.sending.len()),
            ("snapshots to receive", usize::from(self.receiving.is_some())),
        ];
        Queued { asked, committed: self.held_back.len() }
    }

    /// The state machine, to look at.
    pub fn state(&self) -> &State<LsmTables<D>> {
        &self.state
    }

    /// After [`Notice::TablesDamaged`]: opens the node again, to fetch its state from its peers. The log driver must be gone, with all its
    /// commands done.
    ///
    /// # Errors
    /// As [`start::open`].
    pub fn reopen(mut self, now: Instant) -> Result<Opened<S, D>, OpenError> {
        let at_least = self.state.condemned().unwrap_or_default();
        let lost_tables = Some(LostTables { members: self.raft.configuration().members(), at_least });
        // Another life, with request numbers of its own.
        let (incarnation, seed) = (self.rng.u64(1..), self.rng.u64(..));
        let Node { options, bootstrap, disk, .. } = self;
        start::open(&disk, Options { incarnation, seed, lost_tables, ..options }, bootstrap, now)
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
            Input::PeerConnected { peer, level } => self.offers.connected(peer, level),
            Input::WatchersWantPrevious(wanted) => self.with_previous = wanted,
            Input::Spares(spares) => self.spares = spares,
            Input::PeerDisconnected(peer) => {
                self.offers.disconnected(peer);
                self.raft.peer_disconnected(peer);
            }
            Input::LogDone(done) => self.on_log_done(done),
            Input::JobDone(JobDone(done)) => self.on_job_done(done),
        }
    }

    /// Reads and calls that wait.
    fn waiting_reads(&self) -> usize {
        self.reads.len() + self.revision_waits.len() + self.calls.len()
    }

    fn on_request(&mut self, Request { slot, deadline, body }: Request<S>) {
        let has_room = self.proposals.has_room() && self.waiting_reads() < steadfast_types::limits::QUEUED_REQUESTS;
        if !has_room {
            return self.refuse(slot, Refusal::TooManyRequests);
        }
        match body {
            RequestBody::Propose(command) if !self.all_know(&command) => self.refuse(slot, Refusal::LevelTooLow),
            RequestBody::Propose(command) if self.lacks_space_for(&command) => self.refuse(slot, Refusal::NoSpace),
            RequestBody::Propose(command) => self.proposals.add(slot, command, deadline),
            RequestBody::Linearize => self.reads.add(Waiter::Client(slot), deadline),
            RequestBody::AwaitRevision(revision) => self.revision_waits.add(revision, slot, deadline),
            RequestBody::KeepAlive(id) => self.calls.add(Caller::Client(slot), Question::KeepAlive(id), deadline),
            RequestBody::TimeToLive(id) => self.calls.add(Caller::Client(slot), Question::TimeToLive(id), deadline),
            RequestBody::ChangeMembership(change) => {
                let origin = self.proposals.reserve(slot, deadline);
                self.calls.add(Caller::Reserved(origin.request), Question::ChangeMembership { origin, change }, deadline);
            }
            RequestBody::Reclaim => {
                self.state.tables_mut().reclaim();
                self.out.answers.push((slot, Answer::Done));
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

    pub(crate) fn refuse(&mut self, slot: S, refusal: Refusal) {
        self.out.answers.push((slot, Answer::Refused(refusal)));
    }

    pub(crate) fn send(&mut self, to: NodeId, message: &PeerMessage) {
        self.out.frames.push((to, Bytes::from(message.to_wire())));
    }

    /// A malformed frame is dropped: the connection checks frames, so this is another version's doing, not the network's.
    fn on_frame(&mut self, from: NodeId, frame: Bytes) {
        let Ok(message) = PeerMessage::from_wire(frame) else {
            return self.out.notices.push(Notice::JobFailed(format!("peer {from} sent a frame that does not decode; dropped")));
        };
        match message {
            // More entries than can be applied: they come again.
            PeerMessage::Raft(Message { body: Body::Append { entries, .. }, .. })
                if !entries.is_empty() && self.held_back_bytes > HELD_BACK_BYTES => {}
            PeerMessage::Raft(message) => self.raft.receive(from, message),
            PeerMessage::Forward { term, incarnation, stream, first, batch } => {
                self.on_forward(from, term, incarnation, Forwarding { stream, first, batch });
            }
            PeerMessage::ForwardExpected { term, incarnation, stream, next } => {
                if incarnation == self.options.incarnation && self.raft.leader() == Some(from) {
                    let again = self.proposals.resend_from(term, stream, next, self.now, self.options.heartbeat_interval);
                    self.forward(from, term, again);
                }
            }
            PeerMessage::Call { term, number, question } => self.on_call(from, term, number, question),
            PeerMessage::CallAnswer { number, answer } => self.on_call_answer(number, answer),
            PeerMessage::SnapshotChunk { transfer, position, total, offset, bytes } => {
                self.on_snapshot_chunk(from, Chunk { transfer, position, total, offset, bytes });
            }
            PeerMessage::SnapshotProgress { transfer, received, done } => self.on_snapshot_progress(from, transfer, received, done),
            PeerMessage::LogRequest { anchor, .. } if self.has_replaced(anchor) => self.send(from, &PeerMessage::LogReplaced { anchor }),
            PeerMessage::LogRequest { from: first, anchor } => {
                let reader = self.log_reader.clone();
                self.out.jobs.push(Job(Kind::ReadForRepair { to: from, from: first, anchor, reader }));
            }
            PeerMessage::SnapshotRequest { at_least } => self.begin_snapshot(from, at_least),
            PeerMessage::Standing { term, marks, is_short } => self.on_standing(from, term, marks, is_short),
            PeerMessage::SnapshotUnknown { transfer } => self.on_snapshot_unknown(from, transfer),
            PeerMessage::SnapshotDamaged { transfer } => self.on_snapshot_damaged(from, transfer),
            // Only a repairing node asks, and it is not running.
            PeerMessage::LogReply { .. } | PeerMessage::LogReplaced { .. } => {}
        }
    }

    /// Whether an entry was certainly never committed: what was before this leader's term is in its log (leader completeness). Of what it has
    /// compacted it does not say.
    fn has_replaced(&self, position: LogPosition) -> bool {
        let is_other = match self.raft.term_at(position.index) {
            Some(term) => term != position.term,
            None => position.index > self.raft.last().index,
        };
        is_other && self.raft.is_established_leader() && self.raft.term() > position.term
    }

    fn on_log_done(&mut self, done: LogDone) {
        if let Some(sequence) = done.synced {
            self.raft.log_synced(sequence);
            self.log_is_blank = false;
        }
        if let Some(position) = done.compacted {
            // It may begin later by now, after a snapshot.
            self.log_start = self.log_start.max(position);
            self.raft.log_compacted(position);
            self.out.notices.push(Notice::LogCompacted(position));
        }
        self.log_bytes = done.size_bytes;
    }

    fn on_job_done(&mut self, done: Done<D>) {
        match done {
            Done::Tables(done) => self.on_tables_job_done(done),
            Done::Fetched { follower, from, entries } => {
                if let Err(error) = &entries {
                    self.out.notices.push(Notice::JobFailed(format!("reading entry {from} for {follower}: {error}")));
                }
                let is_gone = |error: &LogError| {
                    matches!(error, LogError::Compacted { .. } | LogError::Damaged { .. } | LogError::Undecodable { .. })
                };
                // What this log no longer has, the follower gets by snapshot; what can't be read now is tried again.
                let entries = match entries {
                    Err(error) if is_gone(&error) => None,
                    entries => Some(entries.unwrap_or_default()),
                };
                self.raft.entries_fetched(follower, from, entries);
            }
            Done::ForRepair { to, anchor, entries } => self.send(to, &PeerMessage::LogReply { anchor, entries }),
            Done::SnapshotRead { to, transfer, offset, bytes } => self.on_snapshot_read(to, transfer, offset, bytes),
            Done::SnapshotVerified(Ok(())) => {}
            Done::SnapshotVerified(Err(error)) => self.damaged(error.0),
            Done::SnapshotWritten { transfer, incoming } => {
                match (self.receiving.as_mut().filter(|receiving| receiving.transfer == transfer), incoming) {
                    (Some(receiving), Ok(incoming)) => receiving.written(incoming),
                    (Some(_), Err(error)) => self.drop_receiving(&error),
                    (None, _) => {}
                }
            }
            Done::Installed { transfer, tables } => self.on_installed(transfer, tables),
        }
    }

    fn on_tables_job_done(&mut self, done: steadfast_storage::tables::JobDone<D>) {
        self.tables_jobs_out -= 1;
        match self.state.tables_mut().finish_job(done) {
            Ok(()) | Err(JobError::Retired) => {}
            Err(error @ JobError::Full(_)) => {
                self.tables_retry = self.now + DISK_RETRY;
                self.out.notices.push(Notice::JobFailed(format!("tables: {error}")));
            }
            Err(JobError::Damaged(what)) => self.damaged(what),
            Err(error @ JobError::Disk(_)) => self.fault(format!("tables: {error}")),
        }
        self.look_at_space();
        let durable = if is_planted(Bug::LogCutBeforeFlush) { self.state.applied() } else { self.state.tables().durable() };
        if durable > self.compaction_asked && !self.keeps_log_for_others(durable) {
            self.compaction_asked = durable;
            self.out.log.push(LogCommand::Compact { through: durable, keep_bytes: self.options.log_retention_bytes });
        }
    }

    /// Whether the log waits to be cut at `durable`: a follower goes on by log where its snapshot ends, and needs what was written since. Once the
    /// log is larger than the state, another snapshot is as good.
    fn keeps_log_for_others(&self, durable: LogPosition) -> bool {
        let most = self.options.log_retention_bytes.saturating_mul(KEPT_FOR_OTHERS).max(self.state.tables().statistics().disk_bytes);
        let is_behind = |follower: &FollowerStatus| {
            follower.active && !follower.snapshot && (self.log_start.index..durable.index).contains(&follower.matched)
        };
        self.log_bytes < most && (!self.sending.is_empty() || self.raft.followers().iter().any(is_behind))
    }

    fn start_jobs(&mut self) {
        self.drop_outrun_snapshot();
        let installing = self.receiving.as_ref().is_some_and(Receiving::is_installing);
        let wants_install = self.receiving.as_ref().is_some_and(Receiving::is_complete);
        // What the others have committed may be applied here before it is in this node's own log; it must not be durable before.
        let is_ahead = self.state.tables().flush_waiting().is_some_and(|flush| flush.index > self.raft.durable_index());
        if !installing && !wants_install && !self.is_faulted && !self.log_is_blank && !is_ahead && self.now >= self.tables_retry {
            while let Some(job) = self.state.tables_mut().next_job() {
                self.tables_jobs_out += 1;
                self.out.jobs.push(Job(Kind::Tables(job)));
            }
        }
        let may_install = self.tables_jobs_out == 0 && !self.is_faulted && !self.log_is_blank;
        if let Some(receiving) = &mut self.receiving {
            let retire = || Some(self.state.tables().retire());
            self.out.jobs.extend(receiving.job(&self.disk, &self.options.tables, may_install, retire));
        }
        for sending in self.sending.values_mut() {
            self.out.jobs.extend(sending.job(self.now));
        }
    }
}
