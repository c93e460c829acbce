//! `Coordination` over the etcd API: real clusters of etcd 3.5.1 and of Steadfast pass the same conformance tests, and killed nodes make nothing
//! be lost or happen twice.
//!
//! Needs etcd 3.5.1, which `ETCD_3_5` names: `cargo test -p steadfast --test coordination -- --ignored`; `.ci/run` installs it.

mod support;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use steadfast_client::{Clock, Endpoint, Etcd, EtcdOptions, Kept, User, connect, connect_any, link};
use steadfast_coordination::conformance::{self, World};
use steadfast_coordination::{
    Batch, Change, Coordination, Effect, Error, Key, Lost, Outcome, Prefix, Read, Records, Stored, Time, Update, Watch, WatchError, Write,
};
use steadfast_etcd_api::proto::authpb::Permission;
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_server::tls::{DialTrust, dialling};
use steadfast_types::{Instant, Revision};
use support::{Cluster, eventually, oracle, resident_bytes};

use pb::auth_client::AuthClient;

/// How many change one counter at the same time.
const TASKS: u64 = 6;

/// A cluster, with a handle for each of its nodes.
struct Remote {
    endpoints: Vec<Endpoint>,
    stores: Vec<Etcd>,
    user: Option<User>,
    clock: Clock,
}

impl Remote {
    fn new(endpoints: &[String]) -> Self {
        Self::of(endpoints.iter().map(|endpoint| endpoint.parse().expect("an endpoint")).collect(), None)
    }

    fn of(endpoints: Vec<Endpoint>, user: Option<User>) -> Self {
        let stores = endpoints.iter().map(|endpoint| store(vec![endpoint.clone()], user.clone())).collect();
        Remote { endpoints, stores, user, clock: Clock::new() }
    }
}

fn store(endpoints: Vec<Endpoint>, user: Option<User>) -> Etcd {
    Etcd::new(EtcdOptions { user, ..EtcdOptions::new(endpoints) })
}

impl World for Remote {
    type Store = Etcd;

    fn store(&self, number: usize) -> Etcd {
        self.stores[number % self.stores.len()].clone()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    async fn compact(&self, revision: Revision) {
        let channel = connect(&self.endpoints[0]).await.expect("it runs");
        let mut kv = pb::kv_client::KvClient::new(link(channel, self.user.as_ref()).await.expect("known"));
        kv.compact(pb::CompactionRequest { revision: revision.0, physical: false }).await.expect("compacted");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(future)
}

#[test]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts a cluster of it; takes half a minute"]
fn etcd_conforms() {
    let etcd = oracle::Etcd::members(3);
    let endpoints: Vec<String> = etcd.iter().map(|member| member.endpoint.clone()).collect();
    block_on(conformance::all(&Remote::new(&endpoints)));
}

#[test]
#[ignore = "starts a cluster of processes; takes half a minute"]
fn steadfast_conforms() {
    let cluster = Cluster::start(3);
    block_on(conformance::all(&Remote::new(&cluster.endpoints())));
}

#[test]
#[ignore = "starts a cluster of processes; takes half a minute"]
fn steadfast_conforms_over_tls_to_a_user_who_may() {
    let cluster = Cluster::secured(1);
    let file = |name: &str| cluster.certificates().join(name);
    let tls = dialling(DialTrust::Ca(&file("ca.crt")), Some((&file("client.crt"), &file("client.key")))).expect("certificates");
    let endpoints: Vec<Endpoint> =
        cluster.endpoints().iter().map(|e| e.parse::<Endpoint>().expect("valid").with_tls(Some(tls.clone()))).collect();
    let root: User = "root:secret".parse().expect("a user");
    block_on(async {
        enable_auth(&endpoints).await;
        conformance::all(&Remote::of(endpoints, Some(root))).await;
    });
}

/// Users `root` and `ann`, both with the password `secret`; `ann` may read and write what begins with `ann/`.
async fn enable_auth(endpoints: &[Endpoint]) {
    let mut auth = AuthClient::new(connect_any(endpoints).await.expect("it runs"));
    for name in ["root", "ann"] {
        auth.role_add(pb::AuthRoleAddRequest { name: name.into() }).await.expect("a role");
        let user = pb::AuthUserAddRequest { name: name.into(), password: "secret".into(), ..Default::default() };
        auth.user_add(user).await.expect("a user");
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: name.into(), role: name.into() }).await.expect("granted");
    }
    let perm = Permission { perm_type: 2, key: "ann/".into(), range_end: "ann0".into() };
    auth.role_grant_permission(pb::AuthRoleGrantPermissionRequest { name: "ann".into(), perm: Some(perm) }).await.expect("granted");
    auth.auth_enable(pb::AuthEnableRequest {}).await.expect("enabled");
}

/// What a user may not do is refused, and changes nothing; a token that has ended is replaced without a word.
async fn rights_are_kept(endpoints: Vec<Endpoint>) {
    enable_auth(&endpoints).await;
    let ann = store(endpoints.clone(), Some("ann:secret".parse().expect("a user")));
    let root = store(endpoints.clone(), Some("root:secret".parse().expect("a user")));
    let [own, others] = ["ann/k", "bob/k"].map(|key| Key::new(key).expect("short"));
    let put = |key: &Key| Batch::default().then(Write::put(key.clone(), ""));
    let Ok(Outcome::Applied(revision)) = ann.commit(put(&own)).await else { panic!("she may") };
    let refused = ann.commit(put(&others)).await.expect_err("she may not");
    assert!(matches!(refused, Error::Refused(_)) && refused.effect() == Effect::Unchanged, "{refused}");
    assert!(matches!(ann.read(Read::key(others.clone())).await, Err(Error::Refused(_))));
    let mut watch = ann.watch(others.into(), revision);
    assert!(matches!(watch.next().await, Err(WatchError::Ended(_))));
    let mut watch = ann.watch(own.clone().into(), revision);
    assert_eq!(watch.next().await.expect("she may").revision, revision);
    for wrong in ["ann:wrong", "nobody:secret"] {
        let stranger = store(endpoints.clone(), Some(wrong.parse().expect("a user")));
        assert!(matches!(stranger.read(Read::key(own.clone())).await, Err(Error::Refused(_))));
    }
    // All tokens of hers end, and an auth revision of all others.
    let channel = connect_any(&endpoints).await.expect("it runs");
    let mut auth = AuthClient::new(link(channel, Some(&"root:secret".parse().expect("a user"))).await.expect("known"));
    let change = pb::AuthUserChangePasswordRequest { name: "ann".into(), password: "secret".into(), ..Default::default() };
    auth.user_change_password(change).await.expect("changed");
    for store in [&ann, &root] {
        assert!(matches!(store.commit(put(&own)).await, Ok(Outcome::Applied(_))));
    }
    assert_eq!(watch.next().await.expect("it goes on").changes.len(), 1);
}

#[test]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts it; takes some seconds"]
fn rights_are_kept_by_etcd() {
    let etcd = oracle::Etcd::start();
    block_on(rights_are_kept(vec![etcd.endpoint.parse().expect("an endpoint")]));
}

#[test]
#[ignore = "starts a cluster of processes; takes some seconds"]
fn rights_are_kept_by_steadfast() {
    let cluster = Cluster::start(3);
    block_on(rights_are_kept(cluster.endpoints().iter().map(|endpoint| endpoint.parse().expect("an endpoint")).collect()));
}

/// Tasks that increment one counter until they are told to stop.
struct Increments {
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Increments {
    fn start(store: &Etcd, prefix: &Prefix) -> Self {
        let (made, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let task = |seed| {
            let counters: Records<Etcd, u64> = Records::new(store.clone(), prefix.clone(), seed);
            let (made, stop) = (made.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match counters.update("counter", |value| Update::Put(value.copied().unwrap_or(0) + 1)).await {
                        Ok(_) => drop(made.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.effect(), Effect::Unchanged, "what was lost is found again: {error}"),
                    }
                }
            })
        };
        let tasks = (0..TASKS).map(task).collect();
        Increments { made, stop, tasks }
    }

    fn await_progress(&self, more: u64) {
        let goal = self.made.load(Ordering::Relaxed) + more;
        eventually("progress of the increments", || (self.made.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.tasks).await.into_iter().for_each(|ended| ended.expect("no panic"));
        self.made.load(Ordering::Relaxed)
    }
}

/// Many increment a counter and one watches it while `break_things` does: each increment that was told happened once, and is seen once. A lease
/// is kept alive all the time.
fn nothing_is_lost_or_made_twice(endpoints: &[String], break_things: impl FnOnce(&Increments)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|endpoint| endpoint.parse().expect("an endpoint")).collect();
    let store = store(endpoints, None);
    let prefix = Prefix::new("increments/").expect("short");
    let mut watch = store.watch(prefix.clone().into(), Revision(1));
    let watcher = runtime.spawn(async move {
        let mut seen = 0;
        loop {
            for change in watch.next().await.expect("nothing is compacted").changes {
                let Change::Put(record) = change else { return seen };
                seen += 1;
                assert_eq!(Stored::<u64>::of(record).expect("a counter").value, seen, "each value is seen once, in order");
            }
        }
    });
    let (increments, kept) = runtime.block_on(async {
        let kept = Kept::grant(store.clone(), 20).await.expect("granted");
        (Increments::start(&store, &prefix), kept)
    });
    increments.await_progress(50);
    break_things(&increments);
    let made = runtime.block_on(increments.stop());
    runtime.block_on(async {
        let counters: Records<Etcd, u64> = Records::new(store.clone(), prefix, 99);
        assert_eq!(counters.read("counter").await.expect("it serves").0, Some(made));
        assert_eq!(kept.why_lost(), None);
        assert!(store.remaining(kept.id()).await.is_ok());
        store.revoke(kept.id()).await.expect("it serves");
        assert_eq!(kept.lost().await, Lost::Ended);
        counters.update("counter", |_| Update::Delete).await.expect("it serves");
        assert_eq!(watcher.await.expect("no panic"), made);
    });
}

#[test]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5), starts a cluster of it and stops each member; takes half a minute"]
fn nothing_is_lost_or_made_twice_while_each_member_of_etcd_is_stopped() {
    let mut etcd = oracle::Etcd::members(3);
    let endpoints: Vec<String> = etcd.iter().map(|member| member.endpoint.clone()).collect();
    nothing_is_lost_or_made_twice(&endpoints, |increments| {
        for member in &mut etcd {
            // Not killed: etcd 3.5.0 to 3.5.2 may come back from that without writes that the other members have, and then answers with what it lacks
            // (its postmortem of v3.5, "data inconsistency"). Seen here: a counter 110 behind.
            member.stop();
            increments.await_progress(50);
            member.start_again();
            increments.await_progress(50);
        }
    });
}

#[test]
#[ignore = "starts a cluster of processes, kills each node and pauses one; takes half a minute"]
fn nothing_is_lost_or_made_twice_while_each_node_is_killed_and_paused() {
    let mut cluster = Cluster::start(3);
    nothing_is_lost_or_made_twice(&cluster.endpoints(), |increments| {
        for node in 0..3 {
            cluster.nodes[node].kill();
            increments.await_progress(50);
            cluster.nodes[node].start_again();
            cluster.await_vote(node);
            increments.await_progress(50);
        }
        for node in 0..3 {
            cluster.nodes[node].signal(Signal::STOP);
            increments.await_progress(20);
            cluster.nodes[node].signal(Signal::CONT);
            increments.await_progress(20);
        }
    });
}

#[test]
#[ignore = "starts a cluster of processes and writes 64 MiB; takes some seconds"]
fn a_watch_that_is_not_read_takes_bounded_memory() {
    let cluster = Cluster::start(1);
    block_on(async {
        let world = Remote::new(&cluster.endpoints());
        let (store, key) = (world.store(0), Key::new("large").expect("short"));
        let put = async || match store.commit(Batch::default().then(Write::put(key.clone(), vec![7; 250 * 1024]))).await {
            Ok(Outcome::Applied(revision)) => revision,
            other => panic!("{other:?}"),
        };
        let mut watch = store.watch(key.clone().into(), put().await);
        watch.next().await.expect("it was there before");
        let before = resident_bytes(std::process::id()).expect("it runs");
        let mut last = Revision(0);
        for _ in 0..256 {
            last = put().await;
        }
        let grown = resident_bytes(std::process::id()).expect("it runs").saturating_sub(before);
        assert!(grown < 24 << 20, "64 MiB of events are on their way, and {grown} bytes of them here");
        let mut told = 0;
        while watch.next().await.expect("it goes on").revision < last {
            told += 1;
        }
        assert_eq!(told, 255);
    });
}
