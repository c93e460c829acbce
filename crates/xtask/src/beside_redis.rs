//! Available state beside Redis: the same load from redis-benchmark on each in turn, and what a key takes of memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::park_timeout;
use std::time::Duration;

/// Where the servers' ports begin, apart from those that people use.
const REDIS_PORT: u16 = 16300;

/// What redis-benchmark calls what it does.
const TESTS: [&str; 5] = ["get", "set", "incr", "sadd", "hset"];

/// Commands at a time on each connection.
const PIPELINES: [u32; 2] = [1, 16];

const CONNECTIONS: u32 = 50;

/// Different keys, or elements of one key.
const KEYS: u32 = 100_000;

/// Keys whose memory is taken, and bytes of each key and value.
const HELD_KEYS: u64 = 1_000_000;
const KEY_BYTES: u64 = 16;
const VALUE_BYTES: u64 = 32;

/// A server to be measured.
struct Side {
    name: &'static str,
    port: u16,
    process: Child,
    /// Of the process that clients talk to.
    pid: u32,
}

impl Drop for Side {
    fn drop(&mut self) {
        // Asked to, `dev` stops its nodes before itself.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

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
            path if !path.starts_with('-') && program.is_none() => program = Some(PathBuf::from(path)),
            other => return Err(format!("{other}: there is no such option; see `cargo xtask`")),
        }
    }
    let program = program.unwrap_or_else(|| PathBuf::from("target/release/steadfast"));
    if !program.exists() {
        return Err(format!("{}: there is no such program: `cargo build --release` makes it, or name another one", program.display()));
    }
    let directory = std::env::temp_dir().join(format!("beside-redis-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let measured = measure(&program, &directory, rounds, requests);
    let _ = fs::remove_dir_all(&directory);
    measured.map(|()| ExitCode::SUCCESS)
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
    for side in [redis(&directory.join("held"))?, steadfast(program, &directory.join("held"), 1)?] {
        let before = resident(side.pid)?;
        fill(&side)?;
        let taken = resident(side.pid)?.saturating_sub(before);
        println!("| {} | {:.0} |", side.name, taken as f64 / HELD_KEYS as f64 - (KEY_BYTES + VALUE_BYTES) as f64);
    }
    Ok(())
}

/// A Redis that syncs its log each second, and rewrites it as it does by itself.
fn redis(directory: &Path) -> Result<Side, String> {
    let directory = directory.join("redis");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &REDIS_PORT.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
    ]);
    command.arg("--dir").arg(&directory).stdout(Stdio::null());
    let process = command.spawn().map_err(|error| format!("redis-server: {error}; `apt-get install redis-server` installs it"))?;
    let pid = process.id();
    let side = Side { name: "Redis", port: REDIS_PORT, process, pid };
    side.await_answer()?;
    Ok(side)
}

/// So many nodes of Steadfast, as `steadfast dev` runs them.
fn steadfast(program: &Path, directory: &Path, nodes: u16) -> Result<Side, String> {
    let directory = directory.join(format!("steadfast-{nodes}"));
    let offset = 10_000 + 100 * nodes;
    let mut command = Command::new(program);
    command.arg("dev").arg("--nodes").arg(nodes.to_string()).arg("--port-offset").arg(offset.to_string()).arg("--data-dir").arg(&directory);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| format!("{}: {error}", program.display()))?;
    let name = if nodes == 1 { "Steadfast, one node" } else { "Steadfast, three nodes" };
    let mut side = Side { name, port: 6379 + offset, process, pid: 0 };
    side.await_answer()?;
    let told = awaited(|| fs::read(directory.join("cluster.json")).ok()).ok_or("the nodes did not come up")?;
    let cluster: serde_json::Value = serde_json::from_slice(&told).map_err(|error| error.to_string())?;
    let pid = cluster["nodes"][0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    side.pid = pid.ok_or("cluster.json names no process")?;
    Ok(side)
}

impl Side {
    fn await_answer(&self) -> Result<(), String> {
        let answers = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.write_all(b"PING\r\n").ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            (line == "+PONG\r\n").then_some(())
        };
        awaited(answers).ok_or_else(|| format!("{} does not answer on port {}", self.name, self.port))
    }
}

/// Tries for a minute.
fn awaited<T>(attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let tries = std::iter::repeat_with(attempt).take(600);
    tries
        .inspect(|tried| {
            if tried.is_none() {
                park_timeout(Duration::from_millis(100))
            }
        })
        .flatten()
        .next()
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

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| format!("{path} has no VmRSS"))? * 1024)
}

/// Writes all keys to be held.
fn fill(side: &Side) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", side.name);
    let mut stream = TcpStream::connect(("127.0.0.1", side.port)).map_err(failed)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(failed)?).lines();
    let (key, value) = (usize::try_from(KEY_BYTES).expect("short"), usize::try_from(VALUE_BYTES).expect("short"));
    for from in (0..HELD_KEYS).step_by(1000) {
        let batch: String = (from..from + 1000).map(|number| format!("SET {number:0>key$} {number:x>value$}\r\n")).collect();
        stream.write_all(batch.as_bytes()).map_err(failed)?;
        for _ in 0..1000 {
            let answer = answers.next().ok_or("it hung up")?.map_err(failed)?;
            if answer != "+OK" {
                return Err(format!("{} answered {answer}", side.name));
            }
        }
    }
    Ok(())
}
