//! A whole cluster of real nodes in a simulated world: machines, network, clients, and the faults that were drawn for it.
//!
//! A node's core loop, its log driver and its jobs run at different simulated times, as on their threads; processes and machines fail at any
//! point between, and machines also between two operations on their disks.

pub(crate) mod administrator;
mod ambushes;
mod callers;
mod clients;
mod event;
mod faults;
mod finish;
mod gossip;
mod lockers;
mod machine;
mod members;
mod observer;
mod processes;
mod recovery;
mod restored;
mod sessions;
mod watchers;

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_node::start::Bootstrap;
use steadfast_node::{Input, PeerMessage};
use steadfast_state::command::Member;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Configuration, Level, LogIndex, NodeId, Rng};
use xxhash_rust::xxh3::xxh3_64;

use crate::network::{Network, between};
use crate::swarm::Swarm;
use crate::workload::{Habits, Workload};
use crate::world::{Queue, Time, Trace, TraceMode};
use administrator::Administrator;
use callers::Callers;
use clients::Waiting;
use event::Event;
use gossip::Gossip;
use lockers::Lockers;
use machine::Machine;
use members::Members;
use observer::Observer;
use recovery::Executor;
use restored::Restored;
use sessions::Sessions;
use steadfast_proof::{Violation, shortened};
use watchers::Watchers;

pub use event::FAULT_NAMES;
pub use machine::ELECTION_TIMEOUT;

/// A simulated cluster.
pub struct Cluster {
    swarm: Swarm,
    queue: Queue<Event>,
    trace: Trace,
    network: Network,
    network_rng: Rng,
    faults_rng: Rng,
    clients_rng: Rng,
    machines: BTreeMap<NodeId, Machine>,
    workload: Workload,
    waiting: Waiting,
    observer: Observer,
    watchers: Watchers,
    lockers: Lockers,
    sessions: Sessions,
    callers: Callers,
    administrator: Administrator,
    restored: Restored,
    gossip: Gossip,
    executors: BTreeMap<NodeId, Executor>,
    /// Records of recovery that were written.
    stamps: u64,
    bootstrap: Bootstrap,
    /// The members as of the furthest entry that anybody has applied.
    members: (LogIndex, Members),
    /// The configuration as of that entry.
    in_force: Configuration,
    /// Whose log is lost.
    lost: Option<NodeId>,
    /// The highest id that a member was given.
    last_id: NodeId,
    /// From then on nothing fails any more, and clients begin nothing new.
    healed: bool,
    counts: Counts,
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Turns of nodes.
    pub turns: u64,
    /// Processes that came up.
    pub starts: u64,
    /// Frames sent.
    pub frames: u64,
    /// Datagrams sent between members.
    pub datagrams: u64,
    /// Snapshots installed.
    pub snapshots: u64,
    /// Nodes that came up damaged and repaired themselves.
    pub repairs: u64,
    /// Processes that found their tables damaged and began again without them.
    pub lost_tables: u64,
    /// Times that a node stopped itself because its disk failed.
    pub disk_stops: u64,
    /// Sectors damaged.
    pub corruptions: u64,
    /// Times that a node became the leader.
    pub leader_changes: u64,
    /// Requests of clients.
    pub requests: u64,
    /// Changes of users and roles that were answered.
    pub rights_changes: u64,
    /// Requests that were refused because of what users and roles are.
    pub denied: u64,
    /// Voters whose place another took by a plan.
    pub replaced: u64,
    /// Faults that struck, in the order of [`FAULT_NAMES`].
    pub faults: [u64; FAULT_NAMES.len()],
}

impl Cluster {
    /// A cluster that has not started. `rng` makes all choices of the run.
    pub fn new(swarm: Swarm, rng: &mut Rng, mode: TraceMode) -> Self {
        let ids: Vec<NodeId> = (1..=swarm.nodes as u64).map(NodeId).collect();
        let drift = i64::from(swarm.drift_ppm);
        let member = |id: &NodeId| Member {
            id: *id,
            name: format!("node-{id}"),
            peer_urls: vec![format!("http://node-{id}:2380")],
            ..Member::default()
        };
        let bootstrap = Bootstrap {
            configuration: Configuration::of_voters(ids.iter().copied()),
            members: ids.iter().map(member).collect(),
            level: if swarm.mixed { Level::FIRST } else { Level::NEWEST },
        };
        let restored = Restored::draw(&swarm, &mut rng.fork());
        let mut machine = |id: &NodeId| {
            let mut machine = Machine::new(*id, bootstrap.clone(), rng.i64(-drift..=drift), &swarm, rng.fork());
            if swarm.mixed && rng.u8(0..4) > 0 {
                machine.level = Level::FIRST;
            }
            machine.restore(&restored);
            machine
        };
        let machines = ids.iter().map(|id| (*id, machine(id))).collect();
        let mut cluster = Cluster {
            queue: Queue::default(),
            trace: Trace::new(mode),
            network: Network::new(swarm.network),
            network_rng: rng.fork(),
            faults_rng: rng.fork(),
            clients_rng: rng.fork(),
            machines,
            workload: restored.told(rng.fork(), Habits { keys: swarm.keys, wide: swarm.wide, queue: swarm.queue, leases: swarm.leases }),
            waiting: Waiting::default(),
            observer: Observer::default(),
            watchers: Watchers::after(restored.compact()),
            lockers: Lockers::default(),
            sessions: Sessions::default(),
            callers: Callers::draw(swarm.clients, &mut rng.fork()),
            administrator: Administrator::new(swarm.keys, restored.rights()),
            restored,
            gossip: Gossip::new(swarm.gossip.clone(), rng.fork()),
            executors: BTreeMap::new(),
            stamps: 0,
            in_force: bootstrap.configuration.clone(),
            bootstrap,
            members: (LogIndex(0), ids.iter().map(|id| (*id, true)).collect()),
            lost: None,
            last_id: NodeId(swarm.nodes as u64),
            healed: false,
            counts: Counts::default(),
            swarm,
        };
        cluster.schedule_beginning(&ids);
        cluster
    }

    /// Lets the world go on until `end`.
    ///
    /// # Errors
    /// A checker found something, or a node stopped that should not have.
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

    fn schedule_beginning(&mut self, ids: &[NodeId]) {
        for id in ids {
            let at = between(Duration::ZERO, Duration::from_millis(100), &mut self.faults_rng);
            self.queue.after(at, Event::Start { node: *id });
        }
        for client in 0..self.swarm.clients {
            self.queue.after(self.swarm.think, Event::Invoke { client });
        }
        self.schedule_watchers();
        self.schedule_lockers();
        self.schedule_sessions();
        self.schedule_administrator();
        self.schedule_gossip();
        self.schedule_faults();
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Frame { from, life, to, frame } => self.on_frame(from, life, to, frame),
            Event::Connected { node, peer, level } if self.machines.contains_key(&node) => {
                self.input(node, Input::PeerConnected { peer, level })
            }
            Event::Disconnected { node, peer } if self.machines.contains_key(&node) => {
                self.input(node, Input::PeerDisconnected(peer));
                self.connect_peer(peer, node);
            }
            Event::Connected { .. } | Event::Disconnected { .. } => {}
            Event::Start { node } => return self.on_start(node),
            Event::Process { node, life, step } => return self.on_step(node, life, *step),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Ambush { node, life } => self.on_ambush(node, life),
            Event::Reconnect => {
                self.trace.milestone(self.queue.now(), &[20], || "partitions end".to_owned());
                self.network.reconnect();
            }
            Event::RoomOnDisk { node } => self.on_room_on_disk(node),
            Event::Invoke { client } => self.on_invoke(client),
            Event::Request { number, node } => self.on_request(number, node),
            Event::Answer { number, answer } => self.on_answer(number, answer),
            Event::GiveUp { number } => self.on_give_up(number),
            Event::Locker { locker } => self.on_locker(locker),
            Event::Session => self.on_session(),
            Event::Administer => self.on_administer(),
            Event::Attend { watcher } => self.on_attend(watcher),
            Event::Gossip(happening) => return self.on_gossip(*happening),
            Event::Told { node, stream } => self.on_told(node, stream),
        }
        Ok(())
    }

    /// A machine that is there.
    #[track_caller]
    fn machine(&mut self, node: NodeId) -> &mut Machine {
        self.machines.get_mut(&node).expect("a machine that is there")
    }

    /// All machines that are there now.
    fn node_ids(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    fn send(&mut self, from: NodeId, to: NodeId, frame: Bytes) {
        let now = self.queue.now();
        self.counts.frames += 1;
        let arrivals = self.network.arrivals(from, to, now, &mut self.network_rng);
        self.trace.note(now, &[5, from.0, to.0, xxh3_64(&frame), arrivals.len() as u64], || {
            let message = PeerMessage::from_wire(frame.clone()).map_or_else(|error| error.to_string(), |message| describe(&message));
            let fate = if arrivals.is_empty() { " (lost)" } else { "" };
            format!("{from} -> {to} {message}{fate}")
        });
        let life = self.machines[&from].life;
        for at in arrivals {
            self.queue.at(at, Event::Frame { from, life, to, frame: frame.clone() });
        }
    }

    fn on_frame(&mut self, from: NodeId, life: u64, to: NodeId, frame: Bytes) {
        // What a sender's system had still to send may be lost with it.
        let is_lost = self.machines.get(&from).is_some_and(|sender| sender.unsent == Some(life));
        if self.machines.contains_key(&to) && !is_lost {
            self.input(to, Input::Frame { from, frame });
        }
    }
}

/// A message in a line of the trace.
fn describe(message: &PeerMessage) -> String {
    const MOST: usize = 300;
    let mut text = shortened(&format!("{message:?}"));
    if text.len() > MOST {
        text.truncate((0..=MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        text.push('…');
    }
    text
}
