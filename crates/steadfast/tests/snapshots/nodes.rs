//! Nodes started by hand from restored directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};

use super::{run, text};
use crate::support::ports::free_address;
use crate::support::{eventually, serve, steadfast};

/// Restores a snapshot into a directory.
pub(crate) fn restore(file: &Path, place: &Path, name: &str, list: &str, flags: &[&str]) -> Output {
    let arguments = ["snapshot", "restore", text(file), "--data-dir", text(place), "--name", name, "--initial-cluster", list];
    run(&[&arguments[..], flags].concat())
}

/// Nodes; they end with the value.
pub(crate) struct Nodes {
    home: PathBuf,
    /// For clients, peers and the admin port.
    addresses: Vec<[String; 3]>,
    /// Those of the initial cluster.
    founders: usize,
    processes: Vec<Option<Child>>,
}

impl Nodes {
    /// The addresses for a cluster of so many.
    pub(crate) fn planned(count: usize, home: &Path) -> Self {
        let addresses = || [(); 3].map(|()| free_address());
        let addresses: Vec<[String; 3]> = (0..count).map(|_| addresses()).collect();
        Nodes { home: home.to_owned(), founders: count, processes: addresses.iter().map(|_| None).collect(), addresses }
    }

    /// So many nodes that have all restored the same.
    pub(crate) fn restored(count: usize, file: &Path, home: &Path, flags: &[&str]) -> Self {
        let nodes = Self::planned(count, home);
        for at in 0..count {
            let output = nodes.restore(at, file, flags);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        nodes
    }

    pub(crate) fn restore(&self, at: usize, file: &Path, flags: &[&str]) -> Output {
        restore(file, &self.data_dir(at), &name(at), &self.list(), flags)
    }

    /// Restores, and gives the most memory that took, bytes.
    pub(crate) fn restore_measured(&self, at: usize, file: &Path, flags: &[&str]) -> u64 {
        let (place, name, list) = (self.data_dir(at), name(at), self.list());
        let arguments = ["snapshot", "restore", text(file), "--data-dir", text(&place), "--name", &name, "--initial-cluster", &list];
        let mut child = steadfast(&[&arguments[..], flags].concat()).spawn().expect("the program starts");
        let mut peak = 0;
        loop {
            peak = peak.max(peak_memory_bytes(child.id()));
            if let Some(status) = child.try_wait().expect("a child") {
                assert!(status.success());
                return peak;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    pub(crate) fn etcd(&self, at: usize) -> String {
        self.addresses[at][0].clone()
    }

    pub(crate) fn start_all(&mut self) {
        (0..self.founders).for_each(|at| self.start(at));
    }

    pub(crate) fn start(&mut self, at: usize) {
        let list = self.list();
        self.processes[at] = Some(self.serve(at, &["--initial-cluster", &list]));
    }

    /// Adds a node and starts it.
    pub(crate) fn join(&mut self) {
        let at = self.len();
        let mut more = Self::planned(1, &self.home);
        self.addresses.append(&mut more.addresses);
        let (peer, first) = (&self.addresses[at][1], &self.addresses[0]);
        let added = run(&["member", "add", &name(at), "--peer", peer, "--endpoints", &first[0]]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let process = self.serve(at, &["--join", &first[1]]);
        self.processes.push(Some(process));
    }

    pub(crate) fn kill(&mut self, at: usize) {
        let mut process = self.processes[at].take().expect("it runs");
        process.kill().expect("a child");
        process.wait().expect("a child");
    }

    pub(crate) fn peak_memory_bytes(&self, at: usize) -> u64 {
        peak_memory_bytes(self.processes[at].as_ref().expect("it runs").id())
    }

    /// Waits until one of them ends; what it said.
    pub(crate) fn await_any_end(&mut self) -> String {
        let ended = eventually("the end of a node", || {
            let ended =
                |process: &mut Option<Child>| process.as_mut().is_some_and(|process| process.try_wait().expect("a child").is_some());
            self.processes.iter_mut().position(ended)
        });
        (0..self.len())
            .filter(|at| self.processes[*at].is_some() && *at != ended)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| self.kill(at));
        self.processes[ended] = None;
        fs::read_to_string(self.log(ended)).expect("a log")
    }

    /// Starts a node that will not come up; what it says.
    pub(crate) fn serve_with(&mut self, at: usize, flags: &[&str]) -> String {
        let list = self.list();
        let mut process = self.serve(at, &[&["--initial-cluster", &list], flags].concat());
        let status = process.wait().expect("a child");
        assert!(!status.success());
        fs::read_to_string(self.log(at)).expect("a log")
    }

    fn serve(&self, at: usize, flags: &[&str]) -> Child {
        let (data_dir, name) = (self.data_dir(at), name(at));
        let [etcd, peer, admin] = &self.addresses[at];
        let own = ["--name", &name, "--data-dir", text(&data_dir)];
        let listen = ["--listen-client", etcd, "--listen-peer", peer, "--listen-admin", admin];
        serve(&[&own[..], &listen[..], flags].concat(), &self.log(at))
    }

    fn list(&self) -> String {
        let founders = self.addresses[..self.founders].iter().enumerate();
        founders.map(|(at, [_, peer, _])| format!("{}={peer}", name(at))).collect::<Vec<_>>().join(",")
    }

    fn data_dir(&self, at: usize) -> PathBuf {
        self.home.join(name(at))
    }

    fn log(&self, at: usize) -> PathBuf {
        self.home.join(format!("{}.log", name(at)))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for at in 0..self.len() {
                eprintln!("--- {}\n{}", name(at), fs::read_to_string(self.log(at)).unwrap_or_default());
            }
        }
        for process in self.processes.iter_mut().flatten() {
            // It may have ended before.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn name(at: usize) -> String {
    format!("n{}", at + 1)
}

fn peak_memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
