//! What happened from a revision on, read back from HISTORY: for watchers that start in the past or fell behind.

use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use core::sync::atomic::Ordering;
use steadfast_types::Revision;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::{Row, TablesError, TablesReader};
use steadfast_types::wire::Wire;

use super::StateReader;
use crate::command::KeyValue;
use crate::event::{Event, EventKind};
use crate::kv::view::View;
use crate::rows::{HISTORY, HistoryKey, HistoryKind, ReplacedPut, damaged, version_of};

/// Which piece of history to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    /// The first revision.
    pub from: Revision,
    /// The last revision, at most the current one.
    pub to: Revision,
    /// Stop after the revision in which so many events were looked at, wanted or not; at least one.
    pub max_events: usize,
    /// Stop after the revision in which the keys and values of wanted events reached so many bytes.
    pub max_bytes: usize,
    /// Whether events carry the key as it was.
    pub prev_kv: bool,
}

/// A piece of history: whole revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The wanted events, in order.
    pub events: Vec<Event>,
    /// Every revision below this one, from the one asked for, is in `events`.
    pub next: Revision,
}

/// Why a piece of history can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// It begins below the compact revision.
    #[error("required revision has been compacted")]
    Compacted,
    /// The tables are damaged; this node must stop serving.
    #[error("{0}")]
    Tables(#[from] TablesError),
}

impl<R: TablesReader> StateReader<R> {
    /// Reads the events from a revision on whose keys are `wanted`, in whole revisions: at least one, then until a limit is reached.
    ///
    /// # Errors
    /// The first revision is compacted, perhaps while it was read; or the tables are damaged.
    pub fn history(&self, request: &HistoryRequest, wanted: &mut dyn FnMut(&Bytes) -> bool) -> Result<History, HistoryError> {
        let to = request.to.min(self.revision());
        let from = Revision(request.from.0.max(0));
        if from < self.compact_revision() {
            return Err(HistoryError::Compacted);
        }
        let history = self.read_history(&HistoryRequest { from, to, ..*request }, wanted);
        // A row that is missing because it was compacted meanwhile is no damage.
        if from < self.compact_revision() { Err(HistoryError::Compacted) } else { Ok(history?) }
    }

    fn read_history(&self, request: &HistoryRequest, wanted: &mut dyn FnMut(&Bytes) -> bool) -> Result<History, TablesError> {
        let mut events = Vec::new();
        let (mut looked_at, mut bytes) = (0, 0);
        let mut last = None;
        for row in self.tables.scan(HISTORY, HistoryKey::from(request.from), version_of(request.to)) {
            let row = row?;
            let at = HistoryKey::decode(&row.key)?;
            let full = looked_at >= request.max_events || bytes >= request.max_bytes;
            if full && (last.is_some_and(|last| last != at.revision) || is_planted(Bug::HistorySplit)) {
                return Ok(History { events, next: at.revision });
            }
            last = Some(at.revision);
            looked_at += 1;
            if let Some(event) = self.event(at, row, request.prev_kv, wanted)? {
                bytes += event.kv.key.len() + event.kv.value.len() + event.prev_kv.as_ref().map_or(0, |kv| kv.value.len());
                events.push(event);
            }
        }
        Ok(History { events, next: Revision(request.to.0 + 1).max(request.from) })
    }

    fn event(&self, at: HistoryKey, row: Row, prev_kv: bool, wanted: &mut dyn FnMut(&Bytes) -> bool) -> Result<Option<Event>, TablesError> {
        let replaced = match at.kind {
            HistoryKind::Put | HistoryKind::Delete => None,
            HistoryKind::ReplacedPut => Some(ReplacedPut::from_wire(row.value.clone()).map_err(|why| damaged("HISTORY", &row.key, &why))?),
        };
        let key = replaced.as_ref().map_or(&row.value, |put| &put.key);
        if !wanted(key) {
            return Ok(None);
        }
        let before = if prev_kv { self.before(key, at.revision)? } else { None };
        let (kind, kv) = match (at.kind, replaced) {
            (HistoryKind::Delete, _) => (EventKind::Delete, KeyValue { key: row.value, mod_revision: at.revision, ..KeyValue::default() }),
            (HistoryKind::Put | HistoryKind::ReplacedPut, None) => (EventKind::Put, self.put_at(&row.value, at.revision)?),
            (HistoryKind::Put | HistoryKind::ReplacedPut, Some(put)) => (EventKind::Put, restored(put, at.revision)),
        };
        let prev_kv = before.filter(|_| kv.create_revision != kv.mod_revision);
        Ok(Some(Event { kind, kv, prev_kv }))
    }

    fn put_at(&self, key: &Bytes, revision: Revision) -> Result<KeyValue, TablesError> {
        let found = self.view(revision).get(key)?.filter(|kv| kv.mod_revision == revision);
        found.ok_or_else(|| TablesError(format!("history has key {key:02x?} at revision {revision}, but KEYS has not")))
    }

    /// The key as it was before `revision`, as far as that is not compacted.
    fn before(&self, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, TablesError> {
        let before = Revision(revision.0 - 1);
        if before < self.compact_revision() {
            return Ok(None);
        }
        let found = self.view(before).get(key)?;
        // A compaction meanwhile may have taken this very row and left an older one, or none.
        Ok(found.filter(|_| before.0 >= self.visible.compact.load(Ordering::SeqCst)))
    }

    fn view(&self, revision: Revision) -> View<'_, R> {
        View { tables: &self.tables, revision, compact: self.compact_revision() }
    }
}

/// What a put was that a later write of its revision replaced.
pub(super) fn restored(put: ReplacedPut, revision: Revision) -> KeyValue {
    let ReplacedPut { key, create_revision, version, lease, value } = put;
    KeyValue { key, create_revision, mod_revision: revision, version, value, lease }
}
