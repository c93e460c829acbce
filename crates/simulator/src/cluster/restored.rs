//! The state that a cluster may begin with, as a restore puts it onto the founders' disks.
//!
//! It is drawn as writes, leases, users and roles of a cluster of before, which may have been compacted, and whose revision may be raised. To
//! the checkers it is told as requests that were answered before the history began, the last of them a read at the revision that the cluster
//! begins with: no later one may be below.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_node::seed;
use steadfast_proof::auth::{Era, Rights};
use steadfast_proof::history::{Answer, Change as KeyChange, Lease, Operation, Request, Revised, Span, Step, Transaction};
use steadfast_proof::time::Time;
use steadfast_state::auth::{Auth, Role, User};
use steadfast_state::command::KeyValue;
use steadfast_state::reader::{Change, Write};
use steadfast_state::seed::{Seed, SeedError, SeedOptions};
use steadfast_storage::tables::{LsmTables, TablesOptions};
use steadfast_types::time::Duration;
use steadfast_types::{LeaseId, Revision, Rng};

use super::administrator::{self, rights};
use crate::disk::SimulatedDisk;
use crate::swarm::Swarm;
use crate::workload::{Habits, RESTORER, Workload, key, leased_key};

/// What a cluster begins with.
pub(super) struct Restored {
    /// `None`: nothing.
    seed: Option<(Vec<Write>, SeedOptions)>,
    leases: Vec<(Lease, Duration)>,
    rights: Rights,
    revision: Revision,
    changes: BTreeMap<Revision, Revised>,
}

impl Restored {
    /// Nothing, or any state.
    pub(super) fn draw(swarm: &Swarm, rng: &mut Rng) -> Self {
        let mut rights = rights(&Auth::default());
        if !swarm.restored {
            return Restored { seed: None, leases: Vec::new(), rights, revision: Revision(1), changes: BTreeMap::new() };
        }
        if swarm.auth && rng.bool() {
            // With or without the last one, which enables authentication.
            let plan = administrator::beginning(swarm.keys);
            let known = plan.len() - usize::from(rng.bool());
            rights = plan[..known].iter().fold(rights, |rights, change| rights.after(change).expect("each changes something"));
        }
        let leases = (0..if swarm.leases { rng.i64(0..4) } else { 0 }).map(|lease| (500 + lease, Duration::from_secs(rng.u64(1..5))));
        let leases: Vec<_> = leases.collect();
        let mut before = Before::default();
        for revision in 2..2 + rng.i64(1..60) {
            before.write(Revision(revision), swarm.keys, &leases, rng);
        }
        let newest = before.writes.last().map_or(Revision(1), |write| write.revision);
        let bump = if rng.bool() { [1, 1_000, 1_000_000][rng.usize(0..3)] } else { 0 };
        let compact = if rng.bool() { Revision(rng.i64(2..=newest.0)) } else { Revision(-1) };
        let writes = before.kept(compact);
        let revision = Revision(newest.0 + bump);
        Restored { seed: Some((writes, SeedOptions { compact, bump })), leases, rights, revision, changes: before.changes }
    }

    /// Puts it onto an empty disk, as a restore does. Gives the hash that names it.
    pub(super) fn plant(&self, disk: &SimulatedDisk, options: TablesOptions) -> Option<u64> {
        const WELL: &str = "a disk without faults";
        let (writes, how) = self.seed.as_ref()?;
        let settle = |tables: &mut LsmTables<SimulatedDisk>| seed::flush(tables).map_err(SeedError::disk);
        let mut begun = Seed::new(seed::tables(disk, options).expect(WELL), *how, settle);
        writes.iter().for_each(|write| begun.write(write.clone()).expect(WELL));
        begun.auth(&auth(&self.rights)).expect(WELL);
        let leases = self.leases.iter().map(|(lease, ttl)| Ok((LeaseId(*lease), ttl.as_secs() as i64)));
        let (tables, seeded) = begun.finish(leases).expect(WELL);
        seed::plant(disk, tables).expect(WELL);
        Some(seeded.hash)
    }

    /// Clients who know it.
    pub(super) fn told(&self, rng: Rng, habits: Habits) -> Workload {
        let told = |request, answer| Operation { client: RESTORER, request, invoked: Time(0), answer: Some((Time(0), answer)) };
        let done = |revision, changed, steps| Answer::Done { revision, changed, succeeded: true, seen: vec![None; steps] };
        let mut operations: Vec<Operation> = Vec::new();
        for (revision, Revised { changes, .. }) in &self.changes {
            let step = |KeyChange { key, value, lease }: &KeyChange| match value {
                Some(value) => Step::Put { key: key.clone(), value: value.clone(), lease: *lease, asks: false },
                None => Step::Delete(Span::one(key.clone())),
            };
            let steps: Vec<Step> = changes.iter().map(step).collect();
            let answer = done(*revision, true, steps.len());
            operations.push(told(Request::Transaction(Transaction { then: steps, ..Transaction::default() }), answer));
        }
        for (lease, ttl) in &self.leases {
            operations.push(told(Request::Grant { lease: *lease, ttl: *ttl }, Answer::Alive(*ttl)));
        }
        if self.seed.is_some() {
            let everything = Step::Read(Span { first: Bytes::new(), end: Some("z".into()) });
            operations.push(told(Request::Transaction(Transaction::of(everything)), done(self.revision, false, 1)));
        }
        Workload::new(rng, habits).beginning_with(operations, self.leases.iter().map(|(lease, _)| *lease).collect())
    }

    /// The revision that the cluster begins with.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Up to where its history is gone; -1: nowhere.
    pub(super) fn compact(&self) -> Revision {
        match &self.seed {
            Some((_, SeedOptions { bump: 1.., .. })) => self.revision,
            Some((_, SeedOptions { compact, .. })) => *compact,
            None => Revision(-1),
        }
    }

    /// Its users and roles.
    pub(super) fn rights(&self) -> &Rights {
        &self.rights
    }

    /// The same as the first of those that the cluster has.
    pub(super) fn era(&self) -> Era {
        Era { rights: self.rights.clone(), revision: Revision(0), began: (Time(0), Time(0)) }
    }

    /// All changes that led to it.
    pub(super) fn changes(&self) -> &BTreeMap<Revision, Revised> {
        &self.changes
    }
}

/// A cluster of before.
#[derive(Default)]
struct Before {
    keys: BTreeMap<Bytes, KeyValue>,
    writes: Vec<Write>,
    changes: BTreeMap<Revision, Revised>,
}

impl Before {
    /// Writes one key, or two.
    fn write(&mut self, revision: Revision, keys: usize, leases: &[(Lease, Duration)], rng: &mut Rng) {
        let (one, other) = (rng.usize(0..keys), rng.usize(0..keys));
        match rng.u8(0..5) {
            0 if !leases.is_empty() => {
                let lease = leases[rng.usize(0..leases.len())].0;
                self.put(revision, 0, leased_key(lease, rng.usize(0..2)), lease);
            }
            1 if self.keys.contains_key(&key(one)) => self.delete(revision, key(one)),
            2 if one != other => {
                self.put(revision, 0, key(one), 0);
                self.put(revision, 1, key(other), 0);
            }
            _ => self.put(revision, 0, key(one), 0),
        }
    }

    fn put(&mut self, revision: Revision, sub: u32, key: Bytes, lease: Lease) {
        let before = self.keys.get(&key);
        let kv = KeyValue {
            key: key.clone(),
            create_revision: before.map_or(revision, |before| before.create_revision),
            mod_revision: revision,
            version: before.map_or(0, |before| before.version) + 1,
            value: format!("restored-{revision}-{sub}").into(),
            lease: LeaseId(lease),
        };
        self.note(revision, KeyChange { key: key.clone(), value: Some(kv.value.clone()), lease });
        self.writes.push(Write { revision, sub, change: Change::Put(kv.clone()) });
        self.keys.insert(key, kv);
    }

    fn delete(&mut self, revision: Revision, key: Bytes) {
        self.keys.remove(&key);
        self.note(revision, KeyChange { key: key.clone(), value: None, lease: 0 });
        self.writes.push(Write { revision, sub: 0, change: Change::Delete(key) });
    }

    fn note(&mut self, revision: Revision, change: KeyChange) {
        self.changes.entry(revision).or_insert(Revised { seen: Time(0), changes: Vec::new() }).changes.push(change);
    }

    /// What a compaction leaves of the writes: all from that revision on, and what was there then.
    fn kept(&self, compact: Revision) -> Vec<Write> {
        let name = |write: &Write| match &write.change {
            Change::Put(kv) => kv.key.clone(),
            Change::Delete(key) => key.clone(),
        };
        let old = self.writes.iter().filter(|write| write.revision <= compact);
        let last: BTreeMap<Bytes, Revision> = old.map(|write| (name(write), write.revision)).collect();
        let is_kept = |write: &&Write| {
            let was_there = matches!(write.change, Change::Put(_)) && last.get(&name(write)) == Some(&write.revision);
            write.revision >= compact || was_there
        };
        self.writes.iter().filter(is_kept).cloned().collect()
    }
}

/// Users and roles in the form of the state.
fn auth(rights: &Rights) -> Auth {
    let user = |(name, roles): (&String, &std::collections::BTreeSet<String>)| User {
        name: name.clone(),
        password: "hash".into(),
        no_password: false,
        roles: roles.iter().cloned().collect(),
    };
    let roles = rights.roles.iter().map(|(name, permissions)| Role {
        name: name.clone(),
        permissions: permissions.iter().map(|(keys, access)| administrator::permission(keys, *access)).collect(),
    });
    Auth::new(rights.enabled, rights.revision, rights.users.iter().map(user), roles)
}
