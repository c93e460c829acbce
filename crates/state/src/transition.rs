//! The step from one entry's state to the next: the writes of one log entry, gathered with everything that follows from them.
//!
//! 1. Every row goes through [`Transition::insert`], which takes it into the running hash; HISTORY does not, because it follows from KEYS.
//! 2. The writes of one command share a revision, one above the revision before it, which is taken by the first write. A command that writes
//!    no key takes none.
//! 3. A revision that writes a key twice keeps the last state in KEYS, and in HISTORY everything its events need.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::tables::{TableId, Tables, TablesError, TablesReader};
use steadfast_types::wire::Wire;
use steadfast_types::{Configuration, LeaseId, Level, LogIndex, NodeId, Revision, limits};

use crate::alarm::{Alarm, Alarms};
use crate::auth::{Auth, AuthEvent};
use crate::command::KeyValue;
use crate::event::{Event, EventKind};
use crate::fingerprint::Chain;
use crate::heads::{Head, Heads};
use crate::kv::view::View;
use crate::reader::Visible;
use crate::rows::{self, HISTORY, HistoryKey, HistoryKind, KEYS, LEASE_KEYS, LEASES, NEWEST, ReplacedPut, version_of};
use crate::state::LeaseChange;

/// A key before a write.
pub(crate) struct Previous {
    pub(crate) head: Head,
    /// All of it, if it was looked up.
    pub(crate) kv: Option<KeyValue>,
}

impl From<&KeyValue> for Head {
    fn from(kv: &KeyValue) -> Self {
        Head { create_revision: kv.create_revision, mod_revision: kv.mod_revision, version: kv.version, lease: kv.lease }
    }
}

/// The state while an entry is applied.
pub(crate) struct Transition<'a, T: Tables> {
    pub(crate) tables: &'a mut T,
    pub(crate) reader: &'a T::Reader,
    /// What readers are told.
    pub(crate) visible: &'a Visible,
    /// The entry.
    pub(crate) index: LogIndex,
    pub(crate) chain: Chain,
    /// The revision after the last finished command.
    pub(crate) revision: Revision,
    pub(crate) compact: Revision,
    /// How many keys the command at hand has written.
    pub(crate) writes: u32,
    /// What watchers must hear, if anyone wants to know.
    pub(crate) events: Option<Vec<Event>>,
    /// Whether they are to say what was before.
    pub(crate) with_previous: bool,
    pub(crate) event_bytes: usize,
    pub(crate) leases: Vec<LeaseChange>,
    /// Whether a member was added, removed or changed.
    pub(crate) members_changed: bool,
    /// What all members know.
    pub(crate) level: &'a mut Level,
    /// Users and roles after the last finished command.
    pub(crate) auth: &'a mut Arc<Auth>,
    pub(crate) auth_events: Vec<AuthEvent>,
    /// The configuration before the entry.
    pub(crate) configuration: &'a Configuration,
    /// The alarms after the last finished command.
    pub(crate) alarms: &'a mut Alarms,
    /// Alarms that were raised (true) or cleared, in order.
    pub(crate) alarm_events: Vec<(Alarm, bool)>,
    pub(crate) heads: &'a mut Heads,
    /// The node whose replica this is, see [`Transition::condemned`].
    pub(crate) me: NodeId,
    /// Whether this replica turned out to be corrupt. About this replica alone.
    pub(crate) condemned: bool,
    /// For encoding; kept to keep its memory.
    pub(crate) scratch: Vec<u8>,
}

impl<T: Tables> Transition<'_, T> {
    /// The keys as the next step of the command at hand sees them: with its own writes.
    pub(crate) fn view(&self) -> View<'_, T::Reader> {
        let revision = if self.writes == 0 { self.revision } else { self.writing_revision() };
        View { tables: self.reader, revision, compact: self.compact }
    }

    /// The revision of the writes of the command at hand.
    pub(crate) fn writing_revision(&self) -> Revision {
        Revision(self.revision.0 + 1)
    }

    /// Ends a command: if it wrote, its revision is now the current one.
    pub(crate) fn finish_command(&mut self) {
        if self.writes > 0 {
            self.revision = self.writing_revision();
            self.writes = 0;
        }
    }

    /// Writes a row and takes it into the hash.
    pub(crate) fn insert(&mut self, table: TableId, key: Bytes, version: u64, value: Option<Bytes>) {
        self.chain.row(table, &key, version, value.as_deref());
        self.tables.insert(table, key, version, value);
    }

    /// Writes a row of a table of which only the newest rows matter.
    pub(crate) fn insert_newest(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        self.insert(table, key, self.index.0, value);
    }

    /// The key as the next write finds it; `whole`, with its value.
    pub(crate) fn previous(&mut self, key: &[u8], whole: bool) -> Result<Option<Previous>, TablesError> {
        if !whole
            && !self.with_previous
            && let Some(head) = self.heads.get(key)
        {
            return Ok(Some(Previous { head, kv: None }));
        }
        Ok(self.view().get(key)?.map(|kv| Previous { head: Head::from(&kv), kv: Some(kv) }))
    }

    /// Writes a key whose present state is `previous`.
    pub(crate) fn put_key(&mut self, key: Bytes, value: Bytes, lease: LeaseId, previous: Option<&Previous>) -> Result<(), TablesError> {
        let revision = self.writing_revision();
        let create_revision = previous.map_or(revision, |previous| previous.head.create_revision);
        let version = previous.map_or(0, |previous| previous.head.version) + 1;
        let before = if create_revision == revision {
            None
        } else {
            self.before_this_revision(&key, previous.and_then(|previous| previous.kv.as_ref()))?
        };
        if let Some(previous) = previous {
            self.keep_replaced(&key, previous.head.mod_revision)?;
            // A key that is written once is mostly not written again.
            self.heads.put(&key, Head { create_revision, mod_revision: revision, version, lease });
        }
        self.scratch.clear();
        rows::encode_key_header(create_revision, version, lease, self.writes, &mut self.scratch);
        let mut row = Vec::with_capacity(self.scratch.len() + value.len());
        row.extend_from_slice(&self.scratch);
        row.extend_from_slice(&value);
        self.insert(KEYS, key.clone(), version_of(revision), Some(row.into()));
        self.attach(&key, lease, previous.map_or(LeaseId(0), |previous| previous.head.lease));
        let kv = KeyValue { key, create_revision, mod_revision: revision, version, value, lease };
        self.record(EventKind::Put, kv, before);
        Ok(())
    }

    /// Deletes a key that is there, as `previous`.
    pub(crate) fn delete_key(&mut self, previous: &KeyValue) -> Result<(), TablesError> {
        let revision = self.writing_revision();
        let key = previous.key.clone();
        let before = self.before_this_revision(&key, Some(previous))?;
        self.keep_replaced(&key, previous.mod_revision)?;
        self.heads.delete(&key);
        self.insert(KEYS, key.clone(), version_of(revision), None);
        self.attach(&key, LeaseId(0), previous.lease);
        let kv = KeyValue { key, mod_revision: revision, ..KeyValue::default() };
        self.record(EventKind::Delete, kv, before);
        Ok(())
    }

    /// Notes a write: in HISTORY, as an event, and in the count.
    fn record(&mut self, kind: EventKind, kv: KeyValue, prev_kv: Option<KeyValue>) {
        let history_kind = match kind {
            EventKind::Put => HistoryKind::Put,
            EventKind::Delete => HistoryKind::Delete,
        };
        let history = HistoryKey { revision: kv.mod_revision, sub: self.writes, kind: history_kind };
        self.tables.insert(HISTORY, history.encode(), version_of(kv.mod_revision), Some(kv.key.clone()));
        if let Some(events) = &mut self.events {
            let event = Event { kind, kv, prev_kv };
            self.event_bytes += event.bytes();
            events.push(event);
            if self.are_events_too_many() {
                self.events = None;
            }
        }
        self.writes = self.writes.checked_add(1).expect("a command writes fewer keys than fit in memory");
    }

    /// Whether watchers must look up in history what the entry did.
    pub(crate) fn are_events_too_many(&self) -> bool {
        self.event_bytes > limits::ENTRY_EVENT_BYTES
    }

    /// The key at the revision before, for the event: not as a write of the same command left it.
    fn before_this_revision(&self, key: &[u8], previous: Option<&KeyValue>) -> Result<Option<KeyValue>, TablesError> {
        if self.events.is_none() || !self.with_previous {
            return Ok(None);
        }
        let unchanged = previous.is_some_and(|kv| kv.mod_revision <= self.revision);
        if self.writes == 0 || unchanged { Ok(previous.cloned()) } else { self.view().get_at(key, self.revision) }
    }

    /// If the key was put by the command at hand, KEYS is about to forget that: HISTORY takes over what its event needs.
    fn keep_replaced(&mut self, key: &[u8], mod_revision: Revision) -> Result<(), TablesError> {
        if mod_revision <= self.revision {
            return Ok(());
        }
        let version = version_of(mod_revision);
        let row = self.reader.get(KEYS, key, version)?;
        let row = row.ok_or_else(|| TablesError(format!("the row of key {key:02x?}, just written, is not there")))?;
        let (kv, sub) = rows::decode_key_row(row)?;
        let replaced =
            ReplacedPut { key: kv.key, create_revision: kv.create_revision, version: kv.version, lease: kv.lease, value: kv.value };
        let at = |kind| HistoryKey { revision: kv.mod_revision, sub, kind }.encode();
        self.tables.insert(HISTORY, at(HistoryKind::Put), version, None);
        self.tables.insert(HISTORY, at(HistoryKind::ReplacedPut), version, Some(replaced.to_wire().into()));
        Ok(())
    }

    /// Moves a key from one lease to another; 0: none.
    fn attach(&mut self, key: &[u8], lease: LeaseId, before: LeaseId) {
        if lease == before {
            return;
        }
        if before.0 != 0 {
            self.insert_newest(LEASE_KEYS, rows::attached_key(before, key), None);
        }
        if lease.0 != 0 {
            self.insert_newest(LEASE_KEYS, rows::attached_key(lease, key), Some(Bytes::new()));
        }
    }

    /// Whether there is such a lease.
    pub(crate) fn lease_exists(&self, lease: LeaseId) -> Result<bool, TablesError> {
        Ok(self.reader.get(LEASES, &rows::lease_key(lease), NEWEST)?.is_some())
    }
}
