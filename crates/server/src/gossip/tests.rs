//! Two nodes gossip over real sockets.

use std::net::SocketAddr;

use steadfast_membership::message::{Header, Message};
use steadfast_membership::{Incarnation, Packet, Profile, Record};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::peers::{Reception, Topic, answer_questions};

const CLUSTER: ClusterId = ClusterId(7);

/// Members that do not exist but in the table: more than a few datagrams tell of.
const OTHERS: u64 = 600;

struct Answering(Gossip);

impl Reception for Answering {
    async fn answer(&self, topic: Topic, question: Bytes) -> Bytes {
        assert_eq!(topic, Topic::Gossip);
        self.0.answer(question).await
    }
}

/// A node that listens, with these seeds.
async fn node(id: u64, seeds: &[SocketAddr]) -> (Gossip, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let part = Part {
        cluster: CLUSTER,
        node: NodeId(id),
        name: format!("node{id}"),
        role: Role::Server,
        address: address.to_string(),
        life: Life { count: 1, born: id },
        keys: Keys::default(),
        link: Link::Plain,
        socket: UdpSocket::bind(address).await.unwrap(),
        clock: Clock::new(Faults::default()),
        metrics: Metrics::new(),
        faults: Faults::default(),
    };
    let gossip = Gossip::start(part, seeds.iter().map(ToString::to_string).collect());
    let reception = Arc::new(Answering(gossip.clone()));
    tokio::spawn(async move { answer_questions(&listener, &Link::Plain, reception).await });
    (gossip, address)
}

/// What somebody tells of members that live at an address where nobody answers.
fn told(ids: std::ops::Range<u64>) -> Vec<u8> {
    let header = Header { from: NodeId(1_000_000), incarnation: Incarnation(0), digest: 0 };
    let incarnation = Incarnation::of_life(1);
    let profile = |id| Profile {
        id: NodeId(id),
        name: format!("other{id}"),
        address: ([127, 0, 3, 1], 9).into(),
        role: Role::Agent,
        born: id,
        version: incarnation,
        metadata: Bytes::new(),
    };
    let records = ids.map(|id| Record::alive(Arc::new(profile(id)), incarnation)).collect();
    Packet { header, message: Message::Gossip, records }.encode(CLUSTER)
}

#[tokio::test]
async fn the_whole_list_of_many_members_comes_by_stream() {
    let (elder, address) = node(1, &[]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (first, step) = (1000, 10);
    for begin in (first..first + OTHERS).step_by(step) {
        socket.send_to(&told(begin..begin + step as u64), address).await.unwrap();
        let known = (begin + step as u64 - first) as usize + 1;
        let mut view = elder.view.clone();
        view.wait_for(|view| view.members.len() >= known).await.unwrap();
    }
    let (younger, _) = node(2, &[address]).await;
    let mut view = younger.view.clone();
    let seen = view.wait_for(|view| view.is_admitted && view.members.len() >= OTHERS as usize + 2).await.unwrap().clone();
    assert_eq!(seen.find("other1599"), Some(NodeId(1599)));
    assert_eq!((seen.find("node1"), seen.find(&address.to_string()), seen.find("1")), (Some(NodeId(1)), Some(NodeId(1)), Some(NodeId(1))));
    assert_eq!(seen.find("nobody"), None);
}
