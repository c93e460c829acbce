//! The end of a run: everything heals, the cluster must make progress, become equal, and still hold all that it acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_state::command::{KeySpan, Range};
use steadfast_types::time::Duration;
use steadfast_types::{Configuration, NodeId, Revision};

use super::administrator::rights;
use super::faults::{LASTING, LASTING_FAULTS, LastingFault};
use super::machine::Machine;
use super::members::Members;
use super::{Cluster, ELECTION_TIMEOUT};
use crate::checkers::bounds;
use crate::workload::{OperationNumber, seen};
use crate::world::Time;
use steadfast_consensus::{Raft, Role};
use steadfast_proof::auth::{self, Era};
use steadfast_proof::convergence::{self, AGREEMENT_ELECTION_TIMEOUTS, PROGRESS_ELECTION_TIMEOUTS, Replica};
use steadfast_proof::history::{Answer, History, Seen};
use steadfast_proof::store::Store;
use steadfast_proof::{Violation, durability, leases, linearizability, locks};

/// The longest life that a client asks for a lease.
const LONGEST_TTL: Duration = Duration::from_secs(5);

/// A lease that nobody keeps alive ends within so long after its time: a leader looks for such ones often, and their end must be replicated.
const LEASE_GRACE: Duration = Duration::from_secs(2);

/// A node waits no longer for what a client asked.
pub(super) const LONGEST_PATIENCE: Duration = Duration::from_secs(4);

/// The keys that each replica holds.
type Contents = BTreeMap<NodeId, Seen>;

impl Cluster {
    /// Runs from the beginning to the end. Gives what clients saw and what the store did.
    ///
    /// # Errors
    /// A rule was broken.
    pub fn run(&mut self) -> Result<History, Violation> {
        self.run_until(Time::default() + self.swarm.duration)?;
        self.heal();
        if !self.replace_by_plan()? {
            self.replace_lost()?;
        }
        self.make_progress()?;
        self.become_equal()?;
        self.make_progress_despite()?;
        self.make_progress()?;
        self.become_equal()?;
        self.members_know()?;
        let settled = self.now();
        if self.swarm.leases || self.swarm.lockers > 0 {
            self.run_until(settled + LONGEST_TTL + LEASE_GRACE * 2)?;
        }
        self.watchers_know_all()?;
        self.come_to_rest()?;
        // Only now can nothing that was given up take effect any more.
        let contents = self.become_equal()?;
        let (history, eras) = self.history()?;
        durability::check(&history)?;
        linearizability::check(&history)?;
        // Two nodes' clocks may drift apart, each by the most that was drawn.
        leases::check(&history, f64::from(self.swarm.drift_ppm) / 1e6)?;
        leases::check_ended(&history, settled, self.now(), newest(&history), LEASE_GRACE)?;
        self.check_watches(&history.changes)?;
        self.sessions.check(&history)?;
        locks::check(&self.lockers.turns, &history.changes)?;
        self.lockers.uses.iter().try_for_each(|uses| locks::check_uses(uses))?;
        auth::check(&history, &self.callers.attempts, &eras)?;
        compare_contents(&contents, &history)?;
        self.compare_rights(&eras)?;
        Ok(history)
    }

    /// A write through each node must succeed in time.
    fn make_progress(&mut self) -> Result<(), Violation> {
        self.attend_members();
        let nodes = self.members().into_keys().collect();
        self.make_progress_through(nodes, None)
    }

    /// One fault lasts; a write through the nodes that it leaves alone must succeed all the same.
    fn make_progress_despite(&mut self) -> Result<(), Violation> {
        let members = self.members();
        let voters = members.values().filter(|votes| **votes).count();
        if voters < 3 {
            return Ok(());
        }
        let fault = match LASTING_FAULTS[self.faults_rng.usize(0..LASTING_FAULTS.len())] {
            // In a longer row nobody reaches a majority; nor in one with a node that finds itself damaged now, and whose vote counts less.
            LastingFault::Chain if voters > 5 || members.len() > voters || self.swarm.corruption.is_some() => LastingFault::Isolated,
            fault => fault,
        };
        let spared = self.begin_lasting(fault);
        let needed = if fault == LastingFault::Chain { 1 } else { spared.len() };
        let end = self.now() + LASTING;
        self.make_progress_through(spared, Some((fault, needed)))?;
        if matches!(fault, LastingFault::Paused | LastingFault::StuckDisk) {
            self.run_until(end)?;
        }
        if fault == LastingFault::StuckDisk {
            self.leader_has_given_way(end)?;
        }
        self.end_lasting();
        Ok(())
    }

    /// Whose disk stands still for so long must not lead any more: it writes for nobody, and holds up who needs its log.
    fn leader_has_given_way(&self, now: Time) -> Result<(), Violation> {
        let stuck = self.machines.values().filter(|machine| machine.stuck_until >= now).filter_map(Machine::node);
        match stuck.map(|node| (node.id(), node.status().consensus)).find(|(_, status)| status.role == Role::Leader) {
            Some((id, status)) => Err(Violation::new("progress", format!("{id} leads with a disk that stands still: {status:?}"))),
            None => Ok(()),
        }
    }

    /// In time, a write through each of `nodes` must succeed; through as many as are needed, if a fault lasts.
    fn make_progress_through(&mut self, nodes: Vec<NodeId>, lasting: Option<(LastingFault, usize)>) -> Result<(), Violation> {
        let deadline = self.now() + ELECTION_TIMEOUT * PROGRESS_ELECTION_TIMEOUTS;
        let may_fail = lasting.map_or(0, |(_, needed)| nodes.len() - needed);
        let mut open: BTreeMap<NodeId, Option<OperationNumber>> = nodes.into_iter().map(|node| (node, None)).collect();
        while open.len() > may_fail {
            if self.now() >= deadline {
                if matches!(lasting, Some((LastingFault::Chain, _))) && !self.somebody_can_win() {
                    return Ok(());
                }
                let nodes: Vec<&NodeId> = open.keys().collect();
                let despite = lasting.map_or_else(String::new, |(fault, _)| format!(" despite {fault:?}"));
                return Err(Violation::new(
                    "progress",
                    format!("no write through {nodes:?} within {PROGRESS_ELECTION_TIMEOUTS} election timeouts{despite}"),
                ));
            }
            for (node, probe) in &mut open {
                let client = self.swarm.clients + node.0 as usize;
                if !self.waiting.contains_key(&client) {
                    let number = self.workload.probe(client, self.now());
                    // A process that begins again forgets who asked it.
                    self.begin(number, *node, ELECTION_TIMEOUT * 2);
                    *probe = Some(number);
                }
            }
            self.run_until(self.now() + Duration::from_millis(20))?;
            open.retain(|_, probe| !probe.is_some_and(|number| self.is_done(number)));
            // A change of members that was under way takes effect, or one that the leader makes by itself.
            if lasting.is_none() {
                self.attend_members();
            }
            let members = self.members();
            open.retain(|node, _| members.contains_key(node));
        }
        Ok(())
    }

    /// Whether some node reaches a quorum whose logs are no further than its own. In a chain, whose logs may lead up to one end, it may be that none does: then Raft
    /// elects nobody (OmniPaxos, EuroSys 2023, section 2).
    fn somebody_can_win(&self) -> bool {
        let nodes: BTreeMap<NodeId, &Raft> =
            self.machines.values().filter_map(|machine| Some((machine.id, machine.node()?.consensus()))).collect();
        let votes = |candidate: &Raft, voter: NodeId| {
            let (one, other) = (candidate.id(), voter);
            let reached = one == other || self.network.is_open(one, other) && self.network.is_open(other, one);
            reached && nodes.get(&voter).is_some_and(|voter| voter.last() <= candidate.last())
        };
        let wins = |candidate: &Raft| {
            let Configuration { voters, outgoing, .. } = candidate.configuration();
            let halves = [voters, outgoing].into_iter().filter(|half| !half.is_empty());
            halves.into_iter().all(|half| half.iter().filter(|voter| votes(candidate, **voter)).count() > half.len() / 2)
        };
        nodes.values().any(|candidate| wins(candidate))
    }

    fn is_done(&self, number: OperationNumber) -> bool {
        matches!(self.workload.operation(number).answer, Some((_, Answer::Done { .. })))
    }

    /// Until all replicas are equal, and everything in them can be read: what rotted unnoticed is noticed then, and repaired.
    fn become_equal(&mut self) -> Result<Contents, Violation> {
        let deadline = self.now() + ELECTION_TIMEOUT * AGREEMENT_ELECTION_TIMEOUTS;
        loop {
            self.attend_members();
            let members = self.members();
            let found = convergence::check(members.len(), &self.replicas());
            let found = found.and_then(|()| self.voters_count(&members)).and_then(|()| self.contents());
            if found.is_ok() || self.now() >= deadline {
                return found;
            }
            self.run_until(self.now() + Duration::from_millis(20))?;
        }
    }

    /// Every member that is to vote does, on every node.
    fn voters_count(&self, members: &Members) -> Result<(), Violation> {
        let wanted: BTreeSet<NodeId> = members.iter().filter(|(_, votes)| **votes).map(|(id, _)| *id).collect();
        for node in self.machines.values().filter_map(Machine::node) {
            let configuration = node.status().consensus.configuration;
            if configuration.voters != wanted || configuration.is_joint() {
                return Err(Violation::new("membership", format!("{} has {configuration:?}, and {members:?} are members", node.id())));
            }
        }
        Ok(())
    }

    /// What each replica holds.
    fn contents(&self) -> Result<Contents, Violation> {
        let everything = Range { keys: KeySpan { key: vec![0].into(), range_end: vec![0].into() }, ..Range::default() };
        let mut contents = Contents::new();
        for (id, node) in self.machines.values().filter_map(|machine| Some((machine.id, machine.node()?))) {
            let read = node.reader().range(&everything).map_err(|error| Violation::new("contents", format!("{id}: {error}")))?;
            contents.insert(id, seen(&read.result));
        }
        Ok(contents)
    }

    /// Nobody asks any more: in time nothing is left in any queue.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        let deadline = self.now() + LONGEST_PATIENCE + ELECTION_TIMEOUT;
        loop {
            let mut nodes = self.machines.values().filter_map(Machine::node);
            let found = nodes.try_for_each(|node| bounds::check_rest(node.id(), node.queued()));
            if found.is_ok() || self.now() >= deadline {
                return found;
            }
            self.run_until(self.now() + Duration::from_millis(100))?;
        }
    }

    fn replicas(&self) -> BTreeMap<NodeId, Replica> {
        let running = self.machines.values().filter_map(|machine| Some((machine.id, machine.node()?)));
        running
            .map(|(id, node)| {
                let (state, suspect) = (node.state(), node.status().consensus.suspect);
                (id, Replica { applied: state.applied().index, revision: state.reader().revision(), hash: state.hash(), suspect })
            })
            .collect()
    }

    /// The history of the run, and all states of users and roles. Every revision must have been reported by some node.
    fn history(&mut self) -> Result<(History, Vec<Era>), Violation> {
        let newest = self.replicas().values().map(|replica| replica.revision).max().unwrap_or_default();
        let (mut changes, eras) = std::mem::take(&mut self.observer.state).into_parts();
        let first = self.restored.revision();
        if let Some(again) = changes.keys().find(|revision| **revision <= first) {
            return Err(Violation::new("restored", format!("revision {again} came again: the cluster began at {first}")));
        }
        if let Some(missing) = (first.0 + 1..=newest.0).map(Revision).find(|revision| !changes.contains_key(revision)) {
            return Err(Violation::new("events", format!("no node reported the changes of revision {missing}, of {newest}")));
        }
        if let Some(beyond) = changes.keys().find(|revision| **revision > newest) {
            return Err(Violation::new("durability", format!("revision {beyond} was applied, and the store is at {newest}")));
        }
        changes.extend(self.restored.changes().clone());
        let eras = std::iter::once(self.restored.era()).chain(eras).collect();
        Ok((History { operations: self.workload.operations().to_vec(), changes }, eras))
    }

    /// Each replica must know the last users and roles.
    fn compare_rights(&self, eras: &[Era]) -> Result<(), Violation> {
        let expected = eras.last().map(|era| &era.rights);
        for node in self.machines.values().filter_map(Machine::node) {
            let found = rights(&node.reader().auth());
            if Some(&found) != expected {
                return Err(Violation::new("contents", format!("{} has {found:?} instead of {expected:?}", node.id())));
            }
        }
        Ok(())
    }
}

fn newest(history: &History) -> Revision {
    history.changes.keys().next_back().copied().unwrap_or_default()
}

/// Each replica must hold what the changes add up to.
fn compare_contents(contents: &Contents, history: &History) -> Result<(), Violation> {
    let expected = Store::new(&history.changes)?.all(newest(history));
    match contents.iter().find(|(_, found)| **found != expected) {
        Some((id, found)) => Err(Violation::new("contents", format!("{id} holds {found:?} instead of {expected:?}"))),
        None => Ok(()),
    }
}
