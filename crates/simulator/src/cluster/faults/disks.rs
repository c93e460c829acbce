//! What befalls disks: they are full, they rot, and one loses its log.

use steadfast_node::RequestBody;
use steadfast_state::alarm::{Alarm, AlarmChange, AlarmKind};
use steadfast_state::command::Command;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::time::Duration;
use steadfast_types::{LogIndex, NodeId};

use super::Stop;
use crate::cluster::Cluster;
use crate::disk::DiskFaults;
use crate::workload::OperationNumber;

impl Cluster {
    pub(in crate::cluster) fn on_room_on_disk(&mut self, node: NodeId) {
        if !self.healed && self.machines.contains_key(&node) {
            self.set_disk(node, false);
        }
    }

    pub(in crate::cluster) fn set_disk(&mut self, node: NodeId, full: bool) {
        let sync_failure = self.swarm.sync_failure;
        self.machine(node).disk.set_faults(DiskFaults { sync_failure, full });
    }

    /// The disks of so many nodes, the first ones, may rot: fewer than half of all. More than that can't be survived.
    pub(super) fn rotting(&self) -> u64 {
        (self.swarm.nodes as u64 - 1) / 2
    }

    /// A node's process ends and its log is gone, once in a run: what it voted and acknowledged is forgotten, so it must not start again.
    pub(super) fn lose_log(&mut self, node: NodeId) {
        let has_tables = self.machines[&node].node().is_some_and(|node| node.status().durable.index > LogIndex(0));
        if self.lost.is_some() || !has_tables {
            return;
        }
        self.lost = Some(node);
        self.trace.milestone(self.queue.now(), &[], || format!("{node} loses its log"));
        self.stop(node, Stop::Kill, "its log is lost");
        self.observer.recovery.wiped(node);
        match is_planted(Bug::WipedKeepsIdentity) {
            true => self.machine(node).disk.lose(|_| true),
            false => self.machine(node).disk.lose(|name| name.starts_with("log")),
        }
    }

    /// Damages a sector of one of the nodes that may rot.
    pub(super) fn corrupt(&mut self) {
        if self.rotting() == 0 {
            return;
        }
        let node = NodeId(self.faults_rng.u64(1..=self.rotting()));
        if self.faults_rng.u8(0..4) == 0 {
            return self.say_corrupt(node);
        }
        let tables = self.swarm.corruption_of_tables;
        // The log's end is where it matters whether anybody else has the same.
        let at_end = self.faults_rng.u8(0..3) == 0;
        // Whoever was replaced took its disk along.
        let Some(machine) = self.machines.get(&node) else { return };
        let disk = &machine.disk;
        let damaged = match at_end {
            true => disk.corrupt_newest(|name| name.starts_with("log")),
            false => disk.corrupt_any(|name| tables || name.starts_with("log")),
        };
        if let Some((name, sector)) = damaged {
            self.counts.corruptions += 1;
            self.trace.milestone(self.queue.now(), &[12, node.0, sector], || format!("sector {sector} of {name} on {node} rots"));
            if at_end && self.faults_rng.u8(0..3) == 0 {
                self.lose_what_two_have(node);
            }
        }
    }

    /// Somebody says that a node's state is not to be used, though it is as good as any: the node must get it from the others.
    fn say_corrupt(&mut self, member: NodeId) {
        let asked = self.victim();
        let change = AlarmChange::Raise { alarm: Alarm { kind: AlarmKind::Corrupt, member }, by_hand: true };
        self.ask(asked, OperationNumber::NOBODY, RequestBody::Propose(Command::Alarm(change)), Duration::from_secs(1));
    }

    /// A node with a damaged log starts again, and the leader fails together with it: what these two alone had is not with the others.
    fn lose_what_two_have(&mut self, damaged: NodeId) {
        let leader = self.leader().filter(|leader| *leader != damaged);
        for node in [Some(damaged), leader].into_iter().flatten() {
            if self.machine(node).process.is_some() {
                self.stop(node, Stop::Kill, "fails together with another");
            }
        }
    }
}
