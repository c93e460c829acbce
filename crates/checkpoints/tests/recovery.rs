//! Commands, deltas and joins of another replica, checkpoints, cuts and crashes: what comes back is what was there at the journal's end.

#[path = "../../available/tests/common/mod.rs"]
mod common;

use std::collections::VecDeque;

use bytes::Bytes;
use common::{Command, START, actor, commands, run, scanned, shown};
use proptest::prelude::*;
use steadfast_available::exchange::{HashRange, Limits, Record};
use steadfast_available::{Context, Delta, Exchange, Keyspace};
use steadfast_checkpoints::{CheckpointOptions, Checkpointer, Loaded, RowTables};
use steadfast_crdt::{Covers, VersionVector};
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::journal::{self, Journal, JournalOptions, OpenedJournal, Sequence};
use steadfast_storage::tables::TablesOptions;
use steadfast_types::disk::Disk;
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, Rng};

#[derive(Clone, Debug)]
enum Step {
    /// Commands in one turn.
    Turn(Vec<Command>),
    /// Commands at the other replica, in one turn.
    Elsewhere(Vec<Command>),
    /// The next delta of the other replica is applied.
    Hear,
    /// The other replica hears of all that is durable here.
    Tell,
    /// A range of the other replica's states is joined, or found to be the same.
    Join(u32, u32),
    Tick(u64),
    /// What both have seen is forgotten.
    Collect,
    Write,
    Sync,
    /// The tables take what is ready.
    Put,
    /// A job of the tables runs, or its outcome is lost in a crash.
    Job(bool),
    /// Keys go out of memory, so many being looked at.
    Evict(usize),
    /// Everything is looked at, or what one reader sees.
    Look(Option<u8>),
    Crash,
    /// The process ends, and nothing that was written is lost.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let turn = || prop::collection::vec(commands(6), 1..5);
    prop_oneof![
        12 => turn().prop_map(Step::Turn),
        4 => turn().prop_map(Step::Elsewhere),
        4 => Just(Step::Hear),
        2 => Just(Step::Tell),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(one, other)| Step::Join(one.min(other), one.max(other))),
        1 => Just(Step::Join(0, u32::MAX)),
        2 => (1..50_u64).prop_map(Step::Tick),
        1 => Just(Step::Collect),
        3 => Just(Step::Write),
        4 => Just(Step::Sync),
        8 => Just(Step::Put),
        6 => prop::bool::weighted(0.9).prop_map(Step::Job),
        4 => (1..40_usize).prop_map(Step::Evict),
        3 => prop::option::weighted(0.7, 0..6_u8).prop_map(Step::Look),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

/// What the keyspace was at some position of the journal.
#[derive(Clone, Debug, PartialEq)]
struct State {
    canonical: Vec<u8>,
    context: Context,
    digest: u64,
    len: usize,
}

/// All that matters: what was forgotten before it was on the disk comes back, and is forgotten again.
fn state(keys: &Keyspace) -> State {
    let mut keys = keys.clone();
    let mut everything = VersionVector::default();
    keys.context().pieces(0, u32::MAX).iter().for_each(|(_, _, seen)| everything.join(seen));
    while !keys.collect(&everything) {}
    State { canonical: keys.canonical(), context: keys.context().clone(), digest: keys.digest(0, u32::MAX).sum, len: keys.len() }
}

struct World {
    journal_disk: MemoryDisk,
    tables_disk: MemoryDisk,
    now: u64,
    keys: Keyspace,
    journal: Journal<MemoryDisk>,
    checkpointer: Checkpointer,
    tables: RowTables<MemoryDisk>,
    other: Keyspace,
    /// The other replica's deltas that are not applied here.
    theirs: Vec<Delta>,
    /// Own deltas that the other has not seen.
    ours: VecDeque<(Sequence, Delta)>,
    /// By position of the journal.
    states: Vec<State>,
    /// How often something was recovered from a checkpoint, and files were cut.
    counts: (usize, usize),
    /// How many keys were out of memory, at most.
    cold: usize,
    rng: Rng,
    memory_bytes: usize,
    /// A keyspace that has all keys in memory and does the same.
    twin: Keyspace,
}

fn tables_options() -> TablesOptions {
    TablesOptions {
        memtable_bytes: 2000,
        cache_bytes: 10_000,
        block_bytes: 300,
        group_bytes: 1000,
        file_bytes: 3000,
        slice_bytes: 5000,
        fan_in: 2,
        open_files: 4,
    }
}

fn options(memory_bytes: usize) -> CheckpointOptions {
    CheckpointOptions { journal_bytes: 1500, turn_bytes: 150, waiting_bytes: 1000, memory_bytes, turn_looks: 8 }
}

/// What is on the disks.
fn recover(
    journal_disk: &MemoryDisk,
    tables_disk: &MemoryDisk,
    now: u64,
    salt: u64,
    memory_bytes: usize,
) -> (Keyspace, OpenedJournal<MemoryDisk>, RowTables<MemoryDisk>, u64, Sequence) {
    let tables = RowTables::open(tables_disk, tables_options()).unwrap();
    let Loaded { mut keys, from } = tables.load_within(actor(1), memory_bytes).unwrap();
    keys.set_now(now);
    let mut exchange = Exchange::new(actor(1), Limits { kept_bytes: 0, ..Limits::default() }, &keys);
    let mut bytes = 0;
    let opened = journal::open(journal_disk, JournalOptions { file_bytes: 4096, salt }, from, |_, record| {
        bytes += record.len() as u64;
        let record = Record::from_wire(Bytes::copy_from_slice(record)).unwrap();
        exchange.replay(&mut keys, record, Instant(0)).unwrap();
    });
    (keys, opened.unwrap(), tables, bytes, from)
}

impl World {
    fn new(seed: u64, memory_bytes: usize) -> Self {
        let (journal_disk, tables_disk) = (MemoryDisk::new(), MemoryDisk::new());
        let (keys, opened, tables, _, _) = recover(&journal_disk, &tables_disk, START, seed, memory_bytes);
        let states = vec![state(&keys)];
        let (twin, ..) = recover(&journal_disk.fork(), &tables_disk.fork(), START, seed, usize::MAX);
        let checkpointer = Checkpointer::new(options(memory_bytes), tables.progress(), 0);
        let mut other = Keyspace::new(actor(2));
        other.set_now(START);
        let (journal, rng) = (opened.journal, Rng::with_seed(seed));
        World {
            journal_disk,
            tables_disk,
            now: START,
            keys,
            journal,
            checkpointer,
            tables,
            other,
            theirs: Vec::new(),
            ours: VecDeque::new(),
            states,
            counts: (0, 0),
            cold: 0,
            rng,
            memory_bytes,
            twin,
        }
    }

    fn record(&mut self, record: &Record) {
        let sequence = self.journal.append(&record.to_wire());
        assert_eq!(sequence.0, self.states.len() as u64);
        self.states.push(state(&self.keys));
    }

    fn run(&mut self, command: &Command) {
        assert_eq!(run(&mut self.keys, command), run(&mut self.twin, command), "{command:?}");
    }

    /// Whatever is in memory, both are the same.
    fn compare(&mut self) {
        assert_eq!(self.keys.failure(), None);
        self.cold = self.cold.max(self.keys.cold());
        let (from, to) = (self.rng.u32(..), self.rng.u32(..));
        for (from, to) in [(from.min(to), from.max(to)), (0, u32::MAX)] {
            assert_eq!(self.keys.digest(from, to).sum, self.twin.digest(from, to).sum);
        }
        assert_eq!((self.keys.len(), self.keys.last_write()), (self.twin.len(), self.twin.last_write()));
    }

    fn end_turn(&mut self) {
        while self.twin.take_delta().is_some() {}
        while let Some(delta) = self.keys.take_delta() {
            self.record(&Record::Delta(delta.clone()));
            self.ours.push_back((self.journal.appended(), delta));
        }
        self.checkpointer.turn_ended(&mut self.keys, &mut (), self.journal.appended(), self.journal.appended_bytes());
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Turn(commands) => commands.iter().for_each(|command| self.run(command)),
            Step::Elsewhere(commands) => {
                commands.iter().for_each(|command| _ = run(&mut self.other, command));
                self.end_others_turn();
            }
            Step::Hear => self.hear(),
            Step::Tell => {
                while let Some((_, delta)) = self.ours.pop_front_if(|(at, _)| *at <= self.journal.durable()) {
                    self.other.apply(&delta).unwrap();
                }
            }
            Step::Join(from, to) => self.join(*from, *to),
            Step::Tick(ms) => {
                self.now += ms;
                self.keys.set_now(self.now);
                self.twin.set_now(self.now);
                self.other.set_now(self.now + 3);
            }
            Step::Collect => {
                // Who tells that it has seen something does not lose it.
                let durable = &self.states[self.journal.durable().0 as usize].context;
                let stable = durable.vector().meet(self.other.context().vector());
                if self.keys.context().vector().includes(self.other.context().vector()) {
                    self.keys.collect(&stable);
                    self.twin.collect(&stable);
                }
                if self.other.context().vector().includes(self.keys.context().vector()) {
                    self.other.collect(&stable);
                }
            }
            Step::Write => self.journal.write().unwrap(),
            Step::Sync => _ = self.journal.sync().unwrap(),
            Step::Put => {
                while let Some(batch) = self.checkpointer.next_batch(self.journal.durable()) {
                    self.tables.put(&batch);
                }
                self.saved();
            }
            Step::Job(is_heard_of) => self.job(*is_heard_of),
            Step::Evict(looks) => _ = self.keys.evict(0, *looks),
            Step::Look(Some(key)) => assert_eq!(shown(&self.keys, *key), shown(&self.twin, *key)),
            Step::Look(None) => {
                assert_eq!(scanned(&self.keys, 3), scanned(&self.twin, 3));
                assert!(state(&self.keys) == state(&self.twin));
            }
            Step::Crash => self.crash(),
            Step::Restart => {
                self.journal.write().unwrap();
                self.reopen(self.journal_disk.fork(), self.tables_disk.fork());
            }
        }
        self.end_turn();
        self.compare();
    }

    fn end_others_turn(&mut self) {
        while let Some(delta) = self.other.take_delta() {
            self.theirs.push(delta);
        }
    }

    fn hear(&mut self) {
        let Some(delta) = self.theirs.iter().find(|delta| !self.keys.context().vector().covers(delta.version())) else {
            return;
        };
        let delta = delta.clone();
        // What it depends on was durable here before the other heard of it.
        assert_eq!(self.keys.apply(&delta), Ok(true));
        assert_eq!(self.twin.apply(&delta), Ok(true));
        self.record(&Record::Delta(delta));
    }

    fn join(&mut self, from: u32, to: u32) {
        let theirs: VersionVector = self.other.context().vector().clone();
        let range = HashRange::new(from, to).unwrap();
        if self.keys.digest(from, to) == self.other.digest(from, to) {
            self.keys.saw_range(from, to, &theirs);
            self.twin.saw_range(from, to, &theirs);
            self.record(&Record::Saw { range, theirs });
        } else {
            let states = self.other.states(from, to, usize::MAX).unwrap();
            self.keys.join_states(from, to, states.clone(), &theirs).unwrap();
            self.twin.join_states(from, to, states.clone(), &theirs).unwrap();
            self.record(&Record::Joined { range, theirs, states });
        }
    }

    fn job(&mut self, is_heard_of: bool) {
        let Some(job) = self.tables.next_job() else { return };
        let done = job.run();
        if is_heard_of {
            self.tables.finish_job(done).unwrap();
            self.saved();
        } else {
            self.crash();
        }
    }

    fn saved(&mut self) {
        if let Some(through) = self.checkpointer.saved(self.tables.progress())
            && let Some(job) = self.journal.cut(through)
        {
            self.counts.1 += job.file_count();
            if self.rng.u8(..4) > 0 {
                job.run().unwrap();
            }
        }
    }

    fn crash(&mut self) {
        let all = self.rng.u8(..4);
        let mut keep = || all == 0 || (all > 1 && self.rng.bool());
        let (journal, tables) = (self.journal_disk.crashed(&mut keep), self.tables_disk.crashed(&mut keep));
        self.reopen(journal, tables);
    }

    fn reopen(&mut self, journal_disk: MemoryDisk, tables_disk: MemoryDisk) {
        let durable = self.journal.durable();
        (self.journal_disk, self.tables_disk) = (journal_disk, tables_disk);
        (self.twin, ..) = recover(&self.journal_disk.fork(), &self.tables_disk.fork(), self.now, 0, usize::MAX);
        let (keys, opened, tables, bytes, from) =
            recover(&self.journal_disk, &self.tables_disk, self.now, self.rng.u64(..), self.memory_bytes);
        assert!(opened.last >= durable, "{} is durable, and {} is there", durable, opened.last);
        self.states.truncate(opened.last.0 as usize + 1);
        let (found, expected) = (state(&keys), self.states.last().unwrap());
        assert!(found == *expected, "{found:?} came back, and {expected:?} was there");
        self.counts.0 += usize::from(from > Sequence(0));
        self.ours.retain(|(at, _)| *at <= opened.last);
        self.checkpointer = Checkpointer::new(options(self.memory_bytes), tables.progress(), bytes);
        (self.keys, self.journal, self.tables) = (keys, opened.journal, tables);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whenever the process ends, and whatever it had not made durable by then: the rows and the journal make the state at the journal's end.
    #[test]
    fn what_comes_back_is_what_was_there(
        seed: u64,
        memory_bytes in prop::sample::select(vec![0, 3000, usize::MAX]),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(seed, memory_bytes);
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Crash);
        world.step(&Step::Restart);
    }
}

/// The journal does not grow, however much is written, and a restart replays little.
#[test]
fn the_journal_stays_short() {
    let mut world = World::new(7, 6000);
    for round in 0..400_u16 {
        let members = vec![(round % 5) as u8, (round % 7) as u8];
        let turn = vec![Command::Add((round % 6) as u8, members.clone()), Command::SetFields((round % 5) as u8 + 6, members, round as u8)];
        for step in [Step::Turn(turn), Step::Sync, Step::Put, Step::Job(true)] {
            world.step(&step);
        }
        if round % 100 == 99 {
            world.step(&Step::Crash);
        }
    }
    let (recovered, cut) = world.counts;
    assert!(recovered == 4 && cut >= 5, "{recovered} recoveries with a checkpoint, {cut} files cut");
    assert!(world.cold > 3, "{} keys were out of memory at most", world.cold);
    assert!(world.journal.file_count() <= 4, "{} files", world.journal.file_count());
    assert!(world.journal_disk.list().unwrap().len() <= 8);
}
