//! Connections between replicas: streams that keep their order, and that end when something on them is lost.

use bytes::Bytes;
use steadfast_proof::Violation;
use steadfast_types::NodeId;
use steadfast_types::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

use super::world::{Event, World};
use crate::network::between;

impl World {
    pub(super) fn dial_later(&mut self, one: NodeId, other: NodeId) {
        let after = between(Duration::from_millis(20), Duration::from_millis(300), &mut self.network_rng);
        self.queue.after(after, Event::Dial { one, other });
    }

    pub(super) fn on_dial(&mut self, one: NodeId, other: NodeId) {
        self.dial_later(one, other);
        let link = |node: NodeId, peer: NodeId| Some(self.machines[&node].process.as_ref()?.links.get(&peer).copied());
        let (Some(mine), Some(theirs)) = (link(one, other), link(other, one)) else { return };
        let is_open = self.network.is_open(one, other) && self.network.is_open(other, one);
        if mine.is_some() && mine == theirs || !is_open {
            return;
        }
        self.connection += 1;
        self.counts.connections += 1;
        let connection = self.connection;
        let lives = [one, other].map(|node| (node, self.machines[&node].life));
        self.dialed.insert(connection, lives);
        for ((node, life), peer) in lives.into_iter().zip([other, one]) {
            let after = between(Duration::from_micros(100), Duration::from_millis(20), &mut self.network_rng);
            self.queue.after(after, Event::Connected { node, life, peer, connection });
        }
    }

    pub(super) fn on_connected(&mut self, node: NodeId, life: u64, peer: NodeId, connection: u64) -> Result<(), Violation> {
        let Some(process) = self.process_of(node, life) else { return Ok(()) };
        if process.links.get(&peer).is_some_and(|held| *held >= connection) {
            return Ok(());
        }
        process.links.insert(peer, connection);
        process.replica.connected(peer);
        self.trace.note(self.queue.now(), &[4, node.0, peer.0, connection], || format!("{node} is connected to {peer} ({connection})"));
        self.settle(node)
    }

    pub(super) fn on_closed(&mut self, node: NodeId, peer: NodeId, connection: u64) -> Result<(), Violation> {
        let Some(process) = self.process(node).filter(|process| process.links.get(&peer) == Some(&connection)) else { return Ok(()) };
        process.links.remove(&peer);
        process.replica.disconnected(peer);
        self.trace.note(self.queue.now(), &[5, node.0, peer.0, connection], || format!("{node} loses {peer} ({connection})"));
        self.settle(node)
    }

    /// A side notices that a connection has ended.
    pub(super) fn close_later(&mut self, node: NodeId, peer: NodeId, connection: u64) {
        let after = between(Duration::from_millis(1), Duration::from_millis(1_000), &mut self.network_rng);
        self.queue.after(after, Event::Closed { node, peer, connection });
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, frame: Bytes) {
        let Some(connection) = self.machines[&from].process.as_ref().and_then(|process| process.links.get(&to).copied()) else { return };
        self.counts.frames += 1;
        if self.broken.contains(&connection) {
            return;
        }
        let now = self.queue.now();
        match self.network.arrivals(from, to, now, &mut self.network_rng).first() {
            Some(at) => self.queue.at(*at, Event::Frame { from, to, connection, frame }),
            None => {
                self.broken.insert(connection);
                self.close_later(from, to, connection);
                self.close_later(to, from, connection);
            }
        }
    }

    pub(super) fn on_frame(&mut self, from: NodeId, to: NodeId, connection: u64, frame: Bytes) -> Result<(), Violation> {
        let held = self.machines[&to].process.as_ref().map(|process| (process.life, process.links.get(&from).copied()));
        match held {
            // It accepted the connection before it was told so.
            Some((life, held)) if held < Some(connection) && self.dialed[&connection].contains(&(to, life)) => {
                self.on_connected(to, life, from, connection)?;
            }
            Some((_, held)) if held == Some(connection) => {}
            // Nobody is there who knows of it.
            _ => {
                self.close_later(from, to, connection);
                return Ok(());
            }
        }
        let Some(process) = self.process(to) else { return Ok(()) };
        let hash = xxh3_64(&frame);
        let length = frame.len();
        let received = process.replica.receive(from, frame);
        self.trace.note(self.queue.now(), &[6, from.0, to.0, hash], || format!("{from} -> {to}: {length} bytes {hash:016x}"));
        match received {
            Ok(()) => self.settle(to),
            Err(error) => Err(Violation::new("messages", format!("{to} can't take what {from} sent: {error}"))),
        }
    }
}
