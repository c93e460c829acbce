//! The tables against a model: random batches, horizons, trims, flushes and merges in any order, restarts, and crashes at any operation of
//! the disk with any part of the unsynced writes lost.

mod tables_common;

use fastrand::Rng;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{Job, LsmTables};
use steadfast_types::tables::Tables;
use tables_common::{History, WatchedDisk, apply, check, position, settle, small};

/// One life after the other of the same tables.
struct World {
    disk: WatchedDisk,
    tables: LsmTables<WatchedDisk>,
    history: History,
    jobs: Vec<Job<WatchedDisk>>,
    random: Rng,
    /// How far the tables had said to be durable before the job during which the crash came.
    durable: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = WatchedDisk::new(MemoryDisk::new());
        let tables = LsmTables::open(&disk, small()).unwrap();
        let history = History { keys: if seed.is_multiple_of(3) { 3 } else { 60 }, ..History::default() };
        World { disk, tables, history, jobs: Vec::new(), random: Rng::with_seed(seed), durable: 0 }
    }

    fn batch(&mut self) {
        for call in self.history.extend(&mut self.random) {
            apply(&mut self.tables, &call);
            // Jobs end, and flushes are asked for, in the middle of a batch too.
            match self.random.u8(0..40) {
                0 => self.tables.flush_now(),
                1 => self.work(),
                _ => {}
            }
        }
        if self.random.u8(0..20) == 0 {
            self.check();
        }
        self.tables.commit(position(self.history.batches.len() as u64));
        match self.random.u8(0..45) {
            0..3 => self.tables.flush_now(),
            3 => self.tables.reclaim(),
            _ => {}
        }
    }

    /// Takes jobs and runs some of those taken, in any order.
    fn work(&mut self) {
        if !self.disk.has_crashed() {
            self.durable = self.tables.durable().index.0;
        }
        if self.random.bool() {
            self.jobs.extend(self.tables.next_job());
        }
        if !self.jobs.is_empty() && self.random.bool() {
            let job = self.jobs.swap_remove(self.random.usize(0..self.jobs.len()));
            self.tables.finish_job(job.run()).unwrap();
        }
    }

    fn check(&mut self) {
        let expected = self.history.at(self.history.batches.len() as u64);
        check(&self.tables.reader(), &expected, &mut self.random);
    }

    /// Opens the tables again on what is on the disk: they are as of some commit, and none that was called durable is missing.
    fn reopen(&mut self, disk: WatchedDisk) {
        self.jobs.clear();
        self.disk = disk;
        self.tables = LsmTables::open(&self.disk, small()).unwrap();
        let applied = self.tables.applied();
        assert_eq!(applied, self.tables.durable());
        assert!(applied.index.0 >= self.durable, "opened at {applied}, {} was durable", self.durable);
        self.durable = applied.index.0;
        self.history.batches.truncate(applied.index.0 as usize);
        assert_eq!(applied, if self.durable == 0 { Default::default() } else { position(self.durable) });
        self.check();
    }
}

#[test]
fn the_tables_hold_what_the_model_holds() {
    for seed in 0..9 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.batch();
            world.work();
            match world.random.u8(0..60) {
                0 => world.check(),
                1 => world.reopen(world.disk.clone()),
                _ => {}
            }
        }
        world.check();
    }
}

#[test]
fn a_crash_at_any_operation_leaves_some_commit() {
    for seed in 0..120 {
        let mut world = World::new(seed);
        for _ in 0..3 {
            let operations = world.random.u64(0..200);
            world.disk.crash_after(operations, seed);
            for _ in 0..300 {
                world.batch();
                world.work();
                if let Some(left) = world.disk.take_crash() {
                    world.reopen(WatchedDisk::new(left));
                    break;
                }
            }
        }
    }
}

#[test]
fn a_process_that_dies_may_lose_power_later() {
    let begin = |seed| {
        let mut world = World::new(seed);
        for _ in 0..30 {
            world.batch();
            settle(&mut world.tables);
        }
        world.tables.flush_now();
        world
    };
    let mut rehearsal = begin(1);
    let before = rehearsal.disk.operations();
    settle(&mut rehearsal.tables);
    for operation in 0..rehearsal.disk.operations() - before {
        let mut world = begin(1);
        world.disk.kill_after(operation);
        settle(&mut world.tables);
        world.reopen(WatchedDisk::new(world.disk.take_crash().expect("the crash came")));
        // What was read after the restart has been built upon: it stays, whatever is lost now.
        for odds in [0.0, 0.3, 0.7, 1.0] {
            let mut random = Rng::with_seed(operation);
            let left = world.disk.inner.crashed(|| random.f64() < odds);
            let tables = LsmTables::open(&left, small()).unwrap();
            assert_eq!(tables.applied(), world.tables.applied());
            check(&tables.reader(), &world.history.at(world.durable), &mut random);
        }
    }
}
