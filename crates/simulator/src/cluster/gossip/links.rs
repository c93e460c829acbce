//! The way of what members say to each other: datagrams, and questions by stream with their answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use steadfast_proof::Violation;
use steadfast_types::NodeId;
use xxhash_rust::xxh3::xxh3_64;

use super::Happening;
use crate::cluster::Cluster;
use crate::cluster::event::Event;
use crate::world::Time;

/// Stands for the connection that a question came by.
pub(super) const ANSWER: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)), 1);

/// Where a member is reached: ids in the simulator are small.
pub(super) fn address(id: NodeId) -> SocketAddr {
    let [.., b, c, d] = id.0.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, b, c, d).into(), 2380)
}

fn member_at(address: SocketAddr) -> Option<NodeId> {
    match address {
        SocketAddr::V4(address) => {
            let [_, b, c, d] = address.ip().octets();
            Some(NodeId(u64::from_be_bytes([0, 0, 0, 0, 0, b, c, d])))
        }
        SocketAddr::V6(_) => None,
    }
}

impl Cluster {
    pub(super) fn send_datagram(&mut self, from: NodeId, to: SocketAddr, bytes: Bytes) {
        let Some(to) = member_at(to) else { return };
        let now = self.queue.now();
        let arrivals = self.network.datagram(from, to, now, &mut self.gossip.rng);
        self.trace.note(now, &[32, from.0, to.0, xxh3_64(&bytes), arrivals.len() as u64], || format!("datagram {from} -> {to}"));
        self.counts.datagrams += 1;
        for at in arrivals {
            self.queue.at(at, Event::Gossip(Box::new(Happening::Datagram { from, to, bytes: bytes.clone() })));
        }
    }

    /// A message by stream comes whole or not at all, and only where both ways are open.
    pub(super) fn send_question(&mut self, (from, life): (NodeId, u64), to: SocketAddr, bytes: Bytes) {
        let Some(to) = member_at(to) else { return };
        if let Some(at) = self.stream_arrival(from, to, &bytes) {
            self.queue.at(at, Event::Gossip(Box::new(Happening::Question { from, life, to, bytes })));
        }
    }

    fn stream_arrival(&mut self, from: NodeId, to: NodeId, bytes: &Bytes) -> Option<Time> {
        let now = self.queue.now();
        let is_open = self.network.is_open(from, to) && self.network.is_open(to, from);
        let at = self.network.datagram(from, to, now, &mut self.gossip.rng).first().copied().filter(|_| is_open);
        self.trace.note(now, &[33, from.0, to.0, xxh3_64(bytes), u64::from(at.is_some())], || format!("message by stream {from} -> {to}"));
        at
    }

    pub(super) fn on_question(&mut self, (from, asked_in): (NodeId, u64), to: NodeId, bytes: Bytes) -> Result<(), Violation> {
        let life = self.life_of(to);
        let answer = self.turn_member(to, life, |core, now| drop(core.receive_stream(now, ANSWER, bytes)))?;
        if let Some(bytes) = answer
            && let Some(at) = self.stream_arrival(to, from, &bytes)
        {
            self.queue.at(at, Event::Gossip(Box::new(Happening::Answer { from: to, to: from, life: asked_in, bytes })));
        }
        Ok(())
    }
}
