//! A real cluster of processes for tests, and a load on it that remembers what was acknowledged.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod etcdctl;
pub mod load;
pub mod wild;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

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
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let step = Duration::from_millis(20);
    for _ in 0..LONG.as_millis() / step.as_millis() {
        if let Some(result) = attempt() {
            return result;
        }
        std::thread::park_timeout(step);
    }
    panic!("{what} did not happen in {} s", LONG.as_secs());
}

/// One node's process, as `cluster.json` describes it.
pub struct Node {
    pub name: String,
    pub etcd: String,
    pub peer: String,
    pub admin: String,
    pub data_dir: PathBuf,
    pub argv: Vec<String>,
    pid: u32,
    /// Set once it was started again by hand.
    process: Option<Child>,
}

/// A running `steadfast dev`; it and its nodes end with the value.
pub struct Cluster {
    pub directory: tempfile::TempDir,
    pub nodes: Vec<Node>,
    offset: u16,
    dev: Option<Child>,
}

impl Cluster {
    /// Starts a new cluster of `size` nodes.
    pub fn start(size: usize) -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let mut cluster = Cluster { directory, nodes: Vec::new(), offset: free_offset(), dev: None };
        cluster.start_dev(size);
        cluster
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn start_dev(&mut self, size: usize) {
        let path = self.path();
        let arguments =
            ["dev", "--nodes", &size.to_string(), "--data-dir", path.to_str().expect("UTF-8"), "--port-offset", &self.offset.to_string()];
        let mut dev = steadfast(&arguments).stdout(Stdio::null()).spawn().expect("the program starts");
        let pid = dev.id();
        let text = eventually("a cluster of this run", || {
            assert_eq!(dev.try_wait().expect("a child"), None, "`steadfast dev` ended early");
            let owner = fs::read_to_string(path.join("lock")).ok()?;
            if owner.trim() == pid.to_string() { fs::read_to_string(path.join("cluster.json")).ok() } else { None }
        });
        self.dev = Some(dev);
        let cluster: Value = serde_json::from_str(&text).expect("JSON");
        self.nodes = cluster["nodes"].as_array().expect("a list").iter().map(Node::described).collect();
    }

    /// Every process at once, as a power failure ends them; then the cluster again, from its directory.
    pub fn power_failure(&mut self) {
        let size = self.nodes.len();
        self.kill_everything();
        self.start_dev(size);
    }

    fn kill_everything(&mut self) {
        if let Some(mut dev) = self.dev.take() {
            dev.kill().expect("it runs");
            dev.wait().expect("a child");
        }
        for node in &mut self.nodes {
            node.kill_if_alive();
        }
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.etcd.clone()).collect()
    }

    /// Where one more node can listen: for clients, peers and the admin port.
    pub fn spare_addresses(&self) -> [String; 3] {
        [2379, 2380, 7070].map(|base| format!("127.0.0.1:{}", base + 40 + self.offset))
    }

    /// The program's own view of the cluster.
    pub fn status(&self) -> Value {
        let output = steadfast(&["status", "--json", "--endpoints", &self.endpoints().join(",")]).output().expect("the program starts");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
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
            for node in &self.nodes {
                let log = self.path().join("logs").join(format!("{}.log", node.name));
                let text = fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- the end of {}'s log\n{}", node.name, lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
        self.kill_everything();
    }
}

impl Node {
    fn described(value: &Value) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned();
        Node {
            name: text("name"),
            etcd: text("etcd"),
            peer: text("peer"),
            admin: text("admin"),
            data_dir: PathBuf::from(text("data_dir")),
            argv: value["argv"].as_array().expect("a list").iter().map(|word| word.as_str().expect("text").to_owned()).collect(),
            pid: u32::try_from(value["pid"].as_u64().expect("a number")).expect("a process id"),
            process: None,
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process_id(), signal).expect("it runs");
    }

    fn process_id(&self) -> Pid {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a process id")
    }

    pub fn is_running(&self) -> bool {
        // A process that has ended but was not waited for has no memory.
        self.memory_line("VmRSS:").is_some()
    }

    /// The most memory that it ever had resident.
    pub fn peak_memory_bytes(&self) -> u64 {
        let line = self.memory_line("VmHWM:").unwrap_or_else(|| panic!("{} does not run", self.name));
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1024
    }

    /// What the system says of its memory (Linux, proc(5)).
    fn memory_line(&self, field: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find(|line| line.starts_with(field)).map(str::to_owned)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.await_end();
    }

    /// Waits until its ports are free again.
    pub fn await_end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.wait().expect("a child");
        }
        eventually("the end of a process", || TcpListener::bind(&self.etcd).is_ok().then_some(()));
    }

    fn kill_if_alive(&mut self) {
        // It may have ended before, which is as good.
        let _ = kill_process(self.process_id(), Signal::KILL);
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
        eventually("the end of a process", || TcpListener::bind(&self.etcd).is_ok().then_some(()));
    }

    /// Starts it by the command that `cluster.json` gives, with its messages in a file beside its directory.
    pub fn start_again(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.data_dir.with_extension("by-hand.log")).expect("a log file");
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).stdout(log.try_clone().expect("a handle")).stderr(log);
        let process = command.spawn().expect("the program starts");
        self.pid = process.id();
        self.process = Some(process);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// An offset whose ports were free a moment ago.
pub fn free_offset() -> u16 {
    let bases: Vec<u16> = (0..5).flat_map(|k| [2379, 2380, 7070].map(|port| port + 10 * k)).collect();
    let first = u16::try_from(std::process::id() % 100).expect("below 100") * 100 + 12_000;
    let mut offsets = (first..first + 8_000).step_by(100);
    offsets.find(|offset| bases.iter().all(|base| TcpListener::bind(("127.0.0.1", base + offset)).is_ok())).expect("a free range of ports")
}

/// Starts one more node by hand.
pub fn serve(arguments: &[&str], log: &Path) -> Child {
    let log = fs::File::create(log).expect("a log file");
    let mut command = steadfast(&["serve"]);
    command.args(arguments).stdout(log.try_clone().expect("a handle")).stderr(log);
    command.spawn().expect("the program starts")
}
