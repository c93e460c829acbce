//! Faults that last while the rest of the cluster, a majority, must go on.

use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use super::Stop;
use crate::cluster::Cluster;
use crate::network::Partition;
use crate::world::Time;

/// A fault that lasts while the rest of the cluster, a majority, must go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum LastingFault {
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

pub(in crate::cluster) const LASTING_FAULTS: [LastingFault; 7] = [
    LastingFault::Down,
    LastingFault::Paused,
    LastingFault::StuckDisk,
    LastingFault::Isolated,
    LastingFault::Mute,
    LastingFault::Deaf,
    LastingFault::Chain,
];

/// Longer than progress may take.
pub(in crate::cluster) const LASTING: Duration = Duration::from_secs(6);

impl Cluster {
    /// Strikes a node, most often the leader. Gives the nodes that must make progress all the same.
    pub(in crate::cluster) fn begin_lasting(&mut self, fault: LastingFault) -> Vec<NodeId> {
        let now = self.queue.now();
        let nodes = self.node_ids();
        let victim = self.lasting_victim(&nodes);
        let everybody = self.everybody();
        self.gossip.checker.at_war();
        self.trace.milestone(now, &[21, victim.0, fault as u64], || format!("lasting fault at {victim}: {fault:?}"));
        match fault {
            LastingFault::Down => self.keep_down(victim),
            LastingFault::Paused => self.pause(victim, LASTING),
            LastingFault::StuckDisk => self.machine(victim).stuck_until = now + LASTING,
            LastingFault::Isolated => self.network.partition(Partition::Isolate, &everybody, victim, &mut self.faults_rng),
            LastingFault::Mute => self.network.cut(|from, _| from == victim, &everybody),
            LastingFault::Deaf => self.network.cut(|_, to| to == victim, &everybody),
            LastingFault::Chain => {
                self.network.partition(Partition::Chain, &nodes, victim, &mut self.faults_rng);
                return nodes;
            }
        }
        nodes.into_iter().filter(|node| *node != victim).collect()
    }

    /// Most often the leader. Damage that nobody has noticed yet may show at any time: so where disks rot it is one whose disk does, and the others,
    /// a majority, are well. If that one was replaced, one disk less rots, and it may be anybody.
    fn lasting_victim(&mut self, nodes: &[NodeId]) -> NodeId {
        if self.swarm.corruption.is_some() {
            let rots = NodeId(self.faults_rng.u64(1..=self.rotting()));
            if nodes.contains(&rots) {
                return rots;
            }
        }
        let leader = self.leader().filter(|_| self.faults_rng.u8(0..4) > 0);
        leader.unwrap_or_else(|| nodes[self.faults_rng.usize(0..nodes.len())])
    }

    /// Ends what [`Cluster::begin_lasting`] began.
    pub(in crate::cluster) fn end_lasting(&mut self) {
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
            self.gossip.end(node);
            self.disconnect_peers(node, Stop::Kill);
        }
    }
}
