//! Who runs where: ports, directories and command lines of a `steadfast dev` cluster, and how they are shown. Pure, but for the port check.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::directory::Layout;
use crate::endpoints::Endpoint;
use crate::show;

const ETCD_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const ADMIN_PORT: u16 = 7070;
const REDIS_PORT: u16 = 6379;
/// The ports of one node and the next are this far apart.
const PORT_STEP: u16 = 10;

/// A cluster of `steadfast dev`.
#[derive(Debug)]
pub(super) struct Plan {
    /// Everything's place, absolute.
    pub(super) directory: PathBuf,
    /// In the order of their numbers.
    pub(super) nodes: Vec<NodePlan>,
}

/// One node of it.
#[derive(Debug)]
pub(super) struct NodePlan {
    /// `n1`, `n2`, …
    pub(super) name: String,
    /// Where clients reach it.
    pub(super) etcd: SocketAddr,
    /// Where the other nodes reach it.
    pub(super) peer: SocketAddr,
    /// Health and metrics.
    pub(super) admin: SocketAddr,
    /// Where clients of the Redis protocol reach it.
    pub(super) redis: SocketAddr,
    /// Its own directory.
    pub(super) data_dir: PathBuf,
    /// Where its output goes.
    pub(super) log: PathBuf,
    /// The whole command that starts it, the program first.
    pub(super) argv: Vec<String>,
}

/// `cluster.json`.
#[derive(Serialize)]
pub(super) struct ClusterJson<'a> {
    nodes: Vec<NodeJson<'a>>,
}

#[derive(Serialize)]
struct NodeJson<'a> {
    name: &'a str,
    pid: u32,
    etcd: SocketAddr,
    admin: SocketAddr,
    peer: SocketAddr,
    redis: SocketAddr,
    data_dir: &'a Path,
    argv: &'a [String],
}

impl Plan {
    /// Plans a cluster of this layout in `directory`, run by `program`.
    pub(super) fn new(directory: &Path, layout: Layout, program: &Path) -> Result<Self> {
        let program = program.to_str().with_context(|| format!("the path of this program, {}, is not UTF-8", program.display()))?;
        let last = u32::from(ADMIN_PORT) + u32::from(PORT_STEP) * u32::from(layout.nodes - 1);
        if last + u32::from(layout.port_offset) > u32::from(u16::MAX) {
            bail!("--port-offset {} is too large: the last port would be beyond 65535. Use at most {}", layout.port_offset, 65535 - last);
        }
        let mut nodes: Vec<NodePlan> = (1..=layout.nodes).map(|k| NodePlan::new(directory, layout.port_offset, k)).collect();
        let initial_cluster = nodes.iter().map(|node| format!("{}={}", node.name, node.peer)).collect::<Vec<_>>().join(",");
        for node in &mut nodes {
            node.argv = node.serve(program, &initial_cluster);
        }
        Ok(Plan { directory: directory.to_path_buf(), nodes })
    }

    /// Finds out, by binding each, whether all ports are free. `movable`: the ports may still be changed.
    pub(super) fn check_ports(&self, movable: bool) -> Result<()> {
        for node in &self.nodes {
            let ports =
                [(node.etcd, "the etcd API"), (node.peer, "the peer port"), (node.admin, "the admin port"), (node.redis, "the Redis port")];
            for (address, purpose) in ports {
                if let Err(error) = TcpListener::bind(address) {
                    let remedy = if movable { self.other_ports() } else { "stop what uses it; a node of an earlier run, perhaps".into() };
                    bail!("cannot listen on {address}, {purpose} of {}: {error}: {remedy}", node.name);
                }
            }
        }
        Ok(())
    }

    /// A remedy for a taken port: the first offset whose ports are all free now.
    fn other_ports(&self) -> String {
        let shifted = |address: SocketAddr, by: u16| address.port().checked_add(by).map(|port| SocketAddr::new(address.ip(), port));
        let free = |by: &u16| {
            let addresses = self.nodes.iter().flat_map(|node| [node.etcd, node.peer, node.admin, node.redis]);
            addresses.into_iter().all(|address| shifted(address, *by).is_some_and(|address| TcpListener::bind(address).is_ok()))
        };
        let offset = self.nodes[0].etcd.port() - ETCD_PORT;
        match (1..=50).map(|n| n * 100).find(free) {
            Some(by) => format!("stop what uses it, or start with --port-offset {} (all free now)", offset + by),
            None => "stop what uses it, or move all ports with --port-offset".into(),
        }
    }

    /// The contents of `cluster.json`, given each node's process id.
    pub(super) fn cluster_json(&self, pids: &[u32]) -> ClusterJson<'_> {
        let nodes = self.nodes.iter().zip(pids).map(|(node, &pid)| NodeJson {
            name: &node.name,
            pid,
            etcd: node.etcd,
            admin: node.admin,
            peer: node.peer,
            redis: node.redis,
            data_dir: &node.data_dir,
            argv: &node.argv,
        });
        ClusterJson { nodes: nodes.collect() }
    }
}

impl NodePlan {
    fn new(directory: &Path, offset: u16, k: u8) -> Self {
        let address = |first: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, first + PORT_STEP * u16::from(k - 1) + offset));
        let name = format!("n{k}");
        NodePlan {
            etcd: address(ETCD_PORT),
            peer: address(PEER_PORT),
            admin: address(ADMIN_PORT),
            redis: address(REDIS_PORT),
            data_dir: directory.join(&name),
            log: directory.join("logs").join(format!("{name}.log")),
            name,
            argv: Vec::new(),
        }
    }

    fn serve(&self, program: &str, initial_cluster: &str) -> Vec<String> {
        let flags = [
            ("--name", self.name.clone()),
            ("--data-dir", self.data_dir.display().to_string()),
            ("--listen-client", self.etcd.to_string()),
            ("--listen-peer", self.peer.to_string()),
            ("--listen-admin", self.admin.to_string()),
            ("--listen-redis", self.redis.to_string()),
            ("--initial-cluster", initial_cluster.to_string()),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]);
        [program.to_string(), "serve".to_string()].into_iter().chain(flags).collect()
    }

    /// Where clients reach it.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::from(self.etcd)
    }

    /// The command that starts it, for a shell.
    pub(super) fn command_line(&self) -> String {
        self.argv.iter().map(|word| show::shell_word(word)).collect::<Vec<_>>().join(" ")
    }
}

/// The nodes as people read them. `roles` has a word for each node.
pub(super) fn table(plan: &Plan, pids: &[u32], roles: &[String], missing: &[(usize, String)]) -> String {
    let rows = plan.nodes.iter().enumerate().map(|(k, node)| {
        let absent = missing.iter().any(|(missing, _)| *missing == k);
        let (role, pid) = if absent { ("not serving".into(), "-".into()) } else { (roles[k].clone(), pids[k].to_string()) };
        vec![node.name.clone(), role, node.etcd.to_string(), node.redis.to_string(), node.peer.to_string(), node.admin.to_string(), pid]
    });
    show::table(&["NODE", "ROLE", "ETCD API", "REDIS", "PEERS", "ADMIN", "PID"], &["PID"], rows)
}

/// Commands that work as they are printed. `leader`: its name and process id.
pub(super) fn what_to_try(plan: &Plan, program: &str, leader: Option<(String, u32)>) -> String {
    let endpoints = plan.nodes.iter().map(|node| node.etcd.to_string()).collect::<Vec<_>>().join(",");
    let mut text = format!(
        "Try, in another terminal:
  export STEADFAST_ENDPOINTS={endpoints}
  {program} kv put greeting hello
  {program} kv get greeting
  {program} status
  etcdctl --endpoints={endpoints} get greeting
  redis-cli -p {} set greeting hello\n",
        plan.nodes[0].redis.port()
    );
    if let Some((name, pid)) = leader {
        text += &format!("  kill -9 {pid}    # {name}, {}\n", what_its_end_means(plan.nodes.len()));
    }
    text + "\nCtrl-C stops all nodes; the data stays."
}

/// What follows when the leader of so many nodes is killed.
fn what_its_end_means(nodes: usize) -> &'static str {
    match nodes {
        1 => "the only node: nothing is served until you start it again; its data stays",
        2 => "the leader: the other alone is no majority, and serves again once both run; the data stays",
        _ => "the leader: the others elect a new one, and nothing is lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(nodes: u8, port_offset: u16) -> Plan {
        Plan::new(Path::new("/data"), Layout { nodes, port_offset }, Path::new("/bin/steadfast")).expect("a valid layout")
    }

    #[test]
    fn ports_are_ten_apart_and_offset() {
        let plan = plan(3, 1000);
        let third = &plan.nodes[2];
        assert_eq!((third.etcd.port(), third.peer.port(), third.admin.port()), (3399, 3400, 8090));
        assert_eq!(third.name, "n3");
        assert_eq!(third.data_dir, Path::new("/data/n3"));
        assert_eq!(third.log, Path::new("/data/logs/n3.log"));
    }

    #[test]
    fn the_command_line_is_complete() {
        let expected = "/bin/steadfast serve --name n2 --data-dir /data/n2 --listen-client 127.0.0.1:2389 --listen-peer 127.0.0.1:2390 \
                        --listen-admin 127.0.0.1:7080 --listen-redis 127.0.0.1:6389 --initial-cluster n1=127.0.0.1:2380,n2=127.0.0.1:2390";
        assert_eq!(plan(2, 0).nodes[1].command_line(), expected);
    }

    #[test]
    fn no_port_of_the_largest_cluster_is_used_twice() {
        let plan = plan(9, 0);
        let mut ports: Vec<_> = plan.nodes.iter().flat_map(|node| [node.etcd, node.peer, node.admin, node.redis]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 36);
    }

    #[test]
    fn an_offset_beyond_the_last_port_is_refused_with_the_largest_that_fits() {
        let layout = |port_offset| Layout { nodes: 3, port_offset };
        Plan::new(Path::new("/data"), layout(58445), Path::new("/bin/steadfast")).expect("the largest fits");
        let error = Plan::new(Path::new("/data"), layout(58446), Path::new("/bin/steadfast")).expect_err("too large");
        assert!(error.to_string().ends_with("Use at most 58445"), "{error}");
    }

    #[test]
    fn a_taken_port_is_named_with_its_user_and_a_remedy() {
        let mut plan = plan(1, 30000);
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        plan.nodes[0].peer = taken.local_addr().expect("bound");
        let error = plan.check_ports(true).expect_err("taken").to_string();
        assert!(error.contains("the peer port of n1"), "{error}");
        assert!(error.contains("--port-offset"), "{error}");
        let error = plan.check_ports(false).expect_err("taken").to_string();
        assert!(error.ends_with("stop what uses it; a node of an earlier run, perhaps"), "{error}");
    }

    #[test]
    fn cluster_json_has_its_shape() {
        let plan = plan(1, 0);
        let json = serde_json::to_value(plan.cluster_json(&[42])).expect("plain data");
        let node = &json["nodes"][0];
        assert_eq!(node["name"], "n1");
        assert_eq!(node["pid"], 42);
        assert_eq!(node["etcd"], "127.0.0.1:2379");
        assert_eq!(node["admin"], "127.0.0.1:7070");
        assert_eq!(node["peer"], "127.0.0.1:2380");
        assert_eq!(node["redis"], "127.0.0.1:6379");
        assert_eq!(node["data_dir"], "/data/n1");
        assert_eq!(node["argv"][0], "/bin/steadfast");
        assert_eq!(node["argv"][1], "serve");
    }

    #[test]
    fn the_introduction_fits_a_terminal() {
        let plan = plan(3, 20000);
        let roles = ["leader", "follower", "follower"].map(String::from);
        let text = table(&plan, &[4_194_301, 4_194_302, 4_194_303], &roles, &[(2, "ended".into())]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("not serving"), "{text}");
        let text = what_to_try(&plan, "steadfast", Some(("n1".into(), 4_194_301)));
        assert!(text.contains("kill -9 4194301 "), "{text}");
    }

    #[test]
    fn what_a_killed_leader_means_depends_on_how_many_remain() {
        let text = |nodes| what_to_try(&plan(nodes, 0), "steadfast", Some(("n1".into(), 42)));
        assert!(!text(1).contains("elect") && !text(2).contains("elect"));
        assert!(text(1).contains("kill -9 42    # n1, the only node: nothing is served until"), "{}", text(1));
        assert!(text(2).contains("the other alone is no majority"), "{}", text(2));
        assert!(text(3).contains("the others elect a new one"), "{}", text(3));
    }
}
