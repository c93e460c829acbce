//! A node of the crate `foca`, with the settings that it derives from memberlist's for local networks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use foca::{Config, Foca, Identity, Member, NoCustomBroadcast, Notification, PostcardCodec, Runtime, Timer};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};
use steadfast_membership::removal::{Observed, View};
use steadfast_membership::{Incarnation, OwnHealth, State};
use steadfast_types::time::Duration;
use steadfast_types::{Instant, Rng};

use crate::peer::{Effects, Number, Peer, Seen, address, id, number_at};

/// Where a node is, and which of its lives this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identification {
    address: SocketAddr,
    life: u16,
}

impl Identity for Identification {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(Identification { life: self.life.wrapping_add(1), ..*self })
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

fn identification(number: Number) -> Identification {
    Identification { address: address(number), life: 0 }
}

/// What the node asked for in a turn.
#[derive(Default)]
struct Asked {
    sent: Vec<(Number, bool, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Identification>)>,
    seen: Vec<Seen>,
}

impl Runtime<Identification> for &mut Asked {
    fn notify(&mut self, notification: Notification<'_, Identification>) {
        match notification {
            Notification::MemberUp(member) => self.seen.push(Seen::Up(number_at(member.address))),
            Notification::MemberDown(member) => self.seen.push(Seen::Down(number_at(member.address))),
            Notification::Rename(_, _) | Notification::Active | Notification::Idle | Notification::Defunct | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: Identification, data: &[u8]) {
        self.sent.push((number_at(to.address), false, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identification>, after: Duration) {
        self.timers.push((after, event));
    }
}

struct FocaPeer {
    foca: Foca<Identification, PostcardCodec, SmallRng, NoCustomBroadcast>,
    timers: BTreeMap<(Instant, u64), Timer<Identification>>,
    set: u64,
    seen: BTreeMap<Number, (State, Instant)>,
}

impl FocaPeer {
    fn new(number: Number, size: Number, seed: u64) -> Self {
        let config = Config::new_lan(NonZeroU32::new(size).expect("a cluster has a node"));
        let foca = Foca::new(identification(number), config, SmallRng::seed_from_u64(seed), PostcardCodec);
        FocaPeer { foca, timers: BTreeMap::new(), set: 0, seen: BTreeMap::new() }
    }

    fn take(&mut self, now: Instant, asked: Asked, effects: &mut Effects) {
        effects.sent.extend(asked.sent);
        for (after, timer) in asked.timers {
            self.set += 1;
            self.timers.insert((now + after, self.set), timer);
        }
        for seen in asked.seen {
            match seen {
                Seen::Up(number) => self.seen.insert(number, (State::Alive, now)),
                Seen::Down(number) => self.seen.insert(number, (State::Failed, now)),
            };
            effects.seen.push(seen);
        }
    }
}

/// Nodes that know nobody.
pub(crate) fn newcomers(size: Number, rng: &mut Rng) -> Vec<Box<dyn Peer>> {
    (0..size).map(|number| -> Box<dyn Peer> { Box::new(FocaPeer::new(number, size, rng.u64(..))) }).collect()
}

/// Nodes that know each other.
pub(crate) fn cluster(size: Number, rng: &mut Rng) -> Vec<Box<dyn Peer>> {
    let peer = |number| -> Box<dyn Peer> {
        let mut peer = FocaPeer::new(number, size, rng.u64(..));
        let others = (0..size).filter(|other| *other != number).map(|other| Member::alive(identification(other)));
        let mut asked = Asked::default();
        peer.foca.apply_many(others, false, &mut asked).expect("members that were alive are taken in");
        // Their first turns spread over a second, as of nodes that were not started together.
        let phase = Duration::from_micros(rng.u64(..1_000_000));
        for (after, timer) in asked.timers {
            peer.set += 1;
            peer.timers.insert((Instant(0) + phase + after, peer.set), timer);
        }
        peer.seen = (0..size).map(|other| (other, (State::Alive, Instant(0)))).collect();
        Box::new(peer)
    };
    (0..size).map(peer).collect()
}

impl Peer for FocaPeer {
    fn deadline(&self) -> Instant {
        self.timers.first_key_value().map_or(Instant::NEVER, |((at, _), _)| *at)
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) {
        while self.deadline() <= now {
            let Some((_, timer)) = self.timers.pop_first() else { return };
            let mut asked = Asked::default();
            // Timers that come late or twice are errors to it, which change nothing.
            let _ = self.foca.handle_timer(timer, &mut asked);
            self.take(now, asked, effects);
        }
    }

    fn receive(&mut self, now: Instant, _from: Number, _by_stream: bool, bytes: Vec<u8>, effects: &mut Effects) {
        let mut asked = Asked::default();
        // Packets of members that it holds dead are errors to it.
        let _ = self.foca.handle_data(&bytes, &mut asked);
        self.take(now, asked, effects);
    }

    fn join(&mut self, now: Instant, seed: Number, effects: &mut Effects) {
        let mut asked = Asked::default();
        self.foca.announce(identification(seed), &mut asked).expect("an announcement fits");
        self.take(now, asked, effects);
    }

    fn view(&self, _now: Instant, removed_at: Vec<Instant>, is_member: &dyn Fn(Number) -> bool) -> View {
        let observed = self.seen.iter().filter(|(number, _)| is_member(**number)).map(|(number, (state, since))| Observed {
            id: id(*number),
            incarnation: Incarnation(0),
            state: *state,
            since: *since,
            witnesses: Vec::new(),
        });
        View { members: observed.collect(), removed_at, own_health: OwnHealth { score: 0, is_quiet: false } }
    }
}
