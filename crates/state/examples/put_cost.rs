//! What applying a put costs beside the tables' own time: batches of 200 puts of 256 bytes over 100,000 random keys, on tables that do next to
//! nothing. Run with `cargo run --release -p steadfast-state --example put_cost`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures time, outside of any core")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use steadfast_state::command::{Batch, Command, Origin, Proposal, Put};
use steadfast_state::{Answer, Gather, State};
use steadfast_types::tables::{KeyRange, Row, TableId, Tables, TablesError, TablesReader};
use steadfast_types::wire::Wire;
use steadfast_types::{Entry, LogPosition, NodeId, Payload, Rng, Term};

/// The user keys' table, the only one that a put reads.
const KEYS: TableId = TableId(1);

type Newest = HashMap<Bytes, (u64, Bytes)>;

/// Keeps the newest row of each user key, and forgets everything else.
#[derive(Clone, Default)]
struct Forgetful {
    rows: Arc<Mutex<Newest>>,
    applied: LogPosition,
}

impl Tables for Forgetful {
    type Reader = Forgetful;
    fn reader(&self) -> Forgetful {
        self.clone()
    }
    fn insert(&mut self, table: TableId, key: Bytes, version: u64, value: Option<Bytes>) {
        if let (KEYS, Some(value)) = (table, value) {
            self.rows.lock().expect("one thread").insert(key, (version, value));
        }
    }
    fn commit(&mut self, applied: LogPosition) {
        self.applied = applied;
    }
    fn applied(&self) -> LogPosition {
        self.applied
    }
    fn durable(&self) -> LogPosition {
        LogPosition::default()
    }
    fn set_horizon(&mut self, _table: TableId, _version: u64) {}
    fn trim(&mut self, _table: TableId, _key: Bytes) {}
}

impl TablesReader for Forgetful {
    type Scan = std::iter::Empty<Result<Row, TablesError>>;
    fn get(&self, table: TableId, key: &[u8], _at: u64) -> Result<Option<Row>, TablesError> {
        let rows = self.rows.lock().expect("one thread");
        let row = |(key, (version, value)): (&Bytes, &(u64, Bytes))| Row { key: key.clone(), version: *version, value: value.clone() };
        Ok(if table == KEYS { rows.get_key_value(key).map(row) } else { None })
    }
    fn scan(&self, _table: TableId, _range: KeyRange, _at: u64) -> Self::Scan {
        std::iter::empty()
    }
    fn pinned(&self) -> Self {
        self.clone()
    }
}

const BATCHES: usize = 3_000;
const PUTS: u64 = 200;

fn key(rng: &mut Rng) -> Bytes {
    format!("/registry/keys/{:08}", rng.u32(..100_000)).into()
}

fn batch(rng: &mut Rng) -> Bytes {
    let mut put = |request| {
        let put = Put { key: key(rng), value: vec![7; 256].into(), ..Put::default() };
        Proposal { origin: Origin { node: NodeId(1), incarnation: 1, request }, command: Command::Put(put) }
    };
    Batch { proposals: (0..PUTS).map(&mut put).collect() }.to_wire().into()
}

/// Times each batch; the median of the later half, in nanoseconds a put, because other work on the machine disturbs some.
fn median_ns(mut one: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<Duration> = (0..BATCHES).map(|_| one()).skip(BATCHES / 2).collect();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e9 / PUTS as f64
}

/// The tables' own time: the same reads and writes without the state machine.
fn tables_alone() -> f64 {
    let (mut tables, mut rng, mut version) = (Forgetful::default(), Rng::with_seed(1), 0);
    median_ns(|| {
        let rows: Vec<(Bytes, Bytes)> = (0..PUTS).map(|_| (key(&mut rng), vec![7; 256].into())).collect();
        let start = Instant::now();
        for (key, value) in rows {
            version += 1;
            black_box(tables.get(KEYS, &key, u64::MAX).expect("never fails"));
            tables.insert(KEYS, key, version, Some(value));
        }
        start.elapsed()
    })
}

fn whole(node: u64, events: Gather) -> f64 {
    let mut state = State::open(Forgetful::default()).expect("empty tables open");
    let mut rng = Rng::with_seed(1);
    median_ns(|| {
        let index = state.applied().index.next();
        let entry = Entry { term: Term(1), index, payload: Payload::Batch(batch(&mut rng)) };
        let answer = Answer { node: NodeId(node), incarnation: 1, events };
        let start = Instant::now();
        let applied = state.apply(&entry, answer).expect("puts apply");
        let took = start.elapsed();
        black_box(applied);
        took
    })
}

fn main() {
    let alone = tables_alone();
    for (what, node, events) in [
        ("a bystander", 2, Gather::Nothing),
        ("the node that answers", 1, Gather::Nothing),
        ("one with a watch hub", 1, Gather::Events),
        ("one whose watchers want to know what was before", 1, Gather::EventsWithPrevious),
    ] {
        println!("{what}: {:.0} ns a put beside the tables' {alone:.0} ns", whole(node, events) - alone);
    }
}
