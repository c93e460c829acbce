//! How much memory a node has resident under many watchers, and under many leases, beside a member of etcd 3.5.1 under the same.
//!
//! `cargo test --release -p steadfast --test memory -- --ignored --nocapture` prints the table of docs/benchmarks.md. Needs etcd 3.5.1, which `ETCD_3_5` names.

mod support;

use steadfast_etcd_api::proto::etcdserverpb as pb;
use support::oracle::Etcd;
use support::{Cluster, LONG, eventually};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;

const WATCHERS: usize = 10_000;
const LEASES: i64 = 100_000;
/// Connections, a third of them to each node.
const CLIENTS: usize = 99;
/// Changes that every watcher is told of before its memory counts.
const CHANGES: usize = 10;

/// Three nodes of one kind.
enum Three {
    Steadfast(Box<Cluster>),
    Etcd(Vec<Etcd>),
}

impl Three {
    fn endpoints(&self) -> Vec<String> {
        match self {
            Three::Steadfast(cluster) => cluster.endpoints(),
            Three::Etcd(members) => members.iter().map(|member| member.endpoint.clone()).collect(),
        }
    }

    fn resident_bytes(&self) -> [u64; 3] {
        match self {
            Three::Steadfast(cluster) => [0, 1, 2].map(|at| cluster.nodes[at].resident_bytes()),
            Three::Etcd(members) => [0, 1, 2].map(|at| members[at].resident_bytes()),
        }
    }
}

/// The connections of all clients. Every node has answered a write.
async fn connections(three: &Three) -> Vec<Channel> {
    let endpoints: Vec<Endpoint> =
        three.endpoints().iter().map(|endpoint| Endpoint::from_shared(format!("http://{endpoint}")).expect("a URL")).collect();
    for endpoint in &endpoints {
        let attempt = async || KvClient::new(endpoint.connect().await.ok()?).put(change(0)).await.ok();
        eventually("a write", || tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(attempt())));
    }
    let mut channels = Vec::new();
    for at in 0..CLIENTS {
        channels.push(endpoints[at % 3].connect().await.expect("a connection"));
    }
    channels
}

fn change(number: usize) -> pb::PutRequest {
    pb::PutRequest { key: format!("watched/{number}").into(), value: vec![b'v'; 256].into(), ..Default::default() }
}

/// A stream with so many watchers of the prefix, which have all been told of every change when it returns; the stream stays open.
async fn watch(channel: Channel, watchers: usize, ready: tokio::sync::mpsc::Sender<()>) -> tonic::Streaming<pb::WatchResponse> {
    let create = |_| pb::WatchCreateRequest { key: "watched/".into(), range_end: "watched0".into(), ..Default::default() };
    let request = |create| pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests: Vec<_> = (0..watchers).map(create).map(request).collect();
    // The stream of requests stays open, as clients' do.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
    let mut answers = WatchClient::new(channel).watch(requests).await.expect("a stream").into_inner();
    let (mut created, mut told) = (0, 0);
    while told < watchers * CHANGES {
        let answer = tokio::time::timeout(LONG, answers.message()).await.expect("in time").expect("it goes on").expect("an answer");
        if answer.created {
            created += 1;
            if created == watchers {
                ready.send(()).await.expect("somebody waits");
            }
        }
        told += answer.events.len();
    }
    answers
}

/// All watchers, so many on each stream; they are still there when the memory is taken.
async fn watchers(three: &Three, per_stream: usize) -> [u64; 3] {
    let channels = connections(three).await;
    let (ready, mut all_ready) = tokio::sync::mpsc::channel(1);
    let streams = WATCHERS / per_stream;
    let mut tasks = JoinSet::new();
    for at in 0..streams {
        tasks.spawn(watch(channels[at % CLIENTS].clone(), per_stream, ready.clone()));
    }
    for _ in 0..streams {
        all_ready.recv().await.expect("a stream");
    }
    for (number, channel) in channels.into_iter().take(CHANGES).enumerate() {
        KvClient::new(channel).put(change(number)).await.expect("a write");
    }
    let open = tasks.join_all().await;
    assert_eq!(open.len(), streams);
    three.resident_bytes()
}

async fn leases(three: &Three) -> [u64; 3] {
    let channels = connections(three).await;
    let mut tasks = JoinSet::new();
    for (at, channel) in channels.into_iter().enumerate() {
        tasks.spawn(async move {
            let mut client = LeaseClient::new(channel);
            for id in (1..=LEASES).skip(at).step_by(CLIENTS) {
                client.lease_grant(pb::LeaseGrantRequest { ttl: 3600, id }).await.expect("granted");
            }
        });
    }
    tasks.join_all().await;
    three.resident_bytes()
}

/// Nodes that have nothing to do.
async fn nothing(three: &Three) -> [u64; 3] {
    connections(three).await;
    three.resident_bytes()
}

/// MiB of the node that has the most.
fn most_mib(bytes: [u64; 3]) -> f64 {
    bytes.into_iter().max().unwrap_or_default() as f64 / f64::from(1 << 20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts clusters of processes; takes a minute"]
async fn watchers_and_leases_take_less_memory_than_etcds() {
    let (one, many) = (format!("{WATCHERS} watchers, a stream each"), format!("{WATCHERS} watchers, 100 a stream"));
    let granted = format!("{LEASES} leases");
    println!(
        "| resident MiB of the node that has the most | Steadfast | etcd 3.5.1 | ratio (above 1: Steadfast has less) |\n| --- | ---: | ---: | ---: |"
    );
    let mut more = Vec::new();
    for (at, what) in ["nothing to do", &one, &many, &granted].into_iter().enumerate() {
        let mut mib = [0.0; 2];
        for (side, mib) in mib.iter_mut().enumerate() {
            let three = if side == 0 { Three::Steadfast(Box::new(Cluster::start(3))) } else { Three::Etcd(Etcd::members(3)) };
            *mib = most_mib(match at {
                0 => nothing(&three).await,
                1 => watchers(&three, 1).await,
                2 => watchers(&three, 100).await,
                _ => leases(&three).await,
            });
        }
        let [ours, theirs] = mib;
        println!("| {what} | {ours:.1} | {theirs:.1} | {:.2} |", theirs / ours);
        if ours >= theirs {
            more.push(what);
        }
    }
    assert!(more.is_empty(), "a node has more memory than a member of etcd with {more:?}");
}
