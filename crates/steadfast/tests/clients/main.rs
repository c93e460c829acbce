//! Client libraries that others wrote, in several languages, each against three nodes whose leader is killed in the midst.
//!
//! Each client is a program in `tests/clients`, which does all that its library can and ends with an error at the first wrong result. It prints
//! what it has found right, a line each. What it can't do itself it asks for, by a line `? …`, and gets a line as answer: see [`serve`].
//!
//! The programs and libraries are named by `PYTHON_AETCD` and `PYTHON_ETCD3GW` (each a Python that has that library), `NODE` and `NODE_PATH` (Node.js, and a
//! directory of modules with etcd3) and `RUST_ETCD_CLIENT` (the program that `tests/clients/rust` is built to): `.ci/run` installs and sets all.

#[path = "../support/mod.rs"]
mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{Cluster, eventually};

/// What a client says when it has found everything right.
const END: &str = "all is as it should be";

/// A file beside this one.
fn beside(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "clients", name].iter().collect()
}

/// A program or directory that an environment variable names.
fn named(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} must be set, see the top of {}; `.ci/run` sets it", file!()))
}

/// Does what a client asks for; its answer is a number of a node.
fn serve(cluster: &mut Cluster, killed: &mut Option<usize>, wish: &str) -> usize {
    match wish {
        "the leader" => cluster.leader(),
        "kill the leader" => {
            let leader = cluster.leader();
            cluster.nodes[leader].kill();
            *killed.insert(leader)
        }
        "start it again" => {
            let again = killed.take().expect("one was killed");
            cluster.nodes[again].start_again();
            cluster.await_catch_up(again);
            again
        }
        _ => panic!("a client asks for {wish:?}"),
    }
}

/// Runs a client to its end, with the nodes' addresses as its last argument.
fn run(cluster: &mut Cluster, program: impl AsRef<OsStr>, arguments: &[&OsStr]) {
    let errors = cluster.directory.path().join("client.err");
    let mut command = Command::new(program);
    command.args(arguments).arg(cluster.endpoints().join(","));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&errors).expect("a file"));
    let mut client = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut answers = client.stdin.take().expect("a pipe");
    let (mut killed, mut last) = (None, String::new());
    for line in BufReader::new(client.stdout.take().expect("a pipe")).lines() {
        last = line.expect("text");
        println!("{last}");
        if let Some(wish) = last.strip_prefix("? ") {
            let answer = serve(cluster, &mut killed, wish);
            println!("  {answer}");
            writeln!(answers, "{answer}").expect("the client reads");
        }
    }
    let status = client.wait().expect("a child");
    let errors = fs::read_to_string(errors).expect("text");
    assert!(status.success(), "the client ended with {status} after {last:?}: {errors}");
    assert_eq!(last, END, "the client ended early: {errors}");
}

/// Three nodes that all serve.
fn three(cluster: Cluster) -> Cluster {
    eventually("three nodes", || (cluster.status()["nodes"].as_array()?.len() == 3).then_some(()));
    cluster.settle();
    cluster
}

#[test]
#[ignore = "needs Python with etcd3gw (PYTHON_ETCD3GW); starts a cluster of processes; takes some seconds"]
fn python_etcd3gw_over_json() {
    run(&mut three(Cluster::start(3)), named("PYTHON_ETCD3GW"), &[beside("etcd3gw_client.py").as_os_str()]);
}

#[test]
#[ignore = "needs Python with aetcd (PYTHON_AETCD); starts a cluster of processes; takes some seconds"]
fn python_aetcd_over_grpc() {
    run(&mut three(Cluster::start(3)), named("PYTHON_AETCD"), &[beside("aetcd_client.py").as_os_str()]);
}

#[test]
#[ignore = "needs the program that tests/clients/rust is built to (RUST_ETCD_CLIENT); starts a cluster of processes; takes some seconds"]
fn rust_etcd_client() {
    run(&mut three(Cluster::start(3)), named("RUST_ETCD_CLIENT"), &[]);
}

#[test]
#[ignore = "needs Node.js with etcd3 (NODE, NODE_PATH); starts a cluster of processes; takes some seconds"]
fn node_etcd3_over_tls() {
    named("NODE_PATH");
    let mut cluster = three(Cluster::secured(3));
    let certificates = cluster.certificates();
    run(&mut cluster, named("NODE"), &[beside("node/client.js").as_os_str(), certificates.as_os_str()]);
}
