//! Available state beside Redis: the same load from redis-benchmark on each in turn, and what a key takes of memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::sides::{self, Side, median, now, redis, resident, rest, steadfast};

/// What redis-benchmark calls what it does. What is read was written before.
const TESTS: [&str; 5] = ["set", "get", "incr", "sadd", "hset"];

/// Commands at a time on each connection.
const PIPELINES: [u32; 2] = [1, 16];

const CONNECTIONS: u32 = 50;

/// Different keys, or elements of one key.
const KEYS: u32 = 100_000;

/// Keys whose memory is taken, and bytes of each key and value.
const HELD_KEYS: u64 = 1_000_000;
const KEY_BYTES: u64 = 16;
const VALUE_BYTES: u64 = 32;

/// Keys that are written in one pipeline.
const BATCH: u64 = 1000;

/// How long a process rests before its memory is looked at.
const REST: Duration = Duration::from_millis(1500);

/// A figure of one side in one round.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    p99_ms: f64,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let (mut program, mut rounds, mut requests) = (None, 5, 400_000);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || rest.next().and_then(|text| text.parse().ok()).ok_or(format!("{argument} needs a number"));
        match argument.as_str() {
            "--rounds" => rounds = number()?,
            "--requests" => requests = number()?,
            path if !path.starts_with('-') && program.is_none() => program = Some(path),
            other => return Err(format!("{other}: there is no such option; see `cargo xtask`")),
        }
    }
    let program = sides::program(program)?;
    sides::in_scratch("beside-redis", |directory| measure(&program, directory, rounds, requests))
}

fn measure(program: &Path, directory: &Path, rounds: u32, requests: u32) -> Result<(), String> {
    let sides = [redis(directory)?, steadfast(program, directory, 1)?, steadfast(program, directory, 3)?];
    let mut figures: BTreeMap<(u32, usize, usize), Vec<Measured>> = BTreeMap::new();
    for round in 0..rounds {
        for (t, test) in TESTS.iter().enumerate() {
            for pipeline in PIPELINES {
                for (s, side) in sides.iter().enumerate() {
                    eprint!("\rround {} of {rounds}: {test}, pipeline {pipeline}, {}            ", round + 1, side.name);
                    let requests = if pipeline > 1 { requests * 2 } else { requests };
                    figures.entry((pipeline, t, s)).or_default().push(benchmark(side, test, pipeline, requests)?);
                }
            }
        }
    }
    eprintln!();
    println!("| load | Redis, commands/s | one node, ratio | three nodes, ratio | Redis, p99 ms | one node | three nodes |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for pipeline in PIPELINES {
        for (t, test) in TESTS.iter().enumerate() {
            let of = |s: usize, figure: fn(&Measured) -> f64| median(figures[&(pipeline, t, s)].iter().map(figure));
            let [rate, alone, three] = [0, 1, 2].map(|s| of(s, |measured| measured.per_second));
            let [p99, p99_alone, p99_three] = [0, 1, 2].map(|s| of(s, |measured| measured.p99_ms));
            let test = test.to_uppercase();
            println!(
                "| {test}, pipeline {pipeline} | {rate:.0} | {:.2} | {:.2} | {p99:.2} | {p99_alone:.2} | {p99_three:.2} |",
                alone / rate,
                three / rate
            );
        }
    }
    drop(sides);
    println!();
    println!("| {HELD_KEYS} strings of {KEY_BYTES} + {VALUE_BYTES} bytes | resident bytes a key over its data |");
    println!("| --- | ---: |");
    let mut taken: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        let directory = directory.join(format!("held-{round}"));
        for side in [redis(&directory)?, steadfast(program, &directory, 1)?] {
            taken.entry(side.name).or_default().push(held(&side)?);
        }
    }
    for (name, taken) in taken {
        println!("| {name} | {:.0} |", median(taken.into_iter()));
    }
    Ok(())
}

/// Resident bytes a key over its data: what the process has grown by when all keys are written and it had a second, and some more commands, to give back
/// what it does not need any more.
fn held(side: &Side) -> Result<f64, String> {
    let before = resident(side.pid)?;
    fill(side, HELD_KEYS)?;
    rest(now(), REST);
    fill(side, BATCH)?;
    let taken = resident(side.pid)?.saturating_sub(before);
    Ok(taken as f64 / HELD_KEYS as f64 - (KEY_BYTES + VALUE_BYTES) as f64)
}

fn benchmark(side: &Side, test: &str, pipeline: u32, requests: u32) -> Result<Measured, String> {
    let numbers = [("-p", side.port.into()), ("-c", CONNECTIONS), ("-n", requests), ("-P", pipeline), ("-r", KEYS)];
    let mut command = Command::new("redis-benchmark");
    command.args(["-t", test, "--csv"]).args(numbers.iter().flat_map(|(name, number)| [(*name).to_owned(), number.to_string()]));
    let output = command.output().map_err(|error| format!("redis-benchmark: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
    let row: Vec<f64> = text
        .lines()
        .last()
        .into_iter()
        .flat_map(|line| line.split(',').skip(1))
        .filter_map(|field| field.trim_matches('"').parse().ok())
        .collect();
    match row[..] {
        [per_second, _, _, _, _, p99_ms, _] => Ok(Measured { per_second, p99_ms }),
        _ => Err(format!("redis-benchmark on {} said {text:?}", side.name)),
    }
}

/// Writes the first of the keys to be held.
fn fill(side: &Side, count: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", side.name);
    let mut stream = TcpStream::connect(("127.0.0.1", side.port)).map_err(failed)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(failed)?).lines();
    let (key, value) = (usize::try_from(KEY_BYTES).expect("short"), usize::try_from(VALUE_BYTES).expect("short"));
    for from in (0..count).step_by(BATCH as usize) {
        let batch: String = (from..from + BATCH).map(|number| format!("SET {number:0>key$} {number:x>value$}\r\n")).collect();
        stream.write_all(batch.as_bytes()).map_err(failed)?;
        for _ in 0..BATCH {
            let answer = answers.next().ok_or("it hung up")?.map_err(failed)?;
            if answer != "+OK" {
                return Err(format!("{} answered {answer}", side.name));
            }
        }
    }
    Ok(())
}
