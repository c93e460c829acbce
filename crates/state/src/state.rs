//! The state of one replica, and how log entries change it.
//!
//! 1. Entries are applied in order, without gaps, each once; entry and position reach the tables as one batch.
//! 2. The same entries give the same rows, revision and hash on every replica: nothing here depends on who asks, on time, or on the answers
//!    that are wanted. The one row that is about a replica alone, that it is condemned, is not in the hash.
//! 3. Readers see an entry only when all of it is in place.
//! 4. META is written once per entry, not per command.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::tables::{Tables, TablesError, TablesReader};
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{Configuration, Entry, LeaseId, Level, LogIndex, LogPosition, NodeId, Payload, Revision};

use crate::alarm::{self, Alarm, Alarms};
use crate::auth::{self, Auth, AuthEvent, Authorized};
use crate::command::{Command, CommandError, Member, Origin, Outcome, Proposal};
use crate::event::{Event, Gather};
use crate::fingerprint::{Chain, HASH_INTERVAL, Remembered};
use crate::heads::Heads;
use crate::reader::{StateReader, Visible};
use crate::rows::{
    FORMAT, KEYS, LEASES, META, META_CONDEMNED, META_CONFIGURATION, META_HASHES, META_LEVEL, META_SUMMARY, NEWEST, Summary, decode_meta,
};
use crate::seed::{FOUNDED, SEEDED};
use crate::transition::Transition;

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod tests;

/// The revision of an empty store.
const FIRST_REVISION: Revision = Revision(1);

/// The compact revision before the first compaction, as etcd has it.
const NEVER_COMPACTED: Revision = Revision(-1);

/// The state of one replica. Held by the one thread that applies the log.
pub struct State<T: Tables> {
    tables: T,
    reader: T::Reader,
    summary: Summary,
    configuration: Configuration,
    remembered: Remembered,
    level: Level,
    condemned: Option<LogIndex>,
    auth: Arc<Auth>,
    alarms: Alarms,
    heads: Heads,
    visible: Arc<Visible>,
}

/// Whose commands to answer, and whether anyone watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// This node.
    pub node: NodeId,
    /// Its present life; commands of an earlier one have nobody waiting.
    pub incarnation: u64,
    /// Which events to gather.
    pub events: Gather,
}

/// What an entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The answers to this node's requests, by their number, in order.
    pub outcomes: Vec<(u64, Response)>,
    /// What changed, in order: whole revisions. Empty unless asked for, and if it is too much.
    pub events: Vec<Event>,
    /// Whether the events were more than [`steadfast_types::limits::ENTRY_EVENT_BYTES`]: they are in the history.
    pub are_events_too_many: bool,
    /// The revision after the entry.
    pub revision: Revision,
    /// Leases that began or ended, in order.
    pub leases: Vec<LeaseChange>,
    /// Whether members were added, removed or changed.
    pub members_changed: bool,
    /// What happened to tokens and rights, in order.
    pub auth: Vec<AuthEvent>,
    /// Alarms that were raised (true) or cleared, in order.
    pub alarms: Vec<(Alarm, bool)>,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The revision after the command: what the answer's header says.
    pub revision: Revision,
    /// How it went.
    pub result: Result<Outcome, CommandError>,
}

/// A lease began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It was granted.
    Granted {
        /// Which.
        id: LeaseId,
        /// Its time to live, seconds.
        ttl_s: i64,
    },
    /// It is gone.
    Revoked {
        /// Which.
        id: LeaseId,
    },
}

/// Why the state in some tables can't be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenStateError {
    /// They are damaged.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// Another version of this program wrote it.
    #[error("format {0} is not known here; run the version that wrote it, or a newer one")]
    Format(u8),
}

/// This replica can't go on; others may. The state in memory is poisoned (an entry may be half applied), the tables as of the last commit are
/// not made worse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    /// The tables are damaged.
    #[error("{0}; this node needs a snapshot from a peer")]
    Tables(#[from] TablesError),
    /// An entry that no version of this program proposes, or that was damaged on its way.
    #[error("log entry {index} can't be read: {why}; the log is damaged, or a newer version wrote it")]
    Entry {
        /// Which.
        index: LogIndex,
        /// Why.
        why: WireError,
    },
    /// An entry that is not the next one.
    #[error("log entry {index} does not follow the last applied entry {applied}")]
    OutOfOrder {
        /// Which came.
        index: LogIndex,
        /// The last one applied.
        applied: LogIndex,
    },
}

/// What META says.
struct Loaded {
    summary: Option<Summary>,
    configuration: Configuration,
    remembered: Remembered,
    level: Level,
    condemned: Option<LogIndex>,
    auth: Arc<Auth>,
    alarms: Alarms,
}

impl<T: Tables> State<T> {
    /// The state in these tables; the empty state, if they are empty. Reads META, users, roles and alarms alone.
    ///
    /// # Errors
    /// META is damaged or of an unknown format.
    pub fn open(mut tables: T) -> Result<Self, OpenStateError> {
        let reader = tables.reader();
        let loaded = load(&reader)?;
        if loaded.summary.is_none() {
            prepare(&mut tables);
        }
        let summary = loaded.summary.unwrap_or(EMPTY);
        let Loaded { configuration, remembered, level, condemned, auth, alarms, .. } = loaded;
        let visible = Arc::new(Visible::new(summary.revision, summary.compact, auth.clone()));
        Ok(State { tables, reader, summary, configuration, remembered, level, condemned, auth, alarms, heads: Heads::default(), visible })
    }

    /// Reads META again, after the rows were replaced under it by a snapshot. Readers go on with the new state.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn reload(&mut self) -> Result<(), OpenStateError> {
        self.reader = self.tables.reader();
        let loaded = load(&self.reader)?;
        self.summary = loaded.summary.unwrap_or(EMPTY);
        self.configuration = loaded.configuration;
        self.remembered = loaded.remembered;
        self.level = loaded.level;
        self.condemned = loaded.condemned;
        self.alarms = loaded.alarms;
        self.heads = Heads::default();
        self.auth = loaded.auth;
        self.visible.set_auth(self.auth.clone());
        self.visible.compact(self.summary.compact);
        self.visible.revision(self.summary.revision);
        Ok(())
    }

    /// Writes the first state of a new cluster, before any entry: at index 0, or over a seed, at [`FOUNDED`]. Every founding member must call it
    /// with the same arguments, over the same seed.
    ///
    /// # Panics
    /// If an entry was applied before, or anything but a seed written.
    pub fn bootstrap(&mut self, configuration: Configuration, members: Vec<Member>, level: Level) {
        let is_empty = self.applied() == LogPosition::default() && self.summary == EMPTY;
        assert!(is_empty || self.is_unfounded_seed(), "only an empty or a seeded state can be bootstrapped");
        let position = if is_empty { LogPosition::default() } else { FOUNDED };
        let mut transition = self.transition(position.index, Gather::Nothing);
        members.iter().for_each(|member| transition.write_member(member));
        transition.insert_newest(META, META_CONFIGURATION, Some(configuration.to_wire().into()));
        transition.raise_level(level);
        let summary = transition.summary();
        self.configuration = configuration;
        self.finish(position, summary, false);
    }

    /// Whether it was seeded and has no members yet: what a cluster can be founded on.
    pub fn is_unfounded_seed(&self) -> bool {
        self.applied() == SEEDED && self.configuration.members().is_empty()
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// This replica can't go on, see [`StateFault`]: drop the state.
    pub fn apply(&mut self, entry: &Entry, answer: Answer) -> Result<Applied, StateFault> {
        let applied = self.applied().index;
        if entry.index != applied.next() {
            return Err(StateFault::OutOfOrder { index: entry.index, applied });
        }
        let (batch, configuration) = match &entry.payload {
            Payload::Empty => (Bytes::new(), None),
            Payload::Batch(batch) => (batch.clone(), None),
            Payload::Change { configuration, batch } => (batch.clone(), Some(configuration)),
        };
        let mut is_compared = false;
        let mut transition = self.transition(entry.index, answer.events);
        transition.me = answer.node;
        let outcomes = transition.run(batch, answer, &mut is_compared)?;
        if let Some(configuration) = configuration {
            transition.insert_newest(META, META_CONFIGURATION, Some(configuration.to_wire().into()));
        }
        let summary = transition.summary();
        let (events, are_events_too_many) = (transition.events.take().unwrap_or_default(), transition.are_events_too_many());
        let leases = core::mem::take(&mut transition.leases);
        let (members_changed, condemned) = (transition.members_changed, transition.condemned);
        let alarms = core::mem::take(&mut transition.alarm_events);
        let auth = core::mem::take(&mut transition.auth_events);
        if let Some(configuration) = configuration {
            self.configuration = configuration.clone();
        }
        let is_marked = is_compared || entry.index.0.is_multiple_of(HASH_INTERVAL);
        if condemned {
            self.condemned = Some(entry.index);
            self.tables.insert(META, META_CONDEMNED, entry.index.0, Some(entry.index.to_wire().into()));
        }
        // Before the entry's keys can be seen, so that nobody reads them with rights from before.
        if auth.iter().any(AuthEvent::changes_rights) {
            self.visible.set_auth(self.auth.clone());
        }
        self.finish(entry.position(), summary, is_marked);
        Ok(Applied { outcomes, events, are_events_too_many, revision: summary.revision, leases, members_changed, auth, alarms })
    }

    /// The tables.
    pub fn tables(&self) -> &T {
        &self.tables
    }

    /// The tables, to checkpoint them or to install a snapshot (then call [`State::reload`]).
    pub fn tables_mut(&mut self) -> &mut T {
        &mut self.tables
    }

    /// A reader for other threads.
    pub fn reader(&self) -> StateReader<T::Reader> {
        StateReader::new(self.reader.clone(), self.visible.clone())
    }

    /// The last entry applied.
    pub fn applied(&self) -> LogPosition {
        self.tables.applied()
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.summary.revision
    }

    /// Revisions below it can't be read; -1 before the first compaction.
    pub fn compact_revision(&self) -> Revision {
        self.summary.compact
    }

    /// The configuration as of the last entry applied.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The running hash after the last entry applied.
    pub fn hash(&self) -> u64 {
        self.summary.hash
    }

    /// The newest remembered hash and its entry, see [`Command::CompareHash`].
    pub fn remembered_hash(&self) -> Option<(LogIndex, u64)> {
        self.remembered.newest()
    }

    /// The latest hashes with their entries, oldest first: what replicas are compared by. At most [`crate::REMEMBERED`].
    pub fn remembered_hashes(&self) -> Vec<(LogIndex, u64)> {
        self.remembered.marks()
    }

    /// The alarms, as of the last entry applied.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Users and roles, as of the last entry applied.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// What all members know, so that it may be used.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The entry by which this replica's state is not to be used any more, see [`crate::alarm`]: only a snapshot that covers it may follow.
    pub fn condemned(&self) -> Option<LogIndex> {
        self.condemned
    }

    fn transition(&mut self, index: LogIndex, gather: Gather) -> Transition<'_, T> {
        Transition {
            tables: &mut self.tables,
            reader: &self.reader,
            visible: &self.visible,
            index,
            chain: Chain(self.summary.hash),
            revision: self.summary.revision,
            compact: self.summary.compact,
            writes: 0,
            events: (gather != Gather::Nothing).then(Vec::new),
            with_previous: gather == Gather::EventsWithPrevious,
            event_bytes: 0,
            leases: Vec::new(),
            members_changed: false,
            level: &mut self.level,
            auth: &mut self.auth,
            auth_events: Vec::new(),
            configuration: &self.configuration,
            alarms: &mut self.alarms,
            alarm_events: Vec::new(),
            heads: &mut self.heads,
            me: NodeId::default(),
            condemned: false,
            scratch: Vec::new(),
        }
    }

    fn finish(&mut self, position: LogPosition, summary: Summary, is_marked: bool) {
        let version = position.index.0;
        if is_marked {
            self.remembered.remember(position.index, summary.hash);
            self.tables.insert(META, META_HASHES, version, Some(self.remembered.marks().to_wire().into()));
        }
        self.tables.insert(META, META_SUMMARY, version, Some(summary.to_wire().into()));
        // Who reads at this entry finds the leases as they are now, also when later entries are there.
        self.tables.set_horizon(LEASES, version);
        self.tables.commit(position);
        self.summary = summary;
        self.visible.revision(summary.revision);
    }
}

pub(crate) const EMPTY: Summary = Summary { format: FORMAT, revision: FIRST_REVISION, compact: NEVER_COMPACTED, hash: 0 };

/// Tells empty tables of which ones more than the newest rows matter.
pub(crate) fn prepare<T: Tables>(tables: &mut T) {
    tables.set_horizon(KEYS, 0);
    tables.set_horizon(LEASES, 0);
}

fn load<R: TablesReader>(reader: &R) -> Result<Loaded, OpenStateError> {
    let summary: Option<Summary> = meta(reader, &META_SUMMARY)?;
    if let Some(summary) = summary.filter(|summary| summary.format != FORMAT) {
        let format = summary.format;
        return Err(OpenStateError::Format(format));
    }
    Ok(Loaded {
        summary,
        configuration: meta(reader, &META_CONFIGURATION)?.unwrap_or_default(),
        remembered: Remembered::from_marks(meta(reader, &META_HASHES)?.unwrap_or_default()),
        level: meta(reader, &META_LEVEL)?.unwrap_or(Level::FIRST),
        condemned: meta(reader, &META_CONDEMNED)?,
        auth: Arc::new(auth::load(reader)?),
        alarms: alarm::load(reader)?,
    })
}

fn meta<R: TablesReader, V: Wire>(reader: &R, name: &[u8]) -> Result<Option<V>, TablesError> {
    reader.get(META, name, NEWEST)?.map(decode_meta).transpose()
}

impl<T: Tables> Transition<'_, T> {
    /// Applies a batch, command by command as they are decoded.
    fn run(&mut self, batch: Bytes, answer: Answer, is_compared: &mut bool) -> Result<Vec<(u64, Response)>, StateFault> {
        let mut outcomes = Vec::new();
        if batch.is_empty() {
            return Ok(outcomes);
        }
        let index = self.index;
        let unreadable = |why| StateFault::Entry { index, why };
        let mut reader = Reader::new(batch);
        for _ in 0..reader.varint().map_err(unreadable)? {
            let Proposal { origin, command } = Proposal::decode(&mut reader).map_err(unreadable)?;
            let wanted = (origin.node, origin.incarnation) == (answer.node, answer.incarnation);
            let result = match self.apply_command(origin, command, wanted, is_compared) {
                Err(CommandError::Tables(damage)) => return Err(damage.into()),
                result => result,
            };
            self.finish_command();
            if wanted {
                outcomes.push((origin.request, Response { revision: self.revision, result }));
            }
        }
        match reader.remaining() {
            0 => Ok(outcomes),
            left => Err(unreadable(WireError::LeftOver(left))),
        }
    }

    /// Applies a command, if whoever it is of may. What the nodes themselves propose is of nobody, and may.
    fn apply_command(&mut self, origin: Origin, command: Command, wanted: bool, is_compared: &mut bool) -> Result<Outcome, CommandError> {
        let (caller, command) = match command {
            Command::Authorized(authorized) => {
                let Authorized { caller, command } = *authorized;
                (Some(caller), command)
            }
            command => (None, command),
        };
        if origin != Origin::default() {
            self.permit(caller.as_ref(), &command)?;
        }
        self.heed_alarms(&command)?;
        self.apply_permitted(command, wanted, is_compared)
    }

    fn apply_permitted(&mut self, command: Command, wanted: bool, is_compared: &mut bool) -> Result<Outcome, CommandError> {
        match command {
            Command::Noop => Ok(Outcome::Done),
            Command::Put(put) => self.put(put),
            Command::DeleteRange(delete) => self.delete_range(&delete, wanted),
            Command::Txn(txn) => self.txn(&txn, wanted),
            Command::Compact { revision } => self.compact(revision),
            Command::LeaseGrant { id, ttl_s } => self.lease_grant(id, ttl_s),
            Command::LeaseRevoke { id } => self.lease_revoke(id),
            Command::MemberAdd(member) => self.member_add(&member),
            Command::MemberRemove { id } => self.member_remove(id),
            Command::MemberPromote { id } => self.member_promote(id),
            Command::MemberUpdate { id, peer_urls } => self.member_update(id, peer_urls),
            Command::MemberPublish { id, name, client_urls } => self.member_publish(id, name, client_urls),
            Command::MemberClaim { peer_url, nonce } => self.member_claim(&peer_url, nonce),
            Command::CompareHash { .. } => {
                *is_compared = true;
                Ok(Outcome::Done)
            }
            Command::Auth(change) => self.change_auth(&change),
            Command::IssueToken(token) => self.issue_token(token),
            Command::RaiseLevel(level) => Ok(self.raise_level(level)),
            Command::Alarm(change) => self.change_alarms(change),
            Command::Authorized(_) => unreachable!("its wire form does not nest"),
        }
    }

    fn raise_level(&mut self, level: Level) -> Outcome {
        if level > *self.level {
            *self.level = level;
            self.insert_newest(META, META_LEVEL, Some(level.to_wire().into()));
        }
        Outcome::Done
    }

    fn summary(&self) -> Summary {
        Summary { format: FORMAT, revision: self.revision, compact: self.compact, hash: self.chain.0 }
    }
}
