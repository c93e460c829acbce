//! What a run suffers: drawn from its seed, each class of fault by itself, so that runs differ in kind and not only in detail.
//!
//! A run with every fault at once finds little: nothing gets far. So each class is absent in about half of the runs (swarm testing, Groce et
//! al., ISSTA 2012).

use std::collections::BTreeSet;
use std::fmt;

use steadfast_node::Autopilot;
use steadfast_types::Rng;
use steadfast_types::time::Duration;

use crate::network::{NetworkFaults, between};
pub use gossiping::{Gossiping, Recovering};

mod gossiping;

/// A fault that comes again and again and lasts a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recurring {
    /// The mean time between two.
    pub every: Duration,
    /// How long one lasts at most.
    pub lasts: Duration,
}

impl Recurring {
    /// The time until the next one.
    pub(crate) fn next(&self, rng: &mut Rng) -> Duration {
        between(self.every / 2, self.every * 3 / 2, rng)
    }
}

/// Leaders that fail soon after they were elected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ambushes {
    /// The share of leaders that do.
    pub share: f64,
    /// How long they are away at most.
    pub lasts: Duration,
}

/// Everything that was drawn for a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Swarm {
    /// How many nodes.
    pub nodes: usize,
    /// How many clients, each with one request under way.
    pub clients: usize,
    /// How many keys they share.
    pub keys: usize,
    /// Whether clients read, write and delete several keys at once too.
    pub wide: bool,
    /// The share of requests that is about a queue.
    pub queue: f64,
    /// Whether clients use leases.
    pub leases: bool,
    /// How many clients watch keys.
    pub watchers: usize,
    /// How many clients wait in lines, as for locks.
    pub lockers: usize,
    /// How many clients read at any node, but never less than they were told of.
    pub sessions: usize,
    /// Whether there are users and roles, whose rights change.
    pub auth: bool,
    /// Whether the cluster begins with a restored state.
    pub restored: bool,
    /// How long a client thinks between two requests, at most.
    pub think: Duration,
    /// How long faults go on, before everything heals.
    pub duration: Duration,
    /// The links.
    pub network: NetworkFaults,
    /// Partitions of any shape.
    pub partitions: Option<Recurring>,
    /// One node stops and comes back: a power failure now or within the next disk operations, or a kill.
    pub crashes: Option<Recurring>,
    /// A node that has just become the leader often fails soon.
    pub ambushes: Option<Ambushes>,
    /// All nodes lose their power at once.
    pub blackouts: Option<Recurring>,
    /// One node's process stands still.
    pub pauses: Option<Recurring>,
    /// The largest drift of a node's clock, in parts per million.
    pub drift_ppm: u32,
    /// The shortest and longest time of a write and sync of the log.
    pub sync: (Duration, Duration),
    /// The probability that a sync fails.
    pub sync_failure: f64,
    /// One node's disk is full for a while.
    pub full_disks: Option<Recurring>,
    /// One node's syncs take up to a few seconds for a while.
    pub slow_disks: Option<Recurring>,
    /// A sector of the disk of one of the nodes that may be damaged (less than half of all) rots.
    pub corruption: Option<Recurring>,
    /// Whether not only the log rots but the tables too.
    pub corruption_of_tables: bool,
    /// The leader hands over to another.
    pub hand_overs: Option<Recurring>,
    /// The history is compacted.
    pub compactions: Option<Recurring>,
    /// Members are added, promoted and removed.
    pub member_changes: Option<Recurring>,
    /// Whether the network often splits in the middle of a change of voters.
    pub torn_changes: bool,
    /// What leaders change about the members by themselves.
    pub autopilot: Autopilot,
    /// One node's log is lost, and it is replaced.
    pub lost_logs: Option<Recurring>,
    /// Several nodes lose their power together for long, but never a majority of the voters.
    pub outages: Option<Recurring>,
    /// Whether some machines have an older release at first, and a newer one from some restart on.
    pub mixed: bool,
    /// Whether leaders answer reads by lease. Clocks drift apart by less than it allows for.
    pub lease_reads: bool,
    /// Whether leaders send one entry at a time.
    pub one_by_one: bool,
    /// Whether tables fall behind: merges take many short steps, and every job waits long.
    pub slow_tables: bool,
    /// Whether membership runs too.
    pub gossip: Option<Gossiping>,
    /// Which strikes of recurring faults do nothing, by number from 1 on: a shorter way to the same violation.
    pub spared: BTreeSet<u64>,
}

impl Swarm {
    /// No fault at all.
    pub fn calm(nodes: usize) -> Self {
        Swarm {
            nodes,
            clients: 6,
            keys: 3,
            wide: true,
            queue: 0.2,
            leases: true,
            watchers: 3,
            lockers: 2,
            sessions: 1,
            auth: true,
            restored: false,
            think: Duration::from_millis(5),
            duration: Duration::from_secs(3),
            network: NetworkFaults::default(),
            partitions: None,
            crashes: None,
            ambushes: None,
            blackouts: None,
            pauses: None,
            drift_ppm: 0,
            sync: (Duration::from_micros(50), Duration::from_micros(500)),
            sync_failure: 0.0,
            full_disks: None,
            slow_disks: None,
            corruption: None,
            corruption_of_tables: false,
            mixed: false,
            lease_reads: false,
            hand_overs: None,
            compactions: None,
            member_changes: None,
            torn_changes: false,
            autopilot: Autopilot::default(),
            lost_logs: None,
            outages: None,
            one_by_one: false,
            slow_tables: false,
            gossip: None,
            spared: BTreeSet::new(),
        }
    }

    /// Draws a run's faults. `chosen`: how many nodes, if not drawn too.
    pub fn draw(rng: &mut Rng, chosen: Option<usize>) -> Self {
        // From a generator of its own, so that all else is drawn as it would be without.
        let mut apart = rng.clone().fork();
        let nodes = chosen.unwrap_or_else(|| [3, 3, 5, 5, 1, 2, 4, 7, 9][rng.usize(0..9)]);
        let corruption = if rng.bool() { recurring(rng, (300, 4_000), (1, 1)) } else { None };
        let mut swarm = Swarm {
            nodes,
            clients: rng.usize(2..=8),
            keys: rng.usize(1..=6),
            wide: rng.bool(),
            queue: [0.0, 0.0, 0.2, 1.0][rng.usize(0..4)],
            leases: rng.u8(0..3) == 0,
            watchers: if rng.bool() { rng.usize(1..=6) } else { 0 },
            lockers: if rng.u8(0..3) == 0 { rng.usize(2..=5) } else { 0 },
            sessions: 0,
            auth: rng.u8(0..3) == 0,
            restored: rng.u8(0..4) == 0,
            think: millis(rng, 5, 200),
            duration: Duration::from_millis(rng.u64(4_000..12_000)),
            network: network(rng),
            partitions: recurring(rng, (500, 5_000), (100, 4_000)),
            crashes: recurring(rng, (300, 5_000), (1, 3_000)),
            ambushes: if rng.u8(0..3) == 0 {
                Some(Ambushes { share: [0.5, 0.9][rng.usize(0..2)], lasts: millis(rng, 50, 2_000) })
            } else {
                None
            },
            blackouts: if rng.bool() { recurring(rng, (2_000, 8_000), (1, 500)) } else { None },
            pauses: recurring(rng, (500, 5_000), (10, 3_000)),
            drift_ppm: if rng.bool() { rng.u32(0..20_000) } else { 0 },
            sync: (Duration::from_micros(50), millis(rng, 1, 50)),
            sync_failure: probability(rng, 0.002),
            full_disks: if rng.bool() { recurring(rng, (1_000, 6_000), (100, 3_000)) } else { None },
            slow_disks: recurring(rng, (1_000, 8_000), (500, 4_000)),
            corruption,
            corruption_of_tables: rng.bool(),
            lease_reads: rng.u8(0..3) == 0,
            hand_overs: recurring(rng, (200, 5_000), (1, 1)),
            compactions: recurring(rng, (200, 3_000), (1, 1)),
            // Which machines may rot is decided at the beginning: fewer than half of the voters, as long as these do not change.
            member_changes: if corruption.is_none() { recurring(rng, (100, 3_000), (1, 1)) } else { None },
            torn_changes: false,
            autopilot: Autopilot::default(),
            mixed: rng.u8(0..3) == 0,
            lost_logs: None,
            outages: None,
            one_by_one: rng.u8(0..4) == 0,
            slow_tables: rng.u8(0..3) == 0,
            gossip: (apart.u8(0..4) == 0).then(|| Gossiping::draw(&mut apart)),
            spared: BTreeSet::new(),
        };
        if swarm.member_changes.is_some() {
            let after = |rng: &mut Rng, least| rng.bool().then(|| millis(rng, least, 4_000));
            swarm.autopilot = Autopilot { promote_after: after(rng, 0), replace_after: after(rng, 600) };
            swarm.torn_changes = rng.bool();
        }
        // Only where one voter takes the place of another is there a majority of the new voters that has nobody in common with one of the old. For
        // that, learners must get to know everything, and voters be away for long: so that is almost all that happens.
        if swarm.torn_changes {
            swarm.autopilot = Autopilot { promote_after: None, replace_after: Some(millis(rng, 600, 1_000)) };
            swarm.member_changes = Some(Recurring { every: millis(rng, 100, 1_000), lasts: Duration::ZERO });
            swarm.crashes = Some(Recurring { every: millis(rng, 800, 2_500), lasts: Duration::from_secs(3) });
            (swarm.partitions, swarm.pauses, swarm.blackouts, swarm.ambushes) = (None, None, None, None);
        }
        // The others must be a majority, and stay one.
        if nodes >= 3 && swarm.corruption.is_none() && swarm.member_changes.is_none() {
            swarm.lost_logs = recurring(rng, (1_000, 5_000), (1, 1));
        }
        if swarm.gossip.as_ref().is_some_and(|gossip| gossip.recovery.is_some()) {
            swarm.leave_members_to_plans(&mut apart);
            if apart.bool() {
                swarm.fail_together(chosen, &mut apart);
            }
        }
        swarm.sessions = if apart.bool() { apart.usize(1..=3) } else { 0 };
        swarm
    }

    /// Members change by plans of recovery alone, so that each change can be traced to one; a voter is often gone for good.
    fn leave_members_to_plans(&mut self, rng: &mut Rng) {
        (self.member_changes, self.torn_changes, self.autopilot) = (None, false, Autopilot::default());
        // What an older release is sent it may not know.
        self.mixed = false;
        if self.nodes >= 3 && self.corruption.is_none() && self.lost_logs.is_none() {
            self.lost_logs = recurring(rng, (1_000, 5_000), (1, 1));
        }
    }

    /// Many servers are away at once for longer than it takes to plan for them: what plans may do then is bound by brakes. So that a planner has the time
    /// to notice and to decide, there is little else in half of these runs.
    fn fail_together(&mut self, chosen: Option<usize>, rng: &mut Rng) {
        self.nodes = chosen.unwrap_or([3, 5, 5, 7][rng.usize(0..4)]);
        self.outages = Some(Recurring { every: millis(rng, 2_000, 6_000), lasts: millis(rng, 15_000, 30_000) });
        self.duration += Duration::from_secs(10);
        if let Some(gossip) = &mut self.gossip {
            gossip.spares = rng.u64(2..=4);
        }
        if rng.bool() {
            (self.partitions, self.pauses, self.blackouts, self.ambushes, self.crashes) = (None, None, None, None, None);
        }
    }
}

fn network(rng: &mut Rng) -> NetworkFaults {
    let delay_min = Duration::from_micros(rng.u64(10..1_000));
    NetworkFaults {
        delay_min,
        delay_max: delay_min + millis(rng, 0, 30),
        loss: probability(rng, 0.1),
        duplication: probability(rng, 0.1),
        hold_up: probability(rng, 0.05),
        hold_up_max: millis(rng, 10, 3_000),
        ordered: rng.bool(),
    }
}

/// Absent, or up to `most`.
fn probability(rng: &mut Rng, most: f64) -> f64 {
    if rng.bool() { rng.f64() * most } else { 0.0 }
}

/// So many milliseconds.
pub(crate) fn millis(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.u64(least..=most))
}

/// A fault that a run has or not.
pub(crate) fn recurring(rng: &mut Rng, every: (u64, u64), lasts: (u64, u64)) -> Option<Recurring> {
    rng.bool().then(|| Recurring { every: millis(rng, every.0, every.1), lasts: millis(rng, lasts.0, lasts.1) })
}

impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = &self.network;
        write!(f, "nodes={} clients={} keys={} queue={}", self.nodes, self.clients, self.keys, self.queue)?;
        write!(f, " watchers={} lockers={} sessions={}", self.watchers, self.lockers, self.sessions)?;
        write!(f, " think={:?} duration={:?}", self.think, self.duration)?;
        write!(f, " delay={:?}..{:?}", network.delay_min, network.delay_max)?;
        write!(f, " loss={:.3} duplication={:.3}", network.loss, network.duplication)?;
        write!(f, " hold-up={:.3}*{:?} ordered={}", network.hold_up, network.hold_up_max, network.ordered)?;
        for (name, fault) in [
            ("partitions", self.partitions),
            ("crashes", self.crashes),
            ("blackouts", self.blackouts),
            ("pauses", self.pauses),
            ("full-disks", self.full_disks),
            ("slow-disks", self.slow_disks),
            ("corruption", self.corruption),
            ("hand-overs", self.hand_overs),
            ("compactions", self.compactions),
            ("member-changes", self.member_changes),
            ("lost-logs", self.lost_logs),
            ("outages", self.outages),
        ] {
            if let Some(Recurring { every, lasts }) = fault {
                write!(f, " {name}={every:?}/{lasts:?}")?;
            }
        }
        for (name, after) in [("promote-after", self.autopilot.promote_after), ("replace-after", self.autopilot.replace_after)] {
            if let Some(after) = after {
                write!(f, " {name}={after:?}")?;
            }
        }
        if let Some(gossip) = &self.gossip {
            write!(f, " {gossip}")?;
        }
        if let Some(Ambushes { share, lasts }) = self.ambushes {
            write!(f, " ambushes={share:.1}/{lasts:?}")?;
        }
        let flags = [
            ("wide", self.wide),
            ("leases", self.leases),
            ("mixed-releases", self.mixed),
            ("auth", self.auth),
            ("restored", self.restored),
            ("lease-reads", self.lease_reads),
            ("torn-changes", self.torn_changes),
            ("one-by-one", self.one_by_one),
            ("slow-tables", self.slow_tables),
            ("of-tables-too", self.corruption_of_tables),
        ];
        for (name, _) in flags.iter().filter(|(_, is_set)| *is_set) {
            write!(f, " {name}")?;
        }
        write!(f, " drift={}ppm sync={:?}..{:?} sync-failure={:.4}", self.drift_ppm, self.sync.0, self.sync.1, self.sync_failure)
    }
}
