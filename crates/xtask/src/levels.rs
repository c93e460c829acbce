//! What each level of consistency and each mode of replication costs: three nodes, the same few clients, one request at a time each.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::scope;
use std::time::Duration;

use crate::sides::{self, Side, awaited, median, now, rest, steadfast};

/// Each with a connection, to the first node alone unless it is said otherwise.
const CLIENTS: u64 = 16;

/// How long a work is measured in a round.
const MEASURED: Duration = Duration::from_secs(2);

const KEYS: u64 = 10_000;

/// Between the ports of two nodes.
const NEXT_NODE: u16 = 10;

/// What clients do.
struct Work {
    name: &'static str,
    /// What each says first.
    setup: &'static [&'static str],
    /// `#` is a number of a key.
    command: &'static str,
    /// Whether they connect to all nodes in turn.
    everywhere: bool,
}

const fn work(name: &'static str, setup: &'static [&'static str], command: &'static str) -> Work {
    Work { name, setup, command, everywhere: false }
}

const WORKS: [Work; 12] = [
    work("GET, eventual", &[], "GET key:#"),
    work("GET, session", &["CONSISTENCY SET session"], "GET key:#"),
    work("GET, causal", &["CONSISTENCY SET causal"], "GET key:#"),
    work("GET, strong", &[], "GET strong:#"),
    work("SET, eventual, async", &[], "SET key:# value-of-32-bytes-for-every-key."),
    work("SET, session", &["CONSISTENCY SET session"], "SET key:# value-of-32-bytes-for-every-key."),
    work("SET, causal", &["CONSISTENCY SET causal"], "SET key:# value-of-32-bytes-for-every-key."),
    work("SET, semi-sync 1", &["REPLICATION SET semi-sync 1"], "SET key:# value-of-32-bytes-for-every-key."),
    work("SET, sync", &["REPLICATION SET sync"], "SET key:# value-of-32-bytes-for-every-key."),
    work("SET, strong", &[], "SET strong:# value-of-32-bytes-for-every-key."),
    Work { name: "INCR, strong, any of a hundred keys at all three nodes", setup: &[], command: "INCR strong:count:#%", everywhere: true },
    Work { name: "INCR, strong, one key at all three nodes", setup: &[], command: "INCR strong:count", everywhere: true },
];

/// What came of a work in a round.
struct Measured {
    per_second: f64,
    half_ms: f64,
    p99_ms: f64,
    failed: u64,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let (mut program, mut rounds) = (None, 3_u32);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--rounds" => rounds = rest.next().and_then(|text| text.parse().ok()).ok_or("--rounds needs a number")?,
            path if !path.starts_with('-') && program.is_none() => program = Some(path),
            other => return Err(format!("{other}: there is no such option; see `cargo xtask`")),
        }
    }
    let program = sides::program(program)?;
    sides::in_scratch("levels", |directory| measure(&program, directory, rounds))
}

fn measure(program: &Path, directory: &Path, rounds: u32) -> Result<(), String> {
    let nodes = steadfast(program, directory, 3)?;
    let endpoint = format!("127.0.0.1:{}", nodes.port - 6379 + 2379);
    let declared = Command::new(program).args(["strong", "add", "strong:", "--endpoints", &endpoint]).output();
    let declared = declared.map_err(|error| error.to_string())?;
    if !declared.status.success() {
        return Err(format!("`steadfast strong add` failed: {}", String::from_utf8_lossy(&declared.stderr)));
    }
    let mut client = Client::connect(nodes.port)?;
    awaited(|| client.ask("SET strong:key value").ok().filter(|answer| answer == "+OK")).ok_or("the prefix does not become strong")?;
    for key in 0..KEYS {
        for command in [format!("SET key:{key} value"), format!("SET strong:{key} value")] {
            client.ask(&command)?;
        }
    }
    let mut figures: BTreeMap<usize, Vec<Measured>> = BTreeMap::new();
    let mut passed_on = Vec::new();
    for round in 0..rounds {
        for (w, work) in WORKS.iter().enumerate() {
            eprint!("\rround {} of {rounds}: {}                         ", round + 1, work.name);
            figures.entry(w).or_default().push(load(&nodes, work)?);
        }
        passed_on.push(pass_on(&nodes)?);
    }
    eprintln!();
    println!("| {CLIENTS} clients, one request at a time each | a second | half within, ms | 99 % within, ms | failed |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (w, work) in WORKS.iter().enumerate() {
        let of = |figure: fn(&Measured) -> f64| median(figures[&w].iter().map(figure));
        let failed: u64 = figures[&w].iter().map(|measured| measured.failed).sum();
        println!(
            "| {} | {:.0} | {:.2} | {:.2} | {failed} |",
            work.name,
            of(|measured| measured.per_second),
            of(|measured| measured.half_ms),
            of(|measured| measured.p99_ms)
        );
    }
    let of = |figure: fn(&Measured) -> f64| median(passed_on.iter().map(figure));
    println!(
        "| one client: SET at one node, its token waited for at another, GET there | {:.0} | {:.2} | {:.2} | {} |",
        of(|measured| measured.per_second),
        of(|measured| measured.half_ms),
        of(|measured| measured.p99_ms),
        passed_on.iter().map(|measured| measured.failed).sum::<u64>()
    );
    Ok(())
}

fn load(nodes: &Side, work: &Work) -> Result<Measured, String> {
    let (is_over, failed) = (AtomicBool::new(false), AtomicU64::new(0));
    let client = |number: u64| -> Result<Vec<Duration>, String> {
        let node = if work.everywhere { (number % 3) as u16 } else { 0 };
        let mut client = Client::connect(nodes.port + NEXT_NODE * node)?;
        for command in work.setup {
            let answer = client.ask(command)?;
            if answer != "+OK" {
                return Err(format!("{command}: {answer}"));
            }
        }
        let (mut times, mut key) = (Vec::new(), number);
        while !is_over.load(Ordering::Relaxed) {
            // The numbers' order is not to be one that caches like, and to be the same each time.
            key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (key >> 33) % KEYS;
            let command = work.command.replace("#%", &(number % 100).to_string()).replace('#', &number.to_string());
            let start = now();
            let answer = client.ask(&command)?;
            times.push(start.elapsed());
            if answer.starts_with('-') {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(times)
    };
    let began = now();
    let times: Result<Vec<Vec<Duration>>, String> = scope(|threads| {
        let clients: Vec<_> = (1..=CLIENTS).map(|number| threads.spawn(move || client(number))).collect();
        // A client of the work before may have left a token.
        rest(began, MEASURED);
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    Ok(measured(times?.concat(), MEASURED, failed.into_inner()))
}

/// A session that goes from one node to the next.
fn pass_on(nodes: &Side) -> Result<Measured, String> {
    let mut clients = [0, 1].map(|node| Client::connect(nodes.port + NEXT_NODE * node));
    let [Ok(one), Ok(other)] = &mut clients else { return Err("a node can't be reached".to_owned()) };
    let (began, mut times, mut failed) = (now(), Vec::new(), 0);
    while began.elapsed() < MEASURED {
        let start = now();
        one.ask(&format!("SET passed-on {}", times.len()))?;
        let token = one.ask("SESSION TOKEN")?;
        other.ask(&format!("SESSION WAIT {token} 1000"))?;
        let read = other.ask("GET passed-on")?;
        times.push(start.elapsed());
        failed += u64::from(read != (times.len() - 1).to_string());
    }
    Ok(measured(times, began.elapsed(), failed))
}

fn measured(mut times: Vec<Duration>, took: Duration, failed: u64) -> Measured {
    times.sort_unstable();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    Measured { per_second: times.len() as f64 / took.as_secs_f64(), half_ms: at(0.5), p99_ms: at(0.99), failed }
}

/// A connection.
struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    port: u16,
}

impl Client {
    fn connect(port: u16) -> Result<Self, String> {
        let connect = || -> std::io::Result<Self> {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            Ok(Client { answers: BufReader::new(stream.try_clone()?), stream, port })
        };
        connect().map_err(|error| format!("port {port}: {error}"))
    }

    /// The answer to a command of words: its line, or what it holds.
    fn ask(&mut self, command: &str) -> Result<String, String> {
        let port = self.port;
        self.exchange(command).map_err(|error| format!("port {port}: {error}"))
    }

    fn exchange(&mut self, command: &str) -> std::io::Result<String> {
        self.stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let line = line.trim_end();
        let Some(length) = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) else { return Ok(line.to_owned()) };
        let mut held = vec![0; length + 2];
        self.answers.read_exact(&mut held)?;
        held.truncate(length);
        Ok(String::from_utf8_lossy(&held).into_owned())
    }
}
