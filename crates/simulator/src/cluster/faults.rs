//! Strikes with the faults that were drawn, and ends them all at once for the check that the cluster recovers.

use steadfast_consensus::Role;
use steadfast_node::RequestBody;
use steadfast_state::command::Command;
use steadfast_types::time::Duration;
use steadfast_types::{NodeId, Revision};

use super::Cluster;
use super::event::{Event, FAULTS, Fault};
use super::machine::Machine;
use crate::disk::DiskFaults;
use crate::network::{NetworkFaults, PARTITIONS, Partition, between};
use crate::swarm::Recurring;
use crate::workload::OperationNumber;
use crate::world::micros;
pub(super) use lasting::{LASTING, LASTING_FAULTS, LastingFault};

mod disks;
mod lasting;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is killed, or stops itself; the machine goes on.
    Kill,
    /// The machine loses its power now.
    PowerFailure,
    /// The machine has lost its power already, between two operations on its disk.
    PowerFailed,
}

/// A machine loses its power at most so many disk operations after that was decided.
const OPERATIONS_UNTIL_POWER_FAILURE: u64 = 40;

impl Cluster {
    pub(super) fn schedule_faults(&mut self) {
        for machine in self.machines.values_mut() {
            machine.disk.set_faults(DiskFaults { sync_failure: self.swarm.sync_failure, full: false });
        }
        for fault in FAULTS {
            self.schedule_fault(fault);
        }
    }

    /// The next one of a kind, if the run has that kind.
    fn schedule_fault(&mut self, fault: Fault) {
        if let Some(recurring) = self.recurring(fault) {
            let delay = recurring.next(&mut self.faults_rng);
            self.queue.after(delay, Event::Fault(fault));
        }
    }

    fn recurring(&self, fault: Fault) -> Option<Recurring> {
        match fault {
            Fault::Partition => self.swarm.partitions,
            Fault::Crash => self.swarm.crashes,
            Fault::Blackout => self.swarm.blackouts,
            Fault::Pause => self.swarm.pauses,
            Fault::SlowDisk => self.swarm.slow_disks,
            Fault::FullDisk => self.swarm.full_disks,
            Fault::Corruption => self.swarm.corruption,
            Fault::HandOver => self.swarm.hand_overs,
            Fault::Compaction => self.swarm.compactions,
            Fault::MemberChange => self.swarm.member_changes,
            Fault::LostLog => self.swarm.lost_logs,
            Fault::Outage => self.swarm.outages,
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        let Some(Recurring { lasts, .. }) = self.recurring(fault) else { return };
        if self.healed {
            return;
        }
        self.schedule_fault(fault);
        self.counts.faults[fault as usize] += 1;
        // What a strike draws does not change what comes after it.
        let rng = self.faults_rng.fork();
        if self.swarm.spared.contains(&self.counts.faults.iter().sum()) {
            return;
        }
        let rng = std::mem::replace(&mut self.faults_rng, rng);
        self.strike(fault, lasts);
        self.faults_rng = rng;
    }

    fn strike(&mut self, fault: Fault, lasts: Duration) {
        let lasts = between(Duration::ZERO, lasts, &mut self.faults_rng);
        let node = self.victim();
        self.trace.milestone(self.queue.now(), &[9, fault as u64, node.0], || format!("fault: {fault:?} (node {node}, {lasts:?})"));
        match fault {
            Fault::Partition => self.partition(node, lasts),
            Fault::Crash => self.crash(node),
            Fault::Blackout => self.blackout(),
            Fault::Pause => self.pause(node, lasts),
            Fault::SlowDisk => {
                let until = self.queue.now() + lasts;
                self.machine(node).slow_until = until;
            }
            Fault::FullDisk => {
                self.set_disk(node, true);
                self.queue.after(lasts, Event::RoomOnDisk { node });
            }
            Fault::Corruption => self.corrupt(),
            Fault::HandOver => self.hand_over(),
            Fault::Compaction => self.compact(node),
            Fault::MemberChange => self.change_members(node),
            Fault::LostLog => self.lose_log(node),
            Fault::Outage => self.outage(lasts),
        }
    }

    /// Whom a fault strikes: often the leader, for most that can go wrong goes wrong there.
    fn victim(&mut self) -> NodeId {
        let nodes = self.node_ids();
        let any = nodes[self.faults_rng.usize(0..nodes.len())];
        let leader = self.observer.leaders.latest().filter(|leader| self.machines.contains_key(leader));
        if self.faults_rng.bool() { leader.unwrap_or(any) } else { any }
    }

    /// Ends a process: its machine starts another one soon.
    pub(super) fn stop(&mut self, node: NodeId, stop: Stop, reason: &str) {
        self.stop_for(node, stop, reason, self.swarm.crashes.map_or(Duration::from_millis(50), |crashes| crashes.lasts));
    }

    /// The same; it starts after `longest` at the latest.
    pub(super) fn stop_for(&mut self, node: NodeId, stop: Stop, reason: &str, longest: Duration) {
        self.stop_now(node, stop, reason);
        let longest = if self.healed { Duration::from_millis(50) } else { longest };
        let down = between(Duration::ZERO, longest, &mut self.faults_rng);
        self.queue.after(down, Event::Start { node });
    }

    fn stop_now(&mut self, node: NodeId, stop: Stop, reason: &str) {
        self.trace.milestone(self.queue.now(), &[10, node.0, stop as u64], || format!("{node} stops ({stop:?}): {reason}"));
        let machine = self.machine(node);
        match stop {
            Stop::Kill => machine.disk.kill(),
            Stop::PowerFailure => machine.disk.power_failure(),
            Stop::PowerFailed => {}
        }
        let life = machine.life;
        machine.end_process();
        self.gossip.end(node);
        if self.faults_rng.bool() {
            self.machine(node).unsent = Some(life);
        }
        self.disconnect_peers(node, stop);
    }

    /// From now on everything works: links, disks, and processes.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        let now = self.queue.now();
        self.trace.milestone(now, &[11], || "everything heals".to_owned());
        self.network.heal(NetworkFaults::default());
        self.swarm.sync = (self.swarm.sync.0, Duration::from_millis(2).max(self.swarm.sync.0));
        for machine in self.machines.values_mut() {
            machine.disk.set_faults(DiskFaults::default());
            machine.disk.cancel_power_failure();
            machine.paused_until = now;
            machine.slow_until = now;
        }
        let down: Vec<NodeId> = self.machines.values().filter(|machine| machine.process.is_none()).map(|machine| machine.id).collect();
        for node in down {
            self.queue.after(Duration::from_millis(1), Event::Start { node });
        }
        self.heal_members();
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |machine: &Machine| machine.node().is_some_and(|node| node.status().consensus.role == Role::Leader);
        self.machines.values().find(|machine| leads(machine)).map(|machine| machine.id)
    }

    fn partition(&mut self, victim: NodeId, lasts: Duration) {
        let shape = PARTITIONS[self.faults_rng.usize(0..PARTITIONS.len())];
        let nodes = self.everybody();
        self.network.partition(shape, &nodes, victim, &mut self.faults_rng);
        self.trace.milestone(self.queue.now(), &[], || format!("partition: {shape:?}"));
        self.queue.after(lasts, Event::Reconnect);
        // Connections may time out during a partition; nodes must bear that hint at any time.
        if self.faults_rng.bool() {
            let node = self.faults_rng.choice(&nodes).copied().expect("there are nodes");
            let peer = self.faults_rng.choice(&nodes).copied().expect("there are nodes");
            if node != peer && !self.network.is_open(peer, node) {
                self.queue.after(Duration::from_millis(1), Event::Disconnected { node, peer });
            }
        }
    }

    fn crash(&mut self, node: NodeId) {
        if self.machine(node).process.is_none() {
            return;
        }
        match self.faults_rng.u8(0..3) {
            0 => self.stop(node, Stop::Kill, "killed"),
            1 => self.stop(node, Stop::PowerFailure, "power failure"),
            _ => {
                let operations = self.faults_rng.u64(0..OPERATIONS_UNTIL_POWER_FAILURE);
                self.machine(node).disk.power_failure_after(operations);
            }
        }
    }

    fn blackout(&mut self) {
        let nodes: Vec<NodeId> = self.machines.values().filter(|machine| machine.process.is_some()).map(|machine| machine.id).collect();
        for node in nodes {
            self.stop(node, Stop::PowerFailure, "blackout");
        }
    }

    /// Several voters, but not so many that the rest is no majority, lose their power together, and others with them, for so long that whoever leads
    /// has to judge it.
    fn outage(&mut self, lasts: Duration) {
        let voters: Vec<NodeId> = self.members().into_iter().filter(|(_, votes)| *votes).map(|(id, _)| id).collect();
        let is_up = |id: &&NodeId| self.machines.get(*id).is_some_and(|machine| machine.process.is_some());
        let mut up: Vec<NodeId> = voters.iter().filter(is_up).copied().collect();
        self.faults_rng.shuffle(&mut up);
        up.truncate(up.len().saturating_sub(voters.len() / 2 + 1));
        for node in up {
            self.stop_now(node, Stop::PowerFailure, "outage");
            self.queue.after(lasts, Event::Start { node });
        }
        self.outage_of_others(lasts);
    }

    fn pause(&mut self, node: NodeId, lasts: Duration) {
        let until = self.queue.now() + lasts;
        let machine = self.machine(node);
        machine.paused_until = machine.paused_until.max(until);
        // A machine that stands still may have lost its network too: it wakes up without having heard of anything.
        if !self.healed && self.faults_rng.u8(0..4) == 0 {
            let nodes = self.everybody();
            self.network.partition(Partition::Isolate, &nodes, node, &mut self.faults_rng);
            self.queue.after(lasts, Event::Reconnect);
        }
    }

    /// The leader, if there is one, is told to hand over.
    fn hand_over(&mut self) {
        let now = self.queue.now();
        let Some(leader) = self.leader() else { return };
        let machine = self.machine(leader);
        if machine.paused_until <= now {
            machine.node_mut().expect("it leads").hand_over_leadership();
            self.wake(leader, now);
        }
    }

    /// Somebody compacts the history, up to a revision that this node knows.
    fn compact(&mut self, node: NodeId) {
        let Some(revision) = self.machines[&node].node().map(|node| node.reader().revision()) else { return };
        let first = (self.restored.revision().0 - 1).min(revision.0);
        let revision = Revision(self.faults_rng.i64(first..=revision.0));
        self.watchers.compactions.insert(revision);
        self.ask(node, OperationNumber::NOBODY, RequestBody::Propose(Command::Compact { revision }), Duration::from_secs(1));
    }

    /// A process that ends is noticed by its peers at once, a machine without power late or never.
    pub(super) fn disconnect_peers(&mut self, node: NodeId, stop: Stop) {
        let slowest = if stop == Stop::Kill { Duration::from_millis(1) } else { Duration::from_millis(1_000) };
        let peers: Vec<NodeId> = self.machines.keys().copied().filter(|peer| *peer != node).collect();
        for peer in peers {
            let delay = Duration::from_micros(self.faults_rng.u64(10..=micros(slowest)));
            if self.faults_rng.u8(0..4) > 0 && self.network.is_open(node, peer) {
                self.queue.after(delay, Event::Disconnected { node: peer, peer: node });
            }
        }
    }
}
