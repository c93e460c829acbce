//! One node of whatever kind: it is told of time and packets, and says what to send and what it saw.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use steadfast_membership::removal::View;
use steadfast_membership::{Config, Event, Incarnation, Membership, Outputs, Profile, Role, Table};
use steadfast_types::{Instant, NodeId, Rng};

/// A node's number in the simulation.
pub type Number = u32;

/// What a node saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// That one takes part.
    Up(Number),
    /// That one is gone, by its own word or by others'.
    Down(Number),
}

/// What comes out of a turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// Packets: to whom, by stream or not, and their bytes.
    pub sent: Vec<(Number, bool, Vec<u8>)>,
    /// What was seen.
    pub seen: Vec<Seen>,
}

/// A node.
pub trait Peer {
    /// When it wants its next turn.
    fn deadline(&self) -> Instant;
    /// Time has passed.
    fn tick(&mut self, now: Instant, effects: &mut Effects);
    /// A packet has come.
    fn receive(&mut self, now: Instant, from: Number, by_stream: bool, bytes: Vec<u8>, effects: &mut Effects);
    /// It is to join the cluster of `seed`.
    fn join(&mut self, now: Instant, seed: Number, effects: &mut Effects);
    /// What it sees of the members, for removals.
    fn view(&self, now: Instant, removed_at: Vec<Instant>, is_member: &dyn Fn(Number) -> bool) -> View;
}

/// Which code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The membership core as it is configured by default.
    Steadfast,
    /// The same crate as plain SWIM with memberlist's defaults.
    PlainSwim,
    /// The same with Lifeguard.
    Lifeguard,
    /// The crate `foca`.
    Foca,
}

impl Kind {
    /// All kinds, in the order of the table.
    pub const ALL: [Kind; 4] = [Kind::Steadfast, Kind::PlainSwim, Kind::Lifeguard, Kind::Foca];

    /// Its name in tables and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Steadfast => "steadfast",
            Kind::PlainSwim => "plain-swim",
            Kind::Lifeguard => "lifeguard",
            Kind::Foca => "foca",
        }
    }

    pub(crate) fn config(self) -> Config {
        match self {
            Kind::Steadfast | Kind::Foca => Config::default(),
            Kind::PlainSwim => Config::plain_swim(),
            Kind::Lifeguard => Config::lifeguard(),
        }
    }
}

/// Where a node is.
#[must_use]
pub fn address(number: Number) -> SocketAddr {
    let [_, high, middle, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, high, middle, low)), 7946)
}

pub(crate) fn number_at(address: SocketAddr) -> Number {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [_, high, middle, low] = ip.octets();
            Number::from_be_bytes([0, high, middle, low])
        }
        IpAddr::V6(_) => unreachable!("all nodes have addresses of version 4"),
    }
}

/// Ids look random, and say at their end which node it is.
#[must_use]
pub fn id(number: Number) -> NodeId {
    let scrambled = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    NodeId((scrambled & !0xff_ffff) | u64::from(number))
}

pub(crate) fn number_of(id: NodeId) -> Number {
    (id.0 & 0xff_ffff) as Number
}

/// Servers come first.
pub const SERVERS: Number = 3;

fn profile(number: Number) -> Profile {
    Profile {
        id: id(number),
        name: format!("node-{number:05}"),
        address: address(number),
        role: if number < SERVERS { Role::Server } else { Role::Agent },
        born: u64::from(number),
        version: Incarnation::of_life(1),
        metadata: Bytes::from_static(b"zone=a,version=0.1.0"),
    }
}

/// A node that knows nobody.
pub(crate) fn newcomer(kind: Kind, number: Number, seed: u64) -> Box<dyn Peer> {
    Box::new(Core::new(Membership::new(kind.config(), profile(number), Incarnation::of_life(1), seed, Instant(0))))
}

/// A cluster whose nodes all know each other: what a node says of itself is shared between them, what they hold of each other is not.
pub(crate) fn cluster(kind: Kind, size: Number, rng: &mut Rng) -> Vec<Box<dyn Peer>> {
    let mut table = Table::new(Arc::new(profile(0)), Incarnation::of_life(1), Instant(0));
    (1..size).for_each(|number| table.admit_known(Arc::new(profile(number)), Incarnation::of_life(1), Instant(0), rng));
    let peer = |number| -> Box<dyn Peer> {
        let own = table.clone().for_member(id(number), rng);
        Box::new(Core::new(Membership::with_table(kind.config(), own, rng.u64(..), Instant(0))))
    };
    (0..size).map(peer).collect()
}

/// A node of ours.
struct Core {
    membership: Membership,
    outputs: Outputs,
}

impl Core {
    fn new(membership: Membership) -> Self {
        Core { membership, outputs: Outputs::default() }
    }

    fn drain(&mut self, effects: &mut Effects) {
        self.membership.take_outputs(&mut self.outputs);
        let sent = |by_stream| move |(to, bytes): (SocketAddr, Vec<u8>)| (number_at(to), by_stream, bytes);
        effects.sent.extend(self.outputs.datagrams.drain(..).map(sent(false)));
        effects.sent.extend(self.outputs.streams.drain(..).map(sent(true)));
        effects.seen.extend(self.outputs.events.drain(..).filter_map(|event| seen(&event)));
    }
}

fn seen(event: &Event) -> Option<Seen> {
    match event {
        Event::Joined(profile) => Some(Seen::Up(number_of(profile.id))),
        Event::Returned(id, _) => Some(Seen::Up(number_of(*id))),
        Event::Failed(id, _) | Event::Left(id, _) => Some(Seen::Down(number_of(*id))),
        Event::Changed(_)
        | Event::Suspected(_)
        | Event::Cleared(_)
        | Event::NameConflict { .. }
        | Event::NameTaken { .. }
        | Event::Admitted
        | Event::Accused { .. }
        | Event::Refuted(_)
        | Event::Paused(_)
        | Event::Departed => None,
    }
}

impl Peer for Core {
    fn deadline(&self) -> Instant {
        self.membership.next_deadline()
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) {
        self.membership.tick(now);
        self.drain(effects);
    }

    fn receive(&mut self, now: Instant, from: Number, by_stream: bool, bytes: Vec<u8>, effects: &mut Effects) {
        let received = if by_stream {
            self.membership.receive_stream(now, address(from), bytes.into())
        } else {
            self.membership.receive_datagram(now, address(from), bytes.into())
        };
        received.expect("whatever a member sends, a member can read");
        self.drain(effects);
    }

    fn join(&mut self, now: Instant, seed: Number, effects: &mut Effects) {
        self.membership.join(now, &[address(seed)]);
        self.drain(effects);
    }

    fn view(&self, _now: Instant, removed_at: Vec<Instant>, is_member: &dyn Fn(Number) -> bool) -> View {
        View::of(&self.membership, removed_at, |id| is_member(number_of(id)))
    }
}
