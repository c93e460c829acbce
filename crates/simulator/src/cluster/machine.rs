//! One simulated machine: its disk and clock, which outlive processes, and the process that runs on it, if one does.

use steadfast_node::seed::{self, PlantError};
use steadfast_node::start::{self, Bootstrap, OpenError, Opened, Options};
use steadfast_node::{AutoCompaction, Autopilot, Input, LogCommand, LogDriver, Node, Outputs, Repair};
use steadfast_storage::log::LogOptions;
use steadfast_storage::tables::TablesOptions;
use steadfast_types::time::Duration;
use steadfast_types::{Instant, Level, NodeId, Rng};

use super::ambushes::Moment;
use super::restored::Restored;
use super::watchers::Hub;
use crate::clock::Clock;
use crate::disk::SimulatedDisk;
use crate::network::between;
use crate::swarm::Swarm;
use crate::workload::OperationNumber;
use crate::world::Time;

pub(super) type SimulatedInput = Input<OperationNumber, SimulatedDisk>;
pub(super) type SimulatedOutputs = Outputs<OperationNumber, SimulatedDisk>;

/// How often a leader shows that it lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(50);

/// Without a leader for this long, followers elect another.
pub const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) disk: SimulatedDisk,
    pub(super) process: Option<Process>,
    /// Counts processes; what was under way for an earlier one never arrives.
    pub(super) life: u64,
    /// The process whose frames that were still under way are lost.
    pub(super) unsent: Option<u64>,
    /// Until then the process stands still.
    pub(super) paused_until: Time,
    /// Until then no sync comes to its end.
    pub(super) stuck_until: Time,
    /// Until then syncs are slow.
    pub(super) slow_until: Time,
    pub(super) drift_ppm: i64,
    bootstrap: Bootstrap,
    /// The disk's failures in the lives of earlier processes.
    earlier_failures: u64,
    pub(super) rng: Rng,
    log_segment_bytes: u64,
    log_retention_bytes: u64,
    auto_compaction: AutoCompaction,
    autopilot: Autopilot,
    /// What the release that is installed there knows.
    pub(super) level: Level,
    quota_bytes: u64,
    memtable_bytes: usize,
    /// What one step of a merge writes.
    slice_bytes: u64,
    append_bytes: usize,
    recent_entry_bytes: usize,
    lease_reads: bool,
    /// The hash of the state that was restored onto its disk, if one was.
    restored: Option<u64>,
}

/// Why a process does not come up.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The node.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The restored state.
    #[error(transparent)]
    Found(#[from] PlantError),
}

impl StartError {
    /// Whether it is that the disk has lost what the node was.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self, StartError::Open(OpenError::LogGone) | StartError::Found(PlantError::Other))
    }
}

/// A running process.
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) clock: Clock,
    pub(super) inbox: Vec<SimulatedInput>,
    /// When the next turn is scheduled.
    pub(super) turn_at: Option<Time>,
    pub(super) log_waiting: Vec<LogCommand>,
    pub(super) log_busy: bool,
    /// When it fails as a new leader.
    pub(super) ambush: Option<Moment>,
    /// Whether it led, at its last turn, in the middle of a change of voters.
    pub(super) joint: bool,
    /// Its watches, once it has its state and if anybody watches in this run.
    pub(super) hub: Option<Hub>,
}

/// What a process does.
pub(super) enum Role {
    Running(Box<Node<OperationNumber, SimulatedDisk>>, Box<LogDriver<SimulatedDisk>>),
    Repairing(Box<Repair<SimulatedDisk>>),
}

impl From<Opened<OperationNumber, SimulatedDisk>> for Role {
    fn from(opened: Opened<OperationNumber, SimulatedDisk>) -> Self {
        match opened {
            Opened::Running(node, log) => Role::Running(node, log),
            Opened::Repairing(repair) => Role::Repairing(repair),
        }
    }
}

impl Machine {
    pub(super) fn new(id: NodeId, bootstrap: Bootstrap, drift_ppm: i64, swarm: &Swarm, mut rng: Rng) -> Self {
        // Small, so that runs of seconds roll segments, flush, merge and hand over snapshots; on some machines larger, so that much is in memory.
        let large = if rng.u8(0..3) == 0 { 16 } else { 1 };
        let auto_compaction = match rng.u8(0..6) {
            0 => AutoCompaction::Revisions(rng.u64(1..200)),
            1 => AutoCompaction::Age(Duration::from_secs(rng.u64(1..20))),
            _ => AutoCompaction::Off,
        };
        Machine {
            id,
            disk: SimulatedDisk::new(rng.u64(..)),
            process: None,
            life: 0,
            unsent: None,
            paused_until: Time::default(),
            stuck_until: Time::default(),
            slow_until: Time::default(),
            drift_ppm,
            bootstrap,
            earlier_failures: 0,
            log_segment_bytes: large * rng.u64(4_000..40_000),
            log_retention_bytes: rng.u64(0..50_000),
            auto_compaction,
            autopilot: swarm.autopilot,
            level: Level::NEWEST,
            memtable_bytes: large as usize * rng.usize(2_000..50_000),
            slice_bytes: if swarm.slow_tables { 500 << rng.u64(0..7) } else { 64 << 10 },
            // One entry at a time, or many.
            append_bytes: if swarm.one_by_one || rng.u8(0..4) == 0 { 1 } else { rng.usize(1..20_000) },
            recent_entry_bytes: rng.usize(0..20_000),
            lease_reads: swarm.lease_reads,
            restored: None,
            // Room for the keys, and for some of their history where that can go.
            quota_bytes: if rng.bool() && auto_compaction != AutoCompaction::Off { rng.u64(1 << 20..2 << 20) } else { 0 },
            rng,
        }
    }

    /// The state is put onto the empty disk, if there is one.
    pub(super) fn restore(&mut self, state: &Restored) {
        let tables = self.options().tables;
        self.restored = state.plant(&self.disk, tables);
    }

    /// Starts a process from what is on the disk.
    pub(super) fn start(&mut self, now: Time) -> Result<(), StartError> {
        let clock = Clock::new(now, Instant(self.rng.u64(0..1 << 40)), self.drift_ppm);
        let options = self.options();
        if let Some(hash) = self.restored {
            seed::found(&self.disk, options.tables.clone(), &self.bootstrap, hash)?;
        }
        let opened = start::open(&self.disk, options, self.bootstrap.clone(), clock.shows(now))?;
        let role = opened.into();
        self.process = Some(Process::new(role, clock, None));
        Ok(())
    }

    /// A repairing process that has everything back becomes a running one.
    pub(super) fn finish_repair(&mut self, now: Time) -> Result<bool, OpenError> {
        let Some(process) = self.process.take_if(|process| matches!(&process.role, Role::Repairing(repair) if repair.is_done())) else {
            return Ok(false);
        };
        if let Role::Repairing(repair) = process.role {
            let role = repair.finish(process.clock.shows(now))?.into();
            self.process = Some(Process { role, ..process });
        }
        Ok(true)
    }

    /// A process whose tables are damaged begins again without them, once its log is written.
    pub(super) fn reopen(&mut self, now: Time) -> Result<(), String> {
        let process = self.process.take().expect("a process found the damage");
        let Role::Running(node, mut log) = process.role else { unreachable!("a repairing process has no tables") };
        log.run(process.log_waiting).map_err(|error| error.to_string())?;
        drop(log);
        let role = node.reopen(process.clock.shows(now)).map_err(|error| error.to_string())?.into();
        self.life += 1;
        let mut hub = process.hub;
        // What was under way for the process as it was does not arrive.
        hub.iter_mut().for_each(Hub::begin_again);
        self.process = Some(Process::new(role, process.clock, hub));
        Ok(())
    }

    /// The process is gone; what it did to its disk from now on counts no more.
    pub(super) fn end_process(&mut self) {
        assert!(self.disk.is_dead(), "the old process's handles are dead before it is dropped");
        self.process = None;
        self.earlier_failures = self.disk.failures();
        self.disk = self.disk.reopen();
        self.life += 1;
    }

    /// Whether the disk has failed a call on purpose in this process's life.
    pub(super) fn disk_failed(&self) -> bool {
        self.disk.failures() > self.earlier_failures
    }

    /// The running node, if the process is past repair.
    pub(super) fn node(&self) -> Option<&Node<OperationNumber, SimulatedDisk>> {
        match &self.process.as_ref()?.role {
            Role::Running(node, _) => Some(node),
            Role::Repairing(_) => None,
        }
    }

    pub(super) fn node_mut(&mut self) -> Option<&mut Node<OperationNumber, SimulatedDisk>> {
        match &mut self.process.as_mut()?.role {
            Role::Running(node, _) => Some(node),
            Role::Repairing(_) => None,
        }
    }

    /// How long a write and sync of the log takes now.
    pub(super) fn sync_time(&mut self, now: Time, usual: (Duration, Duration)) -> Duration {
        let longest = if now < self.slow_until { Duration::from_secs(3) } else { usual.1 };
        between(usual.0, longest, &mut self.rng)
    }

    fn options(&mut self) -> Options {
        Options {
            id: self.id,
            incarnation: self.rng.u64(1..),
            seed: self.rng.u64(..),
            heartbeat_interval: HEARTBEAT_INTERVAL,
            election_timeout: ELECTION_TIMEOUT,
            lease_reads: self.lease_reads,
            request_timeout: Duration::from_secs(5),
            append_bytes: self.append_bytes,
            recent_entry_bytes: self.recent_entry_bytes,
            log_retention_bytes: self.log_retention_bytes,
            auto_compaction: self.auto_compaction,
            autopilot: self.autopilot,
            level: self.level,
            log: LogOptions { segment_bytes: self.log_segment_bytes },
            tables: TablesOptions {
                memtable_bytes: self.memtable_bytes,
                cache_bytes: 64 << 10,
                block_bytes: 1 << 10,
                group_bytes: 8 << 10,
                file_bytes: 16 << 10,
                slice_bytes: self.slice_bytes,
                ..TablesOptions::default()
            },
            events: true,
            quota_bytes: self.quota_bytes,
            lost_tables: None,
        }
    }
}

impl Process {
    fn new(role: Role, clock: Clock, hub: Option<Hub>) -> Self {
        Process { role, clock, inbox: Vec::new(), turn_at: None, log_waiting: Vec::new(), log_busy: false, ambush: None, joint: false, hub }
    }

    /// One turn with everything that has come in.
    pub(super) fn turn(&mut self, now: Time) -> SimulatedOutputs {
        let inputs = std::mem::take(&mut self.inbox);
        let now = self.clock.shows(now);
        match &mut self.role {
            Role::Running(node, _) => node.turn(now, inputs),
            Role::Repairing(repair) => repair.turn(now, inputs),
        }
    }

    /// When the next turn is due; `None`: never.
    pub(super) fn next_turn(&self) -> Option<Time> {
        self.clock.when(match &self.role {
            Role::Running(node, _) => node.next_deadline(),
            Role::Repairing(repair) => repair.next_deadline(),
        })
    }
}
