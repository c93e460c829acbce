//! How processes begin: as whom, and with what their journals hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use steadfast_available::exchange::Record;
use steadfast_crdt::{Actor, Covers};
use steadfast_proof::Violation;
use steadfast_replica::{Identity, Replica};
use steadfast_storage::journal::{self, JournalError, JournalOptions, Sequence};
use steadfast_types::disk::{Disk, DiskError, DiskFile};
use steadfast_types::time::Duration;
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{Instant, NodeId};

use super::faults::Stop;
use super::machine::{Left, Process};
use super::world::{Event, World};
use crate::clock::Clock;
use crate::disk::SimulatedDisk;
use crate::network::between;

/// The file that says who the replica is.
const IDENTITY: &str = "identity";

/// So small that a journal has several.
const FILE_BYTES: u64 = 32 * 1024;

/// Why a process did not come up.
#[derive(Debug, thiserror::Error)]
enum NotStarted {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("a record of the journal: {0}")]
    Record(#[from] WireError),
}

fn read_identity(disk: &SimulatedDisk) -> Result<Option<Identity>, NotStarted> {
    let file = match disk.open(IDENTITY) {
        Err(DiskError::NotFound(_)) => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; usize::try_from(file.length()?).expect("a few bytes")];
    file.read_at(0, &mut bytes)?;
    Ok(Some(Identity::from_wire(bytes.into())?))
}

/// Durable on return.
pub(super) fn write_identity(disk: &SimulatedDisk, identity: Identity) -> Result<(), DiskError> {
    const NEW: &str = "identity.new";
    let file = disk.create(NEW)?;
    file.write_at(0, &identity.to_wire())?;
    file.sync()?;
    disk.rename(NEW, IDENTITY)?;
    disk.sync_directory()
}

impl World {
    pub(super) fn on_start(&mut self, node: NodeId) -> Result<(), Violation> {
        if self.machines[&node].process.is_some() {
            return Ok(());
        }
        let disk = self.machines[&node].disk.reopen();
        match self.try_start(node, &disk) {
            Ok(()) => self.started(node),
            Err(error) if disk.is_dead() => {
                self.trace.milestone(self.queue.now(), &[31, node.0], || format!("{node} does not start: {error}"));
                self.lose_memory(node);
                self.start_later(node, Duration::from_millis(500));
                Ok(())
            }
            Err(NotStarted::Disk(_) | NotStarted::Journal(JournalError::Disk(_) | JournalError::Poisoned(_))) => {
                self.machine(node).disk.kill();
                self.start_later(node, Duration::from_millis(500));
                Ok(())
            }
            Err(error) => Err(Violation::new("journal", format!("{node} does not start: {error}"))),
        }
    }

    pub(super) fn start_later(&mut self, node: NodeId, within: Duration) {
        let after = between(Duration::from_millis(1), within.max(Duration::from_millis(1)), &mut self.faults_rng);
        self.queue.after(after, Event::Start { node });
    }

    fn try_start(&mut self, node: NodeId, disk: &SimulatedDisk) -> Result<(), NotStarted> {
        let now = self.queue.now();
        let (boot, life) = (self.machines[&node].boot, self.machines[&node].life + 1);
        let registered = self.registry.actors.get(&node).copied();
        let resumed = Identity::resumes(registered, read_identity(disk)?, boot);
        let actor = resumed.unwrap_or_else(|| self.registry.renew(node));
        write_identity(disk, Identity { actor, boot, is_closed: false })?;
        let machine = self.machines.get_mut(&node).expect("a machine of the world");
        let clock = Clock::new(now, Instant(machine.rng.u64(0..1 << 40)), 0);
        let mut replica = Replica::new(actor, self.swarm.limits.clone());
        replica.set_now(clock.shows(now), machine.wall_ms(now));
        let options = JournalOptions { file_bytes: FILE_BYTES, salt: machine.rng.u64(..) };
        let mut replayed = Ok(());
        let opened = journal::open(disk, options, Sequence(0), |_, record| {
            if replayed.is_ok() {
                replayed = Record::from_wire(Bytes::copy_from_slice(record)).and_then(|record| replica.replay(record));
            }
        })?;
        replayed?;
        machine.sequences.retain(|_, sequence| *sequence <= opened.last);
        machine.life = life;
        machine.process = Some(Process {
            life,
            disk: disk.clone(),
            replica,
            journal: opened.journal,
            clock,
            job: None,
            last_sync: now,
            open: Vec::new(),
            unanswered: VecDeque::new(),
            waiting: BTreeSet::new(),
            uneven: None,
            links: BTreeMap::new(),
            registered: 0,
        });
        self.counts.starts += 1;
        self.counts.new_actors += u64::from(resumed.is_none());
        self.trace.milestone(now, &[30, node.0, u64::from(actor.place())], || {
            let how = if resumed.is_some() { "goes on as" } else { "is a new actor," };
            format!("{node} starts and {how} {}, with {} records", actor.place(), opened.last)
        });
        Ok(())
    }

    fn started(&mut self, node: NodeId) -> Result<(), Violation> {
        self.check_start(node)?;
        let tick = self.swarm.tick;
        let life = self.machines[&node].life;
        self.on_registered(node, life)?;
        self.tell_others();
        let first = between(Duration::ZERO, tick, &mut self.faults_rng);
        self.queue.after(first, Event::Tick { node, life });
        Ok(())
    }

    /// Whoever runs hears of the present set of replicas, sooner or later.
    pub(super) fn tell_others(&mut self) {
        let version = self.registry.version;
        let stale = |process: &&Process| process.registered < version;
        let lives = self.machines.values().filter_map(|machine| Some((machine.id, machine.process.as_ref().filter(stale)?.life)));
        for (node, life) in lives.collect::<Vec<_>>() {
            let after = between(Duration::ZERO, self.swarm.registry_delay, &mut self.faults_rng);
            self.queue.after(after, Event::Registered { node, life });
        }
    }

    /// What had to be there is.
    fn check_start(&mut self, node: NodeId) -> Result<(), Violation> {
        let machine = self.machine(node);
        let Left { seen, is_whole, keys, durable } = std::mem::take(&mut machine.left);
        let Some(process) = &machine.process else { return Ok(()) };
        let lost = |what: String| Err(Violation::new("durability", format!("{node} starts without {what}")));
        if is_whole && !process.seen().includes(&seen) {
            return lost(format!("what its process had written: {seen:?}, it has {:?}", process.seen()));
        }
        if keys.is_some_and(|keys| keys != process.keys().canonical()) {
            return lost("the keys that its process had".to_owned());
        }
        let vector = process.seen();
        let actor = process.replica.actor();
        // What was lost of the journal is no more in `sequences`.
        let missing = machine.sequences.iter().find(|(version, sequence)| **sequence <= durable && !vector.covers(**version));
        let missing = missing.map(|(version, sequence)| (*version, *sequence));
        self.model.forget_unwritten(actor, &vector);
        match missing {
            Some((version, sequence)) => lost(format!("{version:?}, which was durable as record {sequence}")),
            None => Ok(()),
        }
    }

    /// An orderly end: everything is durable, and the replica may go on as the same actor on any boot.
    pub(super) fn close(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(process) = self.process(node) else { return Ok(()) };
        process.replica.end_turn();
        self.settle(node)?;
        let machine = self.machine(node);
        let (boot, disk) = (machine.boot, machine.disk.reopen());
        let Some(process) = machine.process.as_mut() else { return Ok(()) };
        let actor: Actor = process.replica.actor();
        let under_way = process.job.take().map_or(Ok(Sequence(0)), |job| process.journal.finish_sync(job.run()));
        let synced = under_way.and_then(|_| process.journal.sync());
        let closed = synced.is_ok() && write_identity(&disk, Identity { actor, boot, is_closed: true }).is_ok();
        self.stop(node, if closed { Stop::Kill } else { Stop::DiskFailed })
    }
}
