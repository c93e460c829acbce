//! Clusters whose clients and nodes authenticate each other by certificates, with etcd's own clients.
//!
//! Needs `ETCDCTL_3_4` and `ETCDCTL_3_5`: `cargo test -p steadfast --test tls -- --ignored --test-threads=2`; `.ci/run` installs them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hyper_util::rt::TokioIo;
use steadfast_etcd_api::proto::etcdserverpb::PutRequest;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_server::tls::{DialTrust, dialling, server_name};
use support::ports::free_address;
use support::{copy_all, eventually, steadfast};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint};

/// Makes a CA and certificates in a new directory, or those that are missing in one that has a CA.
fn certs(directory: &Path) {
    let path = directory.to_str().expect("UTF-8");
    let made = steadfast(&["certs", path, "--hosts", "127.0.0.1,localhost"]).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// One node and its files.
struct Node {
    name: String,
    client: String,
    peer: String,
    certs: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Node {
    /// A node whose files are in `directory`; `start` says how it finds its cluster.
    fn new(directory: &Path, name: &str, [client, peer]: [&str; 2], certs: &Path, start: [&str; 2]) -> Self {
        let (log, data) = (directory.join(format!("{name}.log")), directory.join(name));
        let file = |file: &str| certs.join(file).to_str().expect("UTF-8").to_owned();
        let mut arguments = vec!["serve", "--name", name, "--data-dir", data.to_str().expect("UTF-8"), "--listen-client", client];
        arguments.extend(["--listen-peer", peer, "--listen-admin", "127.0.0.1:0"]);
        arguments.extend(start);
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let flags = [
            ("--cert-file", "server.crt"),
            ("--key-file", "server.key"),
            ("--trusted-ca-file", "ca.crt"),
            ("--peer-cert-file", "peer.crt"),
            ("--peer-key-file", "peer.key"),
            ("--peer-trusted-ca-file", "ca.crt"),
        ];
        arguments.extend(flags.into_iter().flat_map(|(flag, name)| [flag.to_owned(), file(name)]));
        let (name, client, peer) = (name.to_owned(), client.to_owned(), peer.to_owned());
        Node { name, client, peer, certs: certs.to_owned(), log, arguments, process: None }
    }

    fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command = steadfast(&arguments);
        self.process = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("the program starts"));
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child");
            process.wait().expect("a child");
        }
    }

    /// How often its log says this.
    fn said(&self, what: &str) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().matches(what).count()
    }

    fn says(&self, what: &str, times: usize) {
        eventually(&format!("{} saying {what:?}", self.name), || (self.said(what) >= times).then_some(()));
    }

    /// Puts new certificates in the place of those it uses, file by file, as an operator would.
    fn renew(&self, from: &Path) {
        for file in ["server.key", "server.crt", "peer.key", "peer.crt"] {
            let new = self.certs.join("new");
            fs::copy(from.join(file), &new).expect("a copy");
            fs::rename(&new, self.certs.join(file)).expect("renamed");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- the end of {}'s log\n{}", self.name, lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        self.kill();
    }
}

/// Three nodes with one CA; each has its certificates in a directory of its own.
struct Cluster {
    nodes: Vec<Node>,
    /// Dropped last: the nodes' logs are in it.
    directory: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let authority = directory.path().join("certs");
        certs(&authority);
        let places: Vec<[String; 2]> = (0..3).map(|_| [0; 2].map(|_| free_address())).collect();
        let list: Vec<String> = places.iter().enumerate().map(|(k, [_, peer])| format!("n{k}={peer}")).collect();
        let list = list.join(",");
        let mut nodes = Vec::new();
        for (k, [client, peer]) in places.iter().enumerate() {
            let own = directory.path().join(format!("certs{k}"));
            copy_all(&authority, &own);
            let mut node = Node::new(directory.path(), &format!("n{k}"), [client, peer], &own, ["--initial-cluster", &list]);
            node.start();
            nodes.push(node);
        }
        let cluster = Cluster { directory, nodes };
        cluster.serves();
        cluster
    }

    fn certs(&self) -> PathBuf {
        self.directory.path().join("certs")
    }

    fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| format!("https://{}", node.client)).collect::<Vec<_>>().join(",")
    }

    /// Runs a command of ours with the client's certificate in `certs`.
    fn ours(&self, words: &[&str], certs: &Path) -> Output {
        let file = |name: &str| certs.join(name).to_str().expect("UTF-8").to_owned();
        let flags = ["--cacert", &file("ca.crt"), "--cert", &file("client.crt"), "--key", &file("client.key")];
        steadfast(&[words, &["--endpoints", &self.endpoints()], &flags].concat()).output().expect("it runs")
    }

    /// Waits until all three answer and agree on a leader.
    fn serves(&self) {
        eventually("a cluster with all its nodes", || {
            let status = self.ours(&["status", "--json"], &self.certs());
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            let nodes = status["nodes"].as_array()?;
            let up = nodes.iter().filter(|node| ["leader", "follower"].contains(&node["role"].as_str().unwrap_or_default())).count();
            let led = nodes.iter().any(|node| node["role"] == "leader");
            (up == self.nodes.len() && led).then_some(())
        });
    }

    fn config(&self) -> Arc<ClientConfig> {
        let certs = self.certs();
        dialling(DialTrust::Ca(&certs.join("ca.crt")), Some((&certs.join("client.crt"), &certs.join("client.key")))).expect("certificates")
    }
}

/// Certificates signed by the same CA as those in `from`.
fn renewed(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for file in ["ca.crt", "ca.key"] {
        fs::copy(from.join(file), to.join(file)).expect("a copy");
    }
    certs(to);
}

/// A command line of etcd's client.
fn etcdctl(program: &str, endpoints: &str, flags: &[(&str, PathBuf)], words: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCDCTL_")) {
        command.env_remove(name);
    }
    command.env("ETCDCTL_API", "3").arg(format!("--endpoints={endpoints}")).args(["--command-timeout=10s", "--dial-timeout=2s"]);
    for (flag, path) in flags {
        command.arg(flag).arg(path);
    }
    command.args(words);
    command
}

fn output(mut command: Command) -> (bool, String) {
    let output = command.output().expect("etcdctl starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
#[ignore = "needs etcdctl 3.4 and 3.5.1 in ETCDCTL_3_4 and ETCDCTL_3_5; starts a cluster"]
fn etcds_clients_are_served_over_mutual_tls_and_others_are_not() {
    let cluster = Cluster::start();
    let stranger = cluster.directory.path().join("stranger");
    certs(&stranger);
    let (ours, endpoints) = (cluster.certs(), cluster.endpoints());
    let flags = |ca: &Path, own: &Path| {
        [("--cacert", ca.join("ca.crt")), ("--cert", own.join("client.crt")), ("--key", own.join("client.key"))].to_vec()
    };
    for version in ["3_4", "3_5"] {
        let program = support::etcdctl::program(&format!("ETCDCTL_{version}"));
        let run = |flags: &[(&str, PathBuf)], words: &[&str]| output(etcdctl(&program, &endpoints, flags, words));
        let good = flags(&ours, &ours);
        assert_eq!(run(&good, &["put", version, "value"]), (true, "OK\n".to_owned()), "{version}");
        assert_eq!(run(&good, &["get", version]), (true, format!("{version}\nvalue\n")), "{version}");
        let mut watch = etcdctl(&program, &endpoints, &good, &["watch", version, "--rev=1"]);
        let mut watch = watch.stdout(Stdio::piped()).spawn().expect("etcdctl starts");
        let mut event = vec![0; format!("PUT\n{version}\nvalue\n").len()];
        std::io::Read::read_exact(watch.stdout.as_mut().expect("piped"), &mut event).expect("an event");
        watch.kill().expect("a child");
        watch.wait().expect("a child");
        assert_eq!(event, format!("PUT\n{version}\nvalue\n").into_bytes());

        let (member_list, healthy) = (run(&good, &["member", "list"]), run(&good, &["endpoint", "health"]));
        assert!(member_list.0 && member_list.1.contains("https://127.0.0.1:") && healthy.0, "{member_list:?} {healthy:?}");
        for (what, flags) in [
            ("no certificate", vec![("--cacert", ours.join("ca.crt"))]),
            ("a certificate of another CA", flags(&ours, &stranger)),
            ("trust in another CA", flags(&stranger, &ours)),
        ] {
            assert!(!run(&flags, &["put", version, "forged"]).0, "{version} with {what}");
        }
        let plain = endpoints.replace("https://", "http://");
        assert!(!output(etcdctl(&program, &plain, &[], &["put", version, "forged"])).0, "{version} in plain text");
        assert_eq!(run(&good, &["get", version]), (true, format!("{version}\nvalue\n")), "{version}");
    }
    assert!(cluster.nodes.iter().any(|node| node.said("speaks plain text") > 0), "it is said once");

    let get = cluster.ours(&["kv", "get", "3_4"], &ours);
    assert!(get.status.success(), "{}", String::from_utf8_lossy(&get.stderr));
    let refused = cluster.ours(&["kv", "get", "3_4"], &stranger);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("UnknownIssuer"), "{error}");
    let (runtime, config) = (runtime(), cluster.config());
    let answer = runtime.block_on(health(&cluster.nodes[0].client, &config));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"health\":\"true\",\"reason\":\"\"}"), "{answer}");
}

#[test]
#[ignore = "needs etcdctl 3.5.1 in ETCDCTL_3_5; starts a cluster"]
fn the_name_in_a_certificate_is_the_user() {
    let cluster = Cluster::start();
    let (ours, endpoints, program) = (cluster.certs(), cluster.endpoints(), support::etcdctl::program("ETCDCTL_3_5"));
    let flags = [("--cacert", ours.join("ca.crt")), ("--cert", ours.join("client.crt")), ("--key", ours.join("client.key"))];
    let run = |words: &str| etcdctl(&program, &endpoints, &flags, &words.split(' ').collect::<Vec<_>>()).output().expect("etcdctl starts");
    for words in [
        "user add root:secret",
        "user grant-role root root",
        "user add client --no-password",
        "role add own",
        "role grant-permission own readwrite k --prefix=true",
        "user grant-role client own",
        "put other value",
        "auth enable",
    ] {
        let output = run(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for (words, is_allowed) in [
        ("put k1 value", true),
        ("get k1", true),
        ("put other value", false),
        ("get other", false),
        ("user list", false),
        ("--user=root:secret get other", true),
        ("--user=root:wrong get k1", false),
    ] {
        let output = run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_allowed, "{words}: {error}");
        let refusal = if words.contains("wrong") { "authentication failed" } else { "permission denied" };
        assert!(is_allowed || error.contains(refusal), "{words}: {error}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

async fn secure(address: &str, config: Arc<ClientConfig>) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    TlsConnector::from(config).connect(server_name(address)?, TcpStream::connect(address).await?).await
}

/// What the client port says over HTTP/1.1.
async fn health(address: &str, config: &Arc<ClientConfig>) -> String {
    let mut config = (**config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = secure(address, Arc::new(config)).await.expect("a connection");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

async fn connect(address: &str, config: &Arc<ClientConfig>) -> Result<KvClient<Channel>, tonic::transport::Error> {
    let (to, config) = (address.to_owned(), config.clone());
    let connector = tower::service_fn(move |_| {
        let (to, config) = (to.clone(), config.clone());
        async move { secure(&to, config).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("a URL");
    Ok(KvClient::new(endpoint.connect_with_connector(connector).await?))
}

/// Writes without pause, on one connection or on a new one each time; every request must succeed.
async fn write(address: String, config: Arc<ClientConfig>, again: bool, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut client = connect(&address, &config).await.expect("a connection");
    while !stop.load(Ordering::Relaxed) {
        if again {
            client = connect(&address, &config).await.expect("a new connection");
        }
        let put = PutRequest { key: "load".into(), value: "x".into(), ..PutRequest::default() };
        client.put(put).await.expect("a put");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "starts a cluster of processes"]
fn certificates_are_renewed_under_load_without_a_failed_request() {
    let cluster = Cluster::start();
    let (runtime, stop) = (runtime(), Arc::new(AtomicBool::new(false)));
    let mut writers = Vec::new();
    for node in &cluster.nodes {
        for again in [false, true] {
            let done = Arc::<AtomicU64>::default();
            let task = write(node.client.clone(), cluster.config(), again, stop.clone(), done.clone());
            writers.push((runtime.spawn(task), done));
        }
    }
    let progress = || {
        for (task, done) in &writers {
            let goal = done.load(Ordering::Relaxed) + 20;
            eventually("progress of each writer", || {
                assert!(!task.is_finished(), "a request failed");
                (done.load(Ordering::Relaxed) >= goal).then_some(())
            });
        }
    };
    progress();
    for round in 1..=3 {
        let new = cluster.directory.path().join(format!("renewed{round}"));
        renewed(&cluster.certs(), &new);
        for node in &cluster.nodes {
            node.renew(&new);
        }
        // Of both ports.
        cluster.nodes.iter().for_each(|node| node.says("is in use from now on", 2 * round));
        progress();
    }
    for node in &cluster.nodes {
        fs::write(node.certs.join("server.crt"), "not a certificate").expect("written");
        node.says("the certificate in use stays in use", 1);
    }
    progress();
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|(task, _)| runtime.block_on(task).expect("no request failed"));
    cluster.nodes.iter().for_each(|node| assert_eq!(node.said("lost the connection to the peer"), 0, "{}", node.name));
}

#[test]
#[ignore = "starts a cluster of processes and kills one"]
fn a_killed_node_returns_with_renewed_certificates() {
    let mut cluster = Cluster::start();
    let new = cluster.directory.path().join("renewed");
    renewed(&cluster.certs(), &new);
    for at in 0..cluster.nodes.len() {
        cluster.nodes[at].kill();
        let key = format!("while {at} is away");
        let put = eventually("a put through the others", || {
            let put = cluster.ours(&["kv", "put", &key, "x"], &cluster.certs());
            put.status.success().then_some(put)
        });
        assert!(put.status.success());
        cluster.nodes[at].renew(&new);
        cluster.nodes[at].start();
        cluster.serves();
    }
}

#[test]
#[ignore = "starts a cluster of processes"]
fn a_node_with_a_certificate_of_another_ca_cannot_join() {
    let mut cluster = Cluster::start();
    let stranger = cluster.directory.path().join("stranger");
    certs(&stranger);
    let [client, peer] = [0; 2].map(|_| free_address());
    let added = cluster.ours(&["member", "add", "n3", "--peer", &peer], &cluster.certs());
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let through = cluster.nodes[0].peer.clone();
    let mut intruder = Node::new(cluster.directory.path(), "n3", [&client, &peer], &stranger, ["--join", &through]);
    intruder.start();
    intruder.says("cannot join", 1);
    cluster.nodes[0].says("a connection to the peer port was refused", 1);
    intruder.kill();
    assert_eq!(intruder.said("has its place in the cluster"), 0);

    let certs = cluster.certs();
    let mut node = Node::new(cluster.directory.path(), "n3", [&client, &peer], &certs, ["--join", &through]);
    node.start();
    node.says("has its place in the cluster", 1);
    cluster.nodes.push(node);
    cluster.serves();
}
