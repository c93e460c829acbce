//! Agents of a real cluster, each on a loopback address of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::{Cluster, eventually, serve};

/// An agent on a loopback address of its own, so that the ports of the cluster's first node are free there.
pub struct Agent {
    pub name: String,
    directory: PathBuf,
    pub peer: String,
    pub admin: String,
    flags: Vec<String>,
    process: Option<Child>,
}

impl Agent {
    /// The agent `a{k}` of this cluster, running.
    pub fn start(cluster: &Cluster, k: usize, flags: &[&str]) -> Self {
        Self::start_named(cluster, &format!("a{k}"), k, flags)
    }

    pub fn start_named(cluster: &Cluster, name: &str, k: usize, flags: &[&str]) -> Self {
        let at = |address: &str| format!("127.0.1.{k}:{}", address.rsplit_once(':').expect("a port").1);
        let agent = Agent {
            name: name.to_owned(),
            directory: cluster.directory.path().join(format!("agent{k}")),
            peer: at(&cluster.nodes[0].peer),
            admin: at(&cluster.nodes[0].admin),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            process: None,
        };
        agent.begun(cluster)
    }

    /// The same, reached by the others at another address, where somebody passes on what comes.
    pub fn start_behind(cluster: &Cluster, k: usize, advertised: &str, flags: &[&str]) -> Self {
        Self::start(cluster, k, &[&["--advertise-peer", advertised], flags].concat())
    }

    fn begun(mut self, cluster: &Cluster) -> Self {
        self.begin(cluster);
        self
    }

    /// The memory that it has resident now.
    pub fn resident_bytes(&self) -> u64 {
        self.process.as_ref().and_then(|process| super::resident_bytes(process.id())).expect("it runs")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    /// Starts it, again by the same command.
    pub fn begin(&mut self, cluster: &Cluster) {
        let servers: Vec<&str> = cluster.nodes.iter().map(|node| node.peer.as_str()).collect();
        let servers = servers.join(",");
        let own = ["--role", "agent", "--name", &self.name, "--data-dir", self.directory.to_str().expect("UTF-8")];
        let listen = ["--listen-peer", &self.peer, "--listen-admin", &self.admin, "--join", &servers];
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.process = Some(serve(&[&own[..], &listen[..], &flags].concat(), &self.log()));
    }

    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it was not waited for");
        process.wait().expect("a child");
    }

    /// Its end by itself: whether it was a good one, and all that it logged.
    pub fn await_end(&mut self) -> (bool, String) {
        // It stays this one's to end until it has ended.
        let process = self.process.as_mut().expect("it runs");
        let status = eventually("the end of an agent", || process.try_wait().expect("a child"));
        self.process = None;
        (status.success(), fs::read_to_string(self.log()).expect("a log"))
    }

    pub fn terminate(&self) {
        let id = self.process.as_ref().and_then(|process| Pid::from_raw(i32::try_from(process.id()).ok()?)).expect("it runs");
        kill_process(id, Signal::TERM).expect("it runs");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of {}\n{}", self.name, fs::read_to_string(self.log()).unwrap_or_default());
        }
        if self.process.is_some() {
            self.kill();
        }
    }
}
