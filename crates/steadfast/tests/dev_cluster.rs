//! A real cluster of three processes under `steadfast dev`, from the first start to the last stop.
//!
//! One test walks through it all, because starting a cluster is what costs time here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[path = "support/ports.rs"]
mod ports;

use ports::Offset;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// Nothing here takes so long unless it is broken, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// The program with a clean environment.
fn steadfast(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEADFAST_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Asks again until there is an answer.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let step = Duration::from_millis(20);
    for _ in 0..LONG.as_millis() / step.as_millis() {
        if let Some(result) = attempt() {
            return result;
        }
        std::thread::park_timeout(step);
    }
    panic!("{what} did not happen in {} s", LONG.as_secs());
}

/// A running `steadfast dev`; killed, with its nodes, if the test ends early.
struct Dev {
    process: Child,
    nodes: Vec<Value>,
}

impl Dev {
    fn start(directory: &Path, offset: u16) -> Self {
        let directory_text = directory.to_str().expect("UTF-8");
        let mut command = steadfast(&["dev", "--data-dir", directory_text, "--port-offset", &offset.to_string()]);
        let process = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut dev = Dev { process, nodes: Vec::new() };
        let file = directory.join("cluster.json");
        let pid = dev.process.id();
        let text = eventually("a cluster of this run", || {
            assert_eq!(dev.process.try_wait().expect("a child"), None, "`steadfast dev` ended early");
            // The lock names its owner before an older cluster.json is removed, and the new one is written after that.
            let owner = fs::read_to_string(directory.join("lock")).ok()?;
            if owner.trim() == pid.to_string() { fs::read_to_string(&file).ok() } else { None }
        });
        let cluster: Value = serde_json::from_str(&text).expect("JSON");
        dev.nodes = cluster["nodes"].as_array().expect("a list").clone();
        dev
    }

    fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| node["etcd"].as_str().expect("an address")).collect::<Vec<_>>().join(",")
    }

    /// Runs a client command to its end.
    fn client(&self, arguments: &[&str]) -> Output {
        steadfast(arguments).args(["--endpoints", &self.endpoints()]).output().expect("the program starts")
    }

    /// The output of a client command that must succeed.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.client(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_string()
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.client(&["status", "--json"]).stdout).unwrap_or(Value::Null)
    }

    /// The place in `nodes` of the leader, once there is one that all reachable nodes could be asked about.
    fn leader(&self) -> usize {
        eventually("a leader", || {
            let status = self.status();
            let name = status["nodes"].as_array()?.iter().find(|node| node["role"] == "leader")?["name"].clone();
            self.nodes.iter().position(|node| node["name"] == name)
        })
    }

    fn pid(&self, node: usize) -> u32 {
        u32::try_from(self.nodes[node]["pid"].as_u64().expect("a number")).expect("a process id")
    }

    fn signal(&self, node: usize, signal: Signal) {
        send(self.pid(node), signal);
    }

    /// Ends it as Ctrl-C does, and returns what it printed. `meanwhile` happens once it says that it stops.
    fn stop(mut self, meanwhile: impl FnOnce(&Dev)) -> String {
        send(self.process.id(), Signal::INT);
        let mut lines = BufReader::new(self.process.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let mut printed = String::new();
        while !printed.contains("\nStopping ") {
            printed += &format!("{}\n", lines.next().expect("it says that it stops"));
        }
        meanwhile(&self);
        lines.for_each(|line| printed += &format!("{line}\n"));
        let status = self.process.wait().expect("a child");
        assert!(status.success(), "{status}:\n{printed}");
        printed
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            // The nodes end with their parent.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

#[test]
fn a_cluster_lives_through_a_dead_leader_and_a_restart() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = scratch.path().join("data");
    let offset = Offset::free();
    let dev = Dev::start(&directory, offset.value);
    assert_eq!(dev.nodes.len(), 3);

    keys_are_kept(&dev);
    all_nodes_are_shown(&dev);
    leadership_moves(&dev);
    let killed = a_dead_leader_is_replaced(&dev);
    let mut restarted = the_printed_command_starts_it_again(&dev, killed);

    let printed = a_signal_that_comes_twice_is_one_request(dev, (killed + 1) % 3);
    assert!(printed.contains("3 of 3 nodes serve"), "{printed}");
    assert!(printed.contains("was killed by SIGKILL. Start it again with: "), "{printed}");
    let by_hand = format!("n{} (started by hand, process {})", killed + 1, restarted.id());
    assert!(printed.contains(&by_hand), "{printed}");
    assert!(restarted.wait().expect("a child").success(), "it stops as the others do");

    let again = Dev::start(&directory, offset.value);
    assert_eq!(again.good(&["kv", "get", "greeting"]), "hello again");
    a_second_request_kills(again);
    a_parent_that_is_killed_takes_its_nodes_along(Dev::start(&directory, offset.value));
}

fn keys_are_kept(dev: &Dev) {
    assert!(dev.good(&["kv", "put", "greeting", "hello"]).starts_with("revision "));
    assert_eq!(dev.good(&["kv", "get", "greeting"]), "hello");
    assert_eq!(dev.good(&["kv", "put", "greeting", "hello again", "--prev-kv"]).lines().nth(1), Some("before: greeting = hello"));
    dev.good(&["kv", "put", "greeting2", "x"]);
    assert_eq!(dev.good(&["kv", "get", "--prefix", "greet"]), "greeting = hello again\ngreeting2 = x");
    let json: Value = serde_json::from_str(&dev.good(&["kv", "get", "greeting", "--json"])).expect("JSON");
    assert_eq!((&json["count"], &json["kvs"][0]["value"], &json["kvs"][0]["version"]), (&1.into(), &"hello again".into(), &2.into()));
    assert_eq!(dev.good(&["kv", "del", "greeting2"]), "deleted 1");
    assert_eq!(dev.good(&["kv", "get", "--prefix", "greet", "--count-only"]), "1");
    watched_history_is_complete(dev);
}

fn watched_history_is_complete(dev: &Dev) {
    let mut command = steadfast(&["kv", "watch", "--prefix", "greet", "--rev", "1", "--endpoints", &dev.endpoints()]);
    let mut watch = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let changes: Vec<String> = lines.by_ref().take(4).map(|line| line.split_once(' ').expect("a revision").1.to_string()).collect();
    assert_eq!(changes, ["put greeting = hello", "put greeting = hello again", "put greeting2 = x", "delete greeting2"]);
    send(watch.id(), Signal::INT);
    assert!(watch.wait().expect("a child").success(), "Ctrl-C ends a watch well");
}

fn all_nodes_are_shown(dev: &Dev) {
    let text = dev.good(&["status"]);
    for node in ["n1", "n2", "n3"] {
        assert!(text.lines().any(|line| line.starts_with(node)), "{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let one = steadfast(&["status", "--json", "--endpoints", dev.nodes[2]["etcd"].as_str().expect("an address")]).output().expect("starts");
    let json: Value = serde_json::from_slice(&one.stdout).expect("JSON");
    assert_eq!((&json["healthy"], &json["voters_reachable"]), (&true.into(), &3.into()), "one endpoint finds all: {json}");
    let members: Value = serde_json::from_str(&dev.good(&["member", "list", "--json"])).expect("JSON");
    assert_eq!(members["members"].as_array().map(Vec::len), Some(3));
}

fn leadership_moves(dev: &Dev) {
    let leader = dev.leader();
    let target = dev.nodes[(leader + 1) % 3]["name"].as_str().expect("a name");
    assert_eq!(dev.good(&["move-leader", target]), format!("{target} leads now."));
    assert_eq!(dev.nodes[dev.leader()]["name"], target);
}

fn a_dead_leader_is_replaced(dev: &Dev) -> usize {
    let leader = dev.leader();
    dev.signal(leader, Signal::KILL);
    eventually("a write without the old leader", || dev.client(&["kv", "put", "after", "the end"]).status.success().then_some(()));
    let status = eventually("a status with the dead node", || {
        let status = dev.status();
        (status["healthy"] == true && status["nodes"][leader]["role"] == "down").then_some(status)
    });
    assert_eq!(status["nodes"][leader]["reason"], "connection refused");
    assert_eq!(dev.good(&["kv", "get", "greeting"]), "hello again");
    leader
}

fn the_printed_command_starts_it_again(dev: &Dev, node: usize) -> Child {
    let argv: Vec<&str> = dev.nodes[node]["argv"].as_array().expect("a list").iter().map(|word| word.as_str().expect("text")).collect();
    assert_eq!(argv[0], PROGRAM);
    let child = steadfast(&argv[1..]).stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    eventually("all nodes up", || (dev.status()["voters_reachable"] == 3).then_some(()));
    child
}

/// One node can't stop until the second signal has been dealt with.
fn a_signal_that_comes_twice_is_one_request(dev: Dev, slow: usize) -> String {
    dev.signal(slow, Signal::STOP);
    let printed = dev.stop(|dev| {
        for _ in 0..10 {
            send(dev.process.id(), Signal::TERM);
            std::thread::park_timeout(Duration::from_millis(30));
        }
        dev.signal(slow, Signal::CONT);
    });
    assert!(!printed.contains("is killed"), "{printed}");
    printed
}

fn a_second_request_kills(dev: Dev) {
    dev.signal(2, Signal::STOP);
    let printed = dev.stop(|dev| {
        eventually("the end of the node that can't stop", || {
            send(dev.process.id(), Signal::INT);
            (!Path::new(&format!("/proc/{}", dev.pid(2))).exists()).then_some(())
        });
    });
    assert!(printed.ends_with("n3 is killed at your second signal.\n"), "{printed}");
}

fn a_parent_that_is_killed_takes_its_nodes_along(mut dev: Dev) {
    dev.process.kill().expect("it runs");
    dev.process.wait().expect("a child");
    let addresses: Vec<String> = dev.nodes.iter().map(|node| node["etcd"].as_str().expect("an address").to_string()).collect();
    eventually("the end of all nodes", || addresses.iter().all(|address| TcpListener::bind(address).is_ok()).then_some(()));
}
