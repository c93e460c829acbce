//! What it costs that keys are more than memory holds: `cargo run --release -p steadfast-checkpoints --example larger -- 4000000 4`.
//!
//! Keys with values of 100 bytes are written and checkpointed, and then read: all in memory, and again with a limit of a part of what that took. The rows are
//! in files of a directory for temporary files, and what the system has of these in memory is not counted.

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use steadfast_available::{Eviction, Keyspace, Lifetime, Until};
use steadfast_checkpoints::{CheckpointOptions, Checkpointer, RowTables};
use steadfast_crdt::Actor;
use steadfast_storage::disk::FileDisk;
use steadfast_storage::journal::Sequence;
use steadfast_storage::tables::TablesOptions;
use steadfast_types::Rng;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Commands in a turn.
const TURN: usize = 64;

/// How long each kind of commands is measured.
const MEASURED: Duration = Duration::from_secs(5);

/// Bytes of memory that are resident, without the pages of files.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split(' ').map(|pages| pages.parse::<u64>().unwrap_or(0)).skip(1);
    let (resident, of_files) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    (resident - of_files) * 4096
}

fn name(key: usize) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let (mut rest, mut at) = (key, name.len());
    while rest > 0 {
        at -= 1;
        name[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// Chooses by Zipf's law with an exponent near one (0.99): the n-th most used key is used about 1/n as often as the first (Gray et al., SIGMOD 1994).
struct Zipf {
    count: f64,
    sum: f64,
    two: f64,
    eta: f64,
}

const EXPONENT: f64 = 0.99;

impl Zipf {
    fn new(count: usize) -> Self {
        let sum_to = |count: usize| (1..=count).map(|n| (n as f64).powf(-EXPONENT)).sum::<f64>();
        let (sum, two) = (sum_to(count), sum_to(2));
        let count = count as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - EXPONENT)) / (1.0 - two / sum);
        Zipf { count, sum, two, eta }
    }

    fn choose(&self, rng: &mut Rng) -> usize {
        let u = rng.f64();
        let place = u * self.sum;
        let chosen = match place {
            ..1.0 => 0.0,
            _ if place < self.two => 1.0,
            _ => self.count * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - EXPONENT)),
        };
        // The most used keys lie anywhere.
        (chosen as usize).wrapping_mul(2_654_435_761) % self.count as usize
    }
}

/// A keyspace and its tables, without a journal: what is appended counts as durable.
struct Store {
    keys: Keyspace,
    checkpointer: Checkpointer,
    tables: RowTables<FileDisk>,
    appended: u64,
    bytes: u64,
    /// The longest time that a turn's end took.
    longest: Duration,
}

impl Store {
    fn open(disk: &FileDisk, memory_bytes: usize) -> Self {
        let tables = RowTables::open(disk, TablesOptions::default()).expect("tables");
        let loaded = tables.load_within(Actor::default(), memory_bytes).expect("rows");
        let options = CheckpointOptions { memory_bytes, ..CheckpointOptions::default() };
        let checkpointer = Checkpointer::new(options, tables.progress(), 0);
        let mut keys = loaded.keys;
        keys.set_now(1_800_000_000_000);
        Store { keys, checkpointer, tables, appended: loaded.from.0, bytes: 0, longest: Duration::ZERO }
    }

    fn end_turn(&mut self) {
        while let Some(delta) = self.keys.take_delta() {
            self.appended += 1;
            self.bytes += delta.body.len() as u64;
        }
        let start = Instant::now();
        self.checkpointer.turn_ended(&mut self.keys, &mut (), Sequence(self.appended), self.bytes);
        self.longest = self.longest.max(start.elapsed());
        while let Some(batch) = self.checkpointer.next_batch(Sequence(self.appended)) {
            self.tables.put(&batch);
        }
        while let Some(job) = self.tables.next_job() {
            self.tables.finish_job(job.run()).expect("the disk works");
        }
        self.checkpointer.saved(self.tables.progress());
        assert_eq!(self.keys.failure(), None);
    }

    /// Everything is durable, and a limit is kept.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.checkpointer.begin(&mut self.keys, &mut (), Sequence(self.appended), self.bytes);
            self.end_turn();
            while self.checkpointer.wants_turn() {
                self.end_turn();
            }
        }
        self.end_turn();
    }

    fn report(&self, what: &str, before: u64) {
        let mebibytes = |bytes: u64| bytes >> 20;
        println!(
            "{what}: {} MiB resident, {} by its own account; {} of {} keys cold",
            mebibytes(resident().saturating_sub(before)),
            mebibytes(self.keys.used_bytes() as u64),
            self.keys.cold(),
            self.keys.len()
        );
    }

    fn measure(&mut self, what: &str, mut command: impl FnMut(&mut Keyspace)) {
        self.longest = Duration::ZERO;
        let (start, mut count) = (Instant::now(), 0_u64);
        // The first half makes the keys warm that are used.
        let mut half = (Duration::ZERO, 0);
        while start.elapsed() < MEASURED {
            (0..TURN).for_each(|_| command(&mut self.keys));
            count += TURN as u64;
            self.end_turn();
            if half.1 == 0 && start.elapsed() >= MEASURED / 2 {
                half = (start.elapsed(), count);
            }
        }
        let rate = (count - half.1) as f64 / (start.elapsed() - half.0).as_secs_f64();
        println!("{what:>24}: {rate:9.0} a second; the longest end of a turn took {:?}", self.longest);
    }

    fn measure_all(&mut self, count: usize) {
        let (zipf, mut rng) = (Zipf::new(count), Rng::with_seed(1));
        let get = |keys: &Keyspace, key: usize| {
            black_box(keys.text(&name(key)).is_ok_and(|text| text.is_some_and(|text| text.text().len() == 100)));
        };
        self.measure("GET, any key", |keys| get(keys, rng.usize(..count)));
        self.measure("GET, Zipf", |keys| get(keys, zipf.choose(&mut rng)));
        self.measure("SET of one in ten, Zipf", |keys| {
            let key = zipf.choose(&mut rng);
            if rng.u8(..10) > 0 {
                return get(keys, key);
            }
            keys.set(&name(key), &[b'w'; 100], Lifetime::Until(Until::Ever)).expect("times are left");
        });
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |number| number.parse::<usize>().expect("a number"));
    let (count, part, limit) = (number(4_000_000), number(4), number(0));
    let directory =
        arguments.next().map_or_else(|| std::env::temp_dir().join(format!("steadfast-larger-{}", std::process::id())), PathBuf::from);
    let disk = FileDisk::open(&directory).expect("a directory");
    let before = resident();
    if limit > 0 {
        return with_limit(&disk, count, limit, before);
    }
    let mut store = Store::open(&disk, usize::MAX);
    let start = Instant::now();
    for key in 0..count {
        store.keys.set(&name(key), &[b'v'; 100], Lifetime::Until(Until::Ever)).expect("times are left");
        if key % TURN == 0 {
            store.end_turn();
        }
    }
    store.settle();
    println!("{count} keys written and checkpointed in {:?}", start.elapsed());
    store.report("all in memory", before);
    store.measure_all(count);
    store.settle();
    let limit = store.keys.used_bytes() / part;
    let start = Instant::now();
    while store.keys.evict(limit, usize::MAX) == Eviction::More {}
    println!("{} keys went out of memory in {:?}", store.keys.cold(), start.elapsed());
    drop((store, disk));
    // Another process, so that nothing of this one is in its memory.
    let arguments = [count.to_string(), part.to_string(), limit.to_string()];
    let mut other = Command::new(std::env::current_exe().expect("this program"));
    other.args(arguments).arg(&directory).status().expect("this program runs");
    fs::remove_dir_all(&directory).expect("the directory");
}

fn with_limit(disk: &FileDisk, count: usize, limit: usize, before: u64) {
    let start = Instant::now();
    let mut store = Store::open(disk, limit);
    println!("\nopened in {:?}, with a limit of {} MiB", start.elapsed(), limit >> 20);
    store.report("a part in memory", before);
    store.measure_all(count);
    store.report("afterwards", before);
}
