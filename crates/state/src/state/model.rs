//! The plainest multi-version store: a full copy of all keys for every revision. What the real one is tested against.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::cmp::Ordering;
use steadfast_types::{LeaseId, Revision};

use crate::command::*;
use crate::event::{Event, EventKind};

type Keys = BTreeMap<Bytes, KeyValue>;

/// The store.
#[derive(Clone)]
pub(super) struct Model {
    /// All keys after each revision, from 1.
    revisions: Vec<Keys>,
    compact: i64,
    leases: BTreeSet<LeaseId>,
    events: Vec<Event>,
    /// While a command is applied: the keys as it leaves them, and its events.
    work: Keys,
    work_events: Vec<Event>,
}

impl Default for Model {
    fn default() -> Self {
        let revisions = vec![Keys::new(), Keys::new()];
        Model { revisions, compact: -1, leases: BTreeSet::new(), events: vec![], work: Keys::new(), work_events: vec![] }
    }
}

impl Model {
    pub(super) fn revision(&self) -> Revision {
        Revision(self.revisions.len() as i64 - 1)
    }

    pub(super) fn compact(&self) -> Revision {
        Revision(self.compact)
    }

    fn now(&self) -> &Keys {
        self.revisions.last().unwrap()
    }

    fn next(&self) -> Revision {
        Revision(self.revisions.len() as i64)
    }

    pub(super) fn apply(&mut self, command: &Command, events: &mut Vec<Event>) -> Result<Outcome, CommandError> {
        self.work = self.now().clone();
        self.work_events.clear();
        let outcome = self.run(command);
        if !self.work_events.is_empty() {
            self.revisions.push(self.work.clone());
            events.extend(self.work_events.iter().cloned());
            self.events.append(&mut self.work_events);
        }
        outcome
    }

    fn run(&mut self, command: &Command) -> Result<Outcome, CommandError> {
        match command {
            Command::Put(put) => {
                if put.lease.0 != 0 && !self.leases.contains(&put.lease) {
                    return Err(CommandError::LeaseNotFound);
                }
                if (put.ignore_value || put.ignore_lease) && !self.work.contains_key(&put.key) {
                    return Err(CommandError::KeyNotFound);
                }
                Ok(self.put(put))
            }
            Command::DeleteRange(delete) => Ok(self.delete(delete)),
            Command::Txn(txn) => self.txn(txn),
            Command::Compact { revision } if revision.0 <= self.compact => Err(CommandError::Compacted),
            Command::Compact { revision } if *revision > self.revision() => Err(CommandError::FutureRevision),
            Command::Compact { revision } => {
                self.compact = revision.0;
                Ok(Outcome::Done)
            }
            Command::LeaseGrant { id, .. } if id.0 == 0 => Err(CommandError::LeaseNotFound),
            Command::LeaseGrant { id, ttl_s } => match self.leases.insert(*id) {
                true => Ok(Outcome::LeaseGranted { id: *id, ttl_s: (*ttl_s).max(2) }),
                false => Err(CommandError::LeaseExists),
            },
            Command::LeaseRevoke { id } => {
                if !self.leases.remove(id) {
                    return Err(CommandError::LeaseNotFound);
                }
                self.lease_keys(*id).into_iter().for_each(|key| self.delete_one(&key));
                Ok(Outcome::Done)
            }
            other => unreachable!("not generated: {other:?}"),
        }
    }

    pub(super) fn lease_keys(&self, lease: LeaseId) -> Vec<Bytes> {
        self.now().values().filter(|kv| lease.0 != 0 && kv.lease == lease).map(|kv| kv.key.clone()).collect()
    }

    fn put(&mut self, put: &Put) -> Outcome {
        let before = self.work.get(&put.key).cloned();
        let old = before.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: if before.is_some() { old.create_revision } else { self.next() },
            mod_revision: self.next(),
            version: old.version + 1,
            value: if put.ignore_value { old.value } else { put.value.clone() },
            lease: if put.ignore_lease { old.lease } else { put.lease },
        };
        let prev_kv = self.now().get(&put.key).filter(|_| kv.create_revision != kv.mod_revision).cloned();
        self.work_events.push(Event { kind: EventKind::Put, kv: kv.clone(), prev_kv });
        self.work.insert(put.key.clone(), kv);
        Outcome::Put { prev_kv: before.filter(|_| put.prev_kv) }
    }

    fn delete_one(&mut self, key: &Bytes) {
        let prev_kv = self.now().get(key).cloned();
        let kv = KeyValue { key: key.clone(), mod_revision: self.next(), ..KeyValue::default() };
        self.work_events.push(Event { kind: EventKind::Delete, kv, prev_kv });
        self.work.remove(key);
    }

    fn delete(&mut self, delete: &DeleteRange) -> Outcome {
        let gone: Vec<KeyValue> = self.work.values().filter(|kv| delete.keys.contains(&kv.key)).cloned().collect();
        gone.iter().for_each(|kv| self.delete_one(&kv.key));
        Outcome::Deleted { deleted: gone.len() as i64, prev_kvs: if delete.prev_kv { gone } else { vec![] } }
    }

    /// The operations that will run, with the answers of all comparisons, decided on the state before.
    fn holds(&self, txn: &Txn) -> bool {
        txn.compare.iter().all(|compare| {
            let mut found: Vec<KeyValue> = self.now().values().filter(|kv| compare.keys.contains(&kv.key)).cloned().collect();
            if found.is_empty() {
                if matches!(compare.operand, Operand::Value(_)) {
                    return false;
                }
                found.push(KeyValue::default());
            }
            found.iter().all(|kv| {
                let order = match &compare.operand {
                    Operand::Version(n) => kv.version.cmp(n),
                    Operand::CreateRevision(n) => kv.create_revision.cmp(n),
                    Operand::ModRevision(n) => kv.mod_revision.cmp(n),
                    Operand::Value(value) => kv.value.cmp(value),
                    Operand::Lease(lease) => kv.lease.cmp(lease),
                };
                match compare.relation {
                    Relation::Equal => order == Ordering::Equal,
                    Relation::Greater => order == Ordering::Greater,
                    Relation::Less => order == Ordering::Less,
                    Relation::NotEqual => order != Ordering::Equal,
                }
            })
        })
    }

    fn flat(&self, txn: &Txn, out: &mut Vec<Operation>) {
        for operation in if self.holds(txn) { &txn.success } else { &txn.failure } {
            match operation {
                Operation::Txn(inner) => self.flat(inner, out),
                other => out.push(other.clone()),
            }
        }
    }

    fn txn(&mut self, txn: &Txn) -> Result<Outcome, CommandError> {
        let mut operations = vec![];
        self.flat(txn, &mut operations);
        for operation in &operations {
            if let Operation::Put(put) = operation {
                if (put.ignore_value || put.ignore_lease) && !self.work.contains_key(&put.key) {
                    return Err(CommandError::KeyNotFound);
                }
                if put.lease.0 != 0 && !self.leases.contains(&put.lease) {
                    return Err(CommandError::LeaseNotFound);
                }
            }
        }
        for operation in &operations {
            if let Operation::Range(range) = operation {
                match range.revision {
                    Revision(0) => {}
                    revision if revision > self.revision() => return Err(CommandError::FutureRevision),
                    revision if revision.0 < self.compact => return Err(CommandError::Compacted),
                    _ => {}
                }
            }
        }
        // The comparisons are evaluated again here; on the state before, so with the same result.
        Ok(self.run_txn(txn))
    }

    fn run_txn(&mut self, txn: &Txn) -> Outcome {
        let succeeded = self.holds(txn);
        let run = |operation: &Operation| match operation {
            Operation::Range(range) => {
                let keys = if range.revision.0 <= 0 { self.work.clone() } else { self.revisions[range.revision.0 as usize].clone() };
                Outcome::Range(select(&keys, range))
            }
            Operation::Put(put) => self.put(put),
            Operation::DeleteRange(delete) => self.delete(delete),
            Operation::Txn(inner) => self.run_txn(inner),
        };
        let responses = if succeeded { &txn.success } else { &txn.failure }.iter().map(run).collect();
        Outcome::Txn(TxnResult { succeeded, responses })
    }

    pub(super) fn read_txn(&self, txn: &Txn) -> Result<Outcome, CommandError> {
        let mut copy = self.clone();
        copy.work = copy.now().clone();
        copy.txn(txn)
    }

    pub(super) fn range(&self, range: &Range) -> Result<RangeResult, CommandError> {
        if range.revision > self.revision() {
            return Err(CommandError::FutureRevision);
        }
        let at = if range.revision.0 <= 0 { self.revision().0 } else { range.revision.0 };
        if at < self.compact { Err(CommandError::Compacted) } else { Ok(select(&self.revisions[at as usize], range)) }
    }

    /// The events from a revision on, as they are read later: what was before the compact revision is gone.
    pub(super) fn events_from(&self, from: Revision) -> Vec<Event> {
        let later = self.events.iter().filter(|event| event.kv.mod_revision >= from);
        let known = |event: &Event| event.kv.mod_revision.0 > self.compact;
        later.map(|event| Event { prev_kv: event.prev_kv.clone().filter(|_| known(event)), ..event.clone() }).collect()
    }
}

/// A range of one revision's keys, by etcd's recipe: fetch (with one more than the limit, if nothing else is asked for), filter, sort, cut.
fn select(keys: &Keys, range: &Range) -> RangeResult {
    let mut kvs: Vec<KeyValue> = keys.values().filter(|kv| range.keys.contains(&kv.key)).cloned().collect();
    let count = kvs.len() as i64;
    if range.count_only {
        return RangeResult { kvs: vec![], more: false, count };
    }
    let bounds = [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision];
    let limit = range.limit.max(0) as usize;
    if range.sort_order == SortOrder::None && bounds.iter().all(|bound| bound.0 == 0) && limit > 0 {
        kvs.truncate(limit + 1);
    }
    kvs.retain(|kv| bounds[0].0 == 0 || kv.mod_revision >= bounds[0]);
    kvs.retain(|kv| bounds[1].0 == 0 || kv.mod_revision <= bounds[1]);
    kvs.retain(|kv| bounds[2].0 == 0 || kv.create_revision >= bounds[2]);
    kvs.retain(|kv| bounds[3].0 == 0 || kv.create_revision <= bounds[3]);
    if range.sort_order == SortOrder::Descend && range.sort_target == SortTarget::Key {
        kvs.reverse();
    } else if range.sort_target != SortTarget::Key {
        kvs.sort_by(|a, b| {
            let order = match range.sort_target {
                SortTarget::Key => Ordering::Equal,
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::CreateRevision => a.create_revision.cmp(&b.create_revision),
                SortTarget::ModRevision => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(&b.value),
            };
            if range.sort_order == SortOrder::Descend { order.reverse() } else { order }
        });
    }
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResult { kvs, more, count }
}
