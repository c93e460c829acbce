//! The cluster that a drill is run on: one of its own, one of `steadfast dev` by its directory, or any by its endpoints.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};
use serde::Deserialize;
use steadfast_server::fault_table::FaultRequest;
use tokio::time::Instant;

use super::declaration::{Declaration, Need};
use super::http;
use super::limited_disk::LimitedDisk;
use super::process::{Life, Process};
use crate::endpoints::Endpoint;

/// A node that starts is ready by then, on a busy machine too.
const READY_WAIT: Duration = Duration::from_secs(30);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(20);

/// What `--against` names.
#[derive(Clone, Debug)]
pub(super) enum Against {
    /// A cluster that the drill starts and ends.
    Own,
    /// The directory of a `steadfast dev`.
    Directory(PathBuf),
    /// Client addresses.
    Endpoints(Vec<Endpoint>),
}

/// A cluster.
pub(super) struct Cluster {
    /// Its nodes; none if only endpoints are known.
    pub(super) nodes: Vec<Node>,
    /// Where clients reach it, in the order of the nodes.
    pub(super) endpoints: Vec<Endpoint>,
    life: Life,
    /// Its file systems are unmounted before its directory goes.
    pub(super) disks: Vec<LimitedDisk>,
    /// `None`: it is somebody else's.
    directory: Option<tempfile::TempDir>,
}

/// One node.
pub(super) struct Node {
    /// Its name.
    pub(super) name: String,
    /// Where its peers reach it.
    pub(super) peer: String,
    /// Where its faults are set.
    pub(super) admin: String,
    /// Where its data is.
    pub(super) data_dir: PathBuf,
    /// The command that starts it.
    pub(super) argv: Vec<String>,
    /// Its messages.
    pub(super) log: PathBuf,
    /// It.
    pub(super) process: Process,
    /// The faults that it is to inject, each with the number of what asks for it.
    pub(super) faults: BTreeMap<usize, FaultRequest>,
}

#[derive(Deserialize)]
struct ClusterFile {
    nodes: Vec<NodeFile>,
}

#[derive(Deserialize)]
struct NodeFile {
    name: String,
    etcd: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    peer: std::net::SocketAddr,
    data_dir: PathBuf,
    argv: Vec<String>,
}

impl Against {
    /// Reads the argument: a directory if there is one of that name, endpoints otherwise.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Against::Directory(path.to_owned()));
        }
        if text.contains("https://") {
            return Err("drills speak plain text: give a cluster whose client ports do".into());
        }
        if text.contains('/') && !text.starts_with("http://") {
            return Err(format!("there is no directory {text:?}: give the --data-dir of a `steadfast dev`, or client addresses"));
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Against::Endpoints)
    }

    /// Why this drill can't be run there, if so.
    pub(super) async fn refuses(&self, drill: &Declaration) -> Option<String> {
        for (need, kind) in drill.needs() {
            match (self, need) {
                (Against::Own, _) if drill.disk_mib.is_some() && !geteuid().is_root() => {
                    return Some("a small file system can be mounted by root alone: run this drill as root".into());
                }
                (Against::Own, _) | (Against::Directory(_), Need::Processes) => {}
                (Against::Directory(_), Need::OwnCluster) => {
                    return Some(format!("a {kind} is for a cluster of the drill's own: leave --against out"));
                }
                (Against::Directory(path), Need::FaultTable) => {
                    if let Some(reason) = without_table(path).await {
                        return Some(format!("a {kind} needs nodes that inject faults, and {reason}"));
                    }
                }
                (Against::Endpoints(_), _) => {
                    let remedy = "give the directory of a `steadfast dev` on this machine, or leave --against out";
                    return Some(format!("a {kind} needs the nodes' processes, and endpoints alone do not lead to them: {remedy}"));
                }
            }
        }
        None
    }

    /// The cluster, ready to serve.
    pub(super) async fn open(&self, drill: &Declaration) -> Result<Cluster> {
        match self {
            Against::Own => Cluster::start(drill).await,
            Against::Directory(path) => Cluster::of_directory(path),
            Against::Endpoints(endpoints) => {
                Ok(Cluster { nodes: Vec::new(), endpoints: endpoints.clone(), life: Life::OnItsOwn, disks: Vec::new(), directory: None })
            }
        }
    }
}

/// Why the nodes of a `steadfast dev` can't inject faults, if so.
async fn without_table(path: &Path) -> Option<String> {
    let remedy = "start it with STEADFAST_FAULTS=true steadfast dev";
    let file = match read_cluster_file(path) {
        Ok(file) => file,
        Err(error) => return Some(format!("{error:#}")),
    };
    for node in file.nodes {
        match http::call(&node.admin.to_string(), "GET", "/faults", String::new()).await {
            Ok((200, _)) => {}
            Ok(_) => return Some(format!("{} was not started for that: {remedy}", node.name)),
            Err(error) => return Some(format!("{} does not answer ({error:#}): {remedy}", node.name)),
        }
    }
    None
}

fn read_cluster_file(path: &Path) -> Result<ClusterFile> {
    let file = path.join("cluster.json");
    let text = fs::read(&file).with_context(|| format!("cannot read {}: is a `steadfast dev` running there?", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not of this version's form", file.display()))
}

impl Cluster {
    /// One that is to get nodes of the drill's own, in this directory.
    pub(super) fn without_nodes(directory: tempfile::TempDir) -> Self {
        Cluster { nodes: Vec::new(), endpoints: Vec::new(), life: Life::WithDrill, disks: Vec::new(), directory: Some(directory) }
    }

    /// Where its nodes have their files.
    ///
    /// # Panics
    /// If the cluster is not the drill's own.
    pub(super) fn path(&self) -> &Path {
        self.directory.as_ref().expect("a cluster of the drill's own").path()
    }

    async fn start(drill: &Declaration) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("steadfast-drill-").tempdir().context("cannot make a temporary directory")?;
        let program = std::env::current_exe()?.to_str().context("the path of this program is not UTF-8")?.to_owned();
        let names: Vec<String> = (1..=drill.nodes).map(|k| format!("n{k}")).collect();
        let ports = free_ports(names.len())?;
        let peers: Vec<String> = names.iter().zip(&ports).map(|(name, [_, peer, _])| format!("{name}={peer}")).collect();
        let mut cluster = Cluster::without_nodes(directory);
        for (name, [etcd, peer, admin]) in names.iter().zip(&ports) {
            let (data_dir, log) = (cluster.path().join(name), cluster.path().join(format!("{name}.log")));
            if let Some(size) = drill.disk_mib {
                cluster.disks.push(LimitedDisk::mount(&data_dir, size)?);
            }
            let mut argv = vec![program.clone(), "serve".into()];
            let listen = [("listen-client", etcd), ("listen-peer", peer), ("listen-admin", admin)].map(|(name, at)| (name, at.clone()));
            let own = [("name", name.clone()), ("data-dir", node_directory(&data_dir, drill)), ("initial-cluster", peers.join(","))];
            argv.extend(own.into_iter().chain(listen).flat_map(|(flag, value)| [format!("--{flag}"), value]));
            argv.extend(drill.settings.iter().map(|(name, value)| format!("--{name}={}", plain(value))));
            cluster.endpoints.push(etcd.parse().map_err(anyhow::Error::msg)?);
            let process = Process::start(&argv, &log, Life::WithDrill)?;
            cluster.nodes.push(Node {
                name: name.clone(),
                peer: peer.clone(),
                admin: admin.clone(),
                data_dir: node_directory(&data_dir, drill).into(),
                argv,
                log,
                process,
                faults: BTreeMap::new(),
            });
        }
        cluster.await_ready().await?;
        Ok(cluster)
    }

    fn of_directory(path: &Path) -> Result<Self> {
        let file = read_cluster_file(path)?;
        let endpoints = file.nodes.iter().map(|node| Endpoint::from(node.etcd)).collect();
        let node = |node: NodeFile| {
            let process = Process::find(&node.argv).with_context(|| format!("{} of {}", node.name, path.display()))?;
            Ok(Node {
                log: path.join("logs").join(format!("{}.log", node.name)),
                name: node.name,
                peer: node.peer.to_string(),
                admin: node.admin.to_string(),
                data_dir: node.data_dir,
                argv: node.argv,
                process,
                faults: BTreeMap::new(),
            })
        };
        let nodes = file.nodes.into_iter().map(node).collect::<Result<_>>()?;
        Ok(Cluster { nodes, endpoints, life: Life::OnItsOwn, disks: Vec::new(), directory: None })
    }

    /// Starts a node's process again; it injects the faults that it is to inject.
    pub(super) async fn start_node(&mut self, at: usize) -> Result<()> {
        let life = self.life;
        let node = &mut self.nodes[at];
        if node.process.runs() {
            return Ok(());
        }
        node.process = Process::start(&node.argv, &node.log, life)?;
        if !node.faults.is_empty() {
            node.await_answer().await?;
            node.push_faults(0).await?;
        }
        Ok(())
    }

    /// Waits until every node is ready.
    pub(super) async fn await_ready(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.await_ready().await?;
        }
        Ok(())
    }

    /// The end of what a node has said, for people.
    pub(super) fn last_words(&self, lines: usize) -> String {
        let tail = |node: &Node| {
            let text = fs::read_to_string(&node.log).unwrap_or_default();
            let all: Vec<&str> = text.lines().collect();
            format!("--- the end of {}'s log\n{}", node.name, all[all.len().saturating_sub(lines)..].join("\n"))
        };
        self.nodes.iter().map(tail).collect::<Vec<_>>().join("\n")
    }

    /// Heals what a drill may have left behind, and ends a cluster of its own.
    pub(super) async fn close(mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.process.signal(Signal::CONT)?;
            if self.life == Life::WithDrill {
                node.process.signal(Signal::KILL)?;
                node.process.ended().await?;
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.life == Life::WithDrill {
            for node in &mut self.nodes {
                // On the way out of an error: what can't be ended ends when its pipe closes.
                let _ = node.process.signal(Signal::KILL);
                if let Process::Child(child) = &mut node.process {
                    let _ = child.wait();
                }
            }
            return;
        }
        for node in &mut self.nodes {
            node.heal_at_once();
        }
    }
}

impl Node {
    /// Tells the node all faults that it is to inject now, and lets its clock jump.
    pub(super) async fn push_faults(&self, clock_jump_ms: u64) -> Result<()> {
        let mut all = FaultRequest { clock_jump_ms, ..FaultRequest::default() };
        for fault in self.faults.values() {
            all.drop_from.extend(fault.drop_from.iter().cloned());
            all.drop_to.extend(fault.drop_to.iter().cloned());
            all.delay_ms = all.delay_ms.max(fault.delay_ms);
            all.loss_percent = all.loss_percent.max(fault.loss_percent);
            all.slow_sync_ms = all.slow_sync_ms.max(fault.slow_sync_ms);
        }
        match http::call(&self.admin, "PUT", "/faults", serde_json::to_string(&all)?).await? {
            (200, _) => Ok(()),
            (code, text) => bail!("{} refuses its faults with status {code}: {}", self.name, text.trim()),
        }
    }

    async fn await_answer(&mut self) -> Result<()> {
        self.await_status("/livez").await
    }

    /// Waits until it is ready to serve.
    pub(super) async fn await_ready(&mut self) -> Result<()> {
        self.await_status("/readyz").await
    }

    async fn await_status(&mut self, path: &'static str) -> Result<()> {
        let give_up = Instant::now() + READY_WAIT;
        let mut said = String::from("nothing");
        while Instant::now() < give_up {
            if !self.process.runs() {
                bail!("{} has ended; the end of its log: {}", self.name, self.last_line());
            }
            match http::call(&self.admin, "GET", path, String::new()).await {
                Ok((200, _)) => return Ok(()),
                Ok((_, text)) => said = text.trim().to_owned(),
                Err(error) => said = format!("{error:#}"),
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("{} is not ready after {} s; it says: {said}", self.name, READY_WAIT.as_secs());
    }

    fn last_line(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().next_back().unwrap_or("(empty)").to_owned()
    }
}

impl Node {
    /// Leaves somebody's node without faults, when a drill is broken off. What is left to do is said.
    fn heal_at_once(&mut self) {
        let resumed = self.process.signal(Signal::CONT);
        let has_faults = !self.faults.is_empty() && self.process.runs();
        let is_told = !has_faults || matches!(http::call_at_once(&self.admin, "DELETE", "/faults", String::new()), Ok((200, _)));
        if resumed.is_err() || !is_told {
            eprintln!("steadfast: {} may still have faults: restart it, or send DELETE /faults to {}", self.name, self.admin);
        }
        if !self.process.runs() {
            eprintln!("steadfast: {} was left down; start it again with: {}", self.name, self.argv.join(" "));
        }
    }
}

/// On a small file system a node's own directory is one below, so that it can be emptied.
fn node_directory(data_dir: &Path, drill: &Declaration) -> String {
    let own = if drill.disk_mib.is_some() { data_dir.join("data") } else { data_dir.to_owned() };
    own.display().to_string()
}

/// A setting's value as the command line takes it.
fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Addresses that were free a moment ago: for clients, peers and the admin port of each node.
pub(super) fn free_ports(nodes: usize) -> Result<Vec<[String; 3]>> {
    let listeners = (0..3 * nodes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>().context("no free port")?;
    let addresses = listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect::<Result<Vec<_>>>()?;
    let of_node = |chunk: &[String]| [chunk[0].clone(), chunk[1].clone(), chunk[2].clone()];
    Ok(addresses.chunks(3).map(of_node).collect())
}
