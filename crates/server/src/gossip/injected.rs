//! The fault table in gossip: which packets are lost on purpose, and how long those that go out are held back.
//!
//! A packet is judged by the member that says it has sent it, and by the member at the address that it goes to. Without a table all of this costs a
//! comparison.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use steadfast_membership::{Packet, Table};
use steadfast_types::{ClusterId, Instant, NodeId, Rng};

use crate::fault_table::Faults;
use crate::identity::random;

/// Datagrams held back at once. A member sends some twenty a second, and the longest delay of use is some seconds; further ones are lost.
const HELD: usize = 4096;

/// What is done to the packets of one node.
pub(super) struct Injected {
    faults: Faults,
    cluster: ClusterId,
    rng: Rng,
    /// In the order in which they came.
    held: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
}

impl Injected {
    pub(super) fn new(faults: Faults, cluster: ClusterId) -> Self {
        Injected { faults, cluster, rng: Rng::with_seed(random()), held: VecDeque::new() }
    }

    /// Who says that it has sent this packet; `None` also if nobody wants to know.
    pub(super) fn sender(&self, packet: &Bytes) -> Option<NodeId> {
        let packet = self.faults.drops_any().then(|| Packet::decode(packet.clone(), self.cluster))?;
        packet.ok().map(|packet| packet.header.from)
    }

    /// Whether what this member sends is lost.
    pub(super) fn loses_from(&self, sender: Option<NodeId>) -> bool {
        sender.is_some_and(|sender| self.faults.drops_from(sender))
    }

    /// Whether an answer to this member is lost.
    pub(super) fn loses_answer_to(&self, asker: Option<NodeId>) -> bool {
        asker.is_some_and(|asker| self.faults.drops_to(asker))
    }

    /// Whether what goes to this address is lost.
    pub(super) fn loses_to(&self, to: SocketAddr, table: &Table) -> bool {
        self.faults.drops_any() && table.iter().any(|member| member.profile.address == to && self.faults.drops_to(member.profile.id))
    }

    /// Whether chance takes this datagram.
    pub(super) fn loses_by_chance(&mut self) -> bool {
        let percent = self.faults.loss_percent();
        percent > 0 && self.rng.u8(..100) < percent
    }

    /// How long what goes out is held back.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.faults.delay()
    }

    /// Holds a datagram back until `due`; whether there was room.
    pub(super) fn hold(&mut self, due: Instant, to: SocketAddr, packet: Vec<u8>) -> bool {
        let has_room = self.held.len() < HELD;
        if has_room {
            self.held.push_back((due, to, packet));
        }
        has_room
    }

    /// The next datagram that was held back for long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        let (_, to, packet) = self.held.pop_front_if(|(due, ..)| *due <= now)?;
        Some((to, packet))
    }

    /// When there is one, if any is held back.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.front().map(|(due, ..)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_table::FaultRequest;

    fn injected(request: FaultRequest) -> Injected {
        let faults = Faults::enabled();
        faults.table().unwrap().set(request, &|word| Some(NodeId(word.parse().unwrap()))).unwrap();
        Injected::new(faults, ClusterId(7))
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn without_faults_nobody_looks_into_a_packet() {
        let mut injected = Injected::new(Faults::default(), ClusterId(7));
        assert!(injected.sender(&Bytes::from_static(b"?")).is_none() && !injected.loses_by_chance() && injected.delay().is_none());
    }

    #[test]
    fn each_direction_is_its_own() {
        let injected = injected(FaultRequest { drop_from: vec!["2".to_owned()], drop_to: vec!["3".to_owned()], ..FaultRequest::default() });
        assert!(injected.loses_from(Some(NodeId(2))) && !injected.loses_from(Some(NodeId(3))) && !injected.loses_from(None));
        assert!(injected.loses_answer_to(Some(NodeId(3))) && !injected.loses_answer_to(Some(NodeId(2))));
    }

    #[test]
    fn chance_takes_the_part_that_was_asked_for() {
        for (percent, most, least) in [(0, 0, 0), (30, 400, 200), (100, 1000, 1000)] {
            let mut injected = injected(FaultRequest { loss_percent: percent, ..FaultRequest::default() });
            let lost = (0..1000).filter(|_| injected.loses_by_chance()).count();
            assert!((least..=most).contains(&lost), "{lost} of 1000 at {percent} %");
        }
    }

    #[test]
    fn what_is_held_back_comes_in_order_and_takes_bounded_room() {
        let mut injected = injected(FaultRequest::default());
        assert!((0..HELD).all(|k| injected.hold(Instant(k as u64), address(1), vec![])) && !injected.hold(Instant(0), address(2), vec![]));
        assert_eq!(injected.next_due(), Some(Instant(0)));
        assert_eq!((0..).take_while(|_| injected.take_due(Instant(9)).is_some()).count(), 10);
        assert_eq!(injected.next_due(), Some(Instant(10)));
    }
}
