//! One run from its seed, and its report.

use std::fmt;

use steadfast_types::Rng;
use steadfast_types::time::Duration;

use crate::cluster::{Cluster, Counts};
use crate::shrink::Cut;
use crate::swarm::Swarm;
use crate::workload::RESTORER;
use crate::world::{Time, TraceMode};
use steadfast_proof::Violation;
use steadfast_proof::history::{Answer, History};

/// What a run gave.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was drawn for it.
    pub swarm: Swarm,
    /// What clients got, or the rule that was broken.
    pub outcome: Result<Summary, Violation>,
    /// How much happened.
    pub counts: Counts,
    /// How long the run was, in its own time.
    pub simulated: Duration,
    /// The hash of everything that happened.
    pub trace_hash: u64,
    /// What led to the end, if that was recorded.
    pub timeline: Vec<String>,
}

/// How far clients came in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests.
    pub operations: usize,
    /// Requests that were answered otherwise than by a refusal.
    pub done: usize,
    /// Requests whose fate the client does not know.
    pub unknown: usize,
    /// The store's changes.
    pub changes: usize,
}

impl Summary {
    fn of(history: &History) -> Self {
        let asked = || history.operations.iter().filter(|operation| operation.client != RESTORER);
        let answers = || asked().map(|operation| &operation.answer);
        Summary {
            operations: asked().count(),
            done: answers().filter(|answer| matches!(answer, Some((_, answer)) if *answer != Answer::Refused)).count(),
            unknown: answers().filter(|answer| answer.is_none()).count(),
            changes: history.changes.len(),
        }
    }
}

/// Runs the world of `seed`, with `nodes` nodes if that is not drawn too.
pub fn run(seed: u64, nodes: Option<usize>, mode: TraceMode) -> Report {
    run_cut(seed, nodes, &Cut::default(), mode)
}

/// Runs the world of `seed` with something left out.
pub fn run_cut(seed: u64, nodes: Option<usize>, cut: &Cut, mode: TraceMode) -> Report {
    let mut rng = Rng::with_seed(seed);
    let mut swarm = Swarm::draw(&mut rng, nodes);
    cut.apply(&mut swarm);
    run_swarm(seed, swarm, rng, mode)
}

/// Runs the world of `rng` with these faults; `seed` only names it.
pub fn run_swarm(seed: u64, swarm: Swarm, mut rng: Rng, mode: TraceMode) -> Report {
    let mut cluster = Cluster::new(swarm.clone(), &mut rng, mode);
    let outcome = cluster.run().map(|history| Summary::of(&history));
    let (counts, trace_hash) = (cluster.counts(), cluster.trace_hash());
    let simulated = cluster.now().since(Time::default());
    Report { seed, swarm, outcome, counts, simulated, trace_hash, timeline: cluster.into_timeline() }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(Summary { operations, done, unknown, changes }) => {
                write!(f, "seed {}: {done} of {operations} requests done, {unknown} unknown, {changes} changes; ", self.seed)?;
            }
            Err(violation) => write!(f, "seed {}: VIOLATION {violation}; ", self.seed)?,
        }
        let Counts {
            turns,
            starts,
            frames,
            datagrams,
            snapshots,
            repairs,
            lost_tables,
            disk_stops,
            corruptions,
            leader_changes,
            requests: _,
            rights_changes,
            denied,
            replaced,
            faults: _,
        } = self.counts;
        write!(
            f,
            "{turns} turns, {frames} frames, {datagrams} datagrams, {starts} starts, {snapshots} snapshots, {repairs} repairs, {lost_tables} lost tables, "
        )?;
        write!(
            f,
            "{disk_stops} disk failures, {corruptions} rotten sectors, {leader_changes} leader changes, {rights_changes} changes of rights, \
             {denied} requests denied, {replaced} voters replaced; trace {:016x}",
            self.trace_hash
        )
    }
}
