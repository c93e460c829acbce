//! The operator: members are added, promoted and removed while everything else goes wrong, and machines come and go with them.
//!
//! A machine is set up once strong state names its member, and taken away some time after its member was removed; until then a removed node
//! may go on as it likes. What answers the operator gets does not matter: it looks at the members that the furthest replica knows.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_node::{MembershipChange, RequestBody};
use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use super::event::Event;
use super::faults::Stop;
use super::machine::Machine;
use super::{Cluster, ELECTION_TIMEOUT};
use crate::workload::OperationNumber;
use steadfast_proof::Violation;
use steadfast_proof::convergence::PROGRESS_ELECTION_TIMEOUTS;

/// So many machines there are at once at most.
const MOST_NODES: usize = 9;

/// An operator waits this long for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The members and which of them only learn.
pub(super) type Members = BTreeMap<NodeId, bool>;

impl Cluster {
    /// The members, as the furthest of all replicas knows them, or knew them before it stopped; `true`: it is to vote.
    pub(super) fn members(&mut self) -> Members {
        let running = self.machines.values().filter_map(Machine::node);
        if let Some(furthest) = running.max_by_key(|node| node.state().applied())
            && furthest.state().applied().index > self.members.0
            && let Ok(members) = furthest.reader().members()
            && !members.is_empty()
        {
            let members = members.into_iter().map(|member| (member.id, !member.learner)).collect();
            self.members = (furthest.state().applied().index, members);
            self.in_force = furthest.state().configuration().clone();
        }
        self.members.1.clone()
    }

    /// Asks a node for some change.
    pub(super) fn change_members(&mut self, node: NodeId) {
        self.attend_members();
        let members = self.members();
        let ids: Vec<NodeId> = members.keys().copied().collect();
        let some = ids[self.faults_rng.usize(0..ids.len())];
        let learners: Vec<NodeId> = ids.iter().copied().filter(|id| !members[id]).collect();
        let change = match self.faults_rng.u8(0..4) {
            0 if ids.len() > 1 => MembershipChange::Remove(some),
            1 if !learners.is_empty() && !self.swarm.torn_changes => {
                MembershipChange::Promote(learners[self.faults_rng.usize(0..learners.len())])
            }
            _ if self.machines.len() < MOST_NODES => {
                self.last_id = NodeId(self.last_id.0 + 1);
                let peer_urls = vec![format!("http://node-{}:2380", self.last_id)];
                // Who is to take a voter's place learns first.
                let learner = self.faults_rng.u8(0..4) < if self.swarm.torn_changes { 3 } else { 2 };
                MembershipChange::Add { id: self.last_id, peer_urls, learner }
            }
            _ => MembershipChange::Remove(some),
        };
        self.trace.milestone(self.queue.now(), &[], || format!("operator asks {node}: {change:?}"));
        self.ask(node, OperationNumber::NOBODY, RequestBody::ChangeMembership(change), PATIENCE);
    }

    /// Sets up a machine for each new member, and takes away some of those that are no members any more; all of them, once everything heals.
    pub(super) fn attend_members(&mut self) {
        let members = self.members();
        let known: BTreeSet<NodeId> = self.machines.keys().copied().collect();
        for id in members.keys().copied().filter(|id| !known.contains(id)) {
            self.set_up(id);
        }
        // Until its removal is through, the others need its vote.
        let in_force = if self.in_force.is_joint() { known.clone() } else { self.in_force.members() };
        for id in known.into_iter().filter(|id| !members.contains_key(id) && !in_force.contains(id)) {
            if self.healed || self.faults_rng.bool() {
                self.take_away(id);
            }
        }
    }

    fn set_up(&mut self, id: NodeId) {
        let drift = i64::from(self.swarm.drift_ppm);
        let drift = self.faults_rng.i64(-drift..=drift);
        let (bootstrap, rng) = (self.bootstrap.clone(), self.faults_rng.fork());
        self.trace.milestone(self.queue.now(), &[22, id.0], || format!("a machine is set up for {id}"));
        self.machines.insert(id, Machine::new(id, bootstrap, drift, &self.swarm, rng));
        if !self.gossip.others.remove(&id) {
            self.last_id = self.last_id.max(id);
        }
        self.gossip.end(id);
        if !self.healed {
            self.set_disk(id, false);
        }
        self.queue.after(Duration::from_millis(1), Event::Start { node: id });
    }

    fn take_away(&mut self, id: NodeId) {
        self.trace.milestone(self.queue.now(), &[23, id.0], || format!("the machine of {id} is taken away"));
        if self.machines[&id].process.is_some() {
            self.machine(id).disk.kill();
            self.machine(id).end_process();
            self.gossip.end(id);
            self.disconnect_peers(id, Stop::Kill);
        }
        self.machines.remove(&id);
    }

    /// The operator puts a new member in the place of one whose log is lost: it asks again and again until that is done.
    pub(super) fn replace_lost(&mut self) -> Result<(), Violation> {
        let Some(lost) = self.lost else { return Ok(()) };
        self.observer.recovery.removed_by_hand(lost);
        let deadline = self.now() + ELECTION_TIMEOUT * PROGRESS_ELECTION_TIMEOUTS * 2;
        self.last_id = NodeId(self.last_id.0 + 1);
        let new = self.last_id;
        loop {
            self.attend_members();
            let members = self.members();
            let change = match (members.contains_key(&lost), members.contains_key(&new)) {
                (true, _) => MembershipChange::Remove(lost),
                (false, false) => MembershipChange::Add { id: new, peer_urls: vec![format!("http://node-{new}:2380")], learner: false },
                (false, true) if self.machines.contains_key(&lost) => MembershipChange::Remove(lost),
                (false, true) => return Ok(()),
            };
            if self.now() >= deadline {
                return Err(Violation::new("progress", format!("{lost}, whose log is lost, is not replaced: {members:?}")));
            }
            let nodes: Vec<NodeId> = self.node_ids().into_iter().filter(|id| *id != lost).collect();
            let asked = nodes[self.faults_rng.usize(0..nodes.len())];
            self.ask(asked, OperationNumber::NOBODY, RequestBody::ChangeMembership(change), PATIENCE);
            self.run_until(self.now() + Duration::from_millis(100))?;
        }
    }

    /// A node has learned that it is no member any more: its process ends, and the machine does not start it again.
    pub(super) fn on_removed(&mut self, id: NodeId) {
        // It may be the first to know.
        self.members();
        self.take_away(id);
    }
}
