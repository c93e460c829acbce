//! What a command costs, and a key: `cargo run --release --example speed -- 1000000`.

use std::fs;
use std::hint::black_box;

use steadfast_available::{Keyspace, Lifetime, Until};
use steadfast_crdt::Actor;
use steadfast_types::Rng;

/// Commands in a turn.
const TURN: usize = 64;

/// Bytes of memory that are resident.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
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

/// Nanoseconds that the process has run on a processor: others' share of it is not counted.
fn running_ns() -> u64 {
    let schedstat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn measured(what: &str, count: usize, mut command: impl FnMut(usize)) {
    let start = running_ns();
    (0..count).for_each(&mut command);
    println!("{what:>24}: {:6.0} ns", (running_ns() - start) as f64 / count as f64);
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000_usize);
    let mut keys = Keyspace::new(Actor::default());
    keys.set_now(1_800_000_000_000);
    let before = resident();
    let ever = Lifetime::Until(Until::Ever);
    let turn = |keys: &mut Keyspace, n: usize| {
        if n.is_multiple_of(TURN) {
            black_box(keys.take_delta());
        }
    };
    measured("SET of a new key", count, |n| {
        keys.set(&name(n), b"0123456789abcdef", ever).expect("times are left");
        turn(&mut keys, n);
    });
    while keys.take_delta().is_some() {}
    let per_key = |bytes: u64| bytes as f64 / count as f64;
    let taken = per_key(resident() - before);
    println!(
        "{:>24}: {:6.1} bytes over key and value, {:.1} in all; {:.1} by its own account",
        "a key",
        taken - 32.0,
        taken,
        per_key(keys.used_bytes() as u64)
    );
    let operations = count.min(1_000_000);
    let mut rng = Rng::with_seed(1);
    measured("the loop itself", operations, |_| _ = black_box(name(rng.usize(..count))));
    measured("SET", operations, |n| {
        keys.set(&name(rng.usize(..count)), b"fedcba9876543210", ever).expect("times are left");
        turn(&mut keys, n);
    });
    measured("SET of another length", operations, |n| {
        keys.set(&name(rng.usize(..count)), &b"fedcba9876543210"[..n % 16], ever).expect("times are left");
        turn(&mut keys, n);
    });
    measured("GET", operations, |_| {
        let key = name(rng.usize(..count));
        black_box(keys.text(&key).is_ok_and(|text| text.is_some()));
    });
    measured("DEL", operations.min(count / 2), |n| {
        keys.delete(&name(n)).expect("times are left");
        turn(&mut keys, n);
    });
    measured("INCR of a new key", operations.min(count / 2), |n| {
        keys.add_int(&name(n), 1).expect("a number");
        turn(&mut keys, n);
    });
    measured("INCR", operations, |n| {
        keys.add_int(&name(rng.usize(..operations.min(count / 2))), 1).expect("a number");
        turn(&mut keys, n);
    });
    measured("SADD", operations, |n| {
        let member = name(rng.usize(..100_000));
        keys.write_members(b"set", |set, delta, _| set.add(delta, &member)).expect("a set");
        turn(&mut keys, n);
    });
    keys.note_rows();
    measured("SET, its row noted", operations, |n| {
        keys.set(&name(rng.usize(..count)), b"fedcba9876543210", ever).expect("times are left");
        turn(&mut keys, n);
    });
    let (mut touched, mut rows) = (keys.take_touched(), Vec::new());
    measured("all noted rows, taken", 1, |_| {
        while let Some(name) = touched.next_name() {
            rows.clear();
            black_box(keys.put_row(name, &mut rows));
        }
    });
    measured("digest of all", 1, |_| _ = black_box(keys.digest(0, u32::MAX)));
    measured("digest of all, again", 1, |_| _ = black_box(keys.digest(0, u32::MAX)));
}
