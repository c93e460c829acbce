//! The records of health in strong state, and the one writer of them at a time.
//!
//! | key | value |
//! | --- | --- |
//! | `steadfast/health/nodes/NODE` | JSON: a node's state, since when, why, who says so; absent: it has always been healthy |
//! | `steadfast/health/services/NODE/SERVICE` | JSON: the same of a service |
//! | `steadfast/health/events/NNNNNNNNNNNN` | JSON: a change of one of these, numbered from 1, the last [`EVENTS`] |
//! | `steadfast/@CLUSTER/health/head` | JSON: the next event's number, and who wrote it in which term |
//!
//! Invariants:
//! 1. Each batch compares the head with what its writer read, and rewrites it: of two judges one succeeds, and the other begins anew with what the first wrote.
//!    No two events have one number, and none is missing between two others.
//! 2. A state and the event that leads to it are written in one batch.
//! 3. A judge of an older term writes nothing once a later one has written ([`Book::open`]).
//! 4. Nothing is written while nothing changes: the records of a cluster in which nothing ever happened are none.
//! 5. What lies under these keys and is no such record is never written over, and told.

mod form;
mod keys;
mod opened;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use steadfast_coordination::{Batch, Coordination, Error, Fence, Key, Keys, Outcome, Prefix, Read, Record, Write, settle};
use steadfast_types::{ClusterId, NodeId, Revision, Term};

use super::judge::{Decision, Known, Ruling};

pub(super) use form::{Entry, read};

use form::{Head, event_record, json, node_record, service_record};
use keys::{event_key, head_key, node_key, service_key, services_of};
use opened::Opened;

/// Under which all that people watch lies.
pub(super) const ROOM: &str = "steadfast/health/";

/// Events that are kept.
pub(super) const EVENTS: u64 = 1_000;

/// Decisions of one batch: each writes a record and an event, and deletes an event; a batch has at most 128 writes.
const BATCH: usize = 40;

/// Reads every record under [`ROOM`], as of one moment.
pub(super) async fn read_all<C: Coordination>(store: &C) -> Result<(Revision, Vec<Record>), Error> {
    let (mut all, mut next) = (Vec::new(), Read::prefix(Prefix::new(ROOM)?));
    loop {
        let page = store.read(next).await?;
        all.extend(page.records);
        match page.next {
            Some(read) => next = read,
            None => return Ok((page.revision, all)),
        }
    }
}

/// Why a judge must begin anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    /// Another judge has written.
    #[error("another judge has written")]
    Overtaken,
    /// A judge of a later term has written: this one is none any more.
    #[error("a judge of a later term has written")]
    Outdated,
    /// The store has no answer.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The hand of one judge on the records.
pub(super) struct Book<C> {
    store: C,
    me: NodeId,
    term: Term,
    fence: Fence,
    next_event: u64,
    /// What lies in the way and is none of ours.
    foreign: BTreeSet<Key>,
    stamp: fn() -> u64,
}

impl<C: Coordination> Book<C> {
    /// Opens the records, for a judge of this term: with what is recorded of each node, by name.
    ///
    /// # Errors
    /// They can't be read, or somebody else's head lies there; a judge of a later term has written.
    pub(super) async fn open(
        store: C,
        (cluster, me): (ClusterId, NodeId),
        term: Term,
        stamp: fn() -> u64,
    ) -> Result<(Self, BTreeMap<String, Known>), BookError> {
        let key = head_key(cluster);
        let page = store.read(Read::key(key.clone())).await?;
        let fence = Fence { key: key.clone(), record: page.records.into_iter().next(), read_at: page.revision };
        let head: Option<Head> =
            fence.record.as_ref().map(|record| serde_json::from_slice(&record.value)).transpose().map_err(|error| {
                tracing::error!(%key, %error, "something else than health's head lies there: nothing is recorded until it is moved");
                Error::Refused(format!("{key} holds something else"))
            })?;
        if head.as_ref().is_some_and(|head| head.term > term.0) {
            return Err(BookError::Outdated);
        }
        let (_, records) = read_all(&store).await?;
        let mut known = Opened::default();
        records.iter().for_each(|record| known.take(record));
        let next_event = head.map_or(1, |head| head.next_event).max(known.last_event + 1);
        Ok((Book { store, me, term, fence, next_event, foreign: known.foreign, stamp }, known.nodes))
    }

    /// Records decisions, in their order; how many events were written.
    ///
    /// # Errors
    /// Some are not recorded: the judge must begin anew with what is there.
    pub(super) async fn record(&mut self, decisions: &[Decision]) -> Result<u64, BookError> {
        let before = self.next_event;
        let is_gone = |decision: &&Decision| matches!(decision, Decision::NodeGone(_));
        // Apart, for a batch may not delete and write one key; what goes goes first.
        let (gone, others): (Vec<&Decision>, Vec<&Decision>) = decisions.iter().partition(is_gone);
        for batch in gone.chunks(BATCH).chain(others.chunks(BATCH)) {
            self.write(batch).await?;
        }
        Ok(self.next_event - before)
    }

    async fn write(&mut self, decisions: &[&Decision]) -> Result<(), BookError> {
        let mut next = self.next_event;
        let mut writes: BTreeMap<Key, Write> = BTreeMap::new();
        let mut gone = Vec::new();
        for decision in decisions {
            match decision {
                Decision::Changed(ruling) => self.put(ruling, &mut next, &mut writes),
                Decision::NodeGone(name) => {
                    gone.push(Write::Delete(Keys::One(node_key(name))));
                    gone.push(Write::Delete(Keys::Under(services_of(name))));
                }
                Decision::ServiceGone(name, service) => {
                    let key = service_key(name, service);
                    writes.insert(key.clone(), Write::Delete(Keys::One(key)));
                }
            }
        }
        let stamp = format!("{:016x}", (self.stamp)());
        let head = json(&Head { next_event: next, term: self.term.0, judge: self.me.to_string(), stamp });
        let batch = self.fence.put(head.clone());
        let batch = gone.into_iter().chain(writes.into_values()).fold(batch, Batch::then);
        match settle(&self.store, &self.fence, &batch).await? {
            Outcome::Applied(revision) => {
                self.next_event = next;
                self.fence = self.written(head, revision);
                Ok(())
            }
            Outcome::Conflict(_) => Err(BookError::Overtaken),
        }
    }

    /// The head as it is now.
    fn written(&self, head: Vec<u8>, revision: Revision) -> Fence {
        let before = self.fence.record.as_ref();
        let record = Record {
            key: self.fence.key.clone(),
            value: head.into(),
            create_revision: before.map_or(revision, |record| record.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |record| record.version + 1),
            lease: None,
        };
        Fence { key: self.fence.key.clone(), record: Some(record), read_at: revision }
    }

    /// Adds a state and its event. Of two changes of one subject the later state is written, and both events.
    fn put(&self, ruling: &Ruling, next: &mut u64, writes: &mut BTreeMap<Key, Write>) {
        let (key, value) = if ruling.service.is_empty() {
            (node_key(&ruling.name), json(&node_record(ruling)))
        } else {
            (service_key(&ruling.name, &ruling.service), json(&service_record(ruling)))
        };
        if self.foreign.contains(&key) {
            return;
        }
        writes.insert(key.clone(), Write::put(key, value));
        if ruling.from == ruling.to {
            return;
        }
        let key = event_key(*next);
        writes.insert(key.clone(), Write::put(key, json(&event_record(ruling, *next))));
        if *next > EVENTS {
            let key = event_key(*next - EVENTS);
            writes.insert(key.clone(), Write::Delete(Keys::One(key)));
        }
        *next += 1;
    }
}
