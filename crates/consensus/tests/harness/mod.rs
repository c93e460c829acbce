//! A cluster of cores on one thread: a bag of messages, disks that forget what was not synced, and the promises of consensus checked at every
//! step. What happens is written down in words, for the scripts.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod machine;
pub(crate) mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use machine::{DiskLog, Machine, Tables};
use steadfast_consensus::message::Body;
use steadfast_consensus::{Config, FetchEntries, Message, Outputs, Raft, ReadNumber, ReadReady, Role, SnapshotFit};
use steadfast_types::{Configuration, Entry, Instant, LogIndex, NodeId, Payload, Term};

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const ELECTION: Duration = Duration::from_millis(1000);

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

/// How all cores are set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) lease_reads: bool,
    pub(crate) recent_entry_bytes: usize,
    pub(crate) seed: u64,
    /// Print what happens as it happens.
    pub(crate) print: bool,
}

/// What must hold over all nodes and all lives.
#[derive(Debug, Default)]
struct Promises {
    leaders: BTreeMap<Term, NodeId>,
    /// Each committed entry, and the term of the node that first handed it out.
    committed: BTreeMap<LogIndex, (Entry, Term)>,
    /// The greatest index that any node has handed out as committed: a client may know of it.
    acknowledged: LogIndex,
    /// For each node's open reads, what was acknowledged when they were asked.
    read_floors: BTreeMap<(NodeId, ReadNumber), LogIndex>,
}

/// See the file's documentation.
pub(crate) struct Cluster {
    pub(crate) machines: BTreeMap<NodeId, Machine>,
    pub(crate) bag: Vec<Envelope>,
    pub(crate) fetches: Vec<(NodeId, FetchEntries)>,
    /// (leader, follower) hand-overs that were asked for.
    pub(crate) snapshots: Vec<(NodeId, NodeId)>,
    /// Directions in which nothing passes.
    pub(crate) cuts: BTreeSet<(NodeId, NodeId)>,
    /// How many reads each node has asked in its present life.
    reads: BTreeMap<NodeId, u64>,
    /// (node, newest read, index) as confirmed.
    pub(crate) confirmed: Vec<(NodeId, ReadReady)>,
    pub(crate) trace: Vec<String>,
    options: Options,
    lives: u64,
    promises: Promises,
}

impl Cluster {
    pub(crate) fn new(options: Options) -> Self {
        Cluster {
            machines: BTreeMap::new(),
            bag: Vec::new(),
            fetches: Vec::new(),
            snapshots: Vec::new(),
            cuts: BTreeSet::new(),
            reads: BTreeMap::new(),
            confirmed: Vec::new(),
            trace: Vec::new(),
            options,
            lives: 0,
            promises: Promises::default(),
        }
    }

    /// A machine with this on its disk. A new member's disk is empty, and so is its configuration.
    pub(crate) fn add(&mut self, id: NodeId, log: DiskLog, tables: Tables) {
        let mut machine = Machine::new(id, log, tables);
        machine.clock = self.machines.values().map(|machine| machine.clock).max().unwrap_or(machine.clock);
        self.machines.insert(id, machine);
        self.start(id);
    }

    pub(crate) fn add_member(&mut self, id: NodeId, configuration: &Configuration) {
        self.add(id, DiskLog::default(), Tables { configuration: configuration.clone(), ..Tables::default() });
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        self.lives += 1;
        let config = Config {
            id,
            heartbeat_interval: HEARTBEAT,
            election_timeout: ELECTION,
            lease_reads: self.options.lease_reads,
            append_bytes: steadfast_types::limits::APPEND_BYTES,
            clock_drift_percent: 10,
            recent_entry_bytes: self.options.recent_entry_bytes,
        };
        let seed = self.options.seed.wrapping_mul(1_000_003).wrapping_add(self.lives);
        let machine = self.machines.get_mut(&id).expect("a machine");
        let recovered = machine.recover();
        let raft = Raft::new(config, recovered, seed, machine.clock);
        machine.raft = Some(raft);
        self.drain(id);
    }

    pub(crate) fn crash(&mut self, id: NodeId) {
        self.machines.get_mut(&id).expect("a machine").crash();
        self.promises.read_floors.retain(|&(node, _), _| node != id);
        self.reads.remove(&id);
        self.fetches.retain(|&(node, _)| node != id);
        self.snapshots.retain(|&(from, _)| from != id);
    }

    pub(crate) fn raft(&mut self, id: NodeId) -> Option<&mut Raft> {
        self.machines.get_mut(&id)?.raft.as_mut()
    }

    pub(crate) fn up(&self) -> Vec<NodeId> {
        self.machines.values().filter(|machine| machine.raft.is_some()).map(|machine| machine.id).collect()
    }

    /// Moves one node's clock.
    pub(crate) fn advance(&mut self, id: NodeId, by: Duration) {
        let machine = self.machines.get_mut(&id).expect("a machine");
        machine.clock = machine.clock + by;
        let now = machine.clock;
        if let Some(raft) = &mut machine.raft {
            raft.tick(now);
            self.drain(id);
        }
    }

    pub(crate) fn advance_all(&mut self, by: Duration) {
        for id in self.machines.keys().copied().collect::<Vec<_>>() {
            self.advance(id, by);
        }
    }

    pub(crate) fn now(&self, id: NodeId) -> Instant {
        self.machines[&id].clock
    }

    /// An input to one core, and all that comes of it.
    pub(crate) fn input<T>(&mut self, id: NodeId, input: impl FnOnce(&mut Raft) -> T) -> Option<T> {
        let machine = self.machines.get_mut(&id)?;
        let raft = machine.raft.as_mut()?;
        raft.tick(machine.clock);
        let result = input(raft);
        self.drain(id);
        Some(result)
    }

    pub(crate) fn read(&mut self, id: NodeId) -> ReadNumber {
        let count = self.reads.entry(id).or_default();
        *count += 1;
        let number = ReadNumber(*count);
        if self.machines[&id].raft.is_some() {
            self.promises.read_floors.insert((id, number), self.promises.acknowledged);
            self.input(id, |raft| raft.request_read(number));
        }
        number
    }

    /// Delivers one message, if its way is open and its receiver up.
    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        if !self.cuts.contains(&(from, to)) {
            self.input(to, |raft| raft.receive(from, message));
        }
    }

    /// Syncs the oldest `count` writes of a node.
    pub(crate) fn sync(&mut self, id: NodeId, count: usize) {
        let machine = self.machines.get_mut(&id).expect("a machine");
        if let Some(sequence) = machine.sync(count) {
            self.input(id, |raft| raft.log_synced(sequence));
        }
    }

    pub(crate) fn answer_fetch(&mut self, position: usize) {
        let (id, fetch) = self.fetches.remove(position);
        let entries = self.machines[&id].written.read(fetch.from, fetch.max_bytes);
        self.input(id, |raft| raft.entries_fetched(fetch.follower, fetch.from, entries));
    }

    /// Carries a snapshot of the leader's state machine to a follower.
    pub(crate) fn carry_snapshot(&mut self, position: usize) {
        let (leader, follower) = self.snapshots.remove(position);
        let open = !self.cuts.contains(&(leader, follower)) && self.machines.get(&follower).is_some_and(|to| to.raft.is_some());
        if self.machines[&leader].raft.is_none() {
            return;
        }
        let tables = self.machines[&leader].applied.clone();
        if open {
            self.install_snapshot(follower, tables.clone());
        }
        self.input(leader, |raft| raft.snapshot_sent(follower, open.then_some(tables.position)));
    }

    pub(crate) fn install_snapshot(&mut self, id: NodeId, tables: Tables) {
        let machine = self.machines.get_mut(&id).expect("a machine");
        let Some(raft) = &mut machine.raft else { return };
        let fit = raft.snapshot_fit(tables.position);
        self.trace.push(format!("{id} gets snapshot {} ({fit:?})", tables.position));
        let machine = self.machines.get_mut(&id).expect("a machine");
        match fit {
            SnapshotFit::Old => {}
            SnapshotFit::Within => (machine.checkpoint, machine.applied) = (tables.clone(), tables.clone()),
            SnapshotFit::Replaces => {
                (machine.checkpoint, machine.applied) = (tables.clone(), tables.clone());
                machine.reset_log(tables.position);
            }
        }
        self.input(id, |raft| raft.snapshot_installed(tables.position, tables.configuration));
    }

    /// Takes a core's outputs and does with them what a shell must.
    fn drain(&mut self, id: NodeId) {
        loop {
            let machine = self.machines.get_mut(&id).expect("a machine");
            let Some(raft) = &mut machine.raft else { return };
            let outputs = raft.take_outputs();
            self.take(id, outputs);
            let machine = self.machines.get_mut(&id).expect("a machine");
            if machine.slow_disk || machine.unsynced() == 0 {
                return;
            }
            let sequence = machine.sync(usize::MAX);
            if let (Some(raft), Some(sequence)) = (&mut machine.raft, sequence) {
                raft.log_synced(sequence);
            }
        }
    }

    fn take(&mut self, id: NodeId, outputs: Outputs) {
        let lines = text::outputs(id, &outputs);
        if self.options.print {
            lines.iter().for_each(|line| println!("{line}"));
        }
        self.trace.extend(lines);
        let machine = self.machines.get_mut(&id).expect("a machine");
        if let Some(write) = outputs.log_write {
            machine.write(write);
        }
        for (to, message) in outputs.messages {
            self.promises.check_durable(machine, &message);
            self.bag.push(Envelope { from: id, to, message });
        }
        for entry in outputs.committed {
            self.promises.check_committed(machine, &entry);
            machine.applied.apply(&entry);
            if let Some(raft) = &mut machine.raft {
                raft.applied(entry.index);
            }
        }
        if let Some(ready) = outputs.read_ready {
            self.promises.check_read(id, &ready);
            self.confirmed.push((id, ready));
        }
        if let Some(change) = outputs.role
            && change.role == Role::Leader
        {
            let leader = *self.promises.leaders.entry(change.term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {}", change.term);
        }
        self.fetches.extend(outputs.fetch.into_iter().map(|fetch| (id, fetch)));
        self.snapshots.extend(outputs.snapshot_wanted.into_iter().map(|(to, _)| (id, to)));
        self.check_leader_completeness(id);
    }

    /// A leader has everything that was committed in the terms before its own (an entry of an earlier term may be committed in a later one, while
    /// a leader between them still thinks that it leads).
    fn check_leader_completeness(&mut self, id: NodeId) {
        let machine = &self.machines[&id];
        let Some(raft) = machine.raft.as_ref().filter(|raft| raft.role() == Role::Leader) else { return };
        let term = raft.term();
        let committed = self.promises.committed.range(machine.written.start.index.next()..);
        for (_, (entry, _)) in committed.filter(|(_, (_, committed_in))| *committed_in < term) {
            assert!(machine.written.holds(entry.position()), "{id} leads term {term} without committed entry {}", entry.position());
        }
    }

    /// What must be true of all nodes together at any time.
    pub(crate) fn check(&self) {
        self.check_log_matching();
        self.machines.values().for_each(check_configuration);
    }

    /// Logs that agree on an entry agree on all before it.
    fn check_log_matching(&self) {
        let machines: Vec<&Machine> = self.machines.values().collect();
        for (position, one) in machines.iter().enumerate() {
            for other in &machines[position + 1..] {
                let theirs: BTreeMap<LogIndex, &Entry> = other.written.entries.iter().map(|entry| (entry.index, entry)).collect();
                let both = one.written.entries.iter().filter_map(|ours| Some((ours, *theirs.get(&ours.index)?)));
                let mut differ = None;
                for (ours, theirs) in both {
                    if ours.term != theirs.term {
                        differ.get_or_insert(ours.index);
                    } else {
                        assert_eq!(ours, theirs, "one term, one index, two entries");
                        assert_eq!(differ, None, "{} and {} agree on {} and not before", one.id, other.id, ours.index);
                    }
                }
            }
        }
    }

    pub(crate) fn acknowledged(&self) -> LogIndex {
        self.promises.acknowledged
    }

    pub(crate) fn uses_leases(&self) -> bool {
        self.options.lease_reads
    }

    /// Members of the leader's configuration that are up.
    pub(crate) fn members_up(&self) -> Vec<NodeId> {
        let leader = self.leader().and_then(|leader| self.machines[&leader].raft.as_ref());
        let member = |id: &NodeId| leader.is_some_and(|leader| leader.configuration().contains(*id));
        self.up().into_iter().filter(member).collect()
    }

    /// How everyone stands, for a failing test.
    pub(crate) fn summary(&self) -> String {
        let tail = self.trace.len().saturating_sub(60);
        let status = self.machines.values().filter_map(|machine| Some(text::status(machine.id, &machine.raft.as_ref()?.status())));
        format!("\n{}\n{}", self.trace[tail..].join("\n"), status.collect::<Vec<_>>().join("\n"))
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads = |raft: &Raft| (raft.role() == Role::Leader).then(|| (raft.term(), raft.id()));
        self.machines.values().filter_map(|machine| leads(machine.raft.as_ref()?)).max().map(|(_, id)| id)
    }
}

impl Promises {
    /// Whatever a message promises is on the disk of the machine that sends it.
    fn check_durable(&self, machine: &Machine, message: &Message) {
        let (disk, term) = (&machine.synced, message.term);
        match &message.body {
            Body::VoteRequest { .. } => {
                assert_eq!(
                    (disk.hard_state.term, disk.hard_state.vote),
                    (term, Some(machine.id)),
                    "a vote request before its vote is durable"
                );
            }
            Body::VoteReply { granted: true, .. } => {
                assert!(disk.hard_state.term == term && disk.hard_state.vote.is_some(), "a vote before it is durable");
            }
            Body::AppendAccepted { matched } => {
                assert_eq!(disk.hard_state.term, term, "an acknowledgement in a term that is not durable");
                let durable = disk.last().index.max(machine.checkpoint.position.index);
                assert!(*matched <= durable, "{} acknowledges {matched} and has {durable} on disk", machine.id);
            }
            _ => {}
        }
    }

    fn check_committed(&mut self, machine: &Machine, entry: &Entry) {
        let term = machine.raft.as_ref().map_or(entry.term, Raft::term);
        let (known, _) = self.committed.entry(entry.index).or_insert_with(|| (entry.clone(), term));
        assert_eq!(known, entry, "{} commits another entry {}", machine.id, entry.index);
        self.acknowledged = self.acknowledged.max(entry.index);
    }

    fn check_read(&mut self, id: NodeId, ready: &ReadReady) {
        let confirmed = (id, ReadNumber(0))..=(id, ready.number);
        for (&(_, number), &floor) in self.read_floors.range(confirmed) {
            assert!(ready.index >= floor, "{id} reads {} at {}, and {floor} was acknowledged before", number.0, ready.index);
        }
        self.read_floors.retain(|&(node, number), _| node != id || number > ready.number);
    }
}

/// The configuration in force is the last one in the log.
fn check_configuration(machine: &Machine) {
    let Some(raft) = &machine.raft else { return };
    let change = machine.written.entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Change { configuration, .. } => Some(configuration),
        Payload::Empty | Payload::Batch(_) => None,
    });
    let last = change.unwrap_or(&machine.applied.configuration);
    assert_eq!(raft.configuration(), last, "{} goes by another configuration than its log says", machine.id);
}
