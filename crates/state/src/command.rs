//! What a log entry asks of the state machine, and what it answers.
//!
//! A [`Batch`] is the payload of one log entry: commands of many clients, each with its [`Origin`], so that the node it came from
//! answers the client from its own apply, and every other node ignores whom to answer.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::{LeaseId, Level, LogIndex, NodeId, Revision, wire_enum, wire_struct};

use crate::alarm::{Alarm, AlarmChange};
use crate::auth::{AuthChange, AuthError, Authorized, Token};

/// The payload of one log entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order of application.
    pub proposals: Vec<Proposal>,
}
wire_struct!(Batch { proposals });

/// One client's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Who waits for the outcome.
    pub origin: Origin,
    /// What to do.
    pub command: Command,
}
wire_struct!(Proposal { origin, command });

/// The node and the request that a command came from; unique over all time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The node that took the request.
    pub node: NodeId,
    /// That node's process life, chosen at random at its start.
    pub incarnation: u64,
    /// Counts the requests of that life.
    pub request: u64,
}
wire_struct!(Origin { node, incarnation, request });

/// A change to the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing but an answer: a barrier.
    Noop,
    /// One key.
    Put(Put),
    /// Keys of a range.
    DeleteRange(DeleteRange),
    /// A transaction with at least one write in it. Read-only ones are reads, see `kv`.
    Txn(Txn),
    /// Forget history below a revision.
    Compact {
        /// Revisions below it can no longer be read.
        revision: Revision,
    },
    /// A new lease. The proposer has chosen the id.
    LeaseGrant {
        /// Its id, positive.
        id: LeaseId,
        /// Time to live, seconds, as granted.
        ttl_s: i64,
    },
    /// Ends a lease, by request or because it expired: its keys are deleted in one revision.
    LeaseRevoke {
        /// Which.
        id: LeaseId,
    },
    /// Adds a member that has not started yet. Proposed with its configuration change.
    MemberAdd(Member),
    /// Removes a member. Proposed with its configuration change.
    MemberRemove {
        /// Which.
        id: NodeId,
    },
    /// A learner becomes a voter. Proposed with its configuration change.
    MemberPromote {
        /// Which.
        id: NodeId,
    },
    /// New peer addresses.
    MemberUpdate {
        /// Which.
        id: NodeId,
        /// The addresses other members reach it at, as URLs.
        peer_urls: Vec<String>,
    },
    /// A started member says its name and where clients reach it.
    MemberPublish {
        /// Which.
        id: NodeId,
        /// Its name.
        name: String,
        /// Client addresses, as URLs.
        client_urls: Vec<String>,
    },
    /// A node with an empty directory claims the member that was added with its peer address and has not started yet.
    MemberClaim {
        /// One of the member's peer URLs.
        peer_url: String,
        /// The claimant's random number: a repeated claim of the same node is granted again, another one's never.
        nonce: u64,
    },
    /// Every replica remembers its running hash at this entry, so that the members' hashes can be compared there.
    CompareHash {
        /// An earlier entry at which the leader remembers its hash, for whoever reads the log.
        index: LogIndex,
        /// The leader's hash there.
        hash: u64,
    },
    /// Any other command, of a client that said who it is. While authentication is not enabled nobody has to.
    Authorized(Box<Authorized>),
    /// Changes users, roles or permissions.
    Auth(AuthChange),
    /// Makes a token known to every node.
    IssueToken(Token),
    /// From now on all members know this level. A lower one than the cluster's changes nothing.
    RaiseLevel(Level),
    /// Raises or clears an alarm.
    Alarm(AlarmChange),
}
wire_enum!(Command {
    0 => Noop {},
    1 => Put(put),
    2 => DeleteRange(delete),
    3 => Txn(txn),
    4 => Compact { revision },
    5 => LeaseGrant { id, ttl_s },
    6 => LeaseRevoke { id },
    7 => MemberAdd(member),
    8 => MemberRemove { id },
    9 => MemberPromote { id },
    10 => MemberUpdate { id, peer_urls },
    11 => MemberPublish { id, name, client_urls },
    12 => MemberClaim { peer_url, nonce },
    13 => CompareHash { index, hash },
    14 => Authorized(authorized),
    15 => Auth(change),
    16 => IssueToken(token),
    17 => Alarm(change),
    18 => RaiseLevel(level),
});

impl Command {
    /// The number of [`Command::Authorized`] in wire form.
    pub(crate) const AUTHORIZED: u8 = 14;

    /// The level that a cluster must have before this is proposed.
    pub fn level(&self) -> Level {
        match self {
            Command::Alarm(_) => Level::ALARMS,
            Command::Authorized(authorized) => authorized.command.level(),
            _ => Level::FIRST,
        }
    }
}

/// Writes one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key; not empty.
    pub key: Bytes,
    /// The value; empty if `ignore_value`.
    pub value: Bytes,
    /// The lease to attach; 0: none.
    pub lease: LeaseId,
    /// Answer with the key as it was.
    pub prev_kv: bool,
    /// Keep the present value.
    pub ignore_value: bool,
    /// Keep the present lease.
    pub ignore_lease: bool,
}
wire_struct!(Put { key, value, lease, prev_kv, ignore_value, ignore_lease });

/// Deletes keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRange {
    /// Which.
    pub keys: KeySpan,
    /// Answer with the keys as they were.
    pub prev_kv: bool,
}
wire_struct!(DeleteRange { keys, prev_kv });

/// A key or a range of keys, in etcd's notation: `range_end` empty: the one key; one zero byte: all keys from `key` on; else `key` to
/// `range_end`, without it. With `key` one zero byte too: all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeySpan {
    /// The first key.
    pub key: Bytes,
    /// The end, see above.
    pub range_end: Bytes,
}
wire_struct!(KeySpan { key, range_end });

/// Reads keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Which.
    pub keys: KeySpan,
    /// At most so many; 0: all.
    pub limit: i64,
    /// As of this revision; 0 or less: the newest.
    pub revision: Revision,
    /// In which order.
    pub sort_order: SortOrder,
    /// By what.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Leave out keys modified before; 0: no bound, as below.
    pub min_mod_revision: Revision,
    /// Leave out keys modified after.
    pub max_mod_revision: Revision,
    /// Leave out keys created before.
    pub min_create_revision: Revision,
    /// Leave out keys created after.
    pub max_create_revision: Revision,
}
wire_struct!(Range {
    keys,
    limit,
    revision,
    sort_order,
    sort_target,
    keys_only,
    count_only,
    min_mod_revision,
    max_mod_revision,
    min_create_revision,
    max_create_revision,
});

/// The order of a range's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// By key; if another target is given, ascending by it.
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
}
wire_enum!(SortOrder { 0 => None {}, 1 => Ascend {}, 2 => Descend {} });

/// What a range's answer is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// How often it was written since it was created.
    Version,
    /// The revision that created it.
    CreateRevision,
    /// The revision that last wrote it.
    ModRevision,
    /// The value.
    Value,
}
wire_enum!(SortTarget { 0 => Key {}, 1 => Version {}, 2 => CreateRevision {}, 3 => ModRevision {}, 4 => Value {} });

/// If all comparisons hold then `success`, else `failure`; as one. Its codec bounds how deep they nest, see [`crate::nesting`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// What to do then.
    pub success: Vec<Operation>,
    /// What to do else.
    pub failure: Vec<Operation>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read.
    Range(Range),
    /// Write.
    Put(Put),
    /// Delete.
    DeleteRange(DeleteRange),
    /// A transaction inside.
    Txn(Txn),
}

/// Holds if for every key of `keys` the target stands in `relation` to the operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which keys; if there are none, the comparison is with zeros, and never holds for a value.
    pub keys: KeySpan,
    /// How.
    pub relation: Relation,
    /// What, with what.
    pub operand: Operand,
}
wire_struct!(Compare { keys, relation, operand });

/// How the key's attribute must stand to the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Equal.
    Equal,
    /// Greater.
    Greater,
    /// Less.
    Less,
    /// Not equal.
    NotEqual,
}
wire_enum!(Relation { 0 => Equal {}, 1 => Greater {}, 2 => Less {}, 3 => NotEqual {} });

/// The attribute compared, and what it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Writes since creation.
    Version(i64),
    /// The creating revision.
    CreateRevision(Revision),
    /// The last revision.
    ModRevision(Revision),
    /// The value.
    Value(Bytes),
    /// The lease.
    Lease(LeaseId),
}
wire_enum!(Operand { 0 => Version(v), 1 => CreateRevision(r), 2 => ModRevision(r), 3 => Value(v), 4 => Lease(l) });

/// A member as strong state knows it. Whether it votes stands in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where members reach it, as URLs.
    pub peer_urls: Vec<String>,
    /// Where clients reach it, as URLs; empty until it has started.
    pub client_urls: Vec<String>,
    /// Whether it was added as a learner and not promoted since.
    pub learner: bool,
    /// The nonce of the node that claimed it; 0: not claimed yet (see [`Command::MemberClaim`]).
    pub claimed_by: u64,
}
wire_struct!(Member { id, name, peer_urls, client_urls, learner, claimed_by });

/// A key with its value and history, as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision that created it.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
    /// Writes since creation; 1 after the first.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease; 0: none.
    pub lease: LeaseId,
}

/// What a command that went well answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; nothing to say (noop, compact, revoke, hash, auth, member calls but claim).
    Done,
    /// A put.
    Put {
        /// The key as it was, if asked for and there.
        prev_kv: Option<KeyValue>,
    },
    /// A delete.
    Deleted {
        /// How many keys.
        deleted: i64,
        /// The keys as they were, if asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// A range, in a transaction.
    Range(RangeResult),
    /// A transaction.
    Txn(TxnResult),
    /// A granted lease.
    LeaseGranted {
        /// Its id.
        id: LeaseId,
        /// Seconds.
        ttl_s: i64,
    },
    /// A claimed member.
    Claimed(Member),
    /// The alarms that a change was about and that are, or were, there.
    Alarms(Vec<Alarm>),
}

/// A transaction's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// One per operation of the chosen list.
    pub responses: Vec<Outcome>,
}

/// A range's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResult {
    /// The keys asked for.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left some out.
    pub more: bool,
    /// How many keys the span holds, whatever limit and filters say.
    pub count: i64,
}

/// Why a command, or a read, was refused. Every replica refuses the same command alike; the state is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The revision asked for, or to be compacted, is gone.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision is yet to come.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// There is no such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// There is such a lease already.
    #[error("lease already exists")]
    LeaseExists,
    /// `ignore_value` or `ignore_lease` on a key that is not there.
    #[error("key not found")]
    KeyNotFound,
    /// There is no such member.
    #[error("member not found")]
    MemberNotFound,
    /// There is such a member already.
    #[error("member ID already exist")]
    MemberExists,
    /// A member with one of these peer URLs exists.
    #[error("Peer URLs already exists")]
    PeerUrlExists,
    /// Only a learner can be promoted.
    #[error("can only promote a learner member")]
    MemberNotLearner,
    /// Another node already runs as the member with this peer address; its own directory may be lost.
    #[error("the member at this address has already started")]
    MemberClaimed,
    /// A member lacks space: nothing that takes more is done.
    #[error("mvcc: database space exceeded")]
    NoSpace,
    /// The members' states differ, and no majority of them agrees on one.
    #[error("corrupt cluster")]
    Corrupt,
    /// Whoever asks may not, or what is asked of users and roles makes no sense.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The tables are damaged; this is about this node only, which must stop answering.
    #[error("{0}")]
    Tables(#[from] steadfast_types::tables::TablesError),
}
