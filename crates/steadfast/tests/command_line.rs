//! The built program as a user meets it: help, errors on one line, exit status. No cluster is started here.

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

use steadfast_server::genesis::{Founder, Genesis};
use steadfast_server::identity::{Directory, Membership};
use steadfast_types::{Level, NodeId};

/// Runs the program without the environment's settings.
fn steadfast(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEADFAST_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the program starts")
}

/// The one line on standard error of a run that must end with this status.
fn failure(status: i32, arguments: &[&str]) -> String {
    let output = steadfast(arguments);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert!(error.starts_with("steadfast: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn no_bug_can_be_planted_in_the_program() {
    let program = fs::read(env!("CARGO_BIN_EXE_steadfast")).expect("the program");
    let says = |text: &str| program.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(says("Keeps a distributed application running"), "its texts are found in it");
    assert!(!says(steadfast_types::planted::MARKER));
}

fn help(arguments: &[&str]) -> String {
    let output = steadfast(arguments);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= 100, "a line of {widest} characters in {arguments:?}:\n{text}");
    text
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

#[test]
fn every_command_teaches_with_examples() {
    let text = help(&["--help"]);
    for command in ["dev", "serve", "status", "kv", "member", "move-leader", "snapshot"] {
        assert!(text.contains(&format!("\n  {command} ")), "{command} is not in:\n{text}");
    }
    let commands: [&[&str]; 9] = [
        &["dev"],
        &["serve"],
        &["status"],
        &["member"],
        &["move-leader"],
        &["kv", "put"],
        &["kv", "get"],
        &["kv", "del"],
        &["kv", "watch"],
    ];
    for command in commands {
        let text = help(&[command, &["--help"]].concat());
        assert!(text.contains("Examples:"), "{command:?} has no examples:\n{text}");
    }
}

#[test]
fn wrong_usage_ends_with_status_2() {
    for arguments in [
        &[][..],
        &["nothing"],
        &["kv"],
        &["kv", "get"],
        &["dev", "--nodes", "0"],
        &["dev", "--nodes", "10"],
        &["kv", "put", "k", "v", "--lease", "x"],
    ] {
        assert_eq!(steadfast(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = steadfast(&["status", "--endpoints", "https://n1:2379"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--cacert"));
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_with_its_address() {
    let address = support::ports::free_address();
    let commands: [&[&str]; 6] =
        [&["status"], &["kv", "get", "k"], &["kv", "put", "k", "v"], &["kv", "watch", "k"], &["member", "list"], &["move-leader"]];
    for command in commands {
        let error = failure(1, &[command, &["--endpoints", &address]].concat());
        assert!(error.contains(&format!("{address}: connection refused")), "{command:?}: {error}");
        assert!(error.contains("--endpoints"), "{command:?}: {error}");
    }
}

#[test]
fn a_node_says_what_it_lacks() {
    assert!(failure(2, &["serve"]).contains("name is missing"));
    assert!(failure(2, &["serve", "--name", "n1"]).contains("data-dir is missing"));
}

#[test]
fn a_settings_file_is_checked_whole() {
    let scratch = scratch();
    let file = scratch.path().join("n1.toml");
    let path = file.to_str().expect("UTF-8");
    assert!(failure(2, &["serve", "--config", path]).contains("cannot read the settings file"));
    fs::write(&file, "name = 'n1'\nlisten-pear = '127.0.0.1:1'").expect("writes");
    assert!(failure(2, &["serve", "--config", path]).contains("did you mean listen-peer?"));
    fs::write(&file, "name = 'n1'\njoin = 'n2:2380'").expect("writes");
    let error = failure(2, &["serve", "--config", path, "--initial-cluster", "n1=n1:2380"]);
    assert!(error.contains("exclude each other"), "{error}");
}

/// A port offset at which the first node can't serve clients, for as long as the listener lives: nothing is ever started there.
fn taken_offset() -> (TcpListener, u16) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        // So that the last port stays below 65536.
        if (2379..60_000).contains(&port) {
            return (listener, port - 2379);
        }
    }
}

#[test]
fn a_taken_port_is_named_before_anything_starts() {
    let (taken, offset) = taken_offset();
    let port = offset + 2379;
    let scratch = scratch();
    let directory = scratch.path().join("data");
    let error = failure(1, &["dev", "--data-dir", directory.to_str().expect("UTF-8"), "--port-offset", &offset.to_string()]);
    assert!(error.contains(&format!("127.0.0.1:{port}, the etcd API of n1")), "{error}");
    assert!(error.contains("--port-offset"), "{error}");
    assert!(!directory.join("n1").exists() && !directory.join("dev.json").exists());
    drop(taken);
}

#[test]
fn directories_that_do_not_fit_are_refused() {
    let scratch = scratch();
    let path = scratch.path().to_str().expect("UTF-8");
    fs::write(scratch.path().join("dev.json"), r#"{"format":1,"nodes":5,"port_offset":0}"#).expect("writes");
    assert!(failure(1, &["dev", "--data-dir", path, "--nodes", "3"]).contains("a cluster of 5 nodes, not 3"));
    assert!(failure(1, &["dev", "--data-dir", path, "--port-offset", "10"]).contains("leave --port-offset out"));
    fs::write(scratch.path().join("dev.json"), r#"{"format":9}"#).expect("writes");
    assert!(failure(1, &["dev", "--data-dir", path]).contains("newer Steadfast (format 9"));
    let file = scratch.path().join("dev.json");
    assert!(failure(1, &["dev", "--data-dir", file.to_str().expect("UTF-8")]).contains("choose another with --data-dir"));
}

/// The directory of a `dev` cluster of three, with a node's name and its cluster's token in each of `n1`, `n2`, `n3`.
fn dev_directory(offset: u16, nodes: [(&str, &str); 3]) -> tempfile::TempDir {
    let scratch = scratch();
    fs::write(scratch.path().join("dev.json"), format!(r#"{{"format":1,"nodes":3,"port_offset":{offset}}}"#)).expect("writes");
    let founder = Founder { name: "n1".into(), address: "127.0.0.1:1".into(), node: NodeId(1) };
    for (k, (name, token)) in (1..).zip(nodes) {
        let address = format!("127.0.0.1:{}", offset + 2370 + 10 * k);
        let path = scratch.path().join(format!("n{k}"));
        let mut directory = Directory::open(&path, name, &address).expect("a new directory");
        let membership = Membership::of_founder(Genesis::new(token, [founder.clone()], Level::NEWEST));
        directory.settle(NodeId(u64::from(k)), membership).expect("writes");
    }
    scratch
}

#[test]
fn directories_of_nodes_that_do_not_fit_are_refused_before_any_node_starts() {
    let (_taken, offset) = taken_offset();
    let try_start = |scratch: &tempfile::TempDir| {
        let error = failure(1, &["dev", "--data-dir", scratch.path().to_str().expect("UTF-8")]);
        assert!(!scratch.path().join("logs").exists(), "nothing was started: {error}");
        error
    };
    // A process that another test has just forked may hold the files of this one for a moment.
    let start = |scratch: &tempfile::TempDir| {
        let is_held = |error: &String| error.contains("is in use by another process");
        support::eventually("the directories free", || Some(try_start(scratch)).filter(|error| !is_held(error)))
    };
    let sound = dev_directory(offset, [("n1", "a"), ("n2", "a"), ("n3", "a")]);
    let error = start(&sound);
    assert!(error.contains("cannot listen on"), "the directories are not what is wrong: {error}");

    let error = start(&dev_directory(offset, [("n1", "a"), ("n1", "a"), ("n3", "a")]));
    assert!(error.contains("/n2 holds the data of node n1, not of n2: put each node's directory back under its own name"), "{error}");

    let error = start(&dev_directory(offset, [("n1", "a"), ("n2", "a"), ("n3", "b")]));
    assert!(error.contains("/n3 belongs to another cluster (") && error.contains(") than n1 and n2 ("), "{error}");
    assert!(error.contains("put the n3 of that cluster back, or choose another --data-dir"), "{error}");

    fs::write(sound.path().join("n2/IDENTITY"), "steadfast identity 2 00000000\n{}\n").expect("writes");
    let error = start(&sound);
    assert!(error.contains("/n2/IDENTITY was written by a newer Steadfast (format 2, this one knows 1)"), "{error}");

    let moved = dev_directory(offset - 1, [("n1", "a"), ("n2", "a"), ("n3", "a")]);
    fs::write(moved.path().join("dev.json"), format!(r#"{{"format":1,"nodes":3,"port_offset":{offset}}}"#)).expect("writes");
    assert!(start(&moved).contains("/n1 is of another cluster, whose n1 has the peer address"), "{}", start(&moved));

    let held = dev_directory(offset, [("n1", "a"), ("n2", "a"), ("n3", "a")]);
    let address = format!("127.0.0.1:{}", offset + 2400);
    let _node = support::eventually("the directory free", || Directory::open(&held.path().join("n3"), "n3", &address).ok());
    let error = try_start(&held);
    assert!(error.contains("/n3 is in use by another process"), "{error}");
}
