//! For tests: nodes on disks in memory, driven by hand, one step of time after the other.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_consensus::Role;
use steadfast_state::command::{Command, Member, Put};
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::log::LogOptions;
use steadfast_storage::tables::TablesOptions;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Configuration, Instant, Level, NodeId};

use crate::start::{Bootstrap, Opened, Options, open};
use crate::{Answer, AutoCompaction, Autopilot, Input, Job, LogDriver, Node, Notice, Outputs, PeerMessage, Repair, Request, RequestBody};

pub(crate) type Running = (Box<Node<u64, MemoryDisk>>, Box<LogDriver<MemoryDisk>>);

/// A node as it is.
pub(crate) enum Up {
    Running(Running),
    Repairing(Box<Repair<MemoryDisk>>),
    /// Why it did not come up, or stopped.
    Down(String),
}

pub(crate) struct Machine {
    pub(crate) disk: MemoryDisk,
    pub(crate) up: Up,
    level: Level,
    inputs: Vec<Input<u64, MemoryDisk>>,
    jobs: Vec<Job<MemoryDisk>>,
}

impl Machine {
    fn new(disk: MemoryDisk, up: Up) -> Self {
        Machine { disk, up, level: Level::NEWEST, inputs: vec![], jobs: vec![] }
    }
}

/// How often a frame arrives.
pub(crate) type Network<'a> = &'a mut dyn FnMut(NodeId, NodeId, &PeerMessage) -> usize;

pub(crate) struct Cluster {
    pub(crate) machines: BTreeMap<NodeId, Machine>,
    pub(crate) answers: Vec<(u64, Answer)>,
    pub(crate) notices: Vec<(NodeId, Notice)>,
    now: Instant,
    lives: u64,
    next: u64,
    size: u64,
    /// The level that it began at.
    founded: Level,
    memtable_bytes: usize,
    autopilot: Autopilot,
    /// Of the nodes that are started from now on; 0: none.
    pub(crate) quota_bytes: u64,
    /// A node whose background work gets no time.
    pub(crate) starved: Option<NodeId>,
    /// Changes what a node is sent.
    pub(crate) tamper: fn(NodeId, &mut PeerMessage),
}

/// History that a cluster keeps.
pub(crate) const KEPT_REVISIONS: u64 = 1000;

/// Blocks of tables that a node keeps in memory, bytes.
pub(crate) const CACHE_BYTES: usize = 32 * 1024;

fn options(id: NodeId, life: u64, memtable_bytes: usize, (autopilot, level): (Autopilot, Level)) -> Options {
    Options {
        id,
        incarnation: life,
        seed: life,
        heartbeat_interval: Duration::from_millis(50),
        election_timeout: Duration::from_millis(300),
        lease_reads: false,
        request_timeout: Duration::from_secs(5),
        append_bytes: 1 << 20,
        recent_entry_bytes: 1 << 20,
        log_retention_bytes: 4096,
        log: LogOptions { segment_bytes: 16 * 1024 },
        tables: TablesOptions { memtable_bytes, cache_bytes: CACHE_BYTES, block_bytes: 512, ..TablesOptions::default() },
        auto_compaction: AutoCompaction::Revisions(KEPT_REVISIONS),
        autopilot,
        level,
        events: false,
        quota_bytes: 0,
        lost_tables: None,
    }
}

fn bootstrap(size: u64, level: Level) -> Bootstrap {
    let ids = || (1..=size).map(NodeId);
    let member = |id: NodeId| Member { id, peer_urls: vec![format!("http://{id}")], ..Member::default() };
    Bootstrap { configuration: Configuration::of_voters(ids()), members: ids().map(member).collect(), level }
}

impl Cluster {
    /// Nodes whose tables are flushed often.
    pub(crate) fn new(size: u64) -> Self {
        Self::with_memtable(size, 2048)
    }

    pub(crate) fn with_memtable(size: u64, memtable_bytes: usize) -> Self {
        Self::with(size, memtable_bytes, 0, Autopilot::default(), Level::NEWEST)
    }

    pub(crate) fn with_autopilot(size: u64, autopilot: Autopilot) -> Self {
        Self::with(size, 2048, 0, autopilot, Level::NEWEST)
    }

    pub(crate) fn with_quota(size: u64, quota_bytes: u64) -> Self {
        Self::with(size, 64 << 10, quota_bytes, Autopilot::default(), Level::NEWEST)
    }

    /// Of nodes that were upgraded since they founded it.
    pub(crate) fn founded_at(founded: Level, size: u64) -> Self {
        Self::with(size, 2048, 0, Autopilot::default(), founded)
    }

    fn with(size: u64, memtable_bytes: usize, quota_bytes: u64, autopilot: Autopilot, founded: Level) -> Self {
        let (machines, now) = (BTreeMap::new(), Instant(1));
        let mut cluster = Cluster {
            machines,
            answers: vec![],
            notices: vec![],
            now,
            lives: 0,
            next: 0,
            size,
            founded,
            memtable_bytes,
            autopilot,
            quota_bytes,
            starved: None,
            tamper: |_, _| (),
        };
        for id in 1..=size {
            cluster.start(NodeId(id), MemoryDisk::new());
        }
        cluster
    }

    /// Starts or restarts a node on this disk.
    pub(crate) fn start(&mut self, id: NodeId, disk: MemoryDisk) -> &Up {
        self.start_at(Level::NEWEST, id, disk)
    }

    /// The same, of a release that knows `level`.
    pub(crate) fn start_at(&mut self, level: Level, id: NodeId, disk: MemoryDisk) -> &Up {
        self.lives += 1;
        let policies = (self.autopilot, level);
        let options = Options { quota_bytes: self.quota_bytes, ..options(id, self.lives, self.memtable_bytes, policies) };
        let up = match open(&disk, options, bootstrap(self.size, self.founded), self.now) {
            Ok(opened) => Up::from(opened),
            Err(error) => Up::Down(error.to_string()),
        };
        self.enter(id, level, Machine::new(disk, up));
        &self.machines[&id].up
    }

    /// Starts a node on an empty disk that was added to the cluster.
    pub(crate) fn join(&mut self, id: NodeId) {
        self.lives += 1;
        let (disk, level) = (MemoryDisk::new(), Level::NEWEST);
        let opened = open(
            &disk,
            options(id, self.lives, self.memtable_bytes, (self.autopilot, level)),
            bootstrap(self.size, self.founded),
            self.now,
        )
        .expect("an empty disk");
        self.enter(id, level, Machine::new(disk, Up::from(opened)));
    }

    /// The machine, and its connections to and from all others.
    fn enter(&mut self, id: NodeId, level: Level, mut machine: Machine) {
        machine.level = level;
        for (other, its) in &mut self.machines {
            its.inputs.push(Input::PeerConnected { peer: id, level });
            machine.inputs.push(Input::PeerConnected { peer: *other, level: its.level });
        }
        self.machines.insert(id, machine);
    }

    pub(crate) fn stop(&mut self, id: NodeId) -> MemoryDisk {
        let machine = self.machines.get_mut(&id).expect("a machine");
        machine.up = Up::Down("stopped".into());
        machine.inputs.clear();
        machine.jobs.clear();
        machine.disk.clone()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node<u64, MemoryDisk> {
        match &self.machines[&id].up {
            Up::Running((node, _)) => node,
            Up::Repairing(repair) => panic!("{id} misses {}", repair.missing()),
            Up::Down(why) => panic!("{id} is down: {why}"),
        }
    }

    pub(crate) fn step(&mut self, network: Network<'_>) {
        self.now = self.now + Duration::from_millis(10);
        for id in self.machines.keys().copied().collect::<Vec<_>>() {
            let machine = self.machines.get_mut(&id).expect("a machine");
            let inputs = std::mem::take(&mut machine.inputs);
            let out = match &mut machine.up {
                Up::Running((node, _)) => node.turn(self.now, inputs),
                Up::Repairing(repair) => repair.turn(self.now, inputs),
                Up::Down(_) => continue,
            };
            self.carry_out(id, out, network);
        }
    }

    fn carry_out(&mut self, id: NodeId, out: Outputs<u64, MemoryDisk>, network: Network<'_>) {
        let machine = self.machines.get_mut(&id).expect("a machine");
        if let Up::Running((_, driver)) = &mut machine.up
            && !out.log.is_empty()
        {
            machine.inputs.push(Input::LogDone(driver.run(out.log).expect("the disk is well")));
        }
        machine.jobs.extend(out.jobs);
        if self.starved != Some(id) {
            machine.inputs.extend(machine.jobs.drain(..).map(|job| Input::JobDone(job.run())));
        }
        if let Up::Repairing(repair) = &machine.up
            && repair.is_done()
        {
            let Up::Repairing(repair) = std::mem::replace(&mut machine.up, Up::Down("repaired".into())) else { unreachable!() };
            machine.up = Up::from(repair.finish(self.now).expect("a repaired node comes up"));
        }
        if out.notices.iter().any(|notice| matches!(notice, Notice::TablesDamaged(_))) {
            let Up::Running((node, driver)) = std::mem::replace(&mut machine.up, Up::Down("opening again".into())) else { unreachable!() };
            drop(driver);
            machine.inputs.clear();
            machine.jobs.clear();
            machine.up = Up::from(node.reopen(self.now).expect("the peers are asked"));
        }
        if let Some(Notice::Fault(why)) = out.notices.iter().find(|notice| matches!(notice, Notice::Fault(_))) {
            machine.up = Up::Down(why.clone());
        }
        self.notices.extend(out.notices.into_iter().map(|notice| (id, notice)));
        self.answers.extend(out.answers);
        for (to, frame) in out.frames {
            let mut message = PeerMessage::from_wire(frame).expect("nodes send well formed frames");
            (self.tamper)(to, &mut message);
            let frame: Bytes = message.to_wire().into();
            for _ in 0..network(id, to, &message) {
                if let Some(machine) = self.machines.get_mut(&to) {
                    machine.inputs.push(Input::Frame { from: id, frame: frame.clone() });
                }
            }
        }
    }

    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, message: &PeerMessage) {
        let frame = message.to_wire().into();
        self.machines.get_mut(&to).expect("a machine").inputs.push(Input::Frame { from, frame });
    }

    pub(crate) fn run(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step(&mut |_, _, _| 1));
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads = |machine: &Machine| matches!(&machine.up, Up::Running((node, _)) if node.status().consensus.role == Role::Leader && node.status().established);
        self.machines.iter().find(|(_, machine)| leads(machine)).map(|(id, _)| *id)
    }

    pub(crate) fn ask(&mut self, id: NodeId, body: RequestBody) -> u64 {
        self.next += 1;
        let deadline = self.now + Duration::from_secs(5);
        let request = Request { slot: self.next, deadline, body };
        self.machines.get_mut(&id).expect("a machine").inputs.push(Input::Request(request));
        self.next
    }

    /// Writes so many keys of `bytes` each through `id`, one after the other, each answered.
    pub(crate) fn write(&mut self, id: NodeId, count: usize, bytes: usize) {
        for at in 0..count {
            let put = Put { key: format!("key {at}").into(), value: vec![at as u8; bytes].into(), ..Put::default() };
            let slot = self.ask(id, RequestBody::Propose(Command::Put(put)));
            for _ in 0..500 {
                self.run(1);
                if self.answers.iter().any(|(answered, _)| *answered == slot) {
                    break;
                }
            }
            let answer = self.answers.iter().find(|(answered, _)| *answered == slot).map(|(_, answer)| answer);
            assert!(matches!(answer, Some(Answer::Applied(response)) if response.result.is_ok()), "{answer:?}");
        }
    }

    /// Runs until all nodes run and have the same state; whether that came within so many steps.
    pub(crate) fn converges(&mut self, steps: usize, network: Network<'_>) -> bool {
        for _ in 0..steps {
            self.step(network);
            let states = self.machines.values().map(|machine| match &machine.up {
                Up::Running((node, _)) => Some((node.state().applied(), node.state().hash())),
                Up::Repairing(_) | Up::Down(_) => None,
            });
            let states: Vec<_> = states.collect();
            if self.leader().is_some() && states[0].is_some() && states.iter().all(|state| *state == states[0]) {
                return true;
            }
        }
        false
    }
}

impl From<Opened<u64, MemoryDisk>> for Up {
    fn from(opened: Opened<u64, MemoryDisk>) -> Self {
        match opened {
            Opened::Running(node, driver) => Up::Running((node, driver)),
            Opened::Repairing(repair) => Up::Repairing(repair),
        }
    }
}

impl core::fmt::Display for Up {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Up::Running((node, _)) => write!(f, "running from {}", node.state().applied()),
            Up::Repairing(repair) => write!(f, "repairing {}", repair.missing()),
            Up::Down(why) => f.write_str(why),
        }
    }
}
