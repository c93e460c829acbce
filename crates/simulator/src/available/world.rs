//! The world: what there is in it, and what happens.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_crdt::{Actor, VersionVector};
use steadfast_proof::Violation;
use steadfast_redis_api::acl::users::Users;
use steadfast_types::time::Duration;
use steadfast_types::{NodeId, Rng};

use super::clients::Client;
use super::faults::Fault;
use super::machine::{Machine, Registry};
use super::model::Model;
use super::swarm::Swarm;
use crate::network::{Network, between};
use crate::world::{Queue, Time, Trace, TraceMode};

/// Replicas in a simulated world.
pub struct World {
    pub(super) swarm: Swarm,
    pub(super) queue: Queue<Event>,
    pub(super) trace: Trace,
    pub(super) network: Network,
    pub(super) network_rng: Rng,
    pub(super) faults_rng: Rng,
    pub(super) clients_rng: Rng,
    /// Nobody but the default one.
    pub(super) users: Users,
    pub(super) machines: BTreeMap<NodeId, Machine>,
    pub(super) clients: Vec<Client>,
    pub(super) registry: Registry,
    pub(super) model: Model,
    /// What each actor whose life is over had ever seen.
    pub(super) past: BTreeMap<Actor, VersionVector>,
    /// The last number of a connection.
    pub(super) connection: u64,
    /// Between which lives of processes a connection was made.
    pub(super) dialed: BTreeMap<u64, [(NodeId, u64); 2]>,
    /// Connections on which something was lost: nothing more comes over them.
    pub(super) broken: BTreeSet<u64>,
    /// From then on nothing fails any more.
    pub(super) healed: bool,
    /// From then on clients send nothing new.
    pub(super) quiet: bool,
    pub(super) counts: Counts,
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands that clients sent.
    pub commands: u64,
    /// Those that were answered.
    pub acknowledged: u64,
    /// Those of which nobody knows what became of them.
    pub unknown: u64,
    /// Waits until a replica had seen what a session had.
    pub session_waits: u64,
    /// Waits until other replicas held a write.
    pub holder_waits: u64,
    /// Frames between replicas.
    pub frames: u64,
    /// Connections between them.
    pub connections: u64,
    /// Processes that came up.
    pub starts: u64,
    /// Those of them that had to be another actor.
    pub new_actors: u64,
    /// Processes that were killed, or stopped.
    pub kills: u64,
    /// Machines that lost their power.
    pub power_failures: u64,
    /// Disks that were replaced by empty ones.
    pub wiped: u64,
    /// Times that a process stopped because its disk failed.
    pub disk_failures: u64,
    /// Jumps of wall clocks.
    pub clock_jumps: u64,
    /// Partitions.
    pub partitions: u64,
    /// Processes that stood still.
    pub pauses: u64,
    /// Sessions of reconciliation.
    pub sessions: u64,
    /// Deltas that came too early and found no room.
    pub deltas_waited: u64,
    /// Writes that were lost with machines, as they might.
    pub lost: u64,
}

/// What will happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Start {
        node: NodeId,
    },
    /// Two replicas try to connect.
    Dial {
        one: NodeId,
        other: NodeId,
    },
    Connected {
        node: NodeId,
        life: u64,
        peer: NodeId,
        connection: u64,
    },
    Closed {
        node: NodeId,
        peer: NodeId,
        connection: u64,
    },
    Frame {
        from: NodeId,
        to: NodeId,
        connection: u64,
        frame: Bytes,
    },
    Tick {
        node: NodeId,
        life: u64,
    },
    EndTurn {
        node: NodeId,
        life: u64,
    },
    Sync {
        node: NodeId,
        life: u64,
    },
    /// A replica hears of another set of replicas.
    Registered {
        node: NodeId,
        life: u64,
    },
    Client {
        client: usize,
    },
    Fault(Fault),
    Reconnect,
    RoomOnDisk {
        node: NodeId,
    },
    /// Who stood still goes on.
    Resume {
        node: NodeId,
    },
}

impl Event {
    /// Whose process must run for it to happen.
    fn of(&self) -> Option<NodeId> {
        match self {
            Event::Connected { node, .. } | Event::Closed { node, .. } | Event::Tick { node, .. } => Some(*node),
            Event::EndTurn { node, .. } | Event::Sync { node, .. } | Event::Registered { node, .. } => Some(*node),
            Event::Frame { to, .. } => Some(*to),
            Event::Start { .. } | Event::Dial { .. } | Event::Client { .. } => None,
            Event::Fault(_) | Event::Reconnect | Event::RoomOnDisk { .. } | Event::Resume { .. } => None,
        }
    }
}

impl World {
    /// A world that has not begun. `rng` makes all choices of the run.
    pub fn new(swarm: Swarm, rng: &mut Rng, mode: TraceMode) -> Self {
        let ids: Vec<NodeId> = (1..=swarm.nodes as u64).map(NodeId).collect();
        let machines = ids.iter().map(|id| (*id, Machine::new(*id, &swarm, rng.fork()))).collect();
        let clients = (0..swarm.clients).map(|number| Client::new(number, rng.f64() < swarm.sessions)).collect();
        let mut world = World {
            queue: Queue::default(),
            trace: Trace::new(mode),
            network: Network::new(swarm.network),
            network_rng: rng.fork(),
            faults_rng: rng.fork(),
            clients_rng: rng.fork(),
            users: Users::new(),
            machines,
            clients,
            registry: Registry::default(),
            model: Model::default(),
            past: BTreeMap::new(),
            connection: 0,
            dialed: BTreeMap::new(),
            broken: BTreeSet::new(),
            healed: false,
            quiet: false,
            counts: Counts::default(),
            swarm,
        };
        world.begin(&ids);
        world
    }

    fn begin(&mut self, ids: &[NodeId]) {
        for id in ids {
            let at = between(Duration::ZERO, Duration::from_millis(50), &mut self.faults_rng);
            self.queue.after(at, Event::Start { node: *id });
        }
        for (number, one) in ids.iter().enumerate() {
            for other in &ids[number + 1..] {
                self.dial_later(*one, *other);
            }
        }
        for client in 0..self.clients.len() {
            self.client_later(client);
        }
        self.schedule_faults();
    }

    /// Faults for as long as was drawn, then the healing, and what must hold after it.
    ///
    /// # Errors
    /// A checker found something.
    pub fn run(&mut self) -> Result<(), Violation> {
        self.run_until(Time::default() + self.swarm.duration)?;
        self.heal();
        self.finish()
    }

    /// Lets the world go on until `end`.
    ///
    /// # Errors
    /// A checker found something.
    pub fn run_until(&mut self, end: Time) -> Result<(), Violation> {
        while let Some(event) = self.queue.next(end) {
            self.happen(event)?;
        }
        Ok(())
    }

    /// The present.
    pub fn now(&self) -> Time {
        self.queue.now()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The hash of everything that happened.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The recorded timeline.
    pub fn into_timeline(self) -> Vec<String> {
        self.trace.into_timeline()
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.queue.now();
        // Who stands still does everything afterwards, in order.
        if let Some(machine) = event.of().and_then(|node| self.machines.get_mut(&node))
            && (machine.paused_until > now || !machine.held_up.is_empty())
        {
            if machine.held_up.is_empty() {
                self.queue.at(machine.paused_until, Event::Resume { node: machine.id });
            }
            machine.held_up.push(event);
            return Ok(());
        }
        self.happen_now(event)
    }

    /// A machine that stood still does what has come meanwhile, unless it is to stand still for longer.
    fn on_resume(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.queue.now();
        let machine = self.machine(node);
        if machine.paused_until > now {
            let until = machine.paused_until;
            self.queue.at(until, Event::Resume { node });
            return Ok(());
        }
        std::mem::take(&mut machine.held_up).into_iter().try_for_each(|event| self.happen_now(event))
    }

    fn happen_now(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Start { node } => self.on_start(node),
            Event::Dial { one, other } => {
                self.on_dial(one, other);
                Ok(())
            }
            Event::Connected { node, life, peer, connection } => self.on_connected(node, life, peer, connection),
            Event::Closed { node, peer, connection } => self.on_closed(node, peer, connection),
            Event::Frame { from, to, connection, frame } => self.on_frame(from, to, connection, frame),
            Event::Tick { node, life } => self.on_tick(node, life),
            Event::EndTurn { node, life } => self.on_end_turn(node, life),
            Event::Sync { node, life } => self.on_sync(node, life),
            Event::Registered { node, life } => self.on_registered(node, life),
            Event::Client { client } => self.on_client(client),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Reconnect => {
                self.trace.milestone(self.queue.now(), &[20], || "partitions end".to_owned());
                self.network.reconnect();
                Ok(())
            }
            Event::RoomOnDisk { node } => {
                self.set_disk(node, false);
                Ok(())
            }
            Event::Resume { node } => self.on_resume(node),
        }
    }

    /// A machine of the world.
    #[track_caller]
    pub(super) fn machine(&mut self, node: NodeId) -> &mut Machine {
        self.machines.get_mut(&node).expect("a machine of the world")
    }

    /// Those whose processes run and do not stand still.
    pub(super) fn running(&self) -> Vec<NodeId> {
        let now = self.queue.now();
        let is_up = |machine: &&Machine| machine.process.is_some() && machine.paused_until <= now;
        self.machines.values().filter(is_up).map(|machine| machine.id).collect()
    }
}
