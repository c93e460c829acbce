//! The membership under faults of the network and in hostile hands: real nodes, real sockets.
//!
//! These tests start many processes: `cargo test -p steadfast --test gossip -- --ignored --test-threads=2`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::agents::Agent;
use support::{Cluster, Environment, eventually, http, steadfast};

const FAULTS: Environment = &[("STEADFAST_FAULTS", "true")];

/// Resident memory that no node of these tests comes near, bytes.
const MUCH_MEMORY: u64 = 256 * 1024 * 1024;

/// Every member by its name: its state and its incarnation, as the node with this admin port holds them.
fn members(admin: &str) -> BTreeMap<String, (String, String)> {
    let (_, text) = http::ask(admin, "GET", "/members", &[], "", None);
    let members: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let field = |member: &Value, name: &str| member[name].as_str().unwrap_or_else(|| panic!("{name} in {member}")).to_owned();
    members.iter().map(|member| (field(member, "name"), (field(member, "state"), field(member, "incarnation")))).collect()
}

/// Waits until all of these hold this member to be in this state.
fn await_seen(admins: &[String], name: &str, state: &str) {
    eventually(&format!("{name} being {state}"), || {
        admins.iter().all(|admin| members(admin).get(name).is_some_and(|(seen, _)| seen == state)).then_some(())
    });
}

fn await_all_healthy(admins: &[String], count: usize) {
    eventually("all seeing all healthy", || {
        let is_well = |seen: &BTreeMap<String, (String, String)>| seen.len() == count && seen.values().all(|(state, _)| state == "healthy");
        admins.iter().all(|admin| is_well(&members(admin))).then_some(())
    });
}

fn admins(cluster: &Cluster, agents: &[&Agent]) -> Vec<String> {
    cluster.nodes.iter().map(|node| node.admin.clone()).chain(agents.iter().map(|agent| agent.admin.clone())).collect()
}

fn metric(admin: &str, name: &str) -> u64 {
    let (_, text) = http::ask(admin, "GET", "/metrics", &[], "", None);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

fn set_faults(admin: &str, table: &str) {
    let (head, text) = http::ask(admin, "PUT", "/faults", &[], table, None);
    assert_eq!(head.status, 200, "{text}");
}

#[test]
#[ignore = "starts a cluster of processes and breaks the network of some; takes a minute"]
fn faults_reach_servers_and_agents_in_each_direction() {
    let cluster = Cluster::start_with(3, FAULTS);
    let agents: Vec<Agent> = (1..=3).map(|k| Agent::start(&cluster, k, &["--faults"])).collect();
    let all = admins(&cluster, &agents.iter().collect::<Vec<_>>());
    await_all_healthy(&all, 6);
    let others = |at: usize| all.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, admin)| admin.clone()).collect::<Vec<_>>();
    let (server, agent) = (others(2), others(3));
    for (faulty, seen_by, name, table) in [
        (&all[2], &server, "n3", r#"{"drop_from":["n1","n2","a1","a2","a3"]}"#),
        (&all[3], &agent, "a1", r#"{"drop_to":["n1","n2","n3","a2","a3"]}"#),
        (&all[3], &agent, "a1", r#"{"delay_ms":10000}"#),
    ] {
        set_faults(faulty, table);
        await_seen(seen_by, name, "failed");
        set_faults(faulty, "{}");
        await_all_healthy(&all, 6);
    }
    // Who loses every datagram is still reached by stream.
    let before = members(&all[0]);
    let dropped = || metric(&all[4], "steadfast_gossip_packets_dropped_total ");
    let begin = dropped();
    set_faults(&all[4], r#"{"loss_percent":100}"#);
    eventually("many packets lost", || (dropped() > begin + 100).then_some(()));
    set_faults(&all[4], "{}");
    await_all_healthy(&all, 6);
    assert_eq!(members(&all[0]), before, "nobody was found dead, so nobody had to contradict it");
    let (head, text) = http::ask(&all[3], "PUT", "/faults", &[], r#"{"drop_to":["a9"]}"#, None);
    assert!(head.status == 400 && text.contains("a9"), "{text}");
}

#[test]
#[ignore = "starts a cluster of processes"]
fn health_that_is_watched_says_what_changes() {
    let cluster = Cluster::start(3);
    let mut agent = Agent::start(&cluster, 1, &[]);
    await_all_healthy(&admins(&cluster, &[&agent]), 4);
    let mut command = steadfast(&["health", "--watch", "--json", "--endpoints", &cluster.endpoints().join(",")]);
    let mut watch = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut state = || {
        let line = lines.next().expect("another line").expect("text");
        let shown: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let agent = shown["nodes"].as_array().expect("a list").iter().find(|node| node["name"] == "a1").expect("it").clone();
        agent["state"].as_str().expect("text").to_owned()
    };
    assert_eq!(state(), "healthy");
    agent.kill();
    while state() != "failed" {}
    agent.begin(&cluster);
    while state() != "healthy" {}
    watch.kill().expect("it runs");
    watch.wait().expect("a child");
}

#[test]
#[ignore = "starts a cluster of processes"]
fn gossip_takes_part_behind_tls_between_peers() {
    let cluster = Cluster::secured(3);
    eventually("three healthy members", || {
        let shown = cluster.health();
        let nodes = shown["nodes"].as_array()?;
        (nodes.len() == 3 && nodes.iter().all(|node| node["state"] == "healthy")).then_some(())
    });
    // The whole list comes by stream alone, and that is the peers' port, which speaks TLS.
    for at in 0..3 {
        eventually("its part in the membership", || cluster.log_of(at).contains("this node takes part in the membership").then_some(()));
    }
}

/// Stands before a node, passes on what others send to it and it answers, and keeps all of it.
struct Recorder {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    fn start(at: &str, to: &str) -> Self {
        let recorder = Recorder { kept: Arc::default(), stop: Arc::default() };
        let (kept, stop, to) = (recorder.kept.clone(), recorder.stop.clone(), to.to_owned());
        let front = listening(at);
        std::thread::spawn(move || {
            // Whom a packet comes from is seen by where the node's answer goes: a socket for each sender.
            let mut backs: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
            pass_on(&front, &kept, &stop, |packet, from| {
                let back = backs.entry(from).or_insert_with(|| answering(from, &front, &kept, &stop));
                // The node may be away.
                let _ = back.send_to(packet, &to);
            });
        });
        recorder
    }

    fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.lock().expect("whole").clone()
    }
}

fn listening(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).expect("a free address");
    socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).expect("a limit");
    socket
}

/// A socket for what one sender sends; what comes back on it goes back to that one.
fn answering(from: SocketAddr, front: &UdpSocket, kept: &Arc<Mutex<Vec<Vec<u8>>>>, stop: &Arc<AtomicBool>) -> UdpSocket {
    let back = listening("127.0.2.1:0");
    let (answers, front) = (back.try_clone().expect("a handle"), front.try_clone().expect("a handle"));
    let (kept, stop) = (kept.clone(), stop.clone());
    std::thread::spawn(move || {
        pass_on(&answers, &kept, &stop, |packet, _| {
            // The same.
            let _ = front.send_to(packet, from);
        })
    });
    back
}

fn pass_on(socket: &UdpSocket, kept: &Mutex<Vec<Vec<u8>>>, stop: &AtomicBool, mut pass: impl FnMut(&[u8], SocketAddr)) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            kept.lock().expect("whole").push(buffer[..length].to_vec());
            pass(&buffer[..length], from);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sends all of these to a node, none faster than it takes them.
fn send_all(socket: &UdpSocket, (peer, admin): (&str, &str), packets: &[Vec<u8>]) {
    for packets in packets.chunks(50) {
        let before = metric(admin, "steadfast_gossip_packets_received_total ");
        for packet in packets {
            socket.send_to(packet, peer).expect("sent");
        }
        eventually("packets taken", || {
            (metric(admin, "steadfast_gossip_packets_received_total ") >= before + packets.len() as u64).then_some(())
        });
    }
}

/// What a packet can become on its way: cut, and with a bit turned over.
fn damaged(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut turned = packet.to_vec();
    turned[fastrand::usize(..packet.len())] ^= 1 << fastrand::u8(..8);
    vec![packet[..fastrand::usize(..packet.len())].to_vec(), turned]
}

#[test]
#[ignore = "starts a cluster of processes and floods it; takes a minute"]
fn what_was_recorded_damaged_or_made_up_changes_nothing_in_a_cluster_with_keys() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let key = scratch.path().join("key");
    fs::write(&key, "5a".repeat(32)).expect("a file");
    let key: &'static str = Box::leak(key.to_str().expect("UTF-8").to_owned().into_boxed_str());
    let cluster = Cluster::start_with(3, Box::leak(Box::new([("STEADFAST_GOSSIP_KEY_FILE", key)])));
    let flags = ["--gossip-key-file", key];
    let mut agents: Vec<Agent> = (1..=3).map(|k| Agent::start(&cluster, k, &flags)).collect();
    // Everything that others send to the fourth passes through hostile hands.
    let at = |host: &str, address: &str| format!("{host}:{}", address.rsplit_once(':').expect("a port").1);
    let (outside, inside) = (at("127.0.2.1", &cluster.nodes[0].peer), at("127.0.1.4", &cluster.nodes[0].peer));
    let recorder = Recorder::start(&outside, &inside);
    agents.push(Agent::start_behind(&cluster, 4, &outside, &flags));
    let all = |agents: &[Agent]| admins(&cluster, &agents.iter().collect::<Vec<_>>());
    await_all_healthy(&all(&agents), 7);

    // The state moves on: one died and lives again, another one has left.
    agents[0].kill();
    await_seen(&all(&agents[1..]), "a1", "failed");
    agents[0].begin(&cluster);
    await_seen(&all(&agents), "a1", "healthy");
    agents[1].terminate();
    assert!(agents[1].await_end().0);
    let mut gone = agents.remove(1);
    await_seen(&all(&agents), "a2", "left");
    // A suspicion is nobody's word but one's own, and over in a moment.
    let now = || {
        eventually("nobody being suspected", || {
            let seen: Vec<_> = all(&agents).iter().map(|admin| members(admin)).collect();
            seen.iter().all(|seen| seen.values().all(|(state, _)| state != "suspect")).then_some(seen)
        })
    };
    let before = now();
    assert!(before.iter().all(|seen| seen["a1"] == ("healthy".to_owned(), "2.0".to_owned()) && seen["a2"].0 == "left"), "{before:?}");

    let recorded = eventually("fifty packets", || Some(recorder.kept()).filter(|kept| kept.len() > 50));
    let mut packets: Vec<Vec<u8>> = recorded.iter().flat_map(|packet| damaged(packet)).chain(recorded.iter().cloned()).collect();
    packets.extend((0..200usize).map(|k| (0..k * 7).map(|_| fastrand::u8(..)).collect()));
    fastrand::shuffle(&mut packets);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let nodes: Vec<(String, String)> = cluster.nodes.iter().map(|node| (node.peer.clone(), node.admin.clone())).collect();
    for (peer, admin) in &nodes {
        let unopened = metric(admin, "steadfast_gossip_packets_unopened_total ");
        send_all(&socket, (peer, admin), &packets);
        assert!(metric(admin, "steadfast_gossip_packets_unopened_total ") > unopened);
    }
    send_all(&socket, (&agents[0].peer, &agents[0].admin), &packets);
    assert_eq!(now(), before);

    // A flood: the node answers meanwhile, keeps its memory, and is there afterwards.
    let (peer, admin) = &nodes[0];
    let received = || metric(admin, "steadfast_gossip_packets_received_total ");
    let begin = received();
    eventually("a flood taken", || {
        packets.iter().for_each(|packet| drop(socket.send_to(packet, peer)));
        (received() > begin + 100_000).then_some(())
    });
    assert!(cluster.nodes[0].resident_bytes() < MUCH_MEMORY && agents[0].resident_bytes() < MUCH_MEMORY);
    gone.begin(&cluster);
    agents.push(gone);
    await_all_healthy(&all(&agents), 7);
    let after = members(admin);
    assert_eq!((&*after["a1"].1, &*after["a3"].1), ("2.0", "1.0"), "nobody had to contradict a word about itself: {after:?}");
}
