//! Bundles of live, hung and dead nodes, of servers and agents, without secrets.
//!
//! These tests start many processes: `cargo test -p steadfast --test diagnose -- --ignored --test-threads=1`.

mod support;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};

use rustix::process::Signal;
use serde_json::Value;
use support::{Cluster, eventually, steadfast};

/// What may not be seen anywhere.
const SECRET: &str = "XYZZY0123456789";

/// An agent on a loopback address of its own.
struct Agent {
    process: Child,
}

impl Agent {
    fn start(cluster: &Cluster, name: &str, flags: &[&str]) -> Self {
        let at = |address: &str| format!("127.0.1.1:{}", address.rsplit_once(':').expect("a port").1);
        let directory = cluster.directory.path().join(name);
        let servers = cluster.nodes.iter().map(|node| node.peer.as_str()).collect::<Vec<_>>().join(",");
        let (peer, admin) = (at(&cluster.nodes[0].peer), at(&cluster.nodes[0].admin));
        let own = ["--role", "agent", "--name", name, "--data-dir", directory.to_str().expect("UTF-8")];
        let listen = ["--listen-peer", &peer, "--listen-admin", &admin, "--join", &servers];
        let log = fs::File::create(directory.with_extension("log")).expect("a log file");
        let mut command = steadfast(&[&["serve"][..], &own, &listen, flags].concat());
        // What nothing marks as a secret, in its environment: of that there are names only.
        command.env("UNMARKED", SECRET).stdout(log.try_clone().expect("a handle")).stderr(log);
        Agent { process: command.spawn().expect("it starts") }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().expect("it was not waited for");
        self.process.wait().expect("a child");
    }
}

fn diagnose(server: &str, node: &str, flags: &[&str]) -> Output {
    steadfast(&[&["diagnose", node, "--endpoints", server], flags].concat()).output().expect("it runs")
}

fn report(server: &str, node: &str) -> Value {
    let output = diagnose(server, node, &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn rules(report: &Value) -> Vec<&str> {
    report["findings"].as_array().expect("a list").iter().filter_map(|finding| finding["rule"].as_str()).collect()
}

/// Waits until `server` has a report of the node that is as it should be.
fn await_report(server: &str, node: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(report(server, node)).filter(|report| is(report)))
}

fn text(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The lines of the threads of one stack among which is the one with this name.
fn group_of<'a>(stacks: &'a str, name: &str) -> &'a str {
    let has = |group: &&str| group.lines().next().is_some_and(|head| head.contains(&format!(" {name} (")));
    stacks.split("\n\n").find(has).unwrap_or_else(|| panic!("{name} in {stacks}"))
}

#[test]
#[ignore = "starts a cluster of processes"]
fn nobody_else_can_ask_for_the_stacks_of_a_process() {
    // The parent is this test, which is another program.
    let output = steadfast(&["thread-stacks"]).output().expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        answer["trouble"].as_str().expect("words").contains("another program") && answer["threads"] == serde_json::json!([]),
        "{answer}"
    );
    let help = String::from_utf8(steadfast(&["--help"]).output().expect("it runs").stdout).expect("text");
    assert!(!help.contains("thread-stacks"), "{help}");
}

#[test]
#[ignore = "starts a cluster of processes"]
fn a_live_server_tells_of_itself_whoever_is_asked() {
    let cluster = Cluster::start(3);
    let (asked, node) = (&cluster.nodes[0], &cluster.nodes[1]);
    let well = |report: &Value| {
        let peers = report["peers"].as_array().expect("a list");
        report["node"]["answered"] == true && peers.len() == 2 && peers.iter().all(|peer| peer["hears"] == true)
    };
    let found = await_report(&asked.etcd, &node.name, "all hearing it", well);
    assert_eq!((&found["node"]["state"], &found["node"]["role"]), (&"healthy".into(), &"server".into()), "{found}");
    assert!(found["latencies"][0]["count"].as_u64().expect("a number") > 0, "{found}");
    assert!(found["process"]["threads"].as_u64().expect("a number") >= 5 && found["process"]["descriptor_limit"].is_u64(), "{found}");
    assert!(!rules(&found).contains(&"cut off"), "{found}");

    let directory: PathBuf = cluster.directory.path().join("bundle");
    let output = diagnose(&asked.etcd, &node.name, &["--output", directory.to_str().expect("UTF-8")]);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && shown.contains("answered  yes") && shown.contains("threads"), "{shown}");
    assert!(text(&directory, "log-recent.txt").contains("node started"));
    let threads = text(&directory, "threads.txt");
    assert!(["log-writer", "peer-jobs", "table-jobs", "watch-hub"].iter().all(|name| threads.contains(name)), "{threads}");
    // Where they are in the program: the threads have loops of our own.
    let stacks = text(&directory, "stacks.txt");
    for (name, file) in [("log-writer", "core_loop.rs"), ("table-jobs", "core_loop.rs"), ("watch-hub", "watches.rs")] {
        // What was inlined has no path of its own: the place says whose it is.
        let is_own = |line: &str| line.trim_start().starts_with("> ") && line.contains(&format!("server/src/{file}:"));
        assert!(group_of(&stacks, name).lines().any(is_own), "{name}: {stacks}");
    }
    assert!(!stacks.contains("Not all stacks"), "{stacks}");
    // And it goes on.
    let put = steadfast(&["kv", "put", "after", "diagnosis", "--endpoints", &node.etcd]).output().expect("it runs");
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));

    assert!(text(&directory, "process.txt").contains("Max open files") && text(&directory, "metrics.txt").contains("steadfast_term"));
    let summary = text(&directory, "summary.txt");
    assert!(shown.starts_with(&*summary) && summary.lines().count() < 40, "{shown}");

    let unknown = diagnose(&asked.etcd, "nobody", &[]);
    let error = String::from_utf8(unknown.stderr).expect("text");
    assert!(unknown.status.code() == Some(1) && error.contains("no node is known by") && error.contains(&node.name), "{error}");
}

#[test]
#[ignore = "starts a cluster of processes, stops one and kills one"]
fn of_hung_and_dead_servers_there_is_what_the_others_know() {
    let mut cluster = Cluster::start(3);
    let (node, leader) = (cluster.follower(), cluster.leader());
    let (name, asked) = (cluster.nodes[node].name.clone(), cluster.nodes[leader].etcd.clone());
    cluster.nodes[node].signal(Signal::STOP);
    let is_failed = |report: &Value| report["node"]["state"] == "failed";
    let hung = await_report(&asked, &name, "the hung one found dead", is_failed);
    assert_eq!(hung["node"]["answered"], false, "{hung}");
    let why = hung["node"]["silent_because"].as_str().expect("words");
    assert!(why.contains("no answer within"), "{why}");
    assert!(rules(&hung).contains(&"cut off") && hung["peers"].as_array().expect("a list").len() == 2, "{hung}");
    let shown = String::from_utf8(diagnose(&asked, &name, &[]).stdout).expect("text");
    assert!(shown.contains("answered  NO: ") && shown.contains("Its own words are missing"), "{shown}");

    cluster.nodes[node].signal(Signal::CONT);
    await_report(&asked, &name, "it coming back", |report| report["node"]["answered"] == true);
    cluster.nodes[node].kill();
    let dead = await_report(&asked, &name, "the dead one found dead", |report| is_failed(report) && report["node"]["answered"] == false);
    let why = dead["node"]["silent_because"].as_str().expect("words");
    assert!(why.contains("cannot connect"), "{why}");
    // One that is hung itself is passed over by who asks.
    let both = format!("{},{asked}", cluster.nodes[node].etcd);
    assert_eq!(report(&both, &name)["node"]["answered"], false);
}

#[test]
#[ignore = "starts a cluster of processes"]
fn an_agent_is_asked_by_a_server_and_gives_no_secret_away() {
    let cluster = Cluster::start(3);
    let secret = SECRET;
    let url = format!("http://u:{secret}@127.0.0.1:1/{secret}");
    let _agent = Agent::start(&cluster, "a1", &["--alert-webhook", &url, "--alert-command", &format!("page {secret}")]);
    let asked = &cluster.nodes[2].etcd;
    eventually("the agent's bundle", || {
        let output = diagnose(asked, "a1", &["--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).ok()?;
        (found["node"]["answered"] == true).then_some(())
    });
    let archive = cluster.directory.path().join("a1.tar.gz");
    let output = diagnose(asked, "a1", &["--output", archive.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut all = String::new();
    let mut names = Vec::new();
    let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(archive).expect("an archive")));
    for entry in unpacked.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        names.push(entry.path().expect("a name").display().to_string());
        entry.read_to_string(&mut all).expect("text");
    }
    assert_eq!(names[0], "a1/summary.txt");
    assert!(names.len() == 9 && names.contains(&"a1/stacks.txt".to_owned()) && all.contains("a1 (agent"), "{names:?}");
    assert!(all.contains("--alert-webhook http://127.0.0.1:1 ") && all.contains("agent started") && !all.contains(secret), "{all}");
}
