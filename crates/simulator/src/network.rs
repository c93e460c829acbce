//! The network between nodes: decides for every frame whether and when it arrives, how often, and in which order.
//!
//! Links are directed: what one direction suffers the other need not. Frames are bytes; the network looks at none.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_types::time::Duration;
use steadfast_types::{NodeId, Rng};

use crate::world::{Time, micros};

/// How all links behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkFaults {
    /// The shortest delay.
    pub delay_min: Duration,
    /// The longest delay of an ordinary frame.
    pub delay_max: Duration,
    /// The probability that a frame is lost.
    pub loss: f64,
    /// The probability that a frame arrives twice.
    pub duplication: f64,
    /// The probability that a frame is held up.
    pub hold_up: f64,
    /// For how long at most.
    pub hold_up_max: Duration,
    /// Whether frames of one link arrive in the order they were sent, as over one connection.
    pub ordered: bool,
}

impl Default for NetworkFaults {
    /// A healthy local network.
    fn default() -> Self {
        NetworkFaults {
            delay_min: Duration::from_micros(100),
            delay_max: Duration::from_micros(400),
            loss: 0.0,
            duplication: 0.0,
            hold_up: 0.0,
            hold_up_max: Duration::ZERO,
            ordered: true,
        }
    }
}

/// The shapes of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Two sides that don't hear each other.
    Split,
    /// One node alone.
    Isolate,
    /// One node is heard and hears nothing, or hears and is not heard.
    OneWay,
    /// Each node reaches only its neighbours in a line.
    Chain,
    /// Random directed links are cut.
    Partial,
}

/// All shapes.
pub const PARTITIONS: [Partition; 5] = [Partition::Split, Partition::Isolate, Partition::OneWay, Partition::Chain, Partition::Partial];

type Link = (NodeId, NodeId);

/// The links between nodes.
#[derive(Debug, Default)]
pub struct Network {
    faults: NetworkFaults,
    cut: BTreeSet<Link>,
    last_arrival: BTreeMap<Link, Time>,
}

impl Network {
    /// A whole network.
    pub fn new(faults: NetworkFaults) -> Self {
        Network { faults, ..Network::default() }
    }

    /// When a frame sent now arrives: never, once or twice.
    pub fn arrivals(&mut self, from: NodeId, to: NodeId, now: Time, rng: &mut Rng) -> Vec<Time> {
        if self.cut.contains(&(from, to)) || rng.f64() < self.faults.loss {
            return Vec::new();
        }
        let copies = if rng.f64() < self.faults.duplication { 2 } else { 1 };
        (0..copies).map(|_| self.arrival((from, to), now, rng)).collect()
    }

    /// When a datagram sent now arrives: never, once or twice, and in any order.
    pub fn datagram(&self, from: NodeId, to: NodeId, now: Time, rng: &mut Rng) -> Vec<Time> {
        if self.cut.contains(&(from, to)) || rng.f64() < self.faults.loss {
            return Vec::new();
        }
        let copies = if rng.f64() < self.faults.duplication { 2 } else { 1 };
        (0..copies).map(|_| now + self.delay(rng)).collect()
    }

    /// Cuts links in this shape, besides those cut already. In shapes that single one node out it is `victim`.
    pub fn partition(&mut self, shape: Partition, nodes: &[NodeId], victim: NodeId, rng: &mut Rng) {
        let mut order = nodes.to_vec();
        rng.shuffle(&mut order);
        order.sort_by_key(|node| *node != victim);
        let side = order.split_at(rng.usize(0..=nodes.len() / 2));
        let outgoing = rng.bool();
        for from in 0..order.len() {
            for to in 0..order.len() {
                let cut = match shape {
                    Partition::Split => side.0.contains(&order[from]) != side.0.contains(&order[to]),
                    Partition::Isolate => from == 0 || to == 0, // The victim is first.
                    Partition::OneWay => (if outgoing { from } else { to }) == 0,
                    Partition::Chain => from.abs_diff(to) > 1,
                    Partition::Partial => rng.u8(0..4) == 0,
                };
                if cut && from != to {
                    self.cut.insert((order[from], order[to]));
                }
            }
        }
    }

    /// Cuts the links that are chosen, from one node to another.
    pub fn cut(&mut self, chosen: impl Fn(NodeId, NodeId) -> bool, nodes: &[NodeId]) {
        let links = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
        self.cut.extend(links.filter(|(from, to)| from != to && chosen(*from, *to)));
    }

    /// All links work again, as well as `faults` lets them.
    pub fn heal(&mut self, faults: NetworkFaults) {
        self.faults = faults;
        self.cut.clear();
    }

    /// Ends all partitions.
    pub fn reconnect(&mut self) {
        self.cut.clear();
    }

    /// Whether frames pass from one node to another.
    pub fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    fn arrival(&mut self, link: Link, now: Time, rng: &mut Rng) -> Time {
        let mut arrival = now + self.delay(rng);
        let last = self.last_arrival.entry(link).or_default();
        if self.faults.ordered {
            arrival = arrival.max(*last);
        }
        *last = arrival.max(*last);
        arrival
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        let usual = between(self.faults.delay_min, self.faults.delay_max, rng);
        if rng.f64() < self.faults.hold_up { usual + between(Duration::ZERO, self.faults.hold_up_max, rng) } else { usual }
    }
}

/// A random duration between two, both included.
pub(crate) fn between(shortest: Duration, longest: Duration, rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.u64(micros(shortest)..=micros(longest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    fn open_links(network: &Network, nodes: &[NodeId]) -> usize {
        nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, to))).filter(|(a, b)| a != b && network.is_open(**a, **b)).count()
    }

    #[test]
    fn a_healthy_link_delivers_each_frame_once_in_order() {
        let mut network = Network::default();
        let mut rng = Rng::with_seed(1);
        let mut last = Time(0);
        for now in 0..1_000 {
            let arrivals = network.arrivals(A, B, Time(now), &mut rng);
            assert!(arrivals.len() == 1 && arrivals[0] >= last && arrivals[0] >= Time(now + 100));
            last = arrivals[0];
        }
    }

    #[test]
    fn frames_are_lost_doubled_and_overtaken() {
        let faults = NetworkFaults { loss: 0.2, duplication: 0.2, ordered: false, ..NetworkFaults::default() };
        let mut network = Network::new(faults);
        let mut rng = Rng::with_seed(1);
        let arrivals: Vec<Vec<Time>> = (0..1_000).map(|now| network.arrivals(A, B, Time(now), &mut rng)).collect();
        let by_count = [0, 1, 2].map(|count| arrivals.iter().filter(|a| a.len() == count).count());
        assert!((150..250).contains(&by_count[0]) && (100..250).contains(&by_count[2]), "{by_count:?}");
        assert!(!arrivals.concat().is_sorted());
    }

    #[test]
    fn partitions_have_their_shapes_and_heal() {
        let nodes = nodes(5);
        let mut rng = Rng::with_seed(3);
        for (shape, open) in [(Partition::Isolate, 12), (Partition::OneWay, 16), (Partition::Chain, 8)] {
            let mut network = Network::default();
            network.partition(shape, &nodes, A, &mut rng);
            assert_eq!(open_links(&network, &nodes), open, "{shape:?}");
            network.reconnect();
            assert_eq!(open_links(&network, &nodes), 20);
        }
    }

    #[test]
    fn a_cut_link_delivers_nothing() {
        let mut network = Network::default();
        let mut rng = Rng::with_seed(3);
        network.partition(Partition::Isolate, &nodes(2), A, &mut rng);
        assert!(network.arrivals(A, B, Time(0), &mut rng).is_empty());
        network.heal(NetworkFaults::default());
        assert_eq!(network.arrivals(A, B, Time(0), &mut rng).len(), 1);
    }
}
