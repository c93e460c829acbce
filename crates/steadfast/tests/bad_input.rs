//! Whatever comes in on a port, the nodes live, serve, and stay within a bound of memory.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::mvccpb;
use steadfast_server::peers::{NEWEST_VERSION, OLDEST_VERSION};
use support::wild::{call_with, grpc_headers, http2_frame, http2_opening, noise, peer_frame, peer_preamble, send_raw};
use support::{Cluster, eventually, steadfast};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const MIB: usize = 1024 * 1024;

/// What a node may take at most where the input itself is small: far above what it needs, far below what a leak would take.
const CALM_BYTES: u64 = 128 * MIB as u64;

type Kv = pb::kv_client::KvClient<Channel>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn channel(endpoint: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).expect("an address").timeout(Duration::from_secs(60));
    endpoint.connect().await.expect("a connection")
}

fn put(key: &str, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() }
}

/// All nodes live, answer, and never took more memory than this.
fn unharmed(cluster: &Cluster, most_bytes: u64) {
    let endpoints = cluster.endpoints();
    for node in &cluster.nodes {
        assert!(node.is_running(), "{} has ended", node.name);
    }
    runtime().block_on(async {
        for (place, endpoint) in endpoints.iter().enumerate() {
            let mut kv = Kv::new(channel(endpoint).await);
            let key = format!("unharmed/{place}");
            kv.put(put(&key, b"yes".to_vec())).await.unwrap_or_else(|status| panic!("{endpoint} does not write: {status}"));
            let request = pb::RangeRequest { key: key.into(), ..Default::default() };
            let found = kv.range(request).await.unwrap_or_else(|status| panic!("{endpoint} does not read: {status}")).into_inner();
            assert_eq!(found.kvs[0].value.as_ref(), b"yes");
        }
    });
    cluster.settle();
    for node in &cluster.nodes {
        let peak = node.peak_memory_bytes();
        println!("{}: {} MiB resident at most, allowed {}", node.name, peak / MIB as u64, most_bytes / MIB as u64);
        assert!(peak <= most_bytes, "{} took {} MiB", node.name, peak / MIB as u64);
    }
}

#[test]
#[ignore = "needs ports of 127.0.0.1: starts a cluster of processes"]
fn requests_that_ask_for_too_much_or_nonsense() {
    let cluster = Cluster::start(3);
    runtime().block_on(async {
        for endpoint in cluster.endpoints() {
            let channel = channel(&endpoint).await;
            sizes(Kv::new(channel.clone())).await;
            nonsense(channel.clone()).await;
            malformed(&channel).await;
        }
    });
    unharmed(&cluster, CALM_BYTES);
}

/// Keys and values around the limits of 1.5 MiB (a request) and 2 MiB (what is decoded at all).
async fn sizes(mut kv: Kv) {
    let overhead = 2 + "large".len() + 4;
    let limit = 3 * MIB / 2;
    kv.put(put("large", vec![b'x'; limit - overhead])).await.expect("a request of just 1.5 MiB");
    for (length, code, text) in [
        (limit - overhead + 1, Code::InvalidArgument, "etcdserver: request is too large"),
        (2 * MIB - overhead, Code::InvalidArgument, "etcdserver: request is too large"),
        (2 * MIB - overhead + 1, Code::ResourceExhausted, "grpc: received message larger than max (2097153 vs. 2097152)"),
        (16 * MIB, Code::ResourceExhausted, "grpc: received message larger than max"),
    ] {
        let status = kv.put(put("large", vec![b'x'; length])).await.expect_err("too large");
        assert_eq!(status.code(), code, "{length}: {status}");
        assert!(status.message().starts_with(text), "{length}: {status}");
    }
    let key = "k".repeat(2 * MIB - 100);
    assert_eq!(kv.put(put(&key, vec![])).await.expect_err("too large").code(), Code::InvalidArgument);
}

async fn nonsense(channel: Channel) {
    let mut kv = Kv::new(channel.clone());
    let refused = |status: tonic::Status, code: Code, text: &str| assert_eq!((status.code(), status.message()), (code, text));
    let no_key = "etcdserver: key is not provided";
    refused(kv.put(put("", vec![])).await.expect_err("no key"), Code::InvalidArgument, no_key);
    refused(kv.range(pb::RangeRequest::default()).await.expect_err("no key"), Code::InvalidArgument, no_key);
    refused(kv.delete_range(pb::DeleteRangeRequest::default()).await.expect_err("no key"), Code::InvalidArgument, no_key);
    let (key, range_end) = (bytes::Bytes::from("z"), bytes::Bytes::from("a"));
    let inverted = pb::RangeRequest { key: key.clone(), range_end: range_end.clone(), ..Default::default() };
    let found = kv.range(inverted).await.expect("an inverted range is empty").into_inner();
    assert_eq!((found.count, found.kvs.len(), found.more), (0, 0, false));
    let inverted = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
    assert_eq!(kv.delete_range(inverted).await.expect("an inverted range is empty").into_inner().deleted, 0);
    let odd = pb::RangeRequest { key: "k".into(), limit: i64::MIN, revision: -5, sort_order: 9, ..Default::default() };
    assert_eq!(kv.range(odd).await.expect_err("no such order").code(), Code::InvalidArgument);
    kv.txn(pb::TxnRequest::default()).await.expect("an empty transaction does nothing");
    let mut leases = pb::lease_client::LeaseClient::new(channel.clone());
    let unknown = leases.lease_revoke(pb::LeaseRevokeRequest { id: i64::MAX }).await.expect_err("unknown");
    refused(unknown, Code::NotFound, "etcdserver: requested lease not found");
    let negative = leases.lease_grant(pb::LeaseGrantRequest { id: 0, ttl: i64::MIN }).await.expect("the shortest lease").into_inner();
    assert_eq!(negative.ttl, 2);
    let mut members = pb::cluster_client::ClusterClient::new(channel);
    let unknown = members.member_remove(pb::MemberRemoveRequest { id: 1 }).await.expect_err("unknown");
    refused(unknown, Code::NotFound, "etcdserver: member not found");
    for url in ["", "nonsense", "http://", "http://host", "http://host:99999", "ftp://host:1"] {
        let request = pb::MemberAddRequest { peer_ur_ls: vec![url.to_owned()], is_learner: true };
        let status = members.member_add(request).await.expect_err("no peer URL");
        refused(status, Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    }
}

/// Bytes that are no protobuf, in proper frames, to every kind of call.
async fn malformed(channel: &Channel) {
    let paths = [
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.KV/Put",
        "/etcdserverpb.KV/DeleteRange",
        "/etcdserverpb.KV/Txn",
        "/etcdserverpb.KV/Compact",
        "/etcdserverpb.Watch/Watch",
        "/etcdserverpb.Lease/LeaseGrant",
        "/etcdserverpb.Lease/LeaseKeepAlive",
        "/etcdserverpb.Cluster/MemberAdd",
        "/etcdserverpb.Maintenance/Status",
        "/steadfast.v1.Cluster/Status",
        "/grpc.health.v1.Health/Check",
    ];
    // A field that ends too early, a length beyond the message, a group that never ends, a varint that never ends.
    let messages = [vec![0x0a], vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], vec![0x0b; 1000], vec![0xff; 64]];
    for path in paths {
        for message in &messages {
            let status = call_with(channel, path, message.clone()).await.expect_err(path);
            assert_eq!(status.code(), Code::Internal, "{path} {message:?}: {status}");
        }
        for seed in 0..20 {
            // Some noise is a message; either answer will do, but there must be one.
            let _ = call_with(channel, path, noise(seed, 200)).await;
        }
    }
    // Transactions in transactions, as deep as the message allows.
    let deep = (0..20_000).fold(Vec::new(), |inner, _| nested(&nested(&inner, 4), 2));
    let status = call_with(channel, "/etcdserverpb.KV/Txn", deep).await.expect_err("too deep");
    assert!(matches!(status.code(), Code::Internal | Code::InvalidArgument), "{status}");
    let unknown = call_with(channel, "/etcdserverpb.KV/Nothing", vec![]).await.expect_err("no such call");
    assert_eq!(unknown.code(), Code::Unimplemented);
}

/// `message` as the field of that number of a message around it.
fn nested(message: &[u8], field: u8) -> Vec<u8> {
    let mut outer = vec![field << 3 | 2];
    let mut length = message.len();
    while length >= 128 {
        outer.push(u8::try_from(length & 127).expect("seven bits") | 128);
        length >>= 7;
    }
    outer.push(u8::try_from(length).expect("seven bits"));
    outer.extend(message);
    outer
}

#[test]
#[ignore = "needs ports of 127.0.0.1: starts a cluster of processes"]
fn garbage_on_the_client_port() {
    let cluster = Cluster::start(3);
    let path = "/etcdserverpb.KV/Put";
    let message = |announced: u32, flag: u8| [&[flag], &announced.to_be_bytes()[..], b"short"].concat();
    let frames = |frames: &[Vec<u8>]| [&[http2_opening()], frames].concat().concat();
    let reset = |stream: u32| [grpc_headers(stream, path), http2_frame(3, 0, stream, &[0, 0, 0, 8])].concat();
    let inputs = [
        noise(1, 100_000),
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n".to_vec(),
        [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'a'; MIB]].concat(),
        b"GET /health HTTP/9.9\r\n\r\n".to_vec(),
        frames(&[noise(2, 100_000)]),
        // A frame of 16 MiB; DATA and WINDOW_UPDATE of nothing; HEADERS that are no HPACK; CONTINUATION of nothing, and without an end.
        frames(&[vec![0xff; 9]]),
        frames(&[http2_frame(0, 0, 0, b"data")]),
        frames(&[http2_frame(8, 0, 0, &[0; 4])]),
        frames(&[http2_frame(1, 4, 1, &[0xff; 100])]),
        frames(&[http2_frame(9, 0, 1, b"more")]),
        frames(&[vec![http2_frame(1, 0, 1, &[])], vec![http2_frame(9, 0, 1, &[0; 1000]); 5000]].concat()),
        // Streams that are opened and reset at once, by the thousand; pings and settings without end.
        frames(&(0..5000).map(|n| reset(2 * n + 1)).collect::<Vec<_>>()),
        frames(&vec![http2_frame(6, 0, 0, &[7; 8]); 20_000]),
        frames(&vec![http2_frame(4, 0, 0, &[]); 20_000]),
        // Messages that announce more than they are, more than may be, or a compression; and no path at all.
        frames(&[grpc_headers(1, path), http2_frame(0, 1, 1, &message(1_000_000, 0))]),
        frames(&[grpc_headers(1, path), http2_frame(0, 1, 1, &message(u32::MAX, 0))]),
        frames(&[grpc_headers(1, "/etcdserverpb.Watch/Watch"), http2_frame(0, 0, 1, &message(u32::MAX, 0))]),
        frames(&[grpc_headers(1, path), http2_frame(0, 1, 1, &message(5, 1))]),
        frames(&[grpc_headers(1, ""), http2_frame(0, 1, 1, &message(5, 0))]),
    ];
    for node in &cluster.nodes {
        for (place, input) in inputs.iter().enumerate() {
            send_raw(&node.etcd, input);
            assert!(node.is_running(), "{} ended at input {place}", node.name);
        }
    }
    unharmed(&cluster, CALM_BYTES);
}

#[test]
#[ignore = "needs ports of 127.0.0.1: starts a cluster of processes"]
fn garbage_on_the_peer_port() {
    let cluster = Cluster::start(3);
    // Cluster 7, from node 1 to node 1, life 1, and no address: another cluster's greeting, all numbers below 128.
    let greeting = peer_frame(&[7, 1, 1, 1, 0]);
    for node in &cluster.nodes {
        for seed in 0..10 {
            send_raw(&node.peer, &noise(seed, 10_000));
        }
        let ours = peer_preamble(OLDEST_VERSION, NEWEST_VERSION);
        let refusal = send_raw(&node.peer, &[ours.clone(), greeting.clone()].concat());
        // Their preamble, then a frame: refused (2), for another cluster (1).
        assert_eq!((refusal.get(..8), refusal.get(20..22)), (Some(&b"STEADFST"[..]), Some(&[2, 1][..])), "{refusal:?}");
        let newer = send_raw(&node.peer, &[peer_preamble(200, 201), greeting.clone()].concat());
        assert_eq!(newer.len(), 12, "a newer node is told the versions, and no more: {newer:?}");
        // The oldest that is spoken is the cluster's level, which may have been raised by now.
        assert!(newer.starts_with(b"STEADFST") && newer[8] <= NEWEST_VERSION && newer[9] == NEWEST_VERSION, "{newer:?}");
        for bad in [
            vec![0xff; 5000],
            peer_frame(&[0xff; 5000]),
            peer_frame(&[]),
            u32::MAX.to_le_bytes().repeat(100),
            [&peer_frame(&[7, 1, 1, 1, 0])[..4], &[0; 9]].concat(),
        ] {
            let answer = send_raw(&node.peer, &[ours.clone(), bad].concat());
            assert!(answer.len() <= 12, "garbage gets no more than the preamble: {answer:?}");
        }
        assert!(node.is_running(), "{} has ended", node.name);
    }
    // More silent connections than there is room for handshakes keep no peer out for long: a node that restarts finds its cluster.
    let mut cluster = cluster;
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&cluster.nodes[0].peer).expect("the port is open")).collect();
    cluster.nodes[1].kill();
    cluster.nodes[1].start_again();
    cluster.settle();
    drop(silent);
    unharmed(&cluster, CALM_BYTES);
}

#[test]
#[ignore = "needs ports of 127.0.0.1: starts clusters of processes"]
fn a_stranger_that_dials_the_wrong_cluster() {
    let cluster = Cluster::start(3);
    let members = || cluster.status()["nodes"].as_array().map(Vec::len);
    let directory = cluster.directory.path().join("stranger");
    let [client, peer, admin] = cluster.spare_addresses();
    let log = cluster.directory.path().join("stranger.log");
    // It believes that a node of the cluster is a founding member of its own.
    let initial = format!("s1={peer},s2={}", cluster.nodes[0].peer);
    let directory = directory.to_str().expect("UTF-8");
    let arguments = ["--name", "s1", "--data-dir", directory, "--initial-cluster", &initial, "--cluster-token", "another"];
    let listen = ["--listen-client", &client, "--listen-peer", &peer, "--listen-admin", &admin];
    let mut stranger = support::serve(&[&arguments[..], &listen].concat(), &log);
    let told = || std::fs::read_to_string(&log).ok().filter(|text| text.contains(&cluster.nodes[0].peer));
    let text = eventually("the stranger's complaint", told);
    println!("{text}");
    // It may wait or have ended, with an error.
    let ended = stranger.try_wait().expect("a child");
    assert!(ended.is_none_or(|status| !status.success()), "the stranger ended well");
    let _ = stranger.kill();
    stranger.wait().expect("a child");
    // Nor does a node join that nobody added.
    let joining = ["--name", "s3", "--data-dir", directory, "--join", &cluster.nodes[0].peer];
    let output = steadfast(&[&["serve"], &joining[..], &listen].concat()).output();
    let output = output.expect("it runs");
    assert!(!output.status.success());
    assert_eq!(members(), Some(3));
    unharmed(&cluster, CALM_BYTES);
}

fn watch_request(key: String, range_end: &str) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest { key: key.into(), range_end: range_end.to_owned().into(), ..Default::default() };
    pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
}

type Watching = (tokio::sync::mpsc::Sender<pb::WatchRequest>, tonic::Streaming<pb::WatchResponse>);

async fn open_watch(channel: Channel) -> Watching {
    let (requests, queue) = tokio::sync::mpsc::channel(16);
    let mut client = pb::watch_client::WatchClient::new(channel).max_decoding_message_size(64 * MIB);
    let call = client.watch(tokio_stream::wrappers::ReceiverStream::new(queue));
    (requests, call.await.expect("a stream").into_inner())
}

async fn response(stream: &mut tonic::Streaming<pb::WatchResponse>) -> pb::WatchResponse {
    let next = tokio::time::timeout(support::LONG, stream.next()).await;
    next.expect("an answer in time").expect("the stream goes on").expect("no error")
}

#[test]
#[ignore = "needs ports of 127.0.0.1 and some memory: starts a cluster of processes and writes 100 MiB"]
fn a_watcher_that_never_reads() {
    const VALUES: usize = 1600;
    const VALUE_BYTES: usize = 64 * 1024;
    let cluster = Cluster::start(3);
    runtime().block_on(async {
        let endpoint = &cluster.nodes[cluster.follower()].etcd;
        // A stream of its own connection, whose windows fill up.
        let (stuck_requests, mut stuck) = open_watch(channel(endpoint).await).await;
        stuck_requests.send(watch_request("big/".into(), "big0")).await.expect("a stream");
        assert!(response(&mut stuck).await.created);
        let (requests, mut reading) = open_watch(channel(endpoint).await).await;
        requests.send(watch_request("big/".into(), "big0")).await.expect("a stream");
        assert!(response(&mut reading).await.created);
        let writer = channel(endpoint).await;
        let writing = tokio::spawn(async move {
            let mut kv = Kv::new(writer);
            for number in 0..VALUES {
                kv.put(put(&format!("big/{number:05}"), noise(number as u64, VALUE_BYTES))).await.expect("a put");
            }
        });
        let mut next = 0;
        while next < VALUES {
            for event in response(&mut reading).await.events {
                next = expect_event(&event, next);
            }
        }
        writing.await.expect("all is written");
        // The one that did not read lost nothing either: it catches up from history.
        let mut next = 0;
        while next < VALUES {
            for event in response(&mut stuck).await.events {
                next = expect_event(&event, next);
            }
        }
    });
    unharmed(&cluster, 256 * MIB as u64);
}

fn expect_event(event: &mvccpb::Event, number: usize) -> usize {
    let key = &event.kv.as_ref().expect("a key").key;
    assert_eq!(key.as_ref(), format!("big/{number:05}").as_bytes(), "events in order, each once");
    number + 1
}

#[test]
#[ignore = "needs ports of 127.0.0.1 and some memory: starts a node with a hundred thousand watchers"]
fn a_hundred_thousand_idle_watchers() {
    const CONNECTIONS: usize = 5;
    const STREAMS: usize = 4;
    const WATCHERS: usize = 5000;
    let cluster = Cluster::start(1);
    runtime().block_on(async {
        let mut watching: Vec<Watching> = Vec::new();
        for _ in 0..CONNECTIONS {
            let channel = channel(&cluster.nodes[0].etcd).await;
            for _ in 0..STREAMS {
                watching.push(open_watch(channel.clone()).await);
            }
        }
        for (place, (requests, stream)) in watching.iter_mut().enumerate() {
            let asking = async {
                for number in 0..WATCHERS {
                    requests.send(watch_request(format!("idle/{place}/{number}"), "")).await.expect("a stream");
                }
            };
            let hearing = async {
                for _ in 0..WATCHERS {
                    assert!(response(stream).await.created);
                }
            };
            tokio::join!(asking, hearing);
        }
        let mut kv = Kv::new(channel(&cluster.nodes[0].etcd).await);
        for (place, (_, stream)) in watching.iter_mut().enumerate() {
            let key = format!("idle/{place}/{}", WATCHERS - 1);
            kv.put(put(&key, b"woken".to_vec())).await.expect("a put");
            let events = response(stream).await.events;
            assert_eq!(events.len(), 1, "one event for {key}");
            assert_eq!(events[0].kv.as_ref().expect("a key").key, key);
        }
    });
    unharmed(&cluster, 256 * MIB as u64);
}

/// Each connection takes one descriptor of this process.
fn allow_connections(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|most| most > count + 500);
    assert!(enough, "raise the hard limit of open files (`ulimit -Hn`) above {}", count + 500);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("the soft limit can be raised");
}

#[test]
#[ignore = "needs ports of 127.0.0.1 and a hard limit of 10,500 open files: opens ten thousand connections to a node"]
fn ten_thousand_connections_many_of_them_slow() {
    const CONNECTIONS: usize = 10_000;
    allow_connections(CONNECTIONS as u64);
    let cluster = Cluster::start(1);
    let address = &cluster.nodes[0].etcd;
    // Of each four: one says nothing, one only begins HTTP/2, one only begins a request of HTTP/1, one has a call open that it never ends.
    let openings = [
        Vec::new(),
        http2_opening()[..10].to_vec(),
        b"GET /health HTTP/1.1\r\nhost: ".to_vec(),
        [http2_opening(), grpc_headers(1, "/etcdserverpb.KV/Put"), http2_frame(0, 0, 1, &[0, 0, 0])].concat(),
    ];
    let mut sockets = Vec::new();
    for place in 0..CONNECTIONS {
        let mut socket = TcpStream::connect(address).expect("a connection");
        socket.write_all(&openings[place % openings.len()]).expect("it is open");
        sockets.push(socket);
    }
    runtime().block_on(async {
        let mut kv = Kv::new(channel(address).await);
        for number in 0..100 {
            kv.put(put(&format!("beside/{number}"), b"x".to_vec())).await.expect("a put beside them");
        }
    });
    // Whoever does not say what it wants is let go, and in the end whoever answers no pings.
    for (kind, socket) in sockets.iter_mut().take(openings.len()).enumerate() {
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset), "kind {kind} is kept");
    }
    unharmed(&cluster, 320 * MIB as u64);
    drop(sockets);
    unharmed(&cluster, 320 * MIB as u64);
}
