//! What the API needs of the node it runs on: the trait [`Backend`], and the shapes that cross it.
//!
//! Left out on purpose: consensus and storage. A backend says only whether a command was applied, a read may be answered, a node leads.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use steadfast_state::alarm::Alarm;
use steadfast_state::auth::{Auth, Caller};
use steadfast_state::command::{Command, CommandError, KeySpan, Member, Range, RangeResult, Txn, TxnResult};
use steadfast_state::kv::pieces::{RangePiece, RangePieces};
pub use steadfast_state::{Event, EventKind, Response};
use steadfast_types::{ClusterId, LeaseId, LogIndex, NodeId, Revision, Term};
use tokio::sync::watch;

pub use crate::proto::steadfast::v1::{ReplicaPeer, ReplicaStatus};

pub use crate::shared_events::SharedEvents;

/// The node behind the API. Cloned once for each node, not for each request.
///
/// A future that is dropped before it is ready means that the client has gone: the command may still be applied.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The commands half of a watch stream.
    type WatchCommands: WatchCommands;
    /// The deliveries half of a watch stream.
    type WatchDeliveries: WatchDeliveries;

    /// Replicates a command, waits until it is applied here, and answers with the revision then and the outcome.
    fn propose(&self, command: Command) -> impl Future<Output = Result<Response, Refusal>> + Send;

    /// Changes who is a member; answers with all members after it, and whom it added.
    fn change_membership(&self, change: MembershipChange) -> impl Future<Output = Result<MembershipChanged, MembershipRefusal>> + Send;

    /// Hands leadership to another member, and waits until it leads.
    fn move_leader(&self, to: NodeId) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Has this node give up the space of compacted history sooner than it would by itself. Returns as soon as that is under way.
    fn reclaim(&self) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Waits until a linearizable read may be answered from the local state.
    fn linearize(&self) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Waits until the local state has reached `revision`, however it gets there.
    fn await_revision(&self, revision: Revision) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Reads the local state as it is now. The revision is the newest one at that moment.
    ///
    /// Spans of more than one key are called on a thread that may block.
    ///
    /// # Errors
    /// If the revision asked for is compacted or yet to come, or the tables are damaged.
    fn range(&self, range: &Range) -> Result<(Revision, RangeResult), CommandError>;

    /// Reads the next piece of a range from the local state. Called on a thread that may block.
    ///
    /// # Errors
    /// As [`Backend::range`].
    fn range_piece(&self, pieces: &RangePieces) -> Result<RangePiece, CommandError>;

    /// Runs a transaction that writes nothing on the local state as it is now. Called on a thread that may block.
    ///
    /// # Errors
    /// As [`Backend::range`].
    fn read_txn(&self, txn: &Txn) -> Result<(Revision, TxnResult), CommandError>;

    /// Gives a lease its full time again, on the leader.
    fn lease_keep_alive(&self, id: LeaseId) -> impl Future<Output = Result<LeaseRenewal, Refusal>> + Send;

    /// What is left of a lease, asked of the leader; `None` if there is no such lease. `keys`: with the keys attached to it.
    fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> impl Future<Output = Result<Option<LeaseInfo>, Refusal>> + Send;

    /// All leases, in order, from the local state.
    ///
    /// # Errors
    /// If the tables are damaged.
    fn leases(&self) -> Result<Vec<LeaseId>, CommandError>;

    /// All members, from the local state.
    ///
    /// # Errors
    /// If the tables are damaged.
    fn members(&self) -> Result<Vec<Member>, CommandError>;

    /// All alarms, from the local state.
    ///
    /// # Errors
    /// If the tables are damaged.
    fn alarms(&self) -> Result<Alarms, CommandError>;

    /// Whether requests are checked, as of the local state. Asked for each read: an atomic load.
    fn is_auth_enabled(&self) -> bool;

    /// Users and roles, from the local state; the same `Arc` while they are the same.
    ///
    /// # Errors
    /// If the node has no state now.
    fn auth(&self) -> Result<Arc<Auth>, CommandError>;

    /// Whose token this is, as far as this node knows. That it is asked counts as a use of the token.
    fn bearer(&self, token: &str) -> Bearer;

    /// Gives out a token to a caller whose password was compared at the caller's auth revision; with the revision for the header.
    fn issue_token(&self, caller: Caller) -> impl Future<Output = Result<(Revision, String), TokenRefusal>> + Send;

    /// Who this node is. Constant for a process life.
    fn identity(&self) -> Identity;

    /// The current Raft term. Asked for each answer: an atomic load.
    fn term(&self) -> Term;

    /// The newest revision applied here.
    fn revision(&self) -> Revision;

    /// Whether this node is a learner now. Asked for each request: an atomic load.
    fn is_learner(&self) -> bool;

    /// The leader as this node knows it, and how to wait for a change.
    fn leader(&self) -> watch::Receiver<Option<NodeId>>;

    /// How this node sees itself.
    fn status(&self) -> NodeStatus;

    /// Who takes part in the cluster and how everybody is, as this node holds it.
    ///
    /// # Errors
    /// Why this node does not know.
    fn health(&self) -> Result<ClusterHealth, &'static str>;

    /// All that is known of the node with this name or id: a readable summary first.
    ///
    /// # Errors
    /// No node is known by this word.
    fn diagnose(&self, node: String) -> impl Future<Output = Result<Vec<BundleFile>, UnknownNode>> + Send;

    /// Sends a test alert through each receiver of this node, and waits for what comes of it.
    fn test_alerts(&self) -> impl Future<Output = Vec<AlertDelivery>> + Send;

    /// Makes a snapshot of the local state, as etcd's backend has it. Called on a thread that may block; `wanted` is asked now and then.
    ///
    /// # Errors
    /// See [`LongReadError`].
    fn snapshot(&self, wanted: &dyn Fn() -> bool) -> Result<Snapshot, LongReadError>;

    /// etcd's Hash: over everything in the local state. Called as [`Backend::snapshot`].
    ///
    /// # Errors
    /// See [`LongReadError`].
    fn hash(&self, wanted: &dyn Fn() -> bool) -> Result<Hash, LongReadError>;

    /// etcd's HashKV: over all keys with their history up to `revision`; 0: the newest. Called as [`Backend::snapshot`].
    ///
    /// # Errors
    /// See [`LongReadError`].
    fn hash_kv(&self, revision: Revision, wanted: &dyn Fn() -> bool) -> Result<Hash, LongReadError>;

    /// Opens a watch stream. It is closed when its deliveries half is dropped, or both.
    fn watch_stream(&self) -> (Self::WatchCommands, Self::WatchDeliveries);
}

/// Where a watch stream's commands go, in order.
pub trait WatchCommands: Send + 'static {
    /// Hands over a command; waits while the queue is full.
    fn send(&mut self, command: WatchCommand) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// Where a watch stream's deliveries come from, in order.
///
/// The queue behind it is bounded (`limits::WATCH_QUEUE_BYTES`): whoever fills it checks for room first, and has the stream's watchers catch
/// up later if there is none.
pub trait WatchDeliveries: Send + Unpin + 'static {
    /// The next delivery; `None` once the node stops.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<WatchDelivery>>;
}

/// What a client asks of its watch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchCommand {
    /// A new watcher. Answered by a delivery with `created`.
    Create(WatchCreate),
    /// Ends a watcher. Answered by a delivery with `canceled`; if there is no such watcher not at all.
    Cancel {
        /// Which, of this stream.
        watch_id: i64,
    },
    /// Asks for a delivery with watch id -1 and no events, once everything up to its revision has been delivered.
    Progress,
}

/// A new watcher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchCreate {
    /// The id the client chose; `None`: the stream's next free one.
    pub watch_id: Option<i64>,
    /// Which keys; not empty.
    pub keys: KeySpan,
    /// The first revision of interest; 0 or less: from now on.
    pub start_revision: Revision,
    /// Deliver keys as they were before the event, too.
    pub prev_kv: bool,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletes.
    pub no_delete: bool,
    /// Large deliveries may be split.
    pub fragment: bool,
    /// Tell the revision from time to time if there are no events.
    pub progress_notify: bool,
    /// Who wants it. Whether they may is for the backend to find out, now and whenever rights change: a watcher whose user may no longer read
    /// its keys ends.
    pub asker: Asker,
}

/// Who opens a watch; the same for all of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asker {
    /// It was not said.
    #[default]
    Nobody,
    /// This user.
    User(Arc<str>),
    /// Somebody with a token that is none: gets no watcher.
    Refused,
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// This user's, with all rights of now.
    User(Arc<str>),
    /// This caller's: the token says itself at which auth revision it was given out.
    Caller(Caller),
    /// It is not known here, but may be by a node that is ahead.
    Unknown,
    /// It is no token, or one that has ended.
    Nobody,
}

/// Why no token is given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// As any request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state machine refused it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// This node can't sign tokens.
    #[error("{0}")]
    Unsigned(String),
}

/// What a watcher gets at once.
#[derive(Clone, Debug, Default)]
pub struct WatchDelivery {
    /// Which watcher, of this stream; -1: the whole stream.
    pub watch_id: i64,
    /// The newest revision: the watcher has been told of everything up to it.
    pub revision: Revision,
    /// The watcher has begun.
    pub created: bool,
    /// The watcher has ended (or never began): why, in etcd's words; may be empty.
    pub canceled: Option<String>,
    /// If it ended because its revisions are gone: the first that is left; else 0.
    pub compact_revision: Revision,
    /// In order; whole revisions. Shared among the watchers of the same keys, so with the keys as they were only if the watcher asked.
    pub events: Arc<SharedEvents>,
    /// Whether the events may be split over several messages.
    pub fragment: bool,
}

/// A snapshot.
#[derive(Debug)]
pub struct Snapshot {
    /// Its file, at its beginning; gone when it is closed.
    pub file: std::fs::File,
    /// Its length, bytes.
    pub bytes: u64,
}

/// A hash of the local state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    /// The newest revision when it was taken.
    pub revision: Revision,
    /// The compact revision then.
    pub compact_revision: Revision,
    /// The revision that it is of.
    pub hashed: Revision,
    /// The hash.
    pub hash: u32,
}

/// Why a read of everything came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LongReadError {
    /// The revision is not there, or the tables are damaged.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The disk is full, or fails.
    #[error("{0}")]
    Disk(String),
    /// Nobody wants it any more.
    #[error("the client has gone")]
    Unwanted,
}

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Itself.
    pub member: NodeId,
}

/// What is wrong with members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// All alarms, by kind and member.
    pub all: Vec<Alarm>,
    /// Whether so many members are corrupt that none takes writes.
    pub stop_the_cluster: bool,
}

/// A renewed lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRenewal {
    /// The newest revision.
    pub revision: Revision,
    /// Seconds from now; 0: there is no such lease.
    pub ttl_s: i64,
}

/// A lease and what is left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Seconds left.
    pub remaining_s: i64,
    /// Seconds granted.
    pub granted_s: i64,
    /// The keys attached to it, in order, if asked for.
    pub keys: Vec<Bytes>,
}

/// A change of the membership that a client asks for. Peer URLs have been checked for their form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member, which has not started yet.
    Add {
        /// Where members will reach it.
        peer_urls: Vec<String>,
        /// Whether it joins as a learner.
        learner: bool,
    },
    /// A member leaves.
    Remove {
        /// Which.
        id: NodeId,
    },
    /// A learner becomes a voter.
    Promote {
        /// Which.
        id: NodeId,
    },
    /// New peer URLs.
    Update {
        /// Whose.
        id: NodeId,
        /// Where members reach it from now on.
        peer_urls: Vec<String>,
    },
}

/// A membership change that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChanged {
    /// All members after it.
    pub members: Vec<Member>,
    /// The member that was added, if one was.
    pub added: Option<NodeId>,
}

/// Why a request was not served. Nothing is said about whether a command that timed out was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// Leadership moved while the request was under way.
    #[error("leader changed")]
    LeaderChanged,
    /// No outcome in time.
    #[error("request timed out")]
    TimedOut,
    /// A queue is full.
    #[error("too many requests")]
    TooManyRequests,
    /// Only the leader can do this.
    #[error("not leader")]
    NotLeader,
    /// The quota is used up.
    #[error("mvcc: database space exceeded")]
    NoSpace,
    /// The command is larger than a command may be.
    #[error("request is too large")]
    RequestTooLarge,
    /// This node is a learner.
    #[error("rpc not supported for learner")]
    Learner,
    /// Leadership cannot be handed to this member.
    #[error("bad leader transferee")]
    BadTransferee,
    /// A member runs a release that does not know what is asked for.
    #[error("a member of the cluster runs a release that does not know this yet; upgrade it first")]
    LevelTooLow,
    /// This node is about to stop, or has stopped serving.
    #[error("server stopped")]
    Stopped,
}

/// Why a membership change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipRefusal {
    /// As any request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state machine refused it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Too few members would be up to decide anything.
    #[error("re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// The learner is too far behind.
    #[error("can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// No more learners are taken.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// Too few members are up.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// Another change is not finished yet.
    #[error("another membership change is under way; try again")]
    InProgress,
}

/// What a node is in its term, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeRole {
    /// Takes the leader's entries.
    #[default]
    Follower,
    /// Asks for votes, or whether it would get them.
    Candidate,
    /// Orders the log.
    Leader,
}

/// How a node sees itself and its cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// What it is in its term.
    pub role: NodeRole,
    /// Whether it learns only.
    pub learner: bool,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: Term,
    /// The newest entry known to be committed.
    pub commit_index: LogIndex,
    /// The newest entry applied.
    pub applied_index: LogIndex,
    /// The newest revision.
    pub revision: Revision,
    /// Revisions below it cannot be read.
    pub compact_revision: Revision,
    /// The log on disk.
    pub log_bytes: u64,
    /// The tables on disk.
    pub table_bytes: u64,
    /// The part of `table_bytes` that holds live data.
    pub table_used_bytes: u64,
    /// The most that the tables may take; 0: no bound.
    pub quota_bytes: u64,
    /// The process's resident memory.
    pub resident_bytes: u64,
    /// All members.
    pub members: Vec<Member>,
    /// On the leader, one for each other member.
    pub followers: Vec<FollowerStatus>,
    /// What is wrong, in words; without alarms.
    pub errors: Vec<String>,
    /// All alarms, of all members.
    pub alarms: Vec<Alarm>,
    /// Its replica of available state, if it has one that is served.
    pub replica: Option<ReplicaStatus>,
}

/// How a cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterHealth {
    /// Its servers and agents.
    pub members: Vec<MemberHealth>,
    /// The services that run on them and are checked.
    pub services: Vec<ServiceHealth>,
    /// The last changes, oldest first.
    pub events: Vec<HealthEvent>,
    /// Why what strong state says can't be told; then states are what gossip shows.
    pub unread: Option<String>,
}

/// A service on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHealth {
    /// Its name.
    pub service: String,
    /// The name of the node that it runs on.
    pub node: String,
    /// How it is.
    pub state: HealthState,
    /// Since when, milliseconds since 1970 by the clock of the leader of that time.
    pub since_ms: u64,
    /// Why, in words.
    pub cause: String,
}

/// A change of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    /// Which change of the cluster.
    pub number: u64,
    /// When, milliseconds since 1970 by the clock of the leader of that time.
    pub at_ms: u64,
    /// The node's name.
    pub node: String,
    /// The service; empty: the node itself.
    pub service: String,
    /// The state before.
    pub from: HealthState,
    /// The state after.
    pub to: HealthState,
    /// Why, in words.
    pub cause: String,
}

/// How a server, an agent or a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// It takes part.
    Healthy,
    /// Somebody got no answer from it.
    Suspect,
    /// It was found dead.
    Failed,
    /// It said goodbye.
    Left,
    /// It has errors that are tolerated.
    Degraded,
    /// It failed, is back, and has to show that it stays.
    Recovering,
}

/// A server or agent, as another node holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberHealth {
    /// Who.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it is an agent, and no server.
    pub is_agent: bool,
    /// How it is: as strong state has it, unless it has said goodbye.
    pub state: HealthState,
    /// How it is as this node's gossip shows it.
    pub gossip: HealthState,
    /// Why it is so, in words; empty if nothing is recorded of it.
    pub cause: String,
    /// How long it has been so, milliseconds.
    pub since_ms: u64,
    /// Names of those who found it silent.
    pub witnesses: Vec<String>,
    /// Where the others reach it.
    pub address: String,
    /// Its incarnation, for people.
    pub incarnation: String,
}

/// A text of a bundle, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleFile {
    /// What it is called.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Nobody is known by this word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no node is known by {word:?}; known are {known}")]
pub struct UnknownNode {
    /// The word.
    pub word: String,
    /// Who is, in words.
    pub known: String,
}

/// What became of a test alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertDelivery {
    /// The receiver: its kind and where it is, without secrets.
    pub receiver: String,
    /// Why it did not take it; `None` if it did.
    pub error: Option<String>,
}

/// How a leader sees one of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Who.
    pub id: NodeId,
    /// The last index known to be on its disk.
    pub matched: LogIndex,
    /// How many entries it is behind the leader's log.
    pub lag_entries: u64,
    /// Whether it answered within the last election timeout.
    pub active: bool,
}
