//! Real servers and agents find out who lives, and `steadfast health` shows it.
//!
//! These tests start many processes: `cargo test -p steadfast --test health -- --ignored --test-threads=2`.

mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Cluster, eventually, http, serve, steadfast};

/// An agent on a loopback address of its own, so that the ports of the cluster's first node are free there.
struct Agent {
    name: String,
    directory: PathBuf,
    peer: String,
    admin: String,
    flags: Vec<String>,
    process: Option<Child>,
}

impl Agent {
    /// The agent `a{k}` of this cluster, running.
    fn start(cluster: &Cluster, k: usize, flags: &[&str]) -> Self {
        Self::start_named(cluster, &format!("a{k}"), k, flags)
    }

    fn start_named(cluster: &Cluster, name: &str, k: usize, flags: &[&str]) -> Self {
        let at = |address: &str| format!("127.0.1.{k}:{}", address.rsplit_once(':').expect("a port").1);
        let mut agent = Agent {
            name: name.to_owned(),
            directory: cluster.directory.path().join(format!("agent{k}")),
            peer: at(&cluster.nodes[0].peer),
            admin: at(&cluster.nodes[0].admin),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            process: None,
        };
        agent.begin(cluster);
        agent
    }

    fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    /// Starts it, again by the same command.
    fn begin(&mut self, cluster: &Cluster) {
        let servers: Vec<&str> = cluster.nodes.iter().map(|node| node.peer.as_str()).collect();
        let servers = servers.join(",");
        let own = ["--role", "agent", "--name", &self.name, "--data-dir", self.directory.to_str().expect("UTF-8")];
        let listen = ["--listen-peer", &self.peer, "--listen-admin", &self.admin, "--join", &servers];
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.process = Some(serve(&[&own[..], &listen[..], &flags].concat(), &self.log()));
    }

    fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it was not waited for");
        process.wait().expect("a child");
    }

    /// Its end by itself: whether it was a good one, and all that it logged.
    fn await_end(&mut self) -> (bool, String) {
        // It stays this one's to end until it has ended.
        let process = self.process.as_mut().expect("it runs");
        let status = eventually("the end of an agent", || process.try_wait().expect("a child"));
        self.process = None;
        (status.success(), fs::read_to_string(self.log()).expect("a log"))
    }

    fn terminate(&self) {
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

/// What the server at this client address shows, without how long it has been so.
fn health(server: &str) -> Value {
    let output = steadfast(&["health", "--json", "--endpoints", server]).output().expect("it runs");
    let mut shown: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let is_well = shown["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(|node| node["state"] == "healthy"));
    assert_eq!(output.status.success(), is_well, "{shown}");
    for node in shown["nodes"].as_array_mut().into_iter().flatten() {
        node.as_object_mut().expect("a node").remove("since_ms");
    }
    shown
}

fn node(shown: &Value, name: &str) -> Option<Value> {
    shown["nodes"].as_array()?.iter().find(|node| node["name"] == name).cloned()
}

fn views(cluster: &Cluster) -> Vec<Value> {
    cluster.endpoints().iter().map(|server| health(server)).collect()
}

/// Waits until every server shows so many nodes, all healthy.
fn await_all_healthy(cluster: &Cluster, count: usize) {
    eventually("all seeing all healthy", || {
        let is_well = |shown: &Value| {
            let nodes = shown["nodes"].as_array();
            nodes.is_some_and(|nodes| nodes.len() == count && nodes.iter().all(|node| node["state"] == "healthy"))
        };
        views(cluster).iter().all(is_well).then_some(())
    });
}

/// Waits until every server shows this node in this state.
fn await_state(cluster: &Cluster, name: &str, state: &str) -> Vec<Value> {
    eventually(&format!("{name} being {state}"), || {
        let seen: Option<Vec<Value>> = views(cluster).iter().map(|shown| node(shown, name).filter(|node| node["state"] == state)).collect();
        seen
    })
}

fn metric(admin: &str, name: &str) -> u64 {
    let (_, text) = http::ask(admin, "GET", "/metrics", &[], "", None);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

/// Packets that others send to the place of a node that was just killed.
fn captured(address: &str, count: usize) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind(address).expect("it was killed");
    socket.set_read_timeout(Some(support::LONG)).expect("a limit");
    let mut buffer = [0; 2048];
    (0..count).map(|_| socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).expect("a packet")).collect()
}

#[test]
#[ignore = "starts a cluster of processes and kills some; takes half a minute"]
fn servers_and_agents_see_who_lives() {
    let cluster = Cluster::start(3);
    let mut agents: Vec<Agent> = (1..=5).map(|k| Agent::start(&cluster, k, &[])).collect();
    await_all_healthy(&cluster, 8);
    let (ready, _) = http::ask(&agents[0].admin, "GET", "/readyz", &[], "", None);
    assert_eq!(ready.status, 200);

    agents[0].kill();
    for seen in await_state(&cluster, "a1", "failed") {
        assert!(seen["witnesses"].as_array().expect("a list").len() >= 2 && seen["role"] == "agent", "{seen}");
    }
    agents[0].begin(&cluster);
    for seen in await_state(&cluster, "a1", "healthy") {
        assert!(seen["incarnation"].as_str().expect("text").starts_with("2."), "{seen}");
    }

    agents[1].terminate();
    await_state(&cluster, "a2", "left");
    let (is_good, log) = agents[1].await_end();
    assert!(is_good, "{log}");
}

#[test]
#[ignore = "starts a cluster of processes and stops one for seconds"]
fn a_server_that_stood_still_condemns_nobody() {
    let cluster = Cluster::start(3);
    let _agents: Vec<Agent> = (1..=2).map(|k| Agent::start(&cluster, k, &[])).collect();
    await_all_healthy(&cluster, 5);
    let still = cluster.follower();
    cluster.nodes[still].signal(Signal::STOP);
    std::thread::park_timeout(Duration::from_secs(3));
    cluster.nodes[still].signal(Signal::CONT);
    let received = || metric(&cluster.nodes[still].admin, "steadfast_gossip_packets_received_total ");
    let begin = received();
    eventually("many rounds more", || (received() > begin + 100).then_some(()));
    await_all_healthy(&cluster, 5);
    let log = cluster.log_of(still);
    assert!(log.contains("this node stood still"), "{log}");
    for (at, node) in cluster.nodes.iter().enumerate() {
        let log = cluster.log_of(at);
        let condemned = log.lines().filter(|line| line.contains("a member was found dead"));
        let others: Vec<&str> = condemned.filter(|line| !line.contains(&format!("member=\"{}\"", cluster.nodes[still].name))).collect();
        assert!(others.is_empty(), "{}: {others:?}", node.name);
    }
}

#[test]
#[ignore = "starts two clusters of processes"]
fn forged_foreign_and_replayed_packets_change_nothing() {
    let (cluster, other) = (Cluster::start(3), Cluster::alone());
    let mut agents: Vec<Agent> = (1..=2).map(|k| Agent::start(&cluster, k, &[])).collect();
    let mut stranger = Agent::start(&other, 9, &[]);
    await_all_healthy(&cluster, 5);
    await_all_healthy(&other, 2);
    agents[1].kill();
    let replayed = captured(&agents[1].peer, 6);
    stranger.kill();
    let foreign = captured(&stranger.peer, 2);
    await_state(&cluster, "a2", "failed");

    let before = views(&cluster);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let random: Vec<Vec<u8>> = (0..200usize).map(|k| (0..k * 10).map(|_| fastrand::u8(..)).collect()).collect();
    for node in &cluster.nodes {
        let counts = || {
            let names = ["received", "malformed", "foreign", "oversized"];
            names.map(|name| metric(&node.admin, &format!("steadfast_gossip_packets_{name}_total ")))
        };
        let begin = counts();
        for (sent, packet) in (1..).zip(random.iter().chain(&foreign).chain(&replayed)) {
            socket.send_to(packet, &node.peer).expect("sent");
            // One after the other, so that none is lost in a full buffer.
            eventually("a packet taken", || (counts()[0] >= begin[0] + sent).then_some(()));
        }
        let end = counts();
        assert!(end[1] > begin[1] && end[2] >= begin[2] + 2 && end[3] > begin[3], "{begin:?} {end:?}");
    }
    assert_eq!(views(&cluster), before);
}

#[test]
#[ignore = "starts a cluster of processes"]
fn who_has_another_key_is_not_heard() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let file = |name: &str, keys: &[&str]| {
        let path = scratch.path().join(name);
        fs::write(&path, keys.iter().map(|key| key.repeat(32) + "\n").collect::<String>()).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (old, rotated, wrong) = (file("old", &["ab"]), file("rotated", &["ab", "cd"]), file("wrong", &["ef"]));
    let environment: support::Environment = Box::leak(Box::new([("STEADFAST_GOSSIP_KEY_FILE", &*Box::leak(old.into_boxed_str()))]));
    let cluster = Cluster::start_with(3, environment);
    let _good = Agent::start(&cluster, 1, &["--gossip-key-file", &rotated]);
    let bad = Agent::start(&cluster, 2, &["--gossip-key-file", &wrong]);
    let plain = Agent::start(&cluster, 3, &[]);
    await_all_healthy(&cluster, 4);
    let unopened = |node: &support::Node| metric(&node.admin, "steadfast_gossip_packets_unopened_total ");
    eventually("packets refused", || (cluster.nodes.iter().map(unopened).sum::<u64>() >= 4).then_some(()));
    for agent in [&bad, &plain] {
        let (ready, text) = http::ask(&agent.admin, "GET", "/readyz", &[], "", None);
        assert!(ready.status == 503 && text.contains("no member has answered"), "{text}");
    }
    await_all_healthy(&cluster, 4);
}

#[test]
#[ignore = "starts a cluster of processes"]
fn the_younger_of_two_agents_with_one_name_is_told() {
    let cluster = Cluster::start(3);
    let _elder = Agent::start_named(&cluster, "twin", 1, &[]);
    let second = || {
        let made = tempfile::tempfile().and_then(|file| file.metadata()?.modified()).expect("a file");
        made.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
    };
    await_all_healthy(&cluster, 4);
    let born = second();
    // Directories know the second they were made in; of two of one second it is not said which is the elder.
    eventually("the next second", || (second() > born).then_some(()));
    let mut younger = Agent::start_named(&cluster, "twin", 2, &[]);
    let (is_good, log) = younger.await_end();
    assert!(!is_good && log.contains("the name `twin` is taken by the node at 127.0.1.1:"), "{log}");
    // And an agent's directory is for its cluster, and for an agent.
    let other = Cluster::alone();
    await_all_healthy(&cluster, 4);
    let mut moved = Agent::start(&cluster, 3, &[]);
    await_all_healthy(&cluster, 5);
    moved.kill();
    moved.begin(&other);
    let (is_good, log) = moved.await_end();
    assert!(!is_good && log.contains("belongs to an agent of cluster"), "{log}");
}
