//! The model's state: every record at every revision.

use std::collections::BTreeMap;
use std::ops::Bound;

use steadfast_types::time::Duration;
use steadfast_types::{Instant, LeaseId, Revision};

use super::{Granted, Leases};
use crate::Lease;
use crate::batch::{Batch, Conflict, Outcome, Write};
use crate::error::Error;
use crate::keys::{Key, Keys};
use crate::read::{Page, Read, Record};
use crate::watch::{Change, Changes, WatchError};

/// Invariant: `history` has an entry for each revision after the first that is not compacted, and what the records of a revision are follows from
/// the newest of each key's `versions` up to it.
#[derive(Debug)]
pub(super) struct State {
    revision: Revision,
    /// Nothing below can be read.
    oldest: Revision,
    /// What each key was from which revision on; `None`: absent.
    versions: BTreeMap<Key, BTreeMap<Revision, Option<Record>>>,
    history: BTreeMap<Revision, Vec<Change>>,
    leases: Leases,
    last_lease: LeaseId,
}

impl Default for State {
    fn default() -> Self {
        State {
            revision: Revision(1),
            oldest: Revision(0),
            versions: BTreeMap::new(),
            history: BTreeMap::new(),
            leases: Leases::new(),
            last_lease: LeaseId(0),
        }
    }
}

impl State {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    fn record(&self, key: &Key) -> Option<&Record> {
        self.versions.get(key)?.values().next_back()?.as_ref()
    }

    /// The records of these keys as of a revision, by key.
    fn records(&self, keys: &Keys, at: Revision) -> impl Iterator<Item = &Record> {
        let inside = self.versions.iter().filter(|(key, _)| keys.contains(key));
        inside.filter_map(move |(_, versions)| versions.range(..=at).next_back()?.1.as_ref())
    }

    pub(super) fn read(&self, read: &Read) -> Result<Page, Error> {
        let at = read.at.unwrap_or(self.revision);
        if at > self.revision {
            return Err(Error::FutureRevision);
        }
        if at < self.oldest {
            return Err(Error::Compacted);
        }
        let is_left = |record: &&Record| read.after.as_ref().is_none_or(|after| record.key > *after);
        let mut records: Vec<Record> = self.records(&read.keys, at).filter(is_left).take(read.limit + 1).cloned().collect();
        let more = records.len() > read.limit;
        records.truncate(read.limit);
        Ok(read.page(self.revision, records, more))
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Outcome, Error> {
        if !batch.compares.iter().all(|compare| compare.holds(self.record(compare.key()))) {
            let found = batch.compares.iter().map(|compare| self.record(compare.key()).cloned()).collect();
            return Ok(Outcome::Conflict(Conflict { revision: self.revision, found }));
        }
        let next = Revision(self.revision.0 + 1);
        let mut changes = Vec::new();
        for write in &batch.writes {
            match write {
                Write::Put { lease: Some(lease), .. } if !self.leases.contains_key(lease) => return Err(Error::LeaseNotFound),
                Write::Put { key, value, lease } => {
                    let before = self.record(key);
                    changes.push(Change::Put(Record {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: before.map_or(next, |before| before.create_revision),
                        mod_revision: next,
                        version: before.map_or(0, |before| before.version) + 1,
                        lease: *lease,
                    }));
                }
                Write::Delete(keys) => changes.extend(self.deletions(|record| keys.contains(&record.key))),
            }
        }
        self.apply(changes);
        Ok(Outcome::Applied(self.revision))
    }

    fn deletions(&self, is_deleted: impl Fn(&Record) -> bool) -> Vec<Change> {
        let all = self.versions.keys().filter_map(|key| self.record(key));
        all.filter(|record| is_deleted(record)).map(|record| Change::Delete(record.key.clone())).collect()
    }

    /// Makes these changes in one revision, if there are any.
    fn apply(&mut self, mut changes: Vec<Change>) {
        // Overlapping deletes name a key twice.
        changes.sort_by(|a, b| a.key().cmp(b.key()));
        changes.dedup_by(|a, b| a.key() == b.key());
        if changes.is_empty() {
            return;
        }
        self.revision.0 += 1;
        for change in &changes {
            let now = match change {
                Change::Put(record) => Some(record.clone()),
                Change::Delete(_) => None,
            };
            self.versions.entry(change.key().clone()).or_default().insert(self.revision, now);
        }
        self.history.insert(self.revision, changes);
    }

    /// The first changes of these keys from a revision on, if there are any yet.
    pub(super) fn changes(&self, keys: &Keys, from: Revision) -> Result<Option<Changes>, WatchError> {
        if from < self.oldest {
            return Err(WatchError::Compacted { oldest: self.oldest });
        }
        let told = |changes: &[Change]| changes.iter().filter(|change| keys.contains(change.key())).cloned().collect::<Vec<Change>>();
        let mut all = self.history.range(from..).map(|(revision, changes)| Changes { revision: *revision, changes: told(changes) });
        Ok(all.find(|changes| !changes.changes.is_empty()))
    }

    pub(super) fn compact(&mut self, revision: Revision) {
        let revision = revision.min(self.revision);
        if revision <= self.oldest {
            return;
        }
        self.oldest = revision;
        self.history = self.history.split_off(&revision);
        for versions in self.versions.values_mut() {
            let kept = versions.range((Bound::Unbounded, Bound::Included(revision))).next_back().map(|(revision, _)| *revision);
            *versions = versions.split_off(&kept.unwrap_or(revision));
        }
        self.versions.retain(|_, versions| versions.len() > 1 || versions.values().any(Option::is_some));
    }

    pub(super) fn grant(&mut self, ttl_s: i64, now: Instant) -> Lease {
        self.last_lease.0 += 1;
        self.leases.insert(self.last_lease, Granted { ttl_s, until: now + seconds(ttl_s) });
        Lease { id: self.last_lease, granted_s: ttl_s, remaining_s: ttl_s }
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<Lease, Error> {
        let lease = self.leases.get_mut(&id).ok_or(Error::LeaseNotFound)?;
        lease.until = now + seconds(lease.ttl_s);
        self.remaining(id, now)
    }

    pub(super) fn remaining(&self, id: LeaseId, now: Instant) -> Result<Lease, Error> {
        let lease = self.leases.get(&id).ok_or(Error::LeaseNotFound)?;
        let left = lease.until.since(now).as_micros().div_ceil(1_000_000);
        Ok(Lease { id, granted_s: lease.ttl_s, remaining_s: i64::try_from(left).unwrap_or(i64::MAX) })
    }

    pub(super) fn end_lease(&mut self, id: LeaseId) {
        if self.leases.remove(&id).is_some() {
            let changes = self.deletions(|record| record.lease == Some(id));
            self.apply(changes);
        }
    }

    /// Ends the leases whose time is over, in the order of their times.
    pub(super) fn end_leases(&mut self, now: Instant) {
        let mut over: Vec<(Instant, LeaseId)> =
            self.leases.iter().filter(|(_, lease)| lease.until <= now).map(|(id, lease)| (lease.until, *id)).collect();
        over.sort();
        over.into_iter().for_each(|(_, id)| self.end_lease(id));
    }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}
