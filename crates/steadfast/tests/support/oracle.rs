//! etcd itself, to compare with, on loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;
use super::ports::free_address;

/// The most that etcd recommends, bytes.
const QUOTA: &str = "8589934592";

/// A running etcd; it ends with the value.
pub struct Etcd {
    command: Command,
    process: Child,
    pub endpoint: String,
    _directory: tempfile::TempDir,
}

impl Etcd {
    /// Starts the etcd that the variable `ETCD_3_5` names.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a scratch directory"))
    }

    /// Starts a cluster of so many, as they are by default, but that their data may be large.
    pub fn members(count: usize) -> Vec<Self> {
        let places: Vec<[String; 2]> = (0..count).map(|_| [0; 2].map(|_| free_address())).collect();
        let cluster: Vec<String> = places.iter().map(|[_, peer]| format!("{peer}=http://{peer}")).collect();
        let member = |[client, peer]: &[String; 2]| {
            let directory = tempfile::tempdir().expect("a scratch directory");
            let flags = ["--name", peer, "--initial-cluster", &cluster.join(","), "--quota-backend-bytes", QUOTA];
            Self::run(directory, client, peer, &flags)
        };
        let members: Vec<Etcd> = places.iter().map(member).collect();
        members.iter().for_each(|member| member.await_listening());
        members
    }

    /// The memory that it has resident, bytes.
    pub fn resident_bytes(&self) -> u64 {
        super::resident_bytes(self.process.id()).expect("it runs")
    }

    /// Its processor time so far, microseconds.
    pub fn cpu_us(&self) -> u64 {
        super::cpu_us(self.process.id()).expect("it runs")
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has ended");
    }

    /// Lets it end in order.
    pub fn stop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it runs");
        self.process.wait().expect("it has ended");
    }

    /// Starts it on its data.
    pub fn start_again(&mut self) {
        self.process = self.command.spawn().expect("etcd starts");
    }

    /// Restores a snapshot, and starts an etcd from it.
    pub fn restored(snapshot: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let data_dir = directory.path().join("data");
        let output = etcdutl(&["snapshot", "restore", text(snapshot), "--data-dir", text(&data_dir)]);
        assert!(output.status.success(), "etcdutl snapshot restore: {}", String::from_utf8_lossy(&output.stderr));
        Self::start_in(directory)
    }

    /// Starts it on the data in this directory, if there is any.
    fn start_in(directory: tempfile::TempDir) -> Self {
        let (client, peer) = (free_address(), free_address());
        let cluster = format!("default=http://{peer}");
        // Its own choice of ten makes each password take a twentieth of a second.
        let flags = ["--unsafe-no-fsync", "--bcrypt-cost", "4", "--initial-cluster", &cluster];
        let etcd = Self::run(directory, &client, &peer, &flags);
        etcd.await_listening();
        etcd
    }

    /// Starts one with its data in this directory.
    fn run(directory: tempfile::TempDir, client: &str, peer: &str, flags: &[&str]) -> Self {
        let [client_url, peer_url] = [client, peer].map(|address| format!("http://{address}"));
        let mut command = Command::new(super::etcdctl::program("ETCD_3_5"));
        command.arg("--data-dir").arg(directory.path().join("data")).args(flags);
        command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
        command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcd starts");
        Etcd { command, process, endpoint: client.to_owned(), _directory: directory }
    }

    fn await_listening(&self) {
        eventually("etcd listens", || std::net::TcpStream::connect(&self.endpoint).ok());
    }
}

/// Runs the `etcdutl` that lies beside the etcd.
pub fn etcdutl(arguments: &[&str]) -> Output {
    let program = PathBuf::from(super::etcdctl::program("ETCD_3_5")).with_file_name("etcdutl");
    Command::new(program).args(arguments).output().expect("etcdutl lies beside etcd")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It has ended by itself, or ends now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
