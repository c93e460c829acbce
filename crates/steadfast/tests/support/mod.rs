//! A real cluster of processes for tests, and a load on it that remembers what was acknowledged.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod agents;
pub mod etcdctl;
pub mod http;
pub mod load;
pub mod oracle;
pub mod ports;
pub mod redis;
pub mod wild;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use ports::Offset;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

/// Nothing here takes so long unless it is broken, even on a busy machine.
pub const LONG: Duration = Duration::from_secs(90);

/// The program with a clean environment.
pub fn steadfast(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEADFAST_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Asks again until there is an answer.
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    within(LONG, what, attempt)
}

/// The same, for what takes longer by its nature.
pub fn within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let step = Duration::from_millis(20);
    for _ in 0..limit.as_millis() / step.as_millis() {
        if let Some(result) = attempt() {
            return result;
        }
        std::thread::park_timeout(step);
    }
    panic!("{what} did not happen in {} s", limit.as_secs());
}

/// One node's process, as `cluster.json` describes it.
pub struct Node {
    pub name: String,
    pub etcd: String,
    pub peer: String,
    pub admin: String,
    /// Where clients of the Redis protocol reach it; nodes started by hand serve none.
    pub redis: String,
    pub data_dir: PathBuf,
    pub argv: Vec<String>,
    environment: Environment,
    /// `None` while it is known not to run: the number may be another's by then.
    pid: Option<u32>,
    /// Set once it was started by hand.
    process: Option<Child>,
}

/// Settings that the nodes get beside their command line.
pub type Environment = &'static [(&'static str, &'static str)];

/// A running `steadfast dev`, or nodes started by hand; all of them end with the value.
pub struct Cluster {
    pub directory: tempfile::TempDir,
    pub nodes: Vec<Node>,
    environment: Environment,
    offset: Offset,
    dev: Option<Child>,
    /// What commands need to speak with it.
    access: Vec<String>,
}

impl Cluster {
    /// Starts a new cluster of `size` nodes.
    pub fn start(size: usize) -> Self {
        Self::start_with(size, &[])
    }

    /// The same, with settings.
    pub fn start_with(size: usize, environment: Environment) -> Self {
        let mut cluster = Self::empty(environment);
        cluster.start_dev(size);
        cluster
    }

    /// A cluster of one node, started by hand.
    pub fn alone() -> Self {
        let mut cluster = Self::empty(&[]);
        let [_, peer, _] = cluster.addresses(1);
        let mut first = cluster.node_by_hand(1, &["--initial-cluster", &format!("n1={peer}")]);
        first.start_again();
        cluster.nodes.push(first);
        cluster.leader();
        cluster
    }

    /// A cluster, started by hand, that speaks TLS alone, with clients too, who must show a certificate: see [`Cluster::certificates`].
    pub fn secured(size: u16) -> Self {
        let mut cluster = Self::empty(&[]);
        let made = steadfast(&["certs", &cluster.certificate(""), "--hosts", "127.0.0.1"]).output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let files = |pairs: &[(&str, &str)]| -> Vec<String> {
            pairs.iter().flat_map(|(flag, file)| [(*flag).to_owned(), cluster.certificate(file)]).collect()
        };
        let clients = [("--cert-file", "server.crt"), ("--key-file", "server.key"), ("--trusted-ca-file", "ca.crt")];
        let peers = [("--peer-cert-file", "peer.crt"), ("--peer-key-file", "peer.key"), ("--peer-trusted-ca-file", "ca.crt")];
        let founders: Vec<String> = (1..=size).map(|k| format!("n{k}={}", cluster.addresses(k)[1])).collect();
        let flags = [files(&clients), files(&peers), vec!["--initial-cluster".to_owned(), founders.join(",")]].concat();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut nodes: Vec<Node> = (1..=size).map(|k| cluster.node_by_hand(k, &flags)).collect();
        nodes.iter_mut().for_each(Node::start_again);
        cluster.access = files(&[("--cacert", "ca.crt"), ("--cert", "client.crt"), ("--key", "client.key")]);
        cluster.nodes = nodes;
        cluster.leader();
        cluster
    }

    /// The directory with the certificates of a [secured](Cluster::secured) cluster and its clients.
    pub fn certificates(&self) -> PathBuf {
        self.directory.path().join("certificates")
    }

    fn certificate(&self, file: &str) -> String {
        self.certificates().join(file).to_str().expect("UTF-8").to_owned()
    }

    fn empty(environment: Environment) -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let cluster = Cluster { directory, nodes: Vec::new(), environment, offset: Offset::free(), dev: None, access: Vec::new() };
        fs::create_dir_all(cluster.path()).expect("a scratch directory");
        cluster
    }

    /// A node that is to be started by hand; it is not yet one of `nodes`.
    fn node_by_hand(&self, k: u16, flags: &[&str]) -> Node {
        let (name, [etcd, peer, admin]) = (format!("n{k}"), self.addresses(k));
        let data_dir = self.path().join(&name);
        let own = ["--name", &name, "--data-dir", data_dir.to_str().expect("UTF-8")];
        let listen = ["--listen-client", &etcd, "--listen-peer", &peer, "--listen-admin", &admin];
        let argv = [&[PROGRAM, "serve"], &own[..], &listen[..], flags].concat().into_iter().map(String::from).collect();
        Node { name, etcd, peer, admin, redis: String::new(), data_dir, argv, environment: self.environment, pid: None, process: None }
    }

    /// Adds the voter `n{k}`, which has not started. Asks the members that are there before it.
    pub fn add_voter(&self, k: u16) {
        self.add(k, &[]);
    }

    /// The same, of a learner.
    pub fn add_learner(&self, k: u16) {
        self.add(k, &["--learner"]);
    }

    fn add(&self, k: u16, flags: &[&str]) {
        let [_, peer, _] = self.addresses(k);
        let mut command = steadfast(&["member", "add", &format!("n{k}"), "--peer", &peer, "--endpoints", &self.endpoints().join(",")]);
        command.args(flags);
        let added = command.output().expect("it runs");
        assert!(added.status.success(), "`member add` failed: {}", String::from_utf8_lossy(&added.stderr));
    }

    /// Starts the node `n{k}`, which was added before, and makes it the last of `nodes`.
    pub fn join(&mut self, k: u16) {
        let peers: Vec<&str> = self.nodes.iter().map(|node| node.peer.as_str()).collect();
        let mut node = self.node_by_hand(k, &["--join", &peers.join(",")]);
        node.start_again();
        self.nodes.push(node);
    }

    /// Starts the node `n{k}` as a spare, which nobody has added, and makes it the last of `nodes`.
    pub fn start_spare(&mut self, k: u16) {
        let peers: Vec<&str> = self.nodes.iter().map(|node| node.peer.as_str()).collect();
        let mut node = self.node_by_hand(k, &["--role", "spare", "--join", &peers.join(",")]);
        node.start_again();
        self.nodes.push(node);
    }

    /// Waits until this node itself says that it votes.
    pub fn await_vote(&self, at: usize) {
        let name = &self.nodes[at].name;
        eventually(&format!("{name} becoming a voter"), || {
            let role = self.status_of(name)?["role"].as_str()?.to_owned();
            ["follower", "candidate", "leader"].contains(&role.as_str()).then_some(())
        });
    }

    /// Waits until this node has applied nearly all that the others have, under load too.
    pub fn await_catch_up(&self, at: usize) {
        let name = &self.nodes[at].name;
        eventually(&format!("{name} catching up"), || {
            let status = self.status();
            let applied = |node: &Value| node["applied"].as_u64();
            let most = status["nodes"].as_array()?.iter().filter_map(applied).max()?;
            let own = applied(status["nodes"].as_array()?.iter().find(|node| node["name"] == **name)?)?;
            (own > 0 && own + 1000 > most).then_some(())
        });
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn start_dev(&mut self, size: usize) {
        let path = self.path();
        let arguments = [
            "dev",
            "--nodes",
            &size.to_string(),
            "--data-dir",
            path.to_str().expect("UTF-8"),
            "--port-offset",
            &self.offset.value.to_string(),
        ];
        let mut dev =
            steadfast(&arguments).envs(self.environment.iter().copied()).stdout(Stdio::null()).spawn().expect("the program starts");
        let pid = dev.id();
        let text = eventually("a cluster of this run", || {
            assert_eq!(dev.try_wait().expect("a child"), None, "`steadfast dev` ended early");
            let owner = fs::read_to_string(path.join("lock")).ok()?;
            if owner.trim() == pid.to_string() { fs::read_to_string(path.join("cluster.json")).ok() } else { None }
        });
        self.dev = Some(dev);
        let cluster: Value = serde_json::from_str(&text).expect("JSON");
        self.nodes = cluster["nodes"].as_array().expect("a list").iter().map(|node| Node::described(node, self.environment)).collect();
    }

    /// Every process at once, as a power failure ends them; then the cluster again, from its directory.
    pub fn power_failure(&mut self) {
        let size = self.nodes.len();
        self.kill_everything();
        self.start_dev(size);
    }

    /// The nodes first, and none is waited for before all have their signal: one that saw `dev` end would stop in order.
    fn kill_everything(&mut self) {
        for node in &self.nodes {
            node.send_kill();
        }
        if let Some(mut dev) = self.dev.take() {
            dev.kill().expect("it was not waited for");
            dev.wait().expect("a child");
        }
        for node in &mut self.nodes {
            node.await_end();
        }
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.etcd.clone()).collect()
    }

    /// Where one more node can listen: for clients, peers and the admin port.
    pub fn spare_addresses(&self) -> [String; 3] {
        self.addresses(5)
    }

    /// Where the node `n{k}` listens, 1 to 5.
    fn addresses(&self, k: u16) -> [String; 3] {
        [2379, 2380, 7070].map(|base| format!("127.0.0.1:{}", base + 10 * (k - 1) + self.offset.value))
    }

    /// The program's own view of the cluster.
    pub fn status(&self) -> Value {
        let mut command = steadfast(&["status", "--json", "--endpoints", &self.endpoints().join(",")]);
        let output = command.args(&self.access).output().expect("the program starts");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Its membership, as the first node that answers shows it.
    pub fn health(&self) -> Value {
        let mut command = steadfast(&["health", "--json", "--endpoints", &self.endpoints().join(",")]);
        let output = command.args(&self.access).output().expect("the program starts");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What it says of the node with this name.
    pub fn status_of(&self, name: &str) -> Option<Value> {
        self.status()["nodes"].as_array()?.iter().find(|node| node["name"] == name).cloned()
    }

    /// Everything that a node has logged, under `dev` and then by hand.
    pub fn log_of(&self, at: usize) -> String {
        let node = &self.nodes[at];
        let files = [self.path().join("logs").join(format!("{}.log", node.name)), node.own_log()];
        files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
    }

    /// The place in `nodes` of the leader, once there is one.
    pub fn leader(&self) -> usize {
        eventually("a leader", || {
            let status = self.status();
            let name = status["nodes"].as_array()?.iter().find(|node| node["role"] == "leader")?["name"].as_str()?.to_owned();
            self.nodes.iter().position(|node| node.name == name)
        })
    }

    /// Some node that does not lead.
    pub fn follower(&self) -> usize {
        (self.leader() + 1) % self.nodes.len()
    }

    /// Waits until all nodes answer and have applied the same entry.
    pub fn settle(&self) {
        eventually("all nodes at the same entry", || {
            let status = self.status();
            let nodes = status["nodes"].as_array()?;
            let applied: Vec<u64> = nodes.iter().map(|node| node["applied"].as_u64()).collect::<Option<_>>()?;
            (applied.len() >= self.nodes.len() && applied.windows(2).all(|pair| pair[0] == pair[1])).then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (at, node) in self.nodes.iter().enumerate() {
                let text = self.log_of(at);
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- the end of {}'s log\n{}", node.name, lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
        self.kill_everything();
    }
}

impl Node {
    fn described(value: &Value, environment: Environment) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned();
        Node {
            name: text("name"),
            etcd: text("etcd"),
            peer: text("peer"),
            admin: text("admin"),
            redis: text("redis"),
            data_dir: PathBuf::from(text("data_dir")),
            argv: value["argv"].as_array().expect("a list").iter().map(|word| word.as_str().expect("text").to_owned()).collect(),
            environment,
            pid: Some(u32::try_from(value["pid"].as_u64().expect("a number")).expect("a process id")),
            process: None,
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process_id().expect("it was started"), signal).expect("it runs");
    }

    fn process_id(&self) -> Option<Pid> {
        self.pid.map(|pid| i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id"))
    }

    pub fn is_running(&self) -> bool {
        // A process that has ended but was not waited for has no memory.
        self.pid.and_then(resident_bytes).is_some()
    }

    /// The most memory that it ever had resident.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.pid.and_then(|pid| memory_bytes(pid, "VmHWM:")).unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    /// The memory that it has resident now.
    pub fn resident_bytes(&self) -> u64 {
        self.pid.and_then(resident_bytes).unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    /// Its processor time so far, microseconds.
    pub fn cpu_us(&self) -> u64 {
        self.pid.and_then(cpu_us).unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.await_end();
    }

    /// Waits until the process has ended, whoever started it, and its ports are free again.
    pub fn await_end(&mut self) {
        if let Some(mut process) = self.process.take() {
            eventually("the end of a process", || process.try_wait().expect("a child"));
        }
        eventually("the end of a process of another's", || (!self.is_running()).then_some(()));
        eventually("its ports becoming free", || TcpListener::bind(&self.etcd).is_ok().then_some(()));
        self.pid = None;
    }

    fn send_kill(&self) {
        if let Some(id) = self.process_id() {
            // It may have ended before, which is as good.
            let _ = kill_process(id, Signal::KILL);
        }
    }

    /// Its messages, once it is started by hand.
    fn own_log(&self) -> PathBuf {
        self.data_dir.with_extension("by-hand.log")
    }

    /// Whether it has files of a snapshot, of the first that it ever takes over: their names are in a range of their own.
    pub fn receives_snapshot(&self) -> bool {
        let files = fs::read_dir(self.data_dir.join("store")).into_iter().flatten().flatten();
        let id = |name: &str| u64::from_str_radix(name.get(name.len().checked_sub(16)?..)?, 16).ok();
        files.filter_map(|file| id(file.file_name().to_str()?)).any(|id| id >> 40 > 0)
    }

    /// Starts it by the command that `cluster.json` gives, with its messages in a file beside its directory.
    pub fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// The same, with further settings.
    pub fn start_again_with(&mut self, settings: Environment) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.own_log()).expect("a log file");
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .envs(self.environment.iter().chain(settings).copied())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log);
        let process = command.spawn().expect("the program starts");
        self.pid = Some(process.id());
        self.process = Some(process);
    }
}

/// The memory that a process has resident, bytes.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    memory_bytes(pid, "VmRSS:")
}

/// A process's time, its own and the system's for it, microseconds (Linux, proc(5)).
pub fn cpu_us(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; the first field after it is the third, the times are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((ticks(14)? + ticks(15)?) * 10_000)
}

/// What the system says of a process's memory (Linux, proc(5)).
fn memory_bytes(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Starts one more node by hand.
pub fn serve(arguments: &[&str], log: &Path) -> Child {
    let log = fs::File::create(log).expect("a log file");
    let mut command = steadfast(&["serve"]);
    command.args(arguments).stdout(log.try_clone().expect("a handle")).stderr(log);
    command.spawn().expect("the program starts")
}

/// Copies a directory and all that is in it.
pub fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            copy_all(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}
