//! A machine: its disk, its wall clock, and the process of a replica while one runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use steadfast_available::exchange::{Event as Told, HashRange, Record};
use steadfast_available::{Context, Keyspace, hash_of};
use steadfast_crdt::{Actor, Covers, Version, VersionVector};
use steadfast_proof::Violation;
use steadfast_replica::{Outputs, Replica};
use steadfast_storage::journal::{Journal, Sequence, SyncJob};
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{NodeId, Rng};

use super::clients::Done;
use super::faults::Stop;
use super::swarm::{Durability, Swarm};
use super::world::{Event, World};
use crate::clock::Clock;
use crate::disk::{DiskFaults, SimulatedDisk};
use crate::network::between;
use crate::world::Time;

/// How long a write may wait for its sync under [`Durability::EverySecond`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Unix time at the beginning of the world, in milliseconds.
const BEGINNING_MS: u64 = 1_750_000_000_000;

/// See the module.
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) disk: SimulatedDisk,
    /// Its wall clock, ahead of the world's by so much.
    pub(super) skew_ms: i64,
    /// Counts boots: each loss of power begins another.
    pub(super) boot: u64,
    /// Counts processes.
    pub(super) life: u64,
    pub(super) process: Option<Process>,
    pub(super) paused_until: Time,
    /// What has come while its process stood still.
    pub(super) held_up: Vec<Event>,
    pub(super) rng: Rng,
    /// Where in the journal the deltas are.
    pub(super) sequences: BTreeMap<Version, Sequence>,
    /// What the last process left behind.
    pub(super) left: Left,
}

/// What a process leaves behind.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// What it had seen.
    pub(super) seen: VersionVector,
    /// All of that is on the disk or in the machine's memory.
    pub(super) is_whole: bool,
    /// Its keys, if all of them were written.
    pub(super) keys: Option<Vec<u8>>,
    /// Deltas up to here were durable.
    pub(super) durable: Sequence,
}

/// The process of a replica.
pub(super) struct Process {
    pub(super) life: u64,
    pub(super) disk: SimulatedDisk,
    pub(super) replica: Replica,
    pub(super) journal: Journal<SimulatedDisk>,
    pub(super) clock: Clock,
    pub(super) job: Option<SyncJob<SimulatedDisk>>,
    pub(super) last_sync: Time,
    /// What was run in the turn that has not ended.
    pub(super) open: Vec<Done>,
    /// What was run, and by which record it stands in the journal.
    pub(super) unanswered: VecDeque<(Sequence, Done)>,
    /// Clients that wait.
    pub(super) waiting: BTreeSet<usize>,
    /// What it had seen before its last tick, if of some ranges more than of others.
    pub(super) uneven: Option<Context>,
    /// Connections by peer.
    pub(super) links: BTreeMap<NodeId, u64>,
    /// Which set of replicas it knows.
    pub(super) registered: usize,
}

/// Who the replicas are, as strong state would have it.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) actors: BTreeMap<NodeId, Actor>,
    /// How many sets there were.
    pub(super) version: usize,
    next: u16,
}

impl Registry {
    /// The replica of a name is another actor from now on, which nobody ever was.
    pub(super) fn renew(&mut self, node: NodeId) -> Actor {
        self.next += 1;
        self.version += 1;
        let actor = Actor::new(self.next).expect("worlds are short");
        self.actors.insert(node, actor);
        actor
    }

    pub(super) fn replicas(&self) -> BTreeSet<Actor> {
        self.actors.values().copied().collect()
    }
}

impl Process {
    /// What it has seen, without the turn that has not ended: nothing of that is written yet.
    pub(super) fn seen(&self) -> VersionVector {
        self.keys().context().everything()
    }

    pub(super) fn keys(&self) -> &Keyspace {
        self.replica.look()
    }
}

impl Machine {
    pub(super) fn new(id: NodeId, swarm: &Swarm, mut rng: Rng) -> Self {
        let disk = SimulatedDisk::new(rng.u64(..));
        disk.set_faults(DiskFaults { sync_failure: swarm.sync_failure, full: false });
        let skew = i64::try_from(swarm.clock_skew.as_millis()).expect("hours");
        Machine {
            id,
            disk,
            skew_ms: rng.i64(-skew..=skew),
            boot: 1,
            life: 0,
            process: None,
            paused_until: Time::default(),
            held_up: Vec::new(),
            rng,
            sequences: BTreeMap::new(),
            left: Left::default(),
        }
    }

    pub(super) fn wall_ms(&self, now: Time) -> u64 {
        (BEGINNING_MS + now.0 / 1000).saturating_add_signed(self.skew_ms)
    }
}

impl World {
    /// The process of a machine is about to be called: it reads its clocks.
    pub(super) fn process(&mut self, node: NodeId) -> Option<&mut Process> {
        let now = self.queue.now();
        let machine = self.machines.get_mut(&node)?;
        let wall_ms = machine.wall_ms(now);
        let process = machine.process.as_mut()?;
        process.replica.set_now(process.clock.shows(now), wall_ms);
        Some(process)
    }

    /// The same, if it is still the process of that life.
    pub(super) fn process_of(&mut self, node: NodeId, life: u64) -> Option<&mut Process> {
        self.process(node).filter(|process| process.life == life)
    }

    pub(super) fn on_end_turn(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let Some(process) = self.process_of(node, life) else { return Ok(()) };
        process.replica.end_turn();
        self.settle(node)
    }

    pub(super) fn on_tick(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let tick = self.swarm.tick;
        let now = self.queue.now();
        let Some(process) = self.process_of(node, life) else { return Ok(()) };
        let context = process.keys().context();
        process.uneven = (!context.is_even()).then(|| context.clone());
        process.replica.tick();
        let is_due = now.since(process.last_sync) >= SYNC_INTERVAL;
        self.queue.after(tick, Event::Tick { node, life });
        self.settle(node)?;
        self.check_bounds(node)?;
        self.check_keys(node)?;
        if is_due && self.swarm.durability == Durability::EverySecond {
            return self.begin_sync(node);
        }
        Ok(())
    }

    pub(super) fn on_registered(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let (version, replicas) = (self.registry.version, self.registry.replicas());
        let Some(process) = self.process_of(node, life).filter(|process| process.registered < version) else { return Ok(()) };
        process.registered = version;
        process.replica.set_replicas(replicas);
        self.settle(node)
    }

    /// After any call of a replica that ends its turn: does what it gives out.
    pub(super) fn settle(&mut self, node: NodeId) -> Result<(), Violation> {
        let machine = self.machines.get_mut(&node).expect("a machine of the world");
        let Some(process) = machine.process.as_mut() else { return Ok(()) };
        let Outputs { records, events, messages, answers } = process.replica.outputs();
        let own = process.replica.actor();
        let (mut ended, uneven) = (None, process.uneven.take());
        for record in &records {
            let sequence = process.journal.append_with(|out| record.encode(out));
            if let Record::Delta(delta) = record {
                machine.sequences.insert(delta.version(), sequence);
                ended = ended.or((delta.writer == own).then(|| delta.version()));
            }
            if let (Record::Saw { range: HashRange::ALL, theirs }, Some(before)) = (record, &uneven)
                && theirs.iter().all(|version| !self.registry.actors.values().any(|actor| *actor == version.actor()))
            {
                self.trace.milestone(self.queue.now(), &[3, node.0], || format!("{node} lets go of {theirs:?}"));
                self.model.let_go(theirs, |key, version| before.at(hash_of(key)).covers(version))?;
            }
        }
        let written = if records.is_empty() { Ok(()) } else { process.journal.write() };
        let (last, seen) = (process.journal.appended(), process.seen());
        let open = std::mem::take(&mut process.open);
        for mut done in open {
            if let Some(operation) = done.operation {
                self.model.ended(operation, ended);
            }
            done.ended(ended, &seen);
            self.machine(node).process.as_mut().expect("it runs").unanswered.push_back((last, done));
        }
        let facts = [1, node.0, last.0, messages.len() as u64, answers.len() as u64];
        self.trace.note(self.queue.now(), &facts, || format!("{node}: {} records, {} messages {events:?}", records.len(), messages.len()));
        if written.is_err() {
            return self.stop(node, Stop::DiskFailed);
        }
        for event in events {
            self.on_told(node, event)?;
        }
        messages.into_iter().for_each(|(to, message)| self.send(node, to, message));
        for answer in answers {
            self.on_answer(node, answer)?;
        }
        if self.swarm.durability == Durability::Always {
            self.begin_sync(node)?;
        }
        self.answer(node)
    }

    /// What must never be told in a world where nobody lies and no memory fails.
    fn on_told(&mut self, node: NodeId, event: Told) -> Result<(), Violation> {
        self.trace.milestone(self.queue.now(), &[2, node.0], || format!("{node} is told: {event:?}"));
        match event {
            Told::Refused(_) | Told::Stranger(..) => Ok(()),
            Told::Fenced { .. } | Told::SameActor(_) => Err(Violation::new("identity", format!("{node}: {event:?}"))),
            Told::Diverged(_) => {
                Err(Violation::new("divergence", format!("{node} holds other than a peer that has seen the same: {event:?}")))
            }
        }
    }

    pub(super) fn begin_sync(&mut self, node: NodeId) -> Result<(), Violation> {
        let longest = self.swarm.sync;
        let now = self.queue.now();
        let machine = self.machine(node);
        let Some(process) = machine.process.as_mut().filter(|process| process.job.is_none()) else { return Ok(()) };
        match process.journal.begin_sync() {
            Ok(None) => Ok(()),
            Ok(job) => {
                (process.job, process.last_sync) = (job, now);
                let life = process.life;
                let after = between(Duration::from_micros(50), longest, &mut machine.rng);
                self.queue.after(after, Event::Sync { node, life });
                Ok(())
            }
            Err(_) => self.stop(node, Stop::DiskFailed),
        }
    }

    pub(super) fn on_sync(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        let always = self.swarm.durability == Durability::Always;
        let Some(process) = self.process_of(node, life) else { return Ok(()) };
        let Some(job) = process.job.take() else { return Ok(()) };
        if process.journal.finish_sync(job.run()).is_err() {
            return self.stop(node, Stop::DiskFailed);
        }
        if always {
            self.begin_sync(node)?;
        }
        self.answer(node)
    }

    /// Answers what may be answered.
    fn answer(&mut self, node: NodeId) -> Result<(), Violation> {
        let always = self.swarm.durability == Durability::Always;
        loop {
            let Some(process) = self.machine(node).process.as_mut() else { return Ok(()) };
            let reached = if always { process.journal.durable() } else { process.journal.written() };
            let Some((_, done)) = process.unanswered.pop_front_if(|(sequence, _)| *sequence <= reached) else { return Ok(()) };
            self.on_done(node, done)?;
        }
    }

    /// What a replica holds for others is bounded.
    fn check_bounds(&self, node: NodeId) -> Result<(), Violation> {
        let limits = &self.swarm.limits;
        let Some(process) = &self.machines[&node].process else { return Ok(()) };
        let exchange = process.replica.exchange();
        let (kept, waiting, sessions) = (exchange.kept().1, exchange.waiting().1, exchange.sessions());
        if kept > limits.kept_bytes || waiting > limits.waiting_bytes || sessions > limits.sessions {
            return Err(Violation::new("bounds", format!("{node} keeps {kept} bytes, {waiting} wait, {sessions} sessions are led")));
        }
        Ok(())
    }
}
