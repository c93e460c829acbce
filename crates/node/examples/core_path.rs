//! What a request costs inside of three nodes, everything but sockets and threads: turns, frames, log, tables, answers. Run by
//! `cargo xtask instructions`, which counts the instructions of `measured` with callgrind.
//!
//! Usage: `core_path put|read|read-follower BATCH REQUESTS`: so many requests, so many of which come in at once.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use steadfast_node::start::{self, Bootstrap, Opened, Options};
use steadfast_node::{Answer, AutoCompaction, Autopilot, Input, LogDriver, Node, Request, RequestBody};
use steadfast_state::command::{Command, Member, Put};
use steadfast_storage::disk::FileDisk;
use steadfast_storage::log::LogOptions;
use steadfast_storage::tables::TablesOptions;
use steadfast_types::time::Duration;
use steadfast_types::{Configuration, Instant, Level, NodeId, Rng, limits};

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: u64 = 3;
const KEYS: u32 = 10_000;
const VALUE_BYTES: usize = 256;
/// Requests before those that count.
const WARM_UP: usize = 5_000;

type Turn = Input<u64, FileDisk>;

struct Running {
    node: Box<Node<u64, FileDisk>>,
    log: Box<LogDriver<FileDisk>>,
    inbox: Vec<Turn>,
}

struct Cluster {
    nodes: Vec<Running>,
    /// Whose turn it is.
    due: VecDeque<usize>,
    now: Instant,
    answered: usize,
    rng: Rng,
}

impl Cluster {
    fn start(directory: &Path) -> Self {
        let ids: Vec<NodeId> = (1..=NODES).map(NodeId).collect();
        let member =
            |id: &NodeId| Member { id: *id, name: format!("n{id}"), peer_urls: vec![format!("http://n{id}")], ..Member::default() };
        let bootstrap = Bootstrap {
            configuration: Configuration::of_voters(ids.iter().copied()),
            members: ids.iter().map(member).collect(),
            level: Level::NEWEST,
        };
        let now = Instant(1);
        let node = |id: &NodeId| {
            let disk = FileDisk::open(directory.join(id.to_string())).expect("a directory");
            match start::open(&disk, options(*id), bootstrap.clone(), now).expect("a new node starts") {
                Opened::Running(node, log) => Running { node, log, inbox: Vec::new() },
                Opened::Repairing(_) => unreachable!("a new node is whole"),
            }
        };
        let mut cluster = Cluster { nodes: ids.iter().map(node).collect(), due: VecDeque::new(), now, answered: 0, rng: Rng::with_seed(7) };
        for at in 0..cluster.nodes.len() {
            for peer in ids.iter().filter(|peer| peer.0 as usize != at + 1) {
                cluster.input(at, Input::PeerConnected { peer: *peer, level: Level::NEWEST });
            }
        }
        cluster.settle();
        cluster
    }

    fn input(&mut self, at: usize, input: Turn) {
        self.nodes[at].inbox.push(input);
        if !self.due.contains(&at) {
            self.due.push_back(at);
        }
    }

    /// Until nobody has anything to do now.
    fn settle(&mut self) {
        while let Some(at) = self.due.pop_front() {
            self.turn(at);
        }
    }

    fn turn(&mut self, at: usize) {
        let inputs = std::mem::take(&mut self.nodes[at].inbox);
        let outputs = self.nodes[at].node.turn(self.now, inputs);
        for (to, frame) in outputs.frames {
            self.input(to.0 as usize - 1, Input::Frame { from: NodeId(at as u64 + 1), frame });
        }
        if !outputs.log.is_empty() {
            let done = self.nodes[at].log.run(outputs.log).expect("the disk works");
            self.input(at, Input::LogDone(done));
        }
        for job in outputs.jobs {
            self.input(at, Input::JobDone(job.run()));
        }
        self.answered += outputs.answers.iter().filter(|(_, answer)| matches!(answer, Answer::Applied(_) | Answer::Readable)).count();
    }

    fn tick(&mut self) {
        self.now = self.now + Duration::from_millis(10);
        for at in 0..self.nodes.len() {
            self.turn(at);
        }
        self.settle();
    }

    fn leader(&mut self) -> usize {
        loop {
            if let Some(at) = self.nodes.iter().position(|running| running.node.consensus().is_established_leader()) {
                return at;
            }
            self.tick();
        }
    }

    /// So many at once, at one node, to their answers.
    fn ask(&mut self, at: usize, batch: usize, body: impl Fn(&mut Rng) -> RequestBody) {
        let wanted = self.answered + batch;
        for slot in 0..batch as u64 {
            let body = body(&mut self.rng);
            self.input(at, Input::Request(Request { slot, deadline: self.now + Duration::from_secs(60), body }));
        }
        self.settle();
        while self.answered < wanted {
            self.tick();
        }
    }
}

fn options(id: NodeId) -> Options {
    Options {
        id,
        incarnation: id.0,
        seed: id.0,
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_secs(1),
        lease_reads: false,
        request_timeout: Duration::from_secs(5),
        append_bytes: limits::APPEND_BYTES,
        recent_entry_bytes: limits::RECENT_ENTRY_BYTES,
        log_retention_bytes: 64 << 20,
        level: Level::NEWEST,
        log: LogOptions::default(),
        tables: TablesOptions::default(),
        auto_compaction: AutoCompaction::Off,
        autopilot: Autopilot::default(),
        events: true,
        quota_bytes: 0,
        lost_tables: None,
    }
}

fn put(rng: &mut Rng) -> RequestBody {
    let key = format!("load/{:012}", rng.u32(0..KEYS)).into();
    RequestBody::Propose(Command::Put(Put { key, value: Bytes::from(vec![7; VALUE_BYTES]), ..Put::default() }))
}

#[inline(never)]
fn measured(cluster: &mut Cluster, at: usize, batch: usize, requests: usize, body: impl Fn(&mut Rng) -> RequestBody) {
    for _ in 0..requests / batch {
        cluster.ask(at, batch, &body);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, batch, requests] = &arguments[..] else { panic!("give put|read|read-follower, BATCH and REQUESTS") };
    let (batch, requests): (usize, usize) = (batch.parse().expect("a number"), requests.parse().expect("a number"));
    let directory = std::env::temp_dir().join(format!("steadfast-core-path-{}", std::process::id()));
    let mut cluster = Cluster::start(&directory);
    let leader = cluster.leader();
    for _ in 0..WARM_UP / 50 {
        cluster.ask(leader, 50, put);
    }
    let follower = (leader + 1) % cluster.nodes.len();
    match work.as_str() {
        "put" => measured(&mut cluster, leader, batch, requests, put),
        "read" => measured(&mut cluster, leader, batch, requests, |_| RequestBody::Linearize),
        "read-follower" => measured(&mut cluster, follower, batch, requests, |_| RequestBody::Linearize),
        other => panic!("{other:?}: give put, read or read-follower"),
    }
    drop(cluster);
    std::fs::remove_dir_all(&directory).expect("its own directory");
}
