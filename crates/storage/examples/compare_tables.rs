//! Compares the tables with other stores at the state machine's work: for each put, look up the key's present row, insert a row by key
//! and one by revision; batches of 200, nothing synced but what a store syncs of itself.
//!
//! `cargo run --release -p steadfast-storage --example compare_tables -- [PUTS [PASSES]]`: the first pass puts new keys in random order,
//! each further one puts them again in another. Every store runs in a process of its own, so that its memory is its own. The others
//! are given the easier task: one version of a key, where the tables keep all.
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Database as Redb, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use steadfast_storage::disk::FileDisk;
use steadfast_storage::tables::{Job, JobDone, LsmReader, LsmTables, Pressure, TablesOptions};
use steadfast_types::tables::{TableId, Tables, TablesReader};
use steadfast_types::{LogIndex, LogPosition, Term};

const BATCH: u64 = 200;
const VALUE_BYTES: usize = 270;
const KEYS: TableId = TableId(1);
const HISTORY: TableId = TableId(2);
const ENGINES: [&str; 4] = ["tables", "redb", "fjall", "btreemap"];

type Failure = Box<dyn std::error::Error>;

/// One put: the key is one of `count`, `revision` never repeats.
struct Put {
    key: Bytes,
    revision: u64,
    value: Bytes,
}

/// A store under test.
trait Engine: Sized {
    fn open(path: &Path) -> Result<Self, Failure>;
    /// Does the puts; how many of their keys were there before.
    fn batch(&mut self, puts: Vec<Put>) -> Result<u64, Failure>;
    /// Waits for background work, makes all durable, and closes.
    fn close(self) -> Result<(), Failure>;
    /// A lookup after opening again, so that opening is not put off.
    fn find(&self, key: &[u8]) -> Result<bool, Failure>;
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    if let Some(engine) = arguments.iter().position(|argument| argument == "--engine").map(|at| arguments[at + 1].as_str()) {
        let (puts, passes) = (number(0, 0)?, number(1, 1)?);
        return match engine {
            "tables" => measure::<Lsm>(engine, puts, passes),
            "redb" => measure::<RedbStore>(engine, puts, passes),
            "fjall" => measure::<Fjall>(engine, puts, passes),
            "btreemap" => measure::<Map>(engine, puts, passes),
            _ => Err(format!("no engine {engine}: one of {ENGINES:?}").into()),
        };
    }
    let (puts, passes) = (number(0, 1_000_000)?, number(1, 2)?);
    println!("{puts} puts of {VALUE_BYTES} bytes a pass, batches of {BATCH}");
    println!("engine    pass   puts/s  cpu us/put  caller us/put  batch p99 us  peak MiB  end MiB  disk MiB  open ms");
    for engine in ENGINES {
        let status = Command::new(std::env::current_exe()?)
            .args([puts.to_string(), passes.to_string(), "--engine".into(), engine.into()])
            .status()?;
        if !status.success() {
            return Err(format!("{engine} failed: {status}").into());
        }
    }
    Ok(())
}

fn key(number: u64) -> Bytes {
    // A bijection on 64 bits: random order without repetition.
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Bytes::from(format!("k{:016x}", (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)))
}

fn puts(random: &mut fastrand::Rng, pass: u64, pass_puts: u64, batch: u64) -> Vec<Put> {
    let put = |i: u64| {
        let number = if pass == 0 { i } else { random.u64(0..pass_puts) };
        let mut value = vec![0; VALUE_BYTES];
        random.fill(&mut value);
        Put { key: key(number), revision: pass * pass_puts + i + 1, value: value.into() }
    };
    (batch * BATCH..(batch + 1) * BATCH).map(put).collect()
}

fn measure<E: Engine>(name: &str, pass_puts: u64, passes: u64) -> Result<(), Failure> {
    let directory = tempfile::tempdir_in(std::env::var("COMPARE_DIR").unwrap_or_else(|_| "/tmp".into()))?;
    let mut engine = E::open(directory.path())?;
    let mut random = fastrand::Rng::with_seed(7);
    for pass in 0..passes {
        let mut latencies = Vec::new();
        let (mut making_cpu, mut making, mut found) = (Duration::ZERO, Duration::ZERO, 0);
        let (begin, cpu, caller_cpu) = (Instant::now(), process_cpu()?, thread_cpu()?);
        for batch in 0..pass_puts / BATCH {
            // Making the puts is not the store's work.
            let (wall, before) = (Instant::now(), thread_cpu()?);
            let puts = puts(&mut random, pass, pass_puts, batch);
            making += wall.elapsed();
            making_cpu += thread_cpu()? - before;
            let start = Instant::now();
            found += engine.batch(puts)?;
            latencies.push(start.elapsed());
        }
        assert_eq!(found, if pass == 0 { 0 } else { pass_puts }, "the present rows are found");
        let elapsed = begin.elapsed() - making;
        let caller = thread_cpu()? - caller_cpu - making_cpu;
        let total = process_cpu()? - cpu - making_cpu;
        latencies.sort();
        let per_put = |time: Duration| time.as_secs_f64() * 1e6 / pass_puts as f64;
        print!("{name:<9} {pass:>4} {:>8.0} {:>11.2} {:>14.2} ", pass_puts as f64 / elapsed.as_secs_f64(), per_put(total), per_put(caller));
        print!("{:>13.0} {:>9} {:>8}", latencies[latencies.len() * 99 / 100].as_secs_f64() * 1e6, memory("VmHWM")?, memory("VmRSS")?);
        if pass + 1 < passes {
            println!();
        }
    }
    engine.close()?;
    let disk = directory_bytes(directory.path())? >> 20;
    let start = Instant::now();
    let engine = E::open(directory.path())?;
    let is_there = engine.find(&key(1))?;
    println!(" {disk:>9} {:>8.1}", start.elapsed().as_secs_f64() * 1e3);
    assert!(is_there || name == "btreemap", "the rows outlive the process");
    Ok(())
}

/// The CPU time of all threads so far.
fn process_cpu() -> Result<Duration, Failure> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        total += schedstat(&task?.path().join("schedstat"));
    }
    Ok(Duration::from_nanos(total))
}

fn thread_cpu() -> Result<Duration, Failure> {
    Ok(Duration::from_nanos(schedstat(Path::new("/proc/thread-self/schedstat"))))
}

fn schedstat(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A line of the process's status, MiB.
fn memory(field: &str) -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib >> 10)
}

fn directory_bytes(path: &Path) -> Result<u64, Failure> {
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        total += if entry.file_type()?.is_dir() { directory_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}

/// The tables, with one thread that does their jobs.
struct Lsm {
    tables: LsmTables<FileDisk>,
    reader: LsmReader<FileDisk>,
    jobs: Sender<Job<FileDisk>>,
    done: Receiver<JobDone<FileDisk>>,
    out: usize,
    applied: u64,
}

impl Lsm {
    fn pump(&mut self) -> Result<(), Failure> {
        while let Ok(done) = self.done.try_recv() {
            self.out -= 1;
            self.tables.finish_job(done)?;
        }
        while let Some(job) = self.tables.next_job() {
            self.out += 1;
            self.jobs.send(job)?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let done = self.done.recv()?;
        self.out -= 1;
        self.tables.finish_job(done)?;
        self.pump()
    }
}

impl Engine for Lsm {
    fn open(path: &Path) -> Result<Self, Failure> {
        let mut tables = LsmTables::open(&FileDisk::open(path)?, TablesOptions::default())?;
        tables.set_horizon(KEYS, 0);
        let (jobs, work) = channel::<Job<FileDisk>>();
        let (finished, done) = channel();
        std::thread::spawn(move || work.into_iter().try_for_each(|job| finished.send(job.run())));
        let applied = tables.applied().index.0;
        Ok(Lsm { reader: tables.reader(), tables, jobs, done, out: 0, applied })
    }

    fn batch(&mut self, puts: Vec<Put>) -> Result<u64, Failure> {
        let mut found = 0;
        for put in puts {
            found += u64::from(self.reader.get(KEYS, &put.key, u64::MAX)?.is_some());
            let history = [&put.revision.to_be_bytes()[..], &[0; 4]].concat();
            self.tables.insert(HISTORY, history.into(), put.revision, Some(put.key.clone()));
            self.tables.insert(KEYS, put.key, put.revision, Some(put.value));
        }
        self.applied += 1;
        self.tables.commit(LogPosition::new(Term(1), LogIndex(self.applied)));
        self.pump()?;
        while self.tables.pressure() == Pressure::Behind {
            self.wait()?;
        }
        Ok(found)
    }

    fn close(mut self) -> Result<(), Failure> {
        self.tables.flush_now();
        self.pump()?;
        while self.out > 0 {
            self.wait()?;
        }
        Ok(())
    }

    fn find(&self, key: &[u8]) -> Result<bool, Failure> {
        Ok(self.reader.get(KEYS, key, u64::MAX)?.is_some())
    }
}

const REDB_KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");
const REDB_HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");

struct RedbStore(Redb);

impl Engine for RedbStore {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(RedbStore(Redb::builder().set_cache_size(32 << 20).create(path.join("redb"))?))
    }

    fn batch(&mut self, puts: Vec<Put>) -> Result<u64, Failure> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::None)?;
        let mut found = 0;
        {
            let mut keys = transaction.open_table(REDB_KEYS)?;
            let mut history = transaction.open_table(REDB_HISTORY)?;
            for put in puts {
                found += u64::from(keys.get(&put.key[..])?.is_some());
                history.insert(put.revision, &put.key[..])?;
                keys.insert(&put.key[..], &put.value[..])?;
            }
        }
        transaction.commit()?;
        Ok(found)
    }

    fn close(self) -> Result<(), Failure> {
        Ok(self.0.begin_write()?.commit()?)
    }

    fn find(&self, key: &[u8]) -> Result<bool, Failure> {
        Ok(self.0.begin_read()?.open_table(REDB_KEYS)?.get(key)?.is_some())
    }
}

struct Fjall {
    database: Database,
    keys: Keyspace,
    history: Keyspace,
}

impl Engine for Fjall {
    fn open(path: &Path) -> Result<Self, Failure> {
        let database = Database::builder(path.join("fjall")).cache_size(16 << 20).open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(16 << 20);
        Ok(Fjall { keys: database.keyspace("keys", options)?, history: database.keyspace("history", options)?, database })
    }

    fn batch(&mut self, puts: Vec<Put>) -> Result<u64, Failure> {
        let mut batch = self.database.batch();
        let mut found = 0;
        for put in puts {
            found += u64::from(self.keys.get(&put.key)?.is_some());
            batch.insert(&self.history, put.revision.to_be_bytes(), &put.key[..]);
            batch.insert(&self.keys, &put.key[..], &put.value[..]);
        }
        batch.commit()?;
        Ok(found)
    }

    fn close(self) -> Result<(), Failure> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn find(&self, key: &[u8]) -> Result<bool, Failure> {
        Ok(self.keys.get(key)?.is_some())
    }
}

#[derive(Default)]
struct Map {
    keys: BTreeMap<Bytes, Bytes>,
    history: BTreeMap<u64, Bytes>,
}

impl Engine for Map {
    fn open(_: &Path) -> Result<Self, Failure> {
        Ok(Map::default())
    }

    fn batch(&mut self, puts: Vec<Put>) -> Result<u64, Failure> {
        let mut found = 0;
        for put in puts {
            self.history.insert(put.revision, put.key.clone());
            found += u64::from(self.keys.contains_key(&put.key));
            self.keys.insert(put.key, put.value);
        }
        Ok(found)
    }

    fn close(self) -> Result<(), Failure> {
        Ok(())
    }

    fn find(&self, key: &[u8]) -> Result<bool, Failure> {
        Ok(self.keys.contains_key(key))
    }
}
