//! Transports on loopback, among themselves and against peers that misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use steadfast_server::admin::Metrics;
use steadfast_server::peers::{LocalPeer, PeerEvent, PeerTransport, QUEUE_BYTES, Reception, Topic, UNCONNECTED_FRAMES};
use steadfast_types::wire::Wire;
use steadfast_types::{ClusterId, Level, NodeId, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const CLUSTER: ClusterId = ClusterId(7);

/// No test here waits so long for anything that comes.
const PATIENCE: Duration = Duration::from_secs(10);

struct Echo;

impl Reception for Echo {
    async fn answer(&self, _topic: Topic, question: Bytes) -> Bytes {
        question
    }
}

struct Node {
    id: NodeId,
    address: SocketAddr,
    transport: PeerTransport,
    events: mpsc::Receiver<PeerEvent>,
    metrics: Metrics,
}

impl Node {
    async fn start(id: u64) -> Node {
        Node::start_at(id, CLUSTER, "127.0.0.1:0".parse().unwrap(), 1024).await
    }

    async fn start_at(id: u64, cluster: ClusterId, address: SocketAddr, room: usize) -> Node {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, events) = mpsc::channel(room);
        let metrics = Metrics::new();
        let local = LocalPeer { cluster, node: NodeId(id), incarnation: id * 100, address: address.to_string() };
        let transport = PeerTransport::start(listener, local, sender, Echo, metrics.clone());
        Node { id: NodeId(id), address, transport, events, metrics }
    }

    fn know(&self, peers: &[(NodeId, SocketAddr)]) {
        self.transport.set_peers(peers.iter().map(|(node, address)| (*node, address.to_string())).collect(), [].into());
    }

    fn place(&self) -> (NodeId, SocketAddr) {
        (self.id, self.address)
    }

    async fn event(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the transport runs")
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric is at least `value`; how else to see that nothing else happened?
    async fn metric_reaches(&self, name: &str, value: u64) {
        let reached = async {
            while self.metric(name) < value {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{name} is {}", self.metric(name)));
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
    [&length[..], &sum.to_le_bytes(), payload].concat()
}

fn preamble(oldest: u8, newest: u8, purpose: u8) -> Vec<u8> {
    [b"STEADFST", &[oldest, newest, purpose, 0][..]].concat()
}

/// The greeting of node `from` that means to reach `to`.
fn greeting(cluster: ClusterId, from: u64, to: NodeId) -> Vec<u8> {
    let mut hello = Vec::new();
    (cluster, NodeId(from)).encode(&mut hello);
    (to, from * 100).encode(&mut hello);
    "127.0.0.1:1".to_owned().encode(&mut hello);
    [preamble(1, 1, 1), frame(&hello)].concat()
}

async fn connect(node: &Node, words: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(words).await.unwrap();
    stream
}

/// Reads the preamble and the welcome; what the welcome says.
async fn welcome(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 20];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    let mut words = vec![0; u32::from_le_bytes(head[12..16].try_into().unwrap()) as usize];
    stream.read_exact(&mut words).await.unwrap();
    words
}

/// Waits until `from` is connected to `to`, in its own eyes too: only then it keeps all that it sends.
async fn connected(from: &Node, to: &mut Node) {
    assert_eq!(to.event().await, PeerEvent::Connected(from.id, from.id.0 * 100, Level::NEWEST));
    from.transport.send(to.id, Bytes::from_static(b"connected"));
    assert_eq!(to.event().await, PeerEvent::Frame(from.id, Bytes::from_static(b"connected")));
}

/// Reads until the other side closes or resets.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection is closed");
}

#[tokio::test]
async fn three_nodes_exchange_frames_in_order() {
    let mut nodes = [Node::start(1).await, Node::start(2).await, Node::start(3).await];
    let places: Vec<_> = nodes.iter().map(Node::place).collect();
    nodes.iter().for_each(|node| node.know(&places));
    const COUNT: u32 = 500;
    // Each is connected to the others in its own eyes too when a first frame of it has arrived.
    for node in &nodes {
        places.iter().filter(|(peer, _)| *peer != node.id).for_each(|(peer, _)| node.transport.send(*peer, Bytes::from_static(b"first")));
    }
    for node in &mut nodes {
        let mut connected = BTreeSet::new();
        for _ in 0..4 {
            match node.event().await {
                PeerEvent::Connected(peer, incarnation, _) => assert!(incarnation == peer.0 * 100 && connected.insert(peer)),
                PeerEvent::Frame(peer, payload) => assert!(payload == b"first"[..] && connected.contains(&peer)),
                PeerEvent::Disconnected(peer) => panic!("{peer} disconnected"),
            }
        }
    }
    // A few at a time, so that no queue is full: sizes from tiny to several buffers.
    for round in 0..COUNT / 50 {
        for node in &nodes {
            for number in round * 50..(round + 1) * 50 {
                let payload = Bytes::from([&number.to_le_bytes()[..], &vec![1; (number as usize * 97) % 60_000]].concat());
                places.iter().filter(|(peer, _)| *peer != node.id).for_each(|(peer, _)| node.transport.send(*peer, payload.clone()));
            }
        }
        for node in &mut nodes {
            let mut next: BTreeMap<NodeId, u32> = BTreeMap::new();
            for _ in 0..100 {
                let PeerEvent::Frame(from, payload) = node.event().await else { panic!("a frame") };
                let next = next.entry(from).or_insert(round * 50);
                assert_eq!(payload[..4], next.to_le_bytes());
                assert_eq!(payload.len(), 4 + (*next as usize * 97) % 60_000);
                *next += 1;
            }
        }
    }
    assert!(nodes.iter().all(|node| node.metric("steadfast_peer_frames_dropped_total") == 0));
    assert_eq!(nodes[0].metric("steadfast_peer_frames_sent_total"), u64::from(2 * COUNT + 2));
    for node in &nodes {
        node.transport.shutdown().await;
    }
}

#[tokio::test]
async fn a_peer_that_stops_is_reported_at_once_and_found_again() {
    let (mut one, two) = (Node::start(1).await, Node::start(2).await);
    one.know(&[two.place()]);
    two.know(&[one.place()]);
    assert_eq!(one.event().await, PeerEvent::Connected(two.id, 200, Level::NEWEST));
    let address = two.address;
    two.transport.shutdown().await;
    assert_eq!(one.event().await, PeerEvent::Disconnected(two.id));
    drop(two);
    let mut two = Node::start_at(2, CLUSTER, address, 16).await;
    two.know(&[one.place()]);
    assert_eq!(one.event().await, PeerEvent::Connected(two.id, 200, Level::NEWEST));
    assert_eq!(two.event().await, PeerEvent::Connected(one.id, 100, Level::NEWEST));
    one.transport.send(two.id, Bytes::from_static(b"again"));
    assert_eq!(two.event().await, PeerEvent::Frame(one.id, Bytes::from_static(b"again")));
}

#[tokio::test]
async fn what_was_sent_before_the_stop_arrives() {
    let (one, mut two) = (Node::start(1).await, Node::start(2).await);
    one.know(&[two.place()]);
    connected(&one, &mut two).await;
    one.transport.send(two.id, Bytes::from_static(b"take over"));
    one.transport.shutdown().await;
    assert_eq!(two.event().await, PeerEvent::Frame(one.id, Bytes::from_static(b"take over")));
    assert_eq!(two.event().await, PeerEvent::Disconnected(one.id));
}

#[tokio::test]
async fn frames_sent_before_the_connection_are_the_newest_few() {
    let one = Node::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    one.know(&[(NodeId(2), address)]);
    for number in 0..100u8 {
        one.transport.send(NodeId(2), Bytes::from(vec![number]));
    }
    assert_eq!(one.metric("steadfast_peer_frames_dropped_total"), 100 - UNCONNECTED_FRAMES as u64);
    let mut two = Node::start_at(2, CLUSTER, address, 16).await;
    assert_eq!(two.event().await, PeerEvent::Connected(one.id, 100, Level::NEWEST));
    for number in 100 - UNCONNECTED_FRAMES as u8..100 {
        assert_eq!(two.event().await, PeerEvent::Frame(one.id, Bytes::from(vec![number])));
    }
}

#[tokio::test]
async fn a_node_that_is_not_known_is_heard_and_answered() {
    let (mut old, mut new) = (Node::start(1).await, Node::start(2).await);
    new.know(&[old.place()]);
    assert_eq!(old.event().await, PeerEvent::Connected(new.id, 200, Level::NEWEST));
    old.transport.send(new.id, Bytes::from_static(b"welcome"));
    assert_eq!(new.event().await, PeerEvent::Connected(old.id, 100, Level::NEWEST));
    assert_eq!(new.event().await, PeerEvent::Frame(old.id, Bytes::from_static(b"welcome")));
    new.transport.shutdown().await;
    assert_eq!(old.event().await, PeerEvent::Disconnected(new.id));
}

#[tokio::test]
async fn a_removed_member_is_cut_off_and_refused() {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    one.know(&[two.place()]);
    two.know(&[one.place()]);
    assert_eq!(one.event().await, PeerEvent::Connected(two.id, 200, Level::NEWEST));
    assert_eq!(two.event().await, PeerEvent::Connected(one.id, 100, Level::NEWEST));
    one.transport.set_peers([].into(), [two.id].into());
    assert_eq!(one.event().await, PeerEvent::Disconnected(two.id));
    assert_eq!(two.event().await, PeerEvent::Disconnected(one.id));
    one.metric_reaches("steadfast_peer_connections_refused_total", 1).await;
    let mut stream = connect(&one, &greeting(CLUSTER, 2, one.id)).await;
    assert_eq!(welcome(&mut stream).await, [2, 3], "refused: removed");
    two.transport.removed().await;
    assert!(one.events.try_recv().is_err());
}

#[tokio::test]
async fn a_contact_that_the_state_does_not_list_yet_is_no_removed_member() {
    let (mut joiner, mut leader) = (Node::start(1).await, Node::start(2).await);
    joiner.transport.add_contacts([(leader.id, leader.address.to_string())].into());
    assert_eq!(leader.event().await, PeerEvent::Connected(joiner.id, 100, Level::NEWEST));
    let older = TcpListener::bind("127.0.0.1:0").await.unwrap();
    joiner.know(&[(NodeId(3), older.local_addr().unwrap())]);
    leader.transport.send(joiner.id, Bytes::from_static(b"entries"));
    assert_eq!(joiner.event().await, PeerEvent::Connected(leader.id, 200, Level::NEWEST));
    assert_eq!(joiner.event().await, PeerEvent::Frame(leader.id, Bytes::from_static(b"entries")));
}

#[tokio::test]
async fn a_moved_member_is_dialled_where_it_is_now() {
    let (one, mut two) = (Node::start(1).await, Node::start(2).await);
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.know(&[(two.id, nowhere.local_addr().unwrap())]);
    let (held, _) = nowhere.accept().await.unwrap();
    one.know(&[two.place()]);
    assert_eq!(two.event().await, PeerEvent::Connected(one.id, 100, Level::NEWEST));
    drop(held);
}

#[tokio::test]
async fn strangers_to_the_cluster_are_refused_with_the_reason() {
    let mut one = Node::start(1).await;
    let cases: [(Vec<u8>, Vec<u8>); 3] = [
        (greeting(ClusterId(8), 2, one.id), vec![2, 1, 7]),
        (greeting(CLUSTER, 2, NodeId(9)), vec![2, 2, 1]),
        (greeting(CLUSTER, 1, one.id), vec![2, 2, 1]),
    ];
    for (words, reason) in cases {
        let mut stream = connect(&one, &words).await;
        assert_eq!(welcome(&mut stream).await, reason);
        closed(&mut stream).await;
    }
    assert_eq!(one.metric("steadfast_peer_connections_refused_total"), 3);
    assert!(one.events.try_recv().is_err(), "nothing of them reached the node");
}

#[tokio::test]
async fn a_version_not_spoken_here_is_told_which_are() {
    let one = Node::start(1).await;
    let (first, newest) = (Level::FIRST.0, Level::NEWEST.0);
    let of_another_time = async |oldest, latest, spoken: Vec<u8>| {
        let mut stream = connect(&one, &[preamble(oldest, latest, 1), frame(b"of another time")].concat()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer.to_vec(), spoken);
        closed(&mut stream).await;
    };
    of_another_time(newest + 1, newest + 2, preamble(first, newest, 1)).await;
    one.transport.set_level(Level::NEWEST);
    of_another_time(first, first, preamble(newest, newest, 1)).await;
    one.transport.set_level(Level::FIRST);
    let mut stream = connect(&one, &preamble(1, 9, 2)).await;
    stream.write_all(&frame(b"a newer node that speaks the older version too")).await.unwrap();
    assert_eq!(welcome(&mut stream).await, b"a newer node that speaks the older version too");
}

#[tokio::test]
async fn garbage_ends_a_connection_and_nothing_else() {
    let mut one = Node::start(1).await;
    let hello = greeting(CLUSTER, 2, one.id);
    let oversized = (limits::PEER_FRAME_BYTES as u32 + 1).to_le_bytes().to_vec();
    let mut damaged = frame(b"payload");
    *damaged.last_mut().unwrap() ^= 1;
    let before_the_session = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [preamble(1, 1, 1), frame(b"\xff\xff")].concat(),
        [preamble(1, 1, 99), frame(b"")].concat(),
        [preamble(1, 1, 1), vec![0xff; 8]].concat(),
    ];
    for words in before_the_session {
        let mut stream = connect(&one, &words).await;
        closed(&mut stream).await;
    }
    for words in [oversized, damaged, vec![0; 64]] {
        let mut stream = connect(&one, &hello).await;
        assert_eq!(welcome(&mut stream).await, [1]);
        stream.write_all(&frame(b"good")).await.unwrap();
        stream.write_all(&words).await.unwrap();
        closed(&mut stream).await;
        assert_eq!(one.event().await, PeerEvent::Connected(NodeId(2), 200, Level::FIRST));
        assert_eq!(one.event().await, PeerEvent::Frame(NodeId(2), Bytes::from_static(b"good")));
        assert_eq!(one.event().await, PeerEvent::Disconnected(NodeId(2)));
    }
    assert!(one.events.try_recv().is_err());
}

#[tokio::test]
async fn connections_that_never_speak_do_not_shut_others_out() {
    let mut one = Node::start(1).await;
    let mut silent = Vec::new();
    for _ in 0..steadfast_server::peers::HANDSHAKES {
        silent.push(TcpStream::connect(one.address).await.unwrap());
    }
    let mut stream = connect(&one, &greeting(CLUSTER, 2, one.id)).await;
    assert_eq!(welcome(&mut stream).await, [1]);
    assert_eq!(one.event().await, PeerEvent::Connected(NodeId(2), 200, Level::FIRST));
    closed(&mut silent[0]).await;
}

#[tokio::test]
async fn a_new_connection_of_a_peer_replaces_its_old_one() {
    let mut one = Node::start(1).await;
    let mut first = connect(&one, &greeting(CLUSTER, 2, one.id)).await;
    welcome(&mut first).await;
    assert_eq!(one.event().await, PeerEvent::Connected(NodeId(2), 200, Level::FIRST));
    let mut second = connect(&one, &greeting(CLUSTER, 2, one.id)).await;
    welcome(&mut second).await;
    second.write_all(&frame(b"hello")).await.unwrap();
    assert_eq!(one.event().await, PeerEvent::Disconnected(NodeId(2)));
    assert_eq!(one.event().await, PeerEvent::Connected(NodeId(2), 200, Level::FIRST));
    assert_eq!(one.event().await, PeerEvent::Frame(NodeId(2), Bytes::from_static(b"hello")));
    closed(&mut first).await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up() {
    let mut one = Node::start(1).await;
    let mut silent = connect(&one, &greeting(CLUSTER, 2, one.id)).await;
    welcome(&mut silent).await;
    assert_eq!(one.event().await, PeerEvent::Connected(NodeId(2), 200, Level::FIRST));
    assert_eq!(one.event().await, PeerEvent::Disconnected(NodeId(2)));
}

#[tokio::test]
async fn for_a_peer_that_never_reads_the_queue_is_bounded() {
    let one = Node::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.know(&[(NodeId(2), listener.local_addr().unwrap())]);
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut hello = [0; 16];
    stream.read_exact(&mut hello).await.unwrap();
    stream.write_all(&[preamble(1, 1, 1), frame(&[1])].concat()).await.unwrap();
    // From here on it never reads. The frames come from a plain thread, as the core's do.
    let transport = one.transport.clone();
    let sender = std::thread::spawn(move || {
        for _ in 0..3000 {
            transport.send(NodeId(2), Bytes::from(vec![0; 64 * 1024]));
            let queued = transport.queued()[&NodeId(2)];
            assert!(queued <= limits::PEER_QUEUE_FRAMES && queued * 64 * 1024 <= QUEUE_BYTES, "{queued}");
        }
    });
    sender.join().unwrap();
    assert!(one.metric("steadfast_peer_frames_dropped_total") > 1000);
}

#[tokio::test]
async fn a_full_receiver_of_events_stops_the_reading_and_loses_nothing() {
    let (one, mut two) = (Node::start(1).await, Node::start_at(2, CLUSTER, "127.0.0.1:0".parse().unwrap(), 1).await);
    one.know(&[two.place()]);
    connected(&one, &mut two).await;
    // More than sockets and buffers hold: the sender comes to wait for the receiver.
    const COUNT: u64 = 200;
    let payload = Bytes::from(vec![3; 256 * 1024]);
    let mut sent = 0;
    for taken in 0..COUNT {
        while sent < COUNT && one.transport.queued()[&two.id] < 8 {
            one.transport.send(two.id, payload.clone());
            sent += 1;
        }
        assert_eq!(two.event().await, PeerEvent::Frame(one.id, payload.clone()), "frame {taken}");
    }
    assert_eq!(one.metric("steadfast_peer_frames_dropped_total"), 0);
}
