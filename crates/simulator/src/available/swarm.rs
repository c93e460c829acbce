//! What a world of available state suffers, drawn from its seed: each class of fault by itself, and absent in about half of the worlds.

use std::fmt;

use steadfast_available::exchange::Limits;
use steadfast_types::Rng;
use steadfast_types::time::Duration;

use crate::network::NetworkFaults;
use crate::swarm::{Recurring, millis, recurring};

/// What a crash of a machine may take along. That of a process alone takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was answered.
    Always,
    /// What was answered in the last second or so.
    EverySecond,
    /// Anything.
    Never,
}

/// Everything that was drawn for a world.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// How many replicas.
    pub nodes: usize,
    /// How many clients, each with one command under way.
    pub clients: usize,
    /// The share of them that carry a token from replica to replica.
    pub sessions: f64,
    /// How many keys there are of each kind.
    pub keys: usize,
    /// Which kinds of keys: by place in the list of kinds.
    pub kinds: Vec<usize>,
    /// The share of commands that only read.
    pub reads: f64,
    /// The share of commands after which the turn does not end at once.
    pub batching: f64,
    /// How long a client thinks between two commands, at most.
    pub think: Duration,
    /// How long faults go on, before everything heals.
    pub duration: Duration,
    /// When writes are on the disk.
    pub durability: Durability,
    /// The bounds of the exchange.
    pub limits: Limits,
    /// The time between two ticks of a replica.
    pub tick: Duration,
    /// The links. What is lost ends the connection.
    pub network: NetworkFaults,
    /// Partitions of any shape.
    pub partitions: Option<Recurring>,
    /// A process is killed, or stops properly, and comes back.
    pub kills: Option<Recurring>,
    /// A machine loses its power.
    pub power_failures: Option<Recurring>,
    /// All machines do.
    pub blackouts: Option<Recurring>,
    /// A machine gets an empty disk, and keeps its name.
    pub wipes: Option<Recurring>,
    /// A process stands still.
    pub pauses: Option<Recurring>,
    /// A wall clock jumps, by hours, in either direction.
    pub clock_jumps: Option<Recurring>,
    /// How far wall clocks are apart at the beginning, at most.
    pub clock_skew: Duration,
    /// A disk is full for a while.
    pub full_disks: Option<Recurring>,
    /// The probability that a sync fails.
    pub sync_failure: f64,
    /// The longest time of a sync.
    pub sync: Duration,
    /// How long it takes until a replica hears of another set of replicas, at most.
    pub registry_delay: Duration,
}

impl Swarm {
    /// No fault at all.
    pub fn calm(nodes: usize) -> Self {
        Swarm {
            nodes,
            clients: 6,
            sessions: 0.5,
            keys: 2,
            kinds: (0..super::commands::KINDS.len()).collect(),
            reads: 0.3,
            batching: 0.3,
            think: Duration::from_millis(20),
            duration: Duration::from_secs(3),
            durability: Durability::EverySecond,
            limits: Limits::default(),
            tick: Duration::from_millis(100),
            network: NetworkFaults::default(),
            partitions: None,
            kills: None,
            power_failures: None,
            blackouts: None,
            wipes: None,
            pauses: None,
            clock_jumps: None,
            clock_skew: Duration::ZERO,
            full_disks: None,
            sync_failure: 0.0,
            sync: Duration::from_millis(2),
            registry_delay: Duration::from_millis(10),
        }
    }

    /// Draws a world's faults.
    pub fn draw(rng: &mut Rng) -> Self {
        let delay_min = Duration::from_micros(rng.u64(50..2_000));
        let network = NetworkFaults {
            delay_min,
            delay_max: delay_min + millis(rng, 0, 60),
            loss: if rng.bool() { rng.f64() * 0.02 } else { 0.0 },
            duplication: 0.0,
            hold_up: if rng.bool() { rng.f64() * 0.1 } else { 0.0 },
            hold_up_max: millis(rng, 10, 2_000),
            ordered: true,
        };
        let all = super::commands::KINDS.len();
        let mut kinds: Vec<usize> = (0..all).collect();
        rng.shuffle(&mut kinds);
        kinds.truncate(rng.usize(1..=all));
        Swarm {
            nodes: [3, 3, 4, 5, 2][rng.usize(0..5)],
            clients: rng.usize(2..=8),
            sessions: [0.0, 0.5, 1.0][rng.usize(0..3)],
            keys: rng.usize(1..=4),
            kinds,
            reads: [0.1, 0.4][rng.usize(0..2)],
            batching: [0.0, 0.3, 0.9][rng.usize(0..3)],
            think: millis(rng, 5, 150),
            duration: millis(rng, 3_000, 9_000),
            durability: [Durability::Always, Durability::EverySecond, Durability::Never][rng.usize(0..3)],
            limits: limits(rng),
            tick: millis(rng, 50, 300),
            network,
            partitions: recurring(rng, (500, 4_000), (100, 4_000)),
            kills: recurring(rng, (300, 4_000), (1, 2_000)),
            power_failures: recurring(rng, (500, 5_000), (1, 3_000)),
            blackouts: if rng.u8(0..4) == 0 { recurring(rng, (2_000, 6_000), (1, 500)) } else { None },
            wipes: if rng.bool() { recurring(rng, (1_000, 6_000), (1, 2_000)) } else { None },
            pauses: recurring(rng, (500, 4_000), (10, 2_000)),
            clock_jumps: recurring(rng, (300, 3_000), (1, 1)),
            clock_skew: [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(6 * 3600)][rng.usize(0..3)],
            full_disks: if rng.u8(0..4) == 0 { recurring(rng, (1_000, 5_000), (100, 2_000)) } else { None },
            sync_failure: if rng.u8(0..4) == 0 { rng.f64() * 0.01 } else { 0.0 },
            sync: millis(rng, 1, 60),
            registry_delay: millis(rng, 0, 1_500),
        }
    }
}

/// From so little that nearly everything comes by sessions up to plenty.
fn limits(rng: &mut Rng) -> Limits {
    let mut pick = |few: &[usize]| few[rng.usize(0..few.len())];
    Limits {
        kept_bytes: pick(&[0, 2_000, 20_000, 64 << 20]),
        waiting_bytes: pick(&[1_000, 8 << 20]),
        window_bytes: pick(&[500, 4 << 20]) as u64,
        frame_bytes: pick(&[600, 256 << 10]),
        sessions: pick(&[1, 2]),
        leaf_keys: pick(&[1, 4, 64]) as u64,
    }
}

impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (network, limits) = (&self.network, &self.limits);
        write!(f, "available nodes={} clients={} sessions={} keys={} kinds=", self.nodes, self.clients, self.sessions, self.keys)?;
        self.kinds.iter().try_for_each(|kind| write!(f, "{}", super::commands::KINDS[*kind].letter()))?;
        write!(f, " reads={} batching={} think={:?} duration={:?}", self.reads, self.batching, self.think, self.duration)?;
        write!(f, " durability={:?} tick={:?} kept={}", self.durability, self.tick, limits.kept_bytes)?;
        write!(f, " waiting={} window={} frame={}", limits.waiting_bytes, limits.window_bytes, limits.frame_bytes)?;
        write!(f, " led={} leaf={}", limits.sessions, limits.leaf_keys)?;
        write!(f, " delay={:?}..{:?} loss={:.3}", network.delay_min, network.delay_max, network.loss)?;
        write!(f, " hold-up={:.3}*{:?}", network.hold_up, network.hold_up_max)?;
        for (name, fault) in [
            ("partitions", self.partitions),
            ("kills", self.kills),
            ("power-failures", self.power_failures),
            ("blackouts", self.blackouts),
            ("wipes", self.wipes),
            ("pauses", self.pauses),
            ("clock-jumps", self.clock_jumps),
            ("full-disks", self.full_disks),
        ] {
            if let Some(Recurring { every, lasts }) = fault {
                write!(f, " {name}={every:?}/{lasts:?}")?;
            }
        }
        write!(
            f,
            " skew={:?} sync={:?} sync-failure={:.4} registry={:?}",
            self.clock_skew, self.sync, self.sync_failure, self.registry_delay
        )
    }
}
