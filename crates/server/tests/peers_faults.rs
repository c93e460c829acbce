//! Transports whose faults are set: what is to be lost is lost, in its direction alone, and comes again when it is healed.

use std::time::Duration;

use bytes::Bytes;
use steadfast_server::admin::Metrics;
use steadfast_server::fault_table::{FaultRequest, Faults};
use steadfast_server::peers::{LocalPeer, PeerEvent, PeerTransport, Reception, Topic};
use steadfast_types::{ClusterId, NodeId};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// No test here waits so long for anything that comes.
const PATIENCE: Duration = Duration::from_secs(15);

struct Echo;

impl Reception for Echo {
    async fn answer(&self, _topic: Topic, question: Bytes) -> Bytes {
        question
    }
}

struct Node {
    id: NodeId,
    address: String,
    transport: PeerTransport,
    events: mpsc::Receiver<PeerEvent>,
    faults: Faults,
}

impl Node {
    async fn start(id: u64) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, events) = mpsc::channel(1024);
        let local = LocalPeer { cluster: ClusterId(7), node: NodeId(id), incarnation: id, address: address.clone() };
        let faults = Faults::enabled();
        let transport = PeerTransport::start_with_faults(listener, local, sender, Echo, Metrics::new(), faults);
        Node { id: NodeId(id), address, transport, events, faults }
    }

    fn know(&self, other: &Node) {
        self.transport.set_peers([(other.id, other.address.clone())].into(), [].into());
    }

    /// Sets faults; the one peer is called `other`.
    fn set(&self, other: &Node, request: FaultRequest) {
        self.faults.table().unwrap().set(request, &|word| (word == "other").then_some(other.id)).unwrap();
    }

    fn clear(&self) {
        self.faults.table().unwrap().clear();
    }
}

fn others() -> Vec<String> {
    vec!["other".to_owned()]
}

/// Sends until a frame that was sent from now on arrives.
async fn arrives(from: &Node, to: &mut Node) {
    while to.events.try_recv().is_ok() {}
    let arrival = async {
        loop {
            from.transport.send(to.id, Bytes::from_static(b"x"));
            if let Ok(Some(PeerEvent::Frame(..))) = timeout(Duration::from_millis(20), to.events.recv()).await {
                return;
            }
        }
    };
    timeout(PATIENCE, arrival).await.expect("a frame arrives");
}

/// Sends for a while, and nothing of it arrives.
async fn is_lost(from: &Node, to: &mut Node) {
    // What was on its way may still come.
    sleep(Duration::from_millis(100)).await;
    while to.events.try_recv().is_ok() {}
    for _ in 0..30 {
        from.transport.send(to.id, Bytes::from_static(b"x"));
        sleep(Duration::from_millis(10)).await;
    }
    while let Ok(event) = to.events.try_recv() {
        assert!(!matches!(event, PeerEvent::Frame(..)), "{event:?}");
    }
}

async fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.know(&b);
    b.know(&a);
    arrives(&a, &mut b).await;
    arrives(&b, &mut a).await;
    (a, b)
}

#[tokio::test]
async fn what_is_sent_is_lost_in_one_direction_until_it_is_healed() {
    let (mut a, mut b) = pair().await;
    a.set(&b, FaultRequest { drop_to: others(), ..FaultRequest::default() });
    is_lost(&a, &mut b).await;
    arrives(&b, &mut a).await;
    a.clear();
    arrives(&a, &mut b).await;
}

#[tokio::test]
async fn what_comes_is_lost_in_one_direction_until_it_is_healed() {
    let (mut a, mut b) = pair().await;
    a.set(&b, FaultRequest { drop_from: others(), ..FaultRequest::default() });
    is_lost(&b, &mut a).await;
    arrives(&a, &mut b).await;
    a.clear();
    arrives(&b, &mut a).await;
}

#[tokio::test]
async fn connections_break_in_a_long_partition_and_are_made_again() {
    let (mut a, mut b) = pair().await;
    a.set(&b, FaultRequest { drop_from: others(), drop_to: others(), ..FaultRequest::default() });
    for node in [&mut a, &mut b] {
        let ended = async { while !matches!(node.events.recv().await, Some(PeerEvent::Disconnected(_))) {} };
        timeout(PATIENCE, ended).await.expect("the connection ends");
    }
    is_lost(&a, &mut b).await;
    a.clear();
    arrives(&a, &mut b).await;
    arrives(&b, &mut a).await;
}

#[tokio::test]
async fn a_slow_network_delivers_late() {
    let (a, mut b) = pair().await;
    sleep(Duration::from_millis(100)).await;
    while b.events.try_recv().is_ok() {}
    a.set(&b, FaultRequest { delay_ms: 150, ..FaultRequest::default() });
    let sent = Instant::now();
    a.transport.send(b.id, Bytes::from_static(b"late"));
    let event = timeout(PATIENCE, b.events.recv()).await.expect("it comes").expect("the transport runs");
    assert_eq!(event, PeerEvent::Frame(a.id, Bytes::from_static(b"late")));
    assert!(sent.elapsed() >= Duration::from_millis(145), "{:?}", sent.elapsed());
}
