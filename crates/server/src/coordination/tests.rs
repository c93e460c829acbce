//! The node's own cluster, of three nodes in this process, passes the conformance tests; and users and clients have no way to it.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use steadfast_coordination::conformance::{self, World};
use steadfast_coordination::{Key, Prefix, Records, Update, Watch as _, Write};
use steadfast_state::auth::{Auth, AuthChange};
use steadfast_types::Instant as Moment;
use tokio::net::TcpListener;

use super::*;
use crate::admin::Metrics;
use crate::clock::Clock;
use crate::fault_table::Faults;
use crate::formation::settle;
use crate::identity::Directory;
use crate::options::{ServerOptions, Start};
use crate::ports::Ports;
use crate::run::Running;

struct Node {
    running: Running,
    _ports: Ports,
}

/// Three nodes, on ports of loopback that the system chose.
struct Trio {
    nodes: Vec<Option<Node>>,
    stores: Vec<OwnCluster>,
    clock: Clock,
    _home: tempfile::TempDir,
}

impl Trio {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut listeners = Vec::new();
        for _ in 0..3 {
            listeners.push([listener().await, listener().await, listener().await]);
        }
        let members: Vec<(String, String)> =
            listeners.iter().enumerate().map(|(k, [_, peers, _])| (format!("n{k}"), address(peers).to_string())).collect();
        let start = Start::InitialCluster { token: "trio".into(), members };
        let nodes = listeners.into_iter().enumerate().map(|(k, listeners)| {
            let [clients, peers, admin] = listeners.each_ref().map(address);
            let name = format!("n{k}");
            node(
                ServerOptions {
                    listen_client: clients,
                    listen_peer: peers,
                    listen_admin: admin,
                    advertise_client: vec![format!("http://{clients}")],
                    advertise_peer: peers.to_string(),
                    start: start.clone(),
                    ..ServerOptions::local(&name, home.path().join(&name))
                },
                listeners,
            )
        });
        let nodes: Vec<Node> = join_all(nodes).await;
        let stores = nodes.iter().map(|node| node.running.coordination.clone()).collect();
        Trio { nodes: nodes.into_iter().map(Some).collect(), stores, clock: Clock::new(Faults::default()), _home: home }
    }

    async fn stop(&mut self, number: usize) {
        if let Some(node) = self.nodes[number].take() {
            node.running.stop().await.unwrap();
        }
    }

    async fn stop_all(mut self) {
        for number in 0..self.nodes.len() {
            self.stop(number).await;
        }
    }

    async fn leader(&self) -> usize {
        let leader = *self.stores[0].0.leader().wait_for(Option::is_some).await.unwrap();
        self.stores.iter().position(|store| Some(store.0.identity().member) == leader).unwrap()
    }

    async fn change_users(&self, change: AuthChange) {
        self.stores[0].apply(Command::Auth(change)).await.ok().expect("the state takes it");
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap()
}

async fn node(options: ServerOptions, [clients, peers, admin]: [TcpListener; 3]) -> Node {
    let metrics = Metrics::new();
    let mut directory = Directory::open(&options.data_dir, &options.name, &options.advertise_peer).unwrap();
    let ports = Ports::secure(&options, &metrics).unwrap();
    let membership = settle(&options, &mut directory, &peers, &ports.link).await.unwrap();
    let running = Running::start(&options, directory, membership, (clients, peers, admin, None), (&ports, metrics)).unwrap();
    Node { running, _ports: ports }
}

impl World for Trio {
    type Store = OwnCluster;

    fn store(&self, number: usize) -> OwnCluster {
        self.stores[number % self.stores.len()].clone()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    async fn compact(&self, revision: Revision) {
        assert!(self.stores[0].apply(Command::Compact { revision }).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_cluster_conforms() {
    let trio = Trio::start().await;
    conformance::all(&trio).await;
    trio.stop_all().await;
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

async fn put(store: &OwnCluster, key: Key) -> Outcome {
    store.commit(Batch::default().then(Write::put(key, "value"))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn authentication_does_not_stand_in_its_way_and_nobody_else_passes_with_it() {
    let trio = Trio::start().await;
    let (store, other) = (&trio.stores[0], &trio.stores[1]);
    let empty = store.read(Read::prefix(Prefix::default())).await.unwrap();
    assert_eq!((empty.revision, empty.records), (Revision(1), vec![]), "a cluster begins without records of its own");
    let Outcome::Applied(first) = put(store, key("k")).await else { panic!("nothing stands against it") };
    let mut watch = other.watch(Keys::Under(Prefix::default()), first);
    assert_eq!(watch.next().await.unwrap().revision, first);
    for change in [
        AuthChange::UserAdd { name: ROOT.into(), password: None },
        AuthChange::RoleAdd { name: ROOT.into() },
        AuthChange::UserGrantRole { name: ROOT.into(), role: ROOT.into() },
        AuthChange::UserAdd { name: "ann".into(), password: None },
        AuthChange::Enable,
    ] {
        trio.change_users(change).await;
    }
    let lease = store.grant(60).await.unwrap();
    let held = Write::put_under(lease.id, key("held"), "");
    assert!(matches!(store.commit(Batch::default().then(held)).await, Ok(Outcome::Applied(_))));
    assert_eq!(other.read(Read::prefix(Prefix::default())).await.unwrap().records.len(), 2);
    assert_eq!(watch.next().await.unwrap().changes.len(), 1, "a watch goes on");
    let mut late = other.watch(key("k").into(), first);
    assert_eq!(late.next().await.unwrap().revision, first);
    store.revoke(lease.id).await.unwrap();
    // The same by anybody else, or nobody, is refused.
    let command = Command::Put(command::Put { key: "k".into(), ..command::Put::default() });
    let auth: std::sync::Arc<Auth> = store.0.auth().unwrap();
    let ann = Authorized::command(auth.caller("ann"), command.clone());
    for (command, refusal) in [(command, AuthError::UserEmpty), (ann, AuthError::PermissionDenied)] {
        assert_eq!(store.0.propose(command).await.unwrap().result, Err(CommandError::Auth(refusal)));
    }
    // While users change without pause, every batch is applied.
    let changes = async {
        for number in 0..20 {
            trio.change_users(AuthChange::UserAdd { name: format!("user{number}"), password: None }).await;
        }
    };
    let writes = async {
        for _ in 0..20 {
            assert!(matches!(put(other, key("k")).await, Outcome::Applied(_)));
        }
    };
    tokio::join!(changes, writes);
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_survive_their_leader() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let others: Vec<OwnCluster> = (0..3).filter(|number| *number != leader).map(|number| trio.stores[number].clone()).collect();
    let increments = (0..8).map(|task: usize| {
        let counters: Records<OwnCluster, u64> = Records::new(others[task % 2].clone(), Prefix::default(), task as u64);
        tokio::spawn(async move {
            for _ in 0..50 {
                counters.update("n", |value| Update::Put(value.copied().unwrap_or(0) + 1)).await.unwrap();
            }
        })
    });
    let increments: Vec<_> = increments.collect();
    let mut watch = others[0].watch(key("n").into(), Revision(1));
    // It leaves in the middle.
    for _ in 0..100 {
        watch.next().await.unwrap();
    }
    trio.stop(leader).await;
    join_all(increments).await.into_iter().for_each(|ended| ended.unwrap());
    let counters: Records<OwnCluster, u64> = Records::new(others[1].clone(), Prefix::default(), 99);
    assert_eq!(counters.read("n").await.unwrap().0, Some(400));
    trio.stop_all().await;
}
