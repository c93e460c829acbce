//! etcd itself, to compare with: one node on loopback.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::eventually;

/// A running etcd; it ends with the value.
pub struct Etcd {
    process: Child,
    pub endpoint: String,
    _directory: tempfile::TempDir,
}

impl Etcd {
    /// Starts the etcd that the variable `ETCD_3_5` names.
    pub fn start() -> Self {
        let program = super::etcdctl::program("ETCD_3_5");
        let directory = tempfile::tempdir().expect("a scratch directory");
        let address = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").to_string();
        let (client, peer) = (address(), address());
        let [client_url, peer_url] = [&client, &peer].map(|address| format!("http://{address}"));
        let data_dir = directory.path().to_str().expect("UTF-8");
        let mut command = Command::new(program);
        command.args(["--data-dir", data_dir, "--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
        command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        command.arg("--unsafe-no-fsync");
        command.args(["--initial-cluster", &format!("default={peer_url}")]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcd starts");
        eventually("etcd listens", || std::net::TcpStream::connect(&client).ok());
        Etcd { process, endpoint: client, _directory: directory }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It has ended by itself, or ends now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
