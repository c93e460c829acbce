//! Worlds of available state: replicas that each take writes for themselves, and what became of all that clients were told.
//!
//! The replicas are the real ones (`steadfast-replica`), with the real journal and the real commands of the Redis protocol; the disk, the network, the
//! clocks and the registry of actors are the world's. While faults go on, every read is judged by a model that knows the operations and who
//! had seen what; after they end all replicas must become equal, hold everything that had to last, and forget what was removed.

mod clients;
mod commands;
mod faults;
mod finish;
mod host;
mod links;
mod machine;
mod model;
mod starts;
pub mod swarm;
mod world;

use std::fmt;

use steadfast_proof::Violation;
use steadfast_types::Rng;
use steadfast_types::time::Duration;

use crate::world::{Time, TraceMode};
pub use swarm::{Durability, Swarm};
pub use world::{Counts, World};

/// What a run gave.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was drawn for it.
    pub swarm: Swarm,
    /// The rule that was broken, if one was.
    pub outcome: Result<(), Violation>,
    /// How much happened.
    pub counts: Counts,
    /// How long the run was, in its own time.
    pub simulated: Duration,
    /// The hash of everything that happened.
    pub trace_hash: u64,
    /// What led to the end, if that was recorded.
    pub timeline: Vec<String>,
}

/// Runs the world of `seed`.
pub fn run(seed: u64, mode: TraceMode) -> Report {
    let mut rng = Rng::with_seed(seed);
    let swarm = Swarm::draw(&mut rng);
    run_swarm(seed, swarm, rng, mode)
}

/// Runs the world of `rng` with these faults; `seed` only names it.
pub fn run_swarm(seed: u64, swarm: Swarm, mut rng: Rng, mode: TraceMode) -> Report {
    let mut world = World::new(swarm.clone(), &mut rng, mode);
    let outcome = world.run();
    let (counts, trace_hash) = (world.counts(), world.trace_hash());
    let simulated = world.now().since(Time::default());
    Report { seed, swarm, outcome, counts, simulated, trace_hash, timeline: world.into_timeline() }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(()) => write!(f, "seed {}: ", self.seed)?,
            Err(violation) => write!(f, "seed {}: VIOLATION {violation}; ", self.seed)?,
        }
        let Counts {
            commands,
            acknowledged,
            unknown,
            session_waits,
            holder_waits,
            frames,
            connections,
            starts,
            new_actors,
            kills,
            power_failures,
            wiped,
            disk_failures,
            clock_jumps,
            partitions,
            pauses,
            sessions,
            deltas_waited,
            lost,
        } = self.counts;
        write!(
            f,
            "{acknowledged} of {commands} commands done, {unknown} unknown, {session_waits} waits to see, {holder_waits} to be held, {frames} frames, \
             {connections} connections, {starts} starts, {new_actors} new actors, {kills} kills, {power_failures} power failures, {wiped} disks wiped, \
             {disk_failures} disk failures, {clock_jumps} clock jumps, {partitions} partitions, {pauses} pauses, {sessions} sessions, \
             {deltas_waited} deltas waited, {lost} writes lost; trace {:016x}",
            self.trace_hash
        )
    }
}
