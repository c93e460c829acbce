//! What must hold once everything works again: the replicas become equal, hold what had to last, and forget what was removed.

use bytes::Bytes;
use steadfast_available::Hash;
use steadfast_crdt::VersionVector;
use steadfast_proof::Violation;
use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use super::machine::Process;
use super::model::Eyes;
use super::world::World;

/// How long clients go on after the healing.
const GOES_ON: Duration = Duration::from_millis(600);

/// How long replicas may take to become equal.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(250);

impl World {
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        let now = self.queue.now();
        self.run_until(now + GOES_ON)?;
        self.quiet = true;
        self.run_until_all("are equal", |world| world.difference())?;
        self.check_end()?;
        self.clean_up()?;
        self.run_until_all("have forgotten what was removed", |world| world.difference().or_else(|| world.remainder()))?;
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        for node in nodes {
            if let Some(process) = self.machine(node).process.take() {
                self.counts.sessions += process.replica.counters().sessions_begun;
                self.counts.deltas_waited += process.replica.counters().deltas_dropped;
                self.check_counters(node, &process)?;
            }
        }
        Ok(())
    }

    /// Goes on until nothing is left that hinders.
    fn run_until_all(&mut self, what: &str, hinders: impl Fn(&World) -> Option<String>) -> Result<(), Violation> {
        let end = self.queue.now() + PATIENCE;
        while let Some(hindrance) = hinders(self) {
            if self.queue.now() >= end {
                return Err(Violation::new("convergence", format!("{PATIENCE:?} after everything healed, not all {what}: {hindrance}")));
            }
            let next = self.queue.now() + LOOK;
            self.run_until(next)?;
        }
        Ok(())
    }

    fn processes(&self) -> impl Iterator<Item = (NodeId, Option<&Process>)> {
        self.machines.values().map(|machine| (machine.id, machine.process.as_ref()))
    }

    /// In what replicas differ.
    fn difference(&self) -> Option<String> {
        let mut first: Option<(NodeId, VersionVector, Vec<u8>)> = None;
        for (node, process) in self.processes() {
            let Some(process) = process else { return Some(format!("{node} does not run")) };
            let (keys, exchange) = (process.keys(), process.replica.exchange());
            if process.registered < self.registry.version {
                return Some(format!("{node} has not heard of the last set of replicas"));
            }
            if !process.open.is_empty() || !process.unanswered.is_empty() {
                return Some(format!("{node} has not answered all"));
            }
            if !keys.context().is_even() {
                return Some(format!("{node} has seen more of some ranges than of others"));
            }
            if exchange.waiting().0 > 0 {
                return Some(format!("{} deltas wait at {node}", exchange.waiting().0));
            }
            let (seen, canonical) = (process.seen(), keys.canonical());
            match &first {
                None => first = Some((node, seen, canonical)),
                Some((other, theirs, _)) if *theirs != seen => {
                    return Some(format!("{node} has seen {seen:?}, {other} {theirs:?}"));
                }
                Some((other, _, theirs)) if *theirs != canonical => {
                    return Some(format!("{node} and {other} have seen the same and differ"));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// What is left of keys that were removed.
    fn remainder(&self) -> Option<String> {
        self.processes().find_map(|(node, process)| {
            let keys = process?.keys();
            let left = keys.states(0, Hash::MAX, usize::MAX).map_or(0, |states| states.len());
            (left > 0 || !keys.is_empty()).then(|| format!("{node} has {} keys, and {left} bytes of states", keys.len()))
        })
    }

    /// Nothing that had to last is missing, and all keys are what the operations make them.
    fn check_end(&mut self) -> Result<(), Violation> {
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        let seen = self.machines[&nodes[0]].process.as_ref().map(Process::seen).unwrap_or_default();
        if let Some(missing) = self.model.missing(&seen).next() {
            let (text, version, node) = (&missing.text, missing.version, missing.node);
            return Err(Violation::new("durability", format!("{text:?} was acknowledged by {node} as {version:?}, and is gone")));
        }
        let is_lost = |operation: &&super::model::Operation| {
            operation.is_acknowledged && operation.version.is_some_and(|version| !steadfast_crdt::Covers::covers(&seen, version))
        };
        self.counts.lost = self.model.all().filter(is_lost).count() as u64;
        let keys: Vec<Bytes> = self.model.keys().cloned().collect();
        for key in &keys {
            self.model.check_causes(key, Eyes { seen: &seen, open: &[] })?;
            for node in &nodes {
                self.process(*node);
                self.check_key(0, *node, key, None)?;
            }
        }
        Ok(())
    }

    /// What an exchange counts that never happens.
    pub(super) fn check_counters(&self, node: NodeId, process: &Process) -> Result<(), Violation> {
        let counters = process.replica.counters();
        let never = [counters.deltas_refused, counters.messages_refused, counters.sessions_short, counters.divergences];
        if never != [0; 4] {
            return Err(Violation::new("exchange", format!("{node}: what never happens has: {counters:?}")));
        }
        Ok(())
    }

    /// One replica removes all keys.
    fn clean_up(&mut self) -> Result<(), Violation> {
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        let node = nodes[self.faults_rng.usize(0..nodes.len())];
        self.process(node);
        self.trace.milestone(self.queue.now(), &[40, node.0], || format!("{node} removes all keys"));
        self.execute(0, node, &[Bytes::from("FLUSHALL")]);
        let life = self.machines[&node].life;
        self.on_end_turn(node, life)
    }
}
