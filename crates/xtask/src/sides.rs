//! Servers that are measured: Redis, and Steadfast as `steadfast dev` runs it; all on loopback, apart from the ports that people use.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// Where Redis listens.
const REDIS_PORT: u16 = 16300;

/// A server to be measured.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    process: Child,
    /// Of the process that clients talk to.
    pub(crate) pid: u32,
}

impl Drop for Side {
    fn drop(&mut self) {
        // Asked to, `dev` stops its nodes before itself.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// The program to be measured.
pub(crate) fn program(named: Option<&str>) -> Result<PathBuf, String> {
    let program = PathBuf::from(named.unwrap_or("target/release/steadfast"));
    if !program.exists() {
        return Err(format!("{}: there is no such program: `cargo build --release` makes it, or name another one", program.display()));
    }
    Ok(program)
}

/// Calls with a directory that is removed afterwards.
pub(crate) fn in_scratch(name: &str, measure: impl FnOnce(&Path) -> Result<(), String>) -> Result<ExitCode, String> {
    let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let measured = measure(&directory);
    let _ = fs::remove_dir_all(&directory);
    measured.map(|()| ExitCode::SUCCESS)
}

/// A Redis that syncs its log each second, and rewrites it as it does by itself.
pub(crate) fn redis(directory: &Path) -> Result<Side, String> {
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
pub(crate) fn steadfast(program: &Path, directory: &Path, nodes: u16) -> Result<Side, String> {
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
pub(crate) fn awaited<T>(attempt: impl FnMut() -> Option<T>) -> Option<T> {
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

/// For the speed of the real world.
#[expect(clippy::disallowed_methods, reason = "the speed of the real world")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until so much time has passed since then.
pub(crate) fn rest(began: Instant, time: Duration) {
    while let Some(rest) = time.checked_sub(began.elapsed()) {
        park_timeout(rest);
    }
}

/// Resident memory of a process, bytes.
pub(crate) fn resident(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| format!("{path} has no VmRSS"))? * 1024)
}

pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
