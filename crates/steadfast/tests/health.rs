//! Real servers and agents find out who lives, and `steadfast health` shows it.
//!
//! These tests start many processes: `cargo test -p steadfast --test health -- --ignored --test-threads=2`.

mod support;

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use support::agents::Agent;
use support::{Cluster, eventually, http, steadfast};

/// What the server at this client address shows, without how long it has been so.
fn health(server: &str) -> Value {
    let output = steadfast(&["health", "--json", "--endpoints", server]).output().expect("it runs");
    let mut shown: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    // An agent that was stopped in order is no trouble.
    let is_fine = |node: &Value| node["state"] == "healthy" || (&node["state"], &node["role"]) == (&"left".into(), &"agent".into());
    let is_well = shown["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(is_fine));
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
    // What was decided may be here before the gossip that it was decided by, or after.
    let is_so = |node: &Value| node["state"] == state && node["gossip"] == state;
    eventually(&format!("{name} being {state}"), || {
        let seen: Option<Vec<Value>> = views(cluster).iter().map(|shown| node(shown, name).filter(is_so)).collect();
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

/// What strong state has under a prefix, as any client reads it.
fn records(cluster: &Cluster, prefix: &str) -> Vec<(String, Value)> {
    let servers = cluster.endpoints().join(",");
    let output = steadfast(&["kv", "get", "--prefix", prefix, "--json", "--endpoints", &servers]).output().expect("it runs");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let pair = |kv: &Value| {
        let value = serde_json::from_str(kv["value"].as_str().expect("text")).expect("JSON");
        (kv["key"].as_str().expect("text").to_owned(), value)
    };
    read["kvs"].as_array().into_iter().flatten().map(pair).collect()
}

/// The changes of one node, as `FROM TO`, oldest first.
fn changes(cluster: &Cluster, name: &str) -> Vec<String> {
    let events = records(cluster, "steadfast/health/events/");
    let words = |event: &Value| format!("{} {}", event["from"].as_str().unwrap_or("?"), event["to"].as_str().unwrap_or("?"));
    events.iter().filter(|(_, event)| event["node"] == name).map(|(_, event)| words(event)).collect()
}

#[test]
#[ignore = "starts a cluster of processes and kills some; takes a minute"]
fn what_was_decided_is_in_strong_state_and_survives_its_judge() {
    let mut cluster = Cluster::start(3);
    let mut agents: Vec<Agent> = (1..=3).map(|k| Agent::start(&cluster, k, &[])).collect();
    await_all_healthy(&cluster, 6);
    assert!(records(&cluster, "steadfast/").is_empty(), "nothing has happened");

    agents[0].kill();
    eventually("a verdict", || (changes(&cluster, "a1") == ["healthy failed"]).then_some(()));
    for seen in await_state(&cluster, "a1", "failed") {
        let cause = seen["cause"].as_str().expect("text");
        assert!(cause.starts_with("found dead: silent for ") && cause.split(", ").count() == 3, "{seen}");
    }
    let found = records(&cluster, "steadfast/health/nodes/a1");
    assert!(found[0].1["state"] == "failed" && found[0].1["observers"].as_array().is_some_and(|names| names.len() == 3), "{found:?}");

    let judge = cluster.leader();
    let name = cluster.nodes[judge].name.clone();
    cluster.nodes[judge].kill();
    eventually("the judge's own end being judged", || (changes(&cluster, &name) == ["healthy failed"]).then_some(()));
    assert_eq!(changes(&cluster, "a1"), ["healthy failed"], "another judge repeats nothing");

    agents[0].begin(&cluster);
    cluster.nodes[judge].start_again();
    eventually("both recovering", || {
        let is_back = |name: &str| changes(&cluster, name).starts_with(&["healthy failed".to_owned(), "failed recovering".to_owned()]);
        (is_back("a1") && is_back(&name)).then_some(())
    });
    await_all_healthy(&cluster, 6);
    for name in ["a1", &name] {
        assert_eq!(changes(&cluster, name), ["healthy failed", "failed recovering", "recovering healthy"]);
    }
    let numbers: Vec<String> = records(&cluster, "steadfast/health/events/").into_iter().map(|(key, _)| key).collect();
    let expected: Vec<String> = (1..=6).map(|number| format!("steadfast/health/events/{number:012}")).collect();
    assert_eq!(numbers, expected);
    let output = steadfast(&["health", "--events", "--json", "--endpoints", &cluster.endpoints()[0]]).output().expect("it runs");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success() && shown["events"].as_array().is_some_and(|events| events.len() == 6), "{shown}");
    assert_eq!(shown["events"][0]["node"], "a1");
}

#[test]
#[ignore = "starts a cluster of processes and kills some"]
fn without_a_quorum_gossip_is_shown() {
    let mut cluster = Cluster::start(3);
    let _agent = Agent::start(&cluster, 1, &[]);
    await_all_healthy(&cluster, 4);
    let names: Vec<String> = cluster.nodes[1..].iter().map(|node| node.name.clone()).collect();
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    eventually("both being seen dead", || {
        let shown = health(&cluster.endpoints()[0]);
        let is_dead = |name: &String| node(&shown, name).is_some_and(|node| node["gossip"] == "failed" && node["state"] == "failed");
        (names.iter().all(is_dead) && shown["unread"].as_str().is_some_and(|why| why.contains("no leader"))).then_some(())
    });
}

#[test]
#[ignore = "starts a cluster of processes and kills them all"]
fn a_server_that_nobody_has_heard_since_the_others_began_has_failed() {
    let mut cluster = Cluster::start(3);
    await_all_healthy(&cluster, 3);
    let gone = cluster.follower();
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let others: Vec<usize> = (0..3).filter(|node| *node != gone).collect();
    others.iter().for_each(|node| cluster.nodes[*node].start_again());
    let name = cluster.nodes[gone].name.clone();
    let has_failed = |asked: &usize| node(&health(&cluster.nodes[*asked].etcd), &name).filter(|node| node["state"] == "failed");
    let shown = eventually("its having failed", || others.iter().map(has_failed).collect::<Option<Vec<Value>>>());
    assert!(shown.iter().all(|node| node["cause"].as_str().is_some_and(|cause| cause.contains("silent for"))), "{shown:?}");
    cluster.nodes[gone].start_again();
    await_all_healthy(&cluster, 3);
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
    eventually("the verdict being recorded everywhere", || {
        let is_recorded = |shown: &Value| node(shown, "a2").is_some_and(|node| node["cause"] != "");
        views(&cluster).iter().all(is_recorded).then_some(())
    });

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
