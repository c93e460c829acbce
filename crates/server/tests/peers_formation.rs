//! Clusters that form and nodes that join, over real sockets and directories.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steadfast_server::admin::Metrics;
use steadfast_server::formation::{ClaimGrant, ClaimRefusal, Claims, FormationError, FrontDesk, settle};
use steadfast_server::identity::{Directory, Identity, Membership};
use steadfast_server::options::{ServerOptions, Start, peer_url};
use steadfast_server::peers::{Link, LocalPeer, PeerEvent, PeerTransport};
use steadfast_state::command::Member;
use steadfast_types::NodeId;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// The members of a running cluster, which grant claims as the replicated state does.
#[derive(Clone, Default)]
struct Register(Arc<Mutex<Vec<Member>>>);

impl Register {
    fn add(&self, id: u64, address: &str) {
        let member = Member { id: NodeId(id), peer_urls: vec![peer_url(address)], ..Member::default() };
        self.0.lock().unwrap().push(member);
    }
}

impl Claims for Register {
    async fn claim(&self, peer_url: String, nonce: u64) -> Result<ClaimGrant, ClaimRefusal> {
        let mut members = self.0.lock().unwrap();
        let member = members.iter_mut().find(|member| member.peer_urls.contains(&peer_url)).ok_or(ClaimRefusal::NotAdded)?;
        if member.claimed_by != 0 && member.claimed_by != nonce {
            return Err(ClaimRefusal::AlreadyClaimed);
        }
        member.claimed_by = nonce;
        Ok(ClaimGrant { member: member.clone(), members: members.clone() })
    }
}

/// A node that has its place, and answers those that have none yet.
struct Running {
    identity: Identity,
    membership: Membership,
    transport: PeerTransport,
    events: mpsc::Receiver<PeerEvent>,
}

async fn run(options: ServerOptions, listener: TcpListener, register: Register) -> Result<Running, FormationError> {
    options.validate().unwrap();
    let mut directory = Directory::open(&options.data_dir, &options.name, &options.advertise_peer)?;
    let membership = settle(&options, &mut directory, &listener, &Link::Plain).await?;
    let identity = directory.identity().clone();
    let local = LocalPeer { cluster: membership.cluster, node: identity.node, incarnation: 1, address: identity.address.clone() };
    let (sender, events) = mpsc::channel(64);
    let transport = PeerTransport::start(listener, local, sender, FrontDesk::new(membership.clone(), register), Metrics::new());
    transport.add_contacts(membership.contacts.clone());
    Ok(Running { identity, membership, transport, events })
}

/// Three nodes to be, each with its address and directory.
struct Trio {
    home: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    listeners: Vec<Option<TcpListener>>,
    register: Register,
}

impl Trio {
    async fn new() -> Trio {
        let mut listeners = Vec::new();
        for _ in 0..3 {
            listeners.push(Some(TcpListener::bind("127.0.0.1:0").await.unwrap()));
        }
        let addresses = listeners.iter().map(|listener| listener.as_ref().unwrap().local_addr().unwrap()).collect();
        Trio { home: tempfile::tempdir().unwrap(), addresses, listeners, register: Register::default() }
    }

    fn directory(&self, number: usize) -> PathBuf {
        self.home.path().join(format!("n{number}"))
    }

    fn options(&self, number: usize) -> ServerOptions {
        let members = self.addresses.iter().enumerate().map(|(number, address)| (format!("n{number}"), address.to_string())).collect();
        let start = Start::InitialCluster { token: "token".to_owned(), members };
        options(&format!("n{number}"), &self.directory(number), &self.addresses[number].to_string(), start)
    }

    async fn start(&mut self, number: usize) -> JoinHandle<Result<Running, FormationError>> {
        let listener = match self.listeners[number].take() {
            Some(listener) => listener,
            None => TcpListener::bind(self.addresses[number]).await.unwrap(),
        };
        tokio::spawn(run(self.options(number), listener, self.register.clone()))
    }
}

fn options(name: &str, directory: &Path, address: &str, start: Start) -> ServerOptions {
    ServerOptions { advertise_peer: address.to_owned(), start, ..ServerOptions::local(name, directory) }
}

async fn done(task: JoinHandle<Result<Running, FormationError>>) -> Result<Running, FormationError> {
    timeout(PATIENCE, task).await.expect("in time").expect("no panic")
}

#[tokio::test]
async fn three_nodes_form_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut trio = Trio::new().await;
        let mut tasks = Vec::new();
        for number in order {
            assert!(tasks.iter().all(|task: &JoinHandle<_>| !task.is_finished()), "no node forms without the others");
            tasks.push(trio.start(number).await);
        }
        let mut nodes = Vec::new();
        for task in tasks {
            nodes.push(done(task).await.unwrap());
        }
        assert!(nodes.iter().all(|node| node.membership == nodes[0].membership));
        let configuration = nodes[0].membership.genesis.configuration();
        assert!(nodes.iter().all(|node| configuration.is_voter(node.identity.node)) && configuration.voters.len() == 3);
        for node in &mut nodes {
            for _ in 0..2 {
                let event = timeout(PATIENCE, node.events.recv()).await.unwrap().unwrap();
                assert!(matches!(event, PeerEvent::Connected(..)), "{event:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_node_alone_forms_at_once() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = Start::InitialCluster { token: "token".to_owned(), members: vec![("n1".to_owned(), address.clone())] };
    let node = run(options("n1", home.path(), &address, start), listener, Register::default()).await.unwrap();
    assert_eq!(node.membership.genesis.members()[0].id, node.identity.node);
}

#[tokio::test]
async fn a_restart_in_the_middle_keeps_its_id() {
    let mut trio = Trio::new().await;
    let first = trio.start(0).await;
    let second = trio.start(1).await;
    // It may have told the first its id by now, or not: both must do.
    let identity = trio.directory(1).join("IDENTITY");
    while !identity.exists() {
        tokio::task::yield_now().await;
    }
    second.abort();
    assert!(second.await.is_err());
    let id = Directory::open(&trio.directory(1), "n1", &trio.addresses[1].to_string()).unwrap().identity().node;
    let second = trio.start(1).await;
    let third = trio.start(2).await;
    let [first, second, third] = [done(first).await.unwrap(), done(second).await.unwrap(), done(third).await.unwrap()];
    assert_eq!(second.identity.node, id);
    assert!(first.membership == second.membership && second.membership == third.membership);
}

#[tokio::test]
async fn a_late_one_learns_the_genesis_from_any_that_formed() {
    let mut trio = Trio::new().await;
    let tasks = [trio.start(0).await, trio.start(1).await, trio.start(2).await];
    let mut nodes = Vec::new();
    for task in tasks {
        nodes.push(done(task).await.unwrap());
    }
    // The third crashed before its place was durable: its directory knows only its id.
    let third = nodes.pop().unwrap();
    third.transport.shutdown().await;
    nodes.pop().unwrap().transport.shutdown().await;
    forget_place(&trio.directory(2));
    let again = trio.start(2).await;
    let again = done(again).await.unwrap();
    assert_eq!(again.membership, third.membership);
}

/// Brings the directory's identity back to before it had its place.
fn forget_place(directory: &Path) {
    let file = directory.join("IDENTITY");
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["membership"] = serde_json::Value::Null;
    let body = body.to_string();
    std::fs::write(&file, format!("steadfast identity 1 {:08x}\n{body}", crc32c::crc32c(body.as_bytes()))).unwrap();
}

#[tokio::test]
async fn an_emptied_directory_is_refused_with_the_remedy() {
    let mut trio = Trio::new().await;
    let tasks = [trio.start(0).await, trio.start(1).await, trio.start(2).await];
    let mut nodes = Vec::new();
    for task in tasks {
        nodes.push(done(task).await.unwrap());
    }
    let lost = nodes.remove(1);
    lost.transport.shutdown().await;
    std::fs::remove_dir_all(trio.directory(1)).unwrap();
    let again = trio.start(1).await;
    let error = done(again).await.err().expect("refused");
    assert!(matches!(&error, FormationError::Emptied { known, .. } if *known == lost.identity.node), "{error}");
    let (text, address) = (error.to_string(), trio.addresses[1]);
    assert!(text.contains(&format!("steadfast member remove {}", lost.identity.node)), "{text}");
    assert!(text.contains(&format!("steadfast member add --peer {address}")) && text.contains("--join"), "{text}");
}

#[tokio::test]
async fn a_resumed_node_needs_nobody() {
    let mut trio = Trio::new().await;
    let tasks = [trio.start(0).await, trio.start(1).await, trio.start(2).await];
    let mut memberships = Vec::new();
    for task in tasks {
        let node = done(task).await.unwrap();
        node.transport.shutdown().await;
        memberships.push(node.membership);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let resumed = ServerOptions { start: Start::Resume, ..trio.options(0) };
    assert_eq!(run(resumed.clone(), listener, Register::default()).await.unwrap().membership, memberships[0]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let Start::InitialCluster { members, .. } = trio.options(0).start else { panic!("as made") };
    let other = ServerOptions { start: Start::InitialCluster { token: "other".into(), members }, ..resumed };
    assert!(matches!(run(other, listener, Register::default()).await, Err(FormationError::Identity(_))));
    let (home, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let empty = ServerOptions { start: Start::Resume, ..ServerOptions::local("n0", home.path()) };
    assert!(matches!(run(empty, listener, Register::default()).await, Err(FormationError::NothingToResume { .. })));
}

#[tokio::test]
async fn nodes_that_were_told_otherwise_say_so() {
    let mut trio = Trio::new().await;
    let _first = trio.start(0).await;
    let listener = trio.listeners[1].take().unwrap();
    let mut options = trio.options(1);
    let Start::InitialCluster { token, .. } = &mut options.start else { panic!("as made") };
    *token = "other".to_owned();
    let error = timeout(PATIENCE, run(options, listener, Register::default())).await.unwrap().err().expect("refused");
    let text = error.to_string();
    assert!(text.contains("its token is `token`, here it is `other`") && text.contains("same --initial-cluster"), "{text}");
}

#[tokio::test]
async fn a_claim_is_granted_once() {
    let (home, register) = (tempfile::tempdir().unwrap(), Register::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = Start::InitialCluster { token: "token".to_owned(), members: vec![("n1".to_owned(), address.clone())] };
    let member = run(options("n1", &home.path().join("n1"), &address, start), listener, register.clone()).await.unwrap();
    register.add(member.identity.node.0, &address);

    let join = |name: &'static str, directory: &str| {
        let (path, register) = (home.path().join(directory), register.clone());
        let peers = Start::Join { peers: vec!["127.0.0.1:1".to_owned(), address.clone()] };
        async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            timeout(PATIENCE, run(options(name, &path, "127.0.0.1:9999", peers), listener, register)).await.unwrap()
        }
    };
    let error = join("n2", "n2").await.err().expect("not added").to_string();
    assert!(error.contains("run `steadfast member add --peer 127.0.0.1:9999` on it first"), "{error}");

    register.add(0xbeef, "127.0.0.1:9999");
    let joined = join("n2", "n2").await.unwrap();
    assert_eq!(joined.identity.node, NodeId(0xbeef));
    assert_eq!(joined.membership.genesis, member.membership.genesis);
    assert_eq!(joined.membership.contacts, [(member.identity.node, address.clone())].into());
    // The same directory resumes; had it crashed before it was settled, its nonce would be granted again.
    forget_place(&home.path().join("n2"));
    assert_eq!(join("n2", "n2").await.unwrap().identity.node, NodeId(0xbeef));

    let error = join("n2", "another").await.err().expect("claimed").to_string();
    assert!(error.contains("has started before, with another directory") && error.contains("member remove"), "{error}");
}
