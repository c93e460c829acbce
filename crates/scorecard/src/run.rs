//! One run: a cluster, a scenario, and three servers that decide about removals.

use steadfast_membership::removal::{Decision, RemovalConfig, decide};
use steadfast_types::{Instant, Rng};

use crate::measure::{Ledger, Removed, Result, Traffic};
use crate::network::Network;
use crate::peer::{Kind, Number, Peer, SERVERS, cluster, newcomer, number_of};
use crate::scenario::{BEFORE_S, Scenario};

/// How many nodes a start-up has.
pub const START_UP_SIZE: Number = 2_000;

/// Within this many seconds all of them ask to join.
const START_UP_S: u64 = 5;

const SECOND: u64 = 1_000_000;

/// What stands in for strong state: who was removed, and when, known to all servers at once.
struct Record {
    removed: Removed,
    removed_at: Vec<Instant>,
    is_removed: Vec<bool>,
    config: RemovalConfig,
}

impl Record {
    /// Each server that runs decides; what one proposes is done.
    fn decide(&mut self, network: &Network) {
        let now = network.now;
        let mut is_held = false;
        for server in (0..SERVERS).filter(|server| network.conditions[*server as usize].is_up) {
            let is_removed = &self.is_removed;
            let view = network.peer(server).view(now, self.removed_at.clone(), &|number| !is_removed[number as usize]);
            match decide(&view, &self.config, now) {
                Decision::Hold(_, _) => is_held = true,
                Decision::Remove(removals) => {
                    for removal in removals {
                        let number = number_of(removal.id);
                        self.is_removed[number as usize] = true;
                        self.removed.numbers.push(number);
                        self.removed_at.push(now);
                    }
                }
            }
        }
        self.removed.held_s += u64::from(is_held);
    }
}

fn peers(kind: Kind, scenario: Scenario, size: Number, rng: &mut Rng) -> Vec<Box<dyn Peer>> {
    match (kind, scenario) {
        #[cfg(feature = "foca")]
        (Kind::Foca, Scenario::StartUp) => crate::foca_peer::newcomers(size, rng),
        #[cfg(feature = "foca")]
        (Kind::Foca, _) => crate::foca_peer::cluster(size, rng),
        #[cfg(not(feature = "foca"))]
        (Kind::Foca, _) => unimplemented_foca(),
        (_, Scenario::StartUp) => (0..size).map(|number| newcomer(kind, number, rng.u64(..))).collect(),
        (_, _) => cluster(kind, size, rng),
    }
}

#[cfg(not(feature = "foca"))]
fn unimplemented_foca() -> ! {
    panic!("built without the feature foca")
}

/// Runs it; `progress` is told each simulated second.
pub fn run(kind: Kind, scenario: Scenario, size: Number, seed: u64, progress: &mut dyn FnMut(u64)) -> Result {
    let mut rng = Rng::with_seed(seed);
    let victims = scenario.victims(size, &mut rng);
    let mut network = Network::new(peers(kind, scenario, size, &mut rng), rng.u64(..));
    let mut ledger = Ledger::new(size, &victims, scenario.kills());
    let before = if scenario == Scenario::StartUp { 0 } else { BEFORE_S };
    for second in 0..before {
        network.run(Instant((second + 1) * SECOND), &mut |now, observer, seen| ledger.saw(now, observer, seen));
        progress(second + 1);
    }
    let idle: Vec<u64> = network.bytes.clone();
    let packets = network.packets;
    ledger.begin(network.now);
    let mut record = Record {
        removed: Removed::default(),
        removed_at: Vec::new(),
        is_removed: vec![false; size as usize],
        config: RemovalConfig::default(),
    };
    let mut joins = joins(scenario, size, &mut rng);
    let lasts = scenario.lasts_s(size);
    for second in 0..lasts {
        scenario.strike(second, &victims, &mut network);
        let end = Instant((before + second + 1) * SECOND);
        while let Some((at, number)) = joins.pop_if(|(at, _)| *at <= end) {
            network.run(at, &mut |now, observer, seen| ledger.saw(now, observer, seen));
            ledger.joined_at[number as usize] = at;
            network.join(number, 0);
        }
        network.run(end, &mut |now, observer, seen| ledger.saw(now, observer, seen));
        record.decide(&network);
        progress(before + second + 1);
    }
    let living: Vec<usize> = (0..size as usize).filter(|number| network.conditions[*number].is_up).collect();
    let during: Vec<f64> = living.iter().map(|number| (network.bytes[*number] - idle[*number]) as f64 / lasts as f64).collect();
    let traffic = Traffic {
        idle_bytes: idle.iter().sum::<u64>() as f64 / before.max(1) as f64 / f64::from(size),
        bytes: (during.iter().sum::<f64>() / living.len() as f64, during.iter().copied().fold(0.0, f64::max)),
        packets: (network.packets - packets) as f64 / lasts as f64 / living.len() as f64,
    };
    let result = Result::new(kind, scenario, size, seed, &ledger, &traffic, &record.removed);
    // Ten thousand tables of ten thousand members take seconds to take apart.
    std::mem::forget(network);
    result
}

/// Who asks to join when, the first last.
fn joins(scenario: Scenario, size: Number, rng: &mut Rng) -> Vec<(Instant, Number)> {
    if scenario != Scenario::StartUp {
        return Vec::new();
    }
    let mut joins: Vec<(Instant, Number)> = (1..size).map(|number| (Instant(rng.u64(..START_UP_S * SECOND)), number)).collect();
    joins.sort_unstable_by(|one, other| other.cmp(one));
    joins
}
