//! The Lock and Election services beside etcd's own: the same calls to both, and every answer equal but for the numbers that each chooses.
//!
//! Needs etcd 3.5.1, which `ETCD_3_5` names: `cargo test -p steadfast --test turns -- --ignored`; `.ci/run` installs it.

mod support;

use std::time::Duration;

use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::v3electionpb::election_client::ElectionClient;
use steadfast_etcd_api::proto::v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest};
use steadfast_etcd_api::proto::v3lockpb::lock_client::LockClient;
use steadfast_etcd_api::proto::v3lockpb::{LockRequest, UnlockRequest};
use support::oracle::Etcd;
use support::{Cluster, LONG};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// One server and what it said.
struct Script {
    channel: Channel,
    said: Vec<String>,
    /// The revision at the beginning.
    base: i64,
}

/// What a wait came to, told by the task that waits.
type Waiting = tokio::task::JoinHandle<Result<String, Status>>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

impl Script {
    async fn begin(endpoint: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).expect("a URL");
        let channel = support::eventually("a connection", || futures_now(endpoint.connect()));
        let mut script = Script { channel, said: Vec::new(), base: 0 };
        script.base = script.keys("nothing").await.0;
        for lease in 11..=15 {
            let grant = pb::LeaseGrantRequest { ttl: 600, id: lease };
            pb::lease_client::LeaseClient::new(script.channel.clone()).lease_grant(grant).await.expect("granted");
        }
        script
    }

    fn say(&mut self, what: &str, answer: impl std::fmt::Display) {
        self.said.push(format!("{what}: {answer}"));
    }

    /// The revision now, and the keys with a prefix.
    async fn keys(&self, prefix: &str) -> (i64, Vec<steadfast_etcd_api::proto::mvccpb::KeyValue>) {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix") += 1;
        let range = pb::RangeRequest { key: prefix.to_owned().into(), range_end: end.into(), ..pb::RangeRequest::default() };
        let answer = pb::kv_client::KvClient::new(self.channel.clone()).range(range).await.expect("read").into_inner();
        (answer.header.expect("a header").revision, answer.kvs)
    }

    async fn await_keys(&self, prefix: &str, count: usize) {
        let wait = async {
            while self.keys(prefix).await.1.len() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{count} keys of {prefix:?}"));
    }

    fn lock(&self, name: &'static str, lease: i64) -> Waiting {
        let (channel, base) = (self.channel.clone(), self.base);
        tokio::spawn(async move {
            let lock = LockClient::new(channel).lock(LockRequest { name: name.into(), lease }).await?.into_inner();
            Ok(format!("{} at {}", text(&lock.key), lock.header.expect("a header").revision - base))
        })
    }

    async fn unlock(&mut self, key: &str) {
        let answer = LockClient::new(self.channel.clone()).unlock(UnlockRequest { key: key.to_owned().into() }).await;
        let answer = answer.map(|answer| (answer.into_inner().header.expect("a header").revision - self.base).to_string());
        self.say(&format!("unlock {key:?}"), answer.unwrap_or_else(|status| refused(&status)));
    }

    async fn ends(&mut self, what: &str, waiting: Waiting) {
        let ended = tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what}")).expect("no panic");
        self.say(what, ended.unwrap_or_else(|status| refused(&status)));
    }

    async fn revoke(&self, id: i64) {
        pb::lease_client::LeaseClient::new(self.channel.clone()).lease_revoke(pb::LeaseRevokeRequest { id }).await.expect("revoked");
    }

    fn campaign(&self, name: &'static str, lease: i64, value: &'static str) -> Waiting {
        let (channel, base) = (self.channel.clone(), self.base);
        tokio::spawn(async move {
            let campaign = CampaignRequest { name: name.into(), lease, value: value.into() };
            let answer = ElectionClient::new(channel).campaign(campaign).await?.into_inner();
            let LeaderKey { name, key, rev, lease } = answer.leader.expect("a leader");
            let at = answer.header.expect("a header").revision - base;
            Ok(format!("{} {} created at {} lease {lease}, at {at}", text(&name), text(&key), rev - base))
        })
    }

    fn shown(&self, answer: LeaderResponse) -> String {
        let kv = answer.kv.expect("a key");
        let at = answer.header.expect("a header").revision - self.base;
        format!("{}={} written at {}, at {at}", text(&kv.key), text(&kv.value), kv.mod_revision - self.base)
    }

    async fn leader(&mut self, name: &'static str) {
        let answer = ElectionClient::new(self.channel.clone()).leader(LeaderRequest { name: name.into() }).await;
        let answer = answer.map(|answer| self.shown(answer.into_inner())).unwrap_or_else(|status| refused(&status));
        self.say(&format!("leader of {name}"), answer);
    }

    async fn proclaim(&mut self, leader: Option<LeaderKey>, value: &'static str) {
        let answer = ElectionClient::new(self.channel.clone()).proclaim(ProclaimRequest { leader, value: value.into() }).await;
        let answer = answer.map(|answer| (answer.into_inner().header.expect("a header").revision - self.base).to_string());
        self.say(&format!("proclaim {value}"), answer.unwrap_or_else(|status| refused(&status)));
    }

    async fn resign(&mut self, leader: Option<LeaderKey>) {
        let answer = ElectionClient::new(self.channel.clone()).resign(ResignRequest { leader }).await;
        self.say("resign", answer.map(|_| "done".to_owned()).unwrap_or_else(|status| refused(&status)));
    }

    /// The key of whoever leads now.
    async fn leader_key(&self, name: &'static str) -> LeaderKey {
        let answer = ElectionClient::new(self.channel.clone()).leader(LeaderRequest { name: name.into() }).await.expect("a leader");
        let kv = answer.into_inner().kv.expect("a key");
        LeaderKey { name: name.into(), key: kv.key, rev: kv.create_revision, lease: kv.lease }
    }
}

/// What a future gives, waited for on this thread's runtime.
fn futures_now<T, E>(future: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future)).ok()
}

async fn locks(script: &mut Script) {
    script.ends("the first", script.lock("l", 11)).await;
    script.ends("the same lease once more", script.lock("l", 11)).await;
    let second = script.lock("l", 12);
    script.await_keys("l/", 2).await;
    let third = script.lock("l", 13);
    script.await_keys("l/", 3).await;
    script.revoke(12).await;
    script.await_keys("l/", 2).await;
    script.unlock("l/b").await;
    script.ends("one whose lease ended while it waited", second).await;
    script.ends("the third, after the first", third).await;
    script.unlock("l/d").await;
    script.unlock("l/d").await;
    script.unlock("").await;
    script.ends("a lease that is not there", script.lock("l", 99)).await;

    script.ends("held", script.lock("m", 14)).await;
    let given_up = script.lock("m", 15);
    script.await_keys("m/", 2).await;
    given_up.abort();
    script.await_keys("m/", 1).await;
    script.say("who gives up leaves the line", "yes");

    let own = tokio::time::timeout(LONG, script.lock("own", 0)).await.expect("in time").expect("no panic").expect("locked");
    let (_, keys) = script.keys("own/").await;
    let id = keys[0].lease;
    script.say("a lease of its own", own == format!("own/{id:x} at {}", keys[0].create_revision - script.base));
    let left = pb::LeaseTimeToLiveRequest { id, keys: false };
    let left = pb::lease_client::LeaseClient::new(script.channel.clone()).lease_time_to_live(left).await.expect("it lives").into_inner();
    script.say("its life", left.granted_ttl);
}

async fn elections(script: &mut Script) {
    script.leader("e").await;
    script.ends("elected", script.campaign("e", 11, "a")).await;
    // etcd answers nothing at all before there is a leader.
    let mut observed =
        ElectionClient::new(script.channel.clone()).observe(LeaderRequest { name: "e".into() }).await.expect("observes").into_inner();
    let mut next = async |script: &mut Script| {
        let seen = tokio::time::timeout(LONG, observed.message()).await.expect("in time").expect("goes on").expect("a leader");
        let kv = seen.kv.expect("a key");
        script.say("observed", format!("{}={}", text(&kv.key), text(&kv.value)));
    };
    next(script).await;
    script.leader("e").await;
    let first = script.leader_key("e").await;
    script.proclaim(Some(first.clone()), "a2").await;
    next(script).await;
    script.ends("again, with something new to say", script.campaign("e", 11, "a3")).await;
    next(script).await;
    let second = script.campaign("e", 13, "b");
    script.await_keys("e/", 2).await;
    script.leader("e").await;
    script.resign(Some(first.clone())).await;
    script.ends("elected next", second).await;
    next(script).await;
    script.proclaim(Some(first.clone()), "too late").await;
    script.resign(Some(first)).await;
    script.proclaim(None, "who?").await;
    script.resign(None).await;
    script.leader("e").await;
    script.revoke(13).await;
    script.leader("e").await;
    script.ends("a lease that is not there", script.campaign("e", 99, "x")).await;
}

async fn everything(endpoint: &str) -> Vec<String> {
    let mut script = Script::begin(endpoint).await;
    locks(&mut script).await;
    elections(&mut script).await;
    script.said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts a cluster of processes; takes some seconds"]
async fn locks_and_elections_answer_as_etcd_does() {
    let (etcd, cluster) = (Etcd::start(), Cluster::start(3));
    cluster.leader();
    let expected = everything(&etcd.endpoint).await;
    for node in &cluster.nodes[..1] {
        let said = everything(&node.etcd).await;
        for (ours, theirs) in said.iter().zip(&expected) {
            println!("{} {ours}", if ours == theirs { "  " } else { "!!" });
            if ours != theirs {
                println!("   etcd: {theirs}");
            }
        }
        assert_eq!(said, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a cluster of processes and kills one; takes some seconds"]
async fn a_lock_survives_the_leader_and_ends_with_its_lease() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let follower = cluster.follower();
    let endpoint = cluster.nodes[follower].etcd.clone();
    let script = Script::begin(&endpoint).await;
    script.lock("l", 11).await.expect("no panic").expect("locked");
    let hopeless = script.lock("l", 13);
    script.await_keys("l/", 2).await;
    script.revoke(13).await;
    // etcd says so only when it would have been its turn.
    let told = tokio::time::timeout(LONG, hopeless).await.expect("told while the lock is held").expect("no panic");
    assert_eq!(told.expect_err("no turn without a lease").message(), "mutex: session is expired");
    let second = script.lock("l", 12);
    script.await_keys("l/", 2).await;
    tokio::task::block_in_place(|| cluster.nodes[leader].kill());
    // The wait goes on over the change of leaders, or fails as any request may then; the holder holds on.
    let holds = async {
        loop {
            let lock = tokio::time::timeout(Duration::from_millis(500), script.lock("l", 11)).await;
            if matches!(lock, Ok(Ok(Ok(_)))) {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, holds).await.expect("the same lease has the lock still");
    script.revoke(11).await;
    let granted = tokio::time::timeout(LONG, second).await.expect("the wait ends").expect("no panic");
    match granted {
        Ok(key) => assert!(key.starts_with("l/c at "), "{key}"),
        Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
    }
}
