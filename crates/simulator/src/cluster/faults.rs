//! Strikes with the faults that were drawn, and ends them all at once for the check that the cluster recovers.

use steadfast_consensus::Role;
use steadfast_node::RequestBody;
use steadfast_state::alarm::{Alarm, AlarmChange, AlarmKind};
use steadfast_state::command::Command;
use steadfast_types::time::Duration;
use steadfast_types::{LogIndex, NodeId, Revision};

use super::Cluster;
use super::event::{Event, FAULTS, Fault};
use super::machine::Machine;
use crate::disk::DiskFaults;
use crate::network::{NetworkFaults, PARTITIONS, Partition, between};
use crate::swarm::Recurring;
use crate::workload::OperationNumber;
use crate::world::{Time, micros};

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

/// A fault that lasts while the rest of the cluster, a majority, must go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastingFault {
    /// A node is down.
    Down,
    /// A node stands still.
    Paused,
    /// A node's disk stands still.
    StuckDisk,
    /// Nobody reaches a node, and it reaches nobody.
    Isolated,
    /// A node hears everyone, and nobody hears it.
    Mute,
    /// Everyone hears a node, and it hears nobody.
    Deaf,
    /// Each node reaches its neighbours in a row alone.
    Chain,
}

pub(super) const LASTING_FAULTS: [LastingFault; 7] = [
    LastingFault::Down,
    LastingFault::Paused,
    LastingFault::StuckDisk,
    LastingFault::Isolated,
    LastingFault::Mute,
    LastingFault::Deaf,
    LastingFault::Chain,
];

/// Longer than progress may take.
pub(super) const LASTING: Duration = Duration::from_secs(6);

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
        if let Some(Recurring { every, .. }) = self.recurring(fault) {
            let delay = between(every / 2, every * 3 / 2, &mut self.faults_rng);
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
        }
    }

    /// Whom a fault strikes: often the leader, for most that can go wrong goes wrong there.
    fn victim(&mut self) -> NodeId {
        let nodes = self.node_ids();
        let any = nodes[self.faults_rng.usize(0..nodes.len())];
        let leader = self.observer.leaders.latest().filter(|leader| self.machines.contains_key(leader));
        if self.faults_rng.bool() { leader.unwrap_or(any) } else { any }
    }

    pub(super) fn on_room_on_disk(&mut self, node: NodeId) {
        if !self.healed && self.machines.contains_key(&node) {
            self.set_disk(node, false);
        }
    }

    /// Ends a process: its machine starts another one soon.
    pub(super) fn stop(&mut self, node: NodeId, stop: Stop, reason: &str) {
        self.stop_for(node, stop, reason, self.swarm.crashes.map_or(Duration::from_millis(50), |crashes| crashes.lasts));
    }

    /// The same; it starts after `longest` at the latest.
    pub(super) fn stop_for(&mut self, node: NodeId, stop: Stop, reason: &str, longest: Duration) {
        self.trace.milestone(self.queue.now(), &[10, node.0, stop as u64], || format!("{node} stops ({stop:?}): {reason}"));
        let machine = self.machine(node);
        match stop {
            Stop::Kill => machine.disk.kill(),
            Stop::PowerFailure => machine.disk.power_failure(),
            Stop::PowerFailed => {}
        }
        let life = machine.life;
        machine.end_process();
        if self.faults_rng.bool() {
            self.machine(node).unsent = Some(life);
        }
        self.disconnect_peers(node, stop);
        let longest = if self.healed { Duration::from_millis(50) } else { longest };
        let down = between(Duration::ZERO, longest, &mut self.faults_rng);
        self.queue.after(down, Event::Start { node });
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
    }

    /// Strikes a node, most often the leader. Gives the nodes that must make progress all the same.
    pub(super) fn begin_lasting(&mut self, fault: LastingFault) -> Vec<NodeId> {
        let now = self.queue.now();
        let nodes = self.node_ids();
        let victim = self.lasting_victim(&nodes);
        self.trace.milestone(now, &[21, victim.0, fault as u64], || format!("lasting fault at {victim}: {fault:?}"));
        match fault {
            LastingFault::Down => self.keep_down(victim),
            LastingFault::Paused => self.pause(victim, LASTING),
            LastingFault::StuckDisk => self.machine(victim).stuck_until = now + LASTING,
            LastingFault::Isolated => self.network.partition(Partition::Isolate, &nodes, victim, &mut self.faults_rng),
            LastingFault::Mute => self.network.cut(|from, _| from == victim, &nodes),
            LastingFault::Deaf => self.network.cut(|_, to| to == victim, &nodes),
            LastingFault::Chain => {
                self.network.partition(Partition::Chain, &nodes, victim, &mut self.faults_rng);
                return nodes;
            }
        }
        nodes.into_iter().filter(|node| *node != victim).collect()
    }

    /// Most often the leader. Damage that nobody has noticed yet may show at any time: so where disks rot it is one whose disk does, and the others,
    /// a majority, are well.
    fn lasting_victim(&mut self, nodes: &[NodeId]) -> NodeId {
        if self.swarm.corruption.is_some() {
            return NodeId(self.faults_rng.u64(1..=self.rotting()));
        }
        let leader = self.leader().filter(|_| self.faults_rng.u8(0..4) > 0);
        leader.unwrap_or_else(|| nodes[self.faults_rng.usize(0..nodes.len())])
    }

    /// The disks of so many nodes, the first ones, may rot: fewer than half of all. More than that can't be survived.
    fn rotting(&self) -> u64 {
        (self.swarm.nodes as u64 - 1) / 2
    }

    /// Ends what [`Cluster::begin_lasting`] began.
    pub(super) fn end_lasting(&mut self) {
        for machine in self.machines.values_mut() {
            machine.stuck_until = Time::default();
        }
        self.heal();
    }

    /// Stops a process that only the next healing starts again.
    fn keep_down(&mut self, node: NodeId) {
        if self.machine(node).process.is_some() {
            self.trace.milestone(self.queue.now(), &[], || format!("{node} stays down"));
            self.machine(node).disk.kill();
            self.machine(node).end_process();
            self.disconnect_peers(node, Stop::Kill);
        }
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |machine: &Machine| machine.node().is_some_and(|node| node.status().consensus.role == Role::Leader);
        self.machines.values().find(|machine| leads(machine)).map(|machine| machine.id)
    }

    fn partition(&mut self, victim: NodeId, lasts: Duration) {
        let shape = PARTITIONS[self.faults_rng.usize(0..PARTITIONS.len())];
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
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

    fn pause(&mut self, node: NodeId, lasts: Duration) {
        let until = self.queue.now() + lasts;
        let machine = self.machine(node);
        machine.paused_until = machine.paused_until.max(until);
        // A machine that stands still may have lost its network too: it wakes up without having heard of anything.
        if !self.healed && self.faults_rng.u8(0..4) == 0 {
            let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
            self.network.partition(Partition::Isolate, &nodes, node, &mut self.faults_rng);
            self.queue.after(lasts, Event::Reconnect);
        }
    }

    pub(super) fn set_disk(&mut self, node: NodeId, full: bool) {
        let sync_failure = self.swarm.sync_failure;
        self.machine(node).disk.set_faults(DiskFaults { sync_failure, full });
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

    /// A node's process ends and its log is gone, once in a run: what it voted and acknowledged is forgotten, so it must not start again.
    fn lose_log(&mut self, node: NodeId) {
        let has_tables = self.machines[&node].node().is_some_and(|node| node.status().durable.index > LogIndex(0));
        if self.lost.is_some() || !has_tables {
            return;
        }
        self.lost = Some(node);
        self.trace.milestone(self.queue.now(), &[], || format!("{node} loses its log"));
        self.stop(node, Stop::Kill, "its log is lost");
        self.machine(node).disk.lose(|name| name.starts_with("log"));
    }

    /// Damages a sector of one of the nodes that may rot.
    fn corrupt(&mut self) {
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
        let disk = &self.machine(node).disk;
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
