//! Strikes with the faults that were drawn, and ends them all at once.

use steadfast_crdt::Covers;
use steadfast_proof::Violation;
use steadfast_storage::journal::Sequence;
use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use super::machine::{Left, Machine};
use super::world::{Event, World};
use crate::disk::DiskFaults;
use crate::network::{NetworkFaults, PARTITIONS, between};
use crate::swarm::Recurring;

/// The kinds of recurring faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Partition,
    Kill,
    PowerFailure,
    Blackout,
    Wipe,
    Pause,
    ClockJump,
    FullDisk,
}

const FAULTS: [Fault; 8] =
    [Fault::Partition, Fault::Kill, Fault::PowerFailure, Fault::Blackout, Fault::Wipe, Fault::Pause, Fault::ClockJump, Fault::FullDisk];

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is killed, or stops properly; the machine goes on.
    Kill,
    /// The disk failed, and so it stops itself; or the machine has lost its power in the middle of something.
    DiskFailed,
    /// The machine loses its power now.
    PowerFailure,
    /// The disk is replaced by an empty one.
    Wipe,
}

/// A machine loses its power at most so many disk operations after that was decided.
const OPERATIONS_UNTIL_POWER_FAILURE: u64 = 12;

/// How far a wall clock jumps at most.
const JUMP_MS: i64 = 5 * 3_600_000;

impl World {
    pub(super) fn schedule_faults(&mut self) {
        FAULTS.into_iter().for_each(|fault| self.schedule_fault(fault));
    }

    fn schedule_fault(&mut self, fault: Fault) {
        if let Some(recurring) = self.recurring(fault) {
            let delay = recurring.next(&mut self.faults_rng);
            self.queue.after(delay, Event::Fault(fault));
        }
    }

    fn recurring(&self, fault: Fault) -> Option<Recurring> {
        match fault {
            Fault::Partition => self.swarm.partitions,
            Fault::Kill => self.swarm.kills,
            Fault::PowerFailure => self.swarm.power_failures,
            Fault::Blackout => self.swarm.blackouts,
            Fault::Wipe => self.swarm.wipes,
            Fault::Pause => self.swarm.pauses,
            Fault::ClockJump => self.swarm.clock_jumps,
            Fault::FullDisk => self.swarm.full_disks,
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) -> Result<(), Violation> {
        let Some(Recurring { lasts, .. }) = self.recurring(fault).filter(|_| !self.healed) else { return Ok(()) };
        self.schedule_fault(fault);
        let lasts = between(Duration::ZERO, lasts, &mut self.faults_rng);
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        let node = nodes[self.faults_rng.usize(0..nodes.len())];
        let now = self.queue.now();
        self.trace.milestone(now, &[9, fault as u64, node.0], || format!("fault: {fault:?} (node {node}, {lasts:?})"));
        match fault {
            Fault::Partition => {
                self.counts.partitions += 1;
                let shape = PARTITIONS[self.faults_rng.usize(0..PARTITIONS.len())];
                self.network.partition(shape, &nodes, node, &mut self.faults_rng);
                self.queue.after(lasts, Event::Reconnect);
            }
            Fault::Kill => {
                self.counts.kills += 1;
                match self.faults_rng.u8(0..3) {
                    0 => self.close(node)?,
                    _ => self.stop(node, Stop::Kill)?,
                }
                self.start_later(node, lasts);
            }
            Fault::PowerFailure if self.faults_rng.bool() => {
                let operations = self.faults_rng.u64(0..OPERATIONS_UNTIL_POWER_FAILURE);
                self.machines[&node].disk.power_failure_after(operations);
            }
            Fault::PowerFailure => {
                self.stop(node, Stop::PowerFailure)?;
                self.start_later(node, lasts);
            }
            Fault::Blackout => {
                for node in nodes {
                    self.stop(node, Stop::PowerFailure)?;
                    self.start_later(node, lasts);
                }
            }
            Fault::Wipe => {
                self.stop(node, Stop::Wipe)?;
                self.start_later(node, lasts);
            }
            Fault::Pause => {
                self.counts.pauses += 1;
                let machine = self.machine(node);
                machine.paused_until = machine.paused_until.max(now + lasts);
            }
            Fault::ClockJump => {
                self.counts.clock_jumps += 1;
                let jump = [JUMP_MS, 1_000][self.faults_rng.usize(0..2)];
                let to = self.faults_rng.i64(-jump..=jump);
                self.machine(node).skew_ms = to;
            }
            Fault::FullDisk => {
                self.set_disk(node, true);
                self.queue.after(lasts, Event::RoomOnDisk { node });
            }
        }
        Ok(())
    }

    pub(super) fn set_disk(&mut self, node: NodeId, full: bool) {
        let sync_failure = if self.healed { 0.0 } else { self.swarm.sync_failure };
        self.machines[&node].disk.set_faults(DiskFaults { sync_failure, full: full && !self.healed });
    }

    /// A process ends. Nobody knows what became of what it had not answered.
    pub(super) fn stop(&mut self, node: NodeId, stop: Stop) -> Result<(), Violation> {
        let Some(process) = self.machine(node).process.take() else {
            self.strike_machine(node, stop);
            return Ok(());
        };
        let has_power = !process.disk.is_dead();
        let stop = if stop != Stop::Wipe && !has_power { Stop::PowerFailure } else { stop };
        let (actor, seen) = (process.replica.actor(), process.seen());
        self.trace.milestone(self.queue.now(), &[8, node.0, stop as u64], || format!("{node} stops: {stop:?}"));
        self.past.entry(actor).or_default().join(&seen);
        self.counts.sessions += process.replica.counters().sessions_begun;
        self.counts.deltas_waited += process.replica.counters().deltas_dropped;
        self.check_counters(node, &process)?;
        for done in &process.open {
            done.operation.iter().for_each(|operation| self.model.ended(*operation, None));
        }
        let clients = process.open.iter().chain(process.unanswered.iter().map(|(_, done)| done)).map(|done| done.client);
        for client in clients.chain(process.waiting.iter().copied()).collect::<Vec<_>>() {
            self.counts.unknown += 1;
            self.client_later(client);
        }
        let keys = (stop == Stop::Kill && process.open.is_empty()).then(|| process.keys().canonical());
        self.machine(node).left = Left { seen, is_whole: stop == Stop::Kill, keys, durable: process.journal.durable() };
        match stop {
            Stop::Kill => self.machine(node).disk.kill(),
            Stop::DiskFailed => {
                self.counts.disk_failures += 1;
                self.machine(node).disk.kill();
                self.start_later(node, Duration::from_millis(500));
            }
            Stop::PowerFailure if has_power => self.strike_machine(node, stop),
            Stop::PowerFailure => {
                self.lose_memory(node);
                self.start_later(node, Duration::from_millis(500));
            }
            Stop::Wipe => self.strike_machine(node, stop),
        }
        for (peer, connection) in process.links {
            self.broken.extend((self.faults_rng.u8(0..2) == 0).then_some(connection));
            self.close_later(peer, node, connection);
        }
        Ok(())
    }

    /// What becomes of a machine on which no process runs (any more).
    fn strike_machine(&mut self, node: NodeId, stop: Stop) {
        match stop {
            Stop::Kill | Stop::DiskFailed => {}
            Stop::PowerFailure => {
                self.machines[&node].disk.power_failure();
                self.lose_memory(node);
            }
            Stop::Wipe => {
                self.counts.wiped += 1;
                let machine = self.machine(node);
                machine.disk.wipe();
                machine.boot += 1;
                machine.sequences.clear();
                self.forget(node, None);
                self.machine(node).left = Left::default();
            }
        }
    }

    /// The power of a machine on which no process runs (any more) has failed.
    pub(super) fn lose_memory(&mut self, node: NodeId) {
        self.counts.power_failures += 1;
        let machine = self.machine(node);
        machine.boot += 1;
        (machine.left.is_whole, machine.left.keys) = (false, None);
        let durable = machine.left.durable;
        self.forget(node, Some(durable));
    }

    /// What only the last process of a machine held whole, and not durably, may be gone.
    fn forget(&mut self, node: NodeId, durable: Option<Sequence>) {
        let others = self
            .machines
            .values()
            .filter_map(|machine| Some(machine.process.as_ref()?.keys().context().vector().clone()))
            .collect::<Vec<_>>();
        let Machine { sequences, left, .. } = &self.machines[&node];
        let is_durable = |version| durable.is_some_and(|durable| sequences.get(&version).is_some_and(|sequence| *sequence <= durable));
        self.model.lose(|operation, version| {
            (operation.node == node || left.seen.covers(version))
                && !is_durable(version)
                && !others.iter().any(|other| other.covers(version))
        });
    }

    /// All that fails works again, and all who were gone come back. Clocks stay as wrong as they are.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.trace.milestone(self.queue.now(), &[10], || "everything heals".to_owned());
        self.network.heal(NetworkFaults::default());
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        for node in nodes {
            self.machines[&node].disk.cancel_power_failure();
            self.set_disk(node, false);
            self.start_later(node, Duration::from_millis(100));
        }
    }
}
