//! A keyspace whose keys go out of memory at random, beside one that keeps them all: nobody can tell them apart.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Command, START, actor, commands, name, run, scanned, shown};
use proptest::prelude::*;
use steadfast_available::{ColdRows, Delta, Eviction, Hash, Keyspace, Lifetime, Touched, Unreadable, Until, hash_of};
use steadfast_crdt::VersionVector;
use steadfast_types::Rng;

/// Rows in a map.
#[derive(Debug, Default)]
struct Rows {
    rows: Mutex<BTreeMap<Vec<u8>, Bytes>>,
    /// How often something was read.
    reads: AtomicUsize,
}

impl ColdRows for Rows {
    fn row(&self, name: &[u8]) -> Result<Option<Bytes>, Unreadable> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.rows.lock().unwrap().get(name).cloned())
    }

    fn rows(&self, from: &[u8], to: Hash, each: &mut dyn FnMut(&[u8], Bytes) -> bool) -> Result<(), Unreadable> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let rows = self.rows.lock().unwrap().range(from.to_vec()..).map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>();
        for (name, value) in rows {
            if name[..4] > to.to_be_bytes()[..] || !each(&name, value) {
                break;
            }
        }
        Ok(())
    }
}

/// A keyspace whose rows are checkpointed.
struct Cold {
    keys: Keyspace,
    rows: Arc<Rows>,
    taking: Option<Touched>,
}

impl Cold {
    fn new() -> Self {
        let (mut keys, rows) = (Keyspace::new(actor(1)), Arc::new(Rows::default()));
        keys.set_now(START);
        keys.note_rows();
        keys.set_cold_rows(rows.clone());
        Cold { keys, rows, taking: None }
    }

    /// A checkpoint begins, if none is being made; or it takes some rows, as they are now.
    fn checkpoint(&mut self, count: usize) {
        let touched = self.taking.get_or_insert_with(|| self.keys.take_touched());
        for _ in 0..count {
            let Some(name) = touched.next_name().map(<[u8]>::to_vec) else {
                self.taking = None;
                return self.keys.rows_are_durable();
            };
            let mut value = Vec::new();
            let is_there = self.keys.put_row(&name, &mut value);
            let mut rows = self.rows.rows.lock().unwrap();
            if is_there {
                rows.insert(name, value.into())
            } else {
                rows.remove(&name)
            };
        }
    }

    /// Everything is made durable.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.checkpoint(0);
            while self.taking.is_some() {
                self.checkpoint(100);
            }
        }
    }

    /// All goes out of memory that may.
    fn evict_all(&mut self) {
        self.settle();
        while self.keys.evict(0, usize::MAX) == Eviction::More {}
    }
}

#[derive(Clone, Debug)]
enum Step {
    Run(Vec<Command>),
    /// Another replica runs commands, and its deltas are applied.
    Hear(Vec<Command>),
    /// Another replica's states of a range are joined.
    Join(u32, u32),
    Tell,
    Collect,
    Tick(u64),
    Checkpoint(usize),
    Evict(usize, usize),
    /// All is made durable, and goes out of memory.
    EvictAll,
    Look(u8),
    Scan(usize),
    Choose(u64),
    Fingerprint(u8),
    Digest(u32, u32),
    States(u32, u32),
    Compare,
}

fn steps(keys: u8) -> impl Strategy<Value = Vec<Step>> {
    let turn = move || prop::collection::vec(commands(keys), 1..4);
    let range = || (any::<u32>(), any::<u32>()).prop_map(|(one, other)| (one.min(other), one.max(other)));
    let step = prop_oneof![
        10 => turn().prop_map(Step::Run),
        3 => turn().prop_map(Step::Hear),
        1 => range().prop_map(|(from, to)| Step::Join(from, to)),
        1 => Just(Step::Tell),
        1 => Just(Step::Collect),
        2 => (1..50_u64).prop_map(Step::Tick),
        6 => (0..12_usize).prop_map(Step::Checkpoint),
        6 => (0..1500_usize, 1..40_usize).prop_map(|(bytes, looks)| Step::Evict(bytes, looks)),
        4 => Just(Step::EvictAll),
        4 => (0..keys).prop_map(Step::Look),
        1 => (1..8_usize).prop_map(Step::Scan),
        1 => any::<u64>().prop_map(Step::Choose),
        1 => (0..keys).prop_map(Step::Fingerprint),
        1 => range().prop_map(|(from, to)| Step::Digest(from, to)),
        1 => range().prop_map(|(from, to)| Step::States(from, to)),
        1 => Just(Step::Compare),
    ];
    prop::collection::vec(step, 1..60)
}

const KEYS: u8 = 9;

struct World {
    cold: Cold,
    twin: Keyspace,
    other: Keyspace,
    /// Own deltas that the other has not seen.
    ours: Vec<Delta>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let [mut twin, mut other] = [1, 2].map(|place| Keyspace::new(actor(place)));
        twin.set_now(START);
        twin.note_rows();
        other.set_now(START);
        World { cold: Cold::new(), twin, other, ours: Vec::new(), now: START }
    }

    /// Both keyspaces.
    fn both<R: PartialEq + std::fmt::Debug>(&mut self, mut step: impl FnMut(&mut Keyspace) -> R) -> R {
        let (one, other) = (step(&mut self.cold.keys), step(&mut self.twin));
        assert_eq!(one, other);
        one
    }

    fn end_turn(&mut self) {
        while let Some(delta) = self.cold.keys.take_delta() {
            self.ours.push(delta);
        }
        while self.twin.take_delta().is_some() {}
    }

    fn hear(&mut self) {
        while let Some(delta) = self.other.take_delta() {
            // What is early here is early there.
            _ = self.both(|keys| keys.apply(&delta));
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Run(commands) => commands.iter().for_each(|command| _ = self.both(|keys| run(keys, command))),
            Step::Hear(commands) => {
                commands.iter().for_each(|command| _ = run(&mut self.other, command));
                self.hear();
            }
            Step::Join(from, to) => {
                let (states, theirs) = (self.other.states(*from, *to, usize::MAX).unwrap(), self.other.context().vector().clone());
                self.both(|keys| keys.join_states(*from, *to, states.clone(), &theirs)).unwrap();
            }
            Step::Tell => {
                for delta in self.ours.drain(..) {
                    _ = self.other.apply(&delta);
                }
            }
            Step::Collect => {
                let stable = self.other.context().vector().meet(self.twin.context().vector());
                if self.twin.context().vector().includes(self.other.context().vector()) {
                    self.both(|keys| while !keys.collect(&stable) {});
                }
            }
            Step::Tick(ms) => {
                self.now += ms;
                let now = self.now;
                self.both(|keys| keys.set_now(now));
                self.other.set_now(now);
            }
            Step::Checkpoint(count) => self.cold.checkpoint(*count),
            Step::Evict(bytes, looks) => _ = self.cold.keys.evict(*bytes, *looks),
            Step::EvictAll => self.cold.evict_all(),
            Step::Look(key) => _ = self.both(|keys| shown(keys, *key)),
            Step::Scan(count) => _ = self.both(|keys| scanned(keys, *count)),
            Step::Choose(seed) => {
                // Which it is depends on the order in which they are held.
                let chosen = self.cold.keys.random_key(&mut Rng::with_seed(*seed)).map(|name| name.to_vec());
                assert_eq!(chosen.is_some(), self.twin.random_key(&mut Rng::with_seed(*seed)).is_some());
                assert!(chosen.is_none_or(|name| self.twin.contains(&name)));
            }
            Step::Fingerprint(key) => _ = self.both(|keys| keys.fingerprint(&name(*key))),
            Step::Digest(from, to) => _ = self.both(|keys| keys.digest(*from, *to)),
            Step::States(from, to) => {
                let states = self.cold.keys.states(*from, *to, usize::MAX).unwrap();
                let seen = self.twin.context().vector().clone();
                let mut copy = Keyspace::new(actor(7));
                copy.join_states(*from, *to, states, &seen).unwrap();
                assert_eq!(copy.digest(*from, *to), self.twin.digest(*from, *to));
            }
            Step::Compare => self.compare(),
        }
        self.end_turn();
        self.both(|keys| (keys.len(), keys.expiring(), keys.next_deadline(), keys.last_write()));
        assert_eq!(self.cold.keys.failure(), None);
    }

    fn compare(&mut self) {
        let before = self.cold.keys.cold();
        self.both(|keys| keys.digest(0, Hash::MAX));
        self.both(|keys| keys.canonical());
        self.both(|keys| keys.keys().map(|name| name.to_vec()).collect::<BTreeSet<_>>());
        // None of this brings keys back.
        assert_eq!(self.cold.keys.cold(), before);
        (0..KEYS).for_each(|key| _ = self.both(|keys| shown(keys, key)));
        self.both(|keys| keys.canonical());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_can_tell_which_keys_are_in_memory(steps in steps(KEYS)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.compare();
        world.cold.evict_all();
        world.compare();
        // All can be cold, but for keys of which something is kept: what was cut from counters that have gone on.
        let all = world.twin.seen();
        world.both(|keys| while !keys.collect(&all) {});
        world.cold.evict_all();
        if world.twin.digest(0, Hash::MAX).remains == 0 {
            prop_assert_eq!(world.cold.keys.cold(), world.twin.len());
        }
        world.compare();
    }
}

fn text(key: u32) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Many keys, so that parts split while some of theirs are cold.
    #[test]
    fn parts_split_whatever_is_cold(
        rounds in prop::collection::vec((0..3_000_u32, 1..400_u32, 0..4_u8, 0..60_000_usize), 1..24),
        range: (Hash, Hash),
        count in 1..300_usize,
    ) {
        let (mut cold, mut twin) = (Cold::new(), Keyspace::new(actor(1)));
        twin.set_now(START);
        for (round, (first, many, what, limit)) in rounds.into_iter().enumerate() {
            for keys in [&mut cold.keys, &mut twin] {
                for key in first..first + many {
                    match what {
                        0 => _ = keys.delete(&text(key)).unwrap(),
                        1 => keys.set(&text(key), b"later", Lifetime::Until(Until::At(START + u64::from(key)))).unwrap(),
                        _ => keys.set(&text(key), format!("{round}").as_bytes(), Lifetime::Until(Until::Ever)).unwrap(),
                    }
                }
                while keys.take_delta().is_some() {}
            }
            if round % 3 > 0 {
                cold.settle();
            }
            let before = cold.keys.used_bytes();
            let eviction = cold.keys.evict(limit, 5_000);
            prop_assert!(eviction != Eviction::Enough || cold.keys.used_bytes() <= limit);
            prop_assert!(cold.keys.used_bytes() <= before + 20_000);
            let (from, to) = (range.0.min(range.1), range.0.max(range.1));
            prop_assert_eq!(cold.keys.digest(from, to), twin.digest(from, to));
            prop_assert_eq!(cold.keys.digest(0, Hash::MAX), twin.digest(0, Hash::MAX));
            prop_assert_eq!(scanned(&cold.keys, count), scanned(&twin, count));
            for key in (first..first + many).step_by(7) {
                prop_assert_eq!(cold.keys.contains(&text(key)), twin.contains(&text(key)));
            }
        }
        for keys in [&mut cold.keys, &mut twin] {
            keys.set_now(START + 1_000);
            while keys.expire_some(100).unwrap() > 0 {}
        }
        prop_assert_eq!(cold.keys.canonical(), twin.canonical());
        prop_assert_eq!((cold.keys.len(), cold.keys.expiring()), (twin.len(), twin.expiring()));
        cold.keys.clear().unwrap();
        twin.clear().unwrap();
        prop_assert_eq!((cold.keys.len(), cold.keys.cold()), (0, 0));
        prop_assert_eq!(cold.keys.digest(0, Hash::MAX), twin.digest(0, Hash::MAX));
        prop_assert_eq!(cold.keys.failure(), None);
    }
}

/// Names that share a hash, two by two.
fn twins() -> Vec<[Vec<u8>; 2]> {
    let mut by_hash = BTreeMap::new();
    let pairs = (0..250_000_u32).filter_map(|key| Some([text(by_hash.insert(hash_of(&text(key)), key)?), text(key)]));
    pairs.collect()
}

#[test]
fn keys_of_one_hash_go_and_come_together() {
    let twins = twins();
    assert!(twins.len() >= 2, "{}", twins.len());
    let mut rng = Rng::with_seed(1);
    let (mut cold, mut twin) = (Cold::new(), Keyspace::new(actor(1)));
    twin.set_now(START);
    for round in 0..4_000 {
        let pair = &twins[rng.usize(..2)];
        let (key, what) = (&pair[rng.usize(..2)], rng.u8(..8));
        for keys in [&mut cold.keys, &mut twin] {
            match what {
                0 | 1 => _ = keys.delete(key).unwrap(),
                2 | 3 => keys.set(key, &[b'v'; 3], Lifetime::Until(Until::Ever)).unwrap(),
                4 => _ = keys.add_int(key, 1),
                5 => _ = keys.write_members(key, |set, delta, _| set.add(delta, &[what])),
                _ => {}
            }
            while keys.take_delta().is_some() {}
        }
        match rng.u8(..8) {
            0..3 => cold.evict_all(),
            3 => _ = cold.keys.evict(0, 10),
            4 => cold.checkpoint(1),
            _ => {}
        }
        for key in pair {
            assert_eq!(
                cold.keys.text(key).map(|text| text.map(|text| text.text().into_owned())),
                twin.text(key).map(|text| text.map(|text| text.text().into_owned())),
                "{round}"
            );
        }
        assert_eq!(cold.keys.digest(0, Hash::MAX), twin.digest(0, Hash::MAX), "{round}");
        assert_eq!(scanned(&cold.keys, 1), scanned(&twin, 1));
        assert_eq!((cold.keys.len(), cold.keys.failure()), (twin.len(), None));
    }
}

/// `count` plain keys, all of them cold.
fn all_cold(count: u32) -> Cold {
    let mut cold = Cold::new();
    (0..count).for_each(|key| cold.keys.set(&text(key), &[b'v'; 100], Lifetime::Until(Until::Ever)).unwrap());
    while cold.keys.take_delta().is_some() {}
    cold.evict_all();
    assert_eq!(cold.keys.cold(), count as usize);
    cold
}

#[test]
fn a_cold_key_takes_few_bytes() {
    let count = 100_000;
    let per_key = all_cold(count).keys.used_bytes() / count as usize;
    assert!(per_key <= 20, "{per_key} bytes");
}

#[test]
fn what_is_counted_compared_or_named_is_not_brought_back() {
    let mut cold = all_cold(2_000);
    cold.rows.reads.store(0, Ordering::Relaxed);
    assert_eq!((cold.keys.len(), cold.keys.digest(0, Hash::MAX).keys), (2_000, 2_000));
    assert!(!cold.keys.contains(b"none") && cold.keys.digest(1, Hash::MAX / 3).keys > 100);
    assert_eq!(cold.rows.reads.load(Ordering::Relaxed), 0, "what is not there is not asked for");
    assert_eq!(scanned(&cold.keys, 100).len(), 2_000);
    assert_eq!(cold.keys.cold(), 2_000);
    // A state that is the same is not brought back to be joined, and one that differs is.
    let (states, seen) = (cold.keys.states(0, Hash::MAX, usize::MAX).unwrap(), VersionVector::default());
    cold.keys.join_states(0, Hash::MAX, states, &seen).unwrap();
    assert_eq!(cold.keys.cold(), 2_000);
    let hash = hash_of(&text(5));
    cold.keys.join_states(hash, hash, Bytes::new(), &seen).unwrap();
    assert_eq!(cold.keys.cold(), 1_999);
}

#[test]
fn a_key_that_is_used_stays_and_one_that_is_past_its_deadline_is_deleted_alone() {
    let mut cold = all_cold(2_000);
    cold.keys.set(b"soon", b"gone", Lifetime::Until(Until::At(START + 5))).unwrap();
    while cold.keys.take_delta().is_some() {}
    cold.evict_all();
    assert_eq!(cold.keys.cold(), 2_001);
    cold.keys.set_now(START + 5);
    assert_eq!(cold.keys.expire_some(10), Ok(1));
    assert_eq!((cold.keys.cold(), cold.keys.len()), (2_000, 2_000));
    let limit = cold.keys.used_bytes() + 20_000;
    for round in 0..400_u32 {
        for key in [3, 4, 1000 + round] {
            assert!(cold.keys.contains(&text(key)));
        }
        while cold.keys.evict(limit, 50) == Eviction::More {}
    }
    cold.rows.reads.store(0, Ordering::Relaxed);
    assert!(cold.keys.contains(&text(3)) && cold.keys.contains(&text(4)));
    assert_eq!(cold.rows.reads.load(Ordering::Relaxed), 0);
}

#[test]
fn rows_that_are_not_what_they_were_are_noticed() {
    let cold = all_cold(10);
    assert!(cold.keys.contains(&text(3)));
    cold.rows.rows.lock().unwrap().clear();
    assert_eq!(cold.keys.failure(), None);
    assert!(!cold.keys.contains(&text(4)) && cold.keys.failure().is_some());
    let cold = all_cold(10);
    cold.rows.rows.lock().unwrap().pop_first();
    assert!(cold.keys.states(0, Hash::MAX, usize::MAX).is_some() && cold.keys.failure().is_some());
}

#[test]
fn what_was_written_to_waits_for_a_checkpoint() {
    let mut cold = Cold::new();
    cold.keys.set(b"key", b"value", Lifetime::Keep).unwrap();
    while cold.keys.take_delta().is_some() {}
    assert_eq!(cold.keys.evict(0, usize::MAX), Eviction::NeedsCheckpoint);
    cold.checkpoint(0);
    cold.keys.set(b"key", b"other", Lifetime::Keep).unwrap();
    cold.checkpoint(10);
    // The row may be the newer one; but if the process ended now, that would come from the journal alone.
    assert_eq!((cold.keys.evict(0, usize::MAX), cold.keys.cold()), (Eviction::NeedsCheckpoint, 0));
    cold.settle();
    cold.keys.evict(0, usize::MAX);
    assert_eq!(cold.keys.cold(), 1);
}
