//! Faults that wait for their moment, because most that can go wrong goes wrong in moments that chance seldom meets: leaders fail while
//! their logs differ from the others' most, and the network splits while two configurations are in force.

use steadfast_consensus::Role;
use steadfast_node::Node;
use steadfast_types::time::Duration;
use steadfast_types::{Configuration, LogIndex, NodeId};

use super::Cluster;
use super::event::Event;
use super::faults::Stop;
use crate::network::between;
use crate::swarm::Ambushes;

/// When a new leader fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Once what it had when it was elected, and its first entry, are durable: perhaps nobody else has them.
    Durable(LogIndex),
    /// Once it has committed something beyond this: perhaps nobody else knows.
    Committed(LogIndex),
}

/// A partition that strikes a change of members lasts so long at most.
const SPLIT: Duration = Duration::from_secs(4);

impl Cluster {
    /// A node has just become the leader. In some runs new leaders often fail.
    pub(super) fn lie_in_wait(&mut self, node: NodeId) {
        let Some(Ambushes { share, .. }) = self.swarm.ambushes else { return };
        if self.healed || self.faults_rng.f64() >= share {
            return;
        }
        let moment = self.faults_rng.u8(0..3);
        let delay = between(Duration::ZERO, Duration::from_millis(30), &mut self.faults_rng);
        let machine = self.machine(node);
        let life = machine.life;
        let Some((last, commit)) = machine.node().map(Node::consensus).map(|raft| (raft.last().index, raft.commit_index())) else { return };
        let process = machine.process.as_mut().expect("its node runs");
        match moment {
            0 => self.queue.after(delay, Event::Ambush { node, life }),
            1 => process.ambush = Some(Moment::Durable(last)),
            _ => process.ambush = Some(Moment::Committed(commit)),
        }
    }

    pub(super) fn on_ambush(&mut self, node: NodeId, life: u64) {
        if !self.healed && self.machines.get(&node).is_some_and(|machine| machine.life == life && machine.process.is_some()) {
            self.spring(node);
        }
    }

    /// The node has turned. Whether it falls before anybody hears what came of it.
    pub(super) fn falls_into_ambush(&mut self, node: NodeId) -> bool {
        let machine = self.machine(node);
        let Some((durable, commit)) = machine.node().map(Node::consensus).map(|raft| (raft.durable_index(), raft.commit_index())) else {
            return false;
        };
        let is_due = |moment: &mut Moment| match moment {
            Moment::Durable(index) => durable >= *index,
            Moment::Committed(before) => commit > *before,
        };
        let falls = machine.process.as_mut().is_some_and(|process| process.ambush.take_if(is_due).is_some()) && !self.healed;
        if falls {
            self.spring(node);
        }
        falls
    }

    fn spring(&mut self, node: NodeId) {
        let Some(Ambushes { lasts, .. }) = self.swarm.ambushes else { return };
        let stop = if self.faults_rng.bool() { Stop::Kill } else { Stop::PowerFailure };
        self.stop_for(node, stop, "ambushed", lasts);
    }

    /// A node has turned. If it leads and has just begun a change of voters, the network may split in two before anybody hears of it: with the leader
    /// are all who are to vote anew, and some of the others.
    pub(super) fn tear_change(&mut self, node: NodeId) {
        if !self.swarm.torn_changes || self.healed {
            return;
        }
        let machine = self.machine(node);
        let Some(joint) =
            machine.node().map(Node::consensus).filter(|raft| raft.role() == Role::Leader).map(|raft| raft.configuration().clone())
        else {
            return;
        };
        let Some(process) = &mut machine.process else { return };
        let begins = joint.is_joint() && !process.joint;
        process.joint = joint.is_joint();
        if begins && self.faults_rng.bool() {
            self.split(node, &joint);
        }
    }

    fn split(&mut self, leader: NodeId, joint: &Configuration) {
        let is_new = |id: NodeId| joint.voters.contains(&id) && !joint.outgoing.contains(&id);
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        let side: Vec<NodeId> = nodes.iter().copied().filter(|id| *id == leader || is_new(*id) || self.faults_rng.u8(0..3) == 0).collect();
        self.trace.milestone(self.queue.now(), &[24, leader.0], || format!("the network splits as voters change: {side:?} are alone"));
        self.network.reconnect();
        self.network.cut(|from, to| side.contains(&from) != side.contains(&to), &nodes);
        let lasts = between(Duration::ZERO, SPLIT, &mut self.faults_rng);
        self.queue.after(lasts, Event::Reconnect);
    }
}
